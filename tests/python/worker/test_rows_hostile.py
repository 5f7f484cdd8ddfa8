"""Rows out of the worker whose objects lie, change or reach back while they are read."""

from __future__ import annotations

import datetime as dt
import sys
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

sys.path.insert(0, str(Path(__file__).parent))

from rows import UTC, Batch, taken, write, writer


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
