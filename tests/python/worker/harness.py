"""A client of the worker's protocol (src/processor/protocol.h) in plain Python, independent of the engine.

It starts a launcher, which becomes a zygote, and speaks to its runs with struct and sockets; rows go in and out with
pyarrow's IPC, so that ours is held against another implementation.
"""

from __future__ import annotations

import contextlib
import dataclasses
import fcntl
import json
import os
import select
import socket
import struct
import time
from collections.abc import Iterable, Sequence
from typing import Any

import pyarrow as pa

from qanat import _runtime

VERSION = 1
HELLO = struct.Struct("=4I1024s")
REQUEST = struct.Struct("=IIQII")
REPORT = struct.Struct("=IiiIQQ")
FRAME = struct.Struct("=IIQ")
LOG = struct.Struct("=IIq")
DONE = struct.Struct("=4I3q4Q")
PART = struct.Struct("=IIQ")
OPTIONS = struct.Struct("=4IqQ")

FORKED, NOT_FORKED, ENDED = 1, 2, 3
READY, FAILED_FRAME, LOG_FRAME, NEED, BATCH, DONE_FRAME, START, INPUT, INPUT_END = 1, 2, 3, 4, 5, 6, 16, 17, 18
STATEMENT, NAME, ALLOW, OPTIONS_PART, OUTPUT_SCHEMA, CHECKPOINT, OUTPUT_TYPES = range(1, 8)
BULK, CHECK_ONLY, RULES_OFF, INPUT_WHOLE = 1, 2, 4, 8
DONE_OK, DONE_FAILED, DONE_REJECTED, DONE_MEMORY, DONE_CHECKED = range(5)
LEVELS = ("trace", "debug", "info", "warn", "error")
END_OF_STREAM = b"\xff\xff\xff\xff\0\0\0\0"
PATIENCE = 60.0  # seconds until a test that hangs fails


def default_runtime() -> dict[str, Any]:
    """The interpreter of the tests and what it needs of this machine."""
    return _runtime.describe("default")


def memfd(data: bytes, name: str = "test") -> int:
    fd = os.memfd_create(name, os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING)
    os.truncate(fd, len(data))
    os.pwrite(fd, data, 0)
    seals = fcntl.F_SEAL_SEAL | fcntl.F_SEAL_SHRINK | fcntl.F_SEAL_GROW | fcntl.F_SEAL_WRITE
    fcntl.fcntl(fd, fcntl.F_ADD_SEALS, seals)
    return fd


def ipc_schema(schema: pa.Schema) -> bytes:
    return bytes(schema.serialize())


def ipc_batch(batch: pa.RecordBatch) -> bytes:
    return bytes(batch.serialize())


@dataclasses.dataclass
class Done:
    kind: int
    line: int
    column: int
    flags: int
    row: int
    rows_in: int
    rows_out: int
    compile_nanos: int
    read_nanos: int
    run_nanos: int
    write_nanos: int
    text: str = ""


@dataclasses.dataclass
class Result:
    """All that a run said."""

    done: Done | None
    logs: list[tuple[str, str, int, int]]  # level, text, line, row
    batches: list[pa.RecordBatch]
    needs: int
    code: int
    signal: int
    peak_memory: int
    schema: pa.Schema

    @property
    def rows(self) -> list[dict[str, Any]]:
        return pa.Table.from_batches(self.batches, self.schema).to_pylist()

    @property
    def kind(self) -> int:
        assert self.done is not None, f"no DONE: exit code {self.code}, signal {self.signal}"
        return self.done.kind

    @property
    def text(self) -> str:
        assert self.done is not None, f"no DONE: exit code {self.code}, signal {self.signal}"
        return self.done.text


