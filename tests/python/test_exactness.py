"""The first promise: a value arrives exactly, or a typed error names its row and column; nothing changes in silence.

Frames of every type that polars makes go into new tables and come back; values meet columns of other types; numbers and
dates come out of PostgreSQL whole and in small batches; SQLite columns of mixed values widen. The oracle is never the
product: Python's own arithmetic, the text that PostgreSQL shows, and Python's sqlite3 module on the same file.
"""

from __future__ import annotations

import datetime as dt
import json
import math
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import closing
from decimal import Decimal
from fractions import Fraction
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import numpy as np
import polars as pl
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import qanat as qn

pytestmark = pytest.mark.trace("B11", "D16")

INT64_MAX = 2**63 - 1
PG_DATES = range(-2440588 - 1, 2145042905 + 1)  # days from 1970 of 4714-11-24 BC to 5874897-12-31
PG_MICROS_LOW = -2440588 * 86_400_000_000 - 86_400_000_000
QUICK = settings(deadline=None, max_examples=60, suppress_health_check=list(HealthCheck))


@pytest.fixture(scope="module")
def pg(postgres_server: Any) -> Iterator[qn.Connection]:
    with postgres_server.new_database() as uri, qn.connect(uri) as connection:
        connection.execute("set time zone 'UTC'")
        yield connection


@pytest.fixture(scope="module")
def lite_path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("exactness") / "exact.db"


@pytest.fixture(scope="module")
def lite(lite_path: Path) -> Iterator[qn.Connection]:
    with qn.connect(f"sqlite:///{lite_path}") as connection:
        connection.execute("pragma synchronous = off")
        yield connection


def same(a: Any, b: Any) -> bool:
    """Equal, with NaN equal to NaN and -0.0 not equal to 0.0."""
    if isinstance(a, float) and isinstance(b, float):
        return (math.isnan(a) and math.isnan(b)) or (a == b and math.copysign(1, a) == math.copysign(1, b))
    return type(a) is type(b) and bool(a == b)


def assert_same(got: list[Any], wanted: list[Any]) -> None:
    assert len(got) == len(wanted)
    for row, (a, b) in enumerate(zip(got, wanted, strict=True)):
        assert same(a, b), f"row {row}: got {a!r}, wanted {b!r}"


# ---- frames into new tables and back ----

ZONES = ("UTC", "Europe/Berlin", "Asia/Kathmandu", "America/St_Johns")
TEXTS = st.one_of(
    st.text(st.characters(exclude_categories=["Cs"]), max_size=20),
    st.sampled_from(["", "x" * 12, "x" * 13, "ä" * 6, "ä" * 7, "🜃" * 3, "🜃" * 4, "a\0b", " 1 ", "1e5", "NULL", "\\N"]),
)
FLOATS = st.one_of(st.floats(), st.sampled_from([-0.0, 5e-324, 2.0**53, 1e22, math.inf, math.nan]))


def _edges(low: int, high: int) -> st.SearchStrategy[int]:
    return st.one_of(st.integers(low, high), st.integers(max(low, -100), min(high, 100)), st.sampled_from([low, high]))


def _decimals(precision: int, scale: int) -> st.SearchStrategy[Decimal]:
    limit = 10**precision - 1
    return _edges(-limit, limit).map(lambda n: Decimal(f"{n}e{-scale}"))


INTEGERS: dict[Any, tuple[int, int]] = {
    pl.Int8(): (-(2**7), 2**7 - 1),
    pl.Int16(): (-(2**15), 2**15 - 1),
    pl.Int32(): (-(2**31), 2**31 - 1),
    pl.Int64(): (-(2**63), INT64_MAX),
    pl.UInt8(): (0, 2**8 - 1),
    pl.UInt16(): (0, 2**16 - 1),
    pl.UInt32(): (0, 2**32 - 1),
    pl.UInt64(): (0, 2**64 - 1),
    pl.Int128(): (-(2**127), 2**127 - 1),
}
STORED_AS_INTEGERS = (pl.Date, pl.Datetime, pl.Duration, pl.Time)


