"""Rows in and out of the worker: Arrow batches to dicts and back, exactly or refused with a text that says why."""

from __future__ import annotations

import datetime as dt
import importlib
import math
import struct
from collections.abc import Generator, Iterator
from decimal import Decimal
from typing import Any
from zoneinfo import ZoneInfo

import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

_worker: Any = importlib.import_module("qanat.worker._worker")

UTC = dt.UTC
PRAGUE = ZoneInfo("Europe/Prague")


class Batch:
    """What finish() gave, for pyarrow."""

    def __init__(self, capsules: tuple[Any, Any]) -> None:
        self.capsules = capsules

    def __arrow_c_array__(self, requested_schema: Any = None) -> tuple[Any, Any]:
        return self.capsules


def read(batch: pa.RecordBatch, first_row: int = 0) -> list[dict[str, Any]]:
    schema, array = batch.__arrow_c_array__()
    rows: list[dict[str, Any]] = _worker.RowsIn(schema).list(array, first_row)
    return rows


def writer(schema: pa.Schema, types: list[str] | None = None) -> Any:
    return _worker.RowsOut(schema.__arrow_c_schema__(), types)


def write(schema: pa.Schema, rows: list[Any]) -> pa.RecordBatch:
    out = writer(schema)
    out.put_all(rows)
    assert out.length() == len(rows)
    batch = pa.record_batch(Batch(out.finish()))
    batch.validate(full=True)
    assert batch.schema.equals(schema)
    return batch


def same(a: Any, b: Any) -> bool:
    """Equal to the bit: of the same class, NaN like NaN, a time with the same offset."""
    if type(a) is not type(b):
        return False
    if isinstance(a, float):
        return struct.pack("<d", a) == struct.pack("<d", b) or (math.isnan(a) and math.isnan(b))
    if isinstance(a, list | tuple):
        return len(a) == len(b) and all(map(same, a, b))
    if isinstance(a, dict):
        return list(a) == list(b) and all(same(a[key], b[key]) for key in a)
    if isinstance(a, Decimal):
        return bool(a.as_tuple() == b.as_tuple())
    if isinstance(a, dt.datetime) and a.tzinfo is not None:
        return bool(a == b and a.utcoffset() == b.utcoffset())
    return bool(a == b)


def one(data_type: pa.DataType, values: list[Any], name: str = "a") -> pa.RecordBatch:
    return pa.record_batch([pa.array(values, data_type)], names=[name])


@pytest.fixture(params=["direct", "text"])
def decimals(request: pytest.FixtureRequest) -> Iterator[str]:
    """Decimals by the layout of their objects, and by their texts: both ways must say the same."""
    before = _worker.decimals_direct(True)
    if request.param == "text":
        assert _worker.decimals_direct(False) is True, "the direct way is not there in this CPython"
    yield request.param
    _worker.decimals_direct(before)


# ---- in: by hand ----

IN: list[tuple[pa.DataType, list[Any], list[Any] | None]] = [
    (pa.null(), [None, None], [None, None]),
    (pa.bool_(), [True, None, False], [True, None, False]),
    (pa.int8(), [-128, 127, None], [-128, 127, None]),
    (pa.int16(), [-32768, 32767], [-32768, 32767]),
    (pa.int32(), [-(2**31), 2**31 - 1], [-(2**31), 2**31 - 1]),
    (pa.int64(), [-(2**63), 2**63 - 1, None], [-(2**63), 2**63 - 1, None]),
    (pa.uint8(), [0, 255], [0, 255]),
    (pa.uint16(), [65535], [65535]),
    (pa.uint32(), [2**32 - 1], [2**32 - 1]),
    (pa.uint64(), [2**64 - 1, 0], [2**64 - 1, 0]),
    (pa.float32(), [0.5, None, -0.0, math.inf, math.nan], [0.5, None, -0.0, math.inf, math.nan]),
    (pa.float64(), [0.1, 5e-324, -math.inf], [0.1, 5e-324, -math.inf]),
    (pa.string(), ["", "a", "twelve bytes", "thirteen byte", "häuser", "😀", None], None),
    (pa.large_string(), ["x" * 100, "ů"], None),
    (pa.string_view(), ["short", "a text past twelve bytes", "", None], None),
    (pa.binary(), [b"", b"\0\xff", None], None),
    (pa.large_binary(), [b"\x80"], None),
    (pa.binary_view(), [b"0123456789abcdef"], None),
    (pa.binary(3), [b"abc", None], None),
    (pa.date32(), [dt.date(1, 1, 1), dt.date(1970, 1, 1), dt.date(9999, 12, 31)], None),
    (pa.date64(), [dt.date(1969, 12, 31), dt.date(2024, 2, 29)], None),
    (pa.time32("s"), [dt.time(23, 59, 59)], None),
    (pa.time32("ms"), [dt.time(1, 2, 3, 4000)], None),
    (pa.time64("us"), [dt.time(0), dt.time(23, 59, 59, 999999)], None),
    (pa.time64("ns"), [dt.time(5, 6, 7, 8)], None),
    (pa.timestamp("s"), [dt.datetime(1969, 12, 31, 23, 59, 59)], None),
    (pa.timestamp("ms"), [dt.datetime(2024, 5, 6, 7, 8, 9, 123000)], None),
    (pa.timestamp("us"), [dt.datetime(1, 1, 1), dt.datetime(9999, 12, 31, 23, 59, 59, 999999), None], None),
    (pa.timestamp("ns"), [dt.datetime(2024, 1, 1, 0, 0, 0, 1)], None),
    (pa.timestamp("us", "UTC"), [dt.datetime(2024, 1, 1, tzinfo=UTC)], None),
    (pa.duration("s"), [dt.timedelta(days=-1, seconds=5)], None),
    (pa.duration("us"), [dt.timedelta(days=40000, microseconds=1), None], None),
    (pa.duration("ns"), [dt.timedelta(microseconds=-1)], None),
    (pa.month_day_nano_interval(), [(1, -2, 3), None], [(1, -2, 3), None]),
    (pa.list_(pa.int64()), [[1, None], [], None], None),
    (pa.large_list(pa.string()), [["a"], ["b", "c"]], None),
    (pa.list_(pa.int16(), 2), [[1, 2], [3, None]], None),
    (
        pa.struct({"x": pa.int64(), "y": pa.list_(pa.string())}),
        [{"x": 1, "y": ["z"]}, None, {"x": None, "y": None}],
        None,
    ),
    (pa.map_(pa.string(), pa.int64()), [[("k", 1), ("l", None)], [], None], None),
]


