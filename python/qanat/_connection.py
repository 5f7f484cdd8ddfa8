"""Connections: the public names over the extension's type."""

from __future__ import annotations

import logging
import os
import warnings
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from types import TracebackType
from typing import TYPE_CHECKING, Any, Literal

from qanat import _native, _sql
from qanat._config import DatabaseConfig
from qanat._stream import Stream
from qanat.errors import ArgumentError, DatabaseConnectionError, QanatError

if TYPE_CHECKING:
    import polars as pl

    from qanat._typing import ArrowData, Types

_log = logging.getLogger("qanat.python")

InsertMode = Literal["append", "create", "replace", "upsert", "ignore", "truncate"]
Isolation = Literal["read committed", "repeatable read", "serializable"]
NumericMode = Literal["decimal", "text", "float64"]
Policy = Literal["error", "null", "saturate", "text"]

# As enum qn_ingest_mode and enum qn_isolation number them.
_MODES = {"append": 0, "create": 1, "replace": 2, "upsert": 3, "ignore": 4, "truncate": 5}
_ISOLATIONS = {None: 0, "read committed": 1, "repeatable read": 2, "serializable": 3}

# A whole result goes into one frame: large batches, so that it has few chunks.
_WHOLE = {"batch_rows": 1 << 20, "batch_bytes": 1 << 27}


