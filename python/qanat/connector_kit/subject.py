"""The connector that is examined: how it is reached, and what has been read of it so far."""

from __future__ import annotations

import re
import shlex
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

import pyarrow as pa

from qanat._connector import ConnectorHandle, default_interpreter, open_connector
from qanat.connector_kit.talk import Fault, Reading, Talk
from qanat.errors import ConfigurationError, QanatError

_Result = TypeVar("_Result")

MAX_NAME = 64 << 10
_CLASS = re.compile(r"[^\W\d]\w*(\.[^\W\d]\w*)*:[^\W\d]\w*(\.[^\W\d]\w*)*")
_RUNTIME = re.compile(r"[a-z][a-z0-9_]*")
_BUILT_IN = ("files", "http", "database")
_PROCESSES = {"java": ["java", "-jar"], "docker": ["docker", "run", "-i", "--rm"]}


@dataclass(frozen=True)
class Options:
    """What the command line says."""

    arguments: Mapping[str, str] = field(default_factory=dict)
    folder: str = "."
    timeout: float = 60.0  # seconds without an answer
    patience: float = 10.0  # seconds that ending and cancelling may take
    locations: int = 5  # how many are read
    rows: int = 100_000  # of a location, that are compared


@dataclass
class Sample:
    """What was read of a location. `table` has its first rows, None where there is no data."""

    table: Any
    rows: int = 0
    batches: int = 0
    size: int = 0
    seconds: float = 0.0
    applied: tuple[str, ...] = ()