@pytest.mark.parametrize(("data_type", "values", "expected"), IN, ids=[str(case[0]) for case in IN])
def test_reads_every_type(data_type: pa.DataType, values: list[Any], expected: list[Any] | None) -> None:
    expected = values if expected is None else expected
    rows = read(one(data_type, values))
    assert same(rows, [{"a": value} for value in expected])


def test_reads_decimals_of_every_width(decimals: str) -> None:
    for data_type, texts in [
        (pa.decimal32(7, 2), ["-12345.67", "0.00", "99999.99"]),
        (pa.decimal64(18, 4), ["12345678901234.5678", "-0.0001"]),
        (pa.decimal128(38, 0), ["99999999999999999999999999999999999999", "-1", "0"]),
        (pa.decimal128(38, 38), ["0.00000000000000000000000000000000000001"]),
        (pa.decimal128(20, 3), ["9999999999999999.999", "-10000000000000000.000", "0.000"]),
        (pa.decimal256(76, 10), ["-" + "9" * 66 + "." + "9" * 10, "1.0000000000", "0E-10"]),
        (pa.decimal128(5, -2), ["12300", "-100"]),
    ]:
        values = [Decimal(text) for text in texts]
        rows = read(one(data_type, [*values, None]))
        assert [row["a"] for row in rows] == [*values, None], data_type
        for row in rows[:-1]:
            assert row["a"].as_tuple().exponent == -data_type.scale, data_type


def test_decimals_read_equal_those_of_pyarrow(decimals: str) -> None:
    data_type = pa.decimal128(38, 6)
    values = [Decimal(sign * 7**power).scaleb(-6) for power in range(44) for sign in (1, -1)]
    batch = one(data_type, values)
    assert same([row["a"] for row in read(batch)], batch.column(0).to_pylist())
    assert [hash(row["a"]) for row in read(batch)] == [hash(value) for value in values]


def test_zones() -> None:
    instant = dt.datetime(2024, 10, 27, 0, 30, tzinfo=UTC)  # 02:30 for the first time that night
    later = instant + dt.timedelta(hours=1)  # and for the second
    first, second = (row["a"] for row in read(one(pa.timestamp("us", "Europe/Prague"), [instant, later])))
    assert first.astimezone(UTC) == instant and first.tzinfo == PRAGUE and first.fold == 0
    assert (
        second.astimezone(UTC) == later
        and second.replace(tzinfo=None) == first.replace(tzinfo=None)
        and second.fold == 1
    )
    (offset,) = (row["a"] for row in read(one(pa.timestamp("ms", "-03:30"), [instant])))
    assert offset == instant and offset.utcoffset() == -dt.timedelta(hours=3, minutes=30)
    (utc,) = (row["a"] for row in read(one(pa.timestamp("s", "UTC"), [instant])))
    assert utc.tzinfo is UTC


def test_reads_dictionaries_as_their_values() -> None:
    words = pa.DictionaryArray.from_arrays(pa.array([0, 1, None, 0], pa.int8()), pa.array(["one", None, "three"]))
    lists = pa.DictionaryArray.from_arrays(pa.array([1, 1, 0, None], pa.uint16()), pa.array([[1], [2, 3]]))
    rows = read(pa.record_batch([words, lists], names=["w", "l"]))
    assert [row["w"] for row in rows] == ["one", None, None, "one"]
    assert [row["l"] for row in rows] == [[2, 3], [2, 3], [1], None]
    assert rows[0]["w"] is rows[3]["w"], "a text of the dictionary is made once"
    assert rows[0]["l"] is not rows[1]["l"], "a list is made anew for each row: a statement may change it"


def test_reads_slices_and_many_rows() -> None:
    count = 1000
    batch = pa.record_batch(
        {
            "i": pa.array(range(count)),
            "s": pa.array([None if i % 7 == 0 else f"text {i}" for i in range(count)]),
            "n": pa.array([None if i % 5 == 0 else {"b": i % 2 == 0, "t": [i] * (i % 3)} for i in range(count)]),
        }
    )
    expected = batch.to_pylist()
    assert read(batch) == expected
    for start, length in [(0, 0), (1, 63), (63, 65), (999, 1), (130, 700)]:
        assert read(batch.slice(start, length)) == expected[start : start + length]


def test_no_columns_give_empty_dicts() -> None:
    batch = pa.RecordBatch.from_struct_array(pa.array([{}, {}], pa.struct([])))
    assert read(batch) == [{}, {}]


def test_dicts_are_separate_and_in_the_order_of_the_schema() -> None:
    first, second = read(pa.record_batch({"b": pa.array([1, 2]), "a": pa.array([["x"], ["y"]])}))
    assert list(first) == ["b", "a"]
    first["b"] = 5
    first["a"].append("z")
    first["new"] = None
    assert second == {"b": 2, "a": ["y"]}


def test_value_is_the_checkpoint() -> None:
    schema, array = one(pa.timestamp("us", "UTC"), [dt.datetime(2024, 1, 2, tzinfo=UTC)]).__arrow_c_array__()
    assert _worker.RowsIn(schema).value(array) == dt.datetime(2024, 1, 2, tzinfo=UTC)
    schema, array = one(pa.int64(), [1, 2]).__arrow_c_array__()
    with pytest.raises(ValueError, match="^a checkpoint is one value: one column of one row$"):
        _worker.RowsIn(schema).value(array)