def _values(dtype: Any) -> st.SearchStrategy[Any]:
    """What a column of the type holds; days and clock ticks stand for dates and times."""
    if dtype in INTEGERS:
        return _edges(*INTEGERS[dtype])
    if isinstance(dtype, pl.Decimal):
        return _decimals(dtype.precision or 38, dtype.scale)
    if isinstance(dtype, pl.Date):
        return st.one_of(st.integers(-800_000, 3_000_000), _edges(-(2**31), 2**31 - 1))
    if isinstance(dtype, pl.Time):
        return st.integers(0, 86_400 * 10**6 - 1).map(lambda n: n * 1000) | st.integers(0, 86_400 * 10**9 - 1)
    if isinstance(dtype, pl.Datetime | pl.Duration):
        return st.one_of(
            st.integers(-(10**9), 9 * 10**9).map(lambda n: n * 1000 * (10**6 if dtype.time_unit == "ns" else 1)),
            _edges(-(2**63), INT64_MAX),
        )
    if isinstance(dtype, pl.List):
        return st.lists(st.none() | st.integers(-(2**63), INT64_MAX), max_size=3)
    if isinstance(dtype, pl.Struct):
        texts = st.none() | st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=5)
        return st.fixed_dictionaries({"n": st.none() | st.floats(allow_nan=False, allow_infinity=False), "t": texts})
    simple: dict[Any, st.SearchStrategy[Any]] = {
        pl.Float32(): st.floats(width=32) | st.sampled_from([-0.0, 1e-45, 16777216.0]).map(np.float32).map(float),
        pl.Float64(): FLOATS,
        pl.String(): TEXTS,
        pl.Categorical(): TEXTS,
        pl.Enum(["a", "b"]): st.sampled_from(["a", "b"]),
        pl.Binary(): st.binary(max_size=20),
        pl.Boolean(): st.booleans(),
        pl.Null(): st.none(),
    }
    return simple[dtype]


DTYPES = st.one_of(
    st.sampled_from(list(INTEGERS)),
    st.sampled_from([pl.Float32(), pl.Float64(), pl.String(), pl.Categorical(), pl.Enum(["a", "b"]), pl.Binary()]),
    st.sampled_from([pl.Boolean(), pl.Null(), pl.Date(), pl.Time()]),
    st.builds(pl.Datetime, st.sampled_from(["ms", "us", "ns"]), st.none() | st.sampled_from(ZONES)),
    st.builds(pl.Duration, st.sampled_from(["ms", "us", "ns"])),
    st.integers(1, 38).flatmap(lambda p: st.integers(0, p).map(lambda s: pl.Decimal(p, s))),
    st.just(pl.List(pl.Int64)),
    st.just(pl.Struct({"n": pl.Float64, "t": pl.String})),
)


@st.composite
def frames(draw: st.DrawFn) -> tuple[pl.DataFrame, dict[str, list[Any]]]:
    """A frame in several chunks, some of them slices, and the values that it holds."""
    height = draw(st.integers(0, 8))
    values: dict[str, list[Any]] = {}
    columns = []
    for i, dtype in enumerate(draw(st.lists(DTYPES, min_size=1, max_size=4))):
        name = f"c{i}"
        cell = st.none() | _values(dtype)
        values[name] = draw(st.lists(cell, min_size=height, max_size=height))
        extra = [draw(cell), *values[name], draw(cell)]  # what a slice leaves out
        stored = pl.Int32() if isinstance(dtype, pl.Date) else pl.Int64()
        series = pl.Series(name, extra, stored if isinstance(dtype, STORED_AS_INTEGERS) else dtype)
        columns.append(series.cast(dtype) if isinstance(dtype, STORED_AS_INTEGERS) else series)
    frame = pl.DataFrame(columns).slice(1, height)
    cuts = sorted(draw(st.lists(st.integers(0, height), max_size=3)))
    parts = [frame.slice(a, b - a) for a, b in zip([0, *cuts], [*cuts, height], strict=True)]
    return pl.concat(parts, rechunk=False), values


def _micros(value: int, unit: str) -> int | None:
    """Whole microseconds in 64 bits, or none."""
    exact = Fraction(value) * {"ms": 1000, "us": 1, "ns": Fraction(1, 1000)}[unit]
    return int(exact) if exact.denominator == 1 and -(2**63) <= exact <= INT64_MAX else None


def _pg_fits(dtype: Any, value: Any) -> bool:
    if isinstance(dtype, pl.String | pl.Categorical):
        return "\0" not in value
    if isinstance(dtype, pl.Date):
        return value in PG_DATES
    if isinstance(dtype, pl.Time):
        return bool(value % 1000 == 0)
    if isinstance(dtype, pl.Datetime):
        micros = _micros(value, dtype.time_unit)
        return micros is not None and micros >= PG_MICROS_LOW
    return not isinstance(dtype, pl.Duration) or _micros(value, dtype.time_unit) is not None


def _lite_fits(dtype: Any, value: Any) -> bool:
    if isinstance(dtype, pl.UInt64):
        return bool(value <= INT64_MAX)
    if isinstance(dtype, pl.Float32 | pl.Float64):
        return not math.isnan(value) and not same(value, -0.0)
    if isinstance(dtype, pl.Time):
        return bool(value % 1000 == 0)
    return not isinstance(dtype, pl.Datetime | pl.Duration) or _micros(value, dtype.time_unit) is not None


