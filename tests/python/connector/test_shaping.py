"""Filter, skip, limit and projection in the host, over columns of every type, against pyarrow."""

from __future__ import annotations

import datetime
import decimal
import random
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pytest

import qanat as qn
from qanat_sdk import Connector, Location

ROWS = 500


class Given(Connector):
    """One location whose data a test gives; nothing is applied on this side."""

    capabilities = ("stable_order",)

    def __init__(self, data: Any) -> None:
        self.given = data

    def discover(self, attached_locations: list[str], **kwargs: Any) -> list[Location]:
        return [Location("x")]

    def data(self, location: Location, **kwargs: Any) -> Any:
        return self.given


def read(handle: qn.ConnectorHandle, **options: Any) -> pa.Table:
    stream = handle.data("x", **options)
    assert stream is not None
    return pa.RecordBatchReader.from_stream(stream).read_all()


def spread(value: Any, dice: random.Random) -> Any:
    return None if dice.random() < 0.2 else value


def columns(dice: random.Random) -> dict[str, pa.Array]:
    """A column of every type, with nulls, and the row's number."""
    n = range(ROWS)
    text = [spread("x" * dice.randrange(30) + str(i), dice) for i in n]
    numbers = [spread(dice.randrange(100), dice) for _ in n]
    lists = [spread([spread(j, dice) for j in range(dice.randrange(5))], dice) for _ in n]
    pairs = [spread([("k" + str(j), spread(j, dice)) for j in range(dice.randrange(3))], dice) for _ in n]
    structs = [spread({"a": spread(i, dice), "b": spread([str(i)] * dice.randrange(3), dice)}, dice) for i in n]
    return {
        "id": pa.array(n, pa.int64()),
        "null": pa.nulls(ROWS),
        "bool": pa.array([spread(i % 3 == 0, dice) for i in n]),
        **{str(t): pa.array(numbers, t) for t in (pa.int8(), pa.uint16(), pa.int32(), pa.uint64(), pa.float64())},
        "half": pa.array([None if v is None else float(v) for v in numbers], pa.float32()).cast(pa.float16()),
        "decimal": pa.array([None if v is None else decimal.Decimal(v) / 4 for v in numbers], pa.decimal128(20, 2)),
        "decimal256": pa.array([None if v is None else decimal.Decimal(v) for v in numbers], pa.decimal256(60, 3)),
        "string": pa.array(text, pa.string()),
        "large": pa.array(text, pa.large_string()),
        "view": pa.array(text, pa.string_view()),
        "binary_view": pa.array([None if t is None else t.encode() for t in text], pa.binary_view()),
        "fixed": pa.array([None if v is None else bytes([v] * 5) for v in numbers], pa.binary(5)),
        "dictionary": pa.array(text).dictionary_encode(),
        "small_dictionary": pa.array(["abc"[i % 3] for i in n])
        .dictionary_encode()
        .cast(pa.dictionary(pa.int8(), pa.string())),
        "date": pa.array([datetime.date(2026, 1, 1) + datetime.timedelta(i) for i in n]),
        "timestamp": pa.array(numbers, pa.timestamp("ns", "UTC")),
        "duration": pa.array(numbers, pa.duration("ms")),
        "interval": pa.array([(1, i, 3) for i in n], pa.month_day_nano_interval()),
        "list": pa.array(lists, pa.list_(pa.int16())),
        "large_list": pa.array(lists, pa.large_list(pa.int64())),
        "fixed_list": pa.array([spread([i, None, i], dice) for i in n], pa.list_(pa.int32(), 3)),
        "map": pa.array(pairs, pa.map_(pa.string(), pa.int32())),
        "struct": pa.array(structs, pa.struct({"a": pa.int64(), "b": pa.list_(pa.string_view())})),
        "views": pa.array([[t, t] for t in text], pa.list_(pa.binary_view())),
    }


