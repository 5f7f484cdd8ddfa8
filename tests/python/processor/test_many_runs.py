"""Runs by the thousand, 64 at once, hosts that are killed or fork: nothing is left, nothing grows.

With QANAT_TORTURE=1 the long ones are at full length (10,000 runs).
"""

from __future__ import annotations

import contextlib
import json
import os
import resource
import select
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import polars as pl
import pytest

import qanat as qn
from qanat import _native
from qanat.processor import Result

TORTURE = os.environ.get("QANAT_TORTURE") == "1"
RUNS = 10_000 if TORTURE else 400
DOUBLE = "return [{'id': row['id'] * 2} for row in INPUT_DATA]"
INT = {"id": "Int64"}

pytestmark = pytest.mark.trace("B7")


def children_of(pid: int) -> list[int]:
    """The processes that the threads of a process have started."""
    found: list[int] = []
    for task in Path(f"/proc/{pid}/task").glob("*"):
        try:
            found += [int(child) for child in (task / "children").read_text().split()]
        except OSError:
            continue  # the thread has ended
    return found


def descendants_of(pid: int) -> list[int]:
    found = children_of(pid)
    for child in list(found):
        found += descendants_of(child)
    return found


def zygotes() -> list[int]:
    """Interpreters that this process keeps."""
    return [pid for pid in children_of(os.getpid()) if b"zygote.py" in Path(f"/proc/{pid}/cmdline").read_bytes()]


def resident_kib(pid: int | str = "self") -> int:
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith("VmRSS:"):
            return int(line.split()[1])
    raise AssertionError("no VmRSS")


def descriptors(pid: int | str = "self") -> int:
    return len(list(Path(f"/proc/{pid}/fd").iterdir()))


def mounts(pid: int | str = "self") -> int:
    return len(Path(f"/proc/{pid}/mountinfo").read_text().splitlines())


@pytest.fixture
def double() -> Iterator[qn.Processor]:
    processor = qn.Processor(DOUBLE, output=INT)
    assert processor.run([{"id": 4}]).to_dicts() == [{"id": 8}]
    yield processor


# ---- many in a row ----


ENDS = {
    "ok": (DOUBLE, {}, "ok"),
    "failed": ("return 1 / 0", {}, "failed"),
    "timed_out": ("while True:\n    pass\nreturn []", {"timeout": 0.02}, "timed_out"),
    "output_limit": ("for i in range(10000):\n    log.info('x' * 1000)\nreturn []", {}, "output_limit"),
}


def test_runs_in_a_row_leave_nothing_behind(double: qn.Processor) -> None:
    data = pl.DataFrame({"id": [1, 2, 3]})
    expected = [{"id": 2}, {"id": 4}, {"id": 6}]

    def measure() -> dict[str, int]:
        [zygote] = zygotes()
        return {
            "descriptors": descriptors(),
            "descriptors of the interpreter": descriptors(zygote),
            "mounts": mounts(),
            "mounts of the interpreter": mounts(zygote),
            "interpreters": 1,
        }

    for _ in range(100):
        assert double.run(data).to_dicts() == expected
    [zygote] = zygotes()
    before, memory, zygote_memory = measure(), resident_kib(), resident_kib(zygote)
    for _ in range(RUNS):
        result = double.run(data)
        assert result.status == "ok", result.message
    assert double.run(data).to_dicts() == expected
    after = measure()
    # Two runs stand ready, each with two sockets and a pidfd of the interpreter's; they may be on their way just now.
    for name, number in after.items():
        assert abs(number - before[name]) <= 8, (name, before, after)
    assert zygotes() == [zygote]
    assert len(descendants_of(zygote)) <= 4  # those that stand ready
    assert resident_kib() - memory < 4096
    assert resident_kib(zygote) - zygote_memory < 2048


