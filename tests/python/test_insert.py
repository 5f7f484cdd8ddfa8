"""insert: what it takes, exactly, and what it refuses by row and column."""

from __future__ import annotations

import datetime as dt
import threading
import uuid
from collections.abc import Callable, Iterator
from decimal import Decimal
from typing import Any

import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

import qanat as qn
from qanat import _frames

pytestmark = pytest.mark.trace("D4", "D16")


@pytest.fixture
def db(db_uri: str):  # type: ignore[no-untyped-def]
    with qn.connect(db_uri) as connection:
        connection.execute("create table t (a bigint, b text)")
        yield connection


def rows(db: qn.Connection) -> list[tuple[Any, ...]]:
    return db.execute("select a, b from t order by a").rows()


class OnlyArray:
    """A batch of another library: nothing but __arrow_c_array__."""

    def __init__(self, batch: pa.RecordBatch) -> None:
        self.batch = batch

    def __arrow_c_array__(self, requested_schema: object = None) -> Any:
        return self.batch.__arrow_c_array__(requested_schema)


COLUMNS: dict[str, list[Any]] = {"a": [1, 2, 3], "b": ["x", None, "z"]}


# Made anew for each test: some are used up by being read.
INSERTABLE: dict[str, Callable[[], Any]] = {
    "dict of lists": lambda: COLUMNS,
    "dict of tuple and Series": lambda: {"a": (1, 2, 3), "b": pl.Series(["x", None, "z"])},
    "dict of numpy arrays": lambda: {"a": np.array([1, 2, 3]), "b": np.array(["x", None, "z"], dtype=object)},
    "dict of range and iterator": lambda: {"a": range(1, 4), "b": iter(["x", None, "z"])},
    "dict of generators": lambda: {"a": (n for n in (1, 2, 3)), "b": (s for s in ("x", None, "z"))},
    "dict of pyarrow arrays": lambda: {"a": pa.array([1, 2, 3]), "b": pa.array(["x", None, "z"])},
    "dict of chunked arrays": lambda: {
        "a": pa.chunked_array([[1, 2], [3]]),
        "b": pa.chunked_array([["x"], [None, "z"]]),
    },
    "dict in another order": lambda: {"b": ["x", None, "z"], "a": [1, 2, 3]},
    "list of dicts": lambda: [{"a": 1, "b": "x"}, {"a": 2}, {"b": "z", "a": 3}],
    "tuple of dicts": lambda: ({"a": 1, "b": "x"}, {"a": 2, "b": None}, {"b": "z", "a": 3}),
    "frame": lambda: pl.DataFrame(COLUMNS),
    "lazy frame": lambda: pl.DataFrame(COLUMNS).lazy(),
    "categorical": lambda: pl.DataFrame(COLUMNS).with_columns(pl.col("b").cast(pl.Categorical)),
    "table": lambda: pa.table(COLUMNS),
    "record batch": lambda: pa.table(COLUMNS).to_batches()[0],
    "__arrow_c_array__ alone": lambda: OnlyArray(pa.record_batch(COLUMNS)),
    "reader": lambda: pa.RecordBatchReader.from_batches(
        pa.table(COLUMNS).schema, pa.table(COLUMNS).to_batches(max_chunksize=1)
    ),
    "pandas frame": lambda: pd.DataFrame({"a": [1, 2, 3], "b": ["x", None, "z"]}),
}


@pytest.mark.parametrize("kind", INSERTABLE)
def test_what_can_be_inserted(db: qn.Connection, kind: str) -> None:
    assert db.insert("t", INSERTABLE[kind]()) == 3
    assert rows(db) == [(1, "x"), (2, None), (3, "z")]


def test_numpy_texts(db: qn.Connection) -> None:
    """Texts of numpy's own fixed-width type, and a strided view."""
    numbers = np.arange(10, dtype=np.int32)[1:7:2]
    assert db.insert("t", {"a": numbers, "b": np.array(["x", "", "\u65e5\u672c"])}) == 3
    assert rows(db) == [(1, "x"), (3, ""), (5, "\u65e5\u672c")]


