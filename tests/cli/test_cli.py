"""The command line as a user meets it: a process, its output, its exit code."""

from __future__ import annotations

import json
import os
import pty
import re
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from polars.testing import assert_frame_equal

import qanat as qn

TASK = """\
[connections.ops]
type = "sqlite"
path = "ops.db"

[connections.warehouse]
type = "sqlite"
path = "warehouse.db"

[task]
name = "move"

[source]
connection = "ops"
query = "select * from flights where id > :checkpoint order by id"

[sink]
connection = "warehouse"
table = "flights"

[checkpoint]
column = "id"
initial = 0
"""

FLIGHTS = pl.DataFrame({"id": [1, 2, 3], "carrier": ["UA", None, "B6"], "delay": [1.5, -2.0, None]})


def qanat(*arguments: str, cwd: Path, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "qanat", *arguments],
        capture_output=True,
        text=True,
        cwd=cwd,
        env={**os.environ, **environment},
        check=False,
    )


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "move.toml").write_text(TASK, encoding="utf-8")
    with qn.connect(f"sqlite:///{tmp_path / 'ops.db'}") as ops:
        ops.insert("flights", FLIGHTS, mode="create")
    return tmp_path


def three_lines(done: subprocess.CompletedProcess[str]) -> list[str]:
    """What, where and what to do, without their labels."""
    lines = done.stderr.splitlines()
    assert [line[:7] for line in lines] == ["error: ", "where: ", "  fix: "], done.stderr
    return [line[7:] for line in lines]


# ---- the program -----------------------------------------------------------------------------------------------------


def test_version_and_help_are_quick_to_load(folder: Path) -> None:
    done = qanat("--version", cwd=folder)
    assert (done.returncode, done.stdout) == (0, f"qanat {qn.__version__}\n")
    done = qanat("--help", cwd=folder)
    assert done.returncode == 0
    for command in ("run", "query", "copy", "doctor"):
        assert re.search(rf"^  {command} ", done.stdout, re.MULTILINE)
    code = (
        "import sys; from qanat.cli.main import cli\n"
        "try: cli(['--help'])\n"
        "except SystemExit: pass\n"
        "print([m for m in ('polars', 'pyarrow', 'rich', 'pandas', 'asyncio') if m in sys.modules])"
    )
    loaded = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert loaded.stdout.splitlines()[-1] == "[]"


@pytest.mark.parametrize(
    "arguments",
    [
        ["fly"],
        ["run"],
        ["query", "sqlite://:memory:"],
        ["copy", "a", "b", "c", "d", "--mode", "merge"],
        ["run", "x", "--set", "y"],
    ],
)
def test_wrong_usage_is_exit_code_2(folder: Path, arguments: list[str]) -> None:
    done = qanat(*arguments, cwd=folder)
    assert done.returncode == 2
    assert "Error: " in done.stderr


def test_doctor_says_what_is_there(folder: Path) -> None:
    done = qanat("doctor", cwd=folder)
    assert done.returncode == 0, done.stdout
    assert "all that is needed is there" in done.stdout
    report = json.loads(qanat("doctor", "--json", cwd=folder).stdout)
    assert report["ok"] is True
    assert report["drivers"]["sqlite"].startswith("SQLite 3.")
    assert "postgres" in report["drivers"]
    assert report["packages"]["polars"] == pl.__version__
    assert "libqanat" in report["libraries"]


# ---- run -------------------------------------------------------------------------------------------------------------


def test_run_says_what_it_moved(folder: Path) -> None:
    done = qanat("run", "move.toml", cwd=folder)
    assert (done.returncode, done.stderr) == (0, "")
    assert re.fullmatch(r"move: 3 rows in 1 commit; checkpoint 0 -> 3 \(.*\)\n", done.stdout)
    done = qanat("run", "move.toml", cwd=folder)
    assert done.returncode == 0
    assert re.fullmatch(r"move: nothing new; checkpoint 3 \(.*\)\n", done.stdout)


def test_one_row_is_a_row(folder: Path) -> None:
    with qn.connect(f"sqlite:///{folder / 'ops.db'}") as ops:
        ops.delete("flights", where="id > 1")
    assert qanat("run", "move.toml", cwd=folder).stdout.startswith("move: 1 row in 1 commit; checkpoint 0 -> 1 (")
    done = qanat("query", "sqlite:///ops.db", "select * from flights", "-o", "out.csv", cwd=folder)
    assert done.stderr == "1 row in out.csv\n"


