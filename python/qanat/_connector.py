"""Connectors: open_connector(), ConnectorHandle, Location."""

from __future__ import annotations

import json
import logging
import os
import shlex
import sys
import weakref
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from types import TracebackType
from typing import TYPE_CHECKING, Any

from qanat import _native
from qanat.errors import ArgumentError, ConfigurationError

if TYPE_CHECKING:
    from qanat._stream import Stream

__all__ = ["ConnectorHandle", "Location", "open_connector"]

ALLOW_VARIABLE = "QANAT_SYSTEM_ALLOW_EXTERNAL_CODE"

_log = logging.getLogger("qanat.connector")
_LEVELS = {"debug": logging.DEBUG, "info": logging.INFO, "warning": logging.WARNING, "error": logging.ERROR}
_CAN_RESUME = 1  # of enum qn_capability
_MAX_ROWS = (1 << 63) - 1


@dataclass(slots=True)
class Location:
    """One piece of data that a connector has.

    location   its identifier, any text
    must_copy  whether the data has to be copied; otherwise a reference may do
    format     of the file behind it, where there is one
    version    changes when the data changes; "" is unknown
    num_rows   None is unknown
    """

    location: str
    must_copy: bool = True
    format: str = "parquet"
    version: str = ""
    num_rows: int | None = None


class ConnectorHandle(_native.Connector):
    """A connector that is open. Any number of threads may use it; a stream is read by one at a time.

    Made by open_connector(). Use it as a context manager, or close() it: its processes end then.
    """

    __slots__ = ("__weakref__", "_forget")
    _forget: weakref.finalize[..., ConnectorHandle] | None  # lets go of the class that open_connector() was given

    def close(self) -> None:
        """End its processes. Streams that are open fail afterwards. Closing twice is allowed."""
        super().close()
        if self._forget is not None:
            self._forget()

    def discover(self, attached: Iterable[str] = ()) -> list[Location]:
        """The locations that there are. `attached` are those that the caller has: a connector may leave them out."""
        if isinstance(attached, str):
            raise TypeError("attached must be locations, not one str")
        found: list[Location] = []
        self._discover(list(attached), lambda *values: found.append(Location(*values)))
        return found

    def each_location(self, each: Callable[[Location], object], attached: Iterable[str] = ()) -> None:
        """Call each(location) as the locations come, however many there are. What it raises ends the discovery."""
        if isinstance(attached, str):
            raise TypeError("attached must be locations, not one str")
        self._discover(list(attached), lambda *values: each(Location(*values)))

    def data(
        self,
        location: Location | str | Any,
        columns: Sequence[str] | None = None,
        filter: Sequence[Any] | None = None,  # noqa: A002 - the word of the protocol
        limit: int | None = None,
        skip_rows: int = 0,
    ) -> Stream | None:
        """The data of a location, read once with bounded memory; None where there is none.

        What the connector cannot do itself is done here: the rows are always as asked.

        location    a Location (qanat_sdk's too), or its name
        columns     only these, in this order
        filter      an expression, as a list: `["and", [">=", "id", 10], ["is_null", "deleted"]]`
        limit       at most so many rows
        skip_rows   rows that the caller has already; NotSupportedError where the order is not stable: see can_resume()
        """
        if isinstance(columns, str):
            raise TypeError("columns must be names, not one str")
        if limit is not None and not 0 <= limit <= _MAX_ROWS:
            raise ArgumentError(f"limit must be a number of rows, not {limit!r}")
        if not 0 <= skip_rows <= _MAX_ROWS:
            raise ArgumentError(f"skip_rows must be a number of rows, not {skip_rows!r}")
        return self._data(
            _place(location),
            None if columns is None else list(columns),
            None if filter is None else _json(filter, "filter"),
            -1 if limit is None else limit,
            skip_rows,
        )

    def stable_url(self, location: Location | str | Any) -> str | None:
        """The URL under which the data of a location can be had without the connector, where there is one."""
        return self._stable_url(_place(location))

    def describe(self) -> dict[str, Any]:
        """What the connector says of itself: name, arguments (JSON Schema), capabilities, protocol."""
        said: dict[str, Any] = json.loads(self._describe())
        return said

    def can_resume(self) -> bool:
        """Whether the rows of a location come in the same order each time, so that skip_rows makes sense."""
        return self._can(_CAN_RESUME)

    def __enter__(self) -> ConnectorHandle:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()

    def __repr__(self) -> str:
        return f"<qanat.ConnectorHandle{' (closed)' if self.closed else ''}>"


