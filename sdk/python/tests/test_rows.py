"""Dicts are typed exactly by the schema: nothing is changed, and what does not fit is named."""

from __future__ import annotations

import datetime as dt
import math
from collections.abc import Iterator
from decimal import Decimal
from typing import Any

import hypothesis.strategies as st
import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings

from qanat_sdk.rows import MAX_ROWS, TARGET, batches_of_columns, batches_of_rows
from qanat_sdk.types import field_of, schema_of

UTC = dt.UTC
NOON = dt.datetime(2024, 2, 29, 12, 0, 0, 1)

# Type, values that fit (and what they read back as, where that is another value).
FITS: list[tuple[str, Any, Any]] = [
    ("Int8", -128, -128),
    ("Int64", 2**63 - 1, 2**63 - 1),
    ("Int64", np.int32(7), 7),
    ("UInt64", 2**64 - 1, 2**64 - 1),
    ("UInt8", 255, 255),
    ("Timestamp[ms]", NOON.replace(microsecond=5000), NOON.replace(microsecond=5000)),
    ("Timestamp[ns]", NOON, NOON),
    ("Time[s]", dt.time(1, 2, 3), dt.time(1, 2, 3)),
    ("Duration[s]", dt.timedelta(-1, 5), dt.timedelta(-1, 5)),
    ("Float64", 3, 3.0),
    ("Float64", -2.5, -2.5),
    ("Float64", np.float32(0.5), 0.5),
    ("Float64", math.inf, math.inf),
    ("Float32", 25.1, float(np.float32(25.1))),
    ("Float32", -math.inf, -math.inf),
    ("Float16", 0.5, 0.5),
    ("Boolean", False, False),
    ("Boolean", np.bool_(True), True),
    ("Utf8", "", ""),
    ("Utf8", "\x00é😀", "\x00é😀"),
    ("Binary", b"\xff\x00", b"\xff\x00"),
    ("Binary", bytearray(b"ab"), b"ab"),
    ("Decimal(5,2)", Decimal("1.230"), Decimal("1.23")),
    ("Decimal(5,2)", -999, Decimal("-999.00")),
    ("Date32", dt.date(1, 1, 1), dt.date(1, 1, 1)),
    ("Date64", dt.date(9999, 12, 31), dt.date(9999, 12, 31)),
    ("Timestamp", NOON, NOON),
    ("Timestamp[s]", NOON.replace(microsecond=0), NOON.replace(microsecond=0)),
    (
        "Timestamp[us, UTC]",
        NOON.replace(tzinfo=dt.timezone(dt.timedelta(hours=2))),
        dt.datetime(2024, 2, 29, 10, 0, 0, 1, UTC),
    ),
    ("Time[us]", dt.time(23, 59, 59, 999999), dt.time(23, 59, 59, 999999)),
    ("Duration[us]", dt.timedelta(-1, 5, 7), dt.timedelta(-1, 5, 7)),
    ("List<Int8>", [], []),
    ("List<Int8>", (1, None), [1, None]),
    ("List<Int64>", np.array([1, 2]), [1, 2]),
    ("Struct<a: Int64, b: Utf8>", {"a": 1}, {"a": 1, "b": None}),
    ("Null", None, None),
]

# Type, a value that does not fit, what the message has.
MISFITS: list[tuple[str, Any, str]] = [
    ("Int8", 128, "expected Int8, found int 128"),
    ("Int64", 2**63, "found int 9223372036854775808"),
    ("UInt8", -1, "expected UInt8, found int -1"),
    ("Int64", 7.0, "expected Int64, found float 7.0"),
    ("Int64", "7", "expected Int64, found str '7'"),
    ("Int64", True, "found bool True"),
    ("Float64", 2**53 + 1, "found int 9007199254740993"),
    ("Float64", "1", "found str '1'"),
    ("Float64", True, "found bool True"),
    ("Float32", 1e39, "expected Float32, found float 1e+39"),
    ("Float16", 65520.0, "expected Float16, found float 65520.0"),
    ("Boolean", 1, "expected Boolean, found int 1"),
    ("Utf8", b"a", "expected Utf8, found bytes b'a'"),
    ("Utf8", 1, "found int 1"),
    ("Utf8", "\ud800", "expected Utf8, found str"),
    ("Binary", "a", "expected Binary, found str 'a'"),
    ("Decimal(5,2)", Decimal("1.234"), "expected Decimal(5,2), found Decimal Decimal('1.234')"),
    ("Decimal(5,2)", Decimal("1000"), "expected Decimal(5,2)"),
    ("Decimal(5,2)", Decimal("NaN"), "expected Decimal(5,2)"),
    ("Decimal(5,2)", 1.5, "found float 1.5"),
    ("Date32", NOON, "expected Date32, found datetime"),
    ("Date32", "2024-02-29", "found str"),
    ("Timestamp", dt.date(2024, 2, 29), "found date"),
    ("Timestamp", NOON.replace(tzinfo=UTC), "expected Timestamp[us], found datetime"),
    ("Timestamp[us, UTC]", NOON, "expected Timestamp[us, UTC], found datetime"),
    ("Timestamp[ms]", NOON, "expected Timestamp[ms], found datetime"),
    ("Timestamp[ns]", dt.datetime(9999, 1, 1), "expected Timestamp[ns], found datetime"),
    ("Time[s]", dt.time(1, 2, 3, 4), "found time"),
    ("Time[us]", dt.time(1, tzinfo=UTC), "found time"),
    ("Duration[s]", dt.timedelta(microseconds=1), "found timedelta"),
    ("List<Int8>", "ab", "expected List<Int8>, found str 'ab'"),
    ("List<Int8>", [1, "a"], 'field "x[1]": expected Int8, found str'),
    ("List<Int8>", [1, 300], "found list [1, 300]"),
    ("Struct<a: List<Int64>>", {"a": [None, 1.5]}, 'field "x.a[1]": expected Int64, found float 1.5'),
    ("Struct<a: Int64>", {"a": 1, "b": 2}, 'field "x.b": expected no such field, found int 2'),
    ("Struct<a: Int64>", [1], "found list [1]"),
    ("Null", 0, "expected Null, found int 0"),
    ("Int64!", None, "expected Int64!, found None"),
    ("List<Int64!>", [None], 'field "x[0]": expected Int64!, found None'),
]