def _comes_back_as(database: str, dtype: Any) -> Any:
    """The documented change of a type on its way through a new table."""
    if isinstance(dtype, pl.Datetime):
        return pl.Datetime("us", "UTC" if dtype.time_zone else None)
    if isinstance(dtype, pl.Duration):
        return pl.Duration("us") if database == "sqlite" else pl.String()
    if isinstance(dtype, pl.Categorical | pl.Enum | pl.Null | pl.Struct | pl.List):
        return pl.String()
    if database == "sqlite":
        return pl.Int64() if dtype in INTEGERS else pl.Float64() if dtype == pl.Float32 else dtype
    wider = {pl.Int8(): pl.Int16(), pl.UInt8(): pl.Int16(), pl.UInt16(): pl.Int32(), pl.UInt32(): pl.Int64()}
    return pl.Decimal(20, 0) if isinstance(dtype, pl.UInt64) else wider.get(dtype, dtype)


def _check_column(database: str, dtype: Any, got: pl.Series, wanted: list[Any]) -> None:
    assert got.dtype == _comes_back_as(database, dtype)
    if isinstance(dtype, pl.List | pl.Struct):
        whole = float if isinstance(dtype, pl.Struct) else int  # jsonb writes 1e20 in full
        assert [None if text is None else json.loads(text, parse_int=whole) for text in got.to_list()] == wanted
        return
    if isinstance(dtype, pl.Duration) and database == "postgres":
        return  # text: compared through extract(epoch) by the caller
    if isinstance(dtype, pl.Datetime | pl.Duration):
        wanted = [None if value is None else _micros(value, dtype.time_unit) for value in wanted]
    if isinstance(dtype, STORED_AS_INTEGERS):
        got = got.to_physical()
    if isinstance(dtype, pl.UInt64) and database == "postgres":
        wanted = [None if value is None else Decimal(value) for value in wanted]
    assert_same(got.to_list(), wanted)


def _pg_text(dtype: Any, value: Any) -> str | None:
    """How PostgreSQL shows the value, by Python's own formatting; None: not compared."""
    if isinstance(dtype, pl.Boolean):
        return "true" if value else "false"
    if isinstance(dtype, pl.Decimal):
        return format(value, "f")
    if isinstance(dtype, pl.Binary):
        return "\\x" + value.hex()
    if isinstance(dtype, pl.Date) and -719162 <= value <= 2932896:
        return (dt.date(1970, 1, 1) + dt.timedelta(days=value)).isoformat()
    return str(value) if dtype in INTEGERS or isinstance(dtype, pl.String | pl.Categorical | pl.Enum) else None


def _insert(
    db: qn.Connection, frame: pl.DataFrame, values: dict[str, list[Any]], fits: Callable[[Any, Any], bool]
) -> bool:
    """Into the new table t. False where that was refused as it has to be, and t does not exist."""
    bad = {
        (row, name)
        for name, column in values.items()
        for row, value in enumerate(column)
        if value is not None and not fits(frame.schema[name], value)
    }
    db.execute("drop table if exists t")
    try:
        assert db.insert("t", frame, mode="create") == frame.height
    except qn.NotSupportedError as error:  # a type that the database has no column for
        assert isinstance(frame.schema[error.column or ""], pl.Int128 | pl.List)
    except qn.DataError as error:
        assert (error.row, error.column) in bad, error
    else:
        assert not bad, f"{bad} were taken"
        return True
    assert "t" not in db.tables()["name"].to_list()
    return False


@QUICK
@given(frames())
def test_a_frame_through_a_new_table_of_postgres(pg: qn.Connection, made: tuple[pl.DataFrame, Any]) -> None:
    frame, values = made
    if not _insert(pg, frame, values, _pg_fits):
        return
    whole = pg.execute("select * from t")
    texts = pg.execute(f"select {', '.join(f'{name}::text' for name in frame.columns)} from t")
    for name, dtype in frame.schema.items():
        _check_column("postgres", dtype, whole[name], values[name])
        for text, value in zip(texts[name], values[name], strict=True):
            assert (text is None) == (value is None)
            shown = None if value is None else _pg_text(dtype, value)
            assert shown is None or text == shown
        if isinstance(dtype, pl.Duration):
            epochs = pg.execute(f"select (extract(epoch from {name}) * 1000000)::numeric(30,0)::text as e from t")["e"]
            assert [None if e is None else int(e) for e in epochs] == [
                None if value is None else _micros(value, dtype.time_unit) for value in values[name]
            ]


