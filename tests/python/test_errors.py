"""The family of exceptions: the same for every database, with what is known in attributes."""

from __future__ import annotations

import copy
import pickle
import traceback
from typing import Any

import pytest

import qanat as qn

pytestmark = pytest.mark.trace("D11")


def test_family() -> None:
    for name in ("ConfigurationError", "DatabaseConnectionError", "ConnectionClosedError", "QueryExecutionError"):
        assert issubclass(getattr(qn, name), qn.QanatError)
    for name in ("ConstraintViolationError", "QueryTimeoutError", "QueryCancelledError", "DataError"):
        assert issubclass(getattr(qn, name), qn.QueryExecutionError)
    assert issubclass(qn.ArgumentError, ValueError)
    assert issubclass(qn.FileError, OSError)
    assert issubclass(qn.OutOfMemoryError, MemoryError)
    assert not issubclass(qn.ConnectionBusyError, qn.QueryExecutionError)


@pytest.mark.parametrize(
    "kind", [qn.QanatError, qn.ConstraintViolationError, qn.FileError, qn.OutOfMemoryError, qn.ArgumentError]
)
def test_copies_keep_everything(kind: type[qn.QanatError]) -> None:
    error = kind("what happened", sqlstate="23505", retryable=True, row=3, column="c", hint="do this", detail="why")
    assert str(error) == "what happened"
    for same in (pickle.loads(pickle.dumps(error)), copy.copy(error)):
        assert type(same) is kind
        assert str(same) == "what happened"
        assert same.__dict__ == error.__dict__
    shown = "".join(traceback.format_exception(error))
    assert "hint: do this" in shown
    assert "detail: why" in shown


def test_unknown_fields_are_none() -> None:
    error = qn.QanatError("x")
    known: dict[str, Any] = dict(error.__dict__)
    assert known.pop("retryable") is False
    assert set(known) == {
        "sqlstate", "retry_after", "constraint", "schema", "table", "column", "row", "detail", "hint", "position",
        "sql",
    }  # fmt: skip
    assert set(known.values()) == {None}


@pytest.fixture
def db(db_uri: str):  # type: ignore[no-untyped-def]
    with qn.connect(db_uri) as connection:
        connection.execute("create table parent (id bigint primary key)")
        connection.execute(
            "create table child (id bigint not null, parent bigint references parent, size int check (size > 0),"
            " constraint child_id unique (id))"
        )
        connection.execute("insert into child (id) values (1)")
        yield connection


@pytest.mark.parametrize(
    ("sql", "sqlstate"),
    [
        ("insert into child (id) values (1)", "23505"),
        ("insert into child (id) values (null)", "23502"),
        ("insert into child (id, size) values (2, -1)", "23514"),
        ("insert into child (id, parent) values (2, 99)", "23503"),
    ],
)
def test_constraints(db: qn.Connection, sql: str, sqlstate: str) -> None:
    if db.config.db_type == "sqlite":
        db.execute("pragma foreign_keys = on")
    with pytest.raises(qn.ConstraintViolationError) as caught:
        db.execute(sql)
    assert caught.value.sqlstate == sqlstate
    assert caught.value.retryable is False
    assert caught.value.sql == sql


def test_names_of_the_constraint(db: qn.Connection) -> None:
    with pytest.raises(qn.ConstraintViolationError) as caught:
        db.execute("insert into child (id) values (1)")
    error = caught.value
    assert error.table == "child"
    if db.config.db_type == "postgres":
        assert error.constraint == "child_id"
        assert error.schema == "public"
        assert error.detail is not None


def test_wrong_table_and_column(db: qn.Connection) -> None:
    with pytest.raises(qn.QueryExecutionError) as caught:
        db.execute("select * from childs")
    assert type(caught.value) is qn.QueryExecutionError
    assert caught.value.sqlstate == "42P01"
    assert "childs" in str(caught.value)
    with pytest.raises(qn.QueryExecutionError) as caught:
        db.execute("select idd from child")
    assert "idd" in str(caught.value)
    with pytest.raises(qn.QueryExecutionError, match="childs"):
        db.insert("childs", {"id": [1]})


@pytest.mark.parametrize(
    ("value", "words"),
    [
        ("'infinity'::date", ['infinity="null"', '"saturate"', '"text"']),
        ("'-infinity'::timestamptz", ['infinity="null"']),
        ("'NaN'::numeric(5,2)", ['numeric_special="null"', '"text"']),
    ],
)
def test_hints_name_the_keyword_that_helps(postgres_uri: str, value: str, words: list[str]) -> None:
    with qn.connect(postgres_uri) as connection:
        with pytest.raises(qn.DataError) as caught:
            connection.execute(f"select {value} as v")
        assert all(word in (caught.value.hint or "") for word in words)
        keyword = words[0].partition("=")[0]
        frame = connection.execute(f"select {value} as v", **{keyword: "null"})  # type: ignore[arg-type]
        assert frame.item() is None


def test_position_counts_in_the_text_that_was_given(postgres_uri: str) -> None:
    with qn.connect(postgres_uri) as connection, pytest.raises(qn.QueryExecutionError) as caught:
        connection.execute("select ?, ?, 'ä', nonsense", [1, 2])
    assert caught.value.position == "select ?, ?, 'ä', nonsense".index("nonsense") + 1


@pytest.mark.trace("P18")
def test_no_error_shows_parameters(db: qn.Connection) -> None:
    secret = "hunter2-the-secret"
    for sql in ("insert into absent values (?)", "select ? from child where nonsense", "select ?::nonsense"):
        with pytest.raises(qn.QanatError) as caught:
            db.execute(sql, [secret])
        assert secret not in repr(caught.value.__dict__) + str(caught.value) + repr(caught.value)


def test_statement_timeout(db: qn.Connection) -> None:
    forever = {
        "sqlite": "with recursive r(i) as (select 1 union all select i + 1 from r) select count(*) as n from r",
        "postgres": "select pg_sleep(600)",
    }[db.config.db_type]
    with pytest.raises(qn.QueryTimeoutError):
        db.execute(forever, timeout=0.05)
    assert db.execute("select 1 as a").item() == 1
