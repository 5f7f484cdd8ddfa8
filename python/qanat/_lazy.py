"""A Stream as a source of polars' streaming engine."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING

import polars as pl

if TYPE_CHECKING:
    from qanat._stream import Stream

_Reader = Callable[[list[str] | None, pl.Expr | None, int | None, int | None], Iterator[pl.DataFrame]]


def reader_of(stream: Stream) -> _Reader:
    """What polars calls to read: projection, filter and limit are applied to each batch."""

    def read(
        columns: list[str] | None, predicate: pl.Expr | None, limit: int | None, _batch_size: int | None
    ) -> Iterator[pl.DataFrame]:
        left = limit
        with stream:
            for batch in stream:
                frame = batch.to_polars()
                if left is not None:
                    frame = frame.head(left)
                    left -= frame.height
                if predicate is not None:
                    frame = frame.filter(predicate)
                yield frame if columns is None else frame.select(columns)
                if left == 0:
                    return

    return read