def test_pandas_frame(db: qn.Connection) -> None:
    assert db.insert("t", pd.DataFrame({"a": [1, 2], "b": ["x", None]})) == 2
    assert rows(db) == [(1, "x"), (2, None)]


def test_empty_data(db: qn.Connection) -> None:
    assert db.insert("t", pl.DataFrame(schema={"a": pl.Int64, "b": pl.String})) == 0
    assert db.insert("t", {"a": [], "b": []}) == 0
    assert rows(db) == []
    with pytest.raises(qn.QanatError, match="column"):
        db.insert("t", [])


@pytest.mark.parametrize("data", ["text", b"bytes", 3, None, object(), {1, 2}])
def test_what_cannot_be_inserted(db: qn.Connection, data: Any) -> None:
    with pytest.raises(TypeError, match=type(data).__name__):
        db.insert("t", data)
    assert rows(db) == []


@pytest.mark.parametrize(
    ("data", "says"),
    [
        ({"a": 1}, 'column "a" must be a list'),
        ({"a": "xyz"}, 'column "a" must be a list'),
        ({1: [1]}, "name must be a str"),
        ([{"a": 1}, 3], "row 1 of data is a int"),
        ({"a": [object()]}, 'column "a"'),
        ({"a": pl.Series([object()])}, 'column "a" has Python objects'),
        (pl.DataFrame({"b": [1], "a": [object()]}), 'column "a" has Python objects'),
    ],
)
def test_shapes_that_are_refused(db: qn.Connection, data: Any, says: str) -> None:
    with pytest.raises((TypeError, qn.DataError), match=says):
        db.insert("t", data)


def test_the_index_of_a_pandas_frame_is_a_column_where_it_has_a_name(db: qn.Connection) -> None:
    frame = pd.DataFrame({"a": [1, 2, 3, 4]})
    left = frame[frame["a"] != 2]
    assert list(left.index) == [0, 2, 3]
    db.insert("p", left, mode="create")
    assert db.execute("select * from p order by a").to_dicts() == [{"a": 1}, {"a": 3}, {"a": 4}]
    assert list(left.index) == [0, 2, 3]  # the caller's
    assert db.execute_many("insert into p (a) values (?)", left) == 3
    db.insert("q", left.rename_axis("n"), mode="create")
    assert db.execute("select a, n from q order by a").to_dicts() == [
        {"a": 1, "n": 0},
        {"a": 3, "n": 2},
        {"a": 4, "n": 3},
    ]


def test_objects_are_refused_by_execute_many(db: qn.Connection) -> None:
    with pytest.raises(TypeError, match='column "a" has Python objects'):
        db.execute_many("insert into t (a) values (?)", pl.DataFrame({"a": [object()]}))
    assert rows(db) == []


def test_columns_of_different_length(db: qn.Connection) -> None:
    with pytest.raises(qn.ArgumentError, match='"b" has 1 values, column "a" has 2') as caught:
        db.insert("t", {"a": [1, 2], "b": ["x"]})
    assert caught.value.column == "b"


@pytest.mark.parametrize("data", [{"a": [1], "nope": [2]}, [{"a": 1, "nope": 2}]])
def test_column_that_the_table_lacks(db: qn.Connection, data: Any) -> None:
    with pytest.raises(qn.QanatError, match="nope"):
        db.insert("t", data)


def test_modes(db: qn.Connection) -> None:
    db.execute("create unique index t_a on t (a)")
    db.insert("t", COLUMNS)
    assert db.insert("t", {"a": [3, 4], "b": ["new", "four"]}, mode="upsert", key=["a"]) == 2
    assert rows(db) == [(1, "x"), (2, None), (3, "new"), (4, "four")]
    db.insert("t", {"a": [4, 5], "b": ["no", "five"]}, mode="ignore", key="a")
    assert rows(db)[-2:] == [(4, "four"), (5, "five")]
    assert db.insert("t", {"a": [9], "b": ["r"]}, mode="replace") == 1
    assert rows(db) == [(9, "r")]
    assert db.insert("t", {"a": [8], "b": ["t"]}, mode="truncate") == 1
    assert rows(db) == [(8, "t")]
    with pytest.raises(qn.QueryExecutionError) as caught:
        db.insert("t", COLUMNS, mode="create")
    assert caught.value.sqlstate == "42P07"
    assert db.insert("made", COLUMNS, mode="create") == 3
    assert db.select("made", order_by="a").rows() == [(1, "x"), (2, None), (3, "z")]


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"mode": "merge"}, "mode must be one of"),
        ({"mode": "upsert"}, "needs key"),
        ({"mode": "ignore", "key": []}, "needs key"),
        ({"key": ["a"]}, "key belongs"),
    ],
)
def test_wrong_modes_and_keys(db: qn.Connection, options: dict[str, Any], says: str) -> None:
    with pytest.raises(qn.ArgumentError, match=says):
        db.insert("t", COLUMNS, **options)


