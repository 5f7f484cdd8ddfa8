"""Statements in tasks: what they see, several in a row, schemas by name, checkpoints and cycles, failures, kills."""

from __future__ import annotations

import datetime
import json
import logging
import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Mapping
from decimal import Decimal
from pathlib import Path
from typing import Any

import polars as pl
import pytest

import qanat as qn

OUTPUT = {"id": "Int64", "note": "Utf8"}
Plan = dict[str, Any]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder with a source of ten numbered flights."""
    with qn.connect(f"sqlite:///{tmp_path / 'ops.db'}") as ops:
        ops.insert("flights", flights(1, 10), mode="create")
    return tmp_path


def flights(first: int, last: int) -> pl.DataFrame:
    ids = range(first, last + 1)
    return pl.DataFrame({"id": ids, "carrier": [f"C{i % 3}" for i in ids], "delay": [i * 1.5 for i in ids]})


def plan_of(folder: Path, *steps: Mapping[str, Any] | str, **parts: dict[str, Any]) -> Plan:
    """From flights past :checkpoint through the steps (a text: its statement) into the table `out`."""
    plan: Plan = {
        "connections": {
            "ops": {"type": "sqlite", "path": str(folder / "ops.db")},
            "warehouse": {"type": "sqlite", "path": str(folder / "warehouse.db")},
        },
        "task": {"name": "move"},
        "source": {"connection": "ops", "query": "select * from flights where id > :checkpoint order by id"},
        "process": [
            {"output": OUTPUT, "mode": "bulk"} | ({"statement": step} if isinstance(step, str) else dict(step))
            for step in steps
        ],
        "sink": {"connection": "warehouse", "table": "out"},
        "checkpoint": {"column": "id", "initial": 0},
    }
    for name, part in parts.items():
        plan[name] = plan[name] | part
    return plan


def cycle_of(folder: Path, *steps: Mapping[str, Any] | str, **parts: dict[str, Any]) -> Plan:
    """The same where the statements alone decide what is new: no :checkpoint in the query."""
    plan = plan_of(folder, *steps, **parts)
    plan["source"]["query"] = "select * from flights order by id"
    del plan["checkpoint"]["initial"]
    return plan


def add(folder: Path, frame: pl.DataFrame) -> None:
    with qn.connect(f"sqlite:///{folder / 'ops.db'}") as ops:
        ops.insert("flights", frame)


def moved(folder: Path, columns: str = "id, note") -> list[tuple[Any, ...]]:
    file = folder / "warehouse.db"
    if not file.exists():
        return []
    with qn.connect(f"sqlite:///{file}") as warehouse:
        if "out" not in warehouse.tables()["name"].to_list():
            return []
        return warehouse.execute(f"select {columns} from out order by rowid").rows()


def stored(folder: Path) -> str | None:
    with qn.connect(f"sqlite:///{folder / 'warehouse.db'}") as warehouse:
        if "qanat_checkpoints" not in warehouse.tables()["name"].to_list():
            return None
        rows = warehouse.execute("select value from qanat_checkpoints where task = 'move'").rows()
        return str(rows[0][0]) if rows else None


# ---- what a statement sees -------------------------------------------------------------------------------------------


@pytest.mark.trace("P8")
def test_input_data_is_the_rows_of_the_source(folder: Path) -> None:
    statement = """
assert isinstance(INPUT_DATA, list) and isinstance(INPUT_DATA[0], dict)
return [{"id": row["id"], "note": f"{len(INPUT_DATA)} {sorted(row)} {row['carrier']} {row['delay']}"}
        for row in INPUT_DATA]
