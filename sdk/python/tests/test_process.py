"""serve(): a connector in a process of its own, spoken with over pipes."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from client import DEADLINE, SDK, Process, Ring, environment_of_its_own, notification, request, rows_so_far, table

HEAD = """
import os, sys, time
import pyarrow as pa
from qanat_sdk import Connector, Location, StableUrl, serve

class Base(Connector):
    def discover(self, attached_locations, **kwargs):
        return [Location("x")]
    def data(self, location, **kwargs):
        return pa.table({"x": [1, 2, 3]})
"""
SERVE = "\nserve(Mine())\n"

Start = Callable[..., Process]


@pytest.fixture
def ring() -> Iterator[Ring]:
    made = Ring()
    yield made
    made.close()


@pytest.mark.trace("C10")
def test_a_script_is_a_connector(start: Start) -> None:
    process = start(HEAD + "class Mine(Base): pass" + SERVE)
    assert process.ask("handshake", {"protocol_version": "1"})["result"] == {"protocol_version": "1"}
    assert process.ask("ping")["result"] == "pong"
    assert process.ask("discover", {"attached_locations": []})["result"]["locations"][0]["location"] == "x"
    assert process.ask("data", {"location": {"location": "x"}})["result"] == {"ok": True}
    assert table(process.frame()).to_pydict() == {"x": [1, 2, 3]}
    assert process.ask("shutdown")["result"] == {"ok": True}
    assert process.wait() == 0
    assert process.stream.read() == b""
    assert process.complaints() == ""


def test_end_of_input_ends_it(start: Start) -> None:
    process = start(HEAD + "class Mine(Base): pass" + SERVE)
    process.ask("ping")
    assert process.end_input() == 0
    assert process.complaints() == ""


PRINTS = """
import subprocess
print("printed before serve, and not flushed")
class Mine(Base):
    def discover(self, attached_locations, **kwargs):
        print("printed to sys.stdout")
        sys.__stdout__.write("printed to sys.__stdout__\\n"); sys.__stdout__.flush()
        os.write(1, b"written to descriptor 1\\n")
        subprocess.run([sys.executable, "-c", "import sys; print('of a child', repr(sys.stdin.read()))"])
        return [Location(repr(sys.stdin.read()))]
    def data(self, location, **kwargs):
        for i in range(3):
            print("in data", i)
            yield pa.record_batch({"i": [i]})
"""


@pytest.mark.parametrize("version", [1, 2])
def test_prints_do_not_break_the_framing(start: Start, version: int) -> None:
    process = start(HEAD + PRINTS + SERVE)
    if version == 2:
        process.handshake()
    found = process.ask("discover", {"attached_locations": []})
    assert found["result"]["locations"][0]["location"] == "''", "what it reads is at its end"
    assert process.ask("data", {"location": {"location": "x"}})["result"]["ok"] is True
    data = process.frame() if version == 1 else process.stream_2()[0]
    assert table(data).to_pydict() == {"i": [0, 1, 2]}
    assert process.ask("shutdown")["result"] == {"ok": True}
    assert process.wait() == 0
    complaints = process.complaints()
    for text in (
        "printed before serve",
        "printed to sys.stdout",
        "printed to sys.__stdout__",
        "written to descriptor 1",
        "of a child ''",
        "in data 2",
    ):
        assert text in complaints


def test_children_do_not_hold_the_pipes(start: Start) -> None:
    """The host sees the end of its connector although a child of that goes on."""
    process = start(
        HEAD
        + """
import subprocess
class Mine(Base):
    def discover(self, attached_locations, **kwargs):
        child = subprocess.Popen(["sleep", "600"], stderr=subprocess.DEVNULL, start_new_session=True)
        return [Location(str(child.pid))]