def test_run_takes_settings_and_prints_json(folder: Path) -> None:
    done = qanat(
        "run", "move.toml", "--set", "sink.mode=upsert", "--set", 'sink.key=["id"]', "--set", "checkpoint.every_rows=2",
        "--json", cwd=folder,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    report = json.loads(done.stdout)
    assert report["ok"] is True
    result = report["result"]
    assert (result["task"], result["rows"], result["commits"], result["checkpoint_after"]) == ("move", 3, 2, "3")


def test_a_wrong_task_file_is_exit_code_3_and_three_lines(folder: Path) -> None:
    done = qanat("run", "move.toml", "--set", "sink.mod=append", cwd=folder)
    assert (done.returncode, done.stdout) == (3, "")
    what, where, fix = three_lines(done)
    assert what == "sink.mod is not known here; did you mean sink.mode?"
    assert where == "move.toml, --set sink.mod"
    assert fix == "[sink] has the keys connection, table, mode, key, bundle, pack, format"
    done = qanat("run", "move.toml", "--set", "sink.mode=upsrt", cwd=folder)
    assert three_lines(done)[1] == "move.toml, --set sink.mode"
    done = qanat("run", "ops.db", cwd=folder)
    assert done.returncode == 3
    assert "is not a task file" in three_lines(done)[0]
    done = qanat("run", "none.toml", "--json", cwd=folder)
    assert done.returncode == 3
    problem = json.loads(done.stdout)["error"]
    assert (problem["type"], problem["where"], problem["exit_code"]) == ("ConfigurationError", "none.toml", 3)


def test_a_failed_run_is_exit_code_1(folder: Path) -> None:
    with qn.connect(f"sqlite:///{folder / 'warehouse.db'}") as warehouse:
        warehouse.execute("create table flights (id int, carrier text not null, delay real)")
    done = qanat("run", "move.toml", "--json", cwd=folder)
    assert done.returncode == 1
    report = json.loads(done.stdout)
    assert report["ok"] is False
    assert report["error"]["type"] == "ConstraintViolationError"
    assert report["error"]["sqlstate"] == "23502"
    assert report["result"]["rows"] == 0
    what, where, _ = three_lines(done)
    assert what.startswith('sink "warehouse": ')
    assert "carrier" in what + where


def test_no_connection_is_exit_code_4(folder: Path) -> None:
    (folder / "ops.db").unlink()
    done = qanat("run", "move.toml", cwd=folder)
    assert done.returncode == 4
    assert three_lines(done)[0].startswith('source "ops": ')
    done = qanat("query", "postgresql://nobody:secret@127.0.0.1:1/none", "select 1", cwd=folder)
    assert done.returncode == 4
    assert "secret" not in done.stdout + done.stderr


LONG = """
query = '''with recursive c(id) as (select 1 union all select id + 1 from c where id < 200000000)
select id, 'some text that is written ' || id as text from c where id > :checkpoint'''
"""


def test_ctrl_c_stops_promptly_and_says_what_was_committed(folder: Path) -> None:
    file = folder / "long.toml"
    text = re.sub(r"query = .*\n", lambda _: LONG, TASK) + "every_rows = 20000\n"
    file.write_text(text, encoding="utf-8")
    child = subprocess.Popen(
        [sys.executable, "-m", "qanat", "run", "long.toml", "--json"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        cwd=folder,
        env={**os.environ, "QANAT_LOG": "info"},
    )
    try:
        assert child.stderr is not None
        for line in child.stderr:  # the log tells when the first slice has been committed
            if "committed 20000 rows" in line:
                break
        child.send_signal(signal.SIGINT)
        out, err = child.communicate(timeout=30)
    finally:
        child.kill()
        child.wait()
    assert child.returncode == 130, err
    told = json.loads(out)
    assert told["interrupted"] is True
    with qn.connect(f"sqlite:///{folder / 'warehouse.db'}") as warehouse:
        rows, highest = warehouse.execute("select count(*) as n, max(id) as m from flights").row(0)
    assert rows == highest == told["result"]["rows"] == int(told["result"]["checkpoint_after"])
    assert rows >= 20000 and rows % 20000 == 0
    assert f"interrupted: {rows:,} rows were committed, checkpoint {highest}; the rest was rolled back" in err


ENDLESS = """\
import time

import pyarrow as pa
from qanat_sdk import Connector, Location, serve


class Endless(Connector):
    capabilities = ("stable_order",)

    def discover(self, attached_locations, **kwargs):
        return [Location("numbers", version="v1")]

    def data(self, location, **kwargs):
        for first in range(0, 10**9, 100):
            yield pa.record_batch({"n": list(range(first, first + 100))})
            time.sleep(0.005)


if __name__ == "__main__":
    serve(Endless())
"""


def test_what_a_connector_said_comes_before_the_three_lines(tmp_path: Path) -> None:
    (tmp_path / "endless.py").write_text(
        ENDLESS.replace("for first in", "raise ValueError('no ink')\n        for first in")
    )
    text = '[task]\nname = "t"\n\n[source]\nconnector = "python::endless:Endless"\n\n[sink]\nbundle = "kept"\n'
    (tmp_path / "t.toml").write_text(text, encoding="utf-8")
    done = qanat("run", "t.toml", "--allow-external-code", cwd=tmp_path)
    assert done.returncode == 1
    *before, what, where, fix = done.stderr.splitlines()
    assert "no ink" in what and where == "where: t.toml"
    assert any("raise ValueError" in line for line in before) and not any(line.startswith("error") for line in before)
    assert fix == "  fix: see docs/guides/connectors.md; `qanat connector test` asks a connector everything"
    done = qanat("run", "t.toml", cwd=tmp_path, QANAT_SYSTEM_ALLOW_EXTERNAL_CODE="false")
    assert "--allow-external-code" in three_lines(done)[2]


SOURCES = {
    "python": 'connector = "python::endless:Endless"\n\n[checkpoint]\n',
    "ipc": 'connector = "ipc::endless.py"\n\n[checkpoint]\n',
    "sqlite": 'connection = "from"\nquery = """with recursive c(n) as (select 1 union all select n + 1 from c '
    'where n < 1e12) select n from c where n > :checkpoint"""\n\n[checkpoint]\ncolumn = "n"\ninitial = 0\n',
}
SINKS = {
    "sqlite": 'connection = "to"\ntable = "t"',
    "parquet": 'bundle = "kept"',
    "arrow": 'bundle = "kept"\nformat = "arrow"',
}


@pytest.mark.parametrize(
    ("source", "sink"),
    [
        ("python", "sqlite"),
        ("ipc", "sqlite"),
        ("python", "parquet"),
        ("ipc", "parquet"),
        ("ipc", "arrow"),
        ("sqlite", "parquet"),
    ],
)
def test_ctrl_c_ends_a_task_of_connectors_and_bundles(tmp_path: Path, source: str, sink: str) -> None:
    (tmp_path / "endless.py").write_text(ENDLESS, encoding="utf-8")
    slice_rows = 200_000 if source == "sqlite" else 1000
    uses = {"from": source == "sqlite", "to": sink == "sqlite"}
    connections = [f'[connections.{name}]\nuri = "sqlite:///{name}.db?create=true"\n' for name in uses if uses[name]]
    plan = [*connections, '[task]\nname = "endless"\n', f"[sink]\n{SINKS[sink]}\n", f"[source]\n{SOURCES[source]}"]
    (tmp_path / "endless.toml").write_text("\n".join(plan) + f"every_rows = {slice_rows}\n", encoding="utf-8")
    child = subprocess.Popen(
        [sys.executable, "-m", "qanat", "run", "endless.toml", "--allow-external-code", "--json"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        cwd=tmp_path,
        env={**os.environ, "QANAT_LOG": "info"},
    )
    try:
        assert child.stderr is not None
        for line in child.stderr:
            if f"committed {slice_rows} rows" in line:
                break
        child.send_signal(signal.SIGINT)
        out, err = child.communicate(timeout=60)
    finally:
        child.kill()
        child.wait()
    assert child.returncode == 130, err
    told = json.loads(out)
    rows = told["result"]["rows"]
    assert (told["ok"], told["interrupted"]) == (False, True)
    assert rows >= slice_rows and rows % slice_rows == 0
    assert f"interrupted: {rows:,} rows were committed" in err and "error:" not in err
    if sink == "sqlite":
        with qn.connect(f"sqlite:///{tmp_path / 'to.db'}") as to:
            assert to.execute("select count(*) as n from t").item() == rows
    else:
        with qn.open(tmp_path / "kept") as bundle:
            assert bundle.num_rows == rows


def test_a_line_comes_every_two_seconds_while_nothing_arrives(folder: Path) -> None:
    count = "with recursive c(id) as (select 1 union all select id + 1 from c where id < 1e12)"
    query = f'query = "{count} select max(id) as id from c where id > :checkpoint"'
    (folder / "slow.toml").write_text(re.sub(r"query = .*", query, TASK), encoding="utf-8")
    command = [sys.executable, "-m", "qanat", "run", "slow.toml"]
    child = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, cwd=folder)
    try:
        assert child.stderr is not None
        lines = [child.stderr.readline() for _ in range(2)]
        child.send_signal(signal.SIGINT)
        _, err = child.communicate(timeout=30)
    finally:
        child.kill()
        child.wait()
    assert (child.returncode, err) == (130, "interrupted: nothing was committed\n")
    told = [re.fullmatch(r"move: read: 0 rows, 0 B, (\d+\.\d) s\n", line) for line in lines]
    seconds = [float(match.group(1)) for match in told if match is not None]
    assert len(seconds) == 2, lines
    assert 1.8 <= seconds[0] < 10 and 1.8 <= seconds[1] - seconds[0] < 10


def test_a_terminal_shows_a_bar_and_the_same_last_line(folder: Path) -> None:
    parent, child = pty.openpty()
    process = subprocess.Popen(
        [sys.executable, "-m", "qanat", "run", "move.toml"],
        stdin=child,
        stdout=child,
        stderr=child,
        cwd=folder,
        close_fds=True,
    )
    os.close(child)
    shown = b""
    while True:
        try:
            piece = os.read(parent, 4096)
        except OSError:  # the terminal's other end is closed
            break
        if not piece:
            break
        shown += piece
    os.close(parent)
    assert process.wait() == 0
    assert b"\x1b[" in shown
    assert b"move: 3 rows in 1 commit" in shown


# ---- query -----------------------------------------------------------------------------------------------------------


def test_query_shows_a_table_with_types_and_the_number_of_rows(folder: Path) -> None:
    done = qanat(
        "query",
        "sqlite:///ops.db",
        "select id, carrier from flights where delay > ? order by id",
        "-p",
        "-5",
        cwd=folder,
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert "│ i64 ┆ str     │" in done.stdout
    assert done.stdout.endswith("2 rows, 2 columns\n")
    done = qanat("query", "sqlite:///ops.db", "select id from flights", "--rows", "1", cwd=folder)
    assert "1 of 3 rows shown, 1 column" in done.stdout
    done = qanat("query", "sqlite:///ops.db", "select id from flights where id > :low", "-p", "low=7", cwd=folder)
    assert done.stdout.endswith("0 rows, 1 column\n")
    done = qanat("query", "sqlite:///ops.db", "create table other (x int)", cwd=folder)
    assert (done.returncode, done.stdout) == (0, "done; the statement returns no rows\n")


STATEMENTS = [
    ("update flights set delay = 0", 3),
    ("update flights set delay = 0 where id = 1", 1),
    ("delete from flights where id > 7", 0),
    ("insert into flights (id) values (8), (9)", 2),
]


@pytest.mark.parametrize(("sql", "rows"), STATEMENTS)
def test_query_says_how_many_rows_were_affected(folder: Path, db_uri: str, sql: str, rows: int) -> None:
    with qn.connect(db_uri) as db:
        db.insert("flights", FLIGHTS, mode="create")
    done = qanat("query", db_uri, sql, cwd=folder)
    noun = "row" if rows == 1 else "rows"
    assert (done.returncode, done.stdout, done.stderr) == (0, f"done: {rows} {noun} affected\n", "")
    done = qanat("query", db_uri, sql, "--json", cwd=folder)
    assert json.loads(done.stdout) == {"ok": True, "rows_affected": rows}


def test_query_shows_control_characters_written_out(folder: Path) -> None:
    sql = """select char(27) || '[2J' || char(10) || char(7) as "a" """
    done = qanat("query", "sqlite:///ops.db", sql, cwd=folder)
    assert r"│ \x1b[2J\n\x07 │" in done.stdout
    done = qanat("query", "sqlite:///ops.db", f'select 1 as "a{chr(27)}b"', cwd=folder)
    assert r"a\x1bb" in done.stdout
    done = qanat("query", "sqlite:///ops.db", f'select "{chr(27)}[2J"', cwd=folder)
    assert r"\x1b[2J" in done.stderr
    assert "\x1b" not in done.stdout + done.stderr


def test_query_says_how_to_give_values(folder: Path) -> None:
    done = qanat("query", "sqlite:///ops.db", "select ?, ?", "-p", "1", cwd=folder)
    assert done.returncode == 2
    what, where, fix = three_lines(done)
    assert what == "the statement has 2 placeholders, 1 value was given"
    assert where == "sqlite:///ops.db"
    assert fix.startswith("give every placeholder a value: -p VALUE")


@pytest.mark.parametrize("form", ["table", "parquet", "csv", "json", "jsonl", "arrow"])
@pytest.mark.parametrize("where", ["pipe", "full"])
def test_query_ends_quietly_where_nobody_reads(folder: Path, form: str, where: str) -> None:
    sql = (
        "with recursive c(i) as (select 1 union all select i + 1 from c where i < 300000) select i, i || '' as t from c"
    )
    how = ["--rows", "3000"] if form == "table" else ["-o", "-", "--format", form]
    command = [sys.executable, "-m", "qanat", "query", "sqlite://:memory:", sql, *how]
    if where == "full":
        with Path("/dev/full").open("wb") as full:
            done = subprocess.run(command, stdout=full, stderr=subprocess.PIPE, text=True, check=False, cwd=folder)
        assert done.returncode == 1
        assert three_lines(done)[:2] == ["cannot write: No space left on device", "standard output"]
        return
    reader, writer = os.pipe()
    child = subprocess.Popen(command, stdout=writer, stderr=subprocess.PIPE, text=True, cwd=folder)
    os.close(writer)
    os.read(reader, 1)
    os.close(reader)
    _, err = child.communicate(timeout=60)
    assert (child.returncode, err) == (141, "")


@pytest.mark.parametrize("more", [[], ["--json"]])
def test_a_run_whose_end_cannot_be_told_says_that_it_was_committed(folder: Path, more: list[str]) -> None:
    with Path("/dev/full").open("wb") as full:
        command = [sys.executable, "-m", "qanat", "run", "move.toml", *more]
        done = subprocess.run(command, stdout=full, stderr=subprocess.PIPE, text=True, check=False, cwd=folder)
    assert done.returncode == 1
    what, where, fix = three_lines(done)
    assert (what, where) == ("cannot write: No space left on device", "standard output")
    assert fix.startswith("the run was committed (3 rows in 1 commit); ")
    with qn.connect(f"sqlite:///{folder / 'warehouse.db'}") as warehouse:
        assert warehouse.execute("select count(*) as n from flights").row(0) == (3,)


PARAMS: list[tuple[str, Any]] = [
    ("5", 5),
    ("1.5", 1.5),
    ("true", 1),
    ("O'Hare", "O'Hare"),
    ('"5"', "5"),
    ("", ""),
    ("null:", None),
]


@pytest.mark.parametrize(("given", "value"), PARAMS, ids=[given for given, _ in PARAMS])
def test_query_binds_parameters(folder: Path, given: str, value: Any) -> None:
    done = qanat("query", "sqlite:///ops.db", "select ? as value", "-p", given, "--json", cwd=folder)
    assert json.loads(done.stdout) == [{"value": value}]


@pytest.mark.parametrize("ending", ["parquet", "csv", "json", "jsonl", "arrow"])
@pytest.mark.parametrize("rows", [0, 3])
def test_query_saves_all_rows(folder: Path, ending: str, rows: int) -> None:
    file = folder / f"out.{ending}"
    file.write_text("old")
    sql = f"select * from flights order by id limit {rows}"
    done = qanat("query", "sqlite:///ops.db", sql, "-o", file.name, cwd=folder)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", f"{rows} rows in {file.name}\n")
    if ending in ("json", "jsonl"):
        text = file.read_text(encoding="utf-8")
        saved = json.loads(text) if ending == "json" else [json.loads(line) for line in text.splitlines()]
        assert saved == FLIGHTS.head(rows).to_dicts()
    else:
        read = {"parquet": pl.read_parquet, "arrow": pl.read_ipc, "csv": pl.read_csv}[ending]
        options = {"schema": FLIGHTS.schema} if ending == "csv" else {}
        assert_frame_equal(read(file, **options), FLIGHTS.head(rows))
    assert sorted(path.name for path in folder.iterdir()) == sorted(["move.toml", "ops.db", file.name])


def test_query_to_standard_output(folder: Path) -> None:
    done = qanat(
        "query", "sqlite:///ops.db", "select id, carrier from flights", "-o", "-", "--format", "csv", cwd=folder
    )
    assert done.stdout == "id,carrier\n1,UA\n2,\n3,B6\n"


def test_query_leaves_the_old_file_where_it_fails(folder: Path) -> None:
    file = folder / "out.csv"
    file.write_text("old")
    sql = "select case when id < 3 then 1 else abs(-9223372036854775808) end as x from flights"
    done = qanat("query", "sqlite:///ops.db", sql, "-o", file.name, cwd=folder)
    assert done.returncode == 1
    assert file.read_text() == "old"
    assert [path for path in folder.iterdir() if path.suffix == ".part"] == []
    done = qanat("query", "sqlite:///ops.db", "select 1 as x", "-o", "no/such/folder.csv", cwd=folder)
    assert done.returncode == 1
    assert three_lines(done)[:2] == ["cannot write: No such file or directory", "no/such/folder.csv"]
    done = qanat("query", "sqlite:///ops.db", "select 1 as x", "-o", "what.xyz", cwd=folder)
    assert done.returncode == 2


def test_query_errors_have_three_lines(folder: Path) -> None:
    done = qanat("query", "sqlite:///ops.db", "select * from flight", cwd=folder)
    assert done.returncode == 1
    what, where, fix = three_lines(done)
    assert "no such table: flight" in what
    assert where.startswith("sqlite:///ops.db")
    assert "create" not in where  # no option that was not typed
    assert "flights" in fix
    done = qanat("query", "nonsense", "select 1", cwd=folder)
    assert done.returncode == 3
    done = qanat("query", "sqlite:///none.db", "select 1", cwd=folder)
    assert done.returncode == 4
    assert not (folder / "none.db").exists()


def test_query_works_on_postgres(postgres_uri: str, folder: Path) -> None:
    sql = "select 1.50::numeric(5,2) as n, date '2013-12-31' as d, null::text as t"
    done = qanat("query", postgres_uri, sql, "--json", cwd=folder)
    assert json.loads(done.stdout) == [{"n": "1.50", "d": "2013-12-31", "t": None}]


# ---- copy ------------------------------------------------------------------------------------------------------------


def test_copy_moves_a_table(folder: Path, db_uri: str) -> None:
    done = qanat("copy", "sqlite:///ops.db", "flights", db_uri, "copied", cwd=folder)
    assert done.returncode == 0, done.stderr
    assert re.fullmatch(r"flights to copied: 3 rows in 1 commit \(.*\)\n", done.stdout)
    with qn.connect(db_uri) as db:
        assert_frame_equal(db.execute("select * from copied order by id"), FLIGHTS)
        db.execute("create unique index copied_by_id on copied (id)")
        db.delete("copied", where="id = 2")
    done = qanat("copy", "sqlite:///ops.db", "flights", db_uri, "copied", "--mode", "upsert", "--key", "id", cwd=folder)
    assert done.returncode == 0, done.stderr
    with qn.connect(db_uri) as db:
        assert_frame_equal(db.execute("select * from copied order by id"), FLIGHTS)


def test_copy_refuses_what_it_cannot_do(folder: Path) -> None:
    done = qanat("copy", "sqlite:///ops.db", "flights", "sqlite:///w.db", "t", "--mode", "upsert", cwd=folder)
    assert done.returncode == 2
    assert "--mode upsert needs --key COLUMN" in done.stderr
    assert not (folder / "w.db").exists()
    for code in (0, 1):
        done = qanat("copy", "sqlite:///ops.db", "flights", "sqlite:///x.db", "c", "--mode", "create", cwd=folder)
        assert done.returncode == code
    assert "--mode replace" in three_lines(done)[2]
    done = qanat("copy", "sqlite:///ops.db", "nothing", "sqlite:///w.db", "t", cwd=folder)
    assert done.returncode == 1
    with qn.connect(f"sqlite:///{folder / 'w.db'}") as db:
        assert db.tables().height == 0
