"""Connection: the public methods, on both databases."""

from __future__ import annotations

import gc
import warnings
from pathlib import Path

import polars as pl
import pytest
from polars.testing import assert_frame_equal

import qanat as qn


@pytest.fixture
def db(db_uri: str):  # type: ignore[no-untyped-def]
    with qn.connect(db_uri) as connection:
        yield connection


@pytest.fixture
def wells(db: qn.Connection) -> qn.Connection:
    db.execute("create table wells (id bigint primary key, name text, depth double precision)")
    db.insert("wells", {"id": [1, 2, 3], "name": ["a", "b", None], "depth": [1.5, 2.5, 3.5]})
    return db


@pytest.mark.trace("D2", "D10")
def test_ways_to_connect(db_uri: str) -> None:
    config = qn.DatabaseConfig.from_uri(db_uri)
    for opened in (
        qn.connect(db_uri),
        qn.connect(config),
        qn.Connection(config),
        qn.Connection.connect(config),
        qn.Connection.from_uri(db_uri),
        config.connect(),
    ):
        with opened as connection:
            assert isinstance(connection, qn.Connection)
            assert connection.is_alive()
            assert connection.config == config
            assert connection.execute("select 1 as one").item() == 1


@pytest.mark.trace("D2")
def test_options_of_connect_are_set_over_the_uri(sqlite_uri: str) -> None:
    qn.connect(sqlite_uri).close()
    with qn.connect(sqlite_uri, read_only=True) as connection:
        assert connection.config.options["read_only"] == "true"
        with pytest.raises(qn.QueryExecutionError):
            connection.execute("create table t (i integer)")


def test_wrong_arguments_of_connect() -> None:
    with pytest.raises(TypeError, match="DatabaseConfig"):
        qn.connect(3)  # type: ignore[arg-type]
    with pytest.raises(TypeError, match=r"qanat\.connect"):
        qn.Connection("sqlite://:memory:")  # type: ignore[arg-type]


@pytest.mark.trace("D3")
def test_execute_gives_rows(wells: qn.Connection) -> None:
    frame = wells.execute("select id, name, depth from wells order by id")
    expected = pl.DataFrame({"id": [1, 2, 3], "name": ["a", "b", None], "depth": [1.5, 2.5, 3.5]})
    assert_frame_equal(frame, expected)


@pytest.mark.trace("D3")
def test_statement_without_rows_gives_an_empty_frame_and_a_count(wells: qn.Connection) -> None:
    frame = wells.execute("update wells set depth = depth + 1 where id > ?", [1])
    assert frame.shape == (0, 0)
    assert wells.rowcount == 2


@pytest.mark.trace("D3")
@pytest.mark.parametrize(
    ("sql", "params"), [("id > ? and id < ?", [1, 3]), ("id > :low and id < :high", {"low": 1, "high": 3})]
)
def test_spellings_of_placeholders(wells: qn.Connection, sql: str, params: object) -> None:
    frame = wells.execute(f"select id from wells where {sql}", params)  # type: ignore[arg-type]
    assert frame["id"].to_list() == [2]


@pytest.mark.trace("D3")
def test_native_placeholders(wells: qn.Connection) -> None:
    sign = "$" if wells.config.db_type == "postgres" else "?"
    frame = wells.execute(f"select id from wells where id > {sign}2 and id < {sign}1", [3, 1])
    assert frame["id"].to_list() == [2]


def test_duplicate_names_are_told_apart_with_a_warning(db: qn.Connection, caplog: pytest.LogCaptureFixture) -> None:
    frame = db.execute("select 1 as a, 2 as a, 3 as a_2, 4 as a")
    assert frame.columns == ["a", "a_3", "a_2", "a_4"]
    assert frame.row(0) == (1, 2, 3, 4)
    assert "a_3" in caplog.text


