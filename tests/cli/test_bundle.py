"""qanat bundle: each command in a process, its output, its exit code."""

from __future__ import annotations

import json
import os
import select
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from deltalake import DeltaTable

import qanat as qn

CONNECTOR = """\
import json
import time
from pathlib import Path

from qanat_sdk import Connector, Location, serve


class Shelf(Connector):
    def schema(self):
        return {"id": "Int64", "name": "Utf8"}

    def discover(self, attached_locations, root, **kwargs):
        return [Location(file.stem, version="v1") for file in sorted(Path(root).glob("*.json"))]

    def data(self, location, root, **kwargs):
        rows = json.loads((Path(root) / f"{location.location}.json").read_text())
        if isinstance(rows, str):
            raise ValueError(rows)
        return self.wait(root) if rows is None else rows

    def wait(self, root):
        (Path(root) / "waiting").write_text("now")
        while True:
            yield {"id": 0, "name": "never whole"}
            time.sleep(0.01)


if __name__ == "__main__":
    serve(Shelf())
"""
ALLOWED = ("--allow-external-code", "--connector", "test.shelf=ipc::shelf.py")


def environment() -> dict[str, str]:
    return {name: value for name, value in os.environ.items() if not name.startswith("QANAT_")}


def run(cwd: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "qanat", "bundle", *arguments]
    return subprocess.run(command, capture_output=True, text=True, cwd=cwd, env=environment(), check=False)


def interrupted(cwd: Path, fifo: Path, *arguments: str) -> tuple[int, str, str]:
    """Ctrl-C when something has been written to `fifo`: exit code and what was said."""
    waiting = os.open(fifo, os.O_RDONLY | os.O_NONBLOCK)
    command = [sys.executable, "-m", "qanat", "bundle", *arguments]
    pipe = subprocess.PIPE
    with subprocess.Popen(command, stdout=pipe, stderr=pipe, text=True, cwd=cwd, env=environment()) as child:
        try:
            assert select.select([waiting], [], [], 60)[0], "the connector was not asked"
            child.send_signal(signal.SIGINT)
            out, err = child.communicate(timeout=60)
        finally:
            os.close(waiting)
            child.kill()
    return child.returncode, out, err


def good(cwd: Path, *arguments: str) -> str:
    done = run(cwd, *arguments)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def three_lines(done: subprocess.CompletedProcess[str]) -> list[str]:
    lines = done.stderr.splitlines()
    assert [line[:7] for line in lines] == ["error: ", "where: ", "  fix: "], done.stderr
    return [line[7:] for line in lines]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "shelf.py").write_text(CONNECTOR)
    (tmp_path / "rows").mkdir()
    put(tmp_path, "one", [{"id": 1, "name": "a"}, {"id": 2, "name": "b"}])
    good(tmp_path, "create", "data")
    return tmp_path


@pytest.fixture
def fed(folder: Path) -> Path:
    good(folder, "source", "data", "test.shelf", "-a", "root=rows", *ALLOWED)
    return folder


def put(folder: Path, name: str, rows: Any) -> None:
    (folder / "rows" / f"{name}.json").write_text(json.dumps(rows))


def test_a_source_is_fetched_and_committed(fed: Path) -> None:
    said = good(fed, "fetch", "data", *ALLOWED)
    assert "base from test.shelf: 1 added, 0 replaced, 0 removed; 2 rows" in said and "version 2" in said
    put(fed, "two", [{"id": 3, "name": "c"}])
    found = json.loads(good(fed, "fetch", "data", "--json", "-m", "the second", *ALLOWED))
    assert found["ok"] and found["version"] == 3
    assert [result["added"] for result in found["results"]] == [["two"]]
    with qn.open(fed / "data") as bundle:
        assert bundle.to_polars()["id"].to_list() == [1, 2, 3]
        assert [entry.message for entry in bundle.history()][1:] == [
            "create source of test.shelf for base",
            "fetch base",
            "the second",
        ]


def test_a_dry_run_commits_nothing(fed: Path) -> None:
    said = good(fed, "fetch", "data", "--dry-run", *ALLOWED)
    assert "would be 1 added" in said and "nothing was changed" in said
    with qn.open(fed / "data") as bundle:
        assert (bundle.version, bundle.num_rows) == (1, 0)