@QUICK
@given(frames())
def test_a_frame_through_a_new_table_of_sqlite(
    lite: qn.Connection, lite_path: Path, made: tuple[pl.DataFrame, Any]
) -> None:
    frame, values = made
    if not _insert(lite, frame, values, _lite_fits):
        return
    whole = lite.execute("select * from t")
    with closing(sqlite3.connect(lite_path)) as witness:
        for name, dtype in frame.schema.items():
            _check_column("sqlite", dtype, whole[name], values[name])
            stored = witness.execute(f"select {name}, typeof({name}) from t").fetchall()
            for (value, kind), wanted in zip(stored, values[name], strict=True):
                assert (kind == "null") == (wanted is None)
                if wanted is None:
                    continue
                if dtype in INTEGERS or isinstance(dtype, pl.Boolean):
                    assert (value, kind) == (wanted, "integer")
                elif isinstance(dtype, pl.Float32 | pl.Float64):
                    assert same(value, wanted)
                elif isinstance(dtype, pl.Decimal):
                    assert (Decimal(repr(value)) if kind == "real" else Decimal(value)) == wanted
                elif isinstance(dtype, pl.String | pl.Categorical | pl.Enum):
                    assert (value, kind) == (wanted, "text")
                elif isinstance(dtype, pl.Binary):
                    assert (value, kind) == (wanted, "blob")
                else:
                    assert kind == ("integer" if isinstance(dtype, pl.Duration) else "text")


# ---- appends into columns of other types ----

NUMBERS: st.SearchStrategy[tuple[Any, Any]] = st.one_of(
    _edges(-(2**63), INT64_MAX).map(lambda n: (n, pl.Int64())),
    st.sampled_from([0, 1, 255, 32768, 2**24 + 1, 2**31, 2**53 + 1, 2**62, 10**17]).map(lambda n: (n, pl.Int64())),
    _edges(0, 2**64 - 1).map(lambda n: (n, pl.UInt64())),
    FLOATS.map(lambda f: (f, pl.Float64())),
    st.sampled_from([0.1, 1.5, -0.0, 16777217.0, 1e10, 2.0**63, 123456.789]).map(lambda f: (f, pl.Float64())),
    st.floats(width=32).map(lambda f: (f, pl.Float32())),
    st.integers(0, 38).flatmap(lambda s: _decimals(38, s).map(lambda d: (d, pl.Decimal(38, s)))),
    st.integers(0, 9).flatmap(lambda s: _decimals(15, s).map(lambda d: (d, pl.Decimal(15, s)))),
)
BORDERLINE_TEXTS = st.one_of(
    st.from_regex(r"[ ]?[+-]?[0-9]{0,40}(\.[0-9]{0,40})?([eE][+-]?[0-9]{1,3})?[ ]?", fullmatch=True),
    st.sampled_from(
        ["0", "-0", "1.0", "0.1", ".5", "9007199254740993", "0x10", "inf", "nan", "1_0", "1" * 40, "0." + "1" * 40]
    ),
    TEXTS,
)


def _exact(value: Any) -> Fraction | str:
    """A number's own value; infinities and NaN by name."""
    if isinstance(value, float) and not math.isfinite(value):
        return repr(value)
    return Fraction(value)


def _append_last(db: qn.Connection, value: Any, dtype: Any) -> bool:
    """Append a null row, then the value. False where the value was refused and nothing is kept."""
    frame = pl.DataFrame({"a": pl.Series([None, value], dtype=dtype, strict=True)})
    try:
        db.insert("t", frame)
    except qn.DataError as error:
        assert (error.row, error.column) == (1, "a"), error
        assert db.execute("select count(*) as n from t").item() == 0
        return False
    return True


@QUICK
@pytest.mark.parametrize(
    "declared",
    ["smallint", "integer", "bigint", "real", "double precision", "numeric", "numeric(10,2)", "numeric(3,-2)"],
)
@given(made=NUMBERS)
def test_numbers_into_number_columns_of_postgres(pg: qn.Connection, declared: str, made: tuple[Any, Any]) -> None:
    value, dtype = made
    pg.execute("drop table if exists t")
    pg.execute(f"create table t (a {declared})")
    if not _append_last(pg, value, dtype):
        return
    text = pg.execute("select a::text as a from t where a is not null")["a"].item()
    if text in ("NaN", "Infinity", "-Infinity"):
        assert float(text) == value or (text == "NaN" and math.isnan(value))
        return
    shown = (
        Decimal(repr(float(np.float32(value))))
        if isinstance(dtype, pl.Float32)
        else Decimal(repr(value))
        if isinstance(value, float)
        else value
    )
    shortest = Decimal(str(np.float32(value))) if isinstance(dtype, pl.Float32) else shown
    stored = (
        np.float32(text).item() if declared == "real" else float(text) if declared.startswith("d") else Decimal(text)
    )
    # the same number, or where floats and decimals meet the same digits
    assert _exact(stored) == _exact(value) or Decimal(text) in (shown, shortest)