def open_connector(
    uri: str | Any,
    arguments: Mapping[str, Any] | None = None,
    *,
    name: str | None = None,
    allow_external_code: bool | None = None,
    folder: str | os.PathLike[str] | None = None,
    timeout: float | None = None,
    processes: int | None = None,
    retries: int | None = None,
    record: str | os.PathLike[str] | None = None,
    interpreter: str | None = None,
    on_log: Callable[[str, str], object] | None = None,
    on_progress: Callable[[int, int | None, str], object] | None = None,
) -> ConnectorHandle:
    """Open a connector: tables from anywhere, location by location.

    uri                  `python::module:Class` (in this process), `ipc::command ...` (a process of its own; a bare
                         `script.py` runs under this Python), `ffi::`, `java::`, `docker::`, `cassette::`, or a
                         built-in: `files`, `http`, `database`. In place of a URI a connector's class or object
    arguments            given to each of its methods, as texts
    name                 for messages; the URI otherwise
    allow_external_code  whether code from outside may run; None: QANAT_SYSTEM_ALLOW_EXTERNAL_CODE decides. Built-ins,
                         cassettes and objects need no permission
    folder               where relative paths and modules of the URI begin; None: the current one
    timeout              seconds that a call may go without a sign of life (300)
    processes            at most so many of them (16)
    retries              of a call whose error says that it may be retried (3; 0: none)
    record               a new file for everything that is asked and answered: `cassette::FILE` replays it
    interpreter          what runs a bare `script.py` of ipc::, a command
    on_log               called as on_log(level, message), also with lines of its standard error; None: logging
    on_progress          called as on_progress(rows, total or None, text)

    The process of a connector is started by the first call.
    """
    entry = None
    allowed = allow_external_code
    if not isinstance(uri, str):
        from qanat import _native_connector

        name = name or (uri.__name__ if isinstance(uri, type) else type(uri).__name__)
        entry = _native_connector.keep_object(uri)
        uri, allowed = f"python::{entry}", True
    try:
        handle = ConnectorHandle(
            uri=uri,
            name=name,
            arguments=arguments_json(arguments),
            folder=None if folder is None else os.fspath(folder),
            interpreter=interpreter if interpreter is not None else default_interpreter(),
            allow_external_code=allowed_from_environment() if allowed is None else bool(allowed),
            timeout=0.0 if timeout is None else _positive(timeout, "timeout"),
            processes=0 if processes is None else int(_positive(processes, "processes")),
            retries=0 if retries is None else _retries(retries),
            record=None if record is None else os.fspath(record),
            log=on_log if on_log is not None else _to_logging(name or uri),
            progress=on_progress,
        )
    except BaseException:
        if entry is not None:
            _native_connector.forget_object(entry)
        raise
    handle._forget = None if entry is None else weakref.finalize(handle, _native_connector.forget_object, entry)
    return handle


def allowed_from_environment() -> bool:
    """Whether the environment allows external code."""
    said = os.environ.get(ALLOW_VARIABLE, "").strip().lower()
    if said in ("", "false", "0", "no", "off"):
        return False
    if said in ("true", "1", "yes", "on"):
        return True
    raise ConfigurationError(f'{ALLOW_VARIABLE} is "{said}"; it must be "true" or "false"')


def default_interpreter() -> str:
    """What runs a bare script of ipc::, this Python; with the names of the systems before this one where this process
    has asked for them (qanat.compat)."""
    compat = sys.modules.get("qanat.compat")
    asked = compat is not None and not {"bundlebase", "bundlebase_sdk"}.isdisjoint(compat.installed())
    return shlex.join([sys.executable, "-m", "qanat.compat"]) if asked else shlex.join([sys.executable])


def arguments_json(arguments: Mapping[str, Any] | None) -> str | None:
    """Arguments as a JSON object of texts. True and False are "true" and "false", None is left out."""
    if arguments is None:
        return None
    if not isinstance(arguments, Mapping):
        raise TypeError(f'arguments are a dict such as {{"path": "data"}}, not {type(arguments).__name__}')
    texts: dict[str, str] = {}
    for key, value in arguments.items():
        if not isinstance(key, str):
            raise TypeError(f"the name of an argument is a str, not {key!r}")
        if isinstance(value, bool):
            texts[key] = "true" if value else "false"
        elif isinstance(value, (str, int, float)):
            texts[key] = str(value)
        elif isinstance(value, os.PathLike):
            texts[key] = os.fspath(value)
        elif value is not None:
            raise TypeError(f"the argument {key} is a text or a number, not {type(value).__name__}")
    return _json(texts, "arguments")


def _json(value: Any, what: str) -> str:
    try:
        return json.dumps(value, ensure_ascii=False, allow_nan=False)
    except (TypeError, ValueError) as error:
        raise ArgumentError(f"{what} cannot be written as JSON: {error}") from None


def _positive(value: float, what: str) -> float:
    if not 0 < value < 1e9:
        raise ArgumentError(f"{what} must be a number above 0, not {value!r}")
    return value


def _retries(value: int) -> int:
    if not 0 <= value <= 1000:
        raise ArgumentError(f"retries must be a number from 0 to 1000, not {value!r}")
    return value if value > 0 else -1


def _place(location: Any) -> tuple[str, bool, str, str, int | None]:
    """A location's five values, of ours, of qanat_sdk's, or of a name alone."""
    if isinstance(location, str):
        location = Location(location)
    try:
        return (
            location.location,
            bool(location.must_copy),
            location.format,
            location.version,
            getattr(location, "num_rows", None),
        )
    except AttributeError:
        raise TypeError(f"a location is a Location or its name, not {type(location).__name__}") from None


def _to_logging(name: str) -> Callable[[str, str], None]:
    def log(level: str, message: str) -> None:
        _log.log(_LEVELS.get(level, logging.INFO), "%s: %s", name, message)

    return log