@pytest.mark.trace("B9")
def test_what_fails_is_set_aside_and_driven_again(fed: Path) -> None:
    put(fed, "bad", "no power")
    done = run(fed, "fetch", "data", *ALLOWED)
    assert done.returncode == 1
    assert "1 added, 0 replaced, 0 removed, 1 failed" in done.stdout and "failed: bad: " in done.stderr
    assert "\n    ValueError: no power\n" in done.stderr, "the last of what its process said"
    assert "failed 1 time: base bad: " in good(fed, "status", "data")
    assert run(fed, "fetch", "data", "--retry", "--on-error", "quarantine", *ALLOWED).returncode == 0
    put(fed, "bad", [{"id": 9, "name": "z"}])
    assert "1 added" in good(fed, "fetch", "data", "--retry", *ALLOWED)
    assert json.loads(good(fed, "status", "data", "--json"))["failures"] == []
    put(fed, "worse", "no power")
    assert run(fed, "fetch", "data", *ALLOWED).returncode == 1
    (fed / "rows" / "worse.json").unlink()
    told = good(fed, "fetch", "data", "--retry", *ALLOWED)
    assert "0 removed, 1 vanished; " in told
    assert "vanished: worse is reported no more, and is off the retry list\n" in told


@pytest.mark.trace("C2")
def test_external_code_has_to_be_allowed(fed: Path) -> None:
    done = run(fed, "fetch", "data", "--connector", "test.shelf=ipc::shelf.py")
    what, where, fix = three_lines(done)
    assert "External code execution is disabled" in what and where == "data" and "--allow-external-code" in fix
    assert done.returncode == 3
    done = run(fed, "source", "data", "test.shelf", "--connector", "test.shelf=ipc::shelf.py")
    assert "--allow-external-code" in three_lines(done)[2]
    assert "--allow-external-code" in good(fed, "source", "--help")


BAD = ("--connector", "test.bad=ipc::bad.py")


@pytest.fixture
def two(fed: Path) -> Path:
    """A second source, in a pack of its own, whose discovery fails."""
    (fed / "bad.py").write_text(CONNECTOR)
    good(fed, "source", "data", "test.bad", "-a", "root=rows", "--pack", "other", *ALLOWED, *BAD)
    good(fed, "source", "data", "test.bad", "-a", "root=rows", *ALLOWED, *BAD)
    (fed / "bad.py").write_text(
        CONNECTOR.replace("return [Location", "raise ValueError('no door')\n        return [Loc")
    )
    return fed


@pytest.mark.trace("B9")
@pytest.mark.parametrize(
    ("more", "bad", "on_error"),
    [
        ((), "discovery fails", "raise"),
        ((), "cannot be opened", "quarantine"),
        (("--all",), "cannot be opened", "raise"),
        (("--all",), "discovery fails", "quarantine"),
    ],
)
def test_a_source_that_fails_does_not_take_the_others_with_it(
    two: Path, more: tuple[str, ...], bad: str, on_error: str
) -> None:
    named = BAD if bad == "discovery fails" else ()
    done = run(two, "fetch", "data", *more, "--on-error", on_error, *ALLOWED, *named)
    assert done.returncode == (1 if on_error == "raise" else 0), done.stderr
    assert "base from test.shelf: 1 added" in done.stdout and "version 4" in done.stdout
    said = "no door" if bad == "discovery fails" else "test.bad"
    assert done.stderr.count("failed: ") == (2 if more else 1) and said in done.stderr
    with qn.open(two / "data") as bundle:
        assert bundle.to_polars().rows() == [(1, "a"), (2, "b")]


def test_code_that_may_not_run_is_an_error_also_where_others_delivered(fed: Path) -> None:
    pl.DataFrame({"id": [7], "name": ["g"]}).write_parquet(fed / "p.parquet")
    good(fed, "source", "data", "files", "-a", "path=*.parquet")
    done = run(fed, "fetch", "data", "--on-error", "quarantine", "--connector", "test.shelf=ipc::shelf.py")
    assert done.returncode == 1
    assert "base from files: 1 added" in done.stdout and "  fix: run it with --allow-external-code" in done.stderr
    with qn.open(fed / "data") as bundle:
        assert (bundle.version, bundle.to_polars().rows()) == (3, [(7, "g")])


def test_where_only_sources_failed_nothing_is_committed(two: Path) -> None:
    done = run(two, "fetch", "data", "other", *ALLOWED, *BAD)
    assert done.returncode == 1
    assert any("no door" in line for line in done.stderr.splitlines() if line.startswith("error: "))
    assert "QANAT_LOG" not in done.stderr and "task.md" not in done.stderr
    with qn.open(two / "data") as bundle:
        assert bundle.version == 3
    told = json.loads(run(two, "fetch", "data", "other", "--json", *ALLOWED, *BAD).stdout)
    assert told["ok"] is False and "no door" in told["error"]["message"]