NANOSECONDS = "the value has nanoseconds, which Python's datetime cannot hold; give the input in microseconds"
IN_REFUSED = [
    (pa.array([0, 1], pa.timestamp("ns")), f'row 8, column "a": {NANOSECONDS}'),
    (pa.array([1], pa.time64("ns")), f'row 7, column "a": {NANOSECONDS}'),
    (pa.array([-1], pa.duration("ns")), f'row 7, column "a": {NANOSECONDS}'),
    (
        pa.array([253402300800], pa.timestamp("s")),
        'row 7, column "a": the year is outside of 1 to 9999, which datetime.datetime holds',
    ),
    (
        pa.array([-62135596801], pa.timestamp("s", "UTC")),
        'row 7, column "a": the year is outside of 1 to 9999, which datetime.datetime holds',
    ),
    (
        pa.array([253402300799], pa.timestamp("s", "Europe/Prague")),
        'row 7, column "a": the year is outside of 1 to 9999, which datetime.datetime holds',
    ),
    (
        pa.array([2**62], pa.timestamp("s")),
        'row 7, column "a": the value is outside of what Python\'s datetime holds',
    ),
    (
        pa.array([2**62], pa.duration("s")),
        'row 7, column "a": the value is outside of what Python\'s datetime holds',
    ),
    (
        pa.array([2932897], pa.int32()).view(pa.date32()),
        'row 7, column "a": the year is outside of 1 to 9999, which datetime.date holds',
    ),
    (pa.array([86400001], pa.int64()).view(pa.date64()), 'row 7, column "a": the date has a time of day'),
    (
        pa.array([86400000000], pa.int64()).view(pa.time64("us")),
        'row 7, column "a": the time of day is outside of 00:00 to 24:00',
    ),
    (
        pa.array([[0], [0, 1]], pa.list_(pa.timestamp("ns"))),
        f'row 8, column "a[]": {NANOSECONDS}',
    ),
    (
        pa.array(
            [{"x": [{"y": 0}]}, {"x": [{"y": 1}]}], pa.struct({"x": pa.list_(pa.struct({"y": pa.timestamp("ns")}))})
        ),
        f'row 8, column "a.x[].y": {NANOSECONDS}',
    ),
    (
        pa.DictionaryArray.from_arrays(pa.array([0, 1]), pa.array([0, 1], pa.timestamp("ns"))),
        f'row 8, column "a": {NANOSECONDS}',
    ),
    (
        pa.Array.from_buffers(
            pa.string(), 1, [None, pa.py_buffer(struct.pack("<2i", 0, 2)), pa.py_buffer(b"\xc3\x28")]
        ),
        'row 7, column "a": the text is not UTF-8',
    ),
    (
        pa.Array.from_buffers(pa.string(), 2, [None, pa.py_buffer(struct.pack("<3i", 0, 4, 2)), pa.py_buffer(b"abcd")]),
        'row 7, column "a": the offsets of the text are malformed',
    ),
]


@pytest.mark.parametrize(("array", "text"), IN_REFUSED, ids=[text for _, text in IN_REFUSED])
def test_refuses_what_python_cannot_hold(array: pa.Array, text: str) -> None:
    with pytest.raises(ValueError) as caught:
        read(pa.record_batch([array], names=["a"]), first_row=7)
    assert str(caught.value) == text


def test_a_row_past_the_first_chunk_is_named() -> None:
    values = [0] * 200
    values[150] = 1
    with pytest.raises(ValueError, match=r'^row 1150, column "a": '):
        read(one(pa.timestamp("ns"), values), first_row=1000)


def test_values_under_a_null_struct_are_not_looked_at() -> None:
    child = pa.array([1, 0], pa.timestamp("ns"))
    array = pa.StructArray.from_arrays([child], names=["t"], mask=pa.array([True, False]))
    assert read(pa.record_batch([array], names=["a"])) == [{"a": None}, {"a": {"t": dt.datetime(1970, 1, 1)}}]


@pytest.mark.parametrize(
    ("schema", "text"),
    [
        (pa.schema([("a", pa.int64()), ("a", pa.int64())]), 'there is more than one column "a", and a dict holds one'),
        (
            pa.schema([("a", pa.timestamp("us", "Nowhere/Such"))]),
            'column "a": the time zone "Nowhere/Such" is not known to this Python; give the input in UTC, '
            "or install tzdata",
        ),
        (
            pa.schema([("a", pa.timestamp("us", "+1:00"))]),
            'column "a": the time zone "+1:00" is not known to this Python; give the input in UTC, or install tzdata',
        ),
        (
            pa.schema([("a", pa.run_end_encoded(pa.int32(), pa.int64()))]),
            'column "a": values of this Arrow type cannot be given to a statement',
        ),
    ],
)
def test_schemas_that_cannot_be_read(schema: pa.Schema, text: str) -> None:
    with pytest.raises(ValueError) as caught:
        _worker.RowsIn(schema.__arrow_c_schema__())
    assert str(caught.value) == text


# ---- round trips ----

texts = st.text(st.characters(exclude_categories=["Cs"]), max_size=20)
micros = st.datetimes()


def leaf(data_type: pa.DataType, values: st.SearchStrategy[Any]) -> st.SearchStrategy[tuple[pa.DataType, Any]]:
    return st.just((data_type, values))


def decimals_of(precision: int, scale: int) -> st.SearchStrategy[Decimal]:
    bound = 10**precision - 1
    return st.integers(-bound, bound).map(lambda digits: Decimal(f"{digits}E{-scale}"))


