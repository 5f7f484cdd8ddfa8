"""File formats that pyarrow reads and writes for the engine: parquet, csv, json and jsonl.

`register()` puts them into the engine's table, once, and imports nothing for it: pyarrow comes with the first file that
is read or written. Without pyarrow nothing is registered, and the engine's own error says how to get it.

A format here is an object with

    read(fd, name, columns, options) -> (pyarrow.Schema, iterator of pyarrow.RecordBatch with close(), bool: all)
    count(fd, name, options) -> int                                 where `counts`
    writer(schema, sink) -> object with write(batch) and finish()   where `writes`

which python/ext/format.c calls on any thread. Streams hold a few batches. `options` is a JSON object, which each format
documents. What a format cannot hold exactly is refused, never rounded.
"""

from __future__ import annotations

import json
import os
import threading
from collections.abc import Iterator
from importlib import import_module
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any, Protocol

from qanat import _native
from qanat.errors import (
    ConfigurationError,
    DataError,
    FileError,
    InternalError,
    NotSupportedError,
    OutOfMemoryError,
    QanatError,
)

if TYPE_CHECKING:
    import pyarrow as pa

Reading = tuple["pa.Schema", Iterator["pa.RecordBatch"], bool]

# What each takes; the modules say what it means.
OPTIONS: dict[str, tuple[str, ...]] = {
    "parquet": (),
    "csv": ("delimiter", "header", "columns", "quote", "escape", "encoding", "null", "types", "infer"),
    "json": ("types", "records"),
    "jsonl": ("types",),
}

_lock = threading.Lock()
_registered = False


class Writer(Protocol):
    def write(self, batch: _native.Batch) -> None: ...
    def finish(self) -> None: ...


class _Format:
    """A format in a module that is imported when it is used."""

    def __init__(self, module: str, *, counts: bool = False, writes: bool = False) -> None:
        self._module = module
        self.counts = counts
        self.writes = writes

    def read(self, fd: int, name: str | None, columns: list[str] | None, options: str | None) -> Reading:
        with naming(name):
            schema, batches, every = import_module(self._module).read(fd, columns, options_of(options), name or "")
        return schema, _named(batches, name), every

    def count(self, fd: int, name: str | None, options: str | None) -> int:
        with naming(name):
            rows: int = import_module(self._module).count(fd, options_of(options))
        return rows

    def writer(self, schema: _native.Schema, sink: _native.FormatSink) -> Writer:
        writer: Writer = import_module(self._module).Writer(schema, sink)
        return writer


_FORMATS: tuple[tuple[str, str, str, bytes, _Format], ...] = (
    (
        "parquet",
        "parq pqt",
        "application/vnd.apache.parquet application/x-parquet",
        b"PAR1",
        _Format("qanat._format_parquet", counts=True, writes=True),
    ),
    ("csv", "tsv", "text/csv text/tab-separated-values", b"", _Format("qanat._format_csv", writes=True)),
    ("json", "", "application/json", b"", _Format("qanat._format_json")),
    (
        "jsonl",
        "ndjson jsonlines",
        "application/x-ndjson application/jsonl application/jsonlines application/x-jsonlines",
        b"",
        _Format("qanat._format_jsonl"),
    ),
)


def register() -> bool:
    """Register the formats where pyarrow is installed; whether they are registered."""
    global _registered  # noqa: PLW0603
    with _lock:
        if not _registered and find_spec("pyarrow") is not None:
            for name, suffixes, content_types, magic, form in _FORMATS:
                _native._format_register(name, suffixes, content_types, " ".join(OPTIONS[name]), magic, form)
            _registered = True
        return _registered


# ---- errors ----

_STATUSES: dict[str, int] = {
    "OutOfMemoryError": 1,
    "ArgumentError": 2,
    "ConfigurationError": 3,
    "DatabaseConnectionError": 4,
    "ConnectionClosedError": 5,
    "ConnectionBusyError": 6,
    "QueryExecutionError": 7,
    "ConstraintViolationError": 8,
    "QueryTimeoutError": 9,
    "QueryCancelledError": 10,
    "DataError": 11,
    "FileError": 12,
    "NotSupportedError": 13,
    "InternalError": 15,
    "ConflictError": 16,
    "ConnectorError": 17,
    "ForbiddenError": 18,
}


def failure(error: BaseException) -> tuple[int, str, str, str, bool, int, int, str | None] | None:
    """Status, message, detail, hint, whether and after how many milliseconds it may be retried, row and column of an
    exception; None for one that stops the program."""
    if not isinstance(error, Exception):
        return None
    known = _known(error)
    return (
        _STATUSES.get(type(known).__name__, _STATUSES["InternalError"]),
        _plain(str(known)),
        _plain(known.detail or "", 500),
        _plain(known.hint or "", 500),
        False,
        0,
        -1 if known.row is None else known.row,
        None if known.column is None else _plain(known.column, 120),
    )


