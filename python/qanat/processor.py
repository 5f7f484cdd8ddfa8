"""Processors: Python statements over rows, in a sandbox that the kernel enforces.

    double = qn.Processor("return [{'id': r['id'] * 2} for r in INPUT_DATA]", output={"id": "Int64"})
    result = double.run([{"id": 1}, {"id": 2}])
    result.status, result.to_dicts()

What a statement does never raises here: it is the status of its result. What is wrong with a processor itself (its
arguments, its runtime, a statement that breaks the rules of the language) raises when the processor is made. The rules
of the language are told in docs/guides/processor.md, the walls in SECURITY.md.
"""

from __future__ import annotations

import json
import math
import os
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, NamedTuple, TypeVar

from qanat import _native, _runtime, _settings
from qanat._frames import has_arrow, rows_of
from qanat._schemas import Fields, schema_fields
from qanat._stream import Schema, Stream
from qanat.errors import (
    ArgumentError,
    DataError,
    FileError,
    OutOfMemoryError,
    QanatError,
    QueryExecutionError,
    QueryTimeoutError,
    StatementError,
)

if TYPE_CHECKING:
    import pandas as pd
    import polars as pl
    import pyarrow as pa

    from qanat._typing import ArrowData

    Data = ArrowData | Sequence[Mapping[str, Any]] | None

__all__ = ["DebugResult", "LogEntry", "Processor", "Result"]

Status = Literal[
    "ok", "no_data", "failed", "timed_out", "memory_exceeded", "output_limit", "crashed", "rejected"
]  # as qn_execution_status_name has them
Mode = Literal["row", "bulk"]

_MAX_FILE_BYTES = 4 << 20
_DEFAULT_NAME = "statement.py"
_UNITS = {"": 1, "B": 1, "KB": 1 << 10, "MB": 1 << 20, "GB": 1 << 30, "KIB": 1 << 10, "MIB": 1 << 20, "GIB": 1 << 30}
_SIZE = re.compile(r"\s*(\d+(?:\.\d+)?)\s*([A-Za-z]*)\s*\Z")
_ROW = re.compile(r"row (\d+)\b")
_SECONDS = {"seconds_start": "start", "seconds_compile": "compile", "seconds_read": "read", "seconds_run": "run"}
_SECONDS |= {"seconds_write": "write", "seconds": "total"}
_COUNTS = ("rows_in", "rows_out", "peak_memory", "output_bytes", "log_bytes", "logs_dropped", "tier")


class LogEntry(NamedTuple):
    """One message of a statement."""

    level: str
    """`trace`, `debug`, `info`, `warn` or `error`."""
    message: str
    line: int | None
    """Of the statement, counted from 1."""
    row: int | None
    """Of the input, counted from 0; None in bulk mode."""


# ---- results ---------------------------------------------------------------------------------------------------------