@QUICK
@pytest.mark.parametrize("declared", ["INTEGER", "REAL", "NUMERIC", "TEXT", "BLOB", "DATE", "DECIMAL(10,2)", ""])
@given(made=NUMBERS | BORDERLINE_TEXTS.map(lambda text: (text, pl.String())))
def test_values_into_columns_of_sqlite(
    lite: qn.Connection, lite_path: Path, declared: str, made: tuple[Any, Any]
) -> None:
    value, dtype = made
    lite.execute("drop table if exists t")
    lite.execute(f"create table t (a {declared})")
    if not _append_last(lite, value, dtype):
        return
    with closing(sqlite3.connect(lite_path)) as witness:
        stored, kind = witness.execute("select a, typeof(a) from t where a is not null").fetchone()
    if isinstance(value, str):
        shown = repr(stored).replace("e+0", "e+").replace("e-0", "e-") if kind != "text" else stored
        assert shown == value or Decimal(repr(stored)) == Decimal(value)
        assert kind == "text" or str(stored) == value, f"{value!r} became {stored!r}"
    elif isinstance(value, Decimal):
        assert (Decimal(repr(stored)) if kind == "real" else Decimal(stored)) == value
    elif kind == "text":
        assert _exact(float(stored) if isinstance(value, float) else int(stored)) == _exact(value)
    else:
        assert _exact(stored) == _exact(value)
        assert declared != "REAL" or not same(value, -0.0), "SQLite keeps no sign of zero in a REAL column"


@pytest.mark.parametrize(
    ("declared", "value"),
    [
        ("NUMERIC", "0." + "123456789" * 4),  # longer than any double's text
        ("INTEGER", "9" * 40),
        ("REAL", "9007199254740993"),  # 2^53 + 1, which REAL makes 2^53
        ("NUMERIC", "0.00001"),  # would come back as 1e-05
        ("REAL", -0.0),
    ],
)
def test_what_sqlite_would_change_is_refused(lite: qn.Connection, declared: str, value: Any) -> None:
    lite.execute("drop table if exists t")
    lite.execute(f"create table t (a {declared})")
    assert not _append_last(lite, value, None)


def test_decimals_become_the_nearest_double_in_sqlite(lite: qn.Connection) -> None:
    """SQLite's own conversion of this text ends one bit beside the nearest double."""
    lite.execute("drop table if exists t")
    lite.execute("create table t (a numeric)")
    lite.insert("t", {"a": [Decimal("-24836810.5837359")]})
    assert lite.execute("select a from t").item() == -24836810.5837359


@pytest.mark.parametrize(("unit", "value"), [("ms", INT64_MAX), ("us", -(2**63)), ("ms", -(2**63))])
def test_times_past_the_calendar_are_no_text(pg: qn.Connection, unit: Any, value: int) -> None:
    pg.execute("drop table if exists t")
    pg.execute("create table t (a text)")
    series = pl.Series([None, value], dtype=pl.Int64).cast(pl.Datetime(unit))
    with pytest.raises(qn.DataError, match="cannot be written as text") as caught:
        pg.insert("t", pl.DataFrame({"a": series}))
    assert (caught.value.row, caught.value.column) == (1, "a")
    assert pg.execute("select count(*) as n from t").item() == 0


# ---- names ----


def test_names_that_postgres_would_cut_are_refused(pg: qn.Connection) -> None:
    fits, cut = "n" * 63, "ä" * 32  # 63 and 64 bytes
    pg.execute(f'drop table if exists t, "{fits}"')
    for write in (
        lambda: pg.insert("t", {"a": [1], cut: [2]}, mode="create"),
        lambda: pg.insert("t", {"a": [1], cut: [2]}, mode="replace"),
        lambda: pg.insert(cut, {"a": [1]}, mode="create"),
        lambda: pg.insert("t", {"a": [1]}, mode="create", schema=cut),
        lambda: pg.select("pg_class", columns=[cut]),
        lambda: pg.delete(f"{fits}n"),
        lambda: pg.insert(f"public.{fits}n", {"a": [1]}),
    ):
        with pytest.raises(qn.ArgumentError, match="at most 63"):
            write()
    assert pg.tables("public")["name"].to_list() == []
    assert pg.insert(fits, {fits: [1]}, mode="create") == 1
    assert pg.execute(f'select * from "{fits}"').columns == [fits]
    pg.execute(f'drop table "{fits}"')


# ---- parameters ----


