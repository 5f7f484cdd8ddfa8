"""Tasks: one TOML file that says where rows come from and where they go; running it moves what is new, once.

Reading the file is done here (TOML, `include`, `${ENV}`, paths beside the file, overrides); what it means is checked in
the library, whose errors name the key. The format is described in docs/formats/task.md.
"""

from __future__ import annotations

import copy
import datetime
import json
import math
import os
import re
import tomllib
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from qanat import _native, _task_process
from qanat.errors import ConfigurationError, QanatError

__all__ = ["Progress", "Task", "TaskResult"]

_MAX_FILE_BYTES = 1 << 20
_MAX_DEPTH = 64


@dataclass(frozen=True)
class Progress:
    """How a run stands: given to the `progress` callback about ten times a second."""

    stage: str
    """`connect`, `read`, `write`, `commit` or `done`."""
    rows: int
    """Rows that have gone to the sink, committed or not."""
    bytes: int
    """Bytes of those rows as Arrow."""
    seconds: float
    """Since the run began."""


@dataclass(frozen=True)
class TaskResult:
    """How a run ended."""

    task: str
    rows: int
    """Rows committed to the sink."""
    batches: int
    commits: int
    seconds: float
    seconds_reading: float
    """Time spent in the source; it overlaps with the time spent in the sink."""
    seconds_writing: float
    checkpoint_before: str | None
    """The checkpoint that the run started from, as text; None where there was none."""
    checkpoint_after: str | None


def _text_or_none(text: str) -> str | None:
    return text or None


class Task:
    """A checked task. `Task.load(path)` reads a task file; nothing is opened before `run()`."""

    def __init__(self, plan: Mapping[str, Any]) -> None:
        """Make a task of a plan: a dict with the tables and keys of a task file. Files are taken from where you are."""
        self.path: Path | None = None
        if not isinstance(plan, Mapping):
            raise ConfigurationError(f"a plan is a dict, not a {type(plan).__name__}")
        self.has_statements = bool(plan.get("process"))
        """Whether rows pass through statements on the way."""
        self.has_places = any(
            isinstance(plan.get(table), Mapping) and not plan[table].keys().isdisjoint({"connector", "bundle"})
            for table in ("source", "sink")
        )
        """Whether the source or the sink is a connector or a bundle."""
        self._native = _native.Task(_to_json(_task_process.complete(plan, Path())))

    @classmethod
    def load(cls, path: str | os.PathLike[str], overrides: Mapping[str, Any] | None = None) -> Task:
        """Read a task file. `overrides` sets keys by their path: `{"sink.mode": "upsert"}`.

        Relative paths of SQLite databases, of statements, of schemas and of `include` are taken from the folder of the
        file that names them.
        Raises ConfigurationError naming the file, the key and, where it can be found, the line.
        """
        file = Path(path)
        text = _read(file)
        try:
            plan = _parse(text)
            _expand(plan)
            _include(plan, file)
            _anchor(plan, file.parent)
            _anchor_places(plan, file.parent)
            for key, value in (overrides or {}).items():
                _override(plan, key, value)
            task = cls(_task_process.complete(plan, file.parent))
        except QanatError as error:
            raise _placed(error, file, text, overrides or {}) from None
        task.path = file
        return task

    @property
    def name(self) -> str:
        return self._native.name

    @property
    def last(self) -> TaskResult | None:
        """How the last run ended, also where it failed or was interrupted; None before the first."""
        last = self._native.last
        if last is None:
            return None
        fields = dict(last)
        before = _text_or_none(fields.pop("checkpoint_before"))
        after = _text_or_none(fields.pop("checkpoint_after"))
        return TaskResult(task=self.name, checkpoint_before=before, checkpoint_after=after, **fields)

    def run(
        self,
        full: bool = False,
        progress: Callable[[Progress], object] | None = None,
        *,
        allow_external_code: bool | None = None,
        timeout: float | None = None,
    ) -> TaskResult:
        """Run once: move what is new, and commit it together with the checkpoint.

        `full` starts from `checkpoint.initial`, or with every location, whatever is stored. An exception that
        `progress` raises cancels the run. What fails changes nothing since the last commit; `last` says how far it
        came.

        Where the source is a connector: `allow_external_code` says whether code from outside may run (None:
        QANAT_SYSTEM_ALLOW_EXTERNAL_CODE decides; a task file never does), `timeout` how many seconds a call may go
        without a sign of life (300).
        """
        report = None
        if progress is not None:
            listener = progress

            def report(stage: str, rows: int, size: int, seconds: float) -> None:
                listener(Progress(stage, rows, size, seconds))

        if self.has_statements:
            from qanat import _settings

            _settings.apply()
        if self.has_places:
            from qanat import _formats
            from qanat._connector import allowed_from_environment, default_interpreter

            _formats.register()
            self._native.run(
                full=full,
                progress=report,
                allow_external_code=allowed_from_environment() if allow_external_code is None else allow_external_code,
                interpreter=default_interpreter(),
                timeout=timeout or 0.0,
            )
        else:
            self._native.run(full=full, progress=report)
        result = self.last
        assert result is not None
        return result

    def __repr__(self) -> str:
        return f"<qanat.Task {self.name!r}>"