@pytest.mark.trace("C14", "C18")
@pytest.mark.parametrize(("text", "value", "expected"), FITS)
def test_values_that_fit(text: str, value: Any, expected: Any) -> None:
    schema = pa.schema([field_of("x", text)])
    (of_rows,) = batches_of_rows([{"x": value}, {}, {"x": None}], schema)
    assert of_rows.schema == schema
    assert of_rows.to_pydict() == {"x": [expected, None, None]}
    (of_columns,) = batches_of_columns({"x": [value]}, schema)
    assert of_columns.to_pydict() == {"x": [expected]}


@pytest.mark.trace("C14", "C18")
@pytest.mark.parametrize(("text", "value", "message"), MISFITS)
def test_values_that_do_not_fit_are_named(text: str, value: Any, message: str) -> None:
    schema = pa.schema([field_of("x", text)])
    nested = {"L": [], "S": {}}
    good = nested[text[0]] if "<" in text else next(fit for fits, fit, _ in FITS if fits == text.rstrip("!"))
    with pytest.raises(ValueError, match='row 2, field "x') as caught:
        list(batches_of_rows([{"x": good}, {"x": good}, {"x": value}], schema))
    assert message in str(caught.value)
    with pytest.raises(ValueError, match='row 2, field "x'):
        list(batches_of_columns({"x": [good, good, value]}, schema))


def test_nan_stays_nan_and_is_not_null() -> None:
    (batch,) = batches_of_rows([{"x": math.nan}], schema_of({"x": "Float64"}))
    assert batch.column(0).null_count == 0
    assert math.isnan(batch.to_pydict()["x"][0])


@pytest.mark.trace("C14")
def test_missing_key_is_null_and_an_extra_one_an_error() -> None:
    schema = schema_of({"a": "Int64", "b": "Utf8!"})
    with pytest.raises(ValueError, match='row 0, field "b": expected Utf8!, found None'):
        list(batches_of_rows([{"a": 1}], schema))
    with pytest.raises(ValueError, match=r'row 1, field "c": expected no such field, found int 3; schema\(\) has a, b'):
        list(batches_of_rows([{"a": 1, "b": "x"}, {"a": 2, "b": "y", "c": 3}], schema))
    with pytest.raises(TypeError, match="row 1: expected a dict, found None"):
        list(batches_of_rows([{"b": "x"}, None], schema))


@pytest.mark.trace("C15")
def test_columns_must_be_those_of_the_schema() -> None:
    schema = schema_of({"a": "Int64", "b": "Utf8"})
    with pytest.raises(ValueError, match=r'column "b" of schema\(\) is missing'):
        list(batches_of_columns({"a": [1]}, schema))
    with pytest.raises(ValueError, match=r'column "c" is not in schema\(\)'):
        list(batches_of_columns({"a": [1], "b": ["x"], "c": [1]}, schema))
    with pytest.raises(ValueError, match='differ in length: "a" has 2, "b" has 1'):
        list(batches_of_columns({"a": [1, 2], "b": ["x"]}, schema))
    with pytest.raises(TypeError, match='column "b": expected a list of values, found str'):
        list(batches_of_columns({"a": [1], "b": "x"}, schema))


