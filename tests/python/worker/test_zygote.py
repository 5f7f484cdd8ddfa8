"""The zygote: fork requests in, runs out; what ends runs; what is left behind. Spoken to by a client of its own."""

from __future__ import annotations

import contextlib
import errno
import importlib.util
import os
import select
import signal
import socket
import sys
from collections.abc import Iterator
from pathlib import Path

import pyarrow as pa
import pytest

sys.path.insert(0, str(Path(__file__).parent))

from harness import (
    NOT_FORKED,
    PATIENCE,
    REPORT,
    REQUEST,
    RULES_OFF,
    VERSION,
    Run,
    Zygote,
    default_runtime,
)

SCHEMA = pa.schema([("id", pa.int64())])
TIERS = ("full", "reduced")


@pytest.fixture(scope="module", params=TIERS)
def zygote(request: pytest.FixtureRequest) -> Iterator[Zygote]:
    with Zygote(tier=request.param) as one:
        yield one


def ids(n: int) -> list[pa.RecordBatch]:
    return [pa.record_batch({"id": pa.array(range(n), pa.int64())})]


def refused(zygote: Zygote, data: bytes, fds: int) -> tuple[int, int] | None:
    """Send what is not a request; kind and code of the answer once everything of it was closed."""
    report, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    report.settimeout(PATIENCE)
    socket.send_fds(zygote.control, [data], [theirs.fileno()] * fds)
    theirs.close()
    with report:
        answer = report.recv(REPORT.size)
        if not answer:
            return None
        assert report.recv(REPORT.size) == b"", "the descriptors are given back"
        kind, code, *_ = REPORT.unpack(answer)
        return kind, code


def descriptors(zygote: Zygote) -> int:
    """How many the zygote has, after all that it was told before."""
    refused(zygote, b"x", 2)
    return len(list(Path(f"/proc/{zygote.pid}/fd").iterdir()))


def ended(pid_fd: int) -> bool:
    return bool(select.select([pid_fd], [], [], PATIENCE)[0])


def test_hello_says_who_serves(zygote: Zygote) -> None:
    assert zygote.version == VERSION
    assert zygote.python == sys.version_info[0] << 8 | sys.version_info[1]
    assert zygote.landlock_abi >= 1


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"version": "3.2"}, "the runtime is of Python 3.2"),
        ({"extension": "/nowhere/_worker.so"}, "/nowhere/_worker.so"),
        ({"paths": []}, "ModuleNotFoundError"),
        ({"modules": [1]}, "AttributeError"),
    ],
)
def test_a_failure_before_the_hello_is_said_in_its_place(changes: dict[str, object], words: str) -> None:
    with Zygote(expect=False, **changes) as zygote:
        assert zygote.failed
        assert words in zygote.text


def test_one_run_after_the_other(zygote: Zygote) -> None:
    for _ in range(3):
        result = zygote.run("return INPUT_DATA", SCHEMA, ids(2))
        assert (result.kind, result.rows, result.code, result.signal) == (0, [{"id": 0}, {"id": 1}], 0, 0)
        assert 1 << 20 < result.peak_memory < 1 << 30


def test_64_runs_at_once(zygote: Zygote) -> None:
    runs = [zygote.fork() for _ in range(64)]
    for number, run in enumerate(runs):
        run.start(f"return [{{'id': {number}}}]", SCHEMA, ids(1))
    for number, run in reversed(list(enumerate(runs))):
        assert run.finish().rows == [{"id": number}]


def test_runs_leave_nothing_behind_in_the_zygote(zygote: Zygote) -> None:
    zygote.run("return INPUT_DATA", SCHEMA, ids(1))
    before = descriptors(zygote)
    for _ in range(40):
        zygote.run("return INPUT_DATA", SCHEMA, ids(1))
    assert descriptors(zygote) == before
    assert Path(f"/proc/{zygote.pid}/task/{zygote.pid}/children").read_text().split() == []


def test_a_run_has_the_descriptors_it_needs_and_no_other(zygote: Zygote) -> None:
    others = [zygote.fork() for _ in range(3)]
    statement = """
import fcntl
open_ones = []
for fd in range(1024):
    try:
        fcntl.fcntl(fd, fcntl.F_GETFD)
    except OSError:
        continue
    open_ones.append({"id": fd})
return open_ones
"""
    result = zygote.run(statement, SCHEMA, ids(1), flags=RULES_OFF)
    # standard input, output and error, the channel, and the three of the event loop
    assert len(result.rows) == 7, result.rows
    for run in others:
        run.close()


@pytest.mark.parametrize("fds", [0, 1, 2, 3, 9])
@pytest.mark.parametrize(
    "data",
    [b"x", REQUEST.pack(VERSION, 0, 0, 64, 16)[:-1], REQUEST.pack(VERSION, 0, 0, 64, 16) + bytes(100)],
    ids=["one byte", "cut", "long"],
)
def test_malformed_requests_are_refused_where_that_can_be_said(zygote: Zygote, data: bytes, fds: int) -> None:
    zygote.run("return INPUT_DATA", SCHEMA, ids(1))
    before = descriptors(zygote)
    assert refused(zygote, data, fds) == ((NOT_FORKED, errno.EPROTO) if fds >= 2 else None)
    assert zygote.run("return INPUT_DATA", SCHEMA, ids(1)).kind == 0
    assert descriptors(zygote) == before