def _plain(text: str, most: int = 1000) -> str:
    """One line of text that C can hold."""
    line = " ".join(text.replace("\0", "\ufffd").split())
    return line.encode("utf-8", "replace")[:most].decode("utf-8", "ignore")


def _known(error: Exception, name: str | None = None) -> QanatError:
    """The exception of ours that an exception is; pyarrow's text is kept. `name` is the file's."""
    if isinstance(error, QanatError):
        return error
    text = f'"{name}": {error}' if name is not None else str(error)
    kinds = [kind.__name__ for kind in type(error).__mro__]
    if isinstance(error, MemoryError):
        return OutOfMemoryError(text)
    if "ArrowNotImplementedError" in kinds:
        return NotSupportedError(text)
    if isinstance(error, OSError):
        # pyarrow raises an OSError without a number for files that are damaged.
        return DataError(text) if error.errno is None else FileError(text)
    if isinstance(error, ImportError):
        return NotSupportedError(f"{text}", hint="pip install 'qanat[bundles]'")
    if isinstance(error, (ValueError, KeyError, OverflowError)) or "ArrowException" in kinds:
        return DataError(text)
    return InternalError(f"{type(error).__name__}: {text}")


class naming:
    """A `with` block whose exceptions become ours, with the name of the file before the text."""

    def __init__(self, name: str | None) -> None:
        self.name = name

    def __enter__(self) -> None:
        pass

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, _traceback: object) -> None:
        if isinstance(error, QanatError) and self.name is not None and not getattr(error, "_named", False):
            error.args = (f'"{self.name}": {error}',)
            error._named = True  # type: ignore[attr-defined]
        elif isinstance(error, Exception) and not isinstance(error, QanatError):
            known = _known(error, self.name)
            known._named = True  # type: ignore[attr-defined]
            raise known from error


def _named(batches: Iterator[pa.RecordBatch], name: str | None) -> Iterator[pa.RecordBatch]:
    with naming(name):
        yield from batches


# ---- options ----


def options_of(text: str | None) -> dict[str, Any]:
    """The members of an options text."""
    if text is None or not text.strip():
        return {}
    try:
        options = json.loads(text)
    except ValueError as error:
        raise ConfigurationError(f"the options of a format are a JSON object: {error}") from None
    if not isinstance(options, dict):
        raise ConfigurationError("the options of a format are a JSON object")
    return options


def check_options(options: dict[str, Any], form: str) -> None:
    known = OPTIONS[form]
    for name in options:
        if name not in known:
            there = f"it has {', '.join(known)}" if known else "it has none"
            raise ConfigurationError(f'the format {form} has no option "{name}": {there}')


def text_option(options: dict[str, Any], name: str, default: str) -> str:
    value = options.get(name, default)
    if not isinstance(value, str):
        raise ConfigurationError(f'the option "{name}" is a text, not {value!r}')
    return value


def yes_option(options: dict[str, Any], name: str, default: bool) -> bool:
    value = options.get(name, default)
    if isinstance(value, str):
        value = {"true": True, "false": False}.get(value.lower(), value)
    if not isinstance(value, bool):
        raise ConfigurationError(f'the option "{name}" is "true" or "false", not {value!r}')
    return value


def list_option(options: dict[str, Any], name: str, default: list[str]) -> list[str]:
    """A list of texts, or one text, or the JSON text of a list."""
    value = options.get(name, default)
    if isinstance(value, str) and value.startswith("["):
        try:
            value = json.loads(value)
        except ValueError as error:
            raise ConfigurationError(f'the option "{name}" is no JSON list: {error}') from None
    if isinstance(value, str):
        value = [value]
    if not isinstance(value, list) or not all(isinstance(item, str) for item in value):
        raise ConfigurationError(f'the option "{name}" is a text or a list of texts, not {value!r}')
    return value


def types_option(options: dict[str, Any]) -> dict[str, pa.DataType]:
    """The option "types": names and type texts, `{"id": "Int64"}` or the JSON text of it."""
    from qanat import _format_types

    value = options.get("types", {})
    if isinstance(value, str):
        try:
            value = json.loads(value)
        except ValueError as error:
            raise ConfigurationError(f'the option "types" is no JSON object: {error}') from None
    if not isinstance(value, dict) or not all(isinstance(kind, str) for kind in value.values()):
        raise ConfigurationError(f'the option "types" has names and types such as {{"id": "Int64"}}, not {value!r}')
    return {name: _format_types.type_of(kind, f'the type of "{name}"') for name, kind in value.items()}


# ---- files ----


def native_file(fd: int) -> pa.NativeFile:
    """A descriptor as a file of pyarrow's, at its beginning, which it reads without the interpreter's lock."""
    import pyarrow as pa

    try:
        return pa.OSFile(f"/proc/self/fd/{fd}", "r")
    except OSError:  # no /proc, or a file that may not be opened once more
        copy = os.dup(fd)
        os.lseek(copy, 0, os.SEEK_SET)
        return pa.PythonFile(os.fdopen(copy, "rb", buffering=1 << 20), mode="r")
