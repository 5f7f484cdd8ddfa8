"""Parquet through pyarrow: in by row groups and pages, out row group by row group with zstd and statistics.

Reading leaves columns that nobody asks for in the file. Options: none. Dictionaries, which a file written by pyarrow
may ask for, come as their values; a timestamp of 96 bits that nanoseconds do not hold is an error. Writing keeps every
value (Timestamp[s] comes back as milliseconds). Where Parquet has no type (intervals, empty structs, decimals of
negative scale) or would round (a Date64 with a time of day) it is an error that says so; "arrow" holds them.
"""

from __future__ import annotations

import os
import threading
import weakref
from collections.abc import Iterator
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from qanat import _native
from qanat._format_arrays import plain_batch, plain_rows, plain_schema
from qanat._formats import Reading, check_options, native_file
from qanat.errors import DataError, NotSupportedError

BATCH_ROWS = 65536
PAGE_BYTES = 1 << 20
GROUP_BYTES = 8 << 20  # of Arrow data, before it is encoded; each writer at work gathers so much
GROUP_ROWS = 1 << 20
DICTIONARY_BYTES = 128 << 10  # columns of more are plain: smaller files, and sooner, than with pyarrow's 1 MiB

_writers: weakref.WeakSet[Any] = weakref.WeakSet()  # at work
_encoders = threading.BoundedSemaphore(max(2, os.cpu_count() or 2))  # encoding needs several times a group's memory


# ---- in ----


def read(fd: int, columns: list[str] | None, options: dict[str, Any], _name: str) -> Reading:
    check_options(options, "parquet")
    file = pq.ParquetFile(native_file(fd), buffer_size=PAGE_BYTES, pre_buffer=False)
    whole = file.schema_arrow
    chosen = None
    # Names with dots mean paths to pyarrow, and double ones are the engine's to refuse.
    if columns is not None and all(whole.names.count(name) == 1 and "." not in name for name in columns):
        chosen = [name for name in whole.names if name in set(columns)]
        whole = pa.schema([whole.field(name) for name in chosen], metadata=whole.metadata)
    schema = plain_schema(pa.schema([_plain_metadata(field) for field in whole], metadata=whole.metadata))
    wide = _wide_times(file, schema.names)
    # While this call has the descriptor.
    again = pq.ParquetFile(native_file(fd), buffer_size=PAGE_BYTES, coerce_int96_timestamp_unit="us") if wide else None
    return schema, _batches(file, again, wide, chosen, schema), chosen is None


def _plain_metadata(field: Any) -> Any:
    """The field without what the reader itself adds."""
    metadata = {key: value for key, value in (field.metadata or {}).items() if key != b"PARQUET:field_id"}
    return field.with_metadata(metadata or None)


def _wide_times(file: Any, names: list[str]) -> list[str]:
    """The columns among `names` whose timestamps have 96 bits."""
    found = []
    for i in range(len(file.schema)):
        column = file.schema.column(i)
        name = column.path.partition(".")[0]
        if column.physical_type == "INT96" and name in names:
            if column.path not in names:
                raise NotSupportedError(f'column "{name}": timestamps of 96 bits within another type are not read')
            found.append(name)
    return found


def _check_wide_times(batches: Any, names: list[str], batch: Any) -> None:
    """pyarrow lets nanoseconds run over unseen: microseconds, which do not, must say the same."""
    for name, column in zip(names, next(batches).columns, strict=True):
        micros, nanos = column.cast(pa.int64()), batch.column(name).cast(pa.int64())
        low = pc.subtract(nanos, pc.multiply_checked(micros, 1000))
        good = pc.and_(pc.greater_equal(low, 0), pc.less(low, 1000))
        if pc.all(good).as_py() is False:
            raise DataError(f'column "{name}": a timestamp is outside of what nanoseconds hold', column=name)


