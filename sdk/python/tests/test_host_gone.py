"""serve() and a host that is gone without a word: the connector's process does not outlive it."""

from __future__ import annotations

import os
import select
import signal
import socket
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from client import DEADLINE, Process, environment_of_its_own, request

SECONDS = 30  # within which it has to be gone; it works for ten minutes

HEAD = """
import os, signal, sys, threading, time
from qanat_sdk import Connector, Location, serve

class Base(Connector):
    def discover(self, attached_locations, **kwargs):
        return [Location(thread.name) for thread in threading.enumerate()]
    def data(self, location, **kwargs):
        try:
            print(os.getpid(), file=sys.stderr, flush=True)
            self.hang()
        finally:
            print("cleaned up", file=sys.stderr, flush=True)
"""
SLEEPS = "class Mine(Base):\n    def hang(self):\n        time.sleep(600)\n"
DEAF = """
class Mine(Base):
    def hang(self):
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        time.sleep(600)
"""
SERVE = "\nserve(Mine())\n"

HOST = """
import subprocess, sys, time
with subprocess.Popen([sys.executable, sys.argv[1]], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as connector:
    connector.stdin.write(bytes.fromhex(sys.argv[2]))
    connector.stdin.flush()
    time.sleep(600)
"""

IN_DATA = request("data", {"location": {"location": "x"}})


def gone_within(pid: int, seconds: float) -> bool:
    """Whether a process ends in that time; killed where it does not."""
    handle = os.pidfd_open(pid)
    try:
        if select.select([handle], [], [], seconds)[0]:
            return True
        signal.pidfd_send_signal(handle, signal.SIGKILL)
        return False
    finally:
        os.close(handle)


@pytest.mark.parametrize(("source", "last_words"), [(SLEEPS, "cleaned up\n"), (DEAF, "")], ids=["sleeps", "deaf"])
def test_a_connector_does_not_outlive_a_host_that_is_killed(tmp_path: Path, source: str, last_words: str) -> None:
    script = tmp_path / "mine.py"
    script.write_text(HEAD + source + SERVE)
    with subprocess.Popen(
        [sys.executable, "-c", HOST, str(script), IN_DATA.hex()],
        env=environment_of_its_own(),
        stdin=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
    ) as host:
        assert host.stderr is not None
        connector = int(host.stderr.readline())
        host.kill()
        assert gone_within(connector, SECONDS)
        assert host.stderr.read() == last_words


def test_a_socket_whose_other_end_is_closed_is_noticed_too(tmp_path: Path) -> None:
    script = tmp_path / "mine.py"
    script.write_text(HEAD + SLEEPS + SERVE)
    ours, theirs = socket.socketpair()
    with (
        ours,
        theirs,
        subprocess.Popen(
            [sys.executable, str(script)],
            env=environment_of_its_own(),
            stdin=theirs,
            stdout=theirs,
            stderr=subprocess.PIPE,
            text=True,
        ) as connector,
    ):
        theirs.close()
        ours.sendall(IN_DATA)
        assert connector.stderr is not None
        connector.stderr.readline()
        ours.close()
        assert gone_within(connector.pid, SECONDS)
        assert connector.wait() == 128 + signal.SIGTERM


def test_files_have_no_reader_that_could_go(tmp_path: Path, start: Callable[..., Process]) -> None:
    script = tmp_path / "mine.py"
    script.write_text(HEAD + SLEEPS + SERVE)
    with (tmp_path / "out").open("wb") as out:
        subprocess.run(
            [sys.executable, str(script)],
            env=environment_of_its_own(),
            input=request("discover"),
            stdout=out,
            timeout=DEADLINE,
            check=True,
        )
    assert b"MainThread" in (tmp_path / "out").read_bytes()
    assert b"qanat-host-watch" not in (tmp_path / "out").read_bytes()
    found = start(HEAD + SLEEPS + SERVE).ask("discover")["result"]["locations"]
    assert "qanat-host-watch" in [location["location"] for location in found]


def test_what_a_script_does_after_serve_is_its_own(start: Callable[..., Process]) -> None:
    after = """
for thread in threading.enumerate():
    if thread.name == "qanat-host-watch":
        thread.join()
        print("went on", file=sys.stderr)
"""
    process = start(HEAD + SLEEPS + SERVE + after)
    assert process.ask("shutdown")["result"] == {"ok": True}
    process.process.stdout.close()
    assert process.wait() == 0
    assert process.complaints() == "went on\n"
