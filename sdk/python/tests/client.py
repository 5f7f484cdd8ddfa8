"""A small host for the tests: json, struct and pipes, none of the SDK's code. pyarrow decodes the streams."""

from __future__ import annotations

import contextlib
import fcntl
import io
import json
import mmap
import os
import struct
import subprocess
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any, BinaryIO

import pyarrow as pa

DEADLINE = 120  # seconds after which a connector that hangs is killed, and the test fails
SDK = Path(__file__).resolve().parent.parent


def request(method: str, params: Any = None, identifier: Any = 1) -> bytes:
    message = {"jsonrpc": "2.0", "id": identifier, "method": method, "params": {} if params is None else params}
    return json.dumps(message).encode() + b"\n"


def notification(method: str, params: Any) -> bytes:
    return json.dumps({"jsonrpc": "2.0", "method": method, "params": params}).encode() + b"\n"


def offer(ring: dict[str, int] | None = None) -> dict[str, Any]:
    qanat: dict[str, Any] = {"versions": [2]} if ring is None else {"versions": [2], "ring": ring}
    return {"protocol_version": "1", "qanat": qanat}


class Ring:
    """The host's side: a memfd, and what was copied out of it."""

    def __init__(self, slots: int = 4, slot_size: int = 1 << 16) -> None:
        self.slots, self.slot_size = slots, slot_size
        self.fd = os.memfd_create("ring", os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING)
        os.ftruncate(self.fd, slots * slot_size)
        fcntl.fcntl(self.fd, fcntl.F_ADD_SEALS, fcntl.F_SEAL_SHRINK | fcntl.F_SEAL_GROW | fcntl.F_SEAL_SEAL)
        self.memory = mmap.mmap(self.fd, slots * slot_size)

    def offer(self) -> dict[str, int]:
        return {"fd": self.fd, "slots": self.slots, "slot_size": self.slot_size}

    def close(self) -> None:
        self.memory.close()
        os.close(self.fd)


class Reader:
    """Replies, frames and messages out of the bytes of a connector."""

    def __init__(self, stream: BinaryIO) -> None:
        self.stream = stream
        self.notifications: list[tuple[str, Any]] = []
        self.slots: list[tuple[int, int]] = []

    def exactly(self, size: int) -> bytes:
        data = b""
        while len(data) < size:
            part = self.stream.read(size - len(data))
            if not part:
                raise EOFError(f"{size} bytes were promised, {len(data)} came")
            data += part
        return data

    def reply(self) -> dict[str, Any]:
        """The next reply; notifications before it are kept."""
        while True:
            line = self.stream.readline()
            if not line:
                raise EOFError("no reply")
            assert line.endswith(b"\n"), line
            value = json.loads(line)
            assert value["jsonrpc"] == "2.0"
            if "method" not in value:
                assert ("result" in value) != ("error" in value), value
                return value
            assert "id" not in value
            self.notifications.append((value["method"], value["params"]))

    def frame(self) -> bytes | None:
        """What follows the reply to data in version 1."""
        (size,) = struct.unpack(">I", self.exactly(4))
        return self.exactly(size) if size else None

    def messages(self) -> Iterator[tuple[int, bytes]]:
        """Those of version 2, the end included."""
        while True:
            (header,) = struct.unpack(">I", self.exactly(4))
            kind, size = header >> 28, header & 0x0FFFFFFF
            assert size <= 16 << 20
            yield kind, self.exactly(size)
            if kind == 2:
                return

    def stream_2(self, ring: Ring | None = None, give_back: Any = None) -> tuple[bytes, dict[str, Any]]:
        """The bytes of the stream, and its end."""
        data = bytearray()
        for kind, payload in self.messages():
            if kind == 0:
                data += payload
            elif kind == 1:
                value = json.loads(payload)
                assert "id" not in value
                self.notifications.append((value["method"], value["params"]))
            elif kind == 3:
                assert ring is not None
                slot, used = struct.unpack(">II", payload)
                self.slots.append((slot, used))
                data += ring.memory[slot * ring.slot_size : slot * ring.slot_size + used]
                give_back(slot)
            else:
                assert kind == 2
                return bytes(data), json.loads(payload)
        raise AssertionError("unreachable")


