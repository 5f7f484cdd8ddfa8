"""A bundle by hand: tables in and out, history, other writers, configuration, what is missing or wrong."""

from __future__ import annotations

import datetime
import inspect
import json
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

import polars as pl
import pyarrow as pa
import pytest
from polars.testing import assert_frame_equal

import qanat as qn
import qanat.aio
import qanat.bundle
from qanat.bundle._results import history as history_of

PLANETS = pl.DataFrame({"id": [1, 2], "name": ["Earth", "Mars"], "radius": [6371.0, 3389.5]})


# ---- tables in and out ----


def test_any_table_can_be_put_and_read(empty: qn.Bundle) -> None:
    assert empty.put("frame", PLANETS) == 2
    assert empty.put("dicts", [{"id": 3, "name": "Venus", "radius": 6051.8}]) == 1
    assert empty.put("columns", {"id": [4], "name": ["Ceres"], "radius": [473.0]}) == 1
    table = pa.table({"id": [5], "name": ["Io"], "radius": [1821.6]})
    assert empty.put("table", table, save_as="arrow") == 1
    expected = [*PLANETS["id"], 3, 4, 5]
    assert empty.num_rows == 5
    assert empty.to_polars()["id"].to_list() == expected
    assert empty.to_pyarrow()["id"].to_pylist() == expected
    assert empty.to_pandas()["id"].tolist() == expected
    assert [value for batch in empty.stream(["id"]) for value in batch.to_polars()["id"]] == expected
    assert empty.schema().names == ["id", "name", "radius"]


def test_a_stream_of_a_bundle_can_be_put_into_it(empty: qn.Bundle) -> None:
    empty.put("planets", PLANETS)
    assert empty.put("copy", empty.stream(["id"]), pack="ids") == 2
    assert empty.to_polars(pack="ids")["id"].to_list() == [1, 2]


def test_put_replaces_only_where_it_is_told_to(empty: qn.Bundle) -> None:
    empty.put("planets", PLANETS)
    with pytest.raises(qn.ConfigurationError, match="planets"):
        empty.put("planets", PLANETS.head(1))
    assert empty.put("planets", PLANETS.head(1), replace=True) == 1
    assert empty.num_rows == 1
    empty.remove("planets")
    assert empty.num_rows == 0
    with pytest.raises(qn.ConfigurationError, match="planets"):
        empty.remove("planets")


def test_columns_are_united_by_name(empty: qn.Bundle) -> None:
    empty.put("narrow", pl.DataFrame({"id": [1], "a": pl.Series([7], dtype=pl.Int32)}))
    empty.put("wide", pl.DataFrame({"b": ["x"], "a": pl.Series([2**40], dtype=pl.Int64), "id": [2]}))
    expected = pl.DataFrame({"id": [1, 2], "a": [7, 2**40], "b": [None, "x"]})
    assert_frame_equal(empty.to_polars(), expected)
    empty.put("wrong", {"id": ["not a number"]})
    with pytest.raises(qn.DataError, match='"id"'):
        empty.to_polars()


@pytest.mark.trace("B15")
def test_provenance_is_given_where_it_is_asked_for(empty: qn.Bundle) -> None:
    empty.put("one", {"id": [1, 2]}, version="v1")
    first = empty.commit("one")
    empty.put("two", {"id": [3]}, version="v7")
    expected = pl.DataFrame(
        {
            "id": [1, 2, 3],
            "_location": ["one", "one", "two"],
            "_version": ["v1", "v1", "v7"],
            "_commit": pl.Series([first, first, None], dtype=pl.Int64),
        }
    )
    assert_frame_equal(empty.to_polars(["id", "_location", "_version", "_commit"]), expected)
    assert empty.to_polars().columns == ["id"]
    second = empty.commit("two")
    assert empty.to_polars(["_commit"])["_commit"].to_list() == [first, first, second]


def test_streams_outlive_the_bundle(empty: qn.Bundle) -> None:
    empty.put("planets", PLANETS)
    empty.commit("planets")
    first, second = empty.stream(), empty.stream(["name"])
    empty.close()
    assert_frame_equal(first.to_polars(), PLANETS)
    assert second.to_polars()["name"].to_list() == ["Earth", "Mars"]