class Run:
    """A run that stands ready."""

    def __init__(
        self, zygote: Zygote, channel: socket.socket, report: socket.socket, names: socket.socket | None
    ) -> None:
        self.zygote = zygote
        self.channel = channel
        self.report = report
        self.names = names
        self.pid_fd = -1
        self.listener = -1

    def close(self) -> None:
        for one in (self.channel, self.report, self.names):
            if one is not None:
                one.close()
        for fd in (self.pid_fd, self.listener):
            if fd >= 0:
                os.close(fd)
        self.pid_fd = self.listener = -1

    # -- report

    def wait_forked(self) -> None:
        data, fds, _, _ = socket.recv_fds(self.report, REPORT.size, 1)
        kind, code, *_ = REPORT.unpack(data)
        assert kind == FORKED, f"not forked: {os.strerror(code)}"
        (self.pid_fd,) = fds

    def wait_ended(self) -> tuple[int, int, int, int]:
        """Exit code, signal, peak memory in bytes, processor time in nanoseconds."""
        kind, code, signal, _, peak, cpu = REPORT.unpack(self.report.recv(REPORT.size))
        assert kind == ENDED
        return code, signal, peak, cpu

    # -- channel

    def receive_exactly(self, size: int) -> bytes:
        parts = bytearray()
        while len(parts) < size:
            more = self.channel.recv(min(size - len(parts), 1 << 20))
            if not more:
                raise EOFError
            parts += more
        return bytes(parts)

    def receive(self) -> tuple[int, bytes]:
        data, fds, _, _ = socket.recv_fds(self.channel, FRAME.size, 1)
        if fds:
            (self.listener,) = fds
        if not data:
            raise EOFError
        kind, _, size = FRAME.unpack(data + self.receive_exactly(FRAME.size - len(data)))
        return kind, self.receive_exactly(size)

    def wait_ready(self) -> None:
        try:
            kind, payload = self.receive()
        except EOFError:
            code, signal, *_ = self.wait_ended()
            raise AssertionError(f"the run ended before it was ready: exit code {code}, signal {signal}") from None
        assert kind == READY, payload.decode()

    def send(self, kind: int, payload: bytes = b"", fd: int = -1) -> None:
        data = FRAME.pack(kind, 0, len(payload)) + payload
        if fd >= 0:
            sent = socket.send_fds(self.channel, [data], [fd])
            data = data[sent:]
        if data:  # with nothing to send, the end of a run that was quick would be an error
            self.channel.sendall(data)

    def start(
        self,
        statement: str | bytes,
        schema: pa.Schema,
        rows: Sequence[pa.RecordBatch] | None = None,
        *,
        input_schema: pa.Schema | None = None,
        more: bool = False,
        allow: Iterable[str] = (),
        name: str = "statement.py",
        flags: int = 0,
        concurrency: int = 1,
        batch_rows: int = 0,
        checkpoint: pa.RecordBatch | None = None,
        types: dict[str, str] | None = None,
    ) -> None:
        """`rows` None: no memfd at all. `more`: the memfd does not end the input."""
        data = b""
        if rows is not None:
            data = ipc_schema(input_schema or rows[0].schema) + b"".join(map(ipc_batch, rows))
            data += b"" if more else END_OF_STREAM
        parts = {
            STATEMENT: statement.encode() if isinstance(statement, str) else statement,
            NAME: name.encode(),
            ALLOW: "\n".join(allow).encode(),
            OPTIONS_PART: OPTIONS.pack(VERSION, flags, concurrency, 0, batch_rows, len(data)),
            OUTPUT_SCHEMA: ipc_schema(schema),
        }
        if types is not None:
            parts[OUTPUT_TYPES] = "".join(f"{key}\t{value}\n" for key, value in types.items()).encode()
        if checkpoint is not None:
            parts[CHECKPOINT] = ipc_schema(checkpoint.schema) + ipc_batch(checkpoint)
        payload = b"".join(PART.pack(kind, 0, len(part)) + part + bytes(-len(part) % 8) for kind, part in parts.items())
        fd = memfd(data, "input") if rows is not None else -1
        try:
            self.send(START, payload, fd)
        finally:
            if fd >= 0:
                os.close(fd)
        self.schema = schema

    def finish(self, more: Iterable[pa.RecordBatch] = ()) -> Result:
        """Answer what the run asks for until it has ended."""
        result = Result(None, [], [], 0, -1, -1, -1, self.schema)
        feed = iter(more)
        with contextlib.suppress(EOFError, ConnectionResetError):
            while True:
                kind, payload = self.receive()
                if kind == LOG_FRAME:
                    level, line, row = LOG.unpack_from(payload)
                    result.logs.append((LEVELS[level], payload[LOG.size :].decode(), line, row))
                elif kind == NEED:
                    result.needs += 1
                    batch = next(feed, None)
                    self.send(INPUT_END) if batch is None else self.send(INPUT, ipc_batch(batch))
                elif kind == BATCH:
                    result.batches.append(pa.ipc.read_record_batch(pa.py_buffer(payload), self.schema))
                    result.batches[-1].validate(full=True)
                elif kind == DONE_FRAME:
                    result.done = Done(*DONE.unpack_from(payload), text=payload[DONE.size :].decode())
                else:
                    raise AssertionError(f"a frame of kind {kind}")
        result.code, result.signal, result.peak_memory, _ = self.wait_ended()
        self.close()
        return result


