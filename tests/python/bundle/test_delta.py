"""mirror("delta"): other engines read a pack as a Delta table, with its versions.

The readers are the `deltalake` package, polars by it, and DuckDB by its own extension, in a process with the version of
DuckDB that the extension is made for (requirements/duckdb_delta.txt).
"""

from __future__ import annotations

import datetime
import decimal
import json
import os
import pickle
import subprocess
import sys
from pathlib import Path
from typing import Any

import polars as pl
import pyarrow as pa
import pytest
from deltalake import DeltaTable

import qanat as qn

pytestmark = pytest.mark.trace("B14")
EPOCH = datetime.datetime(1970, 1, 1, tzinfo=datetime.UTC)
DUCKDB = Path(__file__).resolve().parents[3] / ".venv" / "duckdb-delta"
QUERIES = """
import glob, pickle, sys
import duckdb
(extension,) = glob.glob(sys.argv[1] + "/duckdb_extension_delta/extensions/*/delta.duckdb_extension")
settings = {"autoinstall_known_extensions": False, "autoload_known_extensions": False}
connection = duckdb.connect(config=settings)
connection.execute(f"load '{extension}'")
rows = [connection.execute(query).fetchall() for query in pickle.load(sys.stdin.buffer)]
sys.stdout.buffer.write(pickle.dumps(rows))
"""


def read(path: Path, version: int | None = None) -> pl.DataFrame:
    """The table as another engine reads it."""
    frame = pl.DataFrame(DeltaTable(path, version=version).to_pyarrow_table())
    return frame.sort(frame.columns[0])


def read_by_duckdb(*queries: str) -> list[list[tuple[Any, ...]]]:
    """The rows of each query, by DuckDB itself."""
    if not (DUCKDB / "duckdb_extension_delta").is_dir():
        pytest.skip("DuckDB's extension for Delta is not installed: see scripts/setup.sh")
    done = subprocess.run(
        [sys.executable, "-c", QUERIES, str(DUCKDB)],
        input=pickle.dumps(queries),
        capture_output=True,
        check=False,
        env={**os.environ, "PYTHONPATH": str(DUCKDB)},
    )
    assert done.returncode == 0, done.stderr.decode()
    found: list[list[tuple[Any, ...]]] = pickle.loads(done.stdout)
    return found


def log(path: Path) -> dict[str, bytes]:
    return {file.name: file.read_bytes() for file in sorted((path / "_delta_log").iterdir())}


