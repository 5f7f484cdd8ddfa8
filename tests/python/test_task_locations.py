"""Tasks whose source has locations, a connector or a bundle, and tasks whose sink is a bundle."""

from __future__ import annotations

import json
import os
import random
import re
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from types import FrameType, ModuleType
from typing import Any

import polars as pl
import pyarrow as pa
import pytest

import qanat as qn
from qanat_sdk import Connector, Location

CONNECTOR = '''
import json
import pathlib

import pyarrow as pa

from qanat_sdk import Connector, Location, RetryableError


class Depot(Connector):
    """Locations as depot.json says; every call of data() is noted in the file calls."""

    capabilities = ("stable_order",)
    folder = pathlib.Path(__file__).parent

    def described(self):
        return json.loads((self.folder / "depot.json").read_text())

    def discover(self, attached_locations, **kwargs):
        return [Location(name, version=one["version"]) for name, one in self.described().items()]

    def data(self, location, *, _skip_rows=0, **kwargs):
        one = self.described()[location.location]
        with (self.folder / "calls").open("a") as calls:
            calls.write(json.dumps([location.location, location.version, _skip_rows]) + "\\n")
        if one["rows"] is None:
            return None
        return self.batches(location.location, one, _skip_rows)

    def batches(self, name, one, skip):
        for first in range(skip, max(one["rows"], 1), 100):
            if one.get("fails_after") is not None and first >= one["fails_after"]:
                raise ValueError(f"the line to {name} broke")
            numbers = list(range(first, min(first + 100, one["rows"])))
            columns = {"place": pa.array([name] * len(numbers), pa.string()), "number": pa.array(numbers, pa.int64())}
            for name in one.get("without", ()):
                del columns[name]
            for name in one.get("extra", ()):
                columns[name] = pa.array(numbers, pa.int64())
            yield pa.record_batch(columns)


class Unsteady(Depot):
    capabilities = ()

    def data(self, location, **kwargs):
        return super().data(location)
'''


