"""Fetching: modes, results, failures, progress, both runtimes."""

from __future__ import annotations

import io
import re
import sys
from typing import Any

import pytest

import qanat as qn
from qanat.bundle import FetchProgress

ONE = {"id": [1, 2], "name": ["a", "b"]}
TWO = {"id": [3], "name": ["c"]}


def ids(bundle: qn.Bundle) -> list[int]:
    return sorted(bundle.to_polars()["id"].to_list())


def test_add_takes_what_is_new(bundle: qn.Bundle, shelf: Any) -> None:
    shelf.put("one", ONE)
    results = bundle.fetch("base", "add")
    assert [result.connector for result in results] == ["test.shop"]
    assert (results.added, results.replaced, results.removed, results.failed) == (["one"], [], [], [])
    assert (results.rows, results.total_count(), results.is_empty()) == (2, 1, False)
    assert results[0].pack == "base" and results[0].source_id and results[0].seconds > 0 and results[0].bytes > 0
    assert bundle.fetch("base", "add").is_empty()
    shelf.put("two", TWO)
    shelf.put("one", {"id": [9], "name": ["z"]}, version="v2")
    assert bundle.fetch().added == ["two"]
    assert ids(bundle) == [1, 2, 3]


def test_update_takes_what_has_changed(native: qn.Bundle, shelf: Any) -> None:
    shelf.put("one", ONE)
    shelf.put("two", TWO)
    native.fetch()
    shelf.put("one", {"id": [9], "name": ["z"]}, version="v2")
    results = native.fetch(mode="update")
    assert (results.added, results.replaced, results.removed) == ([], ["one"], [])
    assert ids(native) == [3, 9]


def test_update_without_a_version_goes_by_the_content(native: qn.Bundle, shelf: Any) -> None:
    shelf.put("one", ONE, version="")
    shelf.put("two", TWO, version="")
    native.fetch()
    shelf.put("two", {"id": [4], "name": ["d"]}, version="")
    results = native.fetch(mode="update")
    assert (results.added, results.replaced) == ([], ["two"])
    assert ids(native) == [1, 2, 4]


def test_sync_removes_what_is_gone(native: qn.Bundle, shelf: Any) -> None:
    shelf.put("one", ONE)
    shelf.put("two", TWO)
    native.fetch()
    shelf.drop("one")
    assert native.fetch(mode="update").is_empty()
    results = native.fetch(mode="sync")
    assert (results.added, results.replaced, results.removed) == ([], [], ["one"])
    assert ids(native) == [3]


@pytest.mark.trace("C5")
def test_discover_is_told_what_is_attached(bundle: qn.Bundle, shelf: Any) -> None:
    shelf.put("one", ONE)
    bundle.fetch()
    shelf.put("two", TWO)
    bundle.fetch()
    bundle.fetch()
    assert [call["attached"] for call in shelf.said("discover")] == [[], ["one"], ["one", "two"]]


@pytest.mark.trace("C25")
def test_arguments_reach_every_method(bundle: qn.Bundle, shelf: Any) -> None:
    shelf.put("one", ONE, url="http://127.0.0.1:9/one.parquet")
    bundle.fetch()
    for call in ("discover", "data", "stable_url"):
        assert [said["kwargs"] for said in shelf.said(call)] == [shelf.arguments], call


@pytest.mark.trace("C25")
def test_both_ways_of_naming_the_runtime(empty: qn.Bundle, shelf: Any) -> None:
    shelf.put("one", ONE)
    empty.import_temp_connector("test.prefix", "python::shop:Shop")
    empty.import_temp_connector("test.apart", "shop:Shop", runtime="python")
    empty.import_temp_connector("test.script", "shop.py", runtime="ipc")
    for name in ("test.prefix", "test.apart", "test.script"):
        empty.create_source(name, {**shelf.arguments, "as": name}, pack=name)
        assert empty.fetch(name).added == ["one"]
    assert {call["kwargs"]["as"] for call in shelf.said("data")} == {"test.prefix", "test.apart", "test.script"}
    with pytest.raises(qn.ArgumentError, match="'ipc'.*names 'python'"):
        empty.import_temp_connector("test.both", "python::shop:Shop", runtime="ipc")
    with pytest.raises(qn.ArgumentError, match="runtime must be one of python, ipc"):
        empty.import_temp_connector("test.none", "shop:Shop", runtime="perl")


