"""Parameters: Python values to the database and back, exactly or with an error that names the parameter."""

from __future__ import annotations

import datetime as dt
import json
import re
import uuid
from decimal import Decimal
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import qanat as qn

pytestmark = pytest.mark.trace("D16")

PLUS_TWO = dt.timezone(dt.timedelta(hours=2))


def name(value: object) -> str:
    """The name of a value in that of its test: the same in every process, so without addresses."""
    if isinstance(value, int) and abs(value) >= 10**40:
        return "huge"
    return re.sub(r" at 0x\w+", "", ascii(value))[:40]


@pytest.fixture(scope="module")
def pg(postgres_server: Any) -> Any:
    with postgres_server.new_database() as uri, qn.connect(uri) as connection:
        yield connection


@pytest.fixture(scope="module")
def lite() -> Any:
    with qn.connect("sqlite://:memory:") as connection:
        yield connection


@pytest.mark.parametrize(
    ("value", "sql_type", "text"),
    [
        (None, "text", None),
        (True, "boolean", "true"),
        (False, "boolean", "false"),
        (-(2**63), "bigint", "-9223372036854775808"),
        (2**63 - 1, "bigint", "9223372036854775807"),
        (2**63, "numeric", "9223372036854775808"),
        (2**64 - 1, "numeric", "18446744073709551615"),
        (2**64, "numeric", "18446744073709551616"),
        (-(2**63) - 1, "numeric", "-9223372036854775809"),
        (10**38 - 1, "numeric", "9" * 38),
        (1 - 10**38, "numeric", "-" + "9" * 38),
        (1.5, "double precision", "1.5"),
        (float("inf"), "double precision", "Infinity"),
        (float("nan"), "double precision", "NaN"),
        (5e-324, "double precision", "5e-324"),
        ("", "text", ""),
        ("Größe 🜃 'q' \\", "text", "Größe 🜃 'q' \\"),
        (b"\x00\xff", "bytea", "\\x00ff"),
        (bytearray(b"ab"), "bytea", "\\x6162"),
        (memoryview(b"abcd")[::1], "bytea", "\\x61626364"),
        (b"", "bytea", "\\x"),
        (Decimal("1.10"), "numeric", "1.10"),
        (Decimal("-0.00001"), "numeric", "-0.00001"),
        (Decimal("1E+5"), "numeric", "100000"),
        (Decimal("1.5E-10"), "numeric", "0.00000000015"),
        (Decimal("12345678901234567890123456789012345678"), "numeric", "12345678901234567890123456789012345678"),
        (Decimal("0." + "0" * 37 + "1"), "numeric", "0." + "0" * 37 + "1"),
        (Decimal("1." + "0" * 60), "numeric", None),  # the value fits, its 60 zeros do not: compared by value below
        (Decimal("0"), "numeric", "0"),
        (Decimal("0.000"), "numeric", "0.000"),
        (dt.date(1, 1, 1), "date", "0001-01-01"),
        (dt.date(1969, 12, 31), "date", "1969-12-31"),
        (dt.date(2000, 2, 29), "date", "2000-02-29"),
        (dt.date(9999, 12, 31), "date", "9999-12-31"),
        (dt.time(0), "time", "00:00:00"),
        (dt.time(23, 59, 59, 999999), "time", "23:59:59.999999"),
        (dt.datetime(1, 1, 1), "timestamp", "0001-01-01 00:00:00"),
        (dt.datetime(1969, 12, 31, 23, 59, 59, 999999), "timestamp", "1969-12-31 23:59:59.999999"),
        (dt.datetime(9999, 12, 31, 23, 59, 59, 999999), "timestamp", "9999-12-31 23:59:59.999999"),
        (dt.datetime(2024, 1, 1, 12, tzinfo=dt.UTC), "timestamptz", "2024-01-01 12:00:00+00"),
        (dt.datetime(2024, 1, 1, 12, tzinfo=PLUS_TWO), "timestamptz", "2024-01-01 10:00:00+00"),
        (dt.timedelta(days=-1, microseconds=1), "interval", None),
        (uuid.UUID("12345678-1234-5678-1234-567812345678"), "uuid", "12345678-1234-5678-1234-567812345678"),
        ([1, "ä", None, {"k": [True, 1.5]}], "jsonb", '[1, "ä", null, {"k": [true, 1.5]}]'),
        ({"a": 1}, "jsonb", '{"a": 1}'),
        (np.int32(-5), "bigint", "-5"),
        (np.float64(0.1), "double precision", "0.1"),
        (np.float32(0.5), "double precision", "0.5"),
        (np.bool_(True), "boolean", "true"),
        (np.str_("x"), "text", "x"),
        (pd.Timestamp("2024-01-01 00:00:00.000001"), "timestamp", "2024-01-01 00:00:00.000001"),
        (pd.NaT, "timestamp", None),
    ],
    ids=name,
)
def test_what_postgres_sees(pg: qn.Connection, value: Any, sql_type: str, text: str | None) -> None:
    pg.execute("set time zone 'UTC'")
    got = pg.execute(f"select (?::{sql_type})::text as t", [value])["t"].item()
    if isinstance(value, Decimal) and text is None:
        assert Decimal(got) == value
    elif isinstance(value, dt.timedelta):
        seconds = pg.execute("select extract(epoch from ?::interval)::text as t", [value])["t"].item()
        assert Decimal(seconds) == Decimal("-86399.999999")
    else:
        assert got == text


