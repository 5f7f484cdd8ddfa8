"""Rows through the worker and back: what went in comes out, and references come out even."""

from __future__ import annotations

import datetime as dt
import gc
import math
import sys
from decimal import Decimal
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

sys.path.insert(0, str(Path(__file__).parent))

from rows import NESTED_TYPE, PRAGUE, UTC, Batch, one, read, same, write, writer

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


def test_references_come_out_even() -> None:
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