class Depot:
    """A folder with the connector, what it has, and what it was asked."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        (folder / "depot.py").write_text(CONNECTOR, encoding="utf-8")
        self.has: dict[str, dict[str, Any]] = {}

    def put(self, name: str, rows: int | None, version: str = "v1", **more: Any) -> None:
        self.has[name] = {"version": version, "rows": rows, **more}
        (self.folder / "depot.json").write_text(json.dumps(self.has), encoding="utf-8")

    def calls(self) -> list[list[Any]]:
        """What data() was asked for since the last time."""
        file = self.folder / "calls"
        lines = file.read_text().splitlines() if file.exists() else []
        file.unlink(missing_ok=True)
        return [json.loads(line) for line in lines]

    def rows(self, *names: str) -> list[tuple[str, int]]:
        return sorted((name, number) for name in names for number in range(self.has[name]["rows"] or 0))


@pytest.fixture
def depot(tmp_path: Path) -> Iterator[Depot]:
    yield Depot(tmp_path)
    sys.modules.pop("depot", None)  # each test has a module of its own


def connector_plan(depot: Depot, sink: dict[str, Any] | None = None, **more: Any) -> dict[str, Any]:
    database = {"connection": "b", "table": "t"}
    return {
        "connections": {"b": {"uri": f"sqlite:///{depot.folder / 'sink.db'}"}},
        "task": {"name": "move"},
        "source": {"connector": "python::depot:Depot", "folder": str(depot.folder)},
        "sink": sink or database,
        **more,
    }


def run(plan: dict[str, Any], **options: Any) -> Any:
    return qn.Task(plan).run(allow_external_code=True, **options)


def stored(depot: Depot, table: str = "t") -> list[tuple[str, int]]:
    with qn.connect(f"sqlite:///{depot.folder / 'sink.db'}") as db:
        return [tuple(row) for row in db.execute(f"select place, number from {table} order by place, number").rows()]


# ---- a connector into a database -------------------------------------------------------------------------------------


@pytest.mark.parametrize("source", ["python::depot:Depot", "ipc::run.py"])
def test_a_run_moves_what_is_new_and_only_that(depot: Depot, source: str) -> None:
    (depot.folder / "run.py").write_text("from depot import Depot\nfrom qanat_sdk import serve\n\nserve(Depot())\n")
    depot.put("a", 250)
    depot.put("nothing", None)
    depot.put("b", 10)
    plan = connector_plan(depot)
    plan["source"]["connector"] = source
    first = run(plan)
    assert (first.rows, first.commits) == (260, 1)
    assert stored(depot) == depot.rows("a", "b")
    assert [call[0] for call in depot.calls()] == ["a", "nothing", "b"]
    again = run(plan)
    assert (again.rows, again.commits) == (0, 0)
    assert depot.calls() == []
    depot.put("c", 1)
    assert run(plan).rows == 1
    assert depot.calls() == [["c", "v1", 0]]
    assert stored(depot) == depot.rows("a", "b", "c")
    with qn.connect(f"sqlite:///{depot.folder / 'sink.db'}") as db:
        kept = db.execute(
            "select location, version, moved_rows, finished from qanat_locations order by location"
        ).rows()
        assert kept == [("a", "v1", 250, 1), ("b", "v1", 10, 1), ("c", "v1", 1, 1), ("nothing", "v1", 0, 1)]
        row = db.execute("select column_name, value, moved_rows from qanat_checkpoints").row(0)
        assert row == ("(locations)", "4", 261)


def test_nothing_at_all_is_kept_too(depot: Depot) -> None:
    depot.put("nothing", None)
    assert run(connector_plan(depot)).rows == 0
    assert [call[0] for call in depot.calls()] == ["nothing"]
    assert run(connector_plan(depot)).rows == 0
    assert depot.calls() == []


def test_external_code_is_refused_unless_who_runs_the_task_allows_it(
    depot: Depot, monkeypatch: pytest.MonkeyPatch
) -> None:
    depot.put("a", 1)
    monkeypatch.delenv("QANAT_SYSTEM_ALLOW_EXTERNAL_CODE", raising=False)
    with pytest.raises(qn.ForbiddenError, match="External code execution is disabled"):
        qn.Task(connector_plan(depot)).run()
    monkeypatch.setenv("QANAT_SYSTEM_ALLOW_EXTERNAL_CODE", "true")
    assert qn.Task(connector_plan(depot)).run().rows == 1


@pytest.mark.trace("B2")
@pytest.mark.parametrize("sink", ["database", "bundle"])
def test_a_run_resumes_in_the_middle_of_a_location(depot: Depot, sink: str) -> None:
    depot.put("a", 1000, fails_after=650)
    depot.put("b", 50)
    place = {"bundle": str(depot.folder / "kept")} if sink == "bundle" else None
    plan = connector_plan(depot, place, checkpoint={"every_rows": 150})
    task = qn.Task(plan)
    with pytest.raises(qn.ConnectorError, match="the line to a broke"):
        task.run(allow_external_code=True)
    assert task.last is not None
    assert (task.last.rows, task.last.commits) == (600, 4)
    depot.calls()
    depot.put("a", 1000)
    assert run(plan).rows == 450
    assert depot.calls() == [["a", "v1", 600], ["b", "v1", 0]]
    if sink == "bundle":
        with qn.open(depot.folder / "kept") as bundle:
            frame = bundle.to_polars().select("place", "number")
            assert sorted(frame.rows()) == depot.rows("a", "b")
            assert bundle.history()[-1].message.startswith("task move: ")
    else:
        assert stored(depot) == depot.rows("a", "b")


def test_without_a_stable_order_commits_fall_between_locations(depot: Depot) -> None:
    for name in "abc":
        depot.put(name, 100)
    plan = connector_plan(depot, checkpoint={"every_rows": 150})
    plan["source"]["connector"] = "python::depot:Unsteady"
    assert run(plan).commits == 2
    assert stored(depot) == depot.rows("a", "b", "c")


def test_changed_locations_come_again_in_mode_update(depot: Depot) -> None:
    depot.put("a", 10)
    plan = connector_plan(depot, {"connection": "b", "table": "t", "mode": "upsert", "key": ["place", "number"]})
    assert run(plan).rows == 10
    depot.put("a", 12, version="v2")
    assert run(plan).rows == 0
    plan["source"]["mode"] = "update"
    assert run(plan).rows == 12
    assert stored(depot) == depot.rows("a")
    assert run(plan).rows == 0
    del plan["sink"]["key"]
    plan["sink"]["mode"] = "append"
    with pytest.raises(qn.ConfigurationError, match=r"source\.mode update .* sink\.mode append"):
        qn.Task(plan)


def test_a_location_that_changes_behind_its_cut_is_not_mixed(depot: Depot) -> None:
    depot.put("a", 1000, fails_after=300)
    plan = connector_plan(depot, checkpoint={"every_rows": 100})
    with pytest.raises(qn.ConnectorError):
        run(plan)
    depot.put("a", 1000, version="v2")
    with pytest.raises(
        qn.ConfigurationError, match='location "a": 200 rows of its version "v1" have been moved'
    ) as caught:
        run(plan)
    assert "upsert" in str(caught.value.hint)
    assert len(stored(depot)) == 200


@pytest.mark.parametrize(
    ("first", "second", "said"),
    [
        ({}, {"extra": ["extra"]}, 'has a column "extra", which the ones before it do not have'),
        ({"extra": ["extra"]}, {}, 'has no column "extra", which the ones before it have'),
        (
            {},
            {"extra": ["extra"], "without": ["number"]},
            'has a column "extra" and no column "number": the ones before',
        ),
        (
            {},
            {"without": ["place"], "extra": ["place"]},
            ': column 1 is "number" of type Int64; before it was "place" of',
        ),
    ],
)
def test_other_columns_are_an_error_that_names_location_and_column(
    depot: Depot, first: dict[str, Any], second: dict[str, Any], said: str
) -> None:
    depot.put("a", 10, **first)
    depot.put("b", 10, **second)
    with pytest.raises(qn.DataError, match=re.escape(f'location "b"{"" if said[0] == ":" else " "}{said}')) as caught:
        run(connector_plan(depot))
    assert "a bundle unites tables by name" in str(caught.value.hint)
    with qn.connect(f"sqlite:///{depot.folder / 'sink.db'}") as db:
        assert db.tables().is_empty()


def test_statements_see_all_locations_in_one_transaction(depot: Depot) -> None:
    depot.put("a", 150)
    depot.put("b", 150)
    step = {
        "statement": "return [row for row in INPUT_DATA if row['number'] % 2 == 0]",
        "mode": "bulk",
        "output": {"place": "Utf8", "number": "Int64"},
    }
    plan = connector_plan(depot, process=[step])
    assert (run(plan).rows, run(plan).rows) == (150, 0)
    assert stored(depot) == [pair for pair in depot.rows("a", "b") if pair[1] % 2 == 0]
    with pytest.raises(qn.ConfigurationError, match="every_rows does not go with"):
        qn.Task(plan | {"checkpoint": {"every_rows": 10}})


def test_a_full_run_moves_every_location_again(depot: Depot) -> None:
    depot.put("a", 10)
    plan = connector_plan(depot)
    run(plan)
    with pytest.raises(qn.ConfigurationError, match="a full run would append every row again"):
        run(plan, full=True)
    with qn.connect(f"sqlite:///{depot.folder / 'sink.db'}") as db:
        db.execute("delete from t")
    assert run(plan, full=True).rows == 10
    assert stored(depot) == depot.rows("a")


def test_replacing_moves_every_location_each_time(depot: Depot) -> None:
    depot.put("a", 10)
    plan = connector_plan(depot, {"connection": "b", "table": "t", "mode": "replace"})
    assert (run(plan).rows, run(plan).rows) == (10, 10)
    assert stored(depot) == depot.rows("a")


# ---- bundles ---------------------------------------------------------------------------------------------------------


def bundle_plan(folder: Path, **checkpoint: Any) -> dict[str, Any]:
    return {
        "connections": {"a": {"uri": f"sqlite:///{folder / 'source.db'}"}},
        "task": {"name": "keep"},
        "source": {"connection": "a", "query": "select * from s where id > :checkpoint order by id"},
        "sink": {"bundle": str(folder / "kept"), "pack": "days", "format": "arrow"},
        "checkpoint": {"column": "id", "initial": 0, **checkpoint},
    }


def fill(folder: Path, first: int, last: int) -> None:
    frame = pl.DataFrame({"id": range(first, last + 1)}).with_columns((pl.col("id") * 3).cast(pl.String).alias("text"))
    with qn.connect(f"sqlite:///{folder / 'source.db'}") as db:
        db.insert("s", frame, mode="append" if "s" in db.tables()["name"].to_list() else "create")


def kept(folder: Path, **options: Any) -> list[int]:
    with qn.open(folder / "kept", **options) as bundle:
        return bundle.to_polars(pack="days")["id"].to_list()


def test_a_bundle_as_the_sink_keeps_rows_and_checkpoint_in_one_commit(tmp_path: Path) -> None:
    fill(tmp_path, 1, 100)
    plan = bundle_plan(tmp_path, every_rows=40)
    first = qn.Task(plan).run()
    assert (first.rows, first.commits, first.checkpoint_after) == (100, 3, "100")
    assert qn.Task(plan).run().rows == 0
    fill(tmp_path, 101, 110)
    second = qn.Task(plan).run()
    assert (second.rows, second.checkpoint_before, second.checkpoint_after) == (10, "100", "110")
    assert kept(tmp_path) == list(range(1, 111))
    assert kept(tmp_path, version=2) == list(range(1, 81))
    with qn.open(tmp_path / "kept") as bundle:
        assert bundle.verify() == []
        assert [entry.version for entry in bundle.history()] == [0, 1, 2, 3, 4]


def test_replacing_in_a_bundle_takes_out_what_the_task_put_there(tmp_path: Path) -> None:
    fill(tmp_path, 1, 5)
    plan = bundle_plan(tmp_path)
    del plan["checkpoint"]
    plan["source"] = {"connection": "a", "table": "s"}
    plan["sink"]["mode"] = "replace"
    qn.Task(plan).run()
    fill(tmp_path, 6, 7)
    qn.Task(plan).run()
    assert kept(tmp_path) == list(range(1, 8))
    assert kept(tmp_path, version=1) == list(range(1, 6))


def test_of_two_runs_into_a_bundle_one_keeps_nothing(tmp_path: Path) -> None:
    fill(tmp_path, 1, 50)
    plan = bundle_plan(tmp_path)
    other: list[int] = []

    def meanwhile(progress: qn.Progress) -> None:
        if progress.stage == "commit" and not other:
            other.append(0)
            other[0] = qn.Task(plan).run().rows

    with pytest.raises(qn.QueryExecutionError, match='another run of the task "keep" has committed') as caught:
        qn.Task(plan).run(progress=meanwhile)
    assert caught.value.retryable
    assert other == [50]
    assert kept(tmp_path) == list(range(1, 51))
    assert qn.Task(plan).run().rows == 0


@pytest.mark.trace("B2")
def test_a_bundle_as_the_source_is_moved_block_by_block(tmp_path: Path) -> None:
    fill(tmp_path, 1, 100)
    qn.Task(bundle_plan(tmp_path, every_rows=40)).run()
    plan = {
        "connections": {"b": {"uri": f"sqlite:///{tmp_path / 'sink.db'}"}},
        "task": {"name": "on"},
        "source": {"bundle": str(tmp_path / "kept"), "pack": "days"},
        "sink": {"connection": "b", "table": "t"},
        "checkpoint": {"every_rows": 30},
    }
    moved = qn.Task(plan).run()
    assert (moved.rows, moved.commits) == (100, 4)
    assert qn.Task(plan).run().rows == 0
    fill(tmp_path, 101, 103)
    qn.Task(bundle_plan(tmp_path, every_rows=40)).run()
    assert qn.Task(plan).run().rows == 3
    with qn.connect(f"sqlite:///{tmp_path / 'sink.db'}") as db:
        assert db.execute("select id from t order by id")["id"].to_list() == list(range(1, 104))


def test_source_and_sink_are_not_one_pack(tmp_path: Path) -> None:
    place = {"bundle": str(tmp_path / "kept"), "pack": "days"}
    with pytest.raises(qn.ConfigurationError, match='the same pack "days" of one bundle'):
        qn.Task({"task": {"name": "loop"}, "source": place, "sink": place})


def test_paths_are_taken_from_the_folder_of_the_task_file(depot: Depot, monkeypatch: pytest.MonkeyPatch) -> None:
    depot.put("a", 3)
    file = depot.folder / "move.toml"
    file.write_text(
        '[task]\nname = "move"\n\n[source]\nconnector = "python::depot:Depot"\nargs = { region = "north" }\n\n'
        '[sink]\nbundle = "kept"\n'
    )
    monkeypatch.chdir(depot.folder.parent)
    assert qn.Task.load(file).run(allow_external_code=True).rows == 3
    with qn.open(depot.folder / "kept") as bundle:
        assert bundle.num_rows == 3


# ---- interrupted -----------------------------------------------------------------------------------------------------


def test_an_interrupt_outlives_the_file_that_is_given_up(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Ctrl-C while the engine waits for rows: the exception waits for its caller while the half-written file is let go
    of, whose destructors call into the engine again."""
    from qanat import _format_parquet

    written, delivered = threading.Event(), threading.Event()
    write = _format_parquet.Writer.write

    def noted(writer: Any, batch: Any) -> None:
        write(writer, batch)
        written.set()

    def interrupt(number: int, frame: FrameType | None) -> None:
        """Only while the engine runs: what comes while Python code does is not what this test is about."""
        if written.is_set() and frame is not None and frame.f_code is qn.Task.run.__code__:
            delivered.set()
            raise KeyboardInterrupt

    class Ringing(Connector):
        def discover(self, attached_locations: list[str], **kwargs: Any) -> list[Location]:
            return [Location("bells")]

        def data(self, location: Location, **kwargs: Any) -> Iterator[pa.RecordBatch]:
            deadline = time.monotonic() + 60
            while time.monotonic() < deadline:
                yield pa.record_batch({"number": list(range(1000))})
                if written.is_set() and not delivered.wait(0.01):
                    os.kill(os.getpid(), signal.SIGINT)

    module = ModuleType("ringing")
    module.Ringing = Ringing  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "ringing", module)
    monkeypatch.setattr(_format_parquet.Writer, "write", noted)
    task = qn.Task(
        {
            "task": {"name": "ring"},
            "source": {"connector": "python::ringing:Ringing"},
            "sink": {"bundle": str(tmp_path / "kept")},
        }
    )
    before = signal.signal(signal.SIGINT, interrupt)
    try:
        with pytest.raises(KeyboardInterrupt):
            task.run(allow_external_code=True)
    finally:
        signal.signal(signal.SIGINT, before)
    with qn.open(tmp_path / "kept") as bundle:
        assert bundle.num_rows == 0