class Result:
    """How a run ended, and its rows where it ended well (`ok`, or `no_data`: well, without a row)."""

    status: Status
    message: str
    """Empty where all is well; otherwise what went wrong, with the statement's own lines."""
    line: int | None
    """The line of the statement that is to blame, where one is."""
    row: int | None
    """The row of the input that is to blame, where one is; rows of what was returned are named in `message`."""
    stats: dict[str, Any]
    """`rows_in`, `rows_out`, `seconds` (a dict by stage: start, compile, read, run, write, total), `peak_memory` in
    bytes, `tier`, `output_bytes`, `log_bytes`, `logs_dropped`, and `seconds_killed` where its deadline had passed."""

    def __init__(self, processor: Processor, execution: _native.Execution | None, fields: dict[str, Any]) -> None:
        self._processor = processor
        self._execution = execution
        self._logs: list[LogEntry] | None = None
        self.status = fields["status"]
        self.message = fields["message"]
        self.line = fields["line"]
        self.row = fields["row"]
        self.stats = {name: fields[name] for name in _COUNTS}
        self.stats["seconds"] = {stage: fields[name] for name, stage in _SECONDS.items()}
        if fields["seconds_killed"]:
            self.stats["seconds_killed"] = fields["seconds_killed"]

    @property
    def ok(self) -> bool:
        """Whether the run ended well, with rows or without."""
        return self.status in ("ok", "no_data")

    @property
    def logs(self) -> list[LogEntry]:
        """What the statement said, in order."""
        if self._logs is None:
            self._logs = [LogEntry(*entry) for entry in self._execution.logs] if self._execution is not None else []
        return self._logs

    @property
    def checkpoint(self) -> Any:
        """The value of the checkpoint column in the last row; None where there is no such column, or no row.

        It is what the next run gets as DATA_CHECKPOINT. A run that did not end well has none.
        """
        stream = self._execution._checkpoint() if self._execution is not None else None
        if stream is None:
            return None
        from qanat import _rows

        return _rows.to_value(stream.__arrow_c_stream__())

    @property
    def schema(self) -> Schema:
        """The columns of the output."""
        return self._processor.schema

    def stream(self) -> Stream:
        """The rows as a stream; any number of times. Raises what `raise_for_status` raises."""
        self.raise_for_status()
        assert self._execution is not None  # only a run has ended well
        return self._execution._rows()

    def __arrow_c_stream__(self, requested_schema: Any = None) -> Any:
        return self.stream().__arrow_c_stream__(requested_schema)

    def to_polars(self) -> pl.DataFrame:
        """The rows as a polars frame, without a copy."""
        return self.stream().to_polars()

    def to_pyarrow(self) -> pa.Table:
        """The rows as a pyarrow table. Needs pyarrow."""
        return self.stream().to_pyarrow()

    def to_pandas(self) -> pd.DataFrame:
        """The rows as a pandas frame. Needs pandas and pyarrow."""
        return self.stream().to_pandas()

    def to_dicts(self) -> list[dict[str, Any]]:
        """The rows as dicts, with the values that the next statement would see."""
        from qanat import _rows

        try:
            return _rows.to_dicts(self.stream().__arrow_c_stream__())
        except (TypeError, ValueError, OverflowError) as error:
            raise DataError(str(error), hint="take the rows as a frame: to_polars()") from None

    def raise_for_status(self) -> None:
        """Raise an error naming the status, unless the run ended well."""
        if self.ok:
            return
        message = f"the run ended as {self.status}: {self.message}" if self.message else f"the run was {self.status}"
        if self.status == "rejected":
            raise self._processor._refusal(self.line or 0, 0, self.message)
        kind = {"timed_out": QueryTimeoutError, "memory_exceeded": OutOfMemoryError, "output_limit": DataError}
        raise kind.get(self.status, QueryExecutionError)(message, row=self.row)

    def __repr__(self) -> str:
        rows = f", {self.stats['rows_out']} rows" if self.status == "ok" else ""
        return f"<qanat.{type(self).__name__}: {self.status}{rows}>"


class DebugResult(Result):
    """A result that `str()` shows whole: rows, log with lines, time by stage, memory, checkpoint."""

    def __str__(self) -> str:
        return self.report()

    def report(self, rows: int = 20) -> str:
        """The same with so many rows at most."""
        from qanat.cli.process_report import report_text

        return report_text(self, rows)


_R = TypeVar("_R", bound=Result)


# ---- arguments -------------------------------------------------------------------------------------------------------