@pytest.mark.parametrize("seed", range(4))
def test_rows_of_every_type_are_chosen_one_by_one(seed: int) -> None:
    dice = random.Random(seed)
    table = pa.table(columns(dice))
    pieces = sorted(dice.sample(range(1, ROWS), 3))
    batches = [
        table.slice(begin, end - begin).to_batches()[0]  # slices: offsets are not 0
        for begin, end in zip([0, *pieces], [*pieces, ROWS], strict=True)
    ]
    for share in (0.0, 0.02, 0.5, 0.98, 1.0):
        wanted = [i for i in range(ROWS) if dice.random() < share]
        skip, limit = dice.choice([0, 0, 3, 100]), dice.choice([None, None, 7, 200])
        names = dice.sample(table.column_names, dice.randrange(1, table.num_columns + 1))
        with qn.open_connector(Given(batches)) as handle:
            found = read(handle, filter=["in", "id", wanted], skip_rows=skip, limit=limit, columns=names)
        kept = wanted[skip:] if limit is None else wanted[skip : skip + limit]
        assert found.schema.names == names
        found.validate(full=True)
        for name in names:
            values = table[name].to_pylist()
            assert found[name].to_pylist() == [values[i] for i in kept], name


LITERALS: dict[str, list[Any]] = {
    "int8": [-1, 0, 50, 50.5, 99, 1000],
    "uint64": [0, 7, 10**25],
    "double": [0, 49.5, 99],
    "decimal": [12.25, 12.251, 0, 24],
    "string": ["", "x", "xx1", "zzz"],
    "view": ["x", "xxxxxxxxxxxxxxxxxxx9"],
    "date": ["2026-01-01", "2026-06-30"],
}


@pytest.mark.parametrize("name", sorted(LITERALS))
@pytest.mark.parametrize("operator", ["=", "!=", "<", "<=", ">", ">="])
def test_comparisons_are_those_of_pyarrow(name: str, operator: str) -> None:
    table = pa.table(columns(random.Random(11)))
    compare = {
        "=": pc.equal, "!=": pc.not_equal, "<": pc.less, "<=": pc.less_equal, ">": pc.greater, ">=": pc.greater_equal,
    }[operator]  # fmt: skip
    column = table[name].cast(pa.string()) if name == "view" else table[name]
    with qn.open_connector(Given(table)) as handle:
        for literal in LITERALS[name]:
            if name in {"int8", "uint64", "decimal"}:
                wide = column.cast(pa.decimal128(38, 4))
                other = pa.scalar(decimal.Decimal(str(literal)), pa.decimal128(38, 4))
                mask = compare(wide, other)
            elif name == "date":
                mask = compare(column, datetime.date.fromisoformat(literal))
            else:
                mask = compare(column, literal)
            found = read(handle, filter=[operator, name, literal], columns=["id"])
            negated = read(handle, filter=["not", [operator, name, literal]], columns=["id"])
            assert found == table.select(["id"]).filter(mask)
            assert negated == table.select(["id"]).filter(pc.invert(mask))


def test_what_cannot_be_chosen_or_compared_is_named() -> None:
    union = pa.UnionArray.from_sparse(pa.array([0, 1], pa.int8()), [pa.array([1, 2]), pa.array(["a", "b"])])
    table = pa.table({"id": [1, 2], "u": union})
    with qn.open_connector(Given(table)) as handle:
        assert read(handle, limit=1)["u"].to_pylist() == [1]  # a run is not copied: any type will do
        assert read(handle, filter=["=", "id", 2])["u"].to_pylist() == ["b"]
    with qn.open_connector(Given(pa.concat_tables([table] * 3).combine_chunks())) as handle:
        stream = handle.data("x", filter=["=", "id", 2])
        assert stream is not None
        with pytest.raises(qn.NotSupportedError, match='column "u": rows of type'):
            next(stream)
        with pytest.raises(qn.NotSupportedError, match="cannot be compared"):
            read(handle, filter=["=", "u", 2])
        with pytest.raises(qn.ArgumentError, match='no column "v"'):
            read(handle, filter=["is_null", "v"])
