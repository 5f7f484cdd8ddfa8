"""sql(): packs as tables of DuckDB."""

from __future__ import annotations

import datetime
import decimal
from typing import Any

import polars as pl
import pyarrow as pa
import pytest
from polars.testing import assert_frame_equal

import qanat as qn
from qanat.bundle import _sql

ROWS = pl.DataFrame({"id": [1, 2, 3], "name": ["a", "b", None], "x": [0.5, None, 1.5]})


@pytest.fixture
def filled(empty: qn.Bundle) -> qn.Bundle:
    empty.put("one", ROWS.head(2), version="v1")
    empty.put("two", ROWS.tail(1), version="v2")
    empty.put("sizes", {"id": [1, 3], "size": ["s", "l"]}, pack="other")
    empty.commit("rows")
    return empty


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, tuple[str, ...]]]:
    """Packs and columns of the streams that queries opened and read, in turn."""
    found: list[tuple[str, tuple[str, ...]]] = []
    real = _sql.open_stream

    def recorded(bundle: Any, columns: tuple[str, ...], pack: str) -> Any:
        found.append((pack, columns))
        return real(bundle, columns, pack)

    monkeypatch.setattr(_sql, "open_stream", recorded)
    return found


def test_packs_are_tables(filled: qn.Bundle) -> None:
    assert_frame_equal(filled.sql("select * from base order by id"), ROWS)
    joined = filled.sql("select name, size from base join other using (id) order by id")
    assert joined.rows() == [("a", "s"), (None, "l")]
    assert filled.sql("select count(*) as n from base").item() == 3
    assert filled.sql("select 1 as one").item() == 1


def test_only_the_columns_of_the_query_are_read(filled: qn.Bundle, asked: list[tuple[str, tuple[str, ...]]]) -> None:
    assert filled.sql("select name from base where id > 1 and x is not null").rows() == [(None,)]
    (_, every), (pack, read) = asked
    assert (every, pack, set(read)) == (("id", "name", "x"), "base", {"id", "name", "x"})
    asked.clear()
    assert filled.sql("select sum(id) as s from base").item() == 6
    assert asked[-1] == ("base", ("id",))
    assert {pack for pack, _ in asked} == {"base"}, "a pack that the query does not name is not opened"


def test_parameters_are_bound(filled: qn.Bundle) -> None:
    assert filled.sql("select name from base where id = ?", [2]).item() == "b"
    assert filled.sql("select id from base where name = $n", {"n": "a' or true --"}).is_empty()


@pytest.mark.trace("B15")
def test_provenance_on_request(filled: qn.Bundle) -> None:
    query = "select id, _location, _version, _commit from base order by id desc limit 1"
    assert filled.sql(query, provenance=True).rows() == [(3, "two", "v2", 1)]
    assert filled.sql("select * from base").columns == ["id", "name", "x"]
    with pytest.raises(qn.QueryExecutionError, match="_location"):
        filled.sql("select _location from base")


def test_values_arrive_exactly(empty: qn.Bundle) -> None:
    table = pa.table(
        {
            "big": pa.array([2**63 - 1, None], pa.int64()),
            "unsigned": pa.array([2**64 - 1, 0], pa.uint64()),
            "money": pa.array([decimal.Decimal("12345678901234567890.12"), None], pa.decimal128(22, 2)),
            "day": pa.array([datetime.date(1, 1, 1), None], pa.date32()),
            "at": pa.array([datetime.datetime(2026, 1, 1, tzinfo=datetime.UTC), None], pa.timestamp("us", "UTC")),
            "raw": pa.array([b"\x00\xff", None], pa.binary()),
            "list": pa.array([[1, None], None], pa.list_(pa.int64())),
        }
    )
    empty.put("values", table)
    found = empty.sql("select * from base where unsigned > 0 or unsigned = 0")
    assert found.to_dicts() == table.to_pylist()


def test_the_database_says_what_is_wrong(filled: qn.Bundle) -> None:
    with pytest.raises(qn.QueryExecutionError, match="nothing_here") as raised:
        filled.sql("select * from nothing_here")
    assert raised.value.sql == "select * from nothing_here"
    with pytest.raises(qn.QueryExecutionError, match="nme"):
        filled.sql("select nme from base")


def test_what_the_bundle_says_stays_typed(filled: qn.Bundle) -> None:
    for block in filled.files():
        assert block.path is not None
        with open(block.path, "r+b") as file:
            file.truncate(4)
    with pytest.raises(qn.QanatError) as raised:
        filled.sql("select * from base")
    assert not isinstance(raised.value, qn.QueryExecutionError) or isinstance(raised.value, qn.DataError)


def test_packs_that_cannot_be_read_matter_only_where_they_are_read(filled: qn.Bundle) -> None:
    filled.put("text", {"value": ["a"]}, pack="id")
    filled.put("blob", {"value": [b"a"]}, pack="id")
    filled.put("nothing", pa.table({}), pack="name")
    with pytest.raises(qn.DataError, match='column "value"'):
        filled.schema("id")
    assert filled.sql("select id, name from base where id = 1").rows() == [(1, "a")]
    assert filled.sql("select name as id from base where id = ?", [2]).rows() == [("b",)]
    with pytest.raises(qn.DataError, match='pack "id": column "value"'):
        filled.sql("select * from base join ID using (value)")
    with pytest.raises(qn.DataError, match='pack "name" has no columns'):
        filled.sql("select * from name")


def test_names_of_packs_that_differ_in_case_only(empty: qn.Bundle) -> None:
    empty.put("x", {"id": [1]}, pack="Prices")
    empty.put("x", {"id": [2]}, pack="prices")
    with pytest.raises(qn.ArgumentError, match='"Prices" and "prices"'):
        empty.sql("select * from prices")
    empty.put("y", {"prices": [3]})
    assert empty.sql("select prices from base").item() == 3