@pytest.mark.parametrize("undo", ["drop", "rollback", "search_path"])
def test_a_statement_knows_the_columns_of_today(pg: qn.Connection, undo: str) -> None:
    """A prepared statement keeps the parameter types of the table that was there when it was prepared."""
    put = "insert into today values (?)"
    pg.execute("drop table if exists today")
    pg.execute("create table today (a double precision)")
    if undo == "rollback":
        with pytest.raises(KeyError), pg.transaction():
            pg.execute("alter table today alter a type real")
            pg.execute(put, [0.5])
            raise KeyError
    elif undo == "search_path":
        pg.execute("create schema if not exists other")
        pg.execute("create table if not exists other.today (a real)")
        pg.execute("set search_path to other")
        pg.execute(put, [0.5])
        pg.execute("set search_path to public")
    else:
        pg.execute("drop table today")
        pg.execute("create table today (a real)")
        pg.execute(put, [0.5])
        pg.execute("drop table today")
        pg.execute("create table today (a double precision)")
    pg.execute(put, [0.1])
    assert pg.execute("select a::text as a from public.today").rows() == [("0.1",)]


@QUICK
@given(
    value=st.one_of(
        st.integers(-(10**38) + 1, 10**38 - 1),
        FLOATS,
        st.integers(0, 38).flatmap(lambda s: _decimals(38, s)),
        TEXTS.filter(lambda text: "\0" not in text),
        st.binary(max_size=20),
        st.booleans(),
        st.dates(),
        st.times(),
        st.datetimes(),
        st.datetimes(timezones=st.sampled_from([ZoneInfo(zone) for zone in ZONES]), allow_imaginary=True),
        st.datetimes(timezones=st.timedeltas(dt.timedelta(hours=-23), dt.timedelta(hours=23)).map(dt.timezone)),
        st.timedeltas(dt.timedelta(days=-(10**8)), dt.timedelta(days=10**8)),
    )
)
def test_parameters_come_back(pg: qn.Connection, lite: qn.Connection, value: Any) -> None:
    own: dict[type, str] = {
        bool: "boolean",
        int: "numeric",
        float: "double precision",
        Decimal: "numeric",
        str: "text",
        bytes: "bytea",
        dt.date: "date",
        dt.time: "time",
        dt.datetime: "timestamptz" if getattr(value, "tzinfo", None) else "timestamp",
        dt.timedelta: "interval",
    }
    kind = own[type(value)]
    if isinstance(value, dt.timedelta):
        text = pg.execute(
            "select (extract(epoch from ?::interval) * 1000000)::numeric(30,0)::text as a", [value]
        ).item()
        assert int(text) == value // dt.timedelta(microseconds=1)
        assert lite.execute("select ? as a", [value]).item() == value // dt.timedelta(microseconds=1)
        return
    if isinstance(value, dt.datetime) and value.tzinfo is not None:
        epoch = dt.datetime(1970, 1, 1, tzinfo=dt.UTC)
        micros = (value - epoch) // dt.timedelta(microseconds=1)
        assert pg.execute("select ?::timestamptz as a", [value])["a"].to_physical().item() == micros
        return
    text = pg.execute(f"select (?::{kind})::text as a", [value]).item()
    if isinstance(value, float):
        assert same(float(text), value)
        if not math.isnan(value):
            assert same(lite.execute("select ? as a", [value]).item(), value)
        return
    shown: dict[type, Callable[[Any], str]] = {
        bool: lambda v: str(v).lower(),
        bytes: lambda v: "\\x" + v.hex(),
        Decimal: lambda v: format(v.copy_abs() if v == 0 else v, "f"),
        dt.datetime: lambda v: v.isoformat(" "),
    }
    wanted = shown.get(type(value), str)(value)
    assert text == wanted or text.rstrip("0") == wanted.rstrip("0")  # a clock's fraction is shown without zeros
    if isinstance(value, int) and -(2**63) <= value <= INT64_MAX:
        assert lite.execute("select ? as a", [value]).item() == value


# ---- out of PostgreSQL ----

NUMERICS = st.tuples(st.integers(0, 60), st.integers(0, 40), st.integers(0, 30)).flatmap(
    lambda shape: st.integers(-(10 ** shape[0]), 10 ** shape[0]).map(
        lambda n: format(Decimal(f"{n}{'0' * shape[2]}e{-shape[1]}"), "f")
    )
)


def _numeric(text: str | None) -> Fraction | None:
    return None if text is None else Fraction(text)