# ---- reading the file ------------------------------------------------------------------------------------------------


def _read(file: Path) -> str:
    try:
        with file.open("rb") as stream:
            data = stream.read(_MAX_FILE_BYTES + 1)
    except FileNotFoundError:
        raise ConfigurationError(f"there is no file {str(file)!r}") from None
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or str(error)
        raise ConfigurationError(f"cannot read {str(file)!r}: {reason}") from None
    if len(data) > _MAX_FILE_BYTES:
        raise ConfigurationError(f"{str(file)!r} is not a task file (TOML, at most 1 MiB)")
    try:
        return data.decode("utf-8").replace("\r\n", "\n")
    except UnicodeDecodeError as error:
        raise ConfigurationError(f"{str(file)!r} is not a task file: it is not UTF-8 (byte {error.start})") from None


def _parse(text: str) -> dict[str, Any]:
    try:
        return tomllib.loads(text)
    except RecursionError:
        raise ConfigurationError("the file is nested too deeply") from None
    except ValueError as error:  # TOMLDecodeError is one
        message = str(error)
        raise ConfigurationError(f"not valid TOML: {message[:1].lower()}{message[1:]}") from None


_VARIABLE = re.compile(r"\$\{([^}]*)\}")
_STATEMENT = re.compile(r"process\[\d+\]\.statement\Z")
_VARIABLE_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*\Z")


def _expanded(text: str, path: str) -> str:
    def value_of(match: re.Match[str]) -> str:
        name = match.group(1)
        if not _VARIABLE_NAME.match(name):
            raise ConfigurationError(f"{path} has ${{{name}}}: that is no name of an environment variable")
        if name not in os.environ:
            raise ConfigurationError(f"{path} uses the environment variable {name}, which is not set")
        return os.environ[name]

    return _VARIABLE.sub(value_of, text)


def _expand(table: dict[str, Any], prefix: str = "", depth: int = 0) -> None:
    """Replace ${NAME} in every text but the query, whose text is SQL, and statements, whose text is Python."""
    if depth > _MAX_DEPTH:
        raise ConfigurationError(f"{prefix} is nested too deeply")
    for key, value in table.items():
        path = f"{prefix}.{key}" if prefix else key
        if isinstance(value, dict):
            _expand(value, path, depth + 1)
        elif path == "process" and isinstance(value, list):
            for i, step in enumerate(value):
                if isinstance(step, dict):
                    _expand(step, f"process[{i}]", depth + 1)
        elif isinstance(value, str) and path != "source.query" and not _STATEMENT.match(path):
            table[key] = _expanded(value, path)