"""
        + SERVE
    )
    child = int(process.ask("discover")["result"]["locations"][0]["location"])
    try:
        process.ask("shutdown")
        assert process.stream.read() == b""
    finally:
        os.kill(child, signal.SIGKILL)


@pytest.mark.trace("C28")
def test_exceptions_are_shown_to_people_too(start: Start) -> None:
    process = start(
        HEAD
        + """
class Mine(Base):
    def data(self, location, **kwargs):
        raise ValueError("Database connection failed")
"""
        + SERVE
    )
    error = process.ask("data", {"location": {"location": "x"}})["error"]
    assert error == {"code": -32000, "message": "Database connection failed"}
    assert process.ask("ping")["result"] == "pong"
    assert process.end_input() == 0
    assert 'raise ValueError("Database connection failed")' in process.complaints()


def test_standard_error_that_nobody_reads_does_not_matter(tmp_path: Path) -> None:
    script = tmp_path / "mine.py"
    fails = "class Mine(Base):\n    def data(self, location):\n        self.log('a')\n        raise ValueError('b')"
    script.write_text(HEAD + fails + SERVE)
    reading, writing = os.pipe()
    os.close(reading)
    try:
        done = subprocess.run(
            [sys.executable, str(script)],
            env=environment_of_its_own(),
            input=request("data", {"location": {"location": "x"}}) + request("ping", None, 2),
            stdout=subprocess.PIPE,
            stderr=writing,
            timeout=DEADLINE,
            check=False,
        )
    finally:
        os.close(writing)
    first, second = done.stdout.splitlines()
    assert b'"message":"b"' in first
    assert second == b'{"jsonrpc":"2.0","id":2,"result":"pong"}'


WAITS = """
class Mine(Base):
    def data(self, location, **kwargs):
        try:
            yield pa.record_batch({"i": [0]})
            if location.location == "kept":
                try:
                    self.wait()
                except Exception:
                    pass
            self.wait()
        finally:
            print("cleaned up", file=sys.stderr, flush=True)
    def wait(self):
        self.log("waiting")
        while True:
            time.sleep(60)
"""


@pytest.mark.parametrize("location", ["x", "kept"])
def test_sigterm_ends_it_after_its_finally_blocks(start: Start, location: str) -> None:
    process = start(HEAD + WAITS + SERVE)
    process.handshake()
    process.ask("data", {"location": {"location": location}})
    for kind, payload in process.messages():
        if kind == 1:
            assert b"waiting" in payload
            break
    process.process.terminate()
    assert process.wait() == 128 + signal.SIGTERM
    assert process.complaints().strip() == "cleaned up"


def test_sigterm_between_requests_ends_it(start: Start) -> None:
    process = start(HEAD + "class Mine(Base): pass" + SERVE)
    process.ask("ping")
    process.process.terminate()
    assert process.wait() == 128 + signal.SIGTERM
    assert process.complaints() == ""


ENDLESS = """
class Mine(Base):
    def data(self, location, **kwargs):
        big = pa.record_batch({"i": pa.array(range(100_000), pa.int64())})
        if location.location == "patient":
            yield big
            while not self.cancelled():
                time.sleep(0.001)
            self.check_cancelled()
        while True:
            yield big