@pytest.mark.trace("B9")
@pytest.mark.parametrize("form", [(), ("--json",)])
def test_ctrl_c_commits_what_had_finished(fed: Path, form: tuple[str, ...]) -> None:
    put(fed, "two", [{"id": 3, "name": "c"}])
    put(fed, "waits", None)  # the last one, and one at a time
    os.mkfifo(fed / "rows" / "waiting")
    fifo = fed / "rows" / "waiting"
    code, out, err = interrupted(fed, fifo, "fetch", "data", "--parallel", "1", *form, *ALLOWED)
    assert code == 130, err
    assert "interrupted: 2 locations were committed (version 2)" in err and "error:" not in err
    if form:
        told = json.loads(out)
        assert (told["ok"], told["interrupted"], told["version"]) == (False, True, 2)
        assert told["results"][0]["added"] == ["one", "two"]
    with qn.open(fed / "data") as bundle:
        assert bundle.to_polars()["id"].to_list() == [1, 2, 3]
    code, out, err = interrupted(fed, fifo, "fetch", "data", *form, *ALLOWED)
    assert (code, err.splitlines()[-1]) == (130, "interrupted: nothing was committed")
    with qn.open(fed / "data") as bundle:
        assert bundle.version == 2


def test_connectors_sources_and_locations_are_renamed_and_dropped(folder: Path) -> None:
    pl.DataFrame({"id": [1]}).write_parquet(folder / "p.parquet")
    pl.DataFrame({"id": [2]}).write_parquet(folder / "q.parquet")
    good(folder, "import", "data", "my.shelf", "ipc::shelf.py")
    assert "my.shelf is our.shelf now (version 2)" in good(folder, "rename-connector", "data", "my.shelf", "our.shelf")
    assert "our.shelf" in good(folder, "status", "data")
    assert json.loads(good(folder, "drop-connector", "data", "our.shelf", "--json")) == {"ok": True, "version": 3}
    assert json.loads(good(folder, "status", "data", "--json"))["connectors"] == []
    assert run(folder, "drop-connector", "data", "our.shelf").returncode == 3
    made = json.loads(good(folder, "source", "data", "files", "-a", "path=*.parquet", "--json"))
    good(folder, "fetch", "data")
    assert "is dropped (version 6)" in good(folder, "drop-source", "data", made["source_id"], "-m", "enough")
    assert run(folder, "fetch", "data").returncode == 3
    assert "removed 1 location from base (version 7)" in good(folder, "remove", "data", "p.parquet")
    assert run(folder, "remove", "data", "q.parquet", "none").returncode == 3
    with qn.open(folder / "data") as bundle:
        assert bundle.to_polars()["id"].to_list() == [2]
        assert [entry.message for entry in bundle.history()][-2:] == ["enough", "remove 1 location from base"]
    assert run(folder, "rename-connector", "data", "none", "other").returncode == 3


def test_failures_are_listed(fed: Path) -> None:
    assert good(fed, "failures", "data") == "nothing is set aside\n"
    put(fed, "bad", "no power")
    assert run(fed, "fetch", "data", *ALLOWED).returncode == 1
    assert good(fed, "failures", "data").startswith("failed 1 time: base bad: ")
    (found,) = json.loads(good(fed, "failures", "data", "--json"))
    assert (found["location"], found["attempts"], found["pack"]) == ("bad", 1, "base") and "no power" in found["error"]
    assert json.loads(good(fed, "failures", "data", "--version", "1", "--json")) == []


def test_files_are_committed_and_shown(folder: Path) -> None:
    pl.DataFrame({"id": [1, 2], "name": ["a", "b\x1b"]}).write_parquet(folder / "p.parquet")
    pl.DataFrame({"id": [3], "name": ["c"]}).write_csv(folder / "c.csv")
    assert "3 rows of 2 files in base (version 1)" in good(folder, "commit", "data", "p.parquet", "c.csv", "-m", "two")
    shown = good(folder, "show", "data", "--columns", "id,name,_location,_commit", "--rows", "2")
    assert "p.parquet" in shown and "2 of 3 rows shown" in shown and "\x1b" not in shown
    assert run(folder, "commit", "data", "c.csv").returncode == 3
    pl.DataFrame({"id": [4], "name": ["d"]}).write_csv(folder / "c.csv")
    good(folder, "commit", "data", "c.csv", "--replace")
    rows = json.loads(good(folder, "show", "data", "--json", "--columns", "id"))
    assert [row["id"] for row in rows] == [1, 2, 4]
    assert [row["id"] for row in json.loads(good(folder, "show", "data", "--version", "1", "--json"))] == [1, 2, 3]
    missing = run(folder, "commit", "data", "missing.csv")
    assert missing.returncode == 1 and "missing.csv" in three_lines(missing)[0]
    assert run(folder, "commit", "data", "shelf.py").returncode == 1