class Watcher(threading.Thread):
    """Reads the table over and over through a connection of its own, and keeps what it saw."""

    def __init__(self, uri: str) -> None:
        super().__init__(daemon=True)
        # Before anything is written: opening a file may find it locked, too. It does not wait for locks.
        self.db = qn.connect(uri, timeout=0.01) if uri.startswith("sqlite") else qn.connect(uri)
        self.seen: list[tuple[int, int, int]] = []  # rows, and the lowest and highest number of their writer
        self.tries = 0
        self.changed = threading.Condition()
        self.stop = False
        self.raised: BaseException | None = None

    def run(self) -> None:
        try:
            while not self.stop:
                self.look()
        except BaseException as error:
            self.raised = error
        finally:
            self.db.close()
            with self.changed:
                self.stop = True
                self.changed.notify_all()

    def look(self) -> None:
        try:
            row = self.db.execute("select count(*) as n, min(a) as low, max(a) as high from t").row(0)
        except qn.QanatError as error:
            assert error.sqlstate == "55P03", error  # locked: SQLite, while a commit is written
        else:
            self.seen.append(row)
        with self.changed:
            self.tries += 1
            self.changed.notify_all()

    def wait_for_a_look(self) -> None:
        """Until a whole look that began after this call has ended."""
        with self.changed:
            wanted = self.tries + 2
            assert self.changed.wait_for(lambda: self.tries >= wanted or self.stop, timeout=60)


def test_replace_is_seen_as_a_whole(db: qn.Connection, db_uri: str) -> None:
    """Readers see the old rows or the new: never none, never some of each, even in the middle of a write."""
    schema = pa.schema([("a", pa.int64()), ("b", pa.string())])
    watcher = Watcher(db_uri)

    def rows_of_writer(number: int) -> Iterator[pa.RecordBatch]:
        for part in range(3):
            count = 1000 + number
            yield pa.record_batch([pa.array([number] * count), pa.array([f"part {part}"] * count)], schema)
            watcher.wait_for_a_look()

    def replace(number: int) -> None:
        assert db.insert("t", pa.RecordBatchReader.from_batches(schema, rows_of_writer(number)), mode="replace") > 0

    db.insert("t", {"a": [0] * 3000, "b": ["part"] * 3000})
    watcher.start()
    for number in range(1, 6):
        replace(number)
        watcher.wait_for_a_look()
    watcher.stop = True
    watcher.join()
    if watcher.raised is not None:
        raise watcher.raised
    assert set(watcher.seen) <= {(3 * (1000 + number), number, number) for number in range(6)}
    assert len(set(watcher.seen)) >= 5  # it did see the table change


def test_stream_of_another_connection(db: qn.Connection) -> None:
    with qn.connect("sqlite://:memory:") as source:
        source.insert("s", COLUMNS, mode="create")
        with source.stream(table="s", batch_rows=1) as stream:
            assert db.insert("t", stream) == 3
            assert stream.closed
        assert source.execute("select 1 as a").item() == 1
    assert rows(db) == [(1, "x"), (2, None), (3, "z")]


def test_failing_stream_of_another_connection_raises_its_own_error(db: qn.Connection) -> None:
    with qn.connect("sqlite://:memory:") as source:
        source.execute("create table s (a)")
        source.insert("s", {"a": list(range(10))})
        source.execute("insert into s values ('late text')")
        with source.stream("select a, 'x' as b from s", batch_rows=4) as stream, pytest.raises(qn.DataError) as caught:
            db.insert("t", stream)
        assert (caught.value.row, caught.value.column) == (10, "a")
        assert caught.value.sql == "select a, 'x' as b from s"
    assert rows(db) == []


