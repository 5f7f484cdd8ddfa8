"""Results: Stream, Batch and Schema, the Python side of the extension's types."""

from __future__ import annotations

import logging
from types import TracebackType
from typing import TYPE_CHECKING, Any

from qanat import _native

if TYPE_CHECKING:
    import pandas as pd
    import polars as pl
    import pyarrow as pa

_log = logging.getLogger("qanat.python")


class Schema(_native.Schema):
    """The columns of a result: `names`, `formats` (Arrow's format strings), `metadata(index)`, `__arrow_c_schema__`."""

    __slots__ = ()

    def to_polars(self) -> pl.Schema:
        """The columns as polars' schema."""
        import polars as pl

        return pl.Schema(self)

    def __repr__(self) -> str:
        return f"Schema({dict(zip(self.names, self.formats, strict=True))!r})"


class Batch(_native.Batch):
    """Some rows of a result. Any taker of the Arrow PyCapsule protocol can have them, without a copy."""

    __slots__ = ()

    def to_polars(self) -> pl.DataFrame:
        """The rows as a polars frame, without a copy."""
        import polars as pl

        return pl.DataFrame(self)

    def __repr__(self) -> str:
        return f"<qanat.Batch of {self.num_rows} rows, {self.num_columns} columns>"


class _Offsets:
    """A stream whose strings go out with offsets, as pyarrow and pandas like them best."""

    def __init__(self, stream: Stream) -> None:
        self._stream = stream

    def __arrow_c_stream__(self, requested_schema: object = None) -> Any:
        if requested_schema is not None:
            return self._stream.__arrow_c_stream__(requested_schema)
        return self._stream._export_offsets()


class Stream(_native.Stream):
    """A result that is read once, with bounded memory: iterate over its batches, or hand it to polars, pyarrow, DuckDB.

    It keeps its connection busy until it has been read to the end, has failed or is closed; closing it early cancels
    the query. Use it as a context manager. Columns with the same name are told apart: the second "a" becomes "a_2".
    """

    __slots__ = ()

    if TYPE_CHECKING:

        @property
        def schema(self) -> Schema: ...

        def __iter__(self) -> Stream: ...

        def __next__(self) -> Batch: ...

    def to_polars(self) -> pl.DataFrame:
        """All rows as a polars frame, without a copy."""
        import polars as pl

        if self._renamed:
            _log.warning("columns with the same name were renamed: %s", ", ".join(self.schema.names))
        try:
            return pl.DataFrame(self)
        except Exception as error:
            self._explain(error)
            raise

    def to_pyarrow(self) -> pa.Table:
        """All rows as a pyarrow table. Needs pyarrow."""
        import pyarrow as pa

        try:
            return pa.RecordBatchReader.from_stream(_Offsets(self)).read_all()
        except Exception as error:
            self._explain(error)
            raise

    def to_pandas(self) -> pd.DataFrame:
        """All rows as a pandas frame. Needs pandas and pyarrow.

        Integers and booleans of columns with nulls get pandas' nullable types: its plain ones would make them floats
        and objects, and a float changes integers past 53 bits.
        """
        import pandas  # noqa: F401  (says what is missing before anything is read)

        from qanat._frames import pandas_types

        table = self.to_pyarrow()
        return table.to_pandas(types_mapper=pandas_types(table))

    def lazy(self) -> pl.LazyFrame:
        """The rows as a lazy frame, read a batch at a time: `stream.lazy().sink_parquet("x.parquet")`.

        It can be collected once; close the stream where not all of it was asked for. Memory is bounded as far as what
        is asked lets polars' streaming engine bound it.
        """
        from polars.io.plugins import register_io_source

        from qanat._lazy import reader_of

        return register_io_source(reader_of(self), schema=self.schema.to_polars(), validate_schema=False)

    def _explain(self, error: Exception) -> None:
        """Raise our typed error in place of the text that another library made of it."""
        try:
            self._raise_failure()
        except BaseException as failure:
            raise failure from error

    def __enter__(self) -> Stream:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()

    def __repr__(self) -> str:
        return f"<qanat.Stream of {', '.join(self.schema.names) or 'no columns'}{' (closed)' if self.closed else ''}>"


_native._use_classes(Stream, Batch, Schema)