def _read_statement(statement: object) -> tuple[str, str, Path]:
    """Text, name and folder of a statement that is given as text or as a path."""
    if isinstance(statement, str):
        if "\n" in statement or not statement.endswith(".py") or re.search(r"\s", statement):
            return statement, _DEFAULT_NAME, Path()
    elif not isinstance(statement, os.PathLike):
        raise TypeError(f"statement must be a str or a path, not {type(statement).__name__}")
    file = Path(statement)
    name = str(file)
    try:
        with file.open("rb") as stream:
            data = stream.read(_MAX_FILE_BYTES + 1)
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or str(error)
        raise FileError(f"cannot read the statement {name!r}: {reason}") from None
    if len(data) > _MAX_FILE_BYTES:
        raise FileError(f"{name!r} is no statement: it has more than {_MAX_FILE_BYTES >> 20} MiB")
    try:
        return data.decode("utf-8-sig").replace("\r\n", "\n"), name, file.parent
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        column = error.start - (data.rfind(b"\n", 0, error.start) + 1) + 1
        raise StatementError(
            f"line {line}: byte {error.start} (0x{data[error.start]:02x}) is not UTF-8; save the file as UTF-8",
            filename=name,
            lineno=line,
            offset=column,
        ) from None


def _check_text(text: str, name: str) -> None:
    try:
        text.encode("utf-8")
    except UnicodeEncodeError as error:
        line = text.count("\n", 0, error.start) + 1
        raise StatementError(
            f"line {line}: a lone surrogate, which no UTF-8 text can hold", filename=name, lineno=line, offset=1
        ) from None


def parse_size(value: object, what: str) -> int:
    """Bytes of `536870912` or `"512MB"`; units (B, KB, MB, GB, KiB, MiB, GiB) are powers of 1024, as of memory."""
    if isinstance(value, str):
        match = _SIZE.match(value)
        unit = _UNITS.get(match.group(2).upper()) if match else None
        if match is None or unit is None:
            raise ArgumentError(f'{what} is {value!r}; write a number of bytes, or "512MB", "2GB"')
        value = int(float(match.group(1)) * unit)
    if isinstance(value, bool) or not isinstance(value, int):
        raise TypeError(f'{what} must be a text like "512MB" or a number of bytes, not {type(value).__name__}')
    return _integer(value, what)


def _integer(value: object, what: str) -> int:
    if isinstance(value, bool) or not isinstance(value, int):
        raise TypeError(f"{what} must be an int, not {type(value).__name__}")
    if not -(2**63) <= value < 2**63:
        raise ArgumentError(f"{what} is out of range")
    return value


def _seconds(value: object, what: str) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise TypeError(f"{what} must be a number of seconds, not {type(value).__name__}")
    if not (math.isfinite(value) and value > 0):
        raise ArgumentError(f"{what} is {value}; it must be a number of seconds above 0")
    return float(value)


def _texts(value: object, what: str) -> list[str]:
    if isinstance(value, str | bytes) or not isinstance(value, Sequence | set | frozenset):
        raise TypeError(f"{what} must be a list of texts, not {type(value).__name__}")
    for item in value:
        if not isinstance(item, str):
            raise TypeError(f"{what} has a {type(item).__name__} in it; it must be a list of texts")
    return list(value)


def _text(value: object, what: str) -> str:
    if not isinstance(value, str):
        raise TypeError(f"{what} must be a str, not {type(value).__name__}")
    return value


# ---- data ------------------------------------------------------------------------------------------------------------


class _Pair:
    """A pair of capsules, handed on once."""

    def __init__(self, pair: tuple[Any, Any]) -> None:
        self._pair = pair

    def __arrow_c_array__(self, requested_schema: Any = None) -> tuple[Any, Any]:
        return self._pair


class _Misfit(Exception):
    """Rows that are not of the input schema."""


def _checkpoint_rows(value: object) -> Any:
    """One row with one column for DATA_CHECKPOINT, or None."""
    if value is None or has_arrow(value):
        return value
    if isinstance(value, int) and not isinstance(value, bool) and not -(2**63) <= value < 2**64:
        raise ArgumentError(f"checkpoint is an integer of {value.bit_length()} bits; at most 64 are possible")
    return rows_of({"checkpoint": [value]})


# ---- the processor ---------------------------------------------------------------------------------------------------


