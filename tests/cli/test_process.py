"""`qanat process`, `qanat runtime` and the sandbox part of `qanat doctor`, as processes."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import polars as pl
import pytest

STATEMENT = "log.info('row of %s' % INPUT_DATA[0]['id'])\nreturn [{'id': row['id'] * 2} for row in INPUT_DATA]\n"


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
    (tmp_path / "double.py").write_text(STATEMENT, encoding="utf-8")
    rows = [{"id": 1}, {"id": 2}]
    (tmp_path / "rows.json").write_text(json.dumps(rows), encoding="utf-8")
    (tmp_path / "rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    pl.DataFrame(rows).write_csv(tmp_path / "rows.csv")
    pl.DataFrame(rows).write_parquet(tmp_path / "rows.parquet")
    return tmp_path


def debug(folder: Path, *more: str, rows: str = "rows.json") -> subprocess.CompletedProcess[str]:
    return qanat("process", "debug", "double.py", "--input", rows, "--output-schema", "id=Int64", *more, cwd=folder)


@pytest.mark.trace("P3")
@pytest.mark.parametrize("rows", ["rows.json", "rows.jsonl", "rows.csv", "rows.parquet"])
def test_debug_shows_everything(folder: Path, rows: str) -> None:
    done = debug(folder, "--checkpoint-column", "id", rows=rows)
    assert done.returncode == 0, done.stderr
    for part in (
        "status: ok",
        "│ 4 ",
        "line 1, row 1",
        "row of 2",
        "the statement",
        "at the peak",
        "4 would be stored",
    ):
        assert part in done.stdout


@pytest.mark.trace("P3")
def test_debug_as_json(folder: Path) -> None:
    done = debug(folder, "--json", "--checkpoint-column", "id", "--row", "1")
    report = json.loads(done.stdout)
    assert (report["ok"], report["status"], report["rows"], report["checkpoint"]) == (True, "ok", [{"id": 4}], 4)
    assert report["logs"] == [{"level": "info", "message": "row of 2", "line": 1, "row": 0}]
    assert report["stats"]["rows_in"] == 1
    assert done.returncode == 0


@pytest.mark.trace("P3", "P9")
def test_debug_with_a_checkpoint_and_in_bulk(folder: Path) -> None:
    (folder / "after.py").write_text(
        "return [row for row in INPUT_DATA if row['id'] > DATA_CHECKPOINT]", encoding="utf-8"
    )
    done = qanat(
        "process", "debug", "after.py", "--input", "rows.csv", "--output-schema", "id=Int64!", "--mode", "bulk",
        "--checkpoint", "1", "--json", cwd=folder,
    )  # fmt: skip
    assert json.loads(done.stdout)["rows"] == [{"id": 2}]


def test_debug_of_a_failing_run_exits_with_1(folder: Path) -> None:
    (folder / "double.py").write_text("x = 1\nreturn [{'id': 1 // 0}]", encoding="utf-8")
    done = debug(folder)
    assert (done.returncode, done.stderr) == (1, "")
    for part in ("status: failed in line 2, row 0\n", "ZeroDivisionError", "checkpoint: would stay as it was"):
        assert part in done.stdout
    report = json.loads(debug(folder, "--json").stdout)
    assert (report["ok"], report["line"], report["row"], report["rows"]) == (False, 2, 0, [])


def test_debug_of_a_refused_statement_exits_with_3_and_three_lines(folder: Path) -> None:
    (folder / "double.py").write_text("x = 1\nimport os\nreturn []", encoding="utf-8")
    done = debug(folder)
    assert done.returncode == 3
    what, where, _fix = done.stderr.splitlines()
    assert "import of 'os' is not allowed" in what
    assert where == "where: double.py, line 2"


def test_debug_of_a_statement_that_is_not_there_says_so(folder: Path) -> None:
    (folder / "double.py").unlink()
    done = debug(folder)
    what, where, fix = done.stderr.splitlines()
    assert (done.returncode, what) == (3, "error: cannot read the statement 'double.py': No such file or directory")
    assert (where, fix) == ("where: double.py", "  fix: give the path of a statement that can be read")


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (("--timeout", "0"), 3, "timeout"),
        (("--memory", "lots"), 3, "memory is 'lots'"),
        (("--runtime", "absent"), 3, "there is no runtime 'absent'"),
        (("--row", "7"), 2, "rows 0 to 1"),
        (("--mode", "column"), 2, "'column' is not one of"),
        (("--output-schema", "id"), 3, "output is the schema 'id'"),
        (("--output-schema", "id:Int64"), 2, "--output-schema is name=Type"),
        (("--output-schema", "id=Int64,=x"), 2, "--output-schema is name=Type"),
        (("--output-schema", "{"), 2, "not valid JSON"),
        (("--input-schema", "id=Utf8"), 1, ""),
        (("--input", "absent.json"), 3, "absent.json"),
        (("--input", "rows.txt"), 2, "the format of 'rows.txt' is not known"),
        (("--allow", "json", "--allow", "not a module"), 3, "allow"),
        (("--network", "nonsense"), 3, "nonsense"),
    ],
)
def test_wrong_usage(folder: Path, arguments: tuple[str, ...], code: int, message: str) -> None:
    done = debug(folder, *arguments)
    assert (done.returncode, message in done.stderr) == (code, True), done.stderr + done.stdout


def test_schemas_with_brackets_and_by_name(folder: Path) -> None:
    (folder / "schemas").mkdir()
    (folder / "schemas" / "out.toml").write_text('[fields]\nid = "Int64!"\n', encoding="utf-8")
    assert debug(folder, "--output-schema", "out").returncode == 0
    nested = "id=Struct<a: Int64, b: List<Utf8>>,d=Decimal(10,2)"
    (folder / "double.py").write_text("return [{'id': {'a': 1, 'b': ['x']}, 'd': None}]", encoding="utf-8")
    done = debug(folder, "--output-schema", nested, "--json", "--row", "0")
    assert json.loads(done.stdout)["rows"] == [{"id": {"a": 1, "b": ["x"]}, "d": None}]


def test_control_characters_do_not_reach_the_terminal(folder: Path) -> None:
    (folder / "double.py").write_text("log.info('\\x1b[31mred')\nreturn [{'id': 1}]", encoding="utf-8")
    done = debug(folder)
    assert "\x1b" not in done.stdout
    assert "\\x1b[31mred" in done.stdout


# ---- runtimes and doctor ---------------------------------------------------------------------------------------------


def test_runtime_list_describe_and_remove(folder: Path) -> None:
    runtimes = {"QANAT_RUNTIMES": str(folder / "runtimes")}
    listed = json.loads(qanat("runtime", "list", "--json", cwd=folder, **runtimes).stdout)
    assert [item["name"] for item in listed] == ["default"]
    described = json.loads(qanat("runtime", "describe", cwd=folder, **runtimes).stdout)
    assert described["name"] == "default"
    assert Path(described["launcher"]).is_file()
    done = qanat("runtime", "remove", "absent", cwd=folder, **runtimes)
    assert (done.returncode, "there is no runtime 'absent'" in done.stderr) == (3, True)
    done = qanat("runtime", "create", "mine", cwd=folder, **runtimes)
    assert (done.returncode, "--requirements FILE" in done.stderr) == (3, True)


def test_runtime_create_says_what_pip_said(folder: Path) -> None:
    (folder / "requirements.txt").write_text("./absent-1.0-py3-none-any.whl\n", encoding="utf-8")
    done = qanat(
        "runtime", "create", "mine", "--requirements", "requirements.txt", cwd=folder,
        QANAT_RUNTIMES=str(folder / "runtimes"),
    )  # fmt: skip
    assert done.returncode == 1
    assert "absent-1.0" in done.stderr
    assert done.stderr.splitlines()[-1] == "  fix: the lines above say why; nothing was left behind"


def test_runtime_check(folder: Path) -> None:
    done = qanat("runtime", "check", "--json", cwd=folder)
    checked = json.loads(done.stdout)
    assert (checked["ok"], checked["problems"], done.returncode) == (True, [], 0)
    assert {"json", "math", "time"} <= set(checked["imports"])


def test_doctor_says_which_tier_runs(folder: Path) -> None:
    done = qanat("doctor", "--json", cwd=folder)
    sandbox = json.loads(done.stdout)["sandbox"]
    assert sandbox["tier"] in ("full", "reduced")
    assert sandbox["seccomp"]
    assert sandbox["landlock_abi"] >= 1
    text = qanat("doctor", cwd=folder).stdout
    assert f"sandbox    {sandbox['tier']}" in text
    assert "runtime    default" in text


def test_doctor_follows_the_administrators_file(folder: Path) -> None:
    (folder / "qanat").mkdir()
    (folder / "qanat" / "qanat.toml").write_text('[sandbox]\ntier = "sloppy"\n', encoding="utf-8")
    done = qanat("doctor", cwd=folder, XDG_CONFIG_HOME=str(folder))
    assert "none: statements cannot be run" in done.stdout
    assert 'must be "full" or "reduced"' in done.stdout


def test_a_task_whose_statement_fails_shows_the_traceback_before_the_three_lines(folder: Path) -> None:
    task = """
[connections.here]
uri = "sqlite:///here.db?create=true"
[task]
name = "halves"
[source]
connection = "here"
query = "select 0 as id"
[[process]]
statement = "x = INPUT_DATA[0]['id']\\nreturn [{'id': 1 // x}]"
output = { id = "Int64" }
[sink]
connection = "here"
table = "halves"
"""
    (folder / "halves.toml").write_text(task, encoding="utf-8")
    done = qanat("run", "halves.toml", cwd=folder)
    *shown, what, where, fix = done.stderr.splitlines()
    assert done.returncode == 1
    assert '  File "process[0]", line 2, in <statement>' in shown
    assert (
        what
        == "error: statement process[0], line 2, row 0: failed: ZeroDivisionError: integer division or modulo by zero"
    )
    assert where == "where: halves.toml, row 0"
    assert "`qanat process debug`" in fix
