"""Rows into the worker: Arrow batches to dicts, exactly or refused with a text that says why."""

from __future__ import annotations

import datetime as dt
import struct
import sys
from decimal import Decimal
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

sys.path.insert(0, str(Path(__file__).parent))

from rows import EVERY_TYPE, PRAGUE, UTC, _worker, one, read, same


@pytest.mark.parametrize(("data_type", "values", "expected"), EVERY_TYPE, ids=[str(case[0]) for case in EVERY_TYPE])
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