class Processor:
    """A checked statement: `run` it over rows, `stream` rows through it, `debug` it on a sample.

    Any number of threads may use one at once. Interpreters are kept ready between runs, and every run has a process of
    its own that is gone afterwards.
    """

    def __init__(
        self,
        statement: str | os.PathLike[str],
        output: Mapping[str, str] | str,
        input: Mapping[str, str] | str | None = None,  # noqa: A002  (the other half of `output`)
        mode: Mode = "row",
        checkpoint: str | None = None,
        allow: Sequence[str] | None = None,
        network: Literal["off", "public"] | Sequence[str] = "off",
        timeout: float = 30,
        memory: int | str = "512MB",
        concurrency: int = 1,
        runtime: str = "default",
        batch_rows: int | None = None,
    ) -> None:
        """Check a statement and everything that is said about it.

        `statement` is the body of an async function that returns a list of dicts, or the path of a file with one.
        `output` (and `input`, where rows are to be checked) names fields and types in order, `{"id": "Int64!"}`, or is
        the name of a schema in schemas/NAME.toml beside the statement. `mode` "row" runs it once a row, `concurrency`
        of them in flight while they await; "bulk" once for the whole input, or once for every `batch_rows` rows.
        `checkpoint` is the output column whose last value is the result's checkpoint. `allow` lists the modules that
        may be imported. `network` is "off", "public", or a list of "host:port". `timeout` counts seconds of the
        statement, `memory` bytes above the idle interpreter. `runtime` names the environment: see `qanat runtime list`.

        Raises StatementError where the statement breaks a rule of the language, ConfigurationError, ArgumentError or
        TypeError where something else is wrong.
        """
        text, name, folder = _read_statement(statement)
        _check_text(text, name)
        self._statement = text
        self._name = name
        plan: dict[str, Any] = {"statement": text, "name": name}
        plan["output"] = schema_fields(output, "output", folder)
        self._input: Fields | None = None if input is None else schema_fields(input, "input", folder)
        plan["input"] = self._input
        plan["mode"] = _text(mode, "mode")
        plan["checkpoint"] = None if checkpoint is None else _text(checkpoint, "checkpoint")
        plan["network"] = network if isinstance(network, str) else _texts(network, "network")
        plan["timeout"] = _seconds(timeout, "timeout")
        plan["memory"] = parse_size(memory, "memory")
        plan["concurrency"] = _integer(concurrency, "concurrency")
        if allow is not None:
            plan["allow"] = _texts(allow, "allow")
        if batch_rows is not None:
            plan["batch_rows"] = _integer(batch_rows, "batch_rows")
        _settings.apply()
        plan["runtime"] = _runtime.describe(runtime)
        self._input_schema: Schema | None = None
        if self._input is not None:
            # What the type texts mean is the library's to know: the same plan with the input as its output tells.
            types = {**plan, "output": self._input, "input": None, "checkpoint": None}
            self._input_schema = _native.Processor(json.dumps(types)).schema
        self._native = _native.Processor(json.dumps(plan))
        self._schema = self._native.schema
        problem = self._native._check()
        if problem is not None:
            raise self._refusal(*problem)

    @property
    def name(self) -> str:
        """The name of the statement's file, as messages have it."""
        return self._name

    @property
    def statement(self) -> str:
        """The text of the statement."""
        return self._statement

    @property
    def schema(self) -> Schema:
        """The columns of the output."""
        return self._schema

    def run(self, data: Data = None, checkpoint: Any = None) -> Result:
        """Run once over rows, to the end.

        `data` is anything with an Arrow stream, or a list of dicts; without it the statement is called once, with an
        empty INPUT_DATA. `checkpoint` is what the statement finds in DATA_CHECKPOINT. What the statement does is told
        by the result's status; rows that break the input schema are a status too. Raises only for what is wrong with
        the call, or with this machine.
        """
        return self._run(Result, data, checkpoint)

    def debug(self, data: Data = None, checkpoint: Any = None, row: int | None = None) -> DebugResult:
        """The same on a sample, `row` of it alone where that is given; `str()` of the result shows everything.

        Nothing is stored anywhere: the checkpoint shown is the one that a task would store.
        """
        return self._run(DebugResult, data if row is None else _one_row(data, _integer(row, "row")), checkpoint)

    def stream(self, data: Data = None, checkpoint: Any = None) -> Stream:
        """The rows that the statement returns, as a stream with bounded memory, while `data` is read.

        A run that does not end well is an error of the stream, before its end: what has been read of it by then does
        not count.
        """
        try:
            rows = self._rows_of(data)
        except _Misfit as misfit:
            raise _data_error(str(misfit)) from None
        return self._native._stream(rows, _checkpoint_rows(checkpoint))

    def _run(self, kind: type[_R], data: Any, checkpoint: Any) -> _R:
        given = _checkpoint_rows(checkpoint)
        try:
            rows = self._rows_of(data)
        except _Misfit as misfit:
            return kind(self, None, _failed_fields(str(misfit)))
        execution = self._native._run(rows, given)
        return kind(self, execution, execution.result)

    def _rows_of(self, data: Any) -> Any:
        if data is None:
            return None
        if not isinstance(data, list | tuple):
            if isinstance(data, Mapping) and not has_arrow(data):
                raise TypeError(
                    "data must be a list of dicts or have an Arrow interface; one row is a list of one dict"
                )
            return rows_of(data)
        if self._input is not None and self._input_schema is not None:
            return self._typed(self._input, self._input_schema, list(data))
        for number, row in enumerate(data):
            if not isinstance(row, Mapping):
                raise TypeError(f"row {number} of data is a {type(row).__name__}, not a dict")
        if data and not any(data):
            raise ArgumentError("the rows of data have no fields; leave data out to run once without rows")
        return rows_of(list(data))

    @staticmethod
    def _typed(fields: Fields, schema: Schema, rows: list[Any]) -> Any:
        from qanat import _rows

        try:
            return _Pair(_rows.from_dicts(schema.__arrow_c_schema__(), [field["type"] for field in fields], rows))
        except (TypeError, ValueError, OverflowError) as error:
            raise _Misfit(f"the input breaks the input schema: {error}") from None

    def _refusal(self, line: int, column: int, message: str) -> StatementError:
        lines = self._statement.replace("\r\n", "\n").replace("\r", "\n").split("\n")  # as the worker counts them
        return StatementError(
            message,
            filename=self._name,
            lineno=line or None,
            offset=column or None,
            text=lines[line - 1] if 0 < line <= len(lines) else None,
        )

    def __repr__(self) -> str:
        return f"<qanat.Processor {self._name!r}>"


def _one_row(data: Any, row: int) -> Any:
    """The sample that is one row of the data."""
    import polars as pl

    if data is None:
        raise ArgumentError("row chooses one of the rows of data; there is no data")
    sample = list(data) if isinstance(data, list | tuple) else pl.DataFrame(rows_of(data))
    if not 0 <= row < len(sample):
        raise ArgumentError(f"row is {row}; the data has the rows 0 to {len(sample) - 1}" if len(sample) else "no rows")
    return sample[row : row + 1]


def _row_in(message: str) -> int | None:
    match = _ROW.search(message)
    return int(match.group(1)) if match else None


def _data_error(message: str) -> QanatError:
    return DataError(message, row=_row_in(message))


def _failed_fields(message: str) -> dict[str, Any]:
    """How a run went that was never begun."""
    fields: dict[str, Any] = dict.fromkeys((*_COUNTS, *_SECONDS, "seconds_killed"), 0)
    return {**fields, "status": "failed", "message": message, "line": None, "row": _row_in(message), "tier": None}