@QUICK
@given(
    texts=st.lists(st.none() | st.sampled_from(["0", "0.000", "1.5"]) | NUMERICS, min_size=1, max_size=30),
    batch_rows=st.integers(1, 4),
)
def test_numerics_out_of_postgres(pg: qn.Connection, texts: list[str | None], batch_rows: int) -> None:
    rows = ", ".join(f"({i}, {'null' if text is None else repr(text)}::numeric)" for i, text in enumerate(texts))
    sql = f"select v from (values {rows}) as t(i, v) order by i"
    wanted = [_numeric(text) for text in texts]
    whole = pg.execute(sql)["v"]
    assert [None if value is None else Fraction(value) for value in whole] == wanted
    with pg.stream(sql, batch_rows=batch_rows) as stream:
        assert stream.to_polars()["v"].to_list() == texts  # with each value's own places
    assert pg.execute(sql, numeric="float64")["v"].to_list() == [None if t is None else float(t) for t in texts]
    unfit = {i for i, n in enumerate(wanted) if n is not None and ((n * 100).denominator != 1 or abs(n) >= 10**18)}
    try:
        with pg.stream(sql, batch_rows=batch_rows, types={"v": "Decimal(20,2)"}) as stream:
            got = stream.to_polars()["v"]
    except qn.DataError as error:
        assert (error.row, error.column) == (min(unfit), "v")
    else:
        assert not unfit
        assert [None if value is None else Fraction(value) for value in got] == wanted


@pytest.mark.parametrize("read", ["whole", "stream"])
@pytest.mark.parametrize("typmod", ["3,-2", "2,5", "38,0", "38,38", "39,0", "60,40", "1000,0", "5"])
def test_numerics_of_every_shape_out_of_postgres(pg: qn.Connection, typmod: str, read: str) -> None:
    precision, _, scale = typmod.partition(",")
    top = Decimal(f"{'9' * int(precision)}e{-int(scale or 0)}")
    sql = f"select n::numeric({typmod}) as v from (values ('{top:f}'::numeric), (-'{top:f}'::numeric), (0)) as t(n)"
    if read == "whole":
        got = pg.execute(sql)["v"]
    else:
        with pg.stream(sql, batch_rows=1) as stream:
            got = stream.to_polars()["v"]
    assert [Fraction(value) for value in got] == [Fraction(top), -Fraction(top), 0]


@QUICK
@given(
    days=st.lists(st.none() | st.sampled_from([-2440588, 2145042905]) | st.integers(-2440588, 2145042905), max_size=9),
    micros=st.lists(st.none() | st.integers(PG_MICROS_LOW + 86_400_000_000, INT64_MAX), max_size=9),
    batch_rows=st.integers(1, 4),
)
def test_dates_and_timestamps_out_of_postgres(
    pg: qn.Connection, days: list[int | None], micros: list[int | None], batch_rows: int
) -> None:
    """The values are counted by PostgreSQL: days and microseconds added to 1970."""

    def table(values: list[int | None], shown: str) -> str:
        rows = ", ".join(f"({i}, {'null' if value is None else value}::bigint)" for i, value in enumerate(values))
        return f"select {shown} as v from (values {rows}) as t(i, n) order by i"

    split = "(n / 86400000000) * interval '1 day' + (n % 86400000000) * interval '1 microsecond'"
    for values, shown in (
        (days, "date '1970-01-01' + n::int"),
        (micros, f"timestamp '1970-01-01' + ({split})"),
        (micros, f"timestamptz '1970-01-01 00:00:00+00' + ({split})"),
    ):
        if not values:
            continue
        sql = table(values, shown)
        assert pg.execute(sql)["v"].to_physical().to_list() == values
        with pg.stream(sql, batch_rows=batch_rows) as stream:
            assert stream.to_polars()["v"].to_physical().to_list() == values


@pytest.mark.parametrize(
    ("sql", "saturated"),
    [
        ("date 'infinity'", 2**31 - 1),
        ("date '-infinity'", -(2**31)),
        ("timestamp 'infinity'", INT64_MAX),
        ("timestamptz '-infinity'", -(2**63)),
        ("timestamp '294247-01-10 04:00:54.775808'", INT64_MAX),  # one past what Arrow counts
    ],
)
def test_infinities_out_of_postgres(pg: qn.Connection, sql: str, saturated: int) -> None:
    rows = f"select v from (values (1, null), (2, {sql})) as t(i, v) order by i"
    with pytest.raises(qn.DataError) as caught:
        pg.execute(rows)
    assert (caught.value.row, caught.value.column) == (1, "v")
    assert pg.execute(rows, infinity="null")["v"].to_list() == [None, None]
    assert pg.execute(rows, infinity="saturate")["v"].to_physical().to_list() == [None, saturated]
    assert pg.execute(rows, infinity="text")["v"].to_list() == [None, sql.split("'")[1]]


# ---- out of SQLite ----

MIXED = st.one_of(
    st.integers(-(2**63), INT64_MAX),
    st.sampled_from([0, 1, 2**53, 2**53 + 1, -(2**53) - 1, INT64_MAX]),
    st.floats(allow_nan=False),
    st.sampled_from([-0.0, 0.5, 1e300, 2.0**53]),
    st.sampled_from(["", "x", "1", "1.0", "2024-01-01", "a\0b"]),
)