# ---- killed at any instant -------------------------------------------------------------------------------------------

KILLS = 200 if "QANAT_TORTURE" in os.environ else 8  # `make torture` runs the loop at full length
CHILD = """
import json, signal, sys
import qanat as qn
plan, delay = json.loads(sys.argv[1]), float(sys.argv[2])
task = qn.Task(plan)
signal.setitimer(signal.ITIMER_REAL, delay)  # nobody handles it: the process is ended where it stands
task.run(allow_external_code=True)
"""


@pytest.mark.trace("B3")
def test_kills_at_any_instant_lose_and_double_nothing(depot: Depot) -> None:
    for name in "abcd":
        depot.put(name, 2000)
    plan = connector_plan(
        depot, {"bundle": str(depot.folder / "kept"), "format": "arrow"}, checkpoint={"every_rows": 300}
    )
    whole = depot.rows(*"abcd")
    began = time.perf_counter()
    run(plan | {"sink": {"bundle": str(depot.folder / "other"), "format": "arrow"}})
    duration = time.perf_counter() - began
    dice = random.Random(20131230)
    killed, draws = 0, 0
    while killed < KILLS:
        draws += 1
        assert draws <= 20 * KILLS, f"of {draws} runs {killed} were killed"
        delay = dice.uniform(0, duration) + 1e-4
        done = subprocess.run(
            [sys.executable, "-c", CHILD, json.dumps(plan), str(delay)], capture_output=True, check=False
        )
        assert done.returncode in (0, -signal.SIGALRM), done.stderr.decode()
        killed += done.returncode != 0
        if (depot.folder / "kept" / "_qanat").exists():
            with qn.open(depot.folder / "kept") as bundle:
                found = bundle.to_polars().rows() if bundle.num_rows else []
                assert found == whole[: len(found)]  # in order, each once
    run(plan)
    with qn.open(depot.folder / "kept") as bundle:
        assert bundle.to_polars().rows() == whole
        assert bundle.verify() == []