"""
    keys = ["carrier", "delay", "id"]
    rows = [(i, f"{{}} {keys} C{i % 3} {i * 1.5}") for i in range(1, 11)]
    assert qn.Task(plan_of(folder, statement)).run().rows == 10
    assert moved(folder) == [(i, text.format(10)) for i, text in rows]
    (folder / "warehouse.db").unlink()
    assert qn.Task(plan_of(folder, {"statement": statement, "mode": "row"})).run().rows == 10
    assert moved(folder) == [(i, text.format(1)) for i, text in rows]
    (folder / "warehouse.db").unlink()
    assert qn.Task(plan_of(folder, {"statement": statement, "batch_rows": 4})).run().rows == 10
    assert moved(folder) == [(i, text.format(4 if i <= 8 else 2)) for i, text in rows]


CHECKPOINTS: list[tuple[str, list[Any], Any]] = [
    ("Int64", [1, 2**62], 2**62),
    ("Int8", [1, -(2**7)], -(2**7)),
    ("UInt64", [1, 2**63 - 1], 2**63 - 1),
    ("Float64", [0.5, 0.1], 0.1),
    ("Utf8", ["a", "Zürich'; --"], "Zürich'; --"),
    ("Decimal(20,3)", [Decimal("1"), Decimal("12345678901234567.125")], Decimal("12345678901234567.125")),
    ("Date32", [datetime.date(2013, 1, 1), datetime.date(2013, 12, 31)], datetime.date(2013, 12, 31)),
    ("Timestamp[us]", [datetime.datetime(2013, 1, 1)] * 2, datetime.datetime(2013, 1, 1)),
    (
        "Timestamp[us, UTC]",
        [datetime.datetime(2013, 1, 1, tzinfo=datetime.UTC)] * 2,
        datetime.datetime(2013, 1, 1, tzinfo=datetime.UTC),
    ),
]


@pytest.mark.trace("P9", "P14")
@pytest.mark.parametrize(("kind", "values", "last"), CHECKPOINTS, ids=[kind for kind, _, _ in CHECKPOINTS])
def test_data_checkpoint_is_the_last_rows_value_of_the_run_before(
    folder: Path, kind: str, values: list[Any], last: Any
) -> None:
    made = repr(values).replace("Decimal(", "decimal(")
    prelude = "import datetime\ndecimal = type(INPUT_DATA[0]['price'])\n"
    statement = f"""{prelude}
