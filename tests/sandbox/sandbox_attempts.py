"""The attempts as data, and what is around them: canaries, listeners, a victim.

An attempt is a statement of attempts/*.toml with these fields (those of the file's head, or of its [defaults], count
for all of the file):
  name, statement     @CANARY@ and the other names of Surroundings.names stand for what is there
  goal, layer         for the table: what it tries, and what is expected to stop it with the language rules off
  rules               part of the message that it is refused with; without it the rules let it pass
  kernel              a pattern that the outcome ("status: text") has with the rules off, and where they let it pass
  needs               a package; skipped without it
  off_prelude         what it begins with when the rules are off
  raw                 begins with RAW: call(number, ...) makes any system call and answers with the name of its errno
  output, timeout, memory, network   arguments of the processor
"""

from __future__ import annotations

import os
import re
import secrets
import shutil
import socket
import subprocess
import sys
import tempfile
import tomllib
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parent

RAW = """
import ctypes, errno, os
libc = ctypes.CDLL(None, use_errno=True)
libc.syscall.restype = ctypes.c_long
def call(number, *arguments):
    ctypes.set_errno(0)
    given = [ctypes.c_long(a) if isinstance(a, int) else a for a in arguments]
    result = libc.syscall(ctypes.c_long(number), *given)
    return errno.errorcode.get(ctypes.get_errno(), '?') if result == -1 else 'ESCAPED: it answered %d' % result
"""
CALL = "return [{{'got': call({number}{arguments})}}]"
END = "return [{'got': 'came to its end'}]"


@dataclass(frozen=True)
class Attempt:
    family: str
    name: str
    statement: str
    goal: str
    layer: str
    kernel: str
    rules: str | None
    needs: str | None = None
    off_prelude: str = ""
    machine: str | None = None
    arguments: dict[str, Any] = field(default_factory=dict)

    def __str__(self) -> str:
        return f"{self.family}: {self.name}"


def complete(text: str) -> str:
    """A statement has to return."""
    return text if re.search(r"^return\b", text, re.MULTILINE) else f"{text}\n{END}"


def load() -> list[Attempt]:
    found: list[Attempt] = []
    for file in sorted((HERE / "attempts").glob("*.toml")):
        head = tomllib.loads(file.read_text("utf-8"))
        defaults = {key: head[key] for key in ("goal", "layer", "kernel", "rules", "off_prelude") if key in head}
        defaults |= head.get("defaults", {})
        entries = head.get("attempt", [])
        for name, number, given in head.get("calls", []):
            text = CALL.format(number=number, arguments=f", {given}" if given else "")
            entries.append({"name": name, "statement": text, "raw": True})
        for entry in entries:
            entry = {**defaults, **entry}
            raw = entry.pop("raw", False)
            prelude = head.get("prelude", "") + (RAW if raw else "")
            text = complete(entry.pop("statement"))
            known = {key: entry.pop(key, None) for key in ("name", "goal", "layer", "kernel", "rules", "needs")}
            known["machine"] = "x86_64" if raw else None
            known["off_prelude"] = entry.pop("off_prelude", "")
            found.append(Attempt(family=file.stem, statement=prelude + text, arguments=entry, **known))
    return found


def of_server(shared: dict[str, str]) -> bool:
    """Whether a server of PostgreSQL made that piece of shared memory, and still runs."""
    try:
        return Path(f"/proc/{shared['cpid']}/comm").read_text() == "postgres\n" if "cpid" in shared else False
    except FileNotFoundError:
        return False