class Subject:
    """A connector, its processes, and what the checks have found out for those after them."""

    def __init__(self, target: str, options: Options) -> None:
        self.options = options
        self.folder = str(Path(options.folder).resolve())
        self.in_process: str | None = None  # the URI of the class, where it is one
        self.command: list[str] | None = None  # of its process, where it has one
        self.uri = target
        self.noise: list[str] = []
        self.version = 1
        self.capabilities: frozenset[str] = frozenset()
        self.described: dict[str, Any] | None = None
        self.locations: list[dict[str, Any]] = []
        self.samples: dict[str, Sample] = {}
        self.left_behind: list[str] | None = None  # processes, after the end of one that had worked
        self._talks: list[Talk] = []
        self._shared: Talk | None = None
        self._handle: ConnectorHandle | None = None
        self._resolve(target)

    def _resolve(self, target: str) -> None:
        runtime, separator, rest = target.partition("::")
        if not separator and _CLASS.fullmatch(target):
            runtime, rest = "python", target
        elif target in _BUILT_IN:
            return
        elif not separator or not _RUNTIME.fullmatch(runtime):
            runtime, rest = "ipc", target
            self.uri = f"ipc::{target}"
        if runtime == "python":
            self.in_process = f"python::{rest}"
            self.command = [sys.executable, "-m", "qanat_sdk", rest, self.folder]
            self.uri = "ipc::" + shlex.join(self.command)
        elif runtime == "ipc":
            try:
                words = shlex.split(rest)
            except ValueError as error:
                raise ConfigurationError(f'"{target}": {error}') from None
            if not words:
                raise ConfigurationError(f'"{target}" has no command')
            before = shlex.split(default_interpreter()) if words[0].endswith(".py") else []
            self.command = before + self._anchored(words)
        elif runtime in _PROCESSES and rest:
            self.command = _PROCESSES[runtime] + (self._anchored([rest]) if runtime == "java" else [rest])

    def _anchored(self, words: list[str]) -> list[str]:
        """The words of a command as a host starts it: a program or script that lies in the folder, by its path."""
        anchored = list(words)
        first_file = next((n for n, word in enumerate(words) if n > 0 and not word.startswith("-")), None)
        for number in (0, first_file):
            if number is None or (number == 0 and "/" not in words[0] and not words[0].endswith((".py", ".jar"))):
                continue
            path = Path(self.folder) / words[number]
            if path.is_file():
                anchored[number] = str(path)
        return anchored

    # ---- ways to reach it ----

    def talk(self, version: int, *, beside: bool = False) -> Talk:
        """A new process, alone unless it is to run beside others. finish() ends it at the latest."""
        assert self.command is not None
        if not beside:
            self.drop()
        talk = Talk(self.command, self.options.timeout, version)
        self._talks.append(talk)
        return talk

    def end(self, talk: Talk) -> None:
        self.noise += talk.noise
        talk.end()
        self._talks.remove(talk)

    def shared(self) -> Talk:
        """The process that most checks speak to, at the best version that it has."""
        if self._shared is None or self._shared.process.poll() is not None:
            self.drop()
            self._shared = self.talk(self.version)
        return self._shared

    def share(self, talk: Talk) -> None:
        """This process is the one that most checks speak to from now on."""
        self.drop()
        self._shared = talk

    def heard(self) -> list[str]:
        """What stood on standard output and was no part of the protocol, so far."""
        return self.noise + [line for talk in self._talks for line in talk.noise]

    def drop(self) -> None:
        """A check has failed: nobody knows what the shared process will say next."""
        if self._shared is not None:
            self.end(self._shared)
            self._shared = None

    def handle(self) -> ConnectorHandle:
        """Through the host, as a bundle would have it."""
        if self._handle is None:
            self._handle = self.open(self.uri)
        return self._handle

    def open(self, uri: str, record: str | None = None) -> ConnectorHandle:
        return open_connector(
            uri,
            self.options.arguments,
            allow_external_code=True,  # whoever names it on the command line allows it
            folder=self.folder,
            timeout=self.options.timeout,
            retries=0,
            record=record,
            on_log=lambda _level, _text: None,
        )

    def finish(self) -> None:
        """Nothing is left running."""
        for talk in list(self._talks):
            self.end(talk)
        self._shared = None
        if self._handle is not None:
            self._handle.close()
            self._handle = None

    # ---- what it is asked ----

    def discover(self, attached: list[str], **more: str) -> list[dict[str, Any]]:
        """The locations, judged; all pages of them."""
        if self.command is None:
            return [_as_dict(found) for found in _host(lambda: self.handle().discover(attached))]
        talk = self.shared()
        result = talk.ask("discover", {"attached_locations": attached, **self.options.arguments, **more})
        found = _locations(result)
        while (page := result.get("next")) is not None:
            if talk.version == 1:
                raise Fault('the reply to discover has "next", which version 1 does not know')
            result = talk.ask("discover", {"_page": page, **self.options.arguments, **more})
            found += _locations(result)
        return found

    def read(self, location: Mapping[str, Any], *, talk: Talk | None = None, **asked: Any) -> Sample:
        """The data of a location, judged as it comes."""
        begin = time.monotonic()
        if self.command is None and talk is None:
            sample = _host(lambda: self._read_handle(self.handle(), location, asked))
        else:
            sample = self._read_wire(talk or self.shared(), location, asked)
        sample.seconds = time.monotonic() - begin
        return sample

    def _read_handle(self, handle: ConnectorHandle, location: Mapping[str, Any], asked: Mapping[str, Any]) -> Sample:
        from qanat._connector import Location

        named = {name.removeprefix("_"): value for name, value in asked.items()}
        stream = handle.data(Location(**location), **named)
        if stream is None:
            return Sample(None)
        with stream:
            reader = pa.RecordBatchReader.from_stream(stream)
            try:
                return self._collect(reader.schema, iter(reader))
            except (pa.ArrowException, OSError, ValueError):
                stream._raise_failure()
                raise

    def read_by_host(self, handle: ConnectorHandle, location: Mapping[str, Any]) -> Sample:
        """The same through the host."""
        return _host(lambda: self._read_handle(handle, location, {}))

    def _read_wire(self, talk: Talk, location: Mapping[str, Any], asked: Mapping[str, Any]) -> Sample:
        reading, reply, _ = talk.data(location, {**self.options.arguments, **asked})
        if reading.is_empty():
            _check_end(reading, Sample(None), talk.version)
            return Sample(None)
        try:
            reader = pa.ipc.open_stream(pa.PythonFile(reading, mode="r"))
            sample = self._collect(reader.schema, iter(reader))
        except (pa.ArrowException, OSError, EOFError) as error:
            raise Fault(f"what it sends is no Arrow stream: {error}") from None
        left = reading.size
        reading.drain()
        if reading.size != left:
            raise Fault(f"{reading.size - left} bytes stand behind the end of the Arrow stream")
        sample.size = reading.size
        _check_end(reading, sample, talk.version)
        applied = reply.get("applied", [])
        if not isinstance(applied, list) or not all(isinstance(name, str) for name in applied):
            raise Fault(f'"applied" in the reply to data is {applied!r}; it is a list of texts')
        sample.applied = tuple(applied)
        return sample

    def _collect(self, schema: Any, batches: Iterator[Any]) -> Sample:
        """The first rows of the batches, and how many there are; every batch is looked at as a whole."""
        kept: list[Any] = []
        sample = Sample(None)
        room = self.options.rows
        for batch in batches:
            try:
                batch.validate(full=True)
            except pa.ArrowInvalid as error:
                raise Fault(f"batch {sample.batches} is not valid: {error}") from None
            sample.batches += 1
            sample.rows += batch.num_rows
            if room > 0:
                kept.append(batch.slice(0, room))
                room -= batch.num_rows
        sample.table = pa.Table.from_batches(kept, schema)
        return sample

    def chosen(self) -> list[dict[str, Any]]:
        """The locations that are read: the first ones."""
        return self.locations[: self.options.locations]

    def with_data(self) -> list[dict[str, Any]]:
        """Those of them that have data, as it was read first."""
        return [location for location in self.chosen() if self.samples[location["location"]].table is not None]


