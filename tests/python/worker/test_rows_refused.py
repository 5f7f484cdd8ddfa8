"""Rows out of the worker that are refused, in the words of the one who wrote the statement."""

from __future__ import annotations

import datetime as dt
import math
import sys
from decimal import Decimal
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

sys.path.insert(0, str(Path(__file__).parent))

from rows import NESTED_TYPE, TWO, UTC, Batch, Plain, writer

OUT_REFUSED: list[tuple[pa.DataType, str, Any, str]] = [
    (pa.int64(), "Int64", "abc", "expected Int64, found str 'abc'; use int(x)"),
    (pa.int64(), "Int64", "x" * 50, f"expected Int64, found str '{'x' * 40}'... (50 long); use int(x)"),
    (pa.int64(), "Int64", 1.0, "expected Int64, found float 1.0; a float is not an int; use int(x)"),
    (pa.int64(), "Int64", 1.5, "expected Int64, found float 1.5; it is not a whole number; use round(x) or int(x)"),
    (
        pa.int64(),
        "Int64",
        math.nan,
        "expected Int64, found float nan; NaN is not a whole number; return None where there is no value",
    ),
    (pa.int64(), "Int64", math.inf, "expected Int64, found float inf; infinity is not a whole number"),
    (pa.int64(), "Int64", True, "expected Int64, found bool True; a bool is not a number; use int(x)"),
    (pa.int64(), "Int64", Decimal("1"), "expected Int64, found Decimal 1; use int(x)"),
    (pa.int64(), "Int64", [1], "expected Int64, found list of 1 item"),
    (pa.int64(), "Int64", {}, "expected Int64, found dict of 0 keys"),
    (pa.int64(), "Int64", Plain(), "expected Int64, found Plain"),
    (
        pa.int64(),
        "Int64",
        2**63,
        "expected Int64, found int 9223372036854775808; it is outside of -9223372036854775808 to 9223372036854775807",
    ),
    (
        pa.int64(),
        "Int64",
        1 << 10000,
        "expected Int64, found int of 10001 bits; it is outside of -9223372036854775808 to 9223372036854775807",
    ),
    (pa.int8(), "Int8", 128, "expected Int8, found int 128; it is outside of -128 to 127"),
    (pa.int8(), "Int8", -129, "expected Int8, found int -129; it is outside of -128 to 127"),
    (pa.int32(), "Int32", 2**31, "expected Int32, found int 2147483648; it is outside of -2147483648 to 2147483647"),
    (pa.uint16(), "UInt16", -1, "expected UInt16, found int -1; it is outside of 0 to 65535"),
    (
        pa.uint64(),
        "UInt64",
        2**64,
        "expected UInt64, found int 18446744073709551616; it is outside of 0 to 18446744073709551615",
    ),
    (
        pa.uint64(),
        "UInt64",
        -(2**70),
        "expected UInt64, found int -1180591620717411303424; it is outside of 0 to 18446744073709551615",
    ),
    (pa.bool_(), "Boolean", 1, "expected Boolean, found int 1; a number is not a bool; use bool(x)"),
    (pa.bool_(), "Boolean", "yes", "expected Boolean, found str 'yes'"),
    (
        pa.float64(),
        "Float64",
        2**53 + 1,
        "expected Float64, found int 9007199254740993; a float cannot hold this number exactly; use float(x)",
    ),
    (
        pa.float64(),
        "Float64",
        10**400,
        "expected Float64, found int of 1329 bits; a float cannot hold this number exactly; use float(x)",
    ),
    (pa.float64(), "Float64", True, "expected Float64, found bool True; a bool is not a number; use float(x)"),
    (pa.float64(), "Float64", "1.5", "expected Float64, found str '1.5'; use float(x)"),
    (pa.float64(), "Float64", Decimal("0.1"), "expected Float64, found Decimal 0.1; use float(x)"),
    (
        pa.float32(),
        "Float32",
        1e39,
        "expected Float32, found float 1e+39; it is outside of what Float32 holds; use Float64",
    ),
    (
        pa.float32(),
        "Float32",
        2**24 + 1,
        "expected Float32, found int 16777217; Float32 cannot hold this number exactly; use float(x), or Float64",
    ),
    (
        pa.float16(),
        "Float16",
        1e6,
        "expected Float16, found float 1000000.0; it is outside of what Float16 holds; use Float64",
    ),
    (pa.string(), "Utf8", 5, "expected Utf8, found int 5; use str(x)"),
    (pa.string(), "Utf8", b"abc", "expected Utf8, found bytes b'abc'; use x.decode()"),
    (pa.string(), "Utf8", ["a"], "expected Utf8, found list of 1 item; use json.dumps(x)"),
    (pa.string(), "Utf8", dt.date(2024, 1, 1), "expected Utf8, found datetime.date 2024-01-01; use str(x)"),
    (pa.string(), "Utf8", object, "expected Utf8, found type"),
    (
        pa.string(),
        "Utf8",
        "a\udc80b",
        "expected Utf8, found str 'a\\udc80b'; it has a lone surrogate, which is no text; use "
        "x.encode('utf-8', 'replace').decode()",
    ),
    (pa.binary(), "Binary", "text", "expected Binary, found str 'text'; use x.encode()"),
    (pa.binary(), "Binary", [1, 2], "expected Binary, found list of 2 items"),
    (
        pa.binary(),
        "Binary",
        memoryview(b"abcd")[::2],
        "expected Binary, found memoryview; its bytes do not lie in a row; use bytes(x)",
    ),
    (pa.binary(3), "FixedBinary(3)", b"ab", "expected FixedBinary(3), found bytes b'ab'; it has 2 bytes and needs 3"),
    (
        pa.decimal128(5, 2),
        "Decimal(5,2)",
        Decimal("1000"),
        "expected Decimal(5,2), found Decimal 1000; it has more than 3 digits before the point",
    ),
    (
        pa.decimal128(5, 2),
        "Decimal(5,2)",
        Decimal("1.005"),
        "expected Decimal(5,2), found Decimal 1.005; it has more than 2 digits after the point; use round(x, 2)",
    ),
    (
        pa.decimal128(5, 2),
        "Decimal(5,2)",
        Decimal("NaN"),
        "expected Decimal(5,2), found Decimal NaN; a decimal column holds numbers only; return None "
        "where there is no value",
    ),
    (
        pa.decimal128(5, 2),
        "Decimal(5,2)",
        Decimal("-Infinity"),
        "expected Decimal(5,2), found Decimal -Infinity; a decimal column holds numbers only; return "
        "None where there is no "
        "value",
    ),
    (
        pa.decimal128(5, 2),
        "Decimal(5,2)",
        1.5,
        "expected Decimal(5,2), found float 1.5; a float is seldom exact; "
        "allow the module decimal and use decimal.Decimal(str(x))",
    ),
    (
        pa.decimal128(5, 2),
        "Decimal(5,2)",
        "1.5",
        "expected Decimal(5,2), found str '1.5'; allow the module decimal and use decimal.Decimal(x)",
    ),
    (pa.decimal128(5, 2), "Decimal(5,2)", True, "expected Decimal(5,2), found bool True"),
    (
        pa.decimal128(38, 0),
        "Decimal(38,0)",
        10**38,
        f"expected Decimal(38,0), found int 1{'0' * 38}; it has more than 38 digits before the point",
    ),
    (
        pa.decimal128(38, 0),
        "Decimal(38,0)",
        Decimal("1E+999999"),
        "expected Decimal(38,0), found Decimal 1E+999999; it has more than 38 digits before the point",
    ),
    (
        pa.decimal128(38, 0),
        "Decimal(38,0)",
        1 << 100000,
        "expected Decimal(38,0), found int of 100001 bits; it has too many digits",
    ),
    (pa.date32(), "Date", "2024-01-01", "expected Date, found str '2024-01-01'; use datetime.date.fromisoformat(x)"),
    (
        pa.date32(),
        "Date",
        dt.datetime(2024, 1, 1),
        "expected Date, found datetime.datetime 2024-01-01 00:00:00; a datetime has a time of day; use x.date()",
    ),
    (
        pa.time64("us"),
        "Time",
        dt.datetime(2024, 1, 1),
        "expected Time, found datetime.datetime 2024-01-01 00:00:00; use x.time()",
    ),
    (pa.time64("us"), "Time", "10:00", "expected Time, found str '10:00'; use datetime.time.fromisoformat(x)"),
    (
        pa.timestamp("us"),
        "Timestamp[us]",
        "2024-01-01",
        "expected Timestamp[us], found str '2024-01-01'; use datetime.datetime.fromisoformat(x)",
    ),
    (
        pa.time64("us"),
        "Time",
        dt.time(1, tzinfo=UTC),
        "expected Time, found datetime.time 01:00:00+00:00; a time of day with a time zone has no counterpart; use "
        "x.replace(tzinfo=None)",
    ),
    (
        pa.time32("s"),
        "Time[s]",
        dt.time(1, 2, 3, 4),
        "expected Time[s], found datetime.time 01:02:03.000004; it is more precise than the column; use "
        "a column of a smaller "
        "unit, or drop the fraction",
    ),
    (
        pa.timestamp("us"),
        "Timestamp[us]",
        dt.datetime(2024, 1, 1, tzinfo=UTC),
        "expected Timestamp[us], found datetime.datetime 2024-01-01 00:00:00+00:00; it has a time zone, "
        "and the column has "
        "none; use x.replace(tzinfo=None) for the wall clock, or give the column a time zone: Timestamp[us, UTC]",
    ),
    (
        pa.timestamp("us", "UTC"),
        "Timestamp[us, UTC]",
        dt.datetime(2024, 1, 1),
        "expected Timestamp[us, UTC], found datetime.datetime 2024-01-01 00:00:00; it has no time zone, "
        "and the column has one; "
        "where it is UTC use x.replace(tzinfo=datetime.timezone.utc)",
    ),
    (
        pa.timestamp("us"),
        "Timestamp[us]",
        dt.date(2024, 1, 1),
        "expected Timestamp[us], found datetime.date 2024-01-01; a date has no time of day; use "
        "datetime.datetime.combine(x, datetime.time())",
    ),
    (pa.timestamp("us"), "Timestamp[us]", 1700000000, "expected Timestamp[us], found int 1700000000"),
    (
        pa.timestamp("ms"),
        "Timestamp[ms]",
        dt.datetime(2024, 1, 1, microsecond=1),
        "expected Timestamp[ms], found datetime.datetime 2024-01-01 00:00:00.000001; it is more precise "
        "than the column; use a "
        "column of a smaller unit, or drop the fraction",
    ),
    (
        pa.timestamp("ns"),
        "Timestamp[ns]",
        dt.datetime(2300, 1, 1),
        "expected Timestamp[ns], found datetime.datetime 2300-01-01 00:00:00; nanoseconds since 1970 do "
        "not reach it: only the "
        "years 1678 to 2261 fit; use Timestamp[us]",
    ),
    (
        pa.duration("us"),
        "Duration[us]",
        dt.timedelta(days=999999999),
        "expected Duration[us], found datetime.timedelta 999999999 days, 0:00:00; it is longer than 64 "
        "bits of microseconds",
    ),
    (pa.duration("us"), "Duration[us]", 5, "expected Duration[us], found int 5"),
    (pa.null(), "Null", 1, "expected Null, found int 1; a column of this type holds nothing but None"),
    (
        pa.month_day_nano_interval(),
        "Interval",
        (1, 2),
        "expected Interval, found tuple of 2 items; an interval is a tuple of three ints: months, days, nanoseconds",
    ),
    (pa.list_(pa.int64()), "List<Int64>", "abc", "expected List<Int64>, found str 'abc'"),
    (pa.list_(pa.int64()), "List<Int64>", {1, 2}, "expected List<Int64>, found set; use list(x)"),
    (
        pa.map_(pa.string(), pa.int64()),
        "Map",
        5,
        "expected Map, found int 5; a map is a dict, or a list of (key, value) tuples",
    ),
]


