"""What data() returned, whatever its kind, as one stream of record batches."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from itertools import chain
from typing import Any

import pyarrow as pa

from qanat_sdk.rows import TARGET, batches_of_columns, batches_of_rows
from qanat_sdk.types import text_of

Schema = Callable[[], Any]

_SLICE_ABOVE = 4 * TARGET  # bytes of a batch that is cut

NO_SCHEMA = (
    "data() returned {what}, which needs schema(): define it in the connector, "
    'for example def schema(self): return {{"id": "Int64", "name": "Utf8"}}'
)
RETURNS = (
    "data() returns a pyarrow Table or RecordBatch, a list or an iterator of RecordBatches or dicts, a dict of lists, "
    "an object with __arrow_c_stream__, or None"
)


class Stream:
    """A schema and the batches of it.

    `whole` tells that all batches are there already, so that they may be gone through more than once.
    """

    def __init__(self, schema: Any, open_batches: Callable[[], Iterator[Any]], *, whole: bool, source: Any) -> None:
        self.schema = schema
        self.whole = whole
        self._open = open_batches
        self._source = source

    def batches(self) -> Iterator[Any]:
        """The batches, cut where they are large. A second time only where `whole`."""
        for number, batch in enumerate(self._open()):
            if not batch.schema.equals(self.schema):
                raise ValueError(f"batch {number} has another schema than those before it: {self._differs(batch)}")
            yield from _pieces(batch)

    def close(self) -> None:
        """End the iterator that the connector made, so that what it holds is let go."""
        close = getattr(self._source, "close", None)
        if close is not None and isinstance(self._source, Iterator):
            close()

    def _differs(self, batch: Any) -> str:
        if batch.schema.names != self.schema.names:
            return f"columns {', '.join(batch.schema.names)}, they were {', '.join(self.schema.names)}"
        for ours, theirs in zip(self.schema, batch.schema, strict=True):
            if ours.type != theirs.type:
                return f'column "{ours.name}" is {text_of(theirs.type)}, it was {text_of(ours.type)}'
        return "columns may be null that could not be, or the other way round"


def _pieces(batch: Any) -> Iterator[Any]:
    """A batch, cut where it is large, so that whoever reads it needs little at once."""
    try:
        size = batch.nbytes
    except pa.ArrowNotImplementedError:
        size = 0
    # Slices of views carry all bytes of the whole: such batches stay as they are.
    if size <= _SLICE_ABOVE or batch.num_rows < 2 or any("view" in str(kind) for kind in batch.schema.types):
        yield batch
        return
    step = max(1, batch.num_rows * TARGET // size)
    for start in range(0, batch.num_rows, step):
        yield batch.slice(start, step)


def _whole(schema: Any, batches: list[Any]) -> Stream:
    return Stream(schema, lambda: iter(batches), whole=True, source=None)


def _once(schema: Any, batches: Iterator[Any], source: Any) -> Stream:
    return Stream(schema, lambda: batches, whole=False, source=source)


def _is_arrow(item: Any) -> bool:
    return isinstance(item, (pa.RecordBatch, pa.Table)) or (
        not isinstance(item, Mapping) and (hasattr(item, "__arrow_c_stream__") or hasattr(item, "__arrow_c_array__"))
    )


def _reader(item: Any) -> tuple[Any, Iterator[Any]]:
    """Schema and batches of anything that is Arrow."""
    if isinstance(item, pa.RecordBatch):
        return item.schema, iter([item])
    if isinstance(item, pa.Table):
        return item.schema, iter(item.to_batches())
    if hasattr(item, "__arrow_c_stream__"):
        reader = pa.RecordBatchReader.from_stream(item)
        return reader.schema, iter(reader)
    batch = pa.record_batch(item)
    return batch.schema, iter([batch])


def _of_items(items: Iterator[Any], schema_of: Schema, patience: float | None, source: Any, what: str) -> Stream | None:
    """Of an iterator, by its first item."""
    nothing = object()
    first = next(items, nothing)
    if first is nothing:
        schema = schema_of()
        return None if schema is None else _once(schema, iter(()), source)
    if _is_arrow(first):
        begun, batches = _reader(first)
        return _once(begun, chain(batches, _arrow_items_after(items)), source)
    if not isinstance(first, Mapping):
        raise TypeError(f"{RETURNS}; this one has {what} of {type(first).__name__}")
    schema = schema_of()
    if schema is None:
        raise ValueError(NO_SCHEMA.format(what=f"{what} of dicts"))
    return _once(schema, batches_of_rows(chain([first], items), schema, patience), source)


def _arrow_items_after(items: Iterator[Any]) -> Iterator[Any]:
    for number, item in enumerate(items, start=1):
        if not _is_arrow(item):
            raise TypeError(f"item {number} of data() is a {type(item).__name__}, those before it were Arrow batches")
        yield from _reader(item)[1]


def stream_of(data: Any, schema_of: Schema, patience: float | None = None) -> Stream | None:
    """The stream of what data() returned; None where there is no data. `schema_of` is asked for the schema of the
    connector, or None, where there are dicts. `patience`: see batches_of_rows()."""
    if data is None:
        return None
    if isinstance(data, pa.Table):
        return _whole(data.schema, data.to_batches())
    if isinstance(data, pa.RecordBatch):
        return _whole(data.schema, [data])
    if isinstance(data, Mapping):
        schema = schema_of()
        if schema is None:
            raise ValueError(NO_SCHEMA.format(what="a dict of columns"))
        return _once(schema, batches_of_columns(data, schema), None)
    if _is_arrow(data):
        return _once(*_reader(data), data)
    if isinstance(data, (list, tuple)):
        if data and all(isinstance(item, pa.RecordBatch) for item in data):
            return _whole(data[0].schema, list(data))
        return _of_items(iter(data), schema_of, patience, None, "a list")
    if isinstance(data, (str, bytes)) or not hasattr(data, "__iter__"):
        raise TypeError(f"{RETURNS}; this one returned {type(data).__name__}")
    return _of_items(iter(data), schema_of, patience, data, "an iterator")


def select(schema: Any, names: list[str]) -> Any:
    """The schema of a projection. ValueError names a column that is not there."""
    for name in names:
        if schema.names.count(name) != 1:
            told = "has two of that name" if name in schema.names else f"has {', '.join(schema.names)}"
            raise ValueError(f'column "{name}" is not in the data, which {told}')
    return pa.schema([schema.field(name) for name in names], metadata=schema.metadata)


def skip_rows(batches: Iterator[Any], rows: int) -> Iterator[Any]:
    for batch in batches:
        if rows >= batch.num_rows > 0:
            rows -= batch.num_rows
        else:
            yield batch.slice(rows) if rows else batch
            rows = 0


def limit_rows(batches: Iterator[Any], rows: int) -> Iterator[Any]:
    if rows <= 0:
        return
    for batch in batches:
        yield batch if batch.num_rows <= rows else batch.slice(0, rows)
        rows -= min(rows, batch.num_rows)
        if rows == 0:
            return