def test_columns_that_are_not_there(empty: qn.Bundle) -> None:
    empty.put("planets", PLANETS)
    with pytest.raises(qn.QanatError, match='"moons"'):
        empty.stream(["moons"])
    with pytest.raises(TypeError, match=r'\["id"\]'):
        empty.stream("id")


# ---- history ----


def test_history_status_undo_and_reset(empty: qn.Bundle) -> None:
    empty.put("one", {"id": [1]})
    empty.put("two", {"id": [2]})
    status = empty.status()
    assert (status.version, [operation.operation for operation in status.operations]) == (0, ["put", "put"])
    assert [change["location"] for change in status.changes] == ["one", "two"]
    assert empty.undo() == 1
    assert empty.to_polars()["id"].to_list() == [1]
    before = datetime.datetime.now(datetime.UTC)
    assert empty.commit("first load") == 1
    empty.put("two", {"id": [2]})
    empty.put("three", {"id": [3]})
    assert empty.reset() == 2
    assert empty.status().is_empty() and empty.undo() == 0
    assert empty.commit("nothing") == 1, "nothing pending: no version"

    created, load = empty.history()
    assert (created.version, load.version, load.message) == (0, 1, "first load")
    assert load.previous == created.hash and len(load.hash) == 64
    assert before <= load.timestamp <= datetime.datetime.now(datetime.UTC)
    assert [(change["op"], change["location"]) for change in load.changes] == [("add", "one")]
    assert empty.history(1) == [load] and empty.history(0, 0) == [created]


def test_status_reads_as_a_table(empty: qn.Bundle) -> None:
    assert repr(empty.status()) == "version 0, nothing pending"
    empty.put("inner\x1b[2J", {"id": [1, 2]})
    empty.put("far away " * 10, {"id": range(1500)}, pack="days")
    empty.set_config("shop.secret", "hunter22", store=True)
    empty.remove("inner\x1b[2J")
    assert str(empty.status()) == repr(empty.status())
    assert str(empty.status()).splitlines() == [
        "version 0, pending:",
        "operation   change  of                                                         rows",
        r"put         add     base: inner\x1b[2J                                            2",
        "put         add     days: far away far away far away far away far away far …  1,500",
        "set_config  set     config shop.secret",
        r"remove      remove  base: inner\x1b[2J",
    ]
    for number in range(20):
        empty.put(f"more {number}", {"id": [number]})
    lines = str(empty.status()).splitlines()
    assert (len(lines), lines[-1]) == (23, "… 4 more")
    assert lines[21].split() == ["put", "add", "base:", "more", "15", "1"]
    assert "hunter22" not in repr(empty.status().operations)


def test_history_reads_as_a_table() -> None:
    base = {"hash": "0123456789abcdef" * 4, "previous": "", "timestamp": 1_700_000_000_000_000}
    add = {"op": "add", "pack": "base", "location": "x"}
    source = {"op": "set", "kind": "source", "name": "1", "value": {"arguments": {"password": "hunter22"}}}
    found = history_of(
        json.dumps(
            [
                {**base, "version": 0, "message": "", "changes": []},
                {**base, "version": 1, "message": "two\nlines", "changes": [source, add, add]},
            ]
        )
    )
    assert (
        repr(found)
        == str(found)
        == "\n".join(
            [
                "version  time (UTC)           hash          changes              message",
                "      0  2023-11-14 22:13:20  0123456789ab  nothing changed",
                r"      1  2023-11-14 22:13:20  0123456789ab  1 set source, 2 add  two\nlines",
            ]
        )
    )
    assert isinstance(found, list) and repr(found[1:]).splitlines()[1:] == repr(found).splitlines()[2:]
    assert "hunter22" not in repr(found[1]) and found[1].changes[0] == source
    many = history_of(
        json.dumps([{**base, "version": number, "message": "m", "changes": []} for number in range(1020)])
    )
    lines = repr(many).splitlines()
    assert (len(lines), lines[1], lines[2][:7], lines[-1][:7]) == (22, "… 1,000 older", "   1000", "   1019")
    assert repr(many[:0]) == "no versions"