leaves = st.one_of(
    leaf(pa.bool_(), st.booleans()),
    *(
        leaf(getattr(pa, f"{sign}int{bits}")(), st.integers(low, high))
        for bits in (8, 16, 32, 64)
        for sign, low, high in (("", -(2 ** (bits - 1)), 2 ** (bits - 1) - 1), ("u", 0, 2**bits - 1))
    ),
    leaf(pa.float64(), st.floats()),
    leaf(pa.float32(), st.floats(width=32)),
    leaf(pa.float16(), st.floats(width=16)),
    *(leaf(make(), texts) for make in (pa.string, pa.large_string, pa.string_view)),
    *(leaf(make(), st.binary(max_size=20)) for make in (pa.binary, pa.large_binary, pa.binary_view)),
    leaf(pa.binary(4), st.binary(min_size=4, max_size=4)),
    leaf(pa.date32(), st.dates()),
    leaf(pa.date64(), st.dates()),
    leaf(pa.time64("us"), st.times()),
    leaf(pa.time64("ns"), st.times()),
    leaf(pa.time32("s"), st.times().map(lambda time: time.replace(microsecond=0))),
    leaf(pa.time32("ms"), st.times().map(lambda time: time.replace(microsecond=time.microsecond // 1000 * 1000))),
    leaf(pa.timestamp("us"), micros),
    leaf(pa.timestamp("s"), micros.map(lambda time: time.replace(microsecond=0))),
    leaf(pa.timestamp("ns"), st.datetimes(dt.datetime(1678, 1, 1), dt.datetime(2261, 12, 31))),
    leaf(pa.timestamp("us", "UTC"), micros.map(lambda time: time.replace(tzinfo=UTC))),
    leaf(
        pa.timestamp("us", "Europe/Prague"),
        st.datetimes(dt.datetime(1, 1, 3), dt.datetime(9999, 12, 29)).map(
            lambda time: time.replace(tzinfo=UTC).astimezone(PRAGUE)
        ),
    ),
    leaf(pa.duration("us"), st.timedeltas(dt.timedelta(days=-100000000), dt.timedelta(days=100000000))),
    leaf(pa.duration("ns"), st.timedeltas(dt.timedelta(days=-100000), dt.timedelta(days=100000))),
    leaf(pa.decimal128(38, 10), decimals_of(38, 10)),
    leaf(pa.decimal128(12, 2), decimals_of(12, 2)),
    leaf(pa.decimal64(18, 18), decimals_of(18, 18)),
    leaf(pa.decimal32(9, 0), decimals_of(9, 0)),
    leaf(pa.decimal256(76, 30), decimals_of(76, 30)),
)


def nested(
    inner: st.SearchStrategy[tuple[pa.DataType, Any]],
) -> st.SearchStrategy[tuple[pa.DataType, Any]]:
    def nullable(values: Any) -> Any:
        return st.none() | values

    lists = inner.map(lambda item: (pa.list_(item[0]), st.lists(nullable(item[1]), max_size=4)))
    large = inner.map(lambda item: (pa.large_list(item[0]), st.lists(nullable(item[1]), max_size=4)))
    structs = st.lists(inner, min_size=1, max_size=3).map(
        lambda items: (
            pa.struct([(f"f{i}", item[0]) for i, item in enumerate(items)]),
            st.fixed_dictionaries({f"f{i}": nullable(item[1]) for i, item in enumerate(items)}),
        )
    )
    maps = inner.map(
        lambda item: (pa.map_(pa.string(), item[0]), st.lists(st.tuples(texts, nullable(item[1])), max_size=3))
    )
    return st.one_of(lists, large, structs, maps)


columns = st.recursive(leaves, nested, max_leaves=5)
names = st.lists(texts.filter(lambda name: "\0" not in name), min_size=1, max_size=4, unique=True)


@st.composite
def tables(draw: st.DrawFn) -> tuple[pa.Schema, list[dict[str, Any]]]:
    fields = {name: draw(columns) for name in draw(names)}
    row = st.fixed_dictionaries({name: st.none() | values for name, (_, values) in fields.items()})
    schema = pa.schema([(name, data_type) for name, (data_type, _) in fields.items()])
    return schema, draw(st.lists(row, max_size=6))


@pytest.mark.trace("P12")
@given(tables())
@settings(max_examples=300, deadline=None)
def test_round_trips_agree_with_pyarrow(table: tuple[pa.Schema, list[dict[str, Any]]]) -> None:
    schema, rows = table
    theirs = pa.RecordBatch.from_pylist(rows, schema=schema)
    ours = write(schema, rows)
    assert same(ours.to_pylist(), theirs.to_pylist())
    assert same(read(ours), read(theirs))
    back = read(theirs)
    assert same(write(schema, back).to_pylist(), ours.to_pylist())
    for mine, given_row in zip(back, rows, strict=True):
        assert same_values(mine, given_row)


def same_values(mine: Any, given_value: Any) -> bool:
    """The values that went in, but for decimals and floats, whose width the column sets, and map's tuples."""
    if isinstance(given_value, dict):
        return mine.keys() == given_value.keys() and all(same_values(mine[key], given_value[key]) for key in mine)
    if isinstance(given_value, list | tuple):
        return len(mine) == len(given_value) and all(map(same_values, mine, given_value))
    if isinstance(given_value, float) and math.isnan(given_value):
        return math.isnan(mine)
    return bool(mine == given_value)


# ---- out: texts by hand ----


class Integer:
    """What numpy's integers are to Python: not an int, with an exact one."""

    def __index__(self) -> int:
        return 7


class Plain:
    def __repr__(self) -> str:
        raise AssertionError("a message calls nothing of the statement's")

    __str__ = __repr__


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


NESTED_TYPE = pa.struct({"tags": pa.list_(pa.struct({"n": pa.int64()})), "m": pa.map_(pa.string(), pa.int64())})
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


TWO = pa.schema([pa.field("id", pa.int64(), nullable=False), ("name", pa.string())])
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


# ---- out: what is taken ----


def test_keys_may_come_in_any_order_and_need_not_be_interned() -> None:
    names = ["id", "name"]
    rows = [
        {"id": 1, "name": "a"},
        {"name": "b", "id": 2},
        {"".join(list(name)): value for name, value in zip(names, (3, "c"), strict=True)},
        type("Row", (dict,), {"__getitem__": None, "keys": None, "__iter__": None})(id=4, name="d"),
    ]
    assert write(TWO, rows).to_pylist() == [
        {"id": 1, "name": "a"},
        {"id": 2, "name": "b"},
        {"id": 3, "name": "c"},
        {"id": 4, "name": "d"},
    ]


def taken(data_type: pa.DataType, value: Any) -> Any:
    return write(pa.schema([("a", data_type)]), [{"a": value}]).column(0).to_pylist()[0]


def test_takes_what_is_exactly_the_same() -> None:
    assert taken(pa.int64(), Integer()) == 7
    assert taken(pa.uint8(), Integer()) == 7
    assert taken(pa.float64(), 2**53) == 2.0**53
    assert taken(pa.float64(), -(10**22)) == -1e22
    assert taken(pa.float64(), Integer()) == 7.0
    assert (
        taken(pa.float32(), 0.1) == struct.unpack("<f", struct.pack("<f", 0.1))[0]
    )  # to the nearest, as the type says
    assert taken(pa.float32(), -math.inf) == -math.inf
    assert math.isnan(taken(pa.float32(), math.nan))
    assert taken(pa.string(), type("Text", (str,), {"__str__": None})("sub")) == "sub"
    assert taken(pa.binary(), bytearray(b"ab")) == b"ab"
    assert taken(pa.binary(), memoryview(b"cd")) == b"cd"
    assert taken(pa.list_(pa.int64()), (1, None)) == [1, None]
    assert taken(pa.map_(pa.string(), pa.int64()), {"a": 1}) == [("a", 1)]
    assert taken(pa.map_(pa.string(), pa.int64()), [("a", 1), ("a", 2)]) == [("a", 1), ("a", 2)]


def test_takes_decimals_of_any_form(decimals: str) -> None:
    for text, expected in [
        ("1.5", "1.50"),
        ("1.5000000", "1.50"),
        ("-0", "0.00"),
        ("0E+50", "0.00"),
        ("12E2", "1200.00"),
        ("999999.99", "999999.99"),
        ("-0.01", "-0.01"),
        ("1." + "0" * 60, "1.00"),
    ]:
        assert str(taken(pa.decimal128(8, 2), Decimal(text))) == expected
        assert str(taken(pa.decimal256(8, 2), Decimal(text))) == expected
        assert str(taken(pa.decimal32(8, 2), Decimal(text))) == expected
    assert taken(pa.decimal128(8, 2), 7) == 7
    assert taken(pa.decimal256(76, 0), 10**76 - 1) == 10**76 - 1
    assert taken(pa.decimal128(38, 0), -(10**38) + 1) == -(10**38) + 1
    assert taken(pa.decimal128(38, 38), Decimal("0." + "9" * 38)) == Decimal("0." + "9" * 38)
    lying = type("Lying", (Decimal,), {"__str__": lambda self: "5", "as_tuple": None})("1.25")
    assert taken(pa.decimal128(8, 2), lying) == Decimal("1.25")


def test_aware_times_become_instants() -> None:
    in_prague = dt.datetime(2024, 10, 27, 2, 30, tzinfo=PRAGUE)
    column = pa.timestamp("us", "UTC")
    assert taken(column, in_prague) == dt.datetime(2024, 10, 27, 0, 30, tzinfo=UTC)
    assert taken(column, in_prague.replace(fold=1)) == dt.datetime(2024, 10, 27, 1, 30, tzinfo=UTC)
    odd = dt.timezone(dt.timedelta(hours=-5, seconds=7, microseconds=3))
    value = dt.datetime(2024, 1, 1, tzinfo=odd)
    assert taken(column, value) == value
    edge = dt.datetime(1, 1, 1, tzinfo=dt.timezone(dt.timedelta(hours=-1)))
    batch = write(pa.schema([("a", column)]), [{"a": edge}])
    assert batch.column(0).cast(pa.int64()).to_pylist() == [-62135596800000000 + 3600000000]
    before = dt.datetime(1, 1, 1, tzinfo=dt.timezone(dt.timedelta(hours=1)))  # in the year 0 of UTC
    assert write(pa.schema([("a", column)]), [{"a": before}]).column(0).cast(pa.int64()).to_pylist() == [
        -62135596800000000 - 3600000000
    ]


def test_takes_numpy_scalars() -> None:
    np = pytest.importorskip("numpy")
    assert taken(pa.int64(), np.int64(-5)) == -5
    assert taken(pa.int8(), np.uint64(127)) == 127
    assert taken(pa.uint64(), np.uint64(2**64 - 1)) == 2**64 - 1
    assert taken(pa.float64(), np.float64(0.1)) == 0.1
    assert taken(pa.float64(), np.float32(0.1)) == float(np.float32(0.1))
    assert taken(pa.float64(), np.int32(3)) == 3.0
    assert taken(pa.float32(), np.float32(0.1)) == float(np.float32(0.1))
    assert taken(pa.bool_(), np.True_) is True
    assert taken(pa.bool_(), np.bool_(False)) is False
    assert taken(pa.string(), np.str_("text")) == "text"
    assert taken(pa.binary(), np.bytes_(b"ab")) == b"ab"
    assert taken(pa.decimal128(5, 2), np.int16(12)) == Decimal(12)
    schema = pa.schema([("a", pa.int64())])
    for value, found in [
        (np.float64(1.0), "found numpy.float64; a float is not an int; use int(x)"),
        (np.float64("nan"), "found numpy.float64; NaN is not a whole number; return None where there is no value"),
        (np.True_, f"found {type(np.True_).__module__}.{type(np.True_).__name__}; a bool is not a number; use int(x)"),
        (np.array([1, 2]), None),
    ]:
        with pytest.raises((TypeError, ValueError)) as caught:
            writer(schema).put({"a": value})
        if found is not None:
            assert str(caught.value) == f'row 0, field "a": expected Int64, {found}'


def test_takes_pandas_times_with_their_nanoseconds() -> None:
    pd = pytest.importorskip("pandas")
    stamp = pd.Timestamp("2024-03-01 12:34:56.123456789")
    ns = pa.schema([("a", pa.timestamp("ns"))])
    assert write(ns, [{"a": stamp}]).column(0).cast(pa.int64()).to_pylist() == [stamp.value]
    before = pd.Timestamp("1950-03-01 12:34:56.123456789")
    assert write(ns, [{"a": before}]).column(0).cast(pa.int64()).to_pylist() == [before.value]
    aware = pd.Timestamp("2024-03-01 12:00", tz="Europe/Prague")
    assert taken(pa.timestamp("us", "UTC"), aware) == dt.datetime(2024, 3, 1, 11, tzinfo=UTC)
    delta = pd.Timedelta("1 days 00:00:00.000000001")
    durations = pa.schema([("a", pa.duration("ns"))])
    assert write(durations, [{"a": delta}]).column(0).cast(pa.int64()).to_pylist() == [delta.value]
    for missing in (pd.NaT, pd.NA):
        for data_type in (pa.timestamp("us"), pa.int64(), pa.string(), pa.duration("s"), pa.bool_(), pa.float64()):
            assert taken(data_type, missing) is None
        with pytest.raises(
            ValueError, match=r'^row 0, field "id": expected Int64, found (NaT|NA)Type; the field is required$'
        ):
            writer(TWO).put({"id": missing, "name": None})
    for value, data_type, hint in [
        (
            stamp,
            pa.timestamp("us"),
            "it has nanoseconds, which the column does not hold; use a column in ns, or x.floor('us')",
        ),
        (
            delta,
            pa.duration("us"),
            "it has nanoseconds, which the column does not hold; use a column in ns, or x.floor('us')",
        ),
        (
            pd.Timestamp("0001-01-01").as_unit("s") - pd.Timedelta(days=400).as_unit("s"),
            pa.timestamp("s"),
            "its year is outside of 1 to 9999",
        ),
    ]:
        with pytest.raises((TypeError, ValueError)) as caught:
            writer(pa.schema([("a", data_type)])).put({"a": value})
        assert str(caught.value).endswith(hint)


def test_nothing_of_a_refused_row_is_kept_in_any_layout() -> None:
    fields = [(f"c{i}", case[0]) for i, case in enumerate(IN) if not pa.types.is_fixed_size_list(case[0])]
    schema = pa.schema([*fields, ("last", pa.int64())])
    values = {name: next(case[1][0] for case in IN if case[0] == kind) for name, kind in fields}
    out = writer(schema)
    for row in range(100):
        out.put({**values, "last": row}, row)
        with pytest.raises(TypeError, match='field "last"'):
            out.put({**values, "last": "wrong"}, row)
        with pytest.raises(TypeError, match='field "last"'):
            out.put({**dict.fromkeys(values), "last": "wrong"}, row)
    batch = pa.record_batch(Batch(out.finish()))
    batch.validate(full=True)
    assert same(read(batch), read(pa.RecordBatch.from_pylist([{**values, "last": row} for row in range(100)], schema)))


def test_finish_leaves_an_empty_writer() -> None:
    out = writer(TWO)
    for times in range(3):
        rows = [{"id": times * 1000 + i, "name": f"name {i} that is long"} for i in range(700)]
        assert out.put_all(rows) == 700
        assert out.bytes() > 700 * 8
        assert pa.record_batch(Batch(out.finish())).to_pylist() == rows
        assert out.length() == 0 and out.bytes() == 0


@pytest.mark.parametrize(
    ("schema", "types", "text"),
    [
        (pa.schema([("a", pa.int64()), ("a", pa.int64())]), None, 'there is more than one field "a"'),
        (pa.schema([("a", pa.int64())]), [], "0 types for 1 fields"),
        (
            pa.schema([("a", pa.dictionary(pa.int8(), pa.string()))]),
            None,
            'column "a": dictionary-encoded values cannot be built',
        ),
    ],
)
def test_schemas_that_cannot_be_written(schema: pa.Schema, types: list[str] | None, text: str) -> None:
    with pytest.raises(ValueError) as caught:
        writer(schema, types)
    assert str(caught.value) == text


# ---- hostile objects ----


def test_a_cycle_ends_where_the_schema_does() -> None:
    cycle: list[Any] = []
    cycle.append(cycle)
    row: dict[str, Any] = {}
    row["a"] = row
    schema = pa.schema([("a", pa.list_(pa.list_(pa.int64())))])
    with pytest.raises(TypeError, match=r'^row 0, field "a\[0\]\[0\]": expected Int64, found list of 1 item$'):
        writer(schema).put({"a": cycle})
    with pytest.raises(TypeError, match=r'^row 0, field "a": expected List, found dict of 1 key'):
        writer(schema).put(row)


def test_depth_of_data_costs_nothing() -> None:
    deep: Any = 0
    for _ in range(1_000_000):
        deep = [deep]
    with pytest.raises(TypeError, match=r'^row 0, field "a\[0\]": expected Int64, found list of 1 item$'):
        writer(pa.schema([("a", pa.list_(pa.int64()))])).put({"a": deep})
    while isinstance(deep, list):  # taken apart by hand: freeing it is another's recursion
        deep = deep[0]


class Mutates:
    """An integer whose __index__ changes the container that is being read."""

    def __init__(self, act: Any) -> None:
        self.act = act

    def __index__(self) -> int:
        self.act()
        return 1


def test_a_dict_that_changes_while_it_is_read() -> None:
    schema = pa.schema([("a", pa.int64()), ("b", pa.int64()), ("c", pa.int64())])
    out = writer(schema)
    row: dict[str, Any] = {}
    for act in (
        row.clear,
        lambda: row.update({f"k{i}": i for i in range(1000)}),
        lambda: row.pop("b", None),
        lambda: row.__setitem__("b", Mutates(row.clear)),
    ):
        row.clear()
        row.update(a=Mutates(act), b=2, c=3)
        with pytest.raises(ValueError, match="^row 9"):
            out.put(row, 9)
    assert out.length() == 0


def test_a_list_that_changes_while_it_is_read() -> None:
    out = writer(pa.schema([("a", pa.list_(pa.int64()))]))
    items: list[Any] = []
    for act in (items.clear, lambda: items.append(1), lambda: items.extend(range(10000)), lambda: items.pop()):
        items[:] = [Mutates(act), *range(100)]
        with pytest.raises(ValueError, match=r'^row 1, field "a": expected List, found list of \d+ items?; it changed'):
            out.put({"a": items}, 1)
    items[:] = [Mutates(lambda: items.__setitem__(1, 50)), 2]
    out.put({"a": items}, 1)
    assert pa.record_batch(Batch(out.finish())).to_pylist() == [{"a": [1, 50]}]


def test_a_map_that_changes_while_it_is_read() -> None:
    out = writer(pa.schema([("a", pa.map_(pa.string(), pa.int64()))]))
    mapping: dict[str, Any] = {}
    for act in (mapping.clear, lambda: mapping.update(more=1)):
        mapping.clear()
        mapping.update(x=Mutates(act), y=2)
        with pytest.raises(ValueError, match="it changed while it was read$"):
            out.put({"a": mapping}, 1)


def test_a_returned_list_that_changes_while_it_is_read() -> None:
    out = writer(pa.schema([("a", pa.int64())]))
    rows: list[Any] = []
    rows.extend([{"a": Mutates(rows.clear)}, {"a": 2}])
    assert out.put_all(rows) == 1
    assert pa.record_batch(Batch(out.finish())).to_pylist() == [{"a": 1}]


def test_a_value_that_writes_rows_itself() -> None:
    out = writer(pa.schema([("a", pa.int64())]))
    for act in (lambda: out.put({"a": 5}), out.finish):
        with pytest.raises(RuntimeError, match="^these rows are being written"):
            out.put({"a": Mutates(act)})
    out.put({"a": 1})
    assert out.length() == 1


def test_lies_about_length_keys_and_equality() -> None:
    class Key(str):
        def __eq__(self, other: object) -> bool:
            raise KeyError("no comparing")

        def __hash__(self) -> int:
            return hash("a")

    class Long(list[int]):
        def __len__(self) -> int:
            return 1 << 40

        def __getitem__(self, at: Any) -> Any:
            raise AssertionError("the list itself is read")

    class Many(dict[str, int]):
        def __len__(self) -> int:
            return 1 << 40

    assert taken(pa.list_(pa.int64()), Long([1, 2])) == [1, 2]
    assert write(pa.schema([("a", pa.int64())]), [Many(a=1)]).to_pylist() == [{"a": 1}]
    with pytest.raises(KeyError, match="no comparing"):
        writer(pa.schema([("a", pa.int64())])).put({Key("a"): 1})


def test_a_failing_index_is_the_authors_to_see() -> None:
    def fail() -> None:
        raise ZeroDivisionError("mine")

    with pytest.raises(ZeroDivisionError, match="mine"):
        writer(pa.schema([("a", pa.int64())])).put({"a": Mutates(fail)})

    class Text:
        def __index__(self) -> Any:
            return "7"  # noqa: PLE0305  (that is the lie)

    with pytest.raises(TypeError, match="__index__ returned non-int"):
        writer(pa.schema([("a", pa.int64())])).put({"a": Text()})


class Zone(dt.tzinfo):
    def __init__(self, answer: Any) -> None:
        self.answer = answer

    def tzname(self, when: dt.datetime | None) -> str:
        return "zone"

    def dst(self, when: dt.datetime | None) -> None:
        return None

    def utcoffset(self, when: dt.datetime | None) -> Any:
        return self.answer


class Shifted(dt.datetime):
    answer: Any = None

    def utcoffset(self) -> Any:
        return self.answer


def test_zones_that_lie() -> None:
    schema = pa.schema([("a", pa.timestamp("us", "UTC"))])
    value = dt.datetime(2024, 1, 1, tzinfo=Zone(dt.timedelta(days=5)))
    with pytest.raises(ValueError, match="strictly between"):
        writer(schema).put({"a": value})
    for answer in (dt.timedelta(days=-999999999), dt.timedelta(days=1), 5):
        Shifted.answer = answer
        with pytest.raises(ValueError, match="less than a day"):
            writer(schema).put({"a": Shifted(2024, 1, 1, tzinfo=UTC).replace(tzinfo=Zone(dt.timedelta(0)))})
    unknown = dt.datetime(2024, 1, 1, tzinfo=Zone(None))
    with pytest.raises(TypeError, match="it has no time zone, and the column has one"):
        writer(schema).put({"a": unknown})
    assert taken(pa.timestamp("us"), unknown) == dt.datetime(2024, 1, 1)


def test_attributes_that_lie() -> None:
    class Odd(dt.datetime):
        nanosecond: Any = 5000

    for answer in (5000, -1):
        Odd.nanosecond = answer
        with pytest.raises(TypeError, match="field"):
            writer(pa.schema([("a", pa.timestamp("ns"))])).put({"a": Odd(2024, 1, 1)})
    Odd.nanosecond = "x"
    with pytest.raises(TypeError):
        writer(pa.schema([("a", pa.timestamp("ns"))])).put({"a": Odd(2024, 1, 1)})


def test_names_of_classes_do_not_make_numpy_or_pandas() -> None:
    for name in ("NaTType", "NAType", "numpy.bool_", "numpy.float32"):
        fake = type(name, (), {"__bool__": lambda self: True})()
        with pytest.raises(TypeError):
            writer(pa.schema([("a", pa.int64())])).put({"a": fake})


# ---- driving ----


def batches(told: dict[str, Any]) -> list[list[dict[str, Any]]]:
    return [pa.record_batch(Batch(capsules)).to_pylist() for capsules in told["batches"]]


def test_drives_a_row_at_a_time() -> None:
    seen: list[Any] = []

    async def statement(rows: list[Any], checkpoint: Any) -> Any:
        seen.append((rows, checkpoint))
        (row,) = rows
        return [{"id": row["id"] * 2, "name": None}] * (row["id"] % 3)

    schema, array = pa.record_batch({"id": pa.array(range(1000))}).__arrow_c_array__()
    out = writer(TWO)
    told = _worker.drive(statement, (_worker.RowsIn(schema), array), "mark", out, 100)
    assert seen == [([{"id": i}], "mark") for i in range(1000)]
    expected = [{"id": i * 2, "name": None} for i in range(1000) for _ in range(i % 3)]
    rest = pa.record_batch(Batch(out.finish())).to_pylist()
    flushed = batches(told)
    assert [len(batch) for batch in flushed] == [100] * (len(expected) // 100)
    assert [row for batch in flushed for row in batch] + rest == expected
    assert (told["row"], told["rows_in"], told["rows_out"], told["awaits"]) == (999, 1000, len(expected), False)


def test_drives_a_list_and_flushes_by_bytes() -> None:
    async def statement(rows: list[Any], checkpoint: Any) -> Any:
        return rows

    out = writer(TWO)
    rows = [{"id": i, "name": "x" * 1000} for i in range(50)]
    told = _worker.drive(statement, rows, None, out, 0, 10000)
    assert batches(told) == [rows[at : at + 10] for at in range(0, 50, 10)]
    assert out.length() == 0


RETURNS = [
    (
        None,
        "the statement must return a list of dicts, and returned None: its last line has to be `return` and the list",
    ),
    (
        {"id": 1, "name": "a"},
        "the statement must return a list of dicts, and returned a dict; for one row return a list of it: [row]",
    ),
    (5, "the statement must return a list of dicts, and returned int"),
    ("rows", "the statement must return a list of dicts, and returned str"),
    (({"id": 1} for _ in range(2)), "the statement must return a list of dicts, and returned generator; use list(x)"),
    (
        type("DataFrame", (), {})(),
        "the statement must return a list of dicts, and returned DataFrame; a frame may be returned in mode bulk",
    ),
    ([None], 'row 0: expected a dict with "id", "name", found None'),
]


@pytest.mark.trace("P12")
@pytest.mark.parametrize(("returned", "text"), RETURNS, ids=[text for _, text in RETURNS])
def test_says_what_a_statement_has_to_return(returned: Any, text: str) -> None:
    async def statement(rows: list[Any], checkpoint: Any) -> Any:
        return returned

    with pytest.raises(TypeError) as caught:
        _worker.drive(statement, [{}], None, writer(TWO))
    assert str(caught.value) == text


def test_the_row_counts_what_has_been_returned() -> None:
    async def statement(rows: list[Any], checkpoint: Any) -> Any:
        return [{"id": 1, "name": None}] * 3 if rows[0] < 5 else [{"id": "x", "name": None}]

    with pytest.raises(TypeError, match=r'^row 15, field "id": expected Int64, found str'):
        _worker.drive(statement, list(range(10)), None, writer(TWO))


def test_an_exception_is_the_statements_own() -> None:
    async def statement(rows: list[Any], checkpoint: Any) -> Any:
        return [{"id": 1 // rows[0], "name": None}]

    out = writer(TWO)
    with pytest.raises(ZeroDivisionError):
        _worker.drive(statement, [1, 0, 1], None, out)
    assert out.length() == 1


def test_one_that_awaits_is_handed_back_closed() -> None:
    ended: list[str] = []

    class Wait:
        def __await__(self) -> Generator[None, None, None]:
            yield

    async def statement(rows: list[Any], checkpoint: Any) -> Any:
        try:
            if rows[0] == 2:
                await Wait()
        finally:
            ended.append(str(rows[0]))
        return []

    told = _worker.drive(statement, [1, 2, 3], None, writer(TWO))
    assert told["awaits"] is True and told["row"] == 1 and told["rows_in"] == 1
    assert ended == ["1", "2"]


def test_only_coroutine_functions_are_driven() -> None:
    with pytest.raises(TypeError, match="^a statement is a coroutine function; calling it gave list$"):
        _worker.drive(lambda rows, checkpoint: [], [{}], None, writer(TWO))
    with pytest.raises(TypeError, match=r"^drive\(\) takes a RowsOut"):
        _worker.drive(lambda rows, checkpoint: [], [{}], None, object())


def test_rows_may_change_the_list_that_is_driven() -> None:
    rows: list[int] = [1, 2, 3, 4]

    async def statement(given_rows: list[Any], checkpoint: Any) -> Any:
        rows.clear()
        return [{"id": given_rows[0], "name": None}]

    out = writer(TWO)
    assert _worker.drive(statement, rows, None, out)["rows_out"] == 1
    assert pa.record_batch(Batch(out.finish())).to_pylist() == [{"id": 1, "name": None}]


# ---- memory ----


def test_references_come_out_even() -> None:
    import gc
    import sys

    schema = pa.schema([("a", pa.int64()), ("b", NESTED_TYPE)])
    good = {"a": 12345678, "b": {"tags": [{"n": 987654321}], "m": {"key": 1}}}
    bad = {"a": 12345678, "b": {"tags": [{"n": "wrong"}], "m": {"key": 1}}}

    def work() -> None:
        out = writer(schema)
        for _ in range(50):
            out.put(good)
            with pytest.raises(TypeError):
                out.put(bad)
        read(pa.record_batch(Batch(out.finish())))
        with pytest.raises(ValueError):
            read(one(pa.timestamp("ns"), [0, 0, 1]))

    def counts() -> tuple[int, ...]:
        gc.collect()
        return (
            sys.getrefcount(good["a"]),
            sys.getrefcount(good["b"]),
            sys.getrefcount(bad["b"]),
            sys.getrefcount(None),
        )

    work()
    before = counts()
    work()
    after = counts()
    assert after[:3] == before[:3]
    assert abs(after[3] - before[3]) < 20, "None is counted before CPython 3.12 only, and others use it too"