@pytest.mark.parametrize(
    ("version", "flags", "fds"), [(VERSION + 1, 0, 2), (VERSION, 2, 2), (VERSION, 0, 3), (VERSION, 1, 2)]
)
def test_requests_of_another_protocol_are_refused(zygote: Zygote, version: int, flags: int, fds: int) -> None:
    data = REQUEST.pack(version, flags, 0, 64, 16)
    assert refused(zygote, data, fds) == (NOT_FORKED, errno.EPROTO)


@pytest.mark.parametrize("tier", TIERS)
def test_the_end_of_control_ends_everything(tier: str) -> None:
    zygote = Zygote(tier=tier)
    waiting = zygote.fork()
    running = zygote.fork()
    running.start("while True:\n    pass\nreturn []", SCHEMA, ids(1))
    assert zygote.close() == 0
    for run in (waiting, running):
        assert ended(run.pid_fd)
        assert run.wait_ended()[:2] == (0, signal.SIGKILL), f"{run.channel.recv(1 << 16)!r}"
        run.close()


@pytest.mark.parametrize("tier", TIERS)
def test_an_end_is_known_where_the_engines_host_ignores_ends(tier: str) -> None:
    before = signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # which programs that are started inherit
    try:
        zygote = Zygote(tier=tier)
    finally:
        signal.signal(signal.SIGCHLD, before)
    run = zygote.fork()
    signal.pidfd_send_signal(run.pid_fd, signal.SIGKILL)
    assert run.wait_ended()[:2] == (0, signal.SIGKILL)
    run.close()
    assert zygote.run("return INPUT_DATA", SCHEMA, ids(1)).kind == 0
    zygote.close()


def wait_for_exit(zygote: Zygote) -> int:
    """Its exit code, once it has ended by itself."""
    _, status = os.waitpid(zygote.pid, 0)
    zygote.control.close()
    return os.waitstatus_to_exitcode(status)


@pytest.mark.parametrize("tier", TIERS)
def test_an_idle_zygote_ends_and_what_stands_ready_with_it(tier: str) -> None:
    zygote = Zygote(tier=tier, idle=0.2)
    ready = [zygote.fork() for _ in range(2)]
    assert wait_for_exit(zygote) == 0
    for run in ready:
        assert ended(run.pid_fd)
        with pytest.raises(BrokenPipeError):
            run.report.send(b"\0")  # too late to claim it
        run.close()


def test_a_claimed_run_keeps_its_zygote_and_no_other_run() -> None:
    zygote = Zygote(tier="full", idle=1.0)  # longer than it takes to have both on a busy machine
    ready = zygote.fork()
    claimed = zygote.fork()
    claimed.report.send(b"\0")
    assert ended(ready.pid_fd)  # its time was up
    with pytest.raises(BrokenPipeError):
        ready.report.send(b"\0")
    claimed.start("return [{'id': 3}]", SCHEMA)
    assert claimed.finish().rows == [{"id": 3}]
    ready.close()
    assert wait_for_exit(zygote) == 0


@pytest.mark.parametrize("tier", TIERS)
def test_a_zygote_without_descriptors_says_so_and_recovers(tier: str) -> None:
    with Zygote(tier=tier, files=40) as zygote:
        runs = []
        with pytest.raises(AssertionError, match="not forked: Too many open files"):
            for _ in range(40):
                runs.append(zygote.fork())
        assert len(runs) > 2
        for run in runs:
            run.report.close()
            assert ended(run.pid_fd)
            run.close()
        assert zygote.run("return INPUT_DATA", SCHEMA, ids(1)).kind == 0


@contextlib.contextmanager
def descriptors_in_flight(n: int, user: int) -> Iterator[None]:
    """So many of a user, sent and not received: the kernel counts them for all of its processes."""
    begun, here = os.pipe()
    there, ended = os.pipe()
    pid = os.fork()
    if pid == 0:
        try:
            os.close(ended)
            os.setuid(user)
            pairs = []
            while n > 0:
                pairs.append(socket.socketpair())
                for _ in range(min(n, 50)):
                    socket.send_fds(pairs[-1][0], [b"x"], [0])
                    n -= 1
            os.write(here, b"x")
            os.read(there, 1)
        finally:
            os._exit(0)
    try:
        os.close(here)
        assert os.read(begun, 1) == b"x"
        yield
    finally:
        for fd in (begun, there, ended):
            os.close(fd)
        os.waitpid(pid, 0)


@pytest.mark.alone  # the kernel counts them for all runs of the machine
@pytest.mark.parametrize("tier", TIERS)
def test_too_many_descriptors_in_flight_are_told_and_pass(tier: str) -> None:
    if os.getuid() != 0:
        pytest.skip("only root can be the user of the sandbox beside it")
    with Zygote(tier=tier, files=128) as zygote:
        user = Path(f"/proc/{zygote.pid}/task").stat().st_uid
        with descriptors_in_flight(400, user), pytest.raises(AssertionError, match="not forked: Too many references"):
            zygote.fork()
        assert zygote.run("return INPUT_DATA", SCHEMA, ids(1)).kind == 0
        assert Path(f"/proc/{zygote.pid}/task/{zygote.pid}/children").read_text().split() == []