@pytest.mark.trace("B14")
def test_any_version_can_be_opened_and_reverted_to(empty: qn.Bundle) -> None:
    empty.put("planets", PLANETS)
    empty.commit("two planets")
    empty.put("planets", PLANETS.head(1), replace=True)
    empty.commit("one planet")
    entry = empty.history()[1]
    when = empty.history()[2].timestamp - datetime.timedelta(microseconds=1)
    for version in (1, "1", entry.hash[:12], entry.hash, entry.timestamp, when, when.isoformat()):
        with qn.open(empty.path, version) as then:
            assert (then.version, then.num_rows) == (1, 2), version
            with pytest.raises(qn.ConfigurationError):
                then.put("more", PLANETS)
    assert empty.revert(1) == 3
    assert_frame_equal(empty.to_polars(), PLANETS)
    assert [block.location for block in empty.files()] == [block.location for block in empty.files(1)] == ["planets"]
    assert empty.files(2)[0].rows == 1
    with pytest.raises(qn.QanatError, match="99"):
        qn.open(empty.path, 99)
    with pytest.raises(qn.ArgumentError, match="time zone"):
        qn.open(empty.path, datetime.datetime(2026, 1, 1))
    with pytest.raises(TypeError, match="a version is"):
        qn.open(empty.path, True)


@pytest.mark.trace("B14")
def test_two_writers(empty: qn.Bundle) -> None:
    with qn.open(empty.path) as other:
        empty.put("one", {"id": [1]})
        other.put("two", {"id": [2]})
        assert other.commit("two") == 1
        assert empty.commit("one") == 2, "rebased: they touched different locations"
        assert sorted(empty.to_polars()["id"].to_list()) == [1, 2]

        empty.put("three", {"id": [3]})
        other.refresh()
        other.put("three", {"id": [33]})
        assert other.commit("three") == 3
        with pytest.raises(qn.ConflictError, match="three"):
            empty.commit("three too")
        assert not empty.status().is_empty(), "what lost stays pending"
        empty.reset()
        assert empty.refresh() == 3
        assert sorted(empty.to_polars()["id"].to_list()) == [1, 2, 33]
    assert empty.verify() == []