def environment_of_its_own() -> dict[str, str]:
    """This one, with the SDK on the path, and without what changes how a Python process buffers."""
    kept = {name: value for name, value in os.environ.items() if name != "PYTHONUNBUFFERED"}
    return {**kept, "PYTHONPATH": str(SDK)}


def table(data: bytes | None) -> pa.Table | None:
    return None if not data else pa.ipc.open_stream(data).read_all()


def rows_so_far(data: bytes) -> int:
    """Rows of the whole batches of a stream that was cut off."""
    rows = 0
    reader = pa.ipc.open_stream(data)
    while True:
        try:
            rows += reader.read_next_batch().num_rows
        except (pa.ArrowInvalid, OSError, StopIteration):
            return rows


class Talk:
    """A conversation without a process: requests in, replies out, through _serve() with explicit streams."""

    def __init__(self, connector: Any, version: int = 1) -> None:
        self.connector = connector
        self.version = version

    def bytes(self, *lines: bytes) -> bytes:
        from qanat_sdk.serve import _serve

        stdout = io.BytesIO()
        _serve(self.connector, io.BytesIO(b"".join(lines)), stdout)
        return stdout.getvalue()

    def reader(self, *lines: bytes) -> Reader:
        """Past the handshake, where the version needs one."""
        if self.version == 1:
            return Reader(io.BytesIO(self.bytes(*lines)))
        reader = Reader(io.BytesIO(self.bytes(request("handshake", offer(), 0), *lines)))
        assert reader.reply()["result"]["qanat"]["version"] == 2
        return reader

    def call(self, method: str, params: Any = None) -> dict[str, Any]:
        return self.reader(request(method, params)).reply()

    def data(self, location: str = "x", **params: Any) -> Any:
        """The table, or None; an error reply or end is raised as a RuntimeError with its message."""
        reader = self.reader(request("data", {"location": {"location": location}, **params}))
        reply = reader.reply()
        if "error" in reply:
            assert not reader.stream.read()
            raise RuntimeError(reply["error"]["message"])
        if self.version == 1:
            assert reply["result"] == {"ok": True}
            found = table(reader.frame())
        else:
            data, end = reader.stream_2()
            if "error" in end:
                raise RuntimeError(end["error"]["message"])
            found = table(data)
            assert end["rows"] == (0 if found is None else found.num_rows)
        assert not reader.stream.read()
        return found


class Process(Reader):
    """A connector in a process of its own."""

    def __init__(self, command: list[str], stderr: Path, ring: Ring | None = None, **options: Any) -> None:
        environment = {**environment_of_its_own(), **options.pop("env", {})}
        self.ring = ring
        self.stderr = stderr
        with stderr.open("wb") as file:
            self.process = subprocess.Popen(
                command,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=file,
                env=environment,
                pass_fds=[ring.fd] if ring else [],
                **options,
            )
        assert self.process.stdout is not None
        super().__init__(self.process.stdout)
        self._watch = threading.Timer(DEADLINE, self.process.kill)
        self._watch.start()

    def send(self, data: bytes) -> None:
        assert self.process.stdin is not None
        self.process.stdin.write(data)
        self.process.stdin.flush()

    def ask(self, method: str, params: Any = None, identifier: Any = 1) -> dict[str, Any]:
        self.send(request(method, params, identifier))
        return self.reply()

    def handshake(self) -> dict[str, Any]:
        return self.ask("handshake", offer(self.ring.offer() if self.ring else None), 0)["result"]

    def credit(self, slot: int) -> None:
        self.send(notification("credit", {"slot": slot}))

    def end_input(self) -> int:
        """Close its input; its status when it has ended."""
        assert self.process.stdin is not None
        self.process.stdin.close()
        return self.wait()

    def wait(self) -> int:
        status = self.process.wait()
        self._watch.cancel()
        return status

    def kill(self) -> None:
        self.process.kill()
        self.wait()
        for pipe in (self.process.stdin, self.process.stdout):
            if pipe is not None:
                with contextlib.suppress(BrokenPipeError):  # what was never read by the one that is gone
                    pipe.close()
        self._watch.join()

    def complaints(self) -> str:
        return self.stderr.read_text(encoding="utf-8", errors="replace")
