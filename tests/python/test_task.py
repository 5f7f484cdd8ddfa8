"""Tasks from Python: files, overrides, checkpoints of every type, modes, failures, kills, and TOML of any kind."""

from __future__ import annotations

import datetime
import itertools
import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from decimal import Decimal
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from polars.testing import assert_frame_equal

import qanat as qn

EXAMPLES = Path(__file__).resolve().parent.parent.parent / "examples"

VALID = """\
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
table = "late"
mode = "append"

[checkpoint]
column = "id"
initial = 0
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder with a valid task file and a source of three rows."""
    (tmp_path / "move.toml").write_text(VALID, encoding="utf-8")
    with qn.connect(f"sqlite:///{tmp_path / 'ops.db'}") as ops:
        ops.insert("flights", flights(1, 2, 3), mode="create")
    return tmp_path


def flights(*ids: int) -> pl.DataFrame:
    schema = {"id": pl.Int64, "carrier": pl.String, "delay": pl.Float64}
    return pl.DataFrame([(i, f"C{i % 7}", i / 2) for i in ids], schema=schema, orient="row")


def rows_of(uri: str, sql: str) -> list[tuple[Any, ...]]:
    with qn.connect(uri) as db:
        return db.execute(sql).rows()


def sqlite(path: Path) -> str:
    return f"sqlite:///{path}"


def plan_of(source_uri: str, sink_uri: str, **parts: dict[str, Any]) -> dict[str, Any]:
    """A plan between two databases; parts replace or extend its tables."""
    plan: dict[str, Any] = {
        "connections": {"a": {"uri": source_uri}, "b": {"uri": sink_uri}},
        "task": {"name": "move"},
        "source": {"connection": "a", "query": "select * from s where id > :checkpoint order by id"},
        "sink": {"connection": "b", "table": "t"},
        "checkpoint": {"column": "id", "initial": 0},
    }
    for name, part in parts.items():
        plan[name] = part if part.pop("_whole", False) else plan[name] | part
    return plan


# ---- files -----------------------------------------------------------------------------------------------------------


def test_a_task_moves_what_is_new_and_nothing_twice(folder: Path) -> None:
    task = qn.Task.load(folder / "move.toml")
    assert task.name == "move"
    assert task.last is None
    first = task.run()
    assert (first.rows, first.commits, first.checkpoint_before, first.checkpoint_after) == (3, 1, "0", "3")
    again = qn.Task.load(folder / "move.toml").run()
    assert (again.rows, again.commits, again.checkpoint_before, again.checkpoint_after) == (0, 0, "3", "3")
    with qn.connect(sqlite(folder / "ops.db")) as ops:
        ops.insert("flights", flights(4, 5))
    assert task.run().rows == 2
    assert task.last is not None and task.last.rows == 2
    with qn.connect(sqlite(folder / "warehouse.db")) as warehouse:
        assert_frame_equal(warehouse.execute("select * from late order by id"), flights(1, 2, 3, 4, 5))


