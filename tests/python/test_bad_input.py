"""Bad input of every kind: a typed error that names the object, and nothing lost or half-written."""

from __future__ import annotations

import os
import signal
import sqlite3
import subprocess
import sys
import tempfile
import threading
from pathlib import Path

import polars as pl
import pytest

import qanat as qn
from postgres_server import PostgresServer, unprivileged_user

pytestmark = pytest.mark.trace("D11")


@pytest.mark.parametrize(
    ("uri", "says"),
    [
        ("", "://"),
        ("nonsense", "://"),
        ("oracle://h/db", "oracle"),
        ("postgresql://h:port/db", "port"),
        ("postgresql://h:70000/db", "70000"),
        ("postgresql://[::1/db", "]"),
        ("postgresql://h/db?sslmode", "sslmode"),
        ("postgresql://u:%zz@h/db", "%"),
        ("sqlite://", "file"),
    ],
)
def test_wrong_uri(uri: str, says: str) -> None:
    with pytest.raises(qn.ConfigurationError) as caught:
        qn.connect(uri)
    assert says in str(caught.value)


def test_unknown_type_lists_the_known_ones() -> None:
    with pytest.raises(qn.ConfigurationError) as caught:
        qn.DatabaseConfig("oracle", host="h")
    assert "oracle" in str(caught.value)
    assert "postgres" in str(caught.value)
    assert "sqlite" in str(caught.value)


def test_password_is_in_no_message_of_a_bad_uri() -> None:
    with pytest.raises(qn.ConfigurationError) as caught:
        qn.connect("postgresql://user:hunter2@h:notaport/db")
    assert "hunter2" not in str(caught.value)


# ---- SQLite files ----


def test_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(qn.DatabaseConnectionError, match="absent.db"):
        qn.connect(f"sqlite:///{tmp_path}/absent.db?create=false")
    with pytest.raises(qn.DatabaseConnectionError, match="no/such/folder"):
        qn.connect(f"sqlite:///{tmp_path}/no/such/folder/x.db")
    assert list(tmp_path.iterdir()) == []


def test_folder_is_not_a_database(tmp_path: Path) -> None:
    with pytest.raises(qn.DatabaseConnectionError, match=tmp_path.name):
        qn.connect(f"sqlite:///{tmp_path}")


def test_file_that_is_not_a_database(tmp_path: Path) -> None:
    file = tmp_path / "letter.db"
    file.write_text("Dear Sir or Madam, this is not a database at all. " * 100)
    before = file.read_bytes()
    with pytest.raises(qn.DatabaseConnectionError, match="letter.db"):
        qn.connect(f"sqlite:///{file}")
    assert file.read_bytes() == before


def test_locked_database_is_retryable(tmp_path: Path) -> None:
    file = tmp_path / "locked.db"
    holder = sqlite3.connect(file, isolation_level=None)
    holder.execute("create table t (i integer)")
    with qn.connect(f"sqlite:///{file}?timeout=0.05") as connection:
        holder.execute("begin immediate")
        with pytest.raises(qn.QanatError) as caught:
            connection.execute("insert into t values (1)")
        assert caught.value.retryable is True
        assert caught.value.sqlstate == "55P03"
        holder.execute("rollback")
        connection.execute("insert into t values (2)")
    assert holder.execute("select i from t").fetchall() == [(2,)]
    holder.close()


def test_read_only_file(tmp_path: Path) -> None:
    file = tmp_path / "fixed.db"
    with sqlite3.connect(file) as made:
        made.execute("create table t (i integer)")
    with qn.connect(f"sqlite:///{file}?read_only=true") as connection:
        with pytest.raises(qn.QueryExecutionError) as caught:
            connection.insert("t", {"i": [1]})
        assert caught.value.sqlstate == "25006"
        assert connection.execute("select count(*) as n from t").item() == 0


