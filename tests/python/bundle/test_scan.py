"""scan(): a pack as a lazy frame that reads what is needed."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import polars as pl
import pytest
from polars.testing import assert_frame_equal

import qanat as qn
from qanat.bundle import _scan

ROWS = pl.DataFrame({"id": [1, 2, 3], "name": ["a", "b", None], "x": [0.5, None, 1.5]})


@pytest.fixture
def filled(empty: qn.Bundle) -> qn.Bundle:
    empty.put("one", ROWS.head(2), version="v1")
    empty.put("two", ROWS.tail(1), version="v2")
    empty.commit("rows")
    return empty


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[tuple[str, ...]]]:
    """The columns of the streams that scans opened."""
    found: list[tuple[str, ...]] = []
    real = _scan.open_stream

    def recorded(bundle: Any, columns: tuple[str, ...], pack: str) -> Any:
        found.append(columns)
        return real(bundle, columns, pack)

    monkeypatch.setattr(_scan, "open_stream", recorded)
    yield found


def test_all_of_it_and_again(filled: qn.Bundle) -> None:
    lazy = filled.scan()
    assert lazy.collect_schema() == ROWS.schema
    for _ in range(2):
        assert_frame_equal(lazy.collect(), ROWS)


def test_only_what_is_asked_for_is_read(filled: qn.Bundle, asked: list[tuple[str, ...]]) -> None:
    lazy = filled.scan()
    assert lazy.select("name").collect()["name"].to_list() == ["a", "b", None]
    assert lazy.select(pl.col("x").sum()).collect().item() == 2.0
    found = lazy.filter(pl.col("id") > 1).select("name").collect()
    assert found["name"].to_list() == ["b", None]
    assert lazy.head(1).collect()["id"].to_list() == [1]
    assert asked[:2] == [("name",), ("x",)]
    assert set(asked[2]) == {"id", "name"}


def test_slices_filters_and_rows_without_columns(filled: qn.Bundle) -> None:
    lazy = filled.scan()
    assert lazy.select(pl.len()).collect().item() == 3
    assert filled.scan([]).collect().shape == (3, 0)
    assert lazy.slice(1, 1).collect()["id"].to_list() == [2]
    assert lazy.tail(1).collect()["id"].to_list() == [3]
    assert lazy.filter(pl.col("id") > 1).head(1).collect()["id"].to_list() == [2]
    assert lazy.head(2).filter(pl.col("id") > 1).collect()["id"].to_list() == [2]
    assert filled.scan(["x", "id"]).collect(engine="streaming").columns == ["x", "id"]


@pytest.mark.trace("B15")
def test_provenance(filled: qn.Bundle) -> None:
    lazy = filled.scan(["id", "_location", "_version", "_commit"])
    found = lazy.filter(pl.col("_location") == "two").collect()
    assert found.rows() == [(3, "two", "v2", 1)]
    assert filled.scan().collect_schema().names() == ["id", "name", "x"]


def test_two_packs_in_one_query(filled: qn.Bundle) -> None:
    filled.put("sizes", {"id": [1, 3], "size": ["s", "l"]}, pack="sizes")
    joined = filled.scan().join(filled.scan(pack="sizes"), on="id").sort("id").select("name", "size").collect()
    assert joined.rows() == [("a", "s"), (None, "l")]
    assert filled.scan().join(filled.scan(), on="id").collect().height == 3


def test_it_reads_what_is_there_when_it_is_collected(filled: qn.Bundle) -> None:
    lazy = filled.scan()
    filled.put("three", {"id": [4], "name": ["d"], "x": [9.0]})
    assert lazy.select("id").collect()["id"].to_list() == [1, 2, 3, 4]
    filled.put("four", pl.DataFrame({"id": pl.Series([2**63], dtype=pl.Decimal(20, 0))}))
    with pytest.raises(qn.ConflictError, match='column "id" was'):
        lazy.select("id").collect()


def test_errors_stay_typed(filled: qn.Bundle) -> None:
    lazy = filled.scan()
    filled.close()
    with pytest.raises(qn.ConnectionClosedError):
        lazy.collect()


def test_it_can_be_sunk(filled: qn.Bundle, tmp_path: Any) -> None:
    filled.scan().filter(pl.col("id") != 2).sink_parquet(tmp_path / "out.parquet")
    assert pl.read_parquet(tmp_path / "out.parquet")["id"].to_list() == [1, 3]
