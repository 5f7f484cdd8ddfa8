"""Rows out of the worker: dicts to Arrow batches, whatever stands for exactly the value."""

from __future__ import annotations

import datetime as dt
import math
import struct
import sys
from decimal import Decimal
from pathlib import Path

import pyarrow as pa
import pytest

sys.path.insert(0, str(Path(__file__).parent))

from rows import EVERY_TYPE, PRAGUE, TWO, UTC, Batch, Integer, read, same, taken, write, writer


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
    fields = [(f"c{i}", case[0]) for i, case in enumerate(EVERY_TYPE) if not pa.types.is_fixed_size_list(case[0])]
    schema = pa.schema([*fields, ("last", pa.int64())])
    values = {name: next(case[1][0] for case in EVERY_TYPE if case[0] == kind) for name, kind in fields}
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