def test_own_stream_is_refused(db: qn.Connection) -> None:
    db.insert("t", COLUMNS)
    with db.stream(table="t", batch_rows=1) as stream, pytest.raises(qn.ConnectionBusyError):
        db.insert("t", stream)
    assert len(rows(db)) == 3


def test_producer_that_raises_in_python(db: qn.Connection) -> None:
    class Broken:
        def __arrow_c_stream__(self, requested_schema: object = None) -> Any:
            raise LookupError("no rows today")

    with pytest.raises(LookupError, match="no rows today"):
        db.insert("t", Broken())

    class Wrong:
        def __arrow_c_stream__(self, requested_schema: object = None) -> Any:
            return object()

    with pytest.raises(ValueError, match="PyCapsule"):
        db.insert("t", Wrong())


# ---- exactness of columns of Python values (no database needed) ----


@pytest.mark.parametrize(
    ("values", "dtype", "kept"),
    [
        ([1, 2], pl.Int64, [1, 2]),
        ([2**63], pl.UInt64, [2**63]),
        ([-1, 2**63], pl.Decimal(38, 0), [Decimal(-1), Decimal(2**63)]),
        ([10**38 - 1, None], pl.Decimal(38, 0), [Decimal(10**38 - 1), None]),
        ([1, 0.5, None], pl.Float64, [1.0, 0.5, None]),
        ([0.5, 2**53], pl.Float64, [0.5, float(2**53)]),
        ([1, Decimal("0.5")], pl.Decimal(38, 1), [Decimal("1.0"), Decimal("0.5")]),
        ([Decimal("1E+3"), Decimal("0.001")], pl.Decimal(38, 3), [Decimal("1000.000"), Decimal("0.001")]),
        ([uuid.UUID(int=1), None], pl.String, ["00000000-0000-0000-0000-000000000001", None]),
        ([b"a", bytearray(b"b")], pl.Binary, [b"a", b"b"]),
        ([dt.date(1, 1, 1)], pl.Date, [dt.date(1, 1, 1)]),
        ([None, None], pl.Null, [None, None]),
        ([[1, None], None, []], pl.List(pl.Int64), [[1, None], None, []]),
        (
            [{"x": 1}, {"y": "b"}],
            pl.Struct({"x": pl.Int64, "y": pl.String}),
            [{"x": 1, "y": None}, {"x": None, "y": "b"}],
        ),
        ([dt.time(1, 2, 3, 4)], pl.Time, [dt.time(1, 2, 3, 4)]),
        ([dt.timedelta(days=1, microseconds=1)], pl.Duration("us"), [dt.timedelta(days=1, microseconds=1)]),
    ],
    ids=ascii,
)
def test_columns_are_kept_exactly(values: list[Any], dtype: Any, kept: list[Any]) -> None:
    series = _frames.series_of("c", values)
    assert series.dtype == dtype
    assert series.to_list() == kept


def test_aware_datetimes_keep_their_instant() -> None:
    zone = dt.timezone(dt.timedelta(hours=2))
    series = _frames.series_of("c", [dt.datetime(2024, 1, 1, 2, tzinfo=zone), dt.datetime(2024, 1, 1, tzinfo=dt.UTC)])
    assert series.dtype == pl.Datetime("us", "UTC")
    assert series.to_list() == [dt.datetime(2024, 1, 1, tzinfo=dt.UTC)] * 2