return [{{"at": at, "seen": repr(DATA_CHECKPOINT)}} for at in {made}]
"""
    step = {"statement": statement, "output": {"at": kind, "seen": "Utf8"}}
    sink = {"mode": "upsert", "key": "at"}
    query = "select 1 as id, 1.5 as price"
    source = {"query": query, "types": {"price": "Decimal(3,1)"}}
    plan = cycle_of(folder, step, sink=sink, checkpoint={"column": "at"})
    plan["source"] |= source
    if values[0] == values[1]:
        plan["sink"] |= {"mode": "append"}
        del plan["sink"]["key"]
        plan["process"][0]["statement"] = statement.replace(made, repr(values[:1]))
    first = qn.Task(plan).run()
    assert first.checkpoint_before is None
    assert {seen for (seen,) in moved(folder, "seen")} == {"None"}
    plan["sink"] |= {"mode": "upsert", "key": "at", "table": "out"}
    with qn.connect(f"sqlite:///{folder / 'warehouse.db'}") as warehouse:
        warehouse.execute("create unique index if not exists out_at on out (at)")
    qn.Task(plan).run()
    assert {seen for (seen,) in moved(folder, "seen")} == {repr(last)}


@pytest.mark.trace("P9")
def test_initial_binds_the_placeholder_and_not_data_checkpoint(folder: Path) -> None:
    statement = 'return [{"id": row["id"], "note": str(DATA_CHECKPOINT)} for row in INPUT_DATA]'
    plan = plan_of(folder, statement, checkpoint={"initial": 8})
    assert qn.Task(plan).run().rows == 2
    add(folder, flights(11, 11))
    assert qn.Task(plan).run().rows == 1
    assert moved(folder) == [(9, "None"), (10, "None"), (11, "10")]
    plan["sink"] |= {"mode": "upsert", "key": "id"}
    with qn.connect(f"sqlite:///{folder / 'warehouse.db'}") as warehouse:
        warehouse.execute("create unique index out_id on out (id)")
    assert qn.Task(plan).run(full=True).rows == 3  # a full run begins anew
    assert {note for _, note in moved(folder)} == {"None"}


# ---- checkpoints and cycles ------------------------------------------------------------------------------------------

NEXT_THREE = """
begin = 0 if DATA_CHECKPOINT is None else DATA_CHECKPOINT
part = [row for row in INPUT_DATA if row["id"] > begin][:3]
log.info(f"{len(part)} of {len(INPUT_DATA)}")
return [{"id": row["id"], "note": f"from {begin}"} for row in part]
"""


@pytest.mark.trace("P14", "P15")
def test_each_run_takes_the_next_part(folder: Path) -> None:
    plan = cycle_of(folder, NEXT_THREE)
    task = qn.Task(plan)
    for begin, count in ((0, 3), (3, 3), (6, 3), (9, 1)):
        result = task.run()
        assert (result.rows, result.checkpoint_after) == (count, str(begin + count))
        assert moved(folder)[begin:] == [(i, f"from {begin}") for i in range(begin + 1, begin + count + 1)]
        assert stored(folder) == str(begin + count)
    assert task.run().rows == 0
    assert stored(folder) == "10"
    add(folder, flights(11, 12))
    assert task.run().rows == 2
    assert [i for i, _ in moved(folder)] == list(range(1, 13))


@pytest.mark.trace("P14")
def test_the_checkpoint_is_of_the_output_and_of_its_last_row(folder: Path) -> None:
    """The column is one that only the statement makes; rows that it drops do not count."""
    statement = 'return [{"batch": 7, "note": row["carrier"]} for row in INPUT_DATA if row["id"] < 3]'
    step = {"statement": statement, "output": {"batch": "Int32", "note": "Utf8"}}
    result = qn.Task(cycle_of(folder, step, checkpoint={"column": "batch"})).run()
    assert (result.rows, result.checkpoint_after) == (2, "7")


def test_order_is_asked_for_where_rows_could_be_doubled(folder: Path) -> None:
    falling = 'return [{"id": i, "note": str(DATA_CHECKPOINT)} for i in (3, 1, 2)]'
    with pytest.raises(qn.DataError, match="the last row does not have the highest value") as caught:
        qn.Task(cycle_of(folder, falling)).run()
    assert caught.value.hint == "let the statement return its rows in the order of id"
    assert moved(folder) == []
    again = 'return [{"id": 5, "note": ""}]'
    task = qn.Task(cycle_of(folder, again))
    assert task.run().rows == 1
    with pytest.raises(qn.DataError, match="the value is not past the checkpoint") as caught:
        task.run()
    assert "DATA_CHECKPOINT" in caught.value.hint
    assert moved(folder) == [(5, "")]


@pytest.mark.trace("P14")
def test_the_last_row_counts_in_any_order_where_rows_cannot_be_doubled(folder: Path) -> None:
    falling = 'return [{"id": i, "note": str(DATA_CHECKPOINT)} for i in (3, 1, 2)]'
    task = qn.Task(cycle_of(folder, falling, sink={"mode": "upsert", "key": "id"}))
    assert task.run().checkpoint_after == "2"
    assert task.run().checkpoint_before == "2"
    assert sorted(moved(folder)) == [(1, "2"), (2, "2"), (3, "2")]


@pytest.mark.parametrize("null", ["None", "1 if DATA_CHECKPOINT else None"])
def test_a_null_in_the_checkpoint_column_is_an_error(folder: Path, null: str) -> None:
    with pytest.raises(qn.DataError, match="the value is null") as caught:
        qn.Task(cycle_of(folder, f'return [{{"id": {null}, "note": ""}}]')).run()
    assert caught.value.hint == "let the statement return rows only with a value of id"
    assert moved(folder) == []


# ---- several steps, schemas by name ----------------------------------------------------------------------------------


def test_steps_are_run_one_behind_the_other(folder: Path) -> None:
    double = {"statement": 'return [{"id": r["id"] * 2} for r in INPUT_DATA]', "output": {"id": "Int64"}}
    names = {
        "statement": 'return [{"id": r["id"], "note": f"n{r[\'id\']}"} for r in INPUT_DATA if r["id"] > 4]',
        "input": {"id": "Int64"},
        "mode": "row",
    }
    last = {"statement": 'return [r | {"note": r["note"] * 2} for r in INPUT_DATA]', "input": OUTPUT}
    plan = cycle_of(folder, double, names, last)
    assert qn.Task(plan).run().rows == 8
    assert moved(folder) == [(i, f"n{i}n{i}") for i in range(6, 21, 2)]


TASK_FILE = """\
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
query = "select id, carrier from flights where id > :checkpoint order by id"