"""


@pytest.mark.parametrize("with_ring", [False, True])
def test_host_that_goes_away_in_the_middle_ends_it_quietly(start: Start, ring: Ring, with_ring: bool) -> None:
    process = start(HEAD + ENDLESS + SERVE, ring=ring if with_ring else None)
    assert process.handshake()["qanat"]["ring"] is with_ring
    process.ask("data", {"location": {"location": "x"}})
    next(process.messages())
    process.process.stdout.close()
    assert process.end_input() == 0
    assert process.complaints() == ""


@pytest.mark.parametrize("location", ["x", "patient"])
@pytest.mark.parametrize("with_ring", [False, True])
def test_cancel_ends_the_data_soon(start: Start, ring: Ring, with_ring: bool, location: str) -> None:
    process = start(HEAD + ENDLESS + SERVE, ring=ring if with_ring else None)
    process.handshake()
    reply = process.ask("data", {"location": {"location": location}}, identifier="the one")
    assert reply["result"]["ok"] is True
    process.send(notification("cancel", {"id": "another"}))
    process.send(notification("cancel", {"id": "the one"}))
    data, end = process.stream_2(ring, process.credit)
    assert end["error"]["data"] == {"kind": "cancelled", "retryable": False}
    assert rows_so_far(data) % 100_000 in range(100_000)
    assert process.ask("ping")["result"] == "pong"
    process.send(notification("cancel", {"id": 1}))
    assert process.ask("ping")["result"] == "pong", "a cancel that comes too late is nobody's business"


NUMBERS = """
class Mine(Base):
    def data(self, location, **kwargs):
        for first in range(0, int(location.location), 50_000):
            count = min(50_000, int(location.location) - first)
            yield pa.record_batch({"i": pa.array(range(first, first + count), pa.int64())})
"""


def test_data_through_the_ring(start: Start, ring: Ring) -> None:
    process = start(HEAD + NUMBERS + SERVE, ring=ring)
    assert process.handshake() == {"protocol_version": "1", "qanat": {"version": 2, "ring": True}}
    for rows in (400_000, 0, 1, 123_456):
        assert process.ask("data", {"location": {"location": str(rows)}})["result"] == {"ok": True, "applied": []}
        process.slots.clear()
        data, end = process.stream_2(ring, process.credit)
        assert end == {"rows": rows, "batches": -(-rows // 50_000)}
        found = table(data)
        assert (found["i"].to_pylist() if found is not None else []) == list(range(rows))
    assert {used for _, used in process.slots[:-1]} == {ring.slot_size}, "slots are filled"
    assert process.end_input() == 0


def test_slots_wait_for_credit(start: Start, ring: Ring) -> None:
    """No slot is used again before it is given back, in whatever order that happens."""
    process = start(HEAD + NUMBERS + SERVE, ring=ring)
    process.handshake()
    process.ask("data", {"location": {"location": "200000"}})
    held: list[int] = []

    def give_back(slot: int) -> None:
        assert slot not in held
        held.append(slot)
        if len(held) == ring.slots:  # now the connector waits
            while held:
                process.credit(held.pop())

    data, end = process.stream_2(ring, give_back)
    assert end["rows"] == 200_000
    assert table(data)["i"].to_pylist() == list(range(200_000))
    # Slots that were not given back are the connector's own again, and credits that come late are void.
    for slot in range(ring.slots):
        process.credit(slot)
    process.ask("data", {"location": {"location": "200000"}})
    data, end = process.stream_2(ring, process.credit)
    assert table(data)["i"].to_pylist() == list(range(200_000))


def test_requests_that_come_while_data_is_sent_wait(start: Start, ring: Ring) -> None:
    process = start(HEAD + NUMBERS + SERVE, ring=ring)
    process.handshake()
    process.send(request("data", {"location": {"location": "200000"}}, 1) + request("ping", None, 2) + b"nonsense\n")
    assert process.reply()["id"] == 1
    data, _ = process.stream_2(ring, process.credit)
    assert rows_so_far(data) == 200_000
    assert process.reply() == {"jsonrpc": "2.0", "id": 2, "result": "pong"}
    assert process.reply()["error"]["code"] == -32700


def test_a_slow_source_is_heard_before_its_batch_is_full(start: Start) -> None:
    """One row comes; the next never: the first must arrive all the same once it has waited."""
    process = start(
        HEAD
        + """
class Mine(Base):
    def schema(self):
        return {"i": "Int64"}
    def data(self, location, **kwargs):
        yield {"i": 0}
        time.sleep(1.1)
        yield {"i": 1}
        while not self.cancelled():
            time.sleep(0.001)
        yield {"i": 2}