def test_a_location_without_data_is_no_failure(native: qn.Bundle, shelf: Any) -> None:
    shelf.put("none", None)
    shelf.put("one", ONE)
    results = native.fetch()
    assert results.failed == [] and "one" in results.added
    assert ids(native) == [1, 2]


def test_dry_run_changes_nothing(native: qn.Bundle, shelf: Any) -> None:
    shelf.put("one", ONE)
    native.fetch()
    native.commit("one")
    shelf.put("one", ONE, version="v2")
    shelf.put("two", TWO)
    results = native.fetch(mode="sync", dry_run=True)
    assert results.dry_run and (results.added, results.replaced) == (["two"], ["one"])
    assert native.status().is_empty() and native.num_rows == 2
    assert [call["location"] for call in shelf.said("data")] == ["one"]


@pytest.mark.trace("B9", "C28")
def test_one_that_fails_does_not_sink_the_rest(bundle: qn.Bundle, shelf: Any) -> None:
    shelf.put("bad", error="Database connection failed")
    shelf.put("one", ONE)
    with pytest.raises(qn.ConnectorError, match="Database connection failed") as raised:
        bundle.fetch()
    assert 'connector "test.shop"' in str(raised.value) and 'location "bad"' in str(raised.value)
    results = raised.value.results
    assert results is not None and results.added == ["one"]
    ((location, error),) = results.failed
    assert (location, error) == (results.failed[0].location, results.failed[0].error)
    assert location == "bad" and "Database connection failed" in error
    assert ids(bundle) == [1, 2]


@pytest.mark.trace("B9")
def test_what_failed_is_kept_and_driven_again(native: qn.Bundle, shelf: Any) -> None:
    shelf.put("bad", error="not today")
    shelf.put("one", ONE)
    results = native.fetch(on_error="quarantine")
    assert (results.added, [failure.location for failure in results.failed]) == (["one"], ["bad"])
    native.commit("one, and one to retry")
    (failure,) = native.failures()
    assert (failure.location, failure.pack, failure.attempts) == ("bad", "base", 1)
    assert "not today" in failure.error and failure.first == failure.last and failure.last.tzinfo is not None

    with qn.open(native.path) as other:
        assert [one.location for one in other.failures()] == ["bad"]
    assert [one.location for one in native.retry(on_error="quarantine").failed] == ["bad"]
    assert [one.attempts for one in native.failures()] == [2]
    shelf.put("bad", TWO)
    shelf.put("new", {"id": [7], "name": ["g"]})
    assert native.retry().added == ["bad"], "only what failed is tried again"
    assert native.failures() == [] and ids(native) == [1, 2, 3]


@pytest.mark.trace("B9")
def test_what_is_reported_no_more_is_told_by_a_retry(native: qn.Bundle, shelf: Any) -> None:
    for name in ("here", "gone too", "gone"):
        shelf.put(name, error="not today")
    first = native.fetch(on_error="quarantine")
    assert (len(first.failed), first.vanished) == (3, [])
    shelf.drop("gone")
    shelf.drop("gone too")
    dry = native.fetch(dry_run=True)
    assert sorted(dry.vanished) == ["gone", "gone too"] and len(native.failures()) == 3
    results = native.retry(on_error="quarantine")
    assert [failure.location for failure in results.failed] == ["here"]
    assert sorted(results.vanished) == sorted(results[0].vanished) == ["gone", "gone too"]
    assert results.is_empty(), "no location of the pack changed"
    assert [failure.location for failure in native.failures()] == ["here"]
    assert native.retry(on_error="quarantine").vanished == []


@pytest.mark.trace("B9", "B15")
def test_a_retry_takes_the_new_version_of_what_has_not_changed(native: qn.Bundle, shelf: Any) -> None:
    shelf.put("one", ONE)
    native.fetch()
    shelf.put("one", error="not today", version="v2")
    native.fetch(mode="update", on_error="quarantine")
    shelf.put("one", ONE, version="v2")
    assert native.retry().replaced == ["one"]
    assert [block.version for block in native.files()] == ["v2"]
    assert native.failures() == [] and native.fetch(mode="update").is_empty()


