"""Threads, signals and processes: the GIL is released, Ctrl-C works, a fork is harmless."""

from __future__ import annotations

import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType
from typing import Any

import polars as pl
import pytest

import qanat as qn

FOREVER = {
    "sqlite": "with recursive r(i) as (select 1 union all select i + 1 from r) select count(*) as n from r",
    "postgres": "select pg_sleep(600)::text as n",
}
ENDLESS_ROWS = {
    "sqlite": "with recursive r(i) as (select 1 union all select i + 1 from r) select i from r",
    "postgres": "select generate_series(1::bigint, 9000000000000) as i",
}


def forever(connection: qn.Connection) -> str:
    return FOREVER[connection.config.db_type]


class Runner(threading.Thread):
    """Runs a call and keeps what it raised."""

    def __init__(self, call: Callable[[], object]) -> None:
        super().__init__(daemon=True)
        self.call = call
        self.started = threading.Event()
        self.raised: BaseException | None = None

    def run(self) -> None:
        self.started.set()
        try:
            self.call()
        except BaseException as error:
            self.raised = error


def cancel_until_done(connection: qn.Connection, runner: Runner) -> None:
    """A cancel before the statement has begun does nothing, so it is asked for again."""
    deadline = time.monotonic() + 60
    while runner.is_alive():
        assert time.monotonic() < deadline, "the statement cannot be cancelled"
        connection.cancel()
        runner.join(0.01)


@pytest.mark.trace("D13")
def test_two_threads_run_at_the_same_time(db_uri: str) -> None:
    """Both statements last until they are cancelled: were the GIL held, neither this thread nor the other would run."""
    with qn.connect(db_uri) as first, qn.connect(db_uri) as second:
        runners = [Runner(lambda c=c: c.execute(forever(c))) for c in (first, second)]  # type: ignore[misc]
        for runner in runners:
            runner.start()
        for runner in runners:
            assert runner.started.wait(60)
        cancel_until_done(first, runners[0])
        assert runners[1].is_alive(), "the second statement was not running beside the first"
        cancel_until_done(second, runners[1])
        for runner in runners:
            assert isinstance(runner.raised, qn.QueryCancelledError)
        for connection in (first, second):
            assert connection.execute("select 1 as a").item() == 1


@pytest.mark.trace("D13")
@pytest.mark.parametrize(
    "read",
    [
        lambda c: list(c.stream(forever(c))),
        lambda c: pl.DataFrame(c.stream(forever(c))),
        lambda c: c.stream(forever(c)).to_polars(),
        lambda c: c.stream(forever(c)).to_pyarrow(),
        lambda c: c.execute(forever(c)),
        lambda c: c.update("t", {"n": 1}, f"n = ({forever(c)})"),
    ],
    ids=["iteration", "polars", "to_polars", "to_pyarrow", "execute", "update"],
)
def test_everything_that_blocks_releases_the_gil(db_uri: str, read: Callable[[qn.Connection], object]) -> None:
    with qn.connect(db_uri) as connection:
        connection.execute("create table t (n text)")
        connection.execute("insert into t values ('x')")
        runner = Runner(lambda: read(connection))
        runner.start()
        cancel_until_done(connection, runner)  # this thread would never get here
        assert runner.raised is not None
        assert connection.execute("select 1 as a").item() == 1


def test_closing_a_stream_from_another_thread_cancels_it(db_uri: str) -> None:
    with qn.connect(db_uri) as connection:
        stream = connection.stream(ENDLESS_ROWS[connection.config.db_type], batch_rows=1000)
        runner = Runner(lambda: sum(batch.num_rows for batch in stream))
        runner.start()
        assert runner.started.wait(60)
        stream.close()
        runner.join(60)
        assert isinstance(runner.raised, qn.QueryCancelledError | qn.ConnectionClosedError)
        assert stream.closed
        assert connection.execute("select 1 as a").item() == 1


def test_connection_is_free_when_close_returns(db_uri: str) -> None:
    """Another library may still be in the middle of a read on a thread of its own."""
    with qn.connect(db_uri) as connection:
        for _ in range(10):
            stream = endless(connection)
            reading = threading.Event()

            def read(stream: qn.Stream = stream, reading: threading.Event = reading) -> None:
                for _ in stream:
                    reading.set()

            runner = Runner(read)
            runner.start()
            assert reading.wait(60)
            stream.close()
            assert connection.execute("select 1 as a").item() == 1
            runner.join(60)
            assert isinstance(runner.raised, qn.QueryCancelledError | qn.ConnectionClosedError)