@pytest.mark.parametrize(
    ("values", "row", "says"),
    [
        ([0.5, 2**53 + 1], 1, "no exact float"),
        ([0.5, 10**400], 1, "no exact float"),
        ([1, 10**38], 1, "38 digits"),
        ([Decimal("0.5"), Decimal("NaN")], 1, "no exact decimal"),
        ([Decimal("1E+37"), Decimal("0.01")], 1, "38 digits"),
        ([1, True], 1, "bool in a column of int"),
        ([1, "x"], 1, "str in a column of int"),
        ([None, "x", b"x"], 2, "bytes in a column of str"),
        ([0.5, Decimal("0.5")], 1, "Decimal in a column of float"),
        ([dt.date(2024, 1, 1), dt.datetime(2024, 1, 1)], 1, "datetime in a column of date"),
        ([dt.datetime(2024, 1, 1), None, dt.datetime(2024, 1, 1, tzinfo=dt.UTC)], 2, "time zone"),
        ([dt.time(1), dt.time(1, tzinfo=dt.UTC)], 1, "time zone"),
        (["a", "b\ud800"], 1, "surrogate"),
        ([[1.5], [2**60 + 1]], 1, "exactly"),
    ],
    ids=ascii,
)
def test_columns_that_would_change_are_refused(values: list[Any], row: int, says: str) -> None:
    with pytest.raises(qn.DataError, match=says) as caught:
        _frames.series_of("c", values)
    assert (caught.value.row, caught.value.column) == (row, "c")
    assert '"c"' in str(caught.value)


@given(
    st.one_of(
        st.lists(st.none() | st.integers(-(10**30), 10**30)),
        st.lists(st.none() | st.integers(-(2**70), 2**70) | st.floats(allow_nan=False)),
        st.lists(st.none() | st.decimals(allow_nan=False, allow_infinity=False, min_value=-(10**20), max_value=10**20)),
        st.lists(st.none() | st.text()),
        st.lists(st.none() | st.datetimes() | st.datetimes(timezones=st.just(dt.UTC))),
        st.lists(st.none() | st.booleans() | st.integers()),
        st.lists(st.none() | st.lists(st.none() | st.integers() | st.floats(allow_nan=False))),
        st.lists(st.none() | st.binary()),
    )
)
def test_any_column_is_kept_or_refused(values: list[Any]) -> None:
    """Never changed: what comes back is equal, or a DataError came instead."""
    try:
        series = _frames.series_of("c", values)
    except qn.DataError:
        return
    assert series.to_list() == values


# ---- PostgreSQL's own types ------------------------------------------------------------------------------------------

EXACT_TEXTS = [
    ("numeric", ["1.50", "-0.000000000000000000000000000000000000000001", "1" + "0" * 60, "NaN", "Infinity"]),
    ("numeric(50,10)", ["1234567890123456789012345678901234567890.0123456789", "-0.0000000001", "NaN"]),
    ("interval", ["1 year 2 mons -3 days +04:05:06.789012", "-00:00:00.000001", "00:00:00"]),
    ("json", ['{"a":  1, "a": 2}', "null"]),
    ("jsonb", ['{"a": [1, 2.50]}', "null"]),
    ("uuid", ["00112233-4455-6677-8899-aabbccddeeff"]),
    ("xml", ["<a>1</a>"]),
    ("inet", ["10.0.0.1/8", "::1"]),
    ("cidr", ["10.0.0.0/8"]),
    ("macaddr", ["08:00:2b:01:02:03"]),
]


@pytest.mark.parametrize(("sql_type", "values"), EXACT_TEXTS)
@pytest.mark.parametrize("made", ["create", "append", "upsert"])
def test_postgres_to_postgres_keeps_type_and_value(
    postgres_uri: str, sql_type: str, values: list[str], made: str
) -> None:
    with qn.connect(postgres_uri) as source, qn.connect(postgres_uri) as sink:
        source.execute(f"create table n1 (id integer primary key, v {sql_type})")
        for i, text in enumerate([*values, None]):
            source.execute(f"insert into n1 values (?, ?::text::{sql_type})", [i, text])
        if made == "create":
            sink.insert("n2", source.stream("select * from n1"), mode="create")
        else:
            sink.execute(f"create table n2 (id integer primary key, v {sql_type})")
            key = ["id"] if made == "upsert" else None
            sink.insert("n2", source.stream("select * from n1"), mode=made, key=key)  # type: ignore[arg-type]
        assert sink.columns("n2")["type"].to_list() == ["integer", sql_type]
        both = "select id, v::text as t from {} order by id"
        assert sink.execute(both.format("n2")).rows() == sink.execute(both.format("n1")).rows()


