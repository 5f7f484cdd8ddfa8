"""A pack as a source of polars' streaming engine: only the columns that are asked for, and no more rows than are."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

import polars as pl
from polars.io.plugins import register_io_source

from qanat.errors import ConflictError

if TYPE_CHECKING:
    from qanat._stream import Schema, Stream
    from qanat.bundle._bundle import Bundle


def scan(bundle: Bundle, columns: tuple[str, ...] | None, pack: str) -> pl.LazyFrame:
    """See Bundle.scan."""
    schema = _schema(bundle, columns, pack).to_polars()

    def read(
        wanted: list[str] | None, predicate: pl.Expr | None, limit: int | None, _batch_size: int | None
    ) -> Iterator[pl.DataFrame]:
        names = list(schema) if wanted is None else wanted
        needed = _needed(schema, names, predicate)
        left = limit
        if left == 0:
            return
        with open_stream(bundle, tuple(needed), pack) as stream:
            _check_same(schema, stream.schema, pack)
            for batch in stream:
                frame = batch.to_polars()
                if left is not None:
                    frame = frame.head(left)
                    left -= frame.height
                if predicate is not None:
                    frame = frame.filter(predicate)
                yield frame if needed == names else frame.select(names)
                if left == 0:
                    return

    return register_io_source(read, schema=schema, validate_schema=False)


def open_stream(bundle: Bundle, columns: tuple[str, ...], pack: str) -> Stream:
    """A stream of the bundle, opened on whatever thread an engine reads on: one at a time."""
    with bundle._reading:
        return bundle._native.stream(pack, columns)


def _schema(bundle: Bundle, columns: tuple[str, ...] | None, pack: str) -> Schema:
    if columns is None:
        return bundle.schema(pack)
    with bundle.stream(columns, pack) as stream:  # opening reads no rows, and knows the types of "_location" ...
        return stream.schema


def _needed(schema: pl.Schema, names: list[str], predicate: pl.Expr | None) -> list[str]:
    """The columns to read: those asked for, and those that the filter looks at besides."""
    if predicate is None:
        return names
    roots = predicate.meta.root_names()
    return [*names, *(name for name in dict.fromkeys(roots) if name not in names and name in schema)]


def _check_same(planned: pl.Schema, found: Schema, pack: str) -> None:
    for name, kind in found.to_polars().items():
        if planned[name] != kind:
            raise ConflictError(
                f'pack "{pack}": column "{name}" was {planned[name]} when scan() was called and is {kind} now',
                hint="call scan() again: the bundle has changed since",
            )