def test_execute_many(wells: qn.Connection) -> None:
    assert wells.execute_many("insert into wells (id, name) values (?, ?)", [(4, "d"), [5, None]]) == 2
    assert wells.execute_many("insert into wells (id, name) values (:i, :n)", [{"i": 6, "n": "f"}]) == 1
    frame = pl.DataFrame({"id": [7, 8], "name": ["g", "h"]})
    assert wells.execute_many("insert into wells (id, name) values (?, ?)", frame) == 2
    assert wells.execute_many("insert into wells (id) values (?)", []) == 0
    assert wells.execute("select id, name from wells where id > 3 order by id").rows() == [
        (4, "d"),
        (5, None),
        (6, "f"),
        (7, "g"),
        (8, "h"),
    ]


def test_execute_many_is_all_or_nothing(wells: qn.Connection) -> None:
    with pytest.raises(qn.ConstraintViolationError) as caught:
        wells.execute_many("insert into wells (id) values (?)", [(10,), (11,), (1,), (12,)])
    assert caught.value.row == 2
    assert wells.execute("select count(*) as n from wells").item() == 3


@pytest.mark.parametrize(
    ("rows", "says"),
    [
        ([(1,), (1, 2)], "row 1"),
        ([{"a": 1}, {"b": 1}], "row 1"),
        ([{"a": 1}, (1,)], "row 1"),
        ([()], "no values"),
    ],
)
def test_execute_many_refuses_ragged_rows(db: qn.Connection, rows: list[object], says: str) -> None:
    with pytest.raises((qn.ArgumentError, TypeError), match=says):
        db.execute_many("select ?", rows)  # type: ignore[arg-type]


@pytest.mark.parametrize("rows", [{"a": [1]}, "text", [3]])
def test_execute_many_refuses_what_is_no_list_of_rows(db: qn.Connection, rows: object) -> None:
    with pytest.raises(TypeError):
        db.execute_many("select ?", rows)  # type: ignore[arg-type]


@pytest.mark.trace("D5")
def test_select(wells: qn.Connection) -> None:
    assert wells.select("wells", order_by="id").columns == ["id", "name", "depth"]
    assert wells.select("wells", ["name", "id"], order_by=["id"]).row(0) == ("a", 1)
    assert wells.select("wells", "id", "depth > ?", [2.0], order_by="id desc")["id"].to_list() == [3, 2]
    assert wells.select("wells", where="name = :n", params={"n": "b"})["id"].to_list() == [2]
    assert wells.select("wells", "id", order_by="id", limit=2)["id"].to_list() == [1, 2]
    assert wells.select("wells", "id", order_by="id", limit=1, offset=1)["id"].to_list() == [2]
    assert wells.select("wells", "id", order_by="id", offset=2)["id"].to_list() == [3]
    assert wells.select("wells", "id", limit=0).height == 0


@pytest.mark.trace("D5")
def test_select_quotes_names(db: qn.Connection) -> None:
    db.insert('we"ird', {"se lect": [1], "Größe": [2]}, mode="create")
    assert db.select('we"ird', ["Größe", "se lect"]).row(0) == (2, 1)
    with pytest.raises(qn.QueryExecutionError):
        db.select("wells; drop table x")


@pytest.mark.parametrize("number", [-1, 2**63])
def test_limit_out_of_range(wells: qn.Connection, number: int) -> None:
    with pytest.raises(qn.ArgumentError, match="limit"):
        wells.select("wells", limit=number)
    with pytest.raises(qn.ArgumentError, match="offset"):
        wells.select("wells", offset=number)


@pytest.mark.parametrize("number", [True, 1.0, "1; drop table wells"])
def test_limit_of_another_type(wells: qn.Connection, number: object) -> None:
    with pytest.raises(TypeError, match="limit"):
        wells.select("wells", limit=number)  # type: ignore[arg-type]


@pytest.mark.trace("D5")
def test_update_in_every_spelling(wells: qn.Connection) -> None:
    native = "$1" if wells.config.db_type == "postgres" else "?1"
    assert wells.update("wells", {"name": "x", "depth": 9.0}, "id = ?", [1]) == 1
    assert wells.update("wells", {"name": "y", "depth": 8.0}, "id = :set_1", {"set_1": 2}) == 1
    assert wells.update("wells", {"name": "z", "depth": 7.0}, f"id = {native} and name is null", [3]) == 1
    assert wells.select("wells", ["name", "depth"], order_by="id").rows() == [("x", 9.0), ("y", 8.0), ("z", 7.0)]
    assert wells.update("wells", {"name": None}) == 3
    assert wells.select("wells", "name")["name"].null_count() == 3
    assert wells.update("wells", {"name": "'?'"}, "name is null and ':x' <> '$1'") == 3
    assert set(wells.select("wells", "name")["name"]) == {"'?'"}