def test_one_connection_in_two_threads_is_refused(db_uri: str) -> None:
    with qn.connect(db_uri) as connection:
        runner = Runner(lambda: connection.execute(forever(connection)))
        runner.start()  # one of the two threads comes second, and is refused
        refused: qn.ConnectionBusyError | None = None
        deadline = time.monotonic() + 60
        while refused is None:
            assert time.monotonic() < deadline
            if isinstance(runner.raised, qn.ConnectionBusyError):
                runner = Runner(lambda: connection.execute(forever(connection)))
                runner.start()
            try:
                connection.tables()
            except qn.ConnectionBusyError as error:
                refused = error
        assert "thread" in str(refused) or "stream" in str(refused)
        assert connection.is_alive() is False
        cancel_until_done(connection, runner)
        assert connection.is_alive() is True


# ---- signals, in this process ----


class AlarmError(Exception):
    pass


@contextmanager
def alarm(seconds: float) -> Iterator[None]:
    """A signal handler that raises, as the one of Ctrl-C does, after a while."""

    def handler(number: int, frame: FrameType | None) -> None:
        raise AlarmError

    before = signal.signal(signal.SIGALRM, handler)
    signal.setitimer(signal.ITIMER_REAL, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


def endless(connection: qn.Connection) -> qn.Stream:
    return connection.stream(ENDLESS_ROWS[connection.config.db_type], batch_rows=1000)


@pytest.mark.parametrize(
    "call",
    [
        lambda c, o: c.execute(forever(c)),
        lambda c, o: list(c.stream(forever(c))),
        lambda c, o: [None for _ in endless(c)],
        lambda c, o: c.stream(forever(c)).to_polars(),
        lambda c, o: c.stream(forever(c)).to_pyarrow(),
        lambda c, o: c.update("t", {"n": 1}, f"n = ({forever(c)})"),
        lambda c, o: o.insert("t", c.stream(forever(c))),
    ],
    ids=["execute", "stream", "iteration", "to_polars", "to_pyarrow", "update", "insert"],
)
def test_signal_handler_that_raises_interrupts(
    db_uri: str, sqlite_uri: str, call: Callable[[qn.Connection, qn.Connection], Any]
) -> None:
    with qn.connect(db_uri) as connection, qn.connect("sqlite://:memory:") as other:
        for each in (connection, other):
            each.execute("create table t (n text)")
            each.execute("insert into t values ('x')")
        with pytest.raises(AlarmError), alarm(0.1):
            call(connection, other)
        assert connection.execute("select 1 as a").item() == 1
        assert other.execute("select count(*) as n from t").item() == 1


@pytest.mark.parametrize("library", ["polars", "pyarrow"])
def test_signal_while_another_library_reads(db_uri: str, library: str) -> None:
    """Nobody of ours is on the stack: the interpreter raises the handler's exception as soon as it runs again."""
    import pyarrow as pa

    take: Any = pl.DataFrame if library == "polars" else pa.table
    with qn.connect(db_uri) as connection:
        with pytest.raises(AlarmError), alarm(0.1):
            try:
                take(connection.stream(forever(connection)))
            finally:
                for _ in range(1000):  # the interpreter looks for pending calls here
                    pass
        assert connection.execute("select 1 as a").item() == 1


def test_handler_that_does_not_raise_changes_nothing(db_uri: str) -> None:
    seen: list[int] = []
    before = signal.signal(signal.SIGALRM, lambda number, frame: seen.append(number))
    try:
        with qn.connect(db_uri) as connection:
            signal.setitimer(signal.ITIMER_REAL, 0.05)
            with pytest.raises(qn.QueryTimeoutError):
                connection.execute(forever(connection), timeout=0.4)
    finally:
        signal.signal(signal.SIGALRM, before)
    assert seen == [signal.SIGALRM]


def test_handler_may_close_the_stream_that_is_being_read(db_uri: str) -> None:
    """It runs on the thread that reads, in the middle of the read: it must not wait for itself."""
    took: list[float] = []
    with qn.connect(db_uri) as connection:
        stream = connection.stream(ENDLESS_ROWS[connection.config.db_type], batch_rows=1_000_000)

        def handler(number: int, frame: FrameType | None) -> None:
            start = time.monotonic()
            stream.close()
            took.append(time.monotonic() - start)

        before = signal.signal(signal.SIGALRM, handler)
        signal.setitimer(signal.ITIMER_REAL, 0.2)
        try:
            with pytest.raises((qn.QueryCancelledError, qn.ConnectionClosedError)):
                for _ in stream:
                    pass
        finally:
            signal.setitimer(signal.ITIMER_REAL, 0)
            signal.signal(signal.SIGALRM, before)
        assert len(took) == 1 and took[0] < 4, "what a cancelled statement is given to end is five seconds"
        assert connection.execute("select 1 as a").item() == 1


# ---- Ctrl-C, in a process of its own ----

CHILD = """
import sys, time
import qanat as qn
connection = qn.connect(sys.argv[1])
print("ready", flush=True)
try:
    connection.execute(sys.argv[2])
except KeyboardInterrupt:
    print("interrupted", flush=True)
print(connection.execute("select 41 + 1 as a").item(), flush=True)
"""


def cpu_ticks(pid: int) -> int:
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return int(fields[11]) + int(fields[12])


def test_ctrl_c_ends_a_query_promptly(db_uri: str) -> None:
    kind = qn.DatabaseConfig.from_uri(db_uri).db_type
    child = subprocess.Popen([sys.executable, "-c", CHILD, db_uri, FOREVER[kind]], stdout=subprocess.PIPE, text=True)
    assert child.stdout is not None
    try:
        assert child.stdout.readline() == "ready\n"
        wait_until_running(db_uri, kind, child.pid)
        sent = time.monotonic()
        child.send_signal(signal.SIGINT)
        assert child.stdout.readline() == "interrupted\n"
        assert time.monotonic() - sent < 20, "long before the statement's ten minutes"
        assert child.stdout.readline() == "42\n"
        assert child.wait(60) == 0
    finally:
        child.stdout.close()
        child.kill()
        child.wait()


def wait_until_running(db_uri: str, kind: str, pid: int) -> None:
    """SQLite computes in the child itself; PostgreSQL shows who sleeps."""
    deadline = time.monotonic() + 60
    if kind == "sqlite":
        start = cpu_ticks(pid)
        while cpu_ticks(pid) < start + 10:
            assert time.monotonic() < deadline
        return
    with qn.connect(db_uri) as watcher:
        asleep = (
            "select count(*) as n from pg_stat_activity where query like '%pg_sleep(600)%' and wait_event = 'PgSleep'"
        )
        while watcher.execute(asleep).item() == 0:
            assert time.monotonic() < deadline


# ---- fork ----

FORKING = """
import os, sys
import qanat as qn
connection = qn.connect(sys.argv[1])
connection.execute("create table t (i bigint)")
connection.insert("t", {"i": list(range(10000))})
stream = connection.stream("select i from t", batch_rows=10)
next(stream)
child = os.fork()
if child == 0:
    answers = []
    for call in (lambda: connection.execute("select 1"), lambda: next(stream), connection.begin):
        try:
            call()
            answers.append("no error")
        except qn.ConnectionClosedError:
            answers.append("closed")
    connection.close()
    del stream, connection
    with qn.connect("sqlite://:memory:") as own:
        answers.append(str(own.execute("select 7 as a").item()))
    print(*answers, flush=True)
    os._exit(0)
os.waitpid(child, 0)
print(sum(batch.num_rows for batch in stream), connection.execute("select count(*) as n from t").item(), flush=True)
connection.close()
"""


def test_fork_closes_for_the_child_only(db_uri: str) -> None:
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", FORKING, db_uri],
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines() == ["closed closed closed 7", "9990 10000"]


SUBINTERPRETER = """
try:
    import _xxsubinterpreters as interpreters
    other = interpreters.create(isolated=False)
except ImportError:
    import _interpreters as interpreters
    other = interpreters.create("legacy")
interpreters.run_string(other, '''
try:
    import qanat
    print("imported")
except ImportError as error:
    print("refused", "subinterpreter" in str(error))
''')
"""


def test_subinterpreters_are_refused() -> None:
    done = subprocess.run(
        [sys.executable, "-c", SUBINTERPRETER], capture_output=True, text=True, timeout=60, check=False
    )
    assert done.stdout.strip() == "refused True", done.stdout + done.stderr


def test_exit_with_everything_open(db_uri: str) -> None:
    """Connection, stream and a daemon thread that reads: the interpreter still ends cleanly."""
    program = (
        "import sys, threading, logging\nimport qanat as qn\n"
        "logging.basicConfig(level='DEBUG')\n"
        "c = qn.connect(sys.argv[1]); d = qn.connect(sys.argv[1])\n"
        "s = c.stream(sys.argv[2], batch_rows=10)\nnext(s)\n"
        "threading.Thread(target=lambda: [0 for _ in d.stream(sys.argv[2])], daemon=True).start()\n"
    )
    kind = qn.DatabaseConfig.from_uri(db_uri).db_type
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", program, db_uri, ENDLESS_ROWS[kind]],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stderr