"""
        + SERVE
    )
    process.handshake()
    process.ask("data", {"location": {"location": "x"}}, identifier=5)
    kind, payload = next(process.messages())
    process.send(notification("cancel", {"id": 5}))
    assert kind == 0
    assert rows_so_far(payload) == 2
    assert process.stream_2()[1]["error"]["data"]["kind"] == "cancelled"


def test_without_standard_streams_it_says_what_it_is(tmp_path: Path) -> None:
    script = tmp_path / "mine.py"
    script.write_text(HEAD + "class Mine(Base): pass" + SERVE)
    done = subprocess.run(
        ["sh", "-c", 'exec "$@" <&-', "sh", sys.executable, str(script)],
        env=environment_of_its_own(),
        capture_output=True,
        text=True,
        timeout=DEADLINE,
        check=False,
    )
    assert done.returncode == 1
    assert "a connector is started by a host" in done.stderr


def test_without_standard_error_it_works(tmp_path: Path) -> None:
    script = tmp_path / "mine.py"
    script.write_text(HEAD + PRINTS + SERVE)
    done = subprocess.run(
        ["sh", "-c", 'exec "$@" 2>&-', "sh", sys.executable, str(script)],
        env=environment_of_its_own(),
        input=request("discover") + request("ping", None, 2),
        stdout=subprocess.PIPE,
        timeout=DEADLINE,
        check=False,
    )
    first, second = done.stdout.splitlines()
    assert b'"locations"' in first
    assert second == b'{"jsonrpc":"2.0","id":2,"result":"pong"}'


def test_frame_that_is_too_large_is_an_error_before_it_begins(start: Start) -> None:
    """One batch of 5 GiB that takes no memory: slices of one buffer."""
    process = start(
        HEAD
        + """
class Mine(Base):
    def data(self, location, **kwargs):
        batch = pa.record_batch({"t": pa.array([b"x" * (1 << 20)] * 64)})
        return [batch] * 80
"""
        + SERVE
    )
    error = process.ask("data", {"location": {"location": "x"}})["error"]
    assert error["code"] == -32000
    assert (
        "more than 4294967295 bytes, which is all that version 1 of the protocol can carry at once" in error["message"]
    )
    assert process.ask("ping")["result"] == "pong"


PANDAS = 'import sys; print("pandas is imported", file=sys.stderr, flush=True); __version__ = "0"'
ROWS = """
class Mine(Base):
    def schema(self):
        return {"i": "Int64"}
    def data(self, location, **kwargs):
        yield {"i": 1}
"""


@pytest.mark.parametrize(("source", "imported"), [("class Mine(Base): pass", 0), (ROWS, 1)], ids=["arrow", "rows"])
def test_what_rows_need_is_loaded_before_the_handshake_is_answered(
    start: Start, tmp_path: Path, source: str, imported: int
) -> None:
    """pyarrow imports pandas with the first array that it makes of values: that must not happen in data()."""
    (tmp_path / "pandas").mkdir()
    (tmp_path / "pandas" / "__init__.py").write_text(PANDAS)
    process = start(HEAD + source + SERVE, env={"PYTHONPATH": f"{tmp_path}{os.pathsep}{SDK}"})
    process.handshake()
    assert process.complaints().count("pandas is imported") == imported
    assert process.ask("data", {"location": {"location": "x"}})["result"]["ok"] is True
    assert process.stream_2()[1]["rows"] == (1 if imported else 3)
    assert process.complaints().count("pandas is imported") == 1, "the other one makes its arrays itself"


def test_types_of_the_stream_are_those_of_pyarrow(start: Start) -> None:
    assert pa.ipc.open_stream(_first_frame(start)).schema == pa.schema([("x", pa.int64())])


def _first_frame(start: Start) -> Any:
    process = start(HEAD + "class Mine(Base): pass" + SERVE)
    process.ask("data", {"location": {"location": "x"}})
    return process.frame()