class Zygote:
    """A zygote and the socket to it."""

    def __init__(
        self,
        modules: Iterable[str] = (),
        *,
        runtime: dict[str, Any] | None = None,
        tier: str = "full",
        user: int | None = None,
        files: int | None = None,
        expect: bool = True,
        **changes: Any,
    ) -> None:
        """`runtime`: a description, by default that of the interpreter of the tests. `changes`: of the configuration.
        `user`: who starts it, where that is not this process; `files`: how many descriptors it may have."""
        runtime = runtime or default_runtime()
        config = {key: runtime[key] for key in ("paths", "readable", "worker", "extension", "version")}
        config |= {"tier": tier, "modules": list(modules), "idle": 0} | changes
        argv = [runtime["python"], "-I", "-S", "-B", f"{runtime['worker']}/zygote.py", json.dumps(config)]
        lists = {
            "readable": runtime["readable"],
            "link": runtime["links"],
            "arg": argv,
            "env": runtime["environment"],
        }
        records = [f"tier={tier}", *(f"{key}={item}" for key, items in lists.items() for item in items)]
        policy = memfd("".join(f"{record}\0" for record in records).encode(), "policy")
        self.control, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self.control.settimeout(PATIENCE)
        self.pid = self._spawn(runtime["launcher"], policy, theirs, user, files)
        theirs.close()
        data = self.control.recv(HELLO.size)
        assert data, f"the launcher ended: {os.waitstatus_to_exitcode(os.waitpid(self.pid, 0)[1])}"
        self.version, self.failed, self.python, self.landlock_abi, text = HELLO.unpack(data)
        self.text = text.rstrip(b"\0").decode()
        if expect:
            assert not self.failed, self.text

    @staticmethod
    def _spawn(launcher: str, policy: int, control: socket.socket, user: int | None, files: int | None) -> int:
        high = [fcntl.fcntl(fd, fcntl.F_DUPFD_CLOEXEC, 100) for fd in (control.fileno(), policy)]
        actions = [(os.POSIX_SPAWN_DUP2, fd, target) for fd, target in zip(high, (3, 4), strict=True)]
        argv = [launcher]
        if user is not None:
            argv = ["setpriv", f"--reuid={user}", f"--regid={user}", "--clear-groups", *argv]
        if files is not None:
            argv = ["prlimit", f"--nofile={files}:{files}", *argv]
        try:
            return os.posix_spawnp(argv[0], argv, {"PATH": os.defpath}, file_actions=actions)
        finally:
            for fd in (policy, *high):
                os.close(fd)

    def fork(
        self, *, memory: int = 0, files: int = 64, threads: int = 16, network: bool = False, ready: bool = True
    ) -> Run:
        channel, their_channel = socket.socketpair()
        report, their_report = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        names, their_names = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET) if network else (None, None)
        theirs = [one for one in (their_channel, their_report, their_names) if one is not None]
        for one in (channel, report):
            one.settimeout(PATIENCE)
        request = REQUEST.pack(VERSION, int(network), memory, files, threads)
        socket.send_fds(self.control, [request], [one.fileno() for one in theirs])
        for one in theirs:
            one.close()
        run = Run(self, channel, report, names)
        try:
            run.wait_forked()
            if ready:
                run.wait_ready()
        except BaseException:
            run.close()
            raise
        return run

    def run(
        self, statement: str | bytes, schema: pa.Schema, rows: Sequence[pa.RecordBatch] | None = None, **options: Any
    ) -> Result:
        """One run from fork to end. `feed`: batches after the memfd."""
        feed = options.pop("feed", ())
        fork = {key: options.pop(key) for key in ("memory", "files", "threads") if key in options}
        run = self.fork(**fork)
        run.start(statement, schema, rows, more=bool(feed), **options)
        return run.finish(feed)

    def close(self) -> int:
        """End it; its exit code."""
        self.control.close()
        deadline = time.monotonic() + PATIENCE
        pid_fd = os.pidfd_open(self.pid)
        try:
            ended, _, _ = select.select([pid_fd], [], [], max(0.0, deadline - time.monotonic()))
            assert ended, "the zygote does not end"
        finally:
            os.close(pid_fd)
        return os.waitstatus_to_exitcode(os.waitpid(self.pid, 0)[1])

    def __enter__(self) -> Zygote:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()