def test_verify_names_what_is_damaged(empty: qn.Bundle) -> None:
    empty.put("planets", PLANETS)
    empty.commit("planets")
    assert empty.verify() == []
    (block,) = empty.files()
    assert block.path is not None
    data = bytearray(Path(block.path).read_bytes())
    data[len(data) // 2] ^= 1
    Path(block.path).write_bytes(data)
    (problem,) = empty.verify()
    assert block.sha256 in problem.object + problem.expected and problem.found


def test_a_bundle_that_cannot_be_opened_can_be_verified(empty: qn.Bundle) -> None:
    empty.put("planets", PLANETS)
    empty.commit("planets")
    path = empty.path
    empty.close()
    assert qn.verify(path) == []
    for file in path.rglob("*"):  # all of the log, whatever speeds its reading up among it
        if file.is_file() and file.suffix != ".parquet":
            file.write_bytes(b"{" + file.read_bytes()[1:-1].replace(b"planets", b"plan\xffts"))
    with pytest.raises(qn.DataError) as told:
        qn.open(path)
    assert told.value.hint == "qn.verify(path) lists all that is wrong with the bundle"
    assert f"hint: {told.value.hint}" in told.value.__notes__
    assert qn.verify(path) != []


def test_gc_takes_what_no_version_names(empty: qn.Bundle) -> None:
    empty.put("planets", PLANETS)
    empty.commit("planets")
    empty.put("gone", PLANETS.head(1))
    empty.reset()
    assert empty.gc().removed == 0, "too young"
    found = empty.gc(min_age=0)
    assert found.removed == 1 and found.bytes > 0
    assert_frame_equal(empty.to_polars(), PLANETS)
    assert empty.verify() == []


def test_files_can_be_read_by_anyone(empty: qn.Bundle) -> None:
    empty.put("planets", PLANETS)
    empty.commit("planets")
    (block,) = empty.files()
    assert (block.location, block.format, block.rows, block.commit) == ("planets", "parquet", 2, 1)
    assert block.path is not None and Path(block.path).stat().st_size == block.bytes
    assert_frame_equal(pl.read_parquet(block.path), PLANETS)


# ---- configuration and connectors ----


def test_the_order_of_configuration(empty: qn.Bundle, monkeypatch: pytest.MonkeyPatch) -> None:
    empty.set_config("shop.region", "stored", store=True)
    empty.commit("a setting")
    with qn.open(empty.path) as bundle:
        assert bundle.config("shop.region") == "stored"
        monkeypatch.setenv("QANAT_SHOP_REGION", "environment")
        assert bundle.config("shop.region") == "environment"
    with qn.open(empty.path, config={"shop": {"region": "passed"}}) as bundle:
        assert bundle.config("shop.region") == "passed"
        bundle.set_config("shop.region", "set")
        assert bundle.config("shop.region") == "set"
        assert bundle.config("shop.other") is None
        bundle.set_config("shop.number", 5)
        bundle.set_config("shop.flag", True)
        assert (bundle.config("shop.number"), bundle.config("shop.flag")) == ("5", "true")
    with pytest.raises(TypeError, match=r"shop\.region must be a str"):
        qn.open(empty.path, config={"shop": {"region": 1.5}})  # type: ignore[dict-item]
    with pytest.raises(TypeError, match='"section"'):
        qn.open(empty.path, config={"shop": "x"})  # type: ignore[dict-item]


def test_connectors_are_imported_renamed_and_dropped(empty: qn.Bundle, shelf: Any) -> None:
    library = shelf.root.parent / "weather.so"
    library.write_bytes(b"\x7fELF")
    empty.import_connector("acme.weather", f"ffi::{library}", platform="linux/amd64")
    empty.import_temp_connector("test.shop", "python::shop:Shop")
    with pytest.raises(qn.ConfigurationError, match="python"):
        empty.import_connector("test.kept", "python::shop:Shop")
    with pytest.raises(qn.ConfigurationError, match="not found"):
        empty.import_connector("acme.missing", "ffi::./missing.so")
    with pytest.raises(qn.ConfigurationError, match="dot"):
        empty.import_temp_connector("nodot", "python::shop:Shop")
    empty.rename_connector("acme.weather", "acme.sky")
    empty.rename_temp_connector("test.shop", "test.store")
    assert {one["name"] for one in empty.describe().connectors} == {"acme.sky", "test.store"}
    empty.import_temp_connector("test.shop", "python::shop:Shop")
    with pytest.raises(qn.ConfigurationError, match=r"test\.store"):
        empty.rename_temp_connector("test.shop", "test.store")
    for drop, name in ((empty.drop_connector, "acme.sky"), (empty.drop_temp_connector, "test.store")):
        drop(name)
        with pytest.raises(qn.ConfigurationError, match=name.replace(".", r"\.")):
            drop(name)
    with pytest.raises(qn.ConfigurationError, match=r"unknown\.name"):
        empty.create_source("unknown.name")
    empty.import_temp_connector("test.absent", "python::no_such_module_anywhere:Shop")
    with pytest.raises(qn.ConfigurationError, match=r'"test\.absent": module "no_such_module_anywhere" not found'):
        empty.create_source("test.absent")


def test_sources_are_kept_and_their_secrets_are_not_shown(empty: qn.Bundle, shelf: Any) -> None:
    empty.import_temp_connector("test.shop", "python::shop:Shop")
    made = empty.create_source("test.shop", {**shelf.arguments, "password": "hunter2"})
    (source,) = empty.describe().sources
    assert (source["id"], source["arguments"]["password"]) == (made, "hunter2")
    for shown in (repr(empty), repr(empty.describe()), str(empty)):
        assert "hunter2" not in shown
    empty.drop_source(made)
    assert empty.describe().sources == []


# ---- the object ----


def test_a_closed_bundle_says_so(empty: qn.Bundle) -> None:
    assert repr(empty) == f"<qanat.Bundle {str(empty.path)!r} at version 0>"
    empty.close()
    empty.close()
    assert empty.closed and repr(empty) == f"<qanat.Bundle {str(empty.path)!r} closed>"
    for call in (empty.status, empty.commit, empty.to_polars, lambda: empty.version, lambda: empty.num_rows):
        with pytest.raises(qn.ConnectionClosedError, match="closed"):
            call()


def test_leaving_the_block_drops_what_is_pending(tmp_path: Path) -> None:
    with qn.create(tmp_path / "data") as bundle:
        bundle.put("planets", PLANETS)
    with qn.open(tmp_path / "data") as bundle:
        assert bundle.num_rows == 0 and bundle.version == 0


def test_create_and_open_refuse_what_they_should(tmp_path: Path, empty: qn.Bundle) -> None:
    with pytest.raises(qn.ConfigurationError):
        qn.create(empty.path)
    with pytest.raises(qn.ConfigurationError):
        qn.open(tmp_path / "nothing here")
    with pytest.raises(TypeError, match="a path must be a str"):
        qn.open(b"data")  # type: ignore[arg-type]


def test_a_second_thread_is_refused(empty: qn.Bundle) -> None:
    inside, go_on = threading.Event(), threading.Event()

    class Slow:
        def __arrow_c_stream__(self, requested_schema: object = None) -> Any:
            def batches() -> Any:
                inside.set()
                assert go_on.wait(30)
                yield pa.record_batch({"id": [1]})

            schema = pa.schema([("id", pa.int64())])
            return pa.RecordBatchReader.from_batches(schema, batches()).__arrow_c_stream__()

    thread = threading.Thread(target=empty.put, args=("slow", Slow()))
    thread.start()
    try:
        assert inside.wait(30)
        for call in (empty.status, lambda: empty.commit("x"), empty.close):
            with pytest.raises(qn.ConnectionBusyError, match="one at a time"):
                call()
    finally:
        go_on.set()
        thread.join()
    assert empty.num_rows == 1


def test_an_error_of_the_data_that_is_put_is_its_own(empty: qn.Bundle) -> None:
    def batches() -> Any:
        yield pa.record_batch({"id": [1]})
        raise RuntimeError("the well is dry")

    reader = pa.RecordBatchReader.from_batches(pa.schema([("id", pa.int64())]), batches())
    with pytest.raises(qn.QanatError, match="the well is dry"):
        empty.put("broken", reader)
    assert empty.status().is_empty() and empty.num_rows == 0


@pytest.mark.parametrize(
    ("module", "call", "extra"),
    [
        ("pyarrow", lambda b: b.to_pyarrow(), "qanat[bundles]"),
        ("pandas", lambda b: b.to_pandas(), "qanat[pandas]"),
        ("duckdb", lambda b: b.sql("select 1"), "qanat[sql]"),
        ("pyarrow", lambda b: b.mirror("delta"), "qanat[bundles]"),
    ],
)
def test_what_is_not_installed_is_named(
    empty: qn.Bundle, module: str, call: Any, extra: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, module, None)
    with pytest.raises(qn.NotSupportedError, match=f"needs {module}, which is not installed") as raised:
        call(empty)
    assert extra in str(raised.value.hint)


def test_importing_qanat_stays_light() -> None:
    code = "import sys, qanat; print(sorted({'pyarrow', 'polars', 'duckdb', 'qanat.bundle'} & {*sys.modules}))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
    code = "import sys, qanat; qanat.open; print(sorted({'polars', 'duckdb', 'pandas'} & {*sys.modules}))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


@pytest.mark.trace("C24")
def test_the_calls_have_the_parameters_that_are_promised() -> None:
    def parameters(function: Any) -> dict[str, Any]:
        given = inspect.signature(function).parameters.values()
        return {one.name: one.default for one in given if one.name != "self"}

    empty = inspect.Parameter.empty
    assert parameters(qn.create) == {"path": empty, "config": None}
    assert parameters(qn.open) == {"path": empty, "version": None, "config": None}
    assert parameters(qn.Bundle.create_source) == {
        "name": empty,
        "arguments": None,
        "pack": "base",
        "fetch": False,
        "save_as": "parquet",
    }
    fetch = parameters(qn.Bundle.fetch)
    promised = {"pack": "base", "mode": "add", "dry_run": False, "progress": False, "on_error": "raise"}
    assert dict(list(fetch.items())[:5]) == promised
    assert parameters(qn.Bundle.import_connector) == {"name": empty, "uri": empty, "platform": None}
    assert parameters(qn.Bundle.stream) == {"columns": None, "pack": "base"}
    assert list(parameters(qn.Bundle.mirror).items()) == [("kind", empty), ("pack", "base")]
