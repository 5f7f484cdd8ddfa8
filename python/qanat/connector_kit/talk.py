"""A conversation with a connector's process, which notices everything: what does not belong on standard output, too.

docs/protocol/connector.md is what it speaks. Threads: one. What is not answered within `timeout` seconds is a Fault.
"""

from __future__ import annotations

import contextlib
import json
import os
import select
import signal
import struct
import subprocess
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

MAX_LINE = 64 << 20
MAX_MESSAGE = 16 << 20
CHUNK, NOTIFICATION, END, SLOT = range(4)


class Fault(Exception):
    """What is wrong with the connector, as the report says it."""


class ReplyFault(Fault):
    """An error reply, or an end of data with an error: by the connector's own word."""

    def __init__(self, error: Mapping[str, Any]) -> None:
        super().__init__(f"it said: {error.get('message')}")
        self.code = error.get("code")
        self.error = error


class Reading:
    """The bytes of the data of a location, as they come: a file for pyarrow."""

    closed = False

    def __init__(self, parts: Iterator[bytes]) -> None:
        self._parts = parts
        self._left = b""
        self.size = 0
        self.end: dict[str, Any] | None = None  # of version 2

    def read(self, size: int = -1) -> bytes:
        taken: list[bytes] = []
        missing = size if size >= 0 else 1 << 62
        while missing > 0:
            if not self._left:
                self._left = next(self._parts, b"")
                if not self._left:
                    break
            part, self._left = self._left[:missing], self._left[missing:]
            taken.append(part)
            missing -= len(part)
        data = b"".join(taken)
        self.size += len(data)
        return data

    def is_empty(self) -> bool:
        """Whether there is not one byte."""
        if not self._left:
            self._left = next(self._parts, b"")
        return not self._left

    def drain(self) -> None:
        self.size += len(self._left)
        self._left = b""
        for part in self._parts:
            self.size += len(part)

    def readable(self) -> bool:
        return True

    def close(self) -> None:
        """The connector is the talk's."""


