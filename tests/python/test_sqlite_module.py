"""One file, two users of it in one process: qanat and Python's own sqlite3 module, which share the system's library."""

from __future__ import annotations

import logging
import sqlite3
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

import qanat as qn


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "shared.db"
    with sqlite3.connect(path) as made:
        made.execute("create table t (i integer primary key, s text)")
    made.close()
    return path


def test_each_sees_what_the_other_committed(file: Path) -> None:
    module = sqlite3.connect(file, isolation_level=None)
    with qn.connect(f"sqlite:///{file}") as ours:
        ours.insert("t", {"i": [1], "s": ["ours"]})
        assert module.execute("select s from t").fetchall() == [("ours",)]
        module.execute("insert into t values (2, 'theirs')")
        assert ours.execute("select s from t order by i")["s"].to_list() == ["ours", "theirs"]
    module.close()


def test_each_respects_the_locks_of_the_other(file: Path) -> None:
    module = sqlite3.connect(file, isolation_level=None, timeout=0)
    with qn.connect(f"sqlite:///{file}?timeout=0") as ours:
        module.execute("begin immediate")
        with pytest.raises(qn.QueryExecutionError) as caught:
            ours.insert("t", {"i": [1], "s": ["x"]})
        assert caught.value.sqlstate == "55P03"
        module.execute("rollback")

        ours.begin()
        ours.insert("t", {"i": [1], "s": ["x"]})
        with pytest.raises(sqlite3.OperationalError, match="locked"):
            module.execute("insert into t values (2, 'y')")
        ours.commit()
        assert module.execute("select count(*) from t").fetchone() == (1,)
    module.close()


def test_closing_one_does_not_drop_the_locks_of_the_other(file: Path) -> None:
    """POSIX locks belong to the process and go when any descriptor of the file closes: two copies of SQLite in one
    process would lose them here."""
    module = sqlite3.connect(file, isolation_level=None, timeout=0)
    module.execute("begin immediate")
    module.execute("insert into t values (1, 'held')")
    qn.connect(f"sqlite:///{file}?timeout=0").close()
    probe = (
        "import sqlite3, sys\n"
        f"c = sqlite3.connect({str(file)!r}, isolation_level=None, timeout=0)\n"
        "try:\n    c.execute('begin immediate')\nexcept sqlite3.OperationalError as e:\n    print(e)\n"
    )
    import subprocess
    import sys

    seen = subprocess.run([sys.executable, "-c", probe], capture_output=True, text=True, check=True).stdout
    assert "locked" in seen
    module.execute("commit")
    module.close()


# ---- waiting for a lock ----------------------------------------------------------------------------------------------


def insert_by(mode: str) -> Callable[[qn.Connection], object]:
    key = ["i"] if mode in ("upsert", "ignore") else None
    return lambda ours: ours.insert("t", {"i": [1], "s": ["ours"]}, mode=mode, key=key)  # type: ignore[arg-type]


def select_then_insert(ours: qn.Connection) -> None:
    with ours.transaction():
        ours.execute("select count(*) from t")
        ours.insert("t", {"i": [1], "s": ["ours"]})


def run_task(ours: qn.Connection) -> None:
    plan = {
        "connections": {"a": {"uri": "sqlite://:memory:"}, "b": {"uri": ours.config.to_uri()}},
        "task": {"name": "move"},
        "source": {"connection": "a", "query": "select 1 as i, 'ours' as s"},
        "sink": {"connection": "b", "table": "t"},
    }
    qn.Task(plan).run()


WRITES = {
    "upsert": insert_by("upsert"),
    "ignore": insert_by("ignore"),
    "replace": insert_by("replace"),
    "truncate": insert_by("truncate"),
    "transaction": select_then_insert,
    "execute_many": lambda ours: ours.execute_many("insert into t select ?, ? from t", [[1, "ours"]]),
    "task": run_task,
}


@pytest.fixture
def holder(file: Path) -> Iterator[sqlite3.Connection]:
    """Holds the write lock, with a row that is not committed yet."""
    module = sqlite3.connect(file, isolation_level=None, timeout=0, check_same_thread=False)
    module.execute("begin immediate")
    module.execute("insert into t values (7, 'theirs')")
    yield module
    module.close()


class Release(logging.Handler):
    """Ends the holder's transaction when ours says that it waits: not earlier, and no clock is needed."""

    def __init__(self, holder: sqlite3.Connection) -> None:
        super().__init__()
        self.holder = holder
        self.seen = 0

    def emit(self, record: logging.LogRecord) -> None:
        if "waiting for a lock" in record.getMessage():
            self.seen += 1
            if self.holder.in_transaction:
                self.holder.execute("commit")


@pytest.mark.parametrize("write", WRITES)
@pytest.mark.parametrize("journal", ["delete", "wal"])
def test_a_write_waits_for_the_lock(file: Path, write: str, journal: str, request: pytest.FixtureRequest) -> None:
    with sqlite3.connect(file) as made:
        made.execute(f"pragma journal_mode={journal}")
    made.close()
    holder = request.getfixturevalue("holder")
    release = Release(holder)
    logger = logging.getLogger("qanat")
    with qn.connect(f"sqlite:///{file}?timeout=10") as ours:
        logger.addHandler(release)
        logger.setLevel(logging.DEBUG)
        try:
            WRITES[write](ours)
        finally:
            logger.removeHandler(release)
            logger.setLevel(logging.NOTSET)
        assert release.seen > 0
        assert (1, "ours") in ours.execute("select i, s from t").rows()


@pytest.mark.parametrize("write", WRITES)
def test_a_write_that_may_not_wait_says_so(file: Path, write: str, holder: sqlite3.Connection) -> None:
    with qn.connect(f"sqlite:///{file}?timeout=0") as ours:
        with pytest.raises(qn.QueryExecutionError) as caught:
            WRITES[write](ours)
        assert caught.value.sqlstate == "55P03"
        assert caught.value.retryable
        holder.execute("rollback")
        assert ours.execute("select i from t").rows() == []


def test_what_only_reads_takes_no_write_lock(file: Path, holder: sqlite3.Connection) -> None:
    with qn.connect(f"sqlite:///{file}?timeout=0") as ours, ours.transaction(read_only=True):
        assert ours.execute("select i from t").rows() == []
    with qn.connect(f"sqlite:///{file}?timeout=0&read_only=true") as ours:
        with ours.transaction():
            assert ours.execute("select i from t").rows() == []
        with pytest.raises(qn.QueryExecutionError) as caught:
            ours.insert("t", {"i": [1], "s": ["x"]})
        assert caught.value.sqlstate == "25006"
    assert holder.in_transaction