def _include(plan: dict[str, Any], file: Path) -> None:
    """Put the [connections] of the included files into the plan."""
    names = plan.pop("include", [])
    names = [names] if isinstance(names, str) else names
    if not isinstance(names, list) or not all(isinstance(name, str) and name for name in names):
        raise ConfigurationError("include must be the name of a file, or several")
    for name in names:
        included = file.parent / name
        try:
            found = _parse(_read(included))
            _expand(found)
        except QanatError as error:
            raise ConfigurationError(f"include: {included}: {error}") from None
        for key in found:
            if key != "connections":
                raise ConfigurationError(f"include: {included}: only [connections.NAME] can be included, not {key}")
        _anchor(found, included.parent)
        own = plan.setdefault("connections", {})
        added = found.get("connections", {})
        if not isinstance(own, dict) or not isinstance(added, dict):
            raise ConfigurationError("connections must be tables: [connections.NAME]")
        for connection, table in added.items():
            if connection in own:
                raise ConfigurationError(f"connections.{connection} is in more than one file: {included} has it too")
            own[connection] = table


def _anchor_places(plan: dict[str, Any], folder: Path) -> None:
    """Make paths of bundles, and the folder of a connector, relative to the folder of the file."""
    for name in ("source", "sink"):
        table = plan.get(name)
        if not isinstance(table, dict):
            continue
        if isinstance(table.get("bundle"), str) and table["bundle"]:
            table["bundle"] = os.path.join(folder, table["bundle"])
        if "connector" in table and isinstance(table.get("folder", ""), str):
            table["folder"] = os.path.join(folder.absolute(), table.get("folder", ""))


def _anchor(plan: dict[str, Any], folder: Path) -> None:
    """Make the relative paths of SQLite databases relative to the folder of their file."""
    connections = plan.get("connections")
    for table in connections.values() if isinstance(connections, dict) else ():
        if not isinstance(table, dict):
            continue
        path = table.get("path")
        uri = table.get("uri")
        if path is None and isinstance(uri, str) and uri.lower().startswith("sqlite:"):
            path = _path_of(uri)
        if isinstance(path, str) and path not in ("", ":memory:") and not path.startswith("file:"):
            table["path"] = os.path.join(folder, path)


def _path_of(uri: str) -> str | None:
    from qanat import DatabaseConfig

    try:
        path = DatabaseConfig.from_uri(uri).path
    except QanatError:
        return None  # the library says what is wrong with it, and in which key
    return path if isinstance(path, str) else None


_STEP = re.compile(r"process\[(\d+)\]\Z")


def _override(plan: dict[str, Any], key: str, value: Any) -> None:
    parts = key.split(".")
    if not all(parts):
        raise ConfigurationError(f"{key!r} is no key path: write table.key")
    table = plan
    step = _STEP.match(parts[0])
    if step:
        steps = plan.get("process")
        number = int(step.group(1))
        if not isinstance(steps, list) or number >= len(steps) or not isinstance(steps[number], dict) or not parts[1:]:
            raise ConfigurationError(f"{key} cannot be set: there is no {parts[0]} with keys")
        table, parts = steps[number], parts[1:]
    for depth, part in enumerate(parts[:-1]):
        table = table.setdefault(part, {})
        if not isinstance(table, dict):
            raise ConfigurationError(f"{key} cannot be set: {'.'.join(parts[: depth + 1])} is not a table")
    table[parts[-1]] = copy.deepcopy(value)


# ---- the plan as JSON ------------------------------------------------------------------------------------------------


def _plain(value: Any, path: str, depth: int = 0) -> Any:
    """The value as JSON has it; dates and times as tables of one key ("$date", "$timestamp", "$instant", "$time")."""
    if depth > _MAX_DEPTH:
        raise ConfigurationError(f"{path} is nested too deeply")
    if isinstance(value, Mapping):
        return {
            _key(key, path): _plain(item, f"{path}.{key}" if path else str(key), depth + 1)
            for key, item in value.items()
        }
    if isinstance(value, list | tuple):
        return [_plain(item, f"{path}[{i}]", depth + 1) for i, item in enumerate(value)]
    if isinstance(value, datetime.datetime):
        if value.tzinfo is None:
            return {"$timestamp": value.isoformat(sep=" ")}
        return {"$instant": value.astimezone(datetime.UTC).replace(tzinfo=None).isoformat(sep=" ") + "Z"}
    if isinstance(value, datetime.date):
        return {"$date": value.isoformat()}
    if isinstance(value, datetime.time):
        return {"$time": value.isoformat()}
    return _plain_scalar(value, path)