@pytest.mark.trace("C15")
def test_columns_may_be_arrays_of_others() -> None:
    schema = schema_of({"a": "Int64", "b": "Float64", "c": "Utf8", "d": "Int8"})
    columns = {"a": np.arange(3), "b": np.ones(3), "c": pa.chunked_array([["x"], ["y", None]]), "d": range(3)}
    (batch,) = batches_of_columns(columns, schema)
    assert batch.to_pydict() == {"a": [0, 1, 2], "b": [1.0] * 3, "c": ["x", "y", None], "d": [0, 1, 2]}


@pytest.mark.trace("C16")
def test_batches_are_made_as_rows_come() -> None:
    taken = 0

    def rows() -> Iterator[dict[str, Any]]:
        nonlocal taken
        while True:
            taken += 1
            yield {"t": "x" * 1000}

    batches = batches_of_rows(rows(), schema_of({"t": "Utf8"}))
    for number in range(1, 4):
        batch = next(batches)
        assert TARGET <= batch.nbytes < TARGET + 10_000
        assert taken == number * batch.num_rows, "no row is asked for before it is needed"


@pytest.mark.trace("C16")
def test_one_large_value_is_a_batch_of_its_own() -> None:
    sizes = [1, 5 * TARGET, 1, 1]
    batches = list(batches_of_rows(({"t": b"x" * size} for size in sizes), schema_of({"t": "Binary"})))
    assert [batch.num_rows for batch in batches] == [2, 2]


def test_rows_of_fixed_width_have_batches_of_a_known_size() -> None:
    batches = list(
        batches_of_rows(({"a": i, "b": True} for i in range(200_000)), schema_of({"a": "Int64", "b": "bool"}))
    )
    assert max(batch.num_rows for batch in batches) <= MAX_ROWS
    assert sum(batch.num_rows for batch in batches) == 200_000
    assert batches[-1].column(0)[-1].as_py() == 199_999


def test_large_columns_are_cut() -> None:
    batches = list(batches_of_columns({"t": ["y" * 5000] * 3000}, schema_of({"t": "Utf8"})))
    assert sum(batch.num_rows for batch in batches) == 3000
    assert max(batch.nbytes for batch in batches[1:]) <= 2 * TARGET


def test_rows_before_a_failure_are_handed_out() -> None:
    def rows() -> Iterator[dict[str, Any]]:
        yield {"a": 1}
        yield {"a": 2}
        raise OSError("gone")

    batches = batches_of_rows(rows(), schema_of({"a": "int"}))
    assert next(batches).to_pydict() == {"a": [1, 2]}
    with pytest.raises(OSError, match="gone"):
        next(batches)


def test_error_names_the_row_of_the_location_not_of_the_batch() -> None:
    rows = ({"t": "x" * 1000 if i < 5000 else 1} for i in range(6000))
    with pytest.raises(ValueError, match='row 5000, field "t"'):
        list(batches_of_rows(rows, schema_of({"t": "Utf8"})))


PLAIN = {
    "Int8": st.integers(-128, 127),
    "Int64": st.integers(-(2**63), 2**63 - 1),
    "UInt32": st.integers(0, 2**32 - 1),
    "Float64": st.floats(allow_nan=False),
    "Boolean": st.booleans(),
    "Utf8": st.text(),
    "Binary": st.binary(),
    "Date32": st.dates(),
    "Timestamp": st.datetimes(),
    "Timestamp[us, UTC]": st.datetimes(timezones=st.just(UTC)),
    "Time[us]": st.times(),
    "Decimal(20,3)": st.decimals(-(10**15), 10**15, places=3),
}


def values_of(text: str) -> st.SearchStrategy[Any]:
    if text.startswith("List<"):
        return st.lists(st.none() | values_of(text[5:-1]), max_size=4)
    if text.startswith("Struct<a: "):
        return st.fixed_dictionaries({"a": st.none() | values_of(text[10:-1])})
    return PLAIN[text]


TYPES = st.recursive(
    st.sampled_from(list(PLAIN)), lambda t: t.map("List<{}>".format) | t.map("Struct<a: {}>".format), max_leaves=3
)


@st.composite
def shapes(draw: st.DrawFn) -> tuple[dict[str, str], list[dict[str, Any]]]:
    names = draw(st.lists(st.text(max_size=5), min_size=1, max_size=4, unique=True))
    schema = {name: draw(TYPES) for name in names}
    row = st.fixed_dictionaries({name: st.none() | values_of(text) for name, text in schema.items()})
    return schema, draw(st.lists(row, max_size=8))


@pytest.mark.trace("C14", "C15", "C16")
@settings(max_examples=60, deadline=None)
@given(shapes())
def test_random_shapes_round_trip(shape: tuple[dict[str, str], list[dict[str, Any]]]) -> None:
    described, rows = shape
    schema = schema_of(described)
    tables = [
        pa.Table.from_batches(batches_of_rows(iter(rows), schema), schema),
        pa.Table.from_batches(
            batches_of_columns({name: [row[name] for row in rows] for name in described}, schema), schema
        ),
    ]
    for found in tables:
        assert found.schema == schema
        assert found.to_pylist() == rows