class Talk:
    """One process of a connector, its standard error kept in a file."""

    def __init__(self, command: Sequence[str], timeout: float, version: int) -> None:
        self.timeout = timeout
        self.noise: list[str] = []
        self.notifications: list[tuple[str, Any]] = []
        self.version = 1
        self._buffer = bytearray()
        self._next_id = 0
        self._stderr = tempfile.TemporaryFile()  # noqa: SIM115 - closed by end()
        try:
            self.process = subprocess.Popen(
                list(command),
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=self._stderr,
                start_new_session=True,
                bufsize=0,
            )
        except OSError as error:
            self._stderr.close()
            raise Fault(f"{command[0]} cannot be started: {error.strerror}") from None
        assert self.process.stdout is not None
        self._out = self.process.stdout.fileno()
        os.set_blocking(self._out, False)
        try:
            self._handshake(version)
        except BaseException:
            self.end()
            raise

    # ---- requests and replies ----

    def _handshake(self, version: int) -> None:
        params: dict[str, Any] = {"protocol_version": "1"}
        if version == 2:
            params["qanat"] = {"versions": [2]}
        try:
            result = self.ask("handshake", params)
        except ReplyFault as fault:
            if fault.code != -32601:
                raise Fault(f"the handshake was refused: {fault}") from None
            result = {}
        if not isinstance(result, dict):
            raise Fault(f"the result of the handshake is {result!r}, and no object")
        self.handshake = result
        taken = result.get("qanat")
        if taken is None:
            return
        if version == 1:
            raise Fault('it speaks of "qanat" in the handshake, which was not offered')
        if not isinstance(taken, dict) or taken.get("version") != 2:
            raise Fault(f'"qanat" in the reply to the handshake is {json.dumps(taken)}; it says {{"version": 2}}')
        self.version = 2

    def send(self, data: bytes) -> None:
        assert self.process.stdin is not None
        try:
            self.process.stdin.write(data)
        except OSError:
            raise Fault(f"it has closed its standard input{self.told()}") from None

    def request(self, method: str, params: Any) -> int:
        self._next_id += 1
        message = {"jsonrpc": "2.0", "id": self._next_id, "method": method, "params": params}
        self.send(json.dumps(message).encode() + b"\n")
        return self._next_id

    def notify(self, method: str, params: Any) -> None:
        self.send(json.dumps({"jsonrpc": "2.0", "method": method, "params": params}).encode() + b"\n")

    def ask(self, method: str, params: Any) -> Any:
        """The result of a request. A ReplyFault where it is an error."""
        identifier = self.request(method, params)
        reply = self.reply(method)
        if reply.get("id") != identifier:
            raise Fault(f"the reply to {method} has the id {reply.get('id')!r}; the request had {identifier}")
        if "error" in reply:
            raise ReplyFault(_error_of(reply))
        return reply["result"]

    def refused(self, line: bytes, code: int, what: str) -> str:
        """Send a line that has to be answered with an error of this code; its message."""
        self.send(line)
        reply = self.reply(what)
        if "error" not in reply:
            raise Fault(f"{what} was answered with a result: {json.dumps(reply.get('result'))[:100]}")
        error = _error_of(reply)
        if error.get("code") != code:
            raise Fault(f"{what} was answered with the code {error.get('code')}, it is {code}")
        return str(error.get("message"))

    def reply(self, what: str) -> dict[str, Any]:
        """The next reply. What is no JSON-RPC on the way is noise; notifications are kept."""
        while True:
            line = self._line(what)
            try:
                value = json.loads(line)
            except (ValueError, RecursionError):
                value = None
            if not isinstance(value, dict) or not ("method" in value or "result" in value or "error" in value):
                self.noise.append(line.decode("utf-8", "replace"))
            elif "method" in value:
                if self.version == 1:
                    self.noise.append(f"a notification, which version 1 does not have: {value['method']}")
                self.notifications.append((str(value["method"]), value.get("params")))
            elif ("result" in value) == ("error" in value):
                raise Fault(f"the reply to {what} has both a result and an error")
            else:
                return value

    # ---- data ----

    def data(self, location: Mapping[str, Any], params: Mapping[str, Any]) -> tuple[Reading, dict[str, Any], int]:
        """The bytes, the reply, and the id of the request."""
        identifier = self.request("data", {"location": dict(location), **params})
        reply = self.reply("data")
        if reply.get("id") != identifier:
            raise Fault(f"the reply to data has the id {reply.get('id')!r}; the request had {identifier}")
        if "error" in reply:
            raise ReplyFault(_error_of(reply))
        result = reply["result"]
        if not isinstance(result, dict) or result.get("ok") is not True:
            raise Fault(f'the reply to data is {json.dumps(result)[:100]}; it is {{"ok": true}} and no more')
        if self.version == 1:
            return Reading(self._frame()), result, identifier
        reading = Reading(iter(()))
        reading._parts = self._messages(reading)
        return reading, result, identifier

    def _frame(self) -> Iterator[bytes]:
        (left,) = struct.unpack(">I", self._exactly(4, "the length of a frame"))
        while left:
            part = self._some(min(left, 1 << 20), "a frame")
            left -= len(part)
            yield part

    def _messages(self, reading: Reading) -> Iterator[bytes]:
        while True:
            (header,) = struct.unpack(">I", self._exactly(4, "a message"))
            kind, size = header >> 28, header & 0x0FFFFFFF
            if size > MAX_MESSAGE or kind > SLOT:
                raise Fault(f"a message of kind {kind} and {size} bytes, which there cannot be")
            payload = self._exactly(size, "a message")
            if kind == CHUNK:
                if payload:
                    yield payload
                continue
            if kind == SLOT:
                raise Fault("it uses the ring, which was not offered")
            value = _json_object(payload, "a message of JSON")
            if kind == NOTIFICATION:
                self.notifications.append((str(value.get("method")), value.get("params")))
                continue
            reading.end = value
            if "error" in value:
                raise ReplyFault(_error_of(value))
            return

    # ---- bytes ----

    def _line(self, what: str) -> bytes:
        searched = 0
        while (at := self._buffer.find(b"\n", searched)) < 0:
            searched = len(self._buffer)
            if searched > MAX_LINE:
                raise Fault(f"a line of more than {MAX_LINE} bytes in place of the reply to {what}")
            if not self._more(what):
                raise Fault(f"it ended in place of a reply to {what}{self.told()}")
        line = bytes(self._buffer[:at])
        del self._buffer[: at + 1]
        return line

    def _some(self, most: int, what: str) -> bytes:
        if not self._buffer and not self._more(what):
            raise Fault(f"it ended in the middle of {what}{self.told()}")
        part = bytes(self._buffer[:most])
        del self._buffer[:most]
        return part

    def _exactly(self, size: int, what: str) -> bytes:
        while len(self._buffer) < size:
            if not self._more(what):
                raise Fault(f"it ended in the middle of {what}{self.told()}")
        data = bytes(self._buffer[:size])
        del self._buffer[:size]
        return data

    def _more(self, what: str) -> bool:
        """Wait for bytes; False at the end of the output."""
        if not select.select([self._out], [], [], self.timeout)[0]:
            raise Fault(f"nothing came for {self.timeout:g} seconds in place of {what}{self.told()}")
        data = os.read(self._out, 1 << 20)
        self._buffer += data
        return bool(data)

    # ---- the process ----

    def told(self) -> str:
        """How it ended, where it did, and the end of its standard error: for messages."""
        with contextlib.suppress(subprocess.TimeoutExpired):
            self.process.wait(0.2)
        code = self.process.poll()
        ended = "" if code is None else f"; exit code {code}" if code >= 0 else f"; ended by signal {-code}"
        self._stderr.seek(0, os.SEEK_END)
        self._stderr.seek(max(0, self._stderr.tell() - 600))
        lines = self._stderr.read().decode("utf-8", "replace").strip().splitlines()
        return f"{ended}; it wrote to standard error: {' | '.join(lines[-4:])}" if lines else ended

    def status(self, field: str) -> int | None:
        """A number of KiB of /proc/PID/status, where there is one."""
        try:
            text = Path(f"/proc/{self.process.pid}/status").read_text()
        except OSError:
            return None
        return next((int(line.split()[1]) for line in text.splitlines() if line.startswith(f"{field}:")), None)

    def descriptors(self) -> int | None:
        try:
            return sum(1 for _ in Path(f"/proc/{self.process.pid}/fd").iterdir())
        except OSError:
            return None

    def close_input(self) -> None:
        assert self.process.stdin is not None
        with contextlib.suppress(OSError):
            self.process.stdin.close()

    def ends_within(self, seconds: float) -> bool:
        """Whether it ends by itself, with its output read meanwhile."""
        deadline = time.monotonic() + seconds
        while (left := deadline - time.monotonic()) > 0 and self.process.poll() is None:
            if select.select([self._out], [], [], min(left, 0.02))[0] and not os.read(self._out, 1 << 20):
                with contextlib.suppress(subprocess.TimeoutExpired):
                    self.process.wait(left)
        return self.process.poll() is not None

    def left_behind(self) -> list[str]:
        """The other processes of its group that still run."""
        found = []
        for folder in Path("/proc").iterdir():
            if not folder.name.isdigit() or int(folder.name) == self.process.pid:
                continue
            try:
                fields = (folder / "stat").read_text().rpartition(")")[2].split()
                if int(fields[2]) == self.process.pid and fields[0] != "Z":
                    found.append((folder / "cmdline").read_bytes().replace(b"\0", b" ").decode().strip())
            except (OSError, ValueError, IndexError):
                continue  # it has ended meanwhile
        return found

    def end(self) -> None:
        """Whatever it does: nothing of its group is left."""
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait()
        self.close_input()
        if self.process.stdout is not None:
            self.process.stdout.close()
        self._stderr.close()

    def __enter__(self) -> Talk:
        return self

    def __exit__(self, *_: object) -> None:
        self.end()


def _error_of(reply: Mapping[str, Any]) -> dict[str, Any]:
    error = reply["error"]
    if not isinstance(error, dict) or not isinstance(error.get("message"), str) or type(error.get("code")) is not int:
        raise Fault(f"an error has a code and a message; this one is {json.dumps(error)[:100]}")
    return error


def _json_object(payload: bytes, what: str) -> dict[str, Any]:
    try:
        value = json.loads(payload)
    except (ValueError, RecursionError):
        value = None
    if not isinstance(value, dict):
        raise Fault(f"{what} is no JSON object: {payload[:60]!r}")
    return value