AS_SOMEONE_ELSE = """
import os, pwd, sys
import polars, qanat as qn

with qn.connect("sqlite://:memory:") as db:  # whatever is imported late is imported now: it may not be readable then
    db.insert("t", {"i": [1]}, mode="create")
    db.execute("select * from t")
if sys.argv[2]:
    user = pwd.getpwnam(sys.argv[2])
    os.setgroups([])
    os.setgid(user.pw_gid)
    os.setuid(user.pw_uid)
assert os.access(sys.argv[1], os.R_OK), f"{sys.argv[1]} cannot be read by uid {os.getuid()}"
assert not os.access(sys.argv[1], os.W_OK)
with qn.connect(f"sqlite:///{sys.argv[1]}") as db:
    try:
        db.insert("t", {"i": [1]})
    except qn.QueryExecutionError as error:
        print(type(error).__name__, error.sqlstate, os.path.basename(sys.argv[1]) in str(error))
    print(db.execute("select count(*) as n from t").item())
"""


def test_a_file_that_may_only_be_read() -> None:
    """Read-only by its permissions alone. Root may write everything: then the process becomes someone else first."""
    with tempfile.TemporaryDirectory() as folder:  # not tmp_path, which only its owner may enter
        Path(folder).chmod(0o755)
        file = Path(folder, "fixed.db")
        with sqlite3.connect(file) as made:
            made.execute("create table t (i integer)")
        made.close()
        file.chmod(0o444)
        done = subprocess.run(
            [sys.executable, "-c", AS_SOMEONE_ELSE, str(file), unprivileged_user() or ""],
            capture_output=True,
            text=True,
            check=False,
        )
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines() == ["QueryExecutionError 25006 True", "0"]


# ---- values that do not fit ----


def test_value_that_does_not_fit_names_row_and_column_and_keeps_nothing(postgres_uri: str) -> None:
    with qn.connect(postgres_uri) as connection:
        connection.execute("create table t (i bigint, small smallint)")
        good = [i % 100 for i in range(200_000)]
        bad = list(good)
        bad[123_456] = 70_000
        with pytest.raises(qn.DataError) as caught:
            connection.insert("t", {"i": list(range(200_000)), "small": bad})
        assert (caught.value.row, caught.value.column) == (123_456, "small")
        assert "70000" in str(caught.value)
        assert connection.execute("select count(*) as n from t").item() == 0
        assert connection.insert("t", {"i": list(range(200_000)), "small": good}) == 200_000


def test_decimal_with_more_scale_than_the_column_is_not_rounded(postgres_uri: str) -> None:
    from decimal import Decimal

    with qn.connect(postgres_uri) as connection:
        connection.execute("create table t (n numeric(10,2))")
        frame = pl.DataFrame({"n": [Decimal("1.10"), Decimal("1.125")]}, schema={"n": pl.Decimal(10, 3)})
        with pytest.raises(qn.DataError) as caught:
            connection.insert("t", frame)
        assert (caught.value.row, caught.value.column) == (1, "n")
        assert connection.execute("select count(*) as n from t").item() == 0


def test_infinity_in_a_date_column_is_an_error_unless_chosen(postgres_uri: str) -> None:
    with qn.connect(postgres_uri) as connection:
        connection.execute("create table t (d date)")
        connection.execute("insert into t values ('2024-01-01'), ('infinity')")
        with pytest.raises(qn.DataError) as caught:
            connection.execute("select d from t")
        assert (caught.value.row, caught.value.column) == (1, "d")
        frame = connection.execute("select d from t", infinity="null")
        assert frame["d"].null_count() == 1


def test_zero_columns_and_zero_rows(postgres_uri: str) -> None:
    with qn.connect(postgres_uri) as connection:
        connection.execute("create table nothing ()")
        connection.execute("insert into nothing default values")
        frame = connection.execute("select from nothing")
        assert frame.width == 0
        assert connection.execute("select 1 as a where false").height == 0


def test_question_operators_and_dollar_quotes(postgres_uri: str) -> None:
    with qn.connect(postgres_uri) as connection:
        sql = """select '{"a": 1}'::jsonb ?? ? as has, $q$ ? :x $1 $q$ as s /* ? /* :nested */ */"""
        assert connection.execute(sql, ["a"]).row(0) == (True, " ? :x $1 ")
        assert connection.execute("""select '{"a": 1}'::jsonb ? 'a' as has""").item() is True


# ---- servers that go away ----


def backend(connection: qn.Connection) -> int:
    return int(connection.execute("select pg_backend_pid() as pid").item())