def test_paths_are_taken_from_the_folder_of_the_file(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    elsewhere = folder / "elsewhere"
    elsewhere.mkdir()
    monkeypatch.chdir(elsewhere)
    assert qn.Task.load("../move.toml").run().rows == 3
    assert list(elsewhere.iterdir()) == []


def test_a_source_file_that_is_not_there_is_not_made(folder: Path) -> None:
    (folder / "ops.db").unlink()
    with pytest.raises(qn.DatabaseConnectionError, match=r'source "ops"'):
        qn.Task.load(folder / "move.toml").run()
    assert not (folder / "ops.db").exists()


def test_included_connections_and_environment(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    head, _, tail = VALID.partition("[task]")
    shared = folder / "shared"
    shared.mkdir()
    (shared / "database.toml").write_text(head.replace('"ops.db"', '"../${OPS_FILE}"').replace('"ware', '"../ware'))
    (folder / "move.toml").write_text('include = "shared/database.toml"\n[task]' + tail, encoding="utf-8")
    with pytest.raises(qn.ConfigurationError, match=r"connections\.ops\.path uses the environment variable OPS_FILE"):
        qn.Task.load(folder / "move.toml")
    monkeypatch.setenv("OPS_FILE", "ops.db")
    assert qn.Task.load(folder / "move.toml").run().rows == 3


def test_overrides_set_keys_by_their_path(folder: Path) -> None:
    overrides = {"sink.table": "other", "sink.mode": "upsert", "sink.key": ["id"], "checkpoint.every_rows": 1}
    result = qn.Task.load(folder / "move.toml", overrides).run()
    assert (result.rows, result.commits) == (3, 3)
    assert rows_of(sqlite(folder / "warehouse.db"), "select count(*) from other") == [(3,)]
    with pytest.raises(qn.ConfigurationError, match="sink.table.x cannot be set"):
        qn.Task.load(folder / "move.toml", {"sink.table.x": 1})
    with pytest.raises(qn.ConfigurationError, match="no key path"):
        qn.Task.load(folder / "move.toml", {"sink..x": 1})
    with pytest.raises(qn.ConfigurationError, match=r"move\.toml, override of sink\.mode: sink\.mode is "):
        qn.Task.load(folder / "move.toml", {"sink.mode": "upsrt"})  # the file is right: no line of it is named


ERRORS = [
    ('mode = "append"', 'mod = "append"', r"move.toml:19: sink.mod is not known here; did you mean sink.mode\?"),
    ('mode = "append"', "mode = 3", r"move.toml:19: sink.mode is an integer; it must be a string"),
    ('mode = "append"', 'mode = "upsert"', r"move.toml:16: sink.key is missing"),
    ("initial = 0", "initial = 1979-05-27T07:32:00x", r"move.toml:\d+: not valid TOML"),
    ("initial = 0", "initial = nan", r"move.toml:23: checkpoint.initial is nan"),
    ("initial = 0", "initial = 99999999999999999999", r"move.toml:23: checkpoint.initial does not fit into 64 bits"),
    ("[task]", "[tusk]", r"move.toml:9: tusk is not known here; did you mean task\?"),
    (
        "[checkpoint]",
        '[[process]]\nstatement = "x.py"\n[checkpoint]',
        r"move.toml:22: process\[0\].statement: there is no",
    ),
    ('connection = "ops"', 'connection = "opps"', r'move.toml:13: source.connection is "opps", but there is no'),
    ('path = "ops.db"', 'path = "a\\u0000b"', r"move.toml:3: connections.ops.path has a NUL"),
]


@pytest.mark.parametrize(("old", "new", "message"), ERRORS, ids=[new for _, new, _ in ERRORS])
def test_errors_name_file_line_and_key(folder: Path, old: str, new: str, message: str) -> None:
    file = folder / "move.toml"
    file.write_text(VALID.replace(old, new, 1), encoding="utf-8")
    with pytest.raises(qn.QanatError, match=message) as caught:
        qn.Task.load(file)
    assert isinstance(caught.value, qn.ConfigurationError | qn.NotSupportedError)
    assert not (folder / "warehouse.db").exists()


def test_files_that_cannot_be_read(tmp_path: Path) -> None:
    with pytest.raises(qn.ConfigurationError, match="there is no file"):
        qn.Task.load(tmp_path / "none.toml")
    with pytest.raises(qn.ConfigurationError, match="cannot read"):
        qn.Task.load(tmp_path)
    (tmp_path / "bytes.toml").write_bytes(b"name = \xff")
    with pytest.raises(qn.ConfigurationError, match="not UTF-8"):
        qn.Task.load(tmp_path / "bytes.toml")
    (tmp_path / "large.toml").write_bytes(b"#" * (1 << 21))
    with pytest.raises(qn.ConfigurationError, match=r"is not a task file \(TOML, at most 1 MiB\)"):
        qn.Task.load(tmp_path / "large.toml")
    (tmp_path / "deep.toml").write_text("a = " + "[" * 5000 + "]" * 5000)
    with pytest.raises(qn.ConfigurationError, match="nested too deeply"):
        qn.Task.load(tmp_path / "deep.toml")


# ---- checkpoints of every type ---------------------------------------------------------------------------------------

DAY = datetime.date(2013, 12, 30)
MOMENT = datetime.datetime(2013, 12, 30, 23, 59, 59, 999999)
CHECKPOINTS: dict[str, tuple[Any, Callable[[int], Any]]] = {
    "int": (-(2**63), lambda i: (-(2**63), -1, 0, 1, 2**53 + 1, 2**63 - 2)[i] + 1),
    "text": ("", lambda i: ("A", "B'", "a", "a b", "é", "日本")[i]),
    "date": (datetime.date(1900, 1, 1), lambda i: DAY + datetime.timedelta(days=i)),
    "timestamp": (datetime.datetime(1900, 1, 1), lambda i: MOMENT + datetime.timedelta(microseconds=i)),
    "instant": (
        datetime.datetime(1900, 1, 1, tzinfo=datetime.UTC),
        lambda i: (MOMENT + datetime.timedelta(microseconds=i)).replace(tzinfo=datetime.UTC),
    ),
    "decimal": (-1e30, lambda i: Decimal(f"-12345678901234567890.{9 - i:010d}")),
    "float": (-1.0, lambda i: (0.1, 0.1 + 2**-55, 0.30000000000000004, 1e300, 1.5e300, 1.7976931348623157e308)[i]),
}


PAIRS = [("sqlite", "sqlite"), ("sqlite", "postgres"), ("postgres", "sqlite")]
CASES = [(k, *pair) for k in CHECKPOINTS for pair in PAIRS if (k, pair[0]) != ("decimal", "sqlite")]


@pytest.mark.parametrize(("kind", "source", "sink"), CASES)
def test_a_checkpoint_of_every_type_is_kept_exactly(
    kind: str, source: str, sink: str, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    initial, value = CHECKPOINTS[kind]
    uris = {"sqlite": f"sqlite:///{tmp_path / 'a.db'}"}
    if "postgres" in (source, sink):
        uris["postgres"] = request.getfixturevalue("postgres_uri")
    source_uri = uris[source]
    sink_uri = uris[sink] if sink != source else f"sqlite:///{tmp_path / 'b.db'}"
    frame = pl.DataFrame({"c": [value(i) for i in range(6)], "n": list(range(6))})
    if kind == "decimal":
        frame = frame.with_columns(pl.col("c").cast(pl.Decimal(38, 10)))
    order = 'c collate "C"' if kind == "text" and source == "postgres" else "c"
    query = f"select * from s where {order} > :checkpoint order by {order}"
    plan = plan_of(
        source_uri,
        sink_uri,
        source={"connection": "a", "query": query, "_whole": True},
        checkpoint={"column": "c", "initial": initial, "every_rows": 1},
    )
    task = qn.Task(plan)
    with qn.connect(source_uri) as db:
        db.insert("s", frame.head(3), mode="create")
        assert task.run().rows == 3
        db.insert("s", frame.slice(3, 2))
        assert task.run().rows == 2
        assert task.run().rows == 0
        db.insert("s", frame.tail(1))
    last = task.run()
    assert (last.rows, last.commits) == (1, 1)
    with qn.connect(sink_uri) as db:
        assert_frame_equal(db.execute("select c, n from t order by n"), frame)


DATE = datetime.date(2024, 1, 1)
TIME = datetime.datetime(2024, 1, 1)
INSTANT = datetime.datetime(2024, 1, 1, tzinfo=datetime.UTC)
UNLIKE: list[tuple[str, str, Any, str, str]] = [
    ("DATE", "2024-01-01", TIME, "a timestamp", "write a date: initial = 2024-01-01"),
    ("DATE", "2024-01-01", INSTANT, "a timestamp with an offset", "write a date: initial = 2024-01-01"),
    ("DATE", "2024-01-01", "abc", "a text", "write a date: initial = 0001-01-01"),
    ("DATE", "2024-01-01", 0, "an integer", "write a date: initial = 0001-01-01"),
    ("TIMESTAMP", "2024-01-01 00:00:00", INSTANT, "a timestamp with an offset",
     "write a timestamp: initial = 2024-01-01T00:00:00"),
    ("TIMESTAMP", "2024-01-01 00:00:00", DATE, "a date", "write a timestamp: initial = 2024-01-01T00:00:00"),
    ("TIMESTAMP", "2024-01-01 00:00:00", "2024-01-01 00:00:00", "a text",
     "write a timestamp: initial = 2024-01-01T00:00:00"),
    ("TIMESTAMPTZ", "2024-01-01 00:00:00+00:00", TIME, "a timestamp",
     "write a timestamp with an offset: initial = 2024-01-01T00:00:00Z"),
    ("TEXT", "b", DATE, "a date", 'write a text: initial = "2024-01-01"'),
    ("TEXT", "b", 7, "an integer", 'write a text: initial = "7"'),
    ("INTEGER", "7", "abc", "a text", "write an integer: initial = 0"),
    ("INTEGER", "7", 1e17, "a float", "write an integer: initial = 0"),
    ("REAL", "7", 2**53 + 1, "an integer", "write a float: initial = 0.0"),
]  # fmt: skip


@pytest.mark.parametrize("source_rows", [0, 3])
@pytest.mark.parametrize("mode", ["query", "table"])
@pytest.mark.parametrize(("kind", "value", "initial", "noun", "hint"), UNLIKE)
def test_an_initial_unlike_its_column_is_refused(
    kind: str, value: str, initial: Any, noun: str, hint: str, mode: str, source_rows: int, tmp_path: Path
) -> None:
    """SQLite would compare them as texts, and find too little or nothing."""
    source = sqlite(tmp_path / "a.db")
    with qn.connect(source) as db:
        db.execute(f"create table s (c {kind})")
        for _ in range(source_rows):
            db.execute("insert into s values (?)", [value])
    query = {"query": "select * from s where c >= :checkpoint order by c"}
    plan = plan_of(
        source,
        sqlite(tmp_path / "b.db"),
        source={"connection": "a", "_whole": True} | (query if mode == "query" else {"table": "s"}),
        checkpoint={"column": "c", "initial": initial},
    )
    with pytest.raises(
        qn.ConfigurationError, match=f'checkpoint.initial is {noun}, but checkpoint.column "c"'
    ) as caught:
        qn.Task(plan).run()
    assert caught.value.hint == hint
    assert rows_of(sqlite(tmp_path / "b.db"), "select name from sqlite_schema") == []


LIKE: list[tuple[str, Any, Any]] = [
    ("DATE", "2024-01-01", DATE),
    ("TIMESTAMP", "2024-01-01 00:00:00", TIME),
    ("TIMESTAMPTZ", "2024-01-01 00:00:00+00:00", INSTANT),
    ("INTEGER", 7, 7),
    ("INTEGER", 7, 6.5),
    ("REAL", 7.5, 7),
    ("TEXT", "a", "a"),
]


@pytest.mark.parametrize(("kind", "value", "initial"), LIKE)
def test_an_initial_like_its_column_finds_every_row(kind: str, value: Any, initial: Any, tmp_path: Path) -> None:
    source = sqlite(tmp_path / "a.db")
    with qn.connect(source) as db:
        db.execute(f"create table s (c {kind})")
        db.execute("insert into s values (?)", [value])
    plan = plan_of(
        source,
        sqlite(tmp_path / "b.db"),
        source={"connection": "a", "query": "select * from s where c >= :checkpoint order by c", "_whole": True},
        checkpoint={"column": "c", "initial": initial},
    )
    assert qn.Task(plan).run().rows == 1


def test_a_checkpoint_of_a_column_that_became_another_is_refused(tmp_path: Path) -> None:
    source = sqlite(tmp_path / "a.db")
    plan = plan_of(
        source,
        sqlite(tmp_path / "b.db"),
        source={"connection": "a", "table": "s", "_whole": True},
        checkpoint={"column": "c", "initial": DATE},
    )
    with qn.connect(source) as db:
        db.execute("create table s (c date)")
        db.execute("insert into s values ('2024-02-01')")
        assert qn.Task(plan).run().rows == 1
        db.execute("drop table s")
        db.execute("create table s (c timestamp)")
        db.execute("insert into s values ('2024-02-01 10:00:00')")
        with pytest.raises(qn.ConfigurationError, match="is now of type Timestamp"):
            qn.Task(plan).run()


STORED = {
    "T between": ("TIMESTAMP", TIME.replace(year=1900), "'2013-12-30T10:00:00'", "'2013-12-31T10:00:00'"),
    "as SQLAlchemy writes it": (
        "DATETIME", TIME.replace(year=1900), "'2013-12-30 10:00:00.000000'", "'2013-12-31 10:00:00.000000'"
    ),
    "with Z": ("TIMESTAMPTZ", INSTANT.replace(year=1900), "'2013-12-30 10:00:00Z'", "'2013-12-31 10:00:00Z'"),
}  # fmt: skip


@pytest.mark.parametrize("case", STORED)
def test_dates_that_sqlite_would_compare_otherwise_are_refused(case: str, tmp_path: Path) -> None:
    kind, initial, first, second = STORED[case]
    source = sqlite(tmp_path / "a.db")
    plan = plan_of(
        source,
        sqlite(tmp_path / "b.db"),
        source={"connection": "a", "query": "select * from s where c > :checkpoint order by c", "_whole": True},
        checkpoint={"column": "c", "initial": initial},
    )
    with qn.connect(source) as db:
        db.execute(f"create table s (c {kind})")
        db.execute(f"insert into s values ({first})")
        with pytest.raises(qn.DataError, match="SQLite compares what is stored") as caught:
            qn.Task(plan).run()
        assert caught.value.hint == 'read the column as it is stored: [source] types = { c = "Utf8" }'
        plan["source"]["types"] = {"c": "Utf8"}
        with pytest.raises(qn.ConfigurationError, match="but checkpoint.column .* is of type Utf8"):
            qn.Task(plan).run()
        plan["checkpoint"]["initial"] = "1900-01-01"
        assert qn.Task(plan).run().rows == 1
        assert qn.Task(plan).run().rows == 0
        db.execute(f"insert into s values ({second})")
        assert qn.Task(plan).run().rows == 1


def test_a_decimal_of_sqlite_is_no_checkpoint(tmp_path: Path) -> None:
    source = sqlite(tmp_path / "a.db")
    with qn.connect(source) as db:
        db.execute("create table s (id decimal(10, 2))")
        db.execute("insert into s values (1.5)")
    with pytest.raises(qn.NotSupportedError, match="is a decimal, which SQLite does not put into order"):
        qn.Task(plan_of(source, sqlite(tmp_path / "b.db"))).run()


def test_a_column_whose_values_tell_its_type_may_have_none(tmp_path: Path, db_uri: str) -> None:
    """SQLite knows the type of an expression by its values alone: where nothing is new there is none to know."""
    source = sqlite(tmp_path / "a.db")
    query = "select id + 0 as id, upper(carrier) as carrier from s where id > :checkpoint order by id"
    task = qn.Task(plan_of(source, db_uri, source={"query": query}))
    with qn.connect(source) as db:
        db.insert("s", flights(1, 2), mode="create")
        assert task.run().rows == 2
        again = task.run()
        assert (again.rows, again.checkpoint_before, again.checkpoint_after) == (0, "2", "2")
        db.insert("s", flights(3))
        assert task.run().rows == 1
        nulls = plan_of(source, db_uri, source={"query": "select null as id, 'x' as carrier where :checkpoint > 0"})
        with pytest.raises(qn.DataError, match="the value is null") as caught:
            qn.Task(nulls).run()
        assert (caught.value.row, caught.value.column) == (0, "id")
    assert rows_of(db_uri, "select id, carrier from t order by id") == [(1, "C1"), (2, "C2"), (3, "C3")]


def test_the_table_as_a_source_is_read_past_its_checkpoint(db_uri: str, tmp_path: Path) -> None:
    plan = plan_of(db_uri, sqlite(tmp_path / "sink.db"), source={"connection": "a", "table": "s", "_whole": True})
    del plan["checkpoint"]["initial"]
    with qn.connect(db_uri) as db:
        db.insert("s", flights(3, 1, 2), mode="create")
        assert qn.Task(plan).run().rows == 3
        db.insert("s", flights(5, 4))
        assert qn.Task(plan).run().rows == 2
        db.execute("insert into s (id, carrier, delay) values (null, 'X', 0)")
    with pytest.raises(qn.DataError, match="the value is null") as caught:
        qn.Task(plan).run()
    assert caught.value.column == "id"
    assert rows_of(sqlite(tmp_path / "sink.db"), "select id from t order by rowid") == [(1,), (2,), (3,), (4,), (5,)]


# ---- modes -----------------------------------------------------------------------------------------------------------


@pytest.fixture
def source_uri(tmp_path: Path) -> str:
    uri = sqlite(tmp_path / "source.db")
    with qn.connect(uri) as db:
        db.insert("s", flights(1, 2, 3), mode="create")
    return uri


def test_upsert_makes_a_table_with_a_key_and_updates(source_uri: str, db_uri: str) -> None:
    sink = {"connection": "b", "table": "t", "mode": "upsert", "key": ["id"]}
    source = {"connection": "a", "query": "select * from s where delay >= :checkpoint order by delay"}
    plan = plan_of(source_uri, db_uri, source=source, sink=sink, checkpoint={"column": "delay", "initial": 0.0})
    assert qn.Task(plan).run().rows == 3
    with qn.connect(source_uri) as db:
        db.update("s", {"carrier": "new", "delay": 9.5}, where="id = ?", params=[2])
    assert qn.Task(plan).run().rows == 2  # the changed row, and the last one again, as >= says
    assert rows_of(db_uri, "select id, carrier, delay from t order by id") == [
        (1, "C1", 0.5),
        (2, "new", 9.5),
        (3, "C3", 1.5),
    ]
    with qn.connect(db_uri) as db, pytest.raises(qn.ConstraintViolationError):
        db.execute("insert into t (id) values (1)")


@pytest.mark.parametrize("mode", ["replace", "truncate"])
def test_modes_that_begin_with_an_empty_table(source_uri: str, db_uri: str, mode: str) -> None:
    plan = plan_of(
        source_uri,
        db_uri,
        source={"connection": "a", "table": "s", "_whole": True},
        sink={"connection": "b", "table": "t", "mode": mode},
    )
    del plan["checkpoint"]
    for ids in ([1, 2, 3], [7], []):
        with qn.connect(source_uri) as db:
            db.delete("s")
            db.insert("s", flights(*ids))
        assert qn.Task(plan).run().rows == len(ids)
        assert [row[0] for row in rows_of(db_uri, "select id from t order by id")] == ids


def test_create_wants_no_table_and_ignore_keeps_rows(source_uri: str, db_uri: str) -> None:
    plan = plan_of(
        source_uri,
        db_uri,
        source={"connection": "a", "table": "s", "_whole": True},
        sink={"connection": "b", "table": "t", "mode": "create"},
    )
    del plan["checkpoint"]
    assert qn.Task(plan).run().rows == 3
    with pytest.raises(qn.QueryExecutionError, match='sink "b"'):
        qn.Task(plan).run()
    with qn.connect(db_uri) as db:
        db.execute("create unique index t_by_id on t (id)")
        db.update("t", {"carrier": "kept"}, where="id = 1")
        db.delete("t", where="id = 2")
    plan["sink"] |= {"mode": "ignore", "key": "id"}
    qn.Task(plan).run()
    assert rows_of(db_uri, "select id, carrier from t order by id") == [(1, "kept"), (2, "C2"), (3, "C3")]


# ---- failures --------------------------------------------------------------------------------------------------------


def test_a_failing_sink_leaves_rows_and_checkpoint_as_they_were(source_uri: str, db_uri: str) -> None:
    task = qn.Task(plan_of(source_uri, db_uri))
    assert task.run().rows == 3
    with qn.connect(source_uri) as db:
        db.insert("s", flights(4, 5, 6))
    with qn.connect(db_uri) as db:
        db.execute("create unique index t_by_carrier on t (carrier)")
        db.insert("t", pl.DataFrame({"id": [100], "carrier": ["C6"], "delay": [0.0]}))
    before = rows_of(db_uri, "select id from t order by id"), rows_of(db_uri, "select * from qanat_checkpoints")
    with pytest.raises(qn.ConstraintViolationError, match='sink "b"'):
        task.run()
    assert task.last is not None and (task.last.rows, task.last.checkpoint_after) == (0, "3")
    after = rows_of(db_uri, "select id from t order by id"), rows_of(db_uri, "select * from qanat_checkpoints")
    assert after == before


def test_a_failing_source_leaves_the_sink_as_it_was(source_uri: str, db_uri: str) -> None:
    query = "select id, carrier, case when id < 3 then delay else abs(-9223372036854775808) end as delay from s "
    plan = plan_of(source_uri, db_uri, source={"query": query + "where id > :checkpoint order by id", "batch_rows": 1})
    with pytest.raises(qn.QanatError, match='source "a"'):
        qn.Task(plan).run()
    with qn.connect(db_uri) as db:
        assert "t" not in db.tables()["name"].to_list()


def test_a_query_that_needs_a_checkpoint_that_is_not_there(source_uri: str, db_uri: str) -> None:
    plan = plan_of(source_uri, db_uri)
    del plan["checkpoint"]["initial"]
    with pytest.raises(qn.ConfigurationError, match=r"checkpoint\.initial is missing.*first run"):
        qn.Task(plan).run()


def test_the_checkpoint_column_must_be_in_the_result(source_uri: str, db_uri: str) -> None:
    plan = plan_of(source_uri, db_uri, checkpoint={"column": "number"})
    with pytest.raises(qn.ConfigurationError, match='"number" is not in the result') as caught:
        qn.Task(plan).run()
    assert caught.value.hint == "the result has the columns id, carrier, delay"


def test_a_row_that_has_been_moved_is_refused_in_append(source_uri: str, db_uri: str) -> None:
    query = "select * from s where id >= :checkpoint order by id"
    task = qn.Task(plan_of(source_uri, db_uri, source={"query": query}))
    assert task.run().rows == 3
    with pytest.raises(qn.DataError, match="not past the checkpoint") as caught:
        task.run()
    assert (caught.value.row, caught.value.column) == (0, "id")
    assert rows_of(db_uri, "select count(*) from t") == [(3,)]


def test_progress_is_told_and_its_exception_cancels(source_uri: str, db_uri: str) -> None:
    seen: list[qn.Progress] = []
    task = qn.Task(plan_of(source_uri, db_uri))
    task.run(progress=seen.append)
    stages = [stage for stage, _ in itertools.groupby(item.stage for item in seen)]  # a slow one is told several times
    assert stages == ["connect", "read", "write", "commit", "read", "done"]
    assert seen[-1].rows == 3 and seen[-1].bytes > 0 and seen[-1].seconds > 0

    def refuse(progress: qn.Progress) -> None:
        if progress.stage == "commit":
            raise LookupError("not now")

    with qn.connect(source_uri) as db:
        db.insert("s", flights(4))
    with pytest.raises(LookupError, match="not now"):
        task.run(progress=refuse)
    assert rows_of(db_uri, "select count(*) from t") == [(3,)]
    assert task.run().rows == 1


SLOW = {  # no row before the last step
    "sqlite": "with recursive c(i) as (select 1 union all select i + 1 from c where i < 1e12) "
    "select max(i) as id from c where i > :checkpoint",
    "postgres": "select max(i) as id from generate_series(1, 1000000000000) i where i > :checkpoint",
}


@pytest.mark.parametrize("source", SLOW)
def test_progress_is_told_while_nothing_arrives_and_its_exception_cancels(
    source: str, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    uri = request.getfixturevalue("postgres_uri") if source == "postgres" else "sqlite://:memory:"
    seen: list[qn.Progress] = []

    def wait(progress: qn.Progress) -> None:
        seen.append(progress)
        if len(seen) == 6:
            raise LookupError("long enough")

    task = qn.Task(plan_of(uri, sqlite(tmp_path / "b.db"), source={"connection": "a", "query": SLOW[source]}))
    with pytest.raises(LookupError, match="long enough"):
        task.run(progress=wait)
    assert [item.stage for item in seen] == ["connect"] + ["read"] * 5
    seconds = [item.seconds for item in seen]
    assert seconds == sorted(seconds) and seconds[-1] >= 0.4
    assert {item.rows for item in seen} == {0}


def test_progress_is_told_while_the_sink_waits_and_its_exception_cancels(source_uri: str, db_uri: str) -> None:
    task = qn.Task(plan_of(source_uri, db_uri))
    assert task.run().rows == 3
    with qn.connect(source_uri) as db:
        db.insert("s", flights(4))
    seen: list[qn.Progress] = []

    def wait(progress: qn.Progress) -> None:
        seen.append(progress)
        if len([item for item in seen if item.stage == "write"]) == 4:
            raise LookupError("long enough")

    with qn.connect(db_uri) as other, other.transaction():
        other.execute("delete from t where id = 1")
        if db_uri.startswith("postgres"):
            other.execute("lock table t in access exclusive mode")
        with pytest.raises(LookupError, match="long enough"):
            task.run(progress=wait)
    assert [item.stage for item in seen] == ["connect", "read"] + ["write"] * 4
    assert task.run().rows == 1


def test_memory_stays_bounded(tmp_path: Path) -> None:
    """Two million rows (104 MB of them) pass through a process that may grow by 60 MB."""
    code = f"""
import resource, qanat as qn
source, sink = {sqlite(tmp_path / "a.db")!r}, {sqlite(tmp_path / "b.db")!r}
many = (
    "with recursive c(id) as (select 1 union all select id + 1 from c where id < 2000000) "
    "select id, 'row number ' || id || ' of very many' as t from c where id > :checkpoint"
)
with qn.connect(source) as db:
    db.execute("create table s (x int)")
plan = {{
    "connections": {{"a": {{"uri": source}}, "b": {{"uri": sink}}}}, "task": {{"name": "m"}},
    "source": {{"connection": "a", "query": many}},
    "sink": {{"connection": "b", "table": "t"}}, "checkpoint": {{"column": "id", "initial": 0}},
}}
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
assert qn.Task(plan).run().rows == 2000000
print((resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) // 1024)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert int(done.stdout) < 60


# ---- killed at any instant -------------------------------------------------------------------------------------------

KILLS = 400 if "QANAT_TORTURE" in os.environ else 20  # `make torture` runs the loop at full length
CHILD = """
import json, signal, sys
import qanat as qn
plan, delay = json.loads(sys.argv[1]), float(sys.argv[2])
task = qn.Task(plan)
signal.setitimer(signal.ITIMER_REAL, delay)  # nobody handles it: the process is ended where it stands
task.run()
"""


@pytest.mark.parametrize("sink", ["sqlite", "postgres"])
def test_kills_at_any_instant_lose_and_double_nothing(
    sink: str, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    import json

    sink_uri: str = request.getfixturevalue(f"{sink}_uri")
    source_uri = sqlite(tmp_path / "kill.db")
    frame = pl.DataFrame({"id": range(1, 40_001)}).with_columns(
        (pl.col("id") * 7919 % 40_001).cast(pl.String).alias("text"), (pl.col("id") // 3).alias("third")
    )
    with qn.connect(source_uri) as db:
        db.insert("s", frame, mode="create")
    plan = plan_of(
        source_uri,
        sink_uri,
        source={"query": "select * from s where third > :checkpoint order by third, id", "batch_rows": 1000},
        checkpoint={"column": "third", "initial": -1, "every_rows": 2500},
    )
    began = time.perf_counter()
    undisturbed = qn.Task(plan | {"task": {"name": "other"}, "sink": {"connection": "b", "table": "other"}}).run()
    duration = time.perf_counter() - began
    assert undisturbed.commits == 16
    dice = random.Random(20131230)
    killed, between, finished, draws = 0, 0, 0, 0
    # Until some kill has landed between two commits and some run has come to its end, however the machine is loaded.
    while killed < KILLS or between == 0 or finished == 0:
        draws += 1
        assert draws <= 10 * KILLS, f"of {draws} runs {killed} were killed, {between} between commits; {finished} ended"
        delay = max(dice.uniform(0, duration), 1e-4)
        done = subprocess.run(
            [sys.executable, "-c", CHILD, json.dumps(plan), str(delay)], capture_output=True, check=False
        )
        assert done.returncode in (0, -signal.SIGALRM), done.stderr.decode()
        killed += done.returncode != 0
        with qn.connect(sink_uri) as db:
            if "t" in db.tables()["name"].to_list():
                seen, most = db.execute("select count(*) as n, max(third) as m from t").row(0)
                assert seen == frame.filter(pl.col("third") <= most).height  # whole slices, each once
                (stored,) = db.execute("select value from qanat_checkpoints where task = 'move'").row(0)
                assert int(stored) == most
                between += done.returncode != 0 and 0 < seen < frame.height
                if done.returncode == 0:
                    assert seen == frame.height
                    finished += 1
                    db.execute("drop table t")
                    db.execute("delete from qanat_checkpoints where task = 'move'")
    qn.Task(plan).run()
    with qn.connect(sink_uri) as db:
        moved = db.execute("select id, text, third from t order by id")
        assert_frame_equal(moved, db.execute("select id, text, third from other order by id"))
        assert_frame_equal(moved, frame)


# ---- TOML of any kind ------------------------------------------------------------------------------------------------

_scalars = st.one_of(
    st.integers(), st.floats(), st.booleans(), st.text(max_size=8), st.dates(), st.datetimes(), st.times(), st.none()
)
_keys = st.one_of(
    st.sampled_from(["connections", "task", "source", "sink", "checkpoint", "name", "query", "table", "mode", "key"]),
    st.sampled_from(["column", "initial", "every_rows", "connection", "uri", "type", "path", "types", "a", "process"]),
    st.text(max_size=4),
)
_values = st.recursive(
    _scalars, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(_keys, inner, max_size=3), max_leaves=8
)


@given(plan=st.dictionaries(_keys, _values, max_size=6))
@settings(max_examples=300, deadline=None)
def test_any_plan_is_a_task_or_a_qanat_error(plan: dict[str, Any]) -> None:
    try:
        qn.Task(plan)
    except qn.QanatError as error:
        assert str(error)


@given(
    path=st.sampled_from(["sink", "source", "checkpoint", "task", "connections", "connections.a"]),
    key=_keys,
    value=_values,
)
@settings(max_examples=300, deadline=None)
def test_any_value_in_a_valid_plan_is_a_task_or_a_qanat_error(path: str, key: str, value: Any) -> None:
    plan = plan_of("sqlite:///a.db", "sqlite:///b.db")
    table: Any = plan
    for part in path.split("."):
        table = table[part]
    table[key] = value
    try:
        qn.Task(plan)
    except qn.QanatError as error:
        assert str(error)


@given(data=st.data())
@settings(max_examples=300, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_any_change_of_a_valid_file_is_a_task_or_a_qanat_error(data: st.DataObject, tmp_path: Path) -> None:
    text = VALID.encode()
    for _ in range(data.draw(st.integers(1, 4))):
        at = data.draw(st.integers(0, len(text)))
        cut = data.draw(st.integers(0, 6))
        text = (
            text[:at]
            + data.draw(st.one_of(st.binary(max_size=4), st.sampled_from([b"[", b'"', b"=", b"${", b"\n"])))
            + text[at + cut :]
        )
    file = tmp_path / "changed.toml"
    file.write_bytes(text)
    try:
        qn.Task.load(file)
    except qn.QanatError as error:
        assert str(error)


# ---- the examples ----------------------------------------------------------------------------------------------------


def test_the_example_keeps_a_copy_up_to_date(tmp_path: Path) -> None:
    when = datetime.datetime(2013, 6, 1)
    frame = flights(1, 2, 3).with_columns(pl.lit(when).dt.offset_by("1d").alias("updated"))
    with qn.connect(sqlite(tmp_path / "ops.db")) as ops:
        ops.insert("flights", frame, mode="create")
        paths = {f"connections.{name}.path": str(tmp_path / f"{name}.db") for name in ("ops", "warehouse")}
        task = qn.Task.load(EXAMPLES / "task" / "flights.toml", paths)
        assert task.run().rows == 3
        ops.update("flights", {"carrier": "changed", "updated": when + datetime.timedelta(days=9)}, where="id = 2")
    assert task.run().rows == 3  # the one that changed, and those of the last instant again
    sink = sqlite(tmp_path / "warehouse.db")
    assert rows_of(sink, "select id, carrier from flights order by id") == [(1, "C1"), (2, "changed"), (3, "C3")]


def test_the_demo_task_is_valid() -> None:
    assert qn.Task.load(EXAMPLES / "demo" / "late_flights.toml").name == "late-flights"


def test_a_task_runs_in_a_process_without_a_main_module(folder: Path) -> None:
    """Nothing of the caller's environment is needed but the file."""
    code = f"import qanat as qn; print(qn.Task.load({str(folder / 'move.toml')!r}).run().rows)"
    done = subprocess.run([sys.executable, "-I", "-c", code], capture_output=True, text=True, check=True, cwd=os.sep)
    assert done.stdout == "3\n"
