"""Saving a stream to a file, batch by batch, so that memory stays bounded."""

from __future__ import annotations

import base64
import datetime
import decimal
import json
import math
import os
import re
from collections.abc import Callable, Iterator
from typing import IO, TYPE_CHECKING, Any, Protocol

from qanat.errors import QanatError

if TYPE_CHECKING:
    import polars as pl


class Rows(Protocol):
    """What can be shown and saved: a Stream, or frames of one schema."""

    @property
    def schema(self) -> Any: ...

    def __iter__(self) -> Any: ...


def json_value(value: Any) -> Any:
    """A value as JSON can hold it without loss: decimals, dates and times as text, bytes as base64, NaN as text."""
    if isinstance(value, float) and not math.isfinite(value):
        return str(value)
    if isinstance(value, decimal.Decimal):
        return str(value)
    if isinstance(value, datetime.date | datetime.time):
        return value.isoformat()
    if isinstance(value, datetime.timedelta):
        return value / datetime.timedelta(microseconds=1)
    if isinstance(value, bytes):
        return base64.b64encode(value).decode("ascii")
    if isinstance(value, dict):
        return {key: json_value(item) for key, item in value.items()}
    if isinstance(value, list):
        return [json_value(item) for item in value]
    return value


def _frames(stream: Rows) -> Iterator[pl.DataFrame]:
    """The batches, after an empty frame that has the types."""
    import polars as pl

    yield pl.DataFrame(schema=pl.Schema(stream.schema))
    for batch in stream:
        yield pl.DataFrame(batch)


def _save_json(frames: Iterator[pl.DataFrame], file: IO[bytes]) -> int:
    rows = 0
    file.write(b"[")
    for frame in frames:
        for row in frame.iter_rows(named=True):
            file.write(b",\n " if rows else b"\n ")
            file.write(json.dumps(json_value(row), ensure_ascii=False).encode("utf-8"))
            rows += 1
    file.write(b"\n]\n")
    return rows


def _save_jsonl(frames: Iterator[pl.DataFrame], file: IO[bytes]) -> int:
    rows = 0
    for frame in frames:
        for row in frame.iter_rows(named=True):
            file.write(json.dumps(json_value(row), ensure_ascii=False).encode("utf-8") + b"\n")
            rows += 1
    return rows


def _save_csv(frames: Iterator[pl.DataFrame], file: IO[bytes]) -> int:
    rows = 0
    for index, frame in enumerate(frames):
        frame.write_csv(file, include_header=index == 0)
        rows += frame.height
    return rows


def _sink(frames: Iterator[pl.DataFrame], write: Callable[[pl.LazyFrame], None]) -> int:
    """Feed frames through polars' streaming engine, which asks for one at a time."""
    from polars.io.plugins import register_io_source

    schema = next(frames).schema
    rows = 0

    def source(with_columns: Any, predicate: Any, n_rows: Any, batch_size: Any) -> Iterator[pl.DataFrame]:
        nonlocal rows
        for frame in frames:
            rows += frame.height
            yield frame

    write(register_io_source(source, schema=schema))
    return rows


def _save_parquet(frames: Iterator[pl.DataFrame], file: IO[bytes]) -> int:
    return _sink(frames, lambda lazy: lazy.sink_parquet(file))


def _save_arrow(frames: Iterator[pl.DataFrame], file: IO[bytes]) -> int:
    return _sink(frames, lambda lazy: lazy.sink_ipc(file))


_WRITERS = {
    "json": _save_json,
    "jsonl": _save_jsonl,
    "csv": _save_csv,
    "parquet": _save_parquet,
    "arrow": _save_arrow,
}


_SYSTEM_ERROR = re.compile(r"\(os error (\d+)\)")


def save_stream(stream: Rows, file: IO[bytes], form: str) -> int:
    """Write all rows of a stream in a format; returns how many. What the system refuses is an OSError."""
    try:
        rows = _WRITERS[form](_frames(stream), file)
        file.flush()
    except QanatError:
        raise
    except Exception as error:
        number = _SYSTEM_ERROR.search(str(error))  # polars gives it only as text, in errors of several classes
        if number is None:
            raise
        code = int(number.group(1))
        raise OSError(code, os.strerror(code)) from error
    return rows