class Surroundings:
    """What attempts go for, and how it is seen from the outside that they did not get it."""

    def __init__(self) -> None:
        self.canary = f"canary-{secrets.token_hex(12)}"
        self.secret = f"canary-{secrets.token_hex(12)}"
        self.marker = f"qanat-marker-{secrets.token_hex(6)}"
        self.folder = Path(tempfile.mkdtemp(prefix="qanat-sandbox-test-"))
        self.folder.chmod(0o755)
        self.writable = self.folder / "writable"
        self.writable.mkdir()
        self.writable.chmod(0o777)
        self.file = self.folder / "canary"
        self.file.write_text(self.canary)
        self.file.chmod(0o666)
        (self.folder / "canary_module.py").write_text(f"text = {self.canary!r}\n")
        self.listeners = list(self._listen())
        self.allowed = socket.create_server(("127.0.0.1", 0), backlog=1000)  # where some attempts may connect to
        # As the user that runs become where they can: the one whom they could do something to.
        as_nobody: dict[str, Any] = {"user": 65534, "group": 65534, "extra_groups": []} if os.getuid() == 0 else {}
        self.victim = subprocess.Popen(["/bin/sleep", "3600"], stdin=subprocess.DEVNULL, cwd="/", **as_nobody)
        os.environ["QANAT_TEST_SECRET"] = self.secret
        self.before = self._seen()
        self.names = {
            "CANARY": str(self.file),
            "FOLDER": str(self.folder),
            "WRITABLE": str(self.writable),
            "MARKER": self.marker,
            "PORT": str(self.port),
            "ALLOWED": str(self.allowed.getsockname()[1]),
            "UNIX": str(self.writable / "socket"),
            "ABSTRACT": self.marker,
            "ENGINE": str(os.getpid()),
            "VICTIM": str(self.victim.pid),
        }

    def _listen(self) -> Any:
        four = socket.create_server(("127.0.0.1", 0))
        self.port = four.getsockname()[1]
        yield four
        if socket.has_ipv6:
            try:
                yield socket.create_server(("::1", self.port), family=socket.AF_INET6)
            except OSError:
                print("no IPv6 loopback here: attempts to reach it cannot be seen to succeed", file=sys.stderr)
        udp = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        udp.bind(("127.0.0.1", self.port))
        yield udp
        for name in (str(self.writable / "socket"), f"\0{self.marker}"):
            unix = socket.socket(socket.AF_UNIX)
            unix.bind(name)
            unix.listen()
            yield unix
        (self.writable / "socket").chmod(0o777)

    def _seen(self) -> dict[str, Any]:
        """What no attempt may change."""
        return {
            "files": sorted(str(path) for path in self.folder.rglob("*")),
            "mode": self.file.stat().st_mode,
            "text": self.file.read_text(),
            "shared memory": self._left("shm"),
            "semaphores": self._left("sem"),
            "queues": self._left("msg"),
            "marks": [str(path) for path in (self._mark(folder) for folder in MARKED) if path.exists()],
        }

    @staticmethod
    def _left(kind: str) -> set[str]:
        """Objects of System V that a run may have made: those of the users that runs can be. Keys and ids.

        Not those of a database server, started meanwhile for other tests: its process is there, while no run is.
        """
        head, *lines = Path(f"/proc/sysvipc/{kind}").read_text().splitlines()
        names = head.split()
        users = {"0", "65534", str(os.getuid())}
        found = [dict(zip(names, line.split(), strict=True)) for line in lines]
        return {f"{one['key']} {one[names[1]]}" for one in found if one["cuid"] in users and not of_server(one)}

    def _mark(self, folder: str) -> Path:
        return Path(folder) / self.marker

    def fill(self, text: str) -> str:
        return re.sub(r"@([A-Z]+)@", lambda match: self.names[match[1]], text)

    def achieved(self, shown: str) -> list[str]:
        """What the attempt got after all, seen from the outside. `shown`: all that its run gave out."""
        found = [f"{what} is in what the run gave out" for what, text in self._texts() if text in shown]
        if re.search(r"\broot:[x*]?:0:0:", shown):
            found.append("the users of the host are in what the run gave out")
        for listener in self.listeners:
            listener.setblocking(False)
            try:
                if listener.type == socket.SOCK_DGRAM:
                    listener.recv(1)
                else:
                    listener.accept()[0].close()
                found.append(f"{listener.getsockname()!r} was contacted")
            except BlockingIOError:
                pass
        after = self._seen()
        found += [f"{key} changed: {value!r}" for key, value in after.items() if value != self.before[key]]
        self.before = after  # one attempt is blamed once
        state = Path(f"/proc/{self.victim.pid}/stat").read_text().rpartition(")")[2].split()[0]
        if self.victim.poll() is not None or state not in "SRD":
            found.append(f"the victim is in state {state}")
        return found

    def _texts(self) -> list[tuple[str, str]]:
        return [("the canary", self.canary), ("the secret of the environment", self.secret)]

    def close(self) -> None:
        os.environ.pop("QANAT_TEST_SECRET", None)
        self.victim.kill()
        self.victim.wait()
        for listener in (*self.listeners, self.allowed):
            listener.close()
        shutil.rmtree(self.folder)


MARKED = ("/", "/tmp", "/var/tmp", "/dev/shm", "/dev/mqueue", "/run/shm")