def test_update_refuses_nothing(wells: qn.Connection) -> None:
    with pytest.raises(qn.ArgumentError, match="values"):
        wells.update("wells", {})
    with pytest.raises(qn.ArgumentError, match="where"):
        wells.update("wells", {"name": "x"}, " ")
    with pytest.raises(TypeError, match="where"):
        wells.delete("wells", ["id = 1"])  # type: ignore[arg-type]
    assert wells.select("wells", where="name = 'x'").height == 0


@pytest.mark.trace("D5")
def test_delete(wells: qn.Connection) -> None:
    assert wells.delete("wells", "id = ?", [2]) == 1
    assert wells.delete("wells", "id = :i", {"i": 99}) == 0
    assert wells.delete("wells") == 2
    assert wells.select("wells").height == 0


def test_catalogue(wells: qn.Connection) -> None:
    tables = wells.tables()
    assert tables.columns == ["schema", "name", "kind"]
    assert ("wells", "table") in tables.select("name", "kind").rows()
    columns = wells.columns("wells")
    assert columns.columns == ["name", "type", "nullable", "default", "primary_key"]
    assert columns["name"].to_list() == ["id", "name", "depth"]
    assert columns["primary_key"].to_list() == [1, None, None]
    with pytest.raises(qn.QueryExecutionError) as caught:
        wells.columns("absent")
    assert caught.value.sqlstate == "42P01"


# ---- transactions ----


def count(connection: qn.Connection) -> int:
    return int(connection.execute("select count(*) as n from wells").item())


def test_transaction_commits_and_rolls_back(wells: qn.Connection) -> None:
    with wells.transaction() as same:
        assert same is wells
        assert wells.depth == 1
        wells.delete("wells", "id = 1")
    assert (wells.depth, count(wells)) == (0, 2)
    with pytest.raises(ZeroDivisionError), wells.transaction():
        wells.delete("wells")
        _ = 1 / 0
    assert (wells.depth, count(wells)) == (0, 2)


def test_nested_transaction_is_a_savepoint(wells: qn.Connection) -> None:
    with wells.transaction():
        wells.delete("wells", "id = 1")
        with pytest.raises(qn.QueryExecutionError), wells.transaction():
            assert wells.depth == 2
            wells.delete("wells")
            wells.execute("select nonsense from wells")
        assert count(wells) == 2
    assert count(wells) == 2


def test_transaction_by_hand(wells: qn.Connection) -> None:
    wells.begin()
    wells.delete("wells")
    wells.rollback()
    assert count(wells) == 3
    wells.begin("serializable")
    wells.delete("wells", "id = 1")
    wells.commit()
    assert count(wells) == 2
    with pytest.raises(qn.QanatError, match="transaction"):
        wells.commit()


def test_block_that_leaves_a_savepoint_open_is_rolled_back_whole(wells: qn.Connection) -> None:
    with pytest.raises(KeyError), wells.transaction():
        wells.delete("wells")
        wells.begin()
        raise KeyError
    assert (wells.depth, count(wells)) == (0, 3)


def test_read_only_transaction(postgres_uri: str) -> None:
    with qn.connect(postgres_uri) as connection:
        connection.execute("create table wells (id int)")
        with pytest.raises(qn.QueryExecutionError) as caught, connection.transaction(read_only=True):
            connection.execute("insert into wells values (1)")
        assert caught.value.sqlstate == "25006"
        assert connection.depth == 0


def test_unknown_isolation(wells: qn.Connection) -> None:
    with pytest.raises(qn.ArgumentError, match="serializable"):
        wells.begin("chaos")  # type: ignore[arg-type]
    assert wells.depth == 0