def test_each_version_that_touched_the_pack_is_a_version_of_the_table(empty: qn.Bundle) -> None:
    empty.put("one", {"id": [1, 2], "name": ["a", "b"]})
    first = empty.commit("one")
    empty.put("elsewhere", {"x": [1]}, pack="other")
    empty.commit("not ours")
    empty.put("two", {"id": [3], "name": ["c"]})
    empty.put("one", {"id": [9], "name": ["z"]}, replace=True)
    second = empty.commit("two, and one anew")
    empty.remove("one")
    third = empty.commit("one is gone")
    fourth = empty.revert(first)

    made = empty.mirror("delta")
    assert (made.path, made.pack, made.version) == (empty.path, "base", 3)
    assert made.versions == [first, second, third, fourth]
    assert read(made.path, 0).rows() == [(1, "a"), (2, "b")]
    assert read(made.path, 1).rows() == [(3, "c"), (9, "z")]
    assert read(made.path, 2).rows() == [(3, "c")]
    assert read(made.path).rows() == [(1, "a"), (2, "b")]
    assert DeltaTable(made.path).version() == 3
    assert [entry["qanatVersion"] for entry in reversed(DeltaTable(made.path).history())] == made.versions
    at = DeltaTable(made.path)
    times = [empty.history()[version].timestamp for version in made.versions]
    ticks = [(time - EPOCH) // datetime.timedelta(milliseconds=1) for time in times]  # as fine as Delta's clock
    for time, tick in zip(times, ticks, strict=True):
        at.load_as_version(time)
        assert ticks[at.version()] == tick  # of several of one tick Delta takes any
    assert pl.read_delta(str(made.path), version=1).height == 2
    assert pl.scan_delta(str(made.path)).select(pl.col("id").sum()).collect().item() == 3


def test_duckdb_reads_every_version(empty: qn.Bundle) -> None:
    empty.put("one", {"id": [1, 2], "name": ["a", "b"]})
    first = empty.commit("one")
    empty.put("two", {"id": [3], "extra": [0.5]})
    empty.put("one", {"id": [9], "name": ["z"]}, replace=True)
    empty.commit("two, and one anew")
    empty.remove("one")
    empty.commit("one is gone")
    empty.revert(first)
    empty.put("one", {"price": [5]}, pack="prices")
    empty.commit("prices")
    base, prices = empty.mirror("delta").path, empty.mirror("delta", pack="prices").path
    versions = {0: "*", 1: "id, name, extra", 2: "id", 3: "id, name"}
    found = read_by_duckdb(
        *(f"select {names} from delta_scan('{base}', version={n}) order by id" for n, names in versions.items()),
        f"select id, name from delta_scan('{base}') order by id",
        f"select * from delta_scan('{prices}')",
    )
    assert found[0] == found[3] == found[4] == [(1, "a"), (2, "b")]
    assert found[1] == [(3, None, 0.5), (9, "z", None)]
    assert found[2] == [(3,)]
    assert found[5] == [(5,)]


def test_duckdb_reads_the_types(empty: qn.Bundle) -> None:
    day, local = datetime.date(1970, 1, 2), datetime.datetime(2026, 3, 1, 12, 30, 1, 250000)
    money = decimal.Decimal("-12345678901234567890123456789012345.678")
    table = pa.table(
        {
            "i8": pa.array([-128], pa.int8()),
            "i64": pa.array([2**63 - 1], pa.int64()),
            "f32": pa.array([0.5], pa.float32()),
            "yes": pa.array([True]),
            "text": pa.array(["ä"]),
            "raw": pa.array([b"\x00\xff"], pa.binary()),
            "day": pa.array([day], pa.date32()),
            "money": pa.array([money], pa.decimal128(38, 3)),
            "local": pa.array([local], pa.timestamp("us")),
            "moment": pa.array([local.replace(tzinfo=datetime.UTC)], pa.timestamp("us", "UTC")),
            "list": pa.array([[1, None]], pa.list_(pa.int32())),
            "struct": pa.array([{"a": 1, "b": "x"}], pa.struct([("a", pa.int64()), ("b", pa.string())])),
        }
    )
    empty.put("values", table)
    empty.commit("values")
    path = empty.mirror("delta").path
    ((row,),) = read_by_duckdb(f"select * replace (epoch_us(moment) as moment) from delta_scan('{path}')")
    micros = (local - datetime.datetime(1970, 1, 1)) // datetime.timedelta(microseconds=1)
    expected = (-128, 2**63 - 1, 0.5, True, "ä", b"\x00\xff", day, money, local, micros, [1, None], {"a": 1, "b": "x"})
    assert row == expected


def test_statistics_and_times_are_those_of_the_bundle(empty: qn.Bundle) -> None:
    empty.put("one", {"id": [1, 2]})
    empty.commit("one")
    made = empty.mirror("delta")
    (line,) = [json.loads(one) for one in log(made.path)[f"{0:020}.json"].splitlines() if b'"add"' in one]
    (block,) = empty.files()
    assert json.loads(line["add"]["stats"]) == {"numRecords": 2}
    assert line["add"]["size"] == block.bytes == (made.path / line["add"]["path"]).stat().st_size
    when = empty.history()[1].timestamp
    assert abs((made.path / "_delta_log" / f"{0:020}.json").stat().st_mtime - when.timestamp()) < 0.01
    assert DeltaTable(made.path).history()[0]["timestamp"] == int(when.timestamp() * 1000)


def test_it_can_be_rebuilt_at_any_time(empty: qn.Bundle) -> None:
    empty.put("one", {"id": [1]})
    empty.commit("one")
    empty.mirror("delta")
    empty.put("two", {"id": [2]})
    empty.commit("two")
    empty.put("pending", {"id": [3]})
    assert empty.mirror("delta").version == 1
    assert read(empty.path)["id"].to_list() == [1, 2], "what is pending is not there"
    whole = log(empty.path)
    before = {name: (empty.path / "_delta_log" / name).stat().st_ino for name in whole}
    empty.mirror("delta")
    assert {name: (empty.path / "_delta_log" / name).stat().st_ino for name in whole} == before, "nothing is rewritten"
    for name in whole:
        (empty.path / "_delta_log" / name).unlink()
    with qn.open(empty.path, 1) as older:
        assert older.mirror("delta").version == 1, "whatever version is shown"
    assert log(empty.path) == whole
    assert empty.verify() == []


def test_columns_come_and_go(empty: qn.Bundle) -> None:
    empty.put("one", {"id": [1]})
    empty.commit("one")
    empty.put("two", {"id": [2], "name": ["b"]})
    empty.commit("two")
    empty.put("one", {"id": [1], "name": ["a"], "extra": [True]}, replace=True)
    empty.commit("one anew")
    empty.remove("one")
    empty.remove("two")
    empty.commit("nothing left")
    empty.mirror("delta")
    assert read(empty.path, 0).columns == ["id"]
    assert read(empty.path, 1).rows() == [(1, None), (2, "b")]
    assert sorted(read(empty.path, 2).rows(), key=str) == sorted([(2, "b", None), (1, "a", True)], key=str)
    assert read(empty.path, 3).is_empty()


def test_types_of_delta(empty: qn.Bundle) -> None:
    naive = datetime.datetime(2026, 3, 1, 12, 30, 1, 250000)
    table = pa.table(
        {
            "id": pa.array([1, 2], pa.int64()),
            "i8": pa.array([-128, None], pa.int8()),
            "i16": pa.array([-32768, None], pa.int16()),
            "i32": pa.array([2**31 - 1, None], pa.int32()),
            "f32": pa.array([0.5, None], pa.float32()),
            "f64": pa.array([0.1, None], pa.float64()),
            "yes": pa.array([True, None], pa.bool_()),
            "text": pa.array(["ä", None], pa.string()),
            "raw": pa.array([b"\x00\xff", None], pa.binary()),
            "day": pa.array([datetime.date(1970, 1, 2), None], pa.date32()),
            "money": pa.array(
                [decimal.Decimal("-12345678901234567890123456789012345.678"), None], pa.decimal128(38, 3)
            ),
            "at": pa.array([naive.replace(tzinfo=datetime.UTC), None], pa.timestamp("us", "UTC")),
            "ms": pa.array([naive.replace(tzinfo=datetime.UTC), None], pa.timestamp("ms", "UTC")),
            "local": pa.array([naive, None], pa.timestamp("us")),
            "list": pa.array([[1, None], None], pa.list_(pa.int32())),
            "struct": pa.array([{"a": 1, "b": "x"}, None], pa.struct([("a", pa.int64()), ("b", pa.string())])),
            "map": pa.array([[("k", 1)], None], pa.map_(pa.string(), pa.int64())),
        }
    )
    empty.put("values", table)
    empty.commit("values")
    empty.mirror("delta")
    found = DeltaTable(empty.path).to_pyarrow_table()
    assert found.schema.names == table.schema.names
    assert found.sort_by("id").to_pylist() == table.to_pylist()
    schema = {one.name: one.type for one in DeltaTable(empty.path).schema().fields}
    expected = {"id": "long", "i8": "byte", "i16": "short", "i32": "integer", "f32": "float", "f64": "double"}
    expected |= {"yes": "boolean", "text": "string", "raw": "binary", "day": "date", "money": "decimal(38,3)"}
    expected |= {"at": "timestamp", "ms": "timestamp", "local": "timestamp_ntz"}
    assert {name: json.loads(schema[name].to_json()) for name in expected} == expected


@pytest.mark.parametrize(
    "column",
    [
        pa.array([1], pa.uint32()),
        pa.array([1], pa.uint64()),
        pa.array([1], pa.time64("us")),
        pa.array([1], pa.timestamp("ns")),
        pa.array([None], pa.null()),
        pa.array([[1]], pa.list_(pa.uint8())),
        pa.array([{"a": 1}], pa.struct([("a", pa.timestamp("ns"))])),
    ],
    ids=lambda column: str(column.type),
)
def test_columns_that_delta_cannot_hold(empty: qn.Bundle, column: Any) -> None:
    empty.put("values", pa.table({"id": [1], "x": column}))
    empty.commit("values")
    with pytest.raises(qn.NotSupportedError, match='pack "base", location "values", column "x"'):
        empty.mirror("delta")
    assert not (empty.path / "_delta_log").exists()


@pytest.mark.parametrize("name", ["two words", "a,b", "a=b", "a(b)"])
def test_names_that_delta_cannot_hold(empty: qn.Bundle, name: str) -> None:
    empty.put("values", {name: [1]})
    empty.commit("values")
    with pytest.raises(qn.NotSupportedError, match="Delta has no columns whose names have"):
        empty.mirror("delta")


def test_names_that_are_one_in_delta(empty: qn.Bundle) -> None:
    empty.put("values", pa.table({"id": [1], "ID": [2]}))
    empty.commit("values")
    with pytest.raises(qn.NotSupportedError, match='"id" and "ID" are one'):
        empty.mirror("delta")


def test_two_types_of_a_column(empty: qn.Bundle) -> None:
    empty.put("narrow", pl.DataFrame({"id": pl.Series([1], dtype=pl.Int32)}))
    empty.put("wide", pl.DataFrame({"id": pl.Series([2], dtype=pl.Int64)}))
    empty.commit("both")
    with pytest.raises(qn.NotSupportedError, match='column "id": it is integer in "narrow" and long in "wide"'):
        empty.mirror("delta")


def test_blocks_that_are_not_parquet(empty: qn.Bundle) -> None:
    empty.put("arrow", {"id": [1]}, save_as="arrow")
    empty.commit("arrow")
    with pytest.raises(qn.NotSupportedError, match='location "arrow".*"arrow".*Parquet') as raised:
        empty.mirror("delta")
    assert "save_as" in str(raised.value.hint)


def test_references(native: qn.Bundle, shelf: Any) -> None:
    there = shelf.root.parent / "outside.parquet"
    pl.DataFrame({"id": [1]}).write_parquet(there)
    shelf.put("one", url=there.as_uri(), must_copy=False)
    native.fetch()
    native.commit("a reference")
    with pytest.raises(qn.NotSupportedError, match='location "one".*referenced'):
        native.mirror("delta")


def test_the_same_bytes_at_two_locations(empty: qn.Bundle) -> None:
    empty.put("one", {"id": [1]})
    empty.put("twin", {"id": [1]})
    empty.commit("twins")
    assert len({block.sha256 for block in empty.files()}) == 1
    empty.remove("one")
    empty.commit("one of them goes")
    empty.mirror("delta")
    assert read(empty.path, 0)["id"].to_list() == [1, 1]
    assert read(empty.path, 1)["id"].to_list() == [1]


def test_another_pack_has_a_table_of_its_own(empty: qn.Bundle) -> None:
    empty.put("one", {"id": [1]})
    empty.put("one", {"price": [5]}, pack="prices")
    empty.commit("both")
    base, prices = empty.mirror("delta"), empty.mirror("delta", pack="prices")
    assert prices.path == empty.path / "_mirror" / "prices"
    assert read(base.path)["id"].to_list() == [1]
    assert read(prices.path)["price"].to_list() == [5]
    (file,) = prices.path.glob("*.parquet")
    (block,) = empty.files(pack="prices")
    assert block.path is not None and file.samefile(block.path), "a link, no copy"


def test_nothing_of_others_is_overwritten(empty: qn.Bundle) -> None:
    empty.put("one", {"id": [1]})
    empty.commit("one")
    empty.mirror("delta")
    foreign = empty.path / "_delta_log" / f"{1:020}.json"
    foreign.write_text('{"commitInfo":{"engineInfo":"another"}}\n')
    empty.put("two", {"id": [2]})
    with pytest.raises(qn.ConflictError, match="version 1 that is not this pack's"):
        empty.mirror("delta")
    empty.commit("two")
    with pytest.raises(qn.ConflictError, match="version 1 that is not this pack's"):
        empty.mirror("delta")
    assert "another" in foreign.read_text()


def test_a_pack_without_blocks(empty: qn.Bundle) -> None:
    empty.put("pending", {"id": [1]})
    with pytest.raises(qn.ConfigurationError, match='pack "base" has no committed blocks'):
        empty.mirror("delta")
    with pytest.raises(qn.ArgumentError, match="'iceberg'"):
        empty.mirror("iceberg")  # type: ignore[arg-type]