def test_a_failing_discovery_is_a_connector_error(bundle: qn.Bundle, shelf: Any) -> None:
    shelf.put("x", discover_error="the catalogue is closed")
    with pytest.raises(qn.ConnectorError, match="the catalogue is closed"):
        bundle.fetch()
    assert bundle.schema().names == []


@pytest.mark.trace("C26")
def test_a_process_that_dies_harms_its_own_location_only(empty: qn.Bundle, shelf: Any) -> None:
    source = (shelf.root.parent / "shop.py").read_text()
    dying = 'if "die" in one:\n            import os\n\n            os.kill(os.getpid(), 9)\n        if "error" in one:'
    (shelf.root.parent / "dying.py").write_text(source.replace('if "error" in one:', dying))
    empty.import_temp_connector("test.shop", "ipc::dying.py")
    empty.create_source("test.shop", shelf.arguments)
    shelf.put("a", ONE)
    shelf.put("b", die=True)
    shelf.put("c", TWO)
    results = empty.fetch(on_error="quarantine", parallel=1)
    assert (sorted(results.added), [failure.location for failure in results.failed]) == (["a", "c"], ["b"])
    assert ids(empty) == [1, 2, 3]


@pytest.mark.trace("C2")
def test_external_code_runs_only_where_it_is_allowed(
    tmp_path: Any, shelf: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    shelf.put("one", ONE)
    monkeypatch.delenv("QANAT_SYSTEM_ALLOW_EXTERNAL_CODE", raising=False)
    with qn.create(tmp_path / "walled") as bundle:
        for name, uri in (("test.native", "python::shop:Shop"), ("test.script", "ipc::shop.py")):
            bundle.import_temp_connector(name, uri)
            with pytest.raises(qn.ForbiddenError, match="External code execution is disabled") as raised:
                bundle.create_source(name, shelf.arguments)
            assert "allow_external_code" in str(raised.value.hint)
        assert not (shelf.root / "said").exists()
        with pytest.raises(qn.ConfigurationError):
            bundle.set_config("system.allow_external_code", "true", store=True)
        monkeypatch.setenv("QANAT_SYSTEM_ALLOW_EXTERNAL_CODE", "true")
        bundle.create_source("test.script", shelf.arguments)
        assert bundle.fetch().added == ["one"]


@pytest.mark.trace("C7")
def test_a_stable_url_is_recorded_with_a_copy(native: qn.Bundle, shelf: Any) -> None:
    shelf.put("one", ONE, url="http://127.0.0.1:9/users-v2.parquet")
    native.fetch()
    (block,) = native.files()
    assert (block.origin, block.url) == ("http://127.0.0.1:9/users-v2.parquet", None) and block.path is not None
    native.commit("one")
    with qn.open(native.path) as again:
        assert again.files() == native.files()
        assert again.history()[-1].changes[-1]["origin"] == block.origin
    assert ids(native) == [1, 2]


@pytest.mark.trace("C7", "C8")
def test_a_reference_is_read_where_it_is(native: qn.Bundle, shelf: Any) -> None:
    import polars as pl

    there = shelf.root.parent / "outside.parquet"
    pl.DataFrame(ONE).write_parquet(there)
    shelf.put("one", url=there.as_uri(), must_copy=False)
    assert native.fetch().added == ["one"]
    assert shelf_calls(shelf, "data") == 0
    (block,) = native.files()
    assert block.url == there.as_uri()
    assert not (native.path / "data").exists() or not list((native.path / "data").rglob("*.parquet"))
    assert ids(native) == [1, 2]


def shelf_calls(shelf: Any, call: str) -> int:
    return len(shelf.said(call))


def test_progress_is_called_and_can_end_the_fetch(native: qn.Bundle, shelf: Any) -> None:
    shelf.put("one", ONE)
    shelf.put("two", TWO)
    heard: list[FetchProgress] = []
    native.fetch(progress=heard.append)
    assert (heard[-1].locations, heard[-1].locations_total, heard[-1].rows) == (2, 2, 3)
    assert heard[-1].source == "test.shop" and heard[-1].bytes > 0

    class EnoughError(Exception):
        pass

    def enough(_now: FetchProgress) -> None:
        raise EnoughError

    shelf.put("slow", sleep=0.01)
    with pytest.raises(EnoughError):
        native.fetch(progress=enough)
    assert ids(native) == [1, 2, 3]


def test_plain_lines_without_a_terminal(native: qn.Bundle, shelf: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    heard = io.StringIO()
    monkeypatch.setattr(sys, "stderr", heard)
    shelf.put("one", ONE)
    native.fetch(progress=True)
    (line,) = heard.getvalue().splitlines()
    assert re.fullmatch(r"test\.shop: 1 of 1 locations, 2 rows, [\d.]+ K?i?B, \d+\.\d s", line)


def test_a_bar_on_a_terminal(native: qn.Bundle, shelf: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    class Terminal(io.StringIO):
        def isatty(self) -> bool:
            return True

    heard = Terminal()
    monkeypatch.setattr(sys, "stderr", heard)
    monkeypatch.setenv("TERM", "xterm")
    shelf.put("one", ONE)
    native.fetch(progress=True)
    assert "test.shop" in heard.getvalue() and "1/1" in heard.getvalue()


def test_fetch_all_runs_the_sources_of_all_packs(empty: qn.Bundle, shelf: Any) -> None:
    shelf.put("one", ONE)
    empty.import_temp_connector("test.shop", "python::shop:Shop")
    first = empty.create_source("test.shop", shelf.arguments)
    second = empty.create_source("test.shop", shelf.arguments, pack="other", save_as="arrow")
    results = empty.fetch_all("add")
    assert {result.source_id: result.added for result in results} == {first: ["one"], second: ["one"]}
    assert (results.rows, results.total_count(), results.pack, results.connector) == (4, 2, None, "test.shop")
    assert empty.num_rows == empty.count_rows("other") == 2
    assert sorted(empty.packs()) == ["base", "other"]
    assert [block.format for block in empty.files(pack="other")] == ["arrow"]


def test_create_source_can_fetch_at_once(empty: qn.Bundle, shelf: Any) -> None:
    shelf.put("one", ONE)
    empty.import_temp_connector("test.shop", "python::shop:Shop")
    empty.create_source("test.shop", shelf.arguments, fetch=True)
    assert empty.num_rows == 2


def test_arguments_of_fetch_are_checked(native: qn.Bundle) -> None:
    with pytest.raises(qn.ArgumentError, match="mode must be one of add, update, sync, not 'all'"):
        native.fetch("base", "all")  # type: ignore[arg-type]
    with pytest.raises(qn.ArgumentError, match="on_error must be one of raise, quarantine"):
        native.fetch(on_error="ignore")  # type: ignore[arg-type]
    with pytest.raises(qn.ArgumentError, match="parallel must be at least 1"):
        native.fetch(parallel=0)


def test_results_of_several_sources_are_summed() -> None:
    from qanat.bundle import FailedLocation, FetchResult, FetchResults

    results = FetchResults(
        [
            FetchResult("a.b", "1", "base", added=["x"], rows=2, bytes=10, seconds=0.5, rows_after=7),
            FetchResult("a.c", "2", "base", replaced=["y"], removed=["z"], rows=1, bytes=5, seconds=0.25, rows_after=7),
            FetchResult("a.c", "3", "other", failed=[FailedLocation("w", "no")], rows_after=1),
        ]
    )
    assert (results.added, results.replaced, results.removed) == (["x"], ["y"], ["z"])
    assert (results.rows, results.bytes, results.seconds, results.total_count()) == (3, 15, 0.75, 3)
    assert results.failed == [FailedLocation("w", "no")]
    assert results.rows_after == 8, "the rows of a pack count once"
    assert (results.connector, results.pack, results.source_id) == (None, None, None)
    assert FetchResults().is_empty() and FetchResults().rows_after is None


@pytest.mark.trace("B9")
def test_a_source_that_cannot_say_what_it_has_is_set_aside(native: qn.Bundle, shelf: Any) -> None:
    shelf.put("x", discover_error="the catalogue is closed")
    native.import_temp_connector("test.good", "python::shop:Shop")
    other = type(shelf)(shelf.root.parent / "other")
    other.put("one", ONE)
    native.create_source("test.good", other.arguments)
    with pytest.raises(qn.ConnectorError, match="the catalogue is closed") as raised:
        native.fetch()
    assert raised.value.results is not None and raised.value.results.added == ["one"]
    assert [failure.location for failure in raised.value.results.failed] == [""]
    results = native.fetch(on_error="quarantine")
    assert [failure.location for failure in results.failed] == [""]
    native.commit("what there was")
    (failure,) = native.failures()
    assert (failure.location, failure.attempts) == ("", 2) and "the catalogue is closed" in failure.error
    shelf.drop("x")
    shelf.put("two", TWO)
    again = native.retry()
    assert again.added == ["two"] and again.vanished == [], "the source itself is no location"
    assert native.failures() == [] and ids(native) == [1, 2, 3]


@pytest.mark.parametrize(
    "uri", ["files", "ipc::shop.py", f"ipc::{sys.executable} -u shop.py"], ids=["files", "script", "command"]
)
def test_relative_paths_begin_where_the_source_was_made(
    empty: qn.Bundle, shelf: Any, uri: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    here = shelf.root.parent
    (here / "two" / "shelf").mkdir(parents=True)
    (here / "two" / "shelf" / "wrong.json").write_text('{"rows": {"id": [99]}}')
    (here / "two" / "shop.py").write_text("raise SystemExit('the wrong one')")
    if uri == "files":
        (shelf.root / "one.json").write_text('{"id": 1}\n')
        source = empty.create_source("files", {"path": "shelf", "format": "jsonl"})
    else:
        shelf.put("one", ONE)
        empty.import_connector("test.kept", uri)
        empty.import_temp_connector("test.shop", uri)
        source = empty.create_source("test.shop", {"root": "shelf"})
        empty.create_source("test.kept", {"root": "shelf"}, pack="kept")
    monkeypatch.chdir(here / "two")
    assert len(empty.fetch_all().added) == (1 if uri == "files" else 2)
    assert empty.to_polars()["id"].to_list()[0] == 1
    (described,) = (one for one in empty.describe().sources if one["id"] == source)
    assert described["folder"] == str(here)


def test_relative_paths_of_a_folder_that_is_gone_begin_in_the_current_one(
    empty: qn.Bundle, tmp_path: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("one", "two"):
        (tmp_path / name / "data").mkdir(parents=True)
        (tmp_path / name / "data" / f"{name}.jsonl").write_text('{"id": 1}\n')
    monkeypatch.chdir(tmp_path / "one")
    empty.create_source("files", {"path": "data"})
    with pytest.raises(qn.ConfigurationError, match="is the same"):
        empty.create_source("files", {"path": "data"})
    monkeypatch.chdir(tmp_path / "two")
    (tmp_path / "one").rename(tmp_path / "elsewhere")
    assert empty.fetch().added == ["two.jsonl"]
    empty.create_source("files", {"path": "data"})  # another folder: another source


def test_a_conflict_of_types_says_what_to_do(empty: qn.Bundle) -> None:
    empty.put("a", [{"id": 1}])
    empty.put("b", [{"id": "x"}])
    with pytest.raises(qn.QanatError, match="no type holds both exactly") as raised:
        empty.schema()
    assert "csv.types" in str(raised.value.hint)


@pytest.mark.trace("C2")
def test_what_may_not_run_is_no_failure_of_its_source(empty: qn.Bundle, shelf: Any) -> None:
    (shelf.root / "one.json").write_text('{"id": 1}\n')
    empty.import_connector("test.shop", "ipc::shop.py")
    empty.create_source("test.shop", shelf.arguments)
    empty.create_source("files", {"path": str(shelf.root), "format": "jsonl"})
    empty.commit("sources")
    with qn.open(empty.path, config={"system": {"allow_external_code": "false"}}) as walled:
        with pytest.raises(qn.ForbiddenError, match="^External code execution is disabled"):
            walled.fetch(on_error="quarantine")
        assert walled.failures() == [] and ids(walled) == [1]