[[process]]
statement = "statements/first.py"
output = "flight"

[[process]]
statement = '''
return [{"id": r["id"], "note": "${HOME} " + r["carrier"]} for r in INPUT_DATA]
'''
mode = "bulk"
memory = "256MB"
timeout = 20
input = "flight"
output = { id = "Int64!", note = "Utf8" }

[sink]
connection = "warehouse"
table = "out"

[checkpoint]
column = "id"
initial = 0
"""


@pytest.fixture
def file(folder: Path) -> Path:
    (folder / "statements").mkdir()
    (folder / "schemas").mkdir()
    (folder / "schemas" / "flight.toml").write_text('[fields]\nid = "Int64!"\ncarrier = "Utf8"\n', encoding="utf-8")
    (folder / "statements" / "first.py").write_text("rows = INPUT_DATA\nreturn rows\n", encoding="utf-8")
    task = folder / "move.toml"
    task.write_text(TASK_FILE, encoding="utf-8")
    return task


@pytest.mark.trace("P16")
def test_schemas_are_kept_by_name_and_shared_by_steps(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(file.parent / "schemas")  # files are taken from the folder of the task
    assert qn.Task.load(file).run().rows == 10
    assert moved(file.parent) == [(i, f"${{HOME}} C{i % 3}") for i in range(1, 11)]


ERRORS: list[tuple[str, str, str]] = [
    (
        'input = "flight"',
        'input = { id = "Int64", carrier = "Int64" }',
        r"move.toml:27: process\[1\].input is not what ",
    ),
    ('input = "flight"', 'input = "flyght"', r"move.toml:27: process\[1\].input is the schema 'flyght'.*are: flight"),
    (
        'output = "flight"',
        'output = { id = "Int46" }',
        r'move.toml:18: process\[0\].output: the type of "id": type "Int46"',
    ),
    ('output = "flight"', "output = 3", r"move.toml:18: process\[0\].output is an integer; it must be an array"),
    ('output = "flight"', "", r"move.toml:16: process\[0\].output is missing"),
    ('note = "Utf8" }', 'nota = "Utf8" }\ncheckpoint = "id"', r"move.toml:29: process\[1\].checkpoint: a task has one"),
    ('id = "Int64!", ', "", r'move.toml:35: checkpoint.column: the column "id" is not in process\[1\].output'),
    (
        'mode = "bulk"',
        'mood = "bulk"',
        r"move.toml:24: process\[1\].mood is not known here; did you mean process\[1\].mode",
    ),
    ('mode = "bulk"', 'mode = "bulky"', r'move.toml:24: process\[1\].mode is "bulky"'),
    ('mode = "bulk"', "concurrency = 0", r"move.toml:24: process\[1\].concurrency is 0"),
    ('mode = "bulk"', 'network = "everything"', r'move.toml:24: process\[1\].network is "everything"'),
    ('mode = "bulk"', 'runtime = "none-such"', r"move.toml:24: process\[1\].runtime: there is no runtime 'none-such'"),
    ('memory = "256MB"', 'memory = "much"', r"move.toml:25: process\[1\].memory is 'much'"),
    ("timeout = 20", "timeout = 0", r"move.toml:26: process\[1\].timeout is 0"),
    (
        "statements/first.py",
        "statements/none.py",
        r"move.toml:17: process\[0\].statement: there is no file '.*none.py'",
    ),
    ('[[process]]\nstatement = "', '[process]\nstatement = "', r"move.toml:\d+: not valid TOML|process is a table"),
]


@pytest.mark.trace("P16")
@pytest.mark.parametrize(("old", "new", "message"), ERRORS, ids=[new or "nothing" for _, new, _ in ERRORS])
def test_what_is_wrong_with_a_step_is_said_when_the_task_is_planned(
    file: Path, old: str, new: str, message: str
) -> None:
    assert old in TASK_FILE
    file.write_text(TASK_FILE.replace(old, new, 1), encoding="utf-8")
    with pytest.raises(qn.ConfigurationError, match=message):
        qn.Task.load(file)


def test_overrides_reach_the_steps(file: Path) -> None:
    qn.Task.load(file, {"process[1].statement": 'return [{"id": 1, "note": "set"}]'}).run()
    assert moved(file.parent) == [(1, "set")]
    with pytest.raises(qn.ConfigurationError, match=r"override of process\[1\].mode: process\[1\].mode is "):
        qn.Task.load(file, {"process[1].mode": "bulky"})
    with pytest.raises(qn.ConfigurationError, match=r"process\[2\].mode cannot be set"):
        qn.Task.load(file, {"process[2].mode": "row"})


def test_a_statement_file_that_is_not_utf8_is_named_with_its_line(file: Path) -> None:
    (file.parent / "statements" / "first.py").write_bytes(b"x = 1\ny = '\xff'\nreturn []")
    with pytest.raises(qn.ConfigurationError, match=r"move.toml:17: process\[0\].statement: '.*first.py', line 2: "):
        qn.Task.load(file)


def test_an_input_that_the_source_does_not_give_is_told_before_a_row_is_read(folder: Path) -> None:
    step = {"statement": "return []", "input": {"id": "Int64", "carrier": "Utf8"}}
    with pytest.raises(qn.ConfigurationError, match=r'process\[0\].input is not .*"delay" is not in the input schema'):
        qn.Task(plan_of(folder, step)).run()


def test_an_expression_without_rows_has_no_type_to_complain_of(folder: Path) -> None:
    """SQLite tells the type of an expression by its values: with nothing new there are none."""
    step = {"statement": 'return [r | {"note": ""} for r in INPUT_DATA]', "input": {"id": "Int64!"}}
    plan = plan_of(folder, step)
    plan["source"]["query"] = "select id + 0 as id from flights where id > :checkpoint order by id"
    task = qn.Task(plan)
    assert [task.run().rows, task.run().rows] == [10, 0]
    plan["source"]["query"] = "select null as id where :checkpoint >= 0"
    with pytest.raises(qn.QueryExecutionError, match='row 0, field "id": expected Int64!, found null'):
        qn.Task(plan).run()


def test_a_table_is_read_past_the_checkpoint(folder: Path) -> None:
    plan = plan_of(folder, 'return [{"id": r["id"], "note": r["carrier"]} for r in INPUT_DATA]')
    plan["source"] = {"connection": "ops", "table": "flights"}
    task = qn.Task(plan)
    assert [task.run().rows, task.run().rows] == [10, 0]
    add(folder, flights(11, 12))
    assert task.run().rows == 2
    assert [i for i, _ in moved(folder)] == list(range(1, 13))


# ---- failures --------------------------------------------------------------------------------------------------------

FAILURES: list[tuple[str, dict[str, Any], type[qn.QanatError], str]] = [
    (
        "x = 1\ny = x / (INPUT_DATA[0]['id'] - 1)\nreturn []",
        {},
        qn.QueryExecutionError,
        r"line 2: failed: ZeroDivision",
    ),
    ("log.error('no good')\nreturn []", {}, qn.QueryExecutionError, r"line 1: failed: .*no good"),
    ("return [{'id': 'one', 'note': ''}]", {}, qn.QueryExecutionError, r'row 0, field "id": expected Int64, found str'),
    ("return [{'id': 1}]", {}, qn.QueryExecutionError, r'field "note": expected Utf8, found a dict with "id"'),
    ("x = 1\nimport os\nreturn []", {}, qn.QueryExecutionError, r"line 2: rejected: import of 'os' is not allowed"),
    ("x = (\nreturn []", {}, qn.QueryExecutionError, r"line 1: rejected: "),
    ("while True:\n    pass\nreturn []", {"timeout": 0.2}, qn.QueryTimeoutError, r"timed_out: "),
    ("x = 'a' * 2**30\nreturn []", {"memory": "64MB"}, qn.OutOfMemoryError, r"memory_exceeded: .*64 MiB"),
]


@pytest.mark.trace("P10")
@pytest.mark.parametrize(("statement", "limits", "kind", "message"), FAILURES, ids=[m for _, _, _, m in FAILURES])
def test_a_statement_that_fails_changes_nothing(
    folder: Path, statement: str, limits: dict[str, Any], kind: type[qn.QanatError], message: str
) -> None:
    good = 'return [{"id": row["id"], "note": ""} for row in INPUT_DATA]'
    assert qn.Task(plan_of(folder, good, checkpoint={"initial": 7})).run().rows == 3
    (folder / "bad.py").write_text(statement, encoding="utf-8")
    file = folder / "move.toml"
    plan = plan_of(folder, {"statement": str(folder / "bad.py"), "name": "bad.py"} | limits)
    plan["source"]["query"] = "select 1 as id where coalesce(:checkpoint, 0) is not null"
    before = moved(folder), stored(folder)
    assert before[1] == "10"
    task = qn.Task(plan)
    with pytest.raises(kind, match=message) as caught:
        task.run()
    assert str(caught.value).startswith("statement bad.py")
    assert next(iter(limits), "correct the statement") in str(caught.value.hint)
    assert task.last is not None
    assert (task.last.rows, task.last.commits) == (0, 0)
    assert (moved(folder), stored(folder)) == before
    assert not file.exists()


def test_a_traceback_is_in_the_detail_and_has_no_frame_of_ours(folder: Path) -> None:
    statement = "def inner(row):\n    return row['nope']\n\nreturn [inner(row) for row in INPUT_DATA]\n"
    with pytest.raises(qn.QueryExecutionError, match="line 2: failed: KeyError: 'nope'") as caught:
        qn.Task(plan_of(folder, statement)).run()
    assert caught.value.detail is not None
    assert 'File "process[0]", line 2, in inner' in caught.value.detail
    assert "`qanat process debug`" in str(caught.value.hint)
    assert str(Path(qn.__file__).parent) not in caught.value.detail


def test_slices_that_were_committed_before_a_failure_stay(folder: Path) -> None:
    statement = """