def _host(call: Callable[[], _Result]) -> _Result:
    """What the host says of a connector is a finding."""
    try:
        return call()
    except QanatError as error:
        raise Fault(str(error)) from None


def _as_dict(location: Any) -> dict[str, Any]:
    return {name: getattr(location, name) for name in ("location", "must_copy", "format", "version", "num_rows")}


def _check_end(reading: Reading, sample: Sample, version: int) -> None:
    end = reading.end or {}
    if version == 2 and (end.get("rows"), end.get("batches")) != (sample.rows, sample.batches):
        raise Fault(
            f"the end says {end.get('rows')} rows in {end.get('batches')} batches; "
            f"{sample.rows} in {sample.batches} have come"
        )


def _locations(result: Any) -> list[dict[str, Any]]:
    found = result.get("locations") if isinstance(result, dict) else None
    if not isinstance(found, list):
        raise Fault('the result of discover is {"locations": [...]}, and this one is not')
    return [_location(value) for value in found]


def _location(value: Any) -> dict[str, Any]:
    """A location of the wire with its defaults; a Fault says what is wrong with it."""
    if not isinstance(value, dict) or not isinstance(value.get("location"), str):
        raise Fault(f'a location is an object with a text "location", and this one is {str(value)[:100]}')
    name = value["location"]
    if "\0" in name or len(name.encode("utf-8", "surrogatepass")) > MAX_NAME:
        raise Fault(f"the name of a location has a NUL character, or more than {MAX_NAME} bytes: {name[:60]!r}")
    full = {"must_copy": True, "format": "parquet", "version": "", "num_rows": None} | value
    rows = full["num_rows"]
    if type(full["must_copy"]) is not bool:
        raise Fault(f'location "{name}": must_copy is true or false, not {full["must_copy"]!r}')
    if not isinstance(full["format"], str) or not isinstance(full["version"], str):
        raise Fault(f'location "{name}": format and version are texts')
    if rows is not None and (type(rows) is not int or rows < 0):
        raise Fault(f'location "{name}": num_rows is a number or null, not {rows!r}')
    return {key: full[key] for key in ("location", "must_copy", "format", "version", "num_rows")}
