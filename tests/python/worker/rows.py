"""What the tests of rows share: the worker's extension, Arrow to dicts and back, and what is equal to the bit."""

from __future__ import annotations

import datetime as dt
import importlib
import math
import struct
from decimal import Decimal
from typing import Any
from zoneinfo import ZoneInfo

import pyarrow as pa

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


def taken(data_type: pa.DataType, value: Any) -> Any:
    return write(pa.schema([("a", data_type)]), [{"a": value}]).column(0).to_pylist()[0]


class Integer:
    """What numpy's integers are to Python: not an int, with an exact one."""

    def __index__(self) -> int:
        return 7


class Plain:
    def __repr__(self) -> str:
        raise AssertionError("a message calls nothing of the statement's")

    __str__ = __repr__


# A type, its values, and what Python reads where that is not the same.
EVERY_TYPE: list[tuple[pa.DataType, list[Any], list[Any] | None]] = [
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

NESTED_TYPE = pa.struct({"tags": pa.list_(pa.struct({"n": pa.int64()})), "m": pa.map_(pa.string(), pa.int64())})
TWO = pa.schema([pa.field("id", pa.int64(), nullable=False), ("name", pa.string())])