def _batches(file: Any, again: Any, wide: list[str], chosen: list[str] | None, schema: Any) -> Iterator[Any]:
    micros = again.iter_batches(batch_size=BATCH_ROWS, columns=wide, use_threads=False) if wide else iter(())
    with file:
        for batch in file.iter_batches(batch_size=BATCH_ROWS, columns=chosen, use_threads=False):
            if wide:
                _check_wide_times(micros, wide, batch)
            if not schema.names:
                yield batch
                continue
            yield plain_batch(batch, schema)


def count(fd: int, options: dict[str, Any]) -> int:
    check_options(options, "parquet")
    with pq.ParquetFile(native_file(fd)) as file:
        rows: int = file.metadata.num_rows
    return rows


# ---- out ----


class Writer:
    """Batches are gathered to row groups; what is gathered is shared with whoever made it, not copied.

    Where a group ends depends on the batches alone: the same data gives the same file, by which a location without a
    version is known not to have changed.
    """

    def __init__(self, schema: _native.Schema, sink: _native.FormatSink) -> None:
        self._schema = plain_schema(pa.schema(schema))
        _check_schema(self._schema)
        self._file = pa.PythonFile(sink, mode="w")
        self._writer = pq.ParquetWriter(
            self._file, self._schema, compression="zstd", version="2.6", dictionary_pagesize_limit=DICTIONARY_BYTES
        )
        self._dates = [i for i, field in enumerate(self._schema) if pa.types.is_date64(field.type)]
        self._batches: list[Any] = []
        self._rows = self._bytes = 0
        _writers.add(self)

    def write(self, batch: _native.Batch) -> None:
        made = plain_rows(batch, self._schema)
        for i in self._dates:
            _check_dates(made.column(i), self._schema.field(i).name)
        self._batches.append(made)
        self._rows += made.num_rows
        self._bytes += made.nbytes
        if self._bytes >= GROUP_BYTES or self._rows >= GROUP_ROWS:
            self._flush()

    def _flush(self) -> None:
        table = pa.Table.from_batches(self._batches, self._schema)
        # As one group, unless a batch was larger than two.
        groups = max(self._bytes // GROUP_BYTES, self._rows // GROUP_ROWS, 1)
        size = -(-self._rows // groups)
        self._batches = []
        self._rows = self._bytes = 0
        with _encoders:
            self._writer.write_table(table, row_group_size=max(1, size))
            if len(_writers) > 1:
                del table
                pa.default_memory_pool().release_unused()  # which keeps what was freed for each thread that encodes

    def finish(self) -> None:
        if self._batches:
            self._flush()
        self._writer.close()
        _writers.discard(self)

    def __del__(self) -> None:
        """A file that is given up is not ended: pyarrow's writer would write to it as it goes."""
        if hasattr(self, "_writer"):
            self._writer.is_open = False


def _check_schema(schema: Any) -> None:
    """Say what Parquet does not hold, before anything is written."""
    for field in schema:
        for kind in _types(field.type):
            if pa.types.is_struct(kind) and kind.num_fields == 0:
                reason = "a struct without fields"
            elif pa.types.is_interval(kind):
                reason = "an interval"
            elif pa.types.is_decimal(kind) and kind.scale < 0:
                reason = "a decimal of negative scale"
            elif pa.types.is_fixed_size_binary(kind) and kind.byte_width == 0:
                reason = "a binary of no bytes"
            elif pa.types.is_date64(kind) and kind is not field.type:
                reason = "a Date64 within another type"
            else:
                continue
            raise NotSupportedError(
                f'column "{field.name}": Parquet has no type for {reason}', hint='keep it as "arrow", which has'
            )


def _types(kind: Any) -> Iterator[Any]:
    yield kind
    if pa.types.is_nested(kind):
        for i in range(kind.num_fields):
            yield from _types(kind.field(i).type)


def _check_dates(column: Any, name: str) -> None:
    """Parquet's dates have no time of day."""
    numbers = column.cast(pa.int64())
    days = pc.multiply(pc.divide(numbers, 86_400_000), 86_400_000)
    if pc.all(pc.equal(numbers, days)).as_py() is False:
        raise DataError(f'column "{name}": a Date64 with a time of day is no date of Parquet', column=name)