def test_server_killed_in_mid_read(postgres_uri: str) -> None:
    connection, other = qn.connect(postgres_uri), qn.connect(postgres_uri)
    pid = backend(connection)
    stream = connection.stream(
        "select i, repeat('x', 200) as s from generate_series(1, 5000000) as s(i)", batch_rows=1000
    )
    batches = iter(stream)
    assert next(batches).num_rows == 1000
    other.execute("select pg_terminate_backend(?)", [pid])
    with pytest.raises(qn.DatabaseConnectionError) as caught:
        for _ in batches:
            pass
    assert caught.value.retryable is True
    stream.close()
    with pytest.raises((qn.ConnectionClosedError, qn.DatabaseConnectionError)):
        connection.execute("select 1")
    connection.close()
    assert other.is_alive()
    other.close()


def test_server_killed_in_mid_copy_keeps_nothing(postgres_uri: str) -> None:
    connection, other = qn.connect(postgres_uri), qn.connect(postgres_uri)
    other.execute("create table t (i bigint, s text)")
    pid = backend(connection)

    class Killer:
        """A source whose third batch comes after the server has been told to end the session."""

        def __arrow_c_stream__(self, requested_schema: object = None) -> object:
            import pyarrow as pa

            schema = pa.schema([("i", pa.int64()), ("s", pa.string())])

            def batches():  # type: ignore[no-untyped-def]
                for number in range(200):
                    if number == 2:
                        other.execute("select pg_terminate_backend(?)", [pid])
                    yield pa.record_batch([list(range(20000)), ["x" * 40] * 20000], schema=schema)

            return pa.RecordBatchReader.from_batches(schema, batches()).__arrow_c_stream__(requested_schema)

    with pytest.raises(qn.DatabaseConnectionError) as caught:
        connection.insert("t", Killer())
    assert caught.value.retryable is True
    connection.close()
    assert other.execute("select count(*) as n from t").item() == 0
    other.close()


def test_whole_server_killed() -> None:
    with PostgresServer() as server:
        connection = qn.connect(server.uri)
        assert connection.is_alive()
        assert server.process is not None
        os.kill(server.process.pid, signal.SIGQUIT)
        server.process.wait()
        with pytest.raises(qn.DatabaseConnectionError) as caught:
            connection.execute("select 1")
        assert caught.value.retryable is True
        assert connection.is_alive() is False
        connection.close()


def test_source_that_fails_in_the_middle_keeps_nothing(db_uri: str) -> None:
    import pyarrow as pa

    schema = pa.schema([("i", pa.int64())])

    def batches():  # type: ignore[no-untyped-def]
        yield pa.record_batch([[1, 2, 3]], schema=schema)
        raise ValueError("the well is dry")

    with qn.connect(db_uri) as connection:
        connection.execute("create table t (i bigint)")
        with pytest.raises(qn.QanatError, match="the well is dry"):
            connection.insert("t", pa.RecordBatchReader.from_batches(schema, batches()))
        assert connection.execute("select count(*) as n from t").item() == 0


def test_two_threads_on_one_connection_are_refused(postgres_uri: str) -> None:
    with qn.connect(postgres_uri) as connection, qn.connect(postgres_uri) as watcher:
        pid = backend(connection)
        failed: list[BaseException] = []

        def long_query() -> None:
            try:
                connection.execute("select pg_sleep(60)")
            except qn.QueryCancelledError as error:
                failed.append(error)

        thread = threading.Thread(target=long_query)
        thread.start()
        active = (
            "select count(*) as n from pg_stat_activity where pid = ? and state = 'active' and query like '%pg_sleep%'"
        )
        while watcher.execute(active, [pid]).item() == 0:
            pass
        with pytest.raises(qn.QanatError, match="thread"):
            connection.execute("select 1")
        connection.cancel()
        thread.join()
        assert len(failed) == 1
        assert connection.execute("select 1 as a").item() == 1


def test_open_stream_keeps_the_connection_busy(db_uri: str) -> None:
    with qn.connect(db_uri) as connection:
        connection.execute("create table t (i bigint)")
        connection.insert("t", {"i": list(range(100_000))})
        stream = connection.stream("select i from t", batch_rows=100)
        assert next(iter(stream)).num_rows == 100
        with pytest.raises(qn.QanatError, match="stream"):
            connection.execute("select 1")
        stream.close()
        assert connection.execute("select count(*) as n from t").item() == 100_000