@pytest.mark.parametrize(
    ("value", "kind", "back"),
    [
        (None, "null", None),
        (7, "integer", 7),
        (-(2**63), "integer", -(2**63)),
        (1.5, "real", 1.5),
        ("x", "text", "x"),
        (b"\x00", "blob", b"\x00"),
        (True, "integer", 1),
    ],
)
def test_what_sqlite_sees(lite: qn.Connection, value: Any, kind: str, back: Any) -> None:
    assert lite.execute("select typeof(?1) as t, ?1 as v", [value]).row(0) == (kind, back)


@pytest.mark.parametrize(
    ("value", "says"),
    [
        (10**38, "38 digits"),
        (-(10**38), "38 digits"),
        (10**5000, "38 digits"),
        (Decimal("NaN"), "not a number"),
        (Decimal("-Infinity"), "not a number"),
        (Decimal("1E+38"), "38 digits"),
        (Decimal("1E-39"), "38 digits"),
        (Decimal("1E+999999999"), "38 digits"),
        (Decimal("1.23456789012345678901234567890123456789"), "38 digits"),
        ("a\ud800b", "surrogate"),
        (dt.timedelta.max, "out of range"),
        (dt.time(1, tzinfo=dt.UTC), "zone"),
        ([float("nan")], "JSON"),
        ({"a": {1, 2}}, "JSON"),
        (["\ud800"], "surrogate"),
        (pd.Timestamp("2024-01-01 00:00:00.000000001"), "nanoseconds"),
        (pd.Timedelta(1, "ns"), "nanoseconds"),
    ],
    ids=name,
)
def test_values_that_do_not_fit(lite: qn.Connection, value: Any, says: str) -> None:
    with pytest.raises(qn.DataError, match=says) as caught:
        lite.execute("select ?, ?", [1, value])
    assert "parameter 2" in str(caught.value)
    with pytest.raises(qn.DataError, match="parameter :name"):
        lite.execute("select :name", {"name": value})


@pytest.mark.parametrize(
    "value",
    [object(), {1}, 1j, range(3), np.datetime64("2024-01-01"), np.longdouble(1), np.array([1]), int, pd.NA],
    ids=name,
)
def test_types_that_no_database_takes(lite: qn.Connection, value: Any) -> None:
    with pytest.raises(TypeError, match=f"parameter 1 has type .*{type(value).__name__}"):
        lite.execute("select ?", [value])


@pytest.mark.parametrize("params", ["text", 3, {1, 2}, (x for x in [1])])
def test_params_of_another_type(lite: qn.Connection, params: Any) -> None:
    with pytest.raises(TypeError, match="params must be"):
        lite.execute("select ?", params)


def test_names_must_be_texts(lite: qn.Connection) -> None:
    with pytest.raises(TypeError, match="name"):
        lite.execute("select :a", {1: 2})  # type: ignore[dict-item]
    with pytest.raises(qn.QanatError, match="NUL"):
        lite.execute("select :a", {"a\0": 2})


def test_subclasses_are_taken_by_value(lite: qn.Connection) -> None:
    import enum

    class Loud(int):
        def __str__(self) -> str:
            return "999"

    class Color(enum.IntEnum):
        RED = 3

    class Word(enum.StrEnum):
        A = "a"

    assert lite.execute("select ? as a, ? as b, ? as c", [Loud(5), Color.RED, Word.A]).row(0) == (5, 3, "a")
    assert lite.execute("select typeof(?) as t", [Loud(2**70)]).height == 1


def test_a_failing_item_frees_what_was_held(lite: qn.Connection) -> None:
    buffer = bytearray(b"abc")
    with pytest.raises(TypeError):
        lite.execute("select ?, ?", [buffer, object()])
    buffer.extend(b"d")  # a BufferError here would mean that the export was leaked


def test_many_parameters(lite: qn.Connection) -> None:
    numbers = list(range(500))
    total = lite.execute(f"select {' + '.join('?' * 500)} as total", numbers).item()
    assert total == sum(numbers)


@settings(deadline=None, max_examples=300, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    value=st.decimals(allow_nan=False, allow_infinity=False, places=None)
    .filter(lambda d: -38 <= int(d.as_tuple().exponent) <= 0)
    .filter(lambda d: len(d.as_tuple().digits) <= 38)
)
def test_every_decimal_arrives_exactly(pg: qn.Connection, value: Decimal) -> None:
    assert Decimal(pg.execute("select (?::numeric)::text as t", [value])["t"].item()) == value


@settings(deadline=None, max_examples=200, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(value=st.integers(min_value=1 - 10**38, max_value=10**38 - 1))
def test_every_integer_arrives_exactly(pg: qn.Connection, value: int) -> None:
    assert int(pg.execute("select (?::numeric)::text as t", [value])["t"].item()) == value


@settings(deadline=None, max_examples=200, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(value=st.datetimes())
def test_every_datetime_arrives_exactly(pg: qn.Connection, value: dt.datetime) -> None:
    assert pg.execute("select ?::timestamp as t", [value])["t"].item() == value


@settings(deadline=None, max_examples=200, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(value=st.text().filter(lambda text: "\0" not in text))
def test_every_text_arrives_exactly(lite: qn.Connection, value: str) -> None:
    assert lite.execute("select ? as t", [value], types={"t": "Utf8"})["t"].item() == value


@settings(deadline=None, max_examples=100, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    value=st.recursive(
        st.none() | st.booleans() | st.integers(-(2**53), 2**53) | st.text().filter(lambda text: "\0" not in text),
        lambda inner: st.lists(inner) | st.dictionaries(st.text().filter(lambda text: "\0" not in text), inner),
        max_leaves=10,
    ).filter(lambda value: isinstance(value, list | dict))
)
def test_nested_values_arrive_as_json(pg: qn.Connection, value: Any) -> None:
    assert json.loads(pg.execute("select (?::json)::text as t", [value])["t"].item()) == value