def test_a_run_that_is_given_up_is_killed(zygote: Zygote) -> None:
    run = zygote.fork()
    run.start(
        "while True:\n    try:\n        x = 1\n    except BaseException:\n        pass\nreturn []", SCHEMA, ids(1)
    )
    run.report.close()
    assert ended(run.pid_fd)
    run.close()
    assert zygote.run("return INPUT_DATA", SCHEMA, ids(1)).kind == 0


def test_a_ready_run_ends_with_its_channel(zygote: Zygote) -> None:
    run = zygote.fork()
    run.channel.close()
    code, number, *_ = run.wait_ended()
    assert (code, number) == (72, 0)
    run.close()


def test_a_killed_run_is_told_by_its_signal(zygote: Zygote) -> None:
    run = zygote.fork()
    run.start("while True:\n    x = 1\nreturn []", SCHEMA, ids(1))
    signal.pidfd_send_signal(run.pid_fd, signal.SIGKILL)
    code, number, peak, _ = run.wait_ended()
    assert (code, number) == (0, signal.SIGKILL)
    assert peak > 1 << 20
    run.close()


@pytest.mark.parametrize(
    ("statement", "code", "number"),
    [
        ("import ctypes\nctypes.string_at(0)\nreturn []", 0, signal.SIGSEGV),
        ("import os\nos.abort()\nreturn []", 128 + signal.SIGABRT, 0),
        ("import os\nos._exit(3)\nreturn []", 3, 0),
    ],
    ids=["segmentation fault", "abort", "exit"],
)
def test_a_crash_is_told(zygote: Zygote, statement: str, code: int, number: int) -> None:
    result = zygote.run(statement, SCHEMA, ids(1), flags=RULES_OFF)
    assert result.done is None
    assert (result.code, result.signal) == (code, number)


def test_every_run_has_randomness_of_its_own() -> None:
    statement = "import random\nreturn [{'id': random.getrandbits(62)}]"
    if importlib.util.find_spec("numpy") is not None:
        statement = "import numpy\n" + statement.replace("random.getrandbits(62)", "int(numpy.random.randint(1 << 62))")
    with Zygote(["random", "numpy"]) as zygote:
        options = {"allow": ["random", "numpy"]}
        seen = {zygote.run(statement, SCHEMA, ids(1), **options).rows[0]["id"] for _ in range(8)}
    assert len(seen) == 8


def test_randomness_that_a_package_brings_along_is_each_runs_own() -> None:
    """pandas draws from numpy's generator, which the statement does not import."""
    pytest.importorskip("pandas")
    statement = "import pandas\nreturn [{'id': int(pandas.Series(range(1 << 20)).sample(1).iloc[0])}]"
    with Zygote(["pandas"]) as zygote:
        seen = {zygote.run(statement, SCHEMA, ids(1), allow=["pandas"]).rows[0]["id"] for _ in range(8)}
    assert len(seen) > 4  # of a million


def folder_with(tmp_path: Path, name: str, text: str) -> dict[str, object]:
    """A runtime that has one more module."""
    tmp_path.chmod(0o755)
    (tmp_path / f"{name}.py").write_text(text)
    runtime = default_runtime()
    return runtime | {"paths": [*runtime["paths"], str(tmp_path)], "readable": [*runtime["readable"], str(tmp_path)]}


def test_modules_that_start_threads_cannot_be_preloaded(tmp_path: Path) -> None:
    text = "import threading\nthreading.Thread(target=threading.Event().wait, daemon=True).start()\n"
    with Zygote(["threaded"], runtime=folder_with(tmp_path, "threaded", text), expect=False) as zygote:
        assert zygote.failed
        assert "importing threaded started 1 threads" in zygote.text


def test_a_module_that_does_not_import_fails_the_statement_that_imports_it(tmp_path: Path) -> None:
    runtime = folder_with(tmp_path, "broken", "raise RuntimeError('no licence')\n")
    modules = ["broken", "not_there"]
    with Zygote(modules, runtime=runtime) as zygote:
        result = zygote.run("x = 1\nimport broken\nreturn []", SCHEMA, ids(1), allow=modules)
        assert (result.kind, result.done.line) == (1, 2)
        assert "RuntimeError: no licence" in result.text
        result = zygote.run("import not_there\nreturn []", SCHEMA, ids(1), allow=modules)
        assert (result.kind, result.done.line) == (1, 1)
        assert "No module named 'not_there'" in result.text


def test_names_and_the_listener_come_with_the_network(zygote: Zygote) -> None:
    run: Run = zygote.fork(network=True)
    assert run.listener >= 0, "the notification listener is attached to READY"
    run.start("return [{'id': 1}]", SCHEMA, ids(1))
    assert run.finish().rows == [{"id": 1}]
