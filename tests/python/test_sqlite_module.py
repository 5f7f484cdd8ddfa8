"""One file, two users of it in one process: qanat and Python's own sqlite3 module, which share the system's library."""

from __future__ import annotations

import sqlite3
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