def _is_the_value(got: Any, value: Any) -> bool:
    """A value itself, or widened: an integer as the float that is it, a number as text that reads back as it."""
    if isinstance(got, str) and not isinstance(value, str):
        return same(float(got), value) if isinstance(value, float) else int(got) == value
    return same(got, value) or (isinstance(got, float) and isinstance(value, int) and Fraction(got) == value)


@QUICK
@given(values=st.lists(st.none() | MIXED, max_size=12), batch_rows=st.integers(1, 4))
def test_mixed_values_out_of_sqlite(lite: qn.Connection, lite_path: Path, values: list[Any], batch_rows: int) -> None:
    lite.execute("drop table if exists t")
    lite.execute("create table t (a)")
    with closing(sqlite3.connect(lite_path)) as witness, witness:
        witness.executemany("insert into t values (?)", [(value,) for value in values])
    got = lite.execute("select a from t")["a"].to_list()
    assert len(got) == len(values)
    for a, b in zip(got, values, strict=True):
        assert (a is None) == (b is None)
        assert b is None or _is_the_value(a, b), f"{b!r} became {a!r}"
    seen: list[Any] = []
    try:
        with lite.stream("select a from t", batch_rows=batch_rows) as stream:
            for batch in stream:
                seen += pl.DataFrame(batch)["a"].to_list()
    except qn.DataError as error:
        assert error.column == "a"
        assert error.row is not None and error.row >= batch_rows  # the first batch decides
        assert "types=" in (error.hint or "")
        assert values[error.row] is not None
    else:
        assert len(seen) == len(values)
    assert all(b is None or _is_the_value(a, b) for a, b in zip(seen, values, strict=False))


def test_integers_among_floats_and_texts_keep_their_digits(lite: qn.Connection) -> None:
    """The column is Int64, then Float64, then text: the integer is shown as one."""
    got = lite.execute("select 1851607797862400 as a union all select 0.5 union all select 'x'")["a"].to_list()
    assert got == ["1851607797862400", "0.5", "x"]


@pytest.mark.parametrize(
    ("text", "wanted", "number"),
    [
        ("9007199254740993.0", "Int64", 9007199254740993),
        ("1.00000000000000000001", "Int64", None),
        (" 12 ", "Int64", 12),
        ("9223372036854775808", "Int64", None),
        ("0.1", "Float64", 0.1),
        ("-24836810.5837359", "Float64", -24836810.5837359),
        ("1e300", "Float64", 1e300),
        ("5e-324", "Float64", 5e-324),
        ("0.10000000000000001", "Float64", 0.1),
        ("0.1000000000000000123", "Float64", None),
        ("9007199254740993", "Float64", None),
        ("1e400", "Float64", None),
        ("1e-400", "Float64", None),
        ("-0.0", "Float64", -0.0),
        ("x", "Float64", None),
    ],
)
def test_text_read_as_a_number_out_of_sqlite(lite: qn.Connection, text: str, wanted: str, number: Any) -> None:
    try:
        got = lite.execute(f"select '{text}' as a", types={"a": wanted}).item()
    except qn.DataError as error:
        assert number is None
        assert (error.row, error.column) == (0, "a")
    else:
        assert same(got, number)


@pytest.mark.parametrize(
    ("declared", "text", "wanted"),
    [
        ("date", "2024-02-29", 19782),
        ("date", "2023-02-29", None),
        ("date", "2024-1-5", None),
        ("date", "20240105", None),
        ("date", "2024-01-05 00:00:00", None),
        ("date", "-0044-03-15", -735525),
        ("timestamp", "2024-01-05", 1704412800000000),
        ("timestamp", "2024-01-05T00:00:00.1", 1704412800100000),
        ("timestamp", "2024-01-05 00:00:00.1234567", None),
        ("timestamp", "2024-01-05 00:00:00.1234560", 1704412800123456),
        ("timestamp", "2024-01-05 24:00:00", None),
        ("timestamp", "2024-01-05 23:59:60", None),
        ("timestamp", "2024-01-05 02:00:00+02:00", 1704412800000000),
        ("timestamp", "1704412800", None),
        ("time", "23:59:59.9999999", None),
        ("time", "24:00", None),
        ("time", "07:05", 25500000000),
    ],
)
def test_dates_in_texts_out_of_sqlite(lite: qn.Connection, declared: str, text: str, wanted: int | None) -> None:
    lite.execute("drop table if exists t")
    lite.execute(f"create table t (a {declared})")
    lite.execute("insert into t values (?)", [text])
    try:
        got = lite.execute("select a from t")["a"]
    except qn.DataError as error:
        assert wanted is None
        assert (error.row, error.column) == (0, "a")
        assert lite.execute("select a from t", types={"a": "Utf8"}).item() == text
    else:
        physical = got.to_physical().item()
        assert (physical // 1000 if got.dtype == pl.Time else physical) == wanted