def _plain_scalar(value: Any, path: str) -> Any:
    if isinstance(value, bool):
        return value
    if isinstance(value, int):
        if not -(2**63) <= value < 2**63:
            raise ConfigurationError(f"{path} does not fit into 64 bits")
        return value
    if isinstance(value, float):
        if not math.isfinite(value):
            raise ConfigurationError(f"{path} is {value}; it must be a finite number")
        return value
    if isinstance(value, str):
        if "\0" in value:
            raise ConfigurationError(f"{path} has a NUL character in it")
        return value
    raise ConfigurationError(f"{path} is a {type(value).__name__}, which a task file cannot hold")


def _key(key: Any, path: str) -> str:
    if not isinstance(key, str) or not key or "\0" in key:
        raise ConfigurationError(f"{path or 'the plan'} has the key {key!r}, which is no name")
    return key


def _to_json(plan: Mapping[str, Any]) -> str:
    if not isinstance(plan, Mapping):
        raise ConfigurationError(f"a plan is a dict, not a {type(plan).__name__}")
    text = json.dumps(_plain(plan, ""), ensure_ascii=False, allow_nan=False)
    try:
        text.encode("utf-8")
    except UnicodeEncodeError:
        raise ConfigurationError("the plan has a lone surrogate in it, which no UTF-8 text can hold") from None
    return text


# ---- where an error is -----------------------------------------------------------------------------------------------

_TOML_LINE = re.compile(r"\(at line (\d+), column \d+\)")
_KEY_PATH = re.compile(r"[A-Za-z_][A-Za-z0-9_-]*(?:\[\d+\])?(?:\.[A-Za-z0-9_-]+)*")
_HEADER = re.compile(r"\s*\[(\[?)\s*([^\]]+?)\s*\]\]?\s*(?:#.*)?$")


def _headers(lines: list[str]) -> Iterator[tuple[int, str, str]]:
    """Line number, table and text of every line; lines inside multi-line strings may be misread: for messages only."""
    table = ""
    count: dict[str, int] = {}
    for number, line in enumerate(lines, 1):
        header = _HEADER.match(line)
        if header:
            table = header.group(2).replace('"', "").replace("'", "")
            if header.group(1):
                count[table] = count.get(table, -1) + 1
                table = f"{table}[{count[table]}]"
        yield number, table, line


def _find_line(text: str, path: str) -> int | None:
    """The line on which a key, or else its table, stands."""
    table, _, key = path.rpartition(".")
    table_line = None
    for number, current, line in _headers(text.split("\n")):
        if current == path or (table and current == table):
            table_line = table_line or number
        if current == table and re.match(rf"""\s*["']?{re.escape(key)}["']?\s*[.=]""", line):
            return number
    return table_line


def _placed(error: QanatError, file: Path, text: str, overrides: Mapping[str, Any]) -> QanatError:
    """The same error with file and line in front of its message; or with the override that set the key."""
    message = str(error)
    line: int | None = None
    toml = _TOML_LINE.search(message)
    key = _KEY_PATH.match(message)
    if toml:
        line = int(toml.group(1))
        message = message.replace(toml.group(0), "").rstrip()
    elif key:
        line = _find_line(text, key.group(0))
    place = f"{file}:{line}" if line else str(file)
    for name in overrides:
        if key and not toml and (key.group(0) == name or key.group(0).startswith(f"{name}.")):
            place = f"{file}, override of {name}"
    placed = copy.copy(error)
    placed.args = (f"{place}: {message}",)
    return placed