def test_lost_connection_in_a_transaction_keeps_the_first_error(postgres_uri: str) -> None:
    with qn.connect(postgres_uri) as connection, qn.connect(postgres_uri) as other:
        pid = connection.execute("select pg_backend_pid() as p").item()
        with pytest.raises(qn.DatabaseConnectionError) as caught, connection.transaction():
            other.execute("select pg_terminate_backend(?)", [pid])
            while True:  # until the signal has reached the session
                connection.execute("select 1")
        assert caught.value.retryable


# ---- open and closed ----


@pytest.mark.trace("D6")
def test_close_and_context_manager(db_uri: str) -> None:
    with qn.connect(db_uri) as connection:
        assert connection.is_closed() is False
    assert connection.is_closed() is True
    assert connection.is_alive() is False
    connection.close()
    for call in (
        lambda: connection.execute("select 1"),
        lambda: connection.stream("select 1"),
        lambda: connection.insert("t", {"a": [1]}),
        lambda: connection.select("t"),
        lambda: connection.update("t", {"a": 1}),
        lambda: connection.delete("t"),
        lambda: connection.execute_many("select ?", [(1,)]),
        connection.begin,
        connection.commit,
        connection.rollback,
        connection.tables,
    ):
        with pytest.raises(qn.ConnectionClosedError):
            call()
    assert "closed" in repr(connection)


@pytest.mark.trace("D6")
def test_exception_in_a_block_closes_too(db_uri: str) -> None:
    with pytest.raises(KeyError), qn.connect(db_uri) as connection:
        raise KeyError
    assert connection.is_closed()


def test_unclosed_connection_warns(sqlite_uri: str) -> None:
    with pytest.warns(ResourceWarning, match="unclosed connection"):
        qn.connect(sqlite_uri)
        gc.collect()


def test_failed_connection_does_not_warn(tmp_path: Path) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        with pytest.raises(qn.DatabaseConnectionError):
            qn.connect(f"sqlite:///{tmp_path}/no/such/folder/x.db")
        gc.collect()


def test_repr_masks_the_password(postgres_uri: str) -> None:
    config = qn.DatabaseConfig.from_uri(postgres_uri)
    secret = qn.DatabaseConfig.from_dict({**config.to_dict(), "password": "hunter2"})
    with qn.connect(secret) as connection:
        assert "hunter2" not in repr(connection)


@pytest.mark.trace("D14")
def test_several_databases_in_one_process(sqlite_uri: str, postgres_uri: str, tmp_path: Path) -> None:
    with (
        qn.connect(sqlite_uri) as first,
        qn.connect(postgres_uri) as second,
        qn.connect(f"sqlite:///{tmp_path / 'third.db'}") as third,
    ):
        for number, connection in enumerate((first, second, third)):
            connection.insert("t", {"n": [number]}, mode="create")
        second.insert("t", first.stream(table="t"))
        third.insert("t", second.stream("select * from t"))
        assert sorted(third.select("t")["n"].to_list()) == [0, 1, 2]
        assert first.select("t")["n"].to_list() == [0]


def test_sql_with_nul_or_surrogates(db: qn.Connection) -> None:
    with pytest.raises(qn.ArgumentError, match="NUL"):
        db.execute("select 1\0; drop table x")
    with pytest.raises(qn.ArgumentError, match="surrogate"):
        db.execute("select '\ud800'")
    with pytest.raises(TypeError, match="sql"):
        db.execute(3)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"numeric": "float"}, "numeric"),
        ({"infinity": 3}, "infinity"),
        ({"timeout": 0}, "timeout"),
        ({"timeout": float("nan")}, "timeout"),
        ({"types": {"a": "Strange"}}, "Strange"),
        ({"types": ["a"]}, "types"),
    ],
)
def test_wrong_options(db: qn.Connection, options: dict[str, object], says: str) -> None:
    with pytest.raises((qn.QanatError, TypeError), match=says):
        db.execute("select 1 as a", **options)  # type: ignore[arg-type]
    assert db.execute("select 1 as a").item() == 1


def test_types_as_polars_types(db: qn.Connection) -> None:
    frame = db.execute("select cast('1.25' as numeric) as a, '1.50' as b", types={"a": pl.Float64, "b": "Utf8"})
    assert frame.schema == {"a": pl.Float64, "b": pl.String}
    assert frame.row(0) == (1.25, "1.50")