if INPUT_DATA[0]["id"] == 8:
    raise ValueError("eight")
return [{"id": row["id"], "note": ""} for row in INPUT_DATA]
"""
    step = {"statement": statement, "mode": "bulk", "batch_rows": 1, "name": "eight.py"}
    plan = plan_of(folder, step, checkpoint={"every_rows": 2}, source={"batch_rows": 1})
    task = qn.Task(plan)
    with pytest.raises(qn.QueryExecutionError, match=r"statement eight.py, line 3: failed: ValueError: eight"):
        task.run()
    assert task.last is not None
    whole = task.last.rows
    assert [i for i, _ in moved(folder)] == list(range(1, whole + 1))
    assert stored(folder) == (str(whole) if whole else None)
    assert whole % 2 == 0
    plan["process"][0]["statement"] = statement.replace("== 8", "== 0")
    assert qn.Task(plan).run().rows == 10 - whole
    assert [i for i, _ in moved(folder)] == list(range(1, 11))


def test_a_source_that_fails_halfway_is_blamed_itself(folder: Path) -> None:
    query = "select id, abs(case when id = 7 then -9223372036854775808 else id end) as x from flights"
    plan = cycle_of(folder, 'return [{"id": r["id"], "note": ""} for r in INPUT_DATA]', source={"batch_rows": 2})
    plan["source"]["query"] = query
    with pytest.raises(qn.QanatError, match='source "ops": integer overflow'):
        qn.Task(plan).run()
    assert moved(folder) == []


def test_a_second_step_that_fails_is_named(folder: Path) -> None:
    first = {"statement": 'return [{"id": r["id"], "note": ""} for r in INPUT_DATA]', "name": "first.py"}
    second = {"statement": 'x = 1\nraise ValueError("two")\nreturn []', "name": "second.py"}
    with pytest.raises(qn.QueryExecutionError, match=r"^statement second.py, line 2: failed: ValueError: two"):
        qn.Task(plan_of(folder, first, second)).run()


# ---- what a statement says -------------------------------------------------------------------------------------------


def test_logs_arrive_with_their_level_and_line(folder: Path, caplog: pytest.LogCaptureFixture) -> None:
    statement = """log.debug("small")
