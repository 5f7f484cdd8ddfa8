"""Packs as tables of DuckDB.

DuckDB asks a pyarrow Dataset for the columns and the filter that a query needs. Ours answers with a stream of the
bundle that has just these columns; pyarrow applies the filter to each batch.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any

from qanat.bundle._needs import need
from qanat.bundle._scan import open_stream
from qanat.errors import ArgumentError, DataError, QanatError, QueryCancelledError, QueryExecutionError

if TYPE_CHECKING:
    import polars as pl

    from qanat._stream import Stream
    from qanat.bundle._bundle import Bundle

PROVENANCE = ("_location", "_version", "_commit")
LISTED_PACKS = 20
_NO_TABLE = re.compile(r"Table with name .* does not exist")


class Query:
    """One query over the packs of a bundle, on a DuckDB connection of its own. `cancel` may come from any thread."""

    def __init__(
        self, bundle: Bundle, query: str, params: Iterable[Any] | Mapping[str, Any] | None, provenance: bool
    ) -> None:
        need("duckdb", "sql()")
        need("pyarrow", "sql()")
        self._bundle = bundle
        self._query = query
        self._params = dict(params) if isinstance(params, Mapping) else None if params is None else list(params)
        self._provenance = provenance
        self._streams: list[Stream] = []
        self._missing: dict[str, QanatError] = {}  # packs that are no tables, without cases, and why
        self._connection: Any = None
        self._cancelled = False

    def run(self) -> pl.DataFrame:
        import duckdb
        import polars as pl

        self._connection = duckdb.connect()
        try:
            if self._cancelled:
                raise QueryCancelledError("the query was cancelled")
            self._register_packs()
            relation = self._connection.sql(self._query, params=self._params)
            return pl.DataFrame() if relation is None else relation.pl()
        except duckdb.Error as error:
            self._explain(error)
            raise
        finally:
            for stream in self._streams:
                stream.close()
            self._connection.close()

    def cancel(self) -> None:
        self._cancelled = True
        if self._connection is not None:
            self._connection.interrupt()

    def _explain(self, error: Exception) -> None:
        """Raise our own error where reading the bundle failed inside of DuckDB, else what DuckDB says."""
        for stream in self._streams:
            stream._explain(error)
        if self._cancelled:
            raise QueryCancelledError("the query was cancelled", sql=self._query) from error
        for folded, why in self._missing.items():
            if f"table with name {folded} does not exist" in str(error).casefold():
                raise why from error
        first, _, rest = str(error).partition("\n")
        hint = None
        if _NO_TABLE.search(first):
            first = f"{first} {_listed(self._bundle.packs())}"
            hint = "the tables of a query are the packs; a name that is no plain word stands in double quotes"
        raise QueryExecutionError(first, detail=rest.strip() or None, hint=hint, sql=self._query) from error

    def _register_packs(self) -> None:
        """The packs whose names the query has somewhere: nothing is asked of the others, not even their columns.

        A name may stand there for something else, a column for one: a pack that cannot be a table matters only where
        DuckDB then misses it.
        """
        named: dict[str, list[str]] = {}
        text = self._query.casefold()
        for pack in self._bundle.packs():
            if pack.casefold().replace('"', '""') in text:
                named.setdefault(pack.casefold(), []).append(pack)
        for folded, packs in named.items():
            try:
                self._register(packs)
            except QueryCancelledError:
                raise
            except QanatError as error:
                self._missing[folded] = error

    def _register(self, packs: list[str]) -> None:
        first, *others = packs
        if others:
            raise ArgumentError(f'the packs "{first}" and "{others[0]}" are one name in SQL, which has no cases')
        dataset = self._dataset(first)
        if not dataset.schema.names:
            raise DataError(f'pack "{first}" has no columns yet: SQL has no tables without', sql=self._query)
        self._connection.register(first, dataset)

    def _dataset(self, pack: str) -> Any:
        import pyarrow as pa
        import pyarrow.dataset as ds

        columns = tuple(self._bundle.schema(pack).names) + (PROVENANCE if self._provenance else ())
        whole = self._reader(columns, pack).schema
        reader = self._reader

        class Pack(ds.Dataset):  # type: ignore[misc]
            def __init__(self) -> None:
                """The base class has no public way to be made; only `schema` and `scanner` are asked of this one."""

            @property
            def schema(self) -> pa.Schema:
                return whole

            def scanner(self, columns: Any = None, filter: Any = None, **_options: Any) -> Any:  # noqa: A002
                names = list(whole.names) if columns is None else list(columns)
                besides = [] if filter is None else _used_by(filter, whole, names)
                return ds.Scanner.from_batches(reader((*names, *besides), pack), columns=names, filter=filter)

        return Pack()

    def _reader(self, columns: tuple[str, ...], pack: str) -> Any:
        import pyarrow as pa

        from qanat._stream import _Offsets

        stream = open_stream(self._bundle, columns, pack)
        self._streams.append(stream)
        return pa.RecordBatchReader.from_stream(_Offsets(stream))


def _listed(packs: list[str]) -> str:
    if not packs:
        return "The bundle has no packs yet"
    more = f" and {len(packs) - LISTED_PACKS} more" if len(packs) > LISTED_PACKS else ""
    return f"The packs are {', '.join(packs[:LISTED_PACKS])}{more}"


def _used_by(expression: Any, schema: Any, besides: list[str]) -> list[str]:
    """The columns that a filter uses besides those named. An expression does not tell, so it is tried without each."""
    import pyarrow as pa

    empty = schema.empty_table()
    used = []
    for name in schema.names:
        if name not in besides:
            try:
                empty.drop_columns([name]).filter(expression)
            except pa.ArrowInvalid:
                used.append(name)
    return used
