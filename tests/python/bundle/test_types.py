"""Blocks of different types as one table: every value as it was put in, whatever type holds it, or a typed error."""

from __future__ import annotations

import datetime as dt
import decimal
import itertools
import os
import struct
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import qanat as qn

UTC = dt.UTC
STEP = 1 if os.environ.get("QANAT_TORTURE") == "1" else 3  # of the pairs of types


def limits(kind: pa.DataType) -> list[int]:
    bits = kind.bit_width
    return [0, 2**bits - 1] if pa.types.is_unsigned_integer(kind) else [-(2 ** (bits - 1)), 2 ** (bits - 1) - 1]


INTEGERS = [pa.int8(), pa.int16(), pa.int32(), pa.int64(), pa.uint8(), pa.uint16(), pa.uint32(), pa.uint64()]
FLOATS = [pa.float32(), pa.float64()]

# Values at the edges of each type.
VALUES: list[tuple[pa.DataType, list[Any]]] = [
    *[(kind, limits(kind)) for kind in INTEGERS],
    (pa.float32(), [1.5, struct.unpack("f", struct.pack("f", -3.4e38))[0]]),
    (pa.float64(), [0.1, 1.7e308]),
    (pa.decimal128(10, 2), [decimal.Decimal("99999999.99"), decimal.Decimal("-0.01")]),
    (pa.decimal128(38, 0), [decimal.Decimal(10**38 - 1), decimal.Decimal(-1)]),
    (pa.decimal256(60, 30), [decimal.Decimal("123456789012345678901234567890.5"), decimal.Decimal("-0.5")]),
    (pa.string(), ["", "a text that is longer than a view holds"]),
    (pa.large_string(), ["\u0394", "b"]),
    (pa.string_view(), ["short", "another text that is longer than a view holds"]),
    (pa.dictionary(pa.int8(), pa.string()), ["one", "two"]),
    (pa.binary(), [b"", b"\x00\xff"]),
    (pa.binary(2), [b"ab", b"cd"]),
    (pa.bool_(), [True, False]),
    (pa.date32(), [dt.date(1, 1, 1), dt.date(9999, 12, 31)]),
    (pa.timestamp("s"), [dt.datetime(1900, 1, 1), dt.datetime(2100, 1, 1)]),
    (pa.timestamp("us"), [dt.datetime(1, 1, 1), dt.datetime(9999, 12, 31, 23, 59, 59, 999999)]),
    (pa.timestamp("us", "UTC"), [dt.datetime(2024, 2, 29, 1, 2, 3, 4, UTC)]),
    (pa.time32("s"), [dt.time(23, 59, 59)]),
    (pa.time64("us"), [dt.time(23, 59, 59, 999999)]),
    (pa.duration("ms"), [dt.timedelta(milliseconds=-1)]),
    (pa.list_(pa.int16()), [[1, None], []]),
    (pa.list_(pa.float64()), [[0.5], [None]]),
    (pa.struct([("a", pa.int32()), ("b", pa.string())]), [{"a": 1, "b": "x"}, {"a": None, "b": None}]),
    (pa.struct([("b", pa.string()), ("c", pa.int64())]), [{"b": "y", "c": 2**40}]),
    (pa.null(), []),
]


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> qn.Bundle:
    return qn.create(tmp_path_factory.mktemp("types") / "b")


def put(bundle: qn.Bundle, location: str, table: pa.Table, form: str) -> None:
    bundle.put(location, table, save_as=form)


def plain(kind: pa.DataType) -> pa.DataType:
    return kind.value_type if pa.types.is_dictionary(kind) else kind


def numbers(values: list[Any]) -> list[Any]:
    """Numbers of any type as fractions of themselves: what has to be equal is the value, not its type."""
    return [
        decimal.Decimal(value) if isinstance(value, (int, float)) and value is not True else value for value in values
    ]


def widened(value: Any, both: pa.DataType) -> Any:
    """A value as the wider type has it in Python."""
    if isinstance(value, dict):
        return {both.field(i).name: value.get(both.field(i).name) for i in range(both.num_fields)}
    if isinstance(value, dt.date) and not isinstance(value, dt.datetime) and pa.types.is_timestamp(both):
        return dt.datetime.combine(value, dt.time())
    return value


@pytest.mark.parametrize("form", ["arrow", "parquet"])
def test_every_pair_of_types_is_exact_or_refused(bundle: qn.Bundle, form: str) -> None:
    """All pairs: what is read is what was put in, whatever type holds it; or an error names both blocks and types."""
    together = 0
    pairs = list(itertools.combinations_with_replacement(VALUES, 2))
    for (first, some), (second, others) in pairs[:: STEP if form == "arrow" else 4 * STEP]:
        put(bundle, "one", pa.table({"x": pa.array([*some, None], first)}), form)
        put(
            bundle,
            "two",
            pa.table({"y": pa.array([1]), "x": pa.array([*others[:1]], second)[:1] if others else pa.nulls(1)}),
            form,
        )
        try:
            read = bundle.to_pyarrow()
        except qn.DataError as error:
            text = str(error)
            assert 'column "x" is ' in text, (first, second, text)
            assert '"one"' in text, text
            assert '"two"' in text, text
            assert plain(first) != plain(second)
        else:
            together += 1
            both = read.schema.field("x").type
            wanted = [widened(value, both) for value in [*some, None, *(others[:1] or [None])]]
            assert numbers(read.column("x").to_pylist()) == numbers(wanted), (first, second, both)
            assert read.column("y").to_pylist() == [None] * (len(some) + 1) + [1]
        finally:
            bundle.reset()
    assert together > len(VALUES) // 4


@settings(deadline=None, max_examples=20, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    st.lists(
        st.tuples(
            st.sampled_from(["a", "b", "c"]),
            st.sampled_from(INTEGERS[:3] + INTEGERS[4:7]),
            st.lists(st.none() | st.integers(0, 127), min_size=1, max_size=5),
        ),
        min_size=1,
        max_size=5,
    )
)
def test_any_blocks_are_one_table(tmp_path: Path, blocks: list[tuple[str, pa.DataType, list[int | None]]]) -> None:
    """Columns by name, rows in the order of the blocks, nulls where a block lacks a column."""
    tables = [
        pa.table({name: pa.array(values, kind), "n": [i] * len(values)})
        for i, (name, kind, values) in enumerate(blocks)
    ]
    with qn.create(tmp_path / next(tempfile_names)) as bundle:
        for i, table in enumerate(tables):
            bundle.put(f"block {i}", table, save_as="arrow")
        read = bundle.to_pyarrow()
    names = list(dict.fromkeys(name for table in tables for name in table.column_names))
    assert read.column_names == names
    for name in names:
        wanted = [
            value for t in tables for value in (t[name].to_pylist() if name in t.column_names else [None] * len(t))
        ]
        assert read[name].to_pylist() == wanted


tempfile_names = (f"bundle{i}" for i in itertools.count())


def test_a_time_that_a_finer_unit_cannot_count_is_an_error_of_its_row(bundle: qn.Bundle) -> None:
    put(bundle, "far", pa.table({"t": pa.array([0, 10**10], pa.timestamp("s"))}), "arrow")
    put(bundle, "fine", pa.table({"t": pa.array([1], pa.timestamp("ns"))}), "arrow")
    try:
        with pytest.raises(qn.DataError, match='location "far": column "t": a time is outside') as caught:
            bundle.to_pyarrow()
        assert caught.value.row == 1
    finally:
        bundle.reset()