@pytest.mark.trace("P12")
@pytest.mark.parametrize(
    ("data_type", "type_text", "value", "text"), OUT_REFUSED, ids=[str(i) for i in range(len(OUT_REFUSED))]
)
def test_refuses_what_the_type_does_not_hold(data_type: pa.DataType, type_text: str, value: Any, text: str) -> None:
    out = writer(pa.schema([("id", pa.string()), ("a", data_type)]), ["Utf8", type_text])
    out.put({"id": "kept", "a": None}, 0)
    with pytest.raises((TypeError, ValueError)) as caught:
        out.put({"id": "not kept", "a": value}, 3)
    assert str(caught.value) == f'row 3, field "a": {text}'
    assert pa.record_batch(Batch(out.finish())).to_pylist() == [{"id": "kept", "a": None}]


def test_a_coroutine_is_told_to_be_awaited() -> None:
    async def later() -> int:
        return 1

    out = writer(pa.schema([("a", pa.int64())]), ["Int64"])
    forgotten = later()
    with pytest.raises(TypeError, match="expected Int64, found coroutine; write 'await' before the call that made it$"):
        out.put({"a": forgotten}, 0)
    forgotten.close()


NESTED_REFUSED = [
    (
        {"tags": [{"n": 1}, {"n": "x"}], "m": {}},
        "row 5, field \"a.tags[1].n\": expected Int64, found str 'x'; use int(x)",
    ),
    ({"tags": [{"n": 1}, 7], "m": {}}, 'row 5, field "a.tags[1]": expected a dict with "n", found int 7'),
    (
        {"tags": [{"k": 1}], "m": {}},
        'row 5, field "a.tags[0].n": expected Int64, found a dict with "k"; every row needs the field; '
        "None stands for no "
        "value",
    ),
    (
        {"tags": [{"n": 1, "k": 2}], "m": {}},
        'row 5, field "a.tags[0].k": expected no such field, found int 2; the schema has "n"',
    ),
    ({"tags": [], "m": {"k": "v"}}, "row 5, field \"a.m[0].value\": expected Int64, found str 'v'; use int(x)"),
    ({"tags": [], "m": {5: 1}}, 'row 5, field "a.m[0].key": expected Utf8, found int 5; use str(x)'),
    ({"tags": [], "m": {None: 1}}, 'row 5, field "a.m[0].key": expected Utf8, found None; the field is required'),
    (
        {"tags": [], "m": [("k", 1), ["k", 1]]},
        'row 5, field "a.m[1]": expected Struct, found list of 2 items; a map is a dict, or a list of '
        "(key, value) tuples",
    ),
    ([], 'row 5, field "a": expected a dict with "tags", "m", found list of 0 items'),
]