log.info(f"{len(INPUT_DATA)} rows")
log.warn("odd")
print("printed")
return [{"id": row["id"], "note": ""} for row in INPUT_DATA]
"""
    with caplog.at_level(logging.DEBUG, logger="qanat"):
        qn.Task(plan_of(folder, {"statement": statement, "name": "say.py"})).run()
    said = [
        (r.levelname, r.getMessage()) for r in caplog.records if r.name == "qanat.task" and "say.py" in r.getMessage()
    ]
    assert said[:4] == [
        ("DEBUG", "move: say.py, line 1: small"),
        ("INFO", "move: say.py, line 2: 10 rows"),
        ("WARNING", "move: say.py, line 3: odd"),
        ("INFO", "move: say.py, line 4: printed"),
    ]
    assert said[4][1].startswith("move: say.py: ok: 10 rows in, 10 rows out, ")


@pytest.mark.parametrize("log", [None, "warning"])
def test_the_command_line_shows_what_a_statement_says_and_how_it_ended(file: Path, log: str | None) -> None:
    (file.parent / "statements" / "first.py").write_text('log.warn("late")\nraise ValueError("no")\nreturn []\n')
    environment = {key: value for key, value in os.environ.items() if key != "QANAT_LOG"}
    if log is not None:
        environment["QANAT_LOG"] = log

    def run() -> subprocess.CompletedProcess[str]:
        program = [sys.executable, "-m", "qanat", "run", str(file)]
        return subprocess.run(program, capture_output=True, text=True, check=False, env=environment)

    done = run()
    assert done.returncode == 1, done.stderr
    assert "statement statements/first.py, line 2, row 0: failed: ValueError: no" in done.stderr
    assert done.stderr.count("move: statements/first.py, line 1, row 0: late") == 1
    assert done.stdout == ""
    (file.parent / "statements" / "first.py").write_text('log.info("fine")\nreturn INPUT_DATA\n')
    done = run()
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("move: 10 rows in 1 commit; checkpoint 0 -> 10")
    assert done.stderr.count("move: statements/first.py, line 1, row 9: fine") == (1 if log is None else 0)
    assert done.stderr.count("move: process[1]: ok: 10 rows in, 10 rows out") == (1 if log is None else 0)


# ---- one file, cancelling --------------------------------------------------------------------------------------------


def test_source_and_sink_may_be_one_sqlite_file(folder: Path) -> None:
    plan = plan_of(folder, 'return [{"id": r["id"], "note": r["carrier"]} for r in INPUT_DATA]')
    plan["sink"]["connection"] = "ops"
    assert qn.Task(plan).run().rows == 10
    with qn.connect(f"sqlite:///{folder / 'ops.db'}") as ops:
        assert ops.execute("select count(*) from out").row(0) == (10,)


def test_a_run_that_is_cancelled_ends_its_statement(folder: Path) -> None:
    plan = plan_of(folder, {"statement": "await sleep(600)\nreturn []", "timeout": 1000})
    began = time.monotonic()

    def stop(progress: qn.task.Progress) -> None:
        if progress.stage == "read" and progress.seconds > 0.5:
            raise KeyError("enough")

    with pytest.raises(KeyError, match="enough"):
        qn.Task(plan).run(progress=stop)
    assert time.monotonic() - began < 60  # not the 600 seconds of the statement
    assert moved(folder) == []


def test_a_run_that_is_cancelled_while_its_statement_is_checked_tells_its_stage(folder: Path) -> None:
    stages: list[str] = []
    statement = 'return [{"id": row["id"], "note": ""} for row in INPUT_DATA]'
    qn.Task(plan_of(folder, statement)).run(progress=lambda progress: stages.append(progress.stage))
    assert list(dict.fromkeys(stages)) == ["connect", "read", "write", "commit", "done"]


# ---- PostgreSQL ------------------------------------------------------------------------------------------------------


@pytest.mark.trace("P14", "P15")
def test_a_statement_stands_between_two_tables_of_postgresql(postgres_uri: str) -> None:
    with qn.connect(postgres_uri) as db:
        db.insert("flights", flights(1, 10), mode="create")
    plan = cycle_of(Path(), NEXT_THREE)
    plan["connections"] = {"ops": {"uri": postgres_uri}, "warehouse": {"uri": postgres_uri}}
    task = qn.Task(plan)
    assert [task.run().rows for _ in range(5)] == [3, 3, 3, 1, 0]
    plan["process"][0]["statement"] = 'log.error("stop")\nreturn [{"id": 11, "note": ""}]'
    with pytest.raises(qn.QueryExecutionError, match="stop"):
        qn.Task(plan).run()
    with qn.connect(postgres_uri) as db:
        assert db.execute("select id, note from out order by id").rows() == [
            (i, f"from {(i - 1) // 3 * 3}") for i in range(1, 11)
        ]
        assert db.execute("select value from qanat_checkpoints").rows() == [("10",)]


# ---- killed at any instant -------------------------------------------------------------------------------------------

KILLS = 100 if os.environ.get("QANAT_TORTURE") else 15
CHILD = """
import json, signal, sys
import qanat as qn
task = qn.Task(json.loads(sys.argv[1]))
stage, delay = sys.argv[2], float(sys.argv[3])
armed = False