class Connection(_native.Connection):
    """An open connection to a database. Used by one thread at a time, cancel() alone by any; a context manager.

    Placeholders in SQL are `?`, `:name` (with a dict) or the database's own; a statement has one kind. Parameters are
    bound, never pasted. Outside of transactions every statement commits by itself. While a Stream is open the
    connection is busy. After a fork the child's calls raise ConnectionClosedError.
    """

    __slots__ = ("_config", "_pid")
    _config: DatabaseConfig
    _pid: int

    def __init__(self, config: DatabaseConfig) -> None:
        """Connect to what `config` names. Raises DatabaseConnectionError where that fails."""
        if not isinstance(config, DatabaseConfig):
            raise TypeError(f"a DatabaseConfig is needed, not {type(config).__name__}; for a URI use qanat.connect")
        self._config = config
        self._pid = os.getpid()
        self._open(config._native)

    @staticmethod
    def connect(config: DatabaseConfig) -> Connection:
        """Connect to what `config` names."""
        return Connection(config)

    @staticmethod
    def from_uri(uri: str) -> Connection:
        """Connect to what a URI names."""
        return Connection(DatabaseConfig.from_uri(uri))

    @property
    def config(self) -> DatabaseConfig:
        """The configuration that the connection was made with."""
        return self._config

    # ---- statements ----

    def execute(
        self,
        sql: str,
        params: _sql.Params | None = None,
        *,
        numeric: NumericMode | None = None,
        numeric_special: Policy | None = None,
        infinity: Policy | None = None,
        invalid_date: Policy | None = None,
        types: Types | None = None,
        timeout: float | None = None,
    ) -> pl.DataFrame:
        """Run a statement and return its rows; an empty frame where it returns none (see `rowcount`).

        `params` is a list or tuple, or a dict for `:name` placeholders. `types` names the type of columns:
        `{"price": "Decimal(10,2)"}`. `numeric` says how a numeric without a scale arrives; `numeric_special`,
        `infinity` and `invalid_date` what becomes of values that no Arrow type holds: an error unless chosen. `timeout`
        is in seconds. Raises QueryExecutionError and its subclasses.
        """
        options = _options(numeric, numeric_special, infinity, invalid_date, types, timeout, _WHOLE)
        stream = self._query(sql, params, options, True)
        if stream is None:
            import polars as pl

            return pl.DataFrame()
        return stream.to_polars()

    def execute_many(
        self,
        sql: str,
        params_list: Iterable[Sequence[Any] | Mapping[str, Any]] | ArrowData,
        *,
        timeout: float | None = None,
    ) -> int:
        """Run a statement once per row, all or nothing, and return the rows affected.

        `params_list` holds lists, tuples or dicts, or is a frame: anything with an Arrow interface. The error's `row`
        says which row failed.
        """
        from qanat import _frames

        rows: Any = params_list
        if _frames.has_arrow(rows):
            rows = _frames.arrow_rows(rows)
        else:
            if isinstance(rows, str | bytes | Mapping):
                raise TypeError(f"params_list must be a list of rows, not {type(rows).__name__}")
            rows = _frames.frame_of_params(rows)
            if rows is None:
                return 0
        return self._execute_many(sql, rows, {"timeout": timeout} if timeout is not None else None)

    def stream(
        self,
        sql: str | None = None,
        params: _sql.Params | None = None,
        *,
        table: str | None = None,
        columns: Sequence[str] | None = None,
        where: str | None = None,
        schema: str | None = None,
        batch_rows: int = 65_536,
        partitions: int = 1,
        numeric: NumericMode | None = None,
        numeric_special: Policy | None = None,
        infinity: Policy | None = None,
        invalid_date: Policy | None = None,
        types: Types | None = None,
        timeout: float | None = None,
    ) -> Stream:
        """Run a statement, or read a table, a batch at a time with bounded memory.

        The schema is promised first: a later value that does not fit it is a DataError naming row, column and the
        `types` that would take it. The connection is busy until the stream ends or is closed. `partitions` above 1 is
        accepted and read as one partition in this version, with a line in the log.
        """
        if (sql is None) == (table is None):
            raise ArgumentError("stream needs either sql or table")
        if table is None and (columns is not None or where is not None or schema is not None):
            raise ArgumentError("columns, where and schema belong to table; with sql write them in the statement")
        if not isinstance(partitions, int) or partitions < 1:
            raise ArgumentError(f"partitions must be at least 1, not {partitions!r}")
        if partitions > 1:
            _log.info("read as one partition instead of %d: this version has no parallel reads", partitions)
        if sql is None:
            assert table is not None
            sql = self._select(table, columns, schema) + _sql.where_clause(where)
        size = {"batch_rows": batch_rows}
        options = _options(numeric, numeric_special, infinity, invalid_date, types, timeout, size)
        stream = self._query(sql, params, options, False)
        assert stream is not None
        return stream

    # ---- tables ----

    def insert(
        self,
        table: str,
        data: ArrowData | Mapping[str, Any] | Sequence[Mapping[str, Any]],
        *,
        mode: InsertMode = "append",
        key: Sequence[str] | str | None = None,
        schema: str | None = None,
    ) -> int:
        """Write rows into a table by the database's bulk path, all or nothing, and return how many.

        `data` is anything with `__arrow_c_stream__` or `__arrow_c_array__`, a dict of columns, or a list of dicts (a
        key that a dict lacks is null). Columns are matched by name. `mode` is "append"; "create" (the table must not
        exist); "replace" (readers never see the table empty); "truncate"; "upsert" and "ignore", by the columns `key`.
        Raises DataError naming row and column for a value that does not fit.
        """
        if mode not in _MODES:
            raise ArgumentError(f"mode must be one of {', '.join(_MODES)}, not {mode!r}")
        columns = (key,) if isinstance(key, str) else tuple(key or ())
        if mode in ("upsert", "ignore") and not columns:
            raise ArgumentError(f"mode {mode!r} needs key: the columns that say which rows are the same")
        if mode not in ("upsert", "ignore") and columns:
            raise ArgumentError(f"key belongs to the modes upsert and ignore, not to {mode!r}")
        from qanat import _frames  # with datetime, decimal and json: not at import

        return self._ingest(table, _frames.rows_of(data), _MODES[mode], columns, schema)

    def select(
        self,
        table: str,
        columns: Sequence[str] | str | None = None,
        where: str | None = None,
        params: _sql.Params | None = None,
        limit: int | None = None,
        *,
        order_by: Sequence[str] | str | None = None,
        offset: int | None = None,
        schema: str | None = None,
    ) -> pl.DataFrame:
        """The rows of a table. `columns` are names (one, or several), `where` is SQL with placeholders for `params`.

        `order_by` is SQL where it is a str ("price desc, name"), or a list of column names.
        """
        names = [columns] if isinstance(columns, str) else columns
        sql = self._select(table, names, schema) + _sql.where_clause(where)
        if order_by is not None:
            sql += f" order by {order_by if isinstance(order_by, str) else self._names(order_by, 'order_by')}"
        return self.execute(sql + _sql.limit_clause(self._config.db_type, limit, offset), params)

    def update(
        self,
        table: str,
        values: Mapping[str, Any],
        where: str | None = None,
        params: _sql.Params | None = None,
        *,
        schema: str | None = None,
    ) -> int:
        """Set columns of the rows that `where` names (all rows without it), and return how many there were.

        The values are bound in the spelling of placeholders that `where` uses: `?`, `:name`, or the database's own.
        """
        if not isinstance(values, Mapping):
            raise TypeError(f"values must be a dict of columns, not {type(values).__name__}")
        if not values:
            raise ArgumentError("values is empty: there is nothing to update")
        columns = [self._quote(column) for column in values]
        assigned, bound = _sql.assignments(columns, list(values.values()), where, params)
        sql = f"update {self._quote_table(schema, table)} set {assigned}{_sql.where_clause(where)}"
        return self._execute(sql, bound, None)

    def delete(
        self, table: str, where: str | None = None, params: _sql.Params | None = None, *, schema: str | None = None
    ) -> int:
        """Delete the rows that `where` names (all rows without it), and return how many there were."""
        return self._execute(f"delete from {self._quote_table(schema, table)}{_sql.where_clause(where)}", params, None)

    def tables(self, schema: str | None = None) -> pl.DataFrame:
        """The tables and views: schema, name, kind."""
        return self._tables(schema).to_polars()

    def columns(self, table: str, *, schema: str | None = None) -> pl.DataFrame:
        """The columns of a table in order: name, type, nullable, default, primary_key (place in the key, or null)."""
        return self._columns(schema, table).to_polars()

    def _select(self, table: str, columns: Sequence[str] | None, schema: str | None = None) -> str:
        names = "*" if columns is None else self._names(columns, "columns")
        return f"select {names} from {self._quote_table(schema, table)}"

    def _names(self, names: Sequence[str], what: str) -> str:
        if not names:
            raise ArgumentError(f"{what} is empty")
        return ", ".join(map(self._quote, names))

    # ---- transactions ----

    def begin(self, isolation: Isolation | None = None, read_only: bool = False) -> None:
        """Begin a transaction, or a savepoint inside the one that is open."""
        if isolation not in _ISOLATIONS:
            known = ", ".join(name for name in _ISOLATIONS if name is not None)
            raise ArgumentError(f"isolation must be one of {known}, not {isolation!r}")
        self._begin(_ISOLATIONS[isolation], read_only)

    @contextmanager
    def transaction(self, isolation: Isolation | None = None, read_only: bool = False) -> Iterator[Connection]:
        """A transaction around a block: committed at its end, rolled back where it raises; nested, a savepoint."""
        self.begin(isolation, read_only)
        depth = self.depth
        try:
            yield self
        except BaseException as error:
            self._undo(depth, error)
            raise
        self.commit()

    def _undo(self, depth: int, cause: BaseException) -> None:
        """Roll back what a block left open; the error of the block matters more than one of the rollback."""
        try:
            while self.depth >= depth:
                self.rollback()
        except (DatabaseConnectionError, QanatError) as error:
            if not self.is_closed():
                cause.add_note(f"the rollback failed as well: {error}")

    # ---- the object itself ----

    def __enter__(self) -> Connection:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()

    def __del__(self) -> None:
        if getattr(self, "_pid", None) == os.getpid() and not self.is_closed():
            warnings.warn(f"unclosed connection {self!r}", ResourceWarning, stacklevel=2, source=self)

    def __repr__(self) -> str:
        state = " (closed)" if self.is_closed() else ""
        return f"<qanat.Connection to {self._config._native.to_uri(False)}{state}>"