@pytest.mark.trace("P12")
@pytest.mark.parametrize(("value", "text"), NESTED_REFUSED, ids=[text for _, text in NESTED_REFUSED])
def test_names_the_place_in_nested_values(value: Any, text: str) -> None:
    schema = pa.schema([("a", NESTED_TYPE)])
    good = {"a": {"tags": [{"n": 4}, None], "m": {"k": 9}}}
    out = writer(schema)
    out.put(good, 4)
    with pytest.raises((TypeError, ValueError)) as caught:
        out.put({"a": value}, 5)
    assert str(caught.value) == text
    out.put(good, 5)  # nothing of the refused row is left in any of the columns
    batch = pa.record_batch(Batch(out.finish()))
    batch.validate(full=True)
    assert batch.to_pylist() == [{"a": {"tags": [{"n": 4}, None], "m": [("k", 9)]}}] * 2


ROW_REFUSED = [
    (
        {"id": 1},
        'row 2, field "name": expected Utf8, found a dict with "id"; every row needs the field; None '
        "stands for no value",
    ),
    ({"name": "a"}, 'row 2, field "id": expected Int64!, found a dict with "name"; every row needs the field'),
    ({}, 'row 2, field "id": expected Int64!, found an empty dict; every row needs the field'),
    (
        {"id": 1, "nmae": "a"},
        'row 2, field "name": expected Utf8, found a dict with "id", "nmae"; every row needs the field; '
        "None stands for no "
        "value",
    ),
    (
        {"id": 1, "name": "a", "more": [1]},
        'row 2, field "more": expected no such field, found list of 1 item; the schema has "id", "name"',
    ),
    (
        {"id": 1, "name": "a", 5: None},
        'row 2, field int 5: expected no such field, found None; the schema has "id", "name"',
    ),
    ({"id": None, "name": "a"}, 'row 2, field "id": expected Int64!, found None; the field is required'),
    (None, 'row 2: expected a dict with "id", "name", found None'),
    ([1, "a"], 'row 2: expected a dict with "id", "name", found list of 2 items'),
    ("id", 'row 2: expected a dict with "id", "name", found str \'id\''),
    (Plain(), 'row 2: expected a dict with "id", "name", found Plain'),
]


@pytest.mark.trace("P12")
@pytest.mark.parametrize(("row", "text"), ROW_REFUSED, ids=[text for _, text in ROW_REFUSED])
def test_refuses_rows_of_another_shape(row: Any, text: str) -> None:
    out = writer(TWO, ["Int64!", "Utf8"])
    with pytest.raises((TypeError, ValueError)) as caught:
        out.put(row, 2)
    assert str(caught.value) == text
    assert out.length() == 0
    out.put({"id": 1, "name": None}, 2)
    assert pa.record_batch(Batch(out.finish())).to_pylist() == [{"id": 1, "name": None}]


def test_long_rows_of_names_are_cut() -> None:
    schema = pa.schema([(f"field{i}", pa.int64()) for i in range(20)])
    with pytest.raises(ValueError) as caught:
        writer(schema).put({f"other{i}": 1 for i in range(20)})
    shown = ", ".join(f'"other{i}"' for i in range(8))
    assert str(caught.value).startswith(
        f'row 0, field "field0": expected Int64, found a dict with {shown}, ...; every row'
    )