@pytest.mark.parametrize(
    ("sql_type", "value", "says"),
    [
        ("numeric(6,2)", "1.005", "more places"),
        ("numeric(6,2)", "1005e-3", "more places"),
        ("numeric(6,-2)", "150", "more places"),
        ("numeric(6,2)", "one", "not a number"),
        ("numeric", "1.2.3", "not a number"),
        ("numeric", "", "not a number"),
        ("numeric", "1e-16384", "more places"),
        ("interval", "00:00:00.0000001", "microsecond"),
    ],
)
def test_text_that_the_server_would_round_is_refused(postgres_uri: str, sql_type: str, value: str, says: str) -> None:
    with qn.connect(postgres_uri) as db:
        db.execute(f"create table t (v {sql_type})")
        with pytest.raises(qn.DataError, match=says) as caught:
            db.insert("t", {"v": [None, value]})
        assert (caught.value.row, caught.value.column) == (1, "v")
        assert db.execute("select count(*) as n from t").item() == 0


@pytest.mark.parametrize(
    ("sql_type", "value", "stored"),
    [
        ("numeric(6,2)", " 1.5000 ", "1.50"),
        ("numeric(6,2)", "+15e-1", "1.50"),
        ("numeric(6,2)", "0e-99", "0.00"),
        ("numeric(6,2)", ".5", "0.50"),
        ("numeric(6,2)", "nan", "NaN"),
        ("numeric(6,-2)", "1.2e3", "1200"),
        ("numeric", "1e3", "1000"),
        ("interval", "1.5000000000 hours", "01:30:00"),
    ],
)
def test_text_that_the_column_keeps_is_taken(postgres_uri: str, sql_type: str, value: str, stored: str) -> None:
    with qn.connect(postgres_uri) as db:
        db.execute(f"create table t (v {sql_type})")
        db.insert("t", {"v": [value]})
        assert db.execute("select v::text as v from t").item() == stored


def test_what_the_server_cannot_read_is_its_error(postgres_uri: str) -> None:
    with qn.connect(postgres_uri) as db:
        db.execute("create table t (n numeric(6,2), i interval, d interval(0))")
        for column, value, sqlstate in (("n", "12345", "22003"), ("i", "soon", "22007")):
            with pytest.raises(qn.DataError) as caught:
                db.insert("t", {column: [value]})
            assert caught.value.sqlstate == sqlstate
        with pytest.raises(qn.DataError, match="does not go into interval"):
            db.insert("t", {"d": ["1 day"]})


def test_a_type_of_another_database_is_not_taken_for_ours(postgres_uri: str, sqlite_uri: str) -> None:
    with qn.connect(sqlite_uri) as source, qn.connect(postgres_uri) as sink:
        source.execute("create table t (v json, n numeric)")
        source.execute("insert into t values ('no json', 'no number')")
        sink.insert("t", source.stream("select * from t"), mode="create")
        assert sink.columns("t")["type"].to_list() == ["text", "text"]
        assert sink.execute("select * from t").rows() == [("no json", "no number")]


@pytest.mark.parametrize(
    ("values", "dtype", "texts"),
    [
        ([[1, None], None, []], pl.List(pl.Int64), ["[1, null]", None, "[]"]),
        ([[["a"], []], [None]], pl.List(pl.List(pl.String)), ['[["a"], []]', "[null]"]),
        ([[1.5, 2.5]], pl.Array(pl.Float64, 2), ["[1.5, 2.5]"]),
        ([{"x": 1, "y": [True]}], pl.Struct({"x": pl.Int64, "y": pl.List(pl.Boolean)}), ['{"x": 1, "y": [true]}']),
    ],
)
def test_lists_and_structs_make_jsonb_columns(postgres_uri: str, values: Any, dtype: Any, texts: Any) -> None:
    with qn.connect(postgres_uri) as db:
        db.insert("t", pl.DataFrame({"v": pl.Series(values, dtype=dtype)}), mode="create")
        assert db.columns("t")["type"].to_list() == ["jsonb"]
        assert db.execute("select v::text as v from t").to_series().to_list() == texts