def _options(
    numeric: str | None,
    numeric_special: str | None,
    infinity: str | None,
    invalid_date: str | None,
    types: Types | None,
    timeout: float | None,
    more: dict[str, int],
) -> dict[str, Any]:
    policies_given = numeric is not None or numeric_special is not None or infinity is not None
    if not policies_given and invalid_date is None and types is None and timeout is None:
        return more
    options: dict[str, Any] = more
    given = (
        ("numeric", numeric),
        ("numeric_special", numeric_special),
        ("infinity", infinity),
        ("invalid_date", invalid_date),
        ("timeout", timeout),
    )
    for name, value in given:
        if value is not None:
            options = {**options, name: value}
    if types is not None:
        if not isinstance(types, Mapping):
            raise TypeError(f"types must be a dict of column names and types, not {type(types).__name__}")
        options = {**options, "types": {column: _type_text(kind) for column, kind in types.items()}}
    return options


_POLARS_TYPES = {
    "String": "Utf8",
    "Date": "Date32",
    "Time": "Time[us]",
    "Datetime": "Timestamp[us]",
    "Duration": "Duration[us]",
}


def _type_text(kind: object) -> str:
    """A type string, also for a polars type."""
    if isinstance(kind, str):
        return kind
    name = getattr(kind, "__name__", type(kind).__name__)
    unit, zone = getattr(kind, "time_unit", None), getattr(kind, "time_zone", None)
    precision, scale = getattr(kind, "precision", None), getattr(kind, "scale", None)
    if isinstance(precision, int) and isinstance(scale, int):
        return f"{name}({precision},{scale})"
    if isinstance(unit, str):
        base = "Timestamp" if name == "Datetime" else name
        return f"{base}[{unit}, {zone}]" if isinstance(zone, str) else f"{base}[{unit}]"
    return _POLARS_TYPES.get(name, name)


def connect(uri: str | DatabaseConfig, **options: object) -> Connection:
    """Connect to what a URI or a DatabaseConfig names; `options` are set over it (`timeout=5`, `read_only=True`)."""
    config = DatabaseConfig.from_uri(uri) if isinstance(uri, str) else uri
    if not isinstance(config, DatabaseConfig):
        raise TypeError(f"a URI or a DatabaseConfig is needed, not {type(config).__name__}")
    if options:
        config = DatabaseConfig.from_dict({**config.to_dict(), **options})
    return Connection(config)