def test_export_and_sql(folder: Path) -> None:
    pl.DataFrame({"id": [1, 2], "name": ["a", "b"]}).write_parquet(folder / "p.parquet")
    good(folder, "commit", "data", "p.parquet")
    good(folder, "export", "data", "-o", "out.csv", "--columns", "name")
    assert (folder / "out.csv").read_text() == "name\na\nb\n"
    assert good(folder, "export", "data", "-o", "-", "--format", "jsonl").splitlines()[0] == '{"id": 1, "name": "a"}'
    assert json.loads(good(folder, "sql", "data", "select name from base where id = ?", "-p", "2", "--json")) == [
        {"name": "b"}
    ]
    found = good(folder, "sql", "data", "select count(*) as n, max(_location) as l from base", "--provenance")
    assert "p.parquet" in found and "1 row, 2 columns" in found
    good(folder, "sql", "data", "select * from base where name = $n", "-p", "n=a", "-o", "a.parquet")
    assert pl.read_parquet(folder / "a.parquet").rows() == [(1, "a")]
    what, _, fix = three_lines(run(folder, "sql", "data", "select * from nothing_here"))
    assert "nothing_here" in what and what.endswith("The packs are base") and "packs" in fix


@pytest.mark.trace("B14")
def test_history_revert_verify_gc_and_mirror(folder: Path) -> None:
    for number in (1, 2):
        pl.DataFrame({"id": [number]}).write_parquet(folder / "p.parquet")
        good(folder, "commit", "data", "p.parquet", "--replace", "-m", f"number {number}")
    good(folder, "revert", "data", "1", "-m", "back")
    lines = good(folder, "log", "data").splitlines()
    assert [line.split()[0] for line in lines] == ["3", "2", "1", "0"]
    assert "back (1 replace)" in lines[0] and "number 1 (1 add)" in lines[2]
    assert [entry["version"] for entry in json.loads(good(folder, "log", "data", "-n", "2", "--json"))] == [3, 2]
    made = json.loads(good(folder, "mirror", "data", "--json"))
    assert made["versions"] == [1, 2, 3]
    assert [DeltaTable(made["path"], version=v).to_pyarrow_table()["id"].to_pylist() for v in range(3)] == [
        [1],
        [2],
        [1],
    ]

    assert "all is well" in good(folder, "verify", "data")
    assert "removed 0 blocks" in good(folder, "gc", "data", "--min-age", "0")
    (block,) = [path for path in (folder / "data" / "data").rglob("*.parquet") if path.stat().st_nlink == 1][:1]
    block.unlink()
    done = run(folder, "verify", "data")
    assert done.returncode == 1 and "1 problem" in done.stdout
    assert json.loads(run(folder, "verify", "data", "--json").stdout)["problems"][0]["found"]


def test_status_masks_secrets(fed: Path) -> None:
    uri = "postgresql://me:hunter2@localhost/shop"
    good(fed, "source", "data", "test.shelf", "-a", f"uri={uri}", "-a", "api_token=hunter2", *ALLOWED)
    for said in (good(fed, "status", "data"), good(fed, "status", "data", "--json")):
        assert "hunter2" not in said and "postgresql://me:***@localhost/shop" in said
    assert "source " in good(fed, "status", "data") and "version 2" in good(fed, "status", "data")


def test_wrong_usage(folder: Path) -> None:
    assert run(folder, "open", "data").returncode == 2
    assert run(folder, "source", "data", "files", "-a", "novalue").returncode == 2
    assert run(folder, "show", "nowhere").returncode == 3
    assert run(folder, "create", "data").returncode == 3
    error = json.loads(run(folder, "log", "nowhere", "--json").stdout)["error"]
    assert (error["type"], error["exit_code"], error["where"]) == ("ConfigurationError", 3, "nowhere")
    assert "fetch" in good(folder, "--help")