@pytest.mark.parametrize("kind", ["failed", "timed_out", "output_limit"])
def test_runs_that_end_badly_leave_nothing_behind(kind: str) -> None:
    statement, arguments, status = ENDS[kind]
    processor = qn.Processor(statement, output=INT, **arguments)  # type: ignore[arg-type]
    data = [{"id": 1}]
    for _ in range(5):
        assert processor.run(data).status == status
    before = descriptors()
    for _ in range(RUNS // 20):
        assert processor.run(data).status == status
    assert abs(descriptors() - before) <= 8
    [zygote] = zygotes()
    assert len(descendants_of(zygote)) <= 4


# ---- many at once ----


def test_64_at_once() -> None:
    """All are open at the same time: each waits for a row that is only given once all have begun."""
    count = 64
    processor = qn.Processor("return [{'id': INPUT_DATA[0]['id'] + 1}]", output=INT)
    everybody = threading.Barrier(count, timeout=120)
    wrong: list[object] = []

    def rows(number: int) -> Iterator[pl.DataFrame]:
        yield pl.DataFrame({"id": [number]})
        everybody.wait()
        yield pl.DataFrame({"id": [number * 10]})

    def one(number: int) -> None:
        try:
            batches = list(rows_through(processor, rows(number)))
            if batches != [number + 1, number * 10 + 1]:
                wrong.append((number, batches))
        except BaseException as error:
            wrong.append(error)

    threads = [threading.Thread(target=one, args=(number,)) for number in range(count)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert wrong == []


def rows_through(processor: qn.Processor, frames: Iterator[pl.DataFrame]) -> Iterator[int]:
    import pyarrow as pa

    schema = pa.schema({"id": pa.int64()})
    batches = (batch for frame in frames for batch in frame.to_arrow().to_batches())
    reader = pa.RecordBatchReader.from_batches(schema, batches)
    for batch in processor.stream(reader):
        yield from batch.to_polars()["id"].to_list()


# ---- hosts that die or fork ----

HOST = """
import os, sys, threading, time
import qanat as qn
hang = qn.Processor("log.info('x')\\nwhile True:\\n    pass\\nreturn []", output={"id": "Int64"}, timeout=600)
threads = [threading.Thread(target=hang.run, args=([{"id": 1}],), daemon=True) for _ in range(3)]
for thread in threads:
    thread.start()
print("begun", flush=True)
sys.stdin.readline()
"""


def wait_for_runs(host: int, count: int) -> list[int]:
    """The processes below the host, once at least `count` of them use the processor."""
    while True:
        below = descendants_of(host)
        busy = 0
        for pid in below:
            try:
                fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
            except OSError:
                continue
            busy += int(fields[11]) >= 10  # ticks in user mode: 0.1 s
        if busy >= count:
            return below


def expect_ends(watches: list[int]) -> None:
    """Each pidfd becomes readable: its process has ended."""
    for watch in watches:
        poll = select.poll()
        poll.register(watch, select.POLLIN)
        assert poll.poll(60_000), "a process outlives its host"
        os.close(watch)


@contextlib.contextmanager
def host_of(program: str) -> Iterator[subprocess.Popen[str]]:
    """A process that runs the program and has said that it has begun."""
    arguments = [sys.executable, "-c", program]
    with subprocess.Popen(arguments, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as host:
        assert host.stdout is not None
        assert host.stdout.readline() == "begun\n"
        yield host


@pytest.mark.parametrize("end", [signal.SIGKILL, signal.SIGTERM])
def test_a_host_that_is_killed_takes_its_runs_along(end: signal.Signals) -> None:
    with host_of(HOST) as host:
        watches = []
        for pid in wait_for_runs(host.pid, 3):
            with contextlib.suppress(ProcessLookupError):  # one of those that are made ready
                watches.append(os.pidfd_open(pid))
        assert len(watches) > 3
        host.send_signal(end)
        host.wait()
        expect_ends(watches)


@pytest.mark.filterwarnings("ignore:.*fork:DeprecationWarning")
def test_a_forked_process_has_interpreters_of_its_own(double: qn.Processor) -> None:
    [mine] = zygotes()
    read, write = os.pipe()
    pid = os.fork()
    if pid == 0:  # pragma: no cover
        try:
            rows = double.run([{"id": 21}]).to_dicts()
            os.write(write, json.dumps([rows, mine in zygotes(), len(zygotes())]).encode())
        finally:
            os._exit(0)
    os.close(write)
    with open(read) as pipe:
        answer = json.loads(pipe.read())
    assert os.waitpid(pid, 0)[1] == 0
    assert answer == [[{"id": 42}], False, 1]
    assert zygotes() == [mine]
    assert double.run([{"id": 1}]).to_dicts() == [{"id": 2}]


def test_a_forked_host_does_not_keep_interpreters_alive() -> None:
    """A copy of the control socket in a child of the host would."""
    program = """
import os, signal, sys
import qanat as qn
p = qn.Processor("return INPUT_DATA", output={"id": "Int64"})
p.run([{"id": 1}])
if os.fork() == 0:
    sys.stdin.read()   # goes on after its parent, holding what it has inherited
    os._exit(0)
print("begun", flush=True)
signal.pause()
"""
    with host_of(program) as host:
        interpreters = [p for p in children_of(host.pid) if b"zygote.py" in Path(f"/proc/{p}/cmdline").read_bytes()]
        assert interpreters
        watches = [os.pidfd_open(pid) for pid in interpreters]
        host.kill()
        host.wait()
        expect_ends(watches)


# ---- the interpreters themselves ----


def test_an_interpreter_that_is_killed_is_replaced(double: qn.Processor) -> None:
    [first] = zygotes()
    watch = os.pidfd_open(first)
    os.kill(first, signal.SIGKILL)
    expect_ends([watch])
    for number in range(5):
        assert double.run([{"id": number}]).to_dicts() == [{"id": number * 2}]
    [second] = zygotes()
    assert second != first


def test_a_run_whose_interpreter_is_killed_crashes() -> None:
    hang = qn.Processor("while True:\n    pass\nreturn []", output=INT, timeout=600)
    results: list[Result] = []
    thread = threading.Thread(target=lambda: results.append(hang.run([{"id": 1}])))
    thread.start()
    wait_for_runs(os.getpid(), 1)
    [zygote] = zygotes()
    os.kill(zygote, signal.SIGKILL)
    thread.join()
    assert results[0].status == "crashed"
    assert results[0].message


def test_few_descriptors_are_an_error_and_no_loss(double: qn.Processor) -> None:
    _native._processor_shutdown()
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    used = max(int(entry.name) for entry in Path("/proc/self/fd").iterdir())
    taken: list[int] = []
    try:
        resource.setrlimit(resource.RLIMIT_NOFILE, (used + 9, hard))
        with contextlib.suppress(OSError):
            while True:
                taken.append(os.open("/dev/null", os.O_RDONLY))
        for free in range(6):  # none, one, two ...
            if free > 0:
                os.close(taken.pop())
            with pytest.raises(qn.QanatError, match="Too many open files"):
                double.run([{"id": 1}])
    finally:
        for fd in taken:
            os.close(fd)
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    assert double.run([{"id": 1}]).to_dicts() == [{"id": 2}]


@pytest.fixture(autouse=True)
def fresh_pool() -> Iterator[None]:
    """Each test begins and ends without interpreters."""
    _native._processor_shutdown()
    yield
    _native._processor_shutdown()
    assert zygotes() == []