def arm(progress):  # nobody handles the alarm: the process is ended where it stands
    global armed
    if not armed and progress.stage == stage:
        armed = True
        signal.setitimer(signal.ITIMER_REAL, delay)

task.run(progress=arm)
"""
LABEL = """
return [{"id": row["id"], "note": f"{row['carrier']}{row['id'] % 7}"} for row in INPUT_DATA if row["id"] % 5]
"""


@pytest.mark.trace("P14")
def test_kills_at_any_instant_lose_and_double_nothing(folder: Path) -> None:
    with qn.connect(f"sqlite:///{folder / 'ops.db'}") as ops:
        ops.insert("flights", flights(1, 6000), mode="replace")
    step = {"statement": LABEL, "batch_rows": 100}
    plan = plan_of(folder, step, checkpoint={"every_rows": 400}, source={"batch_rows": 250})
    wanted = [(i, f"C{i % 3}{i % 7}") for i in range(1, 6001) if i % 5]
    other = {"task": {"name": "other"}, "sink": {"connection": "warehouse", "table": "other"}}
    qn.Task(plan | other).run()
    began = time.perf_counter()
    with qn.connect(f"sqlite:///{folder / 'warehouse.db'}") as warehouse:
        warehouse.execute("drop table other")
        warehouse.execute("delete from qanat_checkpoints")
    qn.Task(plan | other).run()
    duration = time.perf_counter() - began
    dice = random.Random(20131230)
    killed, between, draws = 0, 0, 0
    while killed < KILLS or between == 0:
        draws += 1
        assert draws <= 12 * KILLS, f"of {draws} runs {killed} were killed, {between} between commits"
        stage = dice.choice(["connect", "commit"])  # a first interpreter takes its time: some are killed past it
        delay = str(max(dice.uniform(0, duration), 1e-4))
        child = [sys.executable, "-c", CHILD, json.dumps(plan), stage, delay]
        done = subprocess.run(child, capture_output=True, check=False)
        assert done.returncode in (0, -signal.SIGALRM), done.stderr.decode()
        killed += done.returncode != 0
        rows = moved(folder)
        assert rows == wanted[: len(rows)]  # whole slices in their order, each once
        assert stored(folder) == (str(rows[-1][0]) if rows else None)
        between += done.returncode != 0 and 0 < len(rows) < len(wanted)
        if len(rows) == len(wanted):
            with qn.connect(f"sqlite:///{folder / 'warehouse.db'}") as warehouse:
                warehouse.execute("drop table out")
                warehouse.execute("delete from qanat_checkpoints where task = 'move'")
    qn.Task(plan).run()
    assert moved(folder) == wanted
