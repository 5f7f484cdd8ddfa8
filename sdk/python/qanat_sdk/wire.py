"""The bytes of the protocol: lines of JSON in and out, frames of data. Knows nothing of connectors.

    version 1, after the reply to data:  length (4 bytes, big-endian), that many bytes of an Arrow IPC stream
    version 2, after the reply to data:  messages: 4 bytes, big-endian: kind (upper 4 bits), length (lower 28); payload

docs/protocol/connector.md of qanat describes it. Threads: Output may be used by several, a message at a time; Input by
one.
"""

from __future__ import annotations

import json
import mmap
import os
import select
import stat
import struct
import threading
from typing import Any, BinaryIO

MAX_LINE = 64 << 20
MAX_DEPTH = 64
MAX_FRAME = (1 << 32) - 1  # of version 1
MAX_MESSAGE = 16 << 20  # of version 2
MAX_SLOTS = 256
CHUNK, NOTIFICATION, END, SLOT = range(4)

CHUNK_SIZE = 1 << 20  # what we cut the stream into
_DIRECT = 64 << 10  # buffers of this size are sent from where they lie
_READ = 1 << 16

LENGTH = struct.Struct(">I")
_SLOT = struct.Struct(">II")


class HostGoneError(BaseException):
    """The host reads no more, or sends no more in the middle of data. No Exception: nobody on the way may keep it."""


class LineTooLong(bytes):
    """Stands for a line that was longer than MAX_LINE and has been dropped."""


class Input:
    """Lines from the host, waited for or not."""

    def __init__(self, stream: BinaryIO) -> None:
        self._read = getattr(stream, "read1", None) or stream.read
        self._buffer = bytearray()
        self._searched = 0
        self._dropping = False
        self._ended = False
        self._poll: select.poll | None = None
        try:
            number = stream.fileno()
        except (AttributeError, OSError):
            return  # no descriptor, as in tests: what comes meanwhile is seen when it is waited for
        self._poll = select.poll()
        self._poll.register(number, select.POLLIN)

    def line(self) -> bytes | None:
        """The next line without its end, waiting for it. None: there is no more."""
        while (line := self._take()) is None:
            if self._ended:
                return self._rest()
            self._more()
        return line

    def ready_line(self) -> bytes | None:
        """The next line, where one is there without waiting."""
        while (line := self._take()) is None:
            if self._ended or self._poll is None or not self._poll.poll(0):
                return None
            self._more()
        return line

    def _more(self) -> None:
        data = self._read(_READ) or b""
        self._ended = not data
        self._buffer += data

    def _take(self) -> bytes | None:
        end = self._buffer.find(b"\n", self._searched)
        if end < 0:
            self._searched = len(self._buffer)
            if self._searched > MAX_LINE:
                self._forget()
            return None
        line = LineTooLong() if self._dropping or end > MAX_LINE else bytes(self._buffer[:end])
        del self._buffer[: end + 1]
        self._searched = 0
        self._dropping = False
        return line

    def _forget(self) -> None:
        self._buffer.clear()
        self._searched = 0
        self._dropping = True

    def _rest(self) -> bytes | None:
        """What stands behind the last line end."""
        rest = LineTooLong() if self._dropping else bytes(self._buffer)
        found = bool(self._buffer) or self._dropping
        self._buffer.clear()
        self._searched = 0
        self._dropping = False
        return rest if found else None


def parse(line: bytes) -> Any:
    """The JSON value of a line. ValueError says what is wrong with it."""
    if isinstance(line, LineTooLong):
        raise ValueError(f"a line of more than {MAX_LINE} bytes")
    try:
        value = json.loads(line.decode("utf-8"), parse_constant=_no_constant)
    except RecursionError:
        raise ValueError(f"JSON nested deeper than {MAX_DEPTH} levels") from None
    if line.count(b"[") + line.count(b"{") > MAX_DEPTH and _depth(value) > MAX_DEPTH:
        raise ValueError(f"JSON nested deeper than {MAX_DEPTH} levels")
    return value


def _no_constant(text: str) -> None:
    raise ValueError(f"{text} is not JSON")


def _depth(value: Any) -> int:
    """Levels of arrays and objects, without recursion."""
    depth = 0
    level = [value]
    while level := [inner for inner in level if isinstance(inner, (list, dict))]:
        depth += 1
        level = [item for inner in level for item in (inner.values() if isinstance(inner, dict) else inner)]
    return depth


def encode(value: Any) -> bytes:
    """A JSON value as the bytes of a line, without its end."""
    return json.dumps(value, separators=(",", ":"), allow_nan=False).encode("ascii")


class Output:
    """Lines and frames to the host."""

    def __init__(self, stream: BinaryIO) -> None:
        self._stream = stream
        self._lock = threading.Lock()

    def write(self, *parts: Any) -> None:
        """All of the parts, one after the other, nothing of another thread between them."""
        with self._lock:
            try:
                for part in parts:
                    self._all(memoryview(part))
                self._stream.flush()
            except (OSError, ValueError) as error:  # a pipe that is broken, a stream that is closed
                raise HostGoneError(str(error)) from error

    def _all(self, view: memoryview) -> None:
        while view.nbytes:
            written = self._stream.write(view)
            view = view[len(view) if written is None else written :]

    def line(self, value: Any) -> None:
        self.write(encode(value) + b"\n")

    def message(self, kind: int, payload: Any) -> None:
        """A message of version 2, of at most MAX_MESSAGE bytes."""
        header = LENGTH.pack(kind << 28 | len(payload))
        if len(payload) < _DIRECT:
            self.write(header + bytes(payload))
        else:
            self.write(header, payload)


class Ring:
    """Memory shared with the host, in slots. A slot is ours until we send its number, and again when it comes back."""

    def __init__(self, number: int, slots: int, slot_size: int) -> None:
        """ValueError or OSError where the offer is not one that can be taken."""
        if not (1 <= slots <= MAX_SLOTS and 4096 <= slot_size <= MAX_MESSAGE and number > 2):
            raise ValueError(f"a ring of {slots} slots of {slot_size} bytes in descriptor {number}")
        status = os.fstat(number)
        if not stat.S_ISREG(status.st_mode) or status.st_size < slots * slot_size:
            raise ValueError(f"descriptor {number} does not hold {slots} slots of {slot_size} bytes")
        os.set_inheritable(number, False)
        self._map = mmap.mmap(number, slots * slot_size)
        self.memory = memoryview(self._map)
        self.slots = slots
        self.slot_size = slot_size
        self.free = list(range(slots))

    def reset(self) -> None:
        """All slots are ours again: at the beginning of data."""
        self.free = list(range(self.slots))

    def credit(self, slot: Any) -> None:
        """A slot came back. One that is ours already is no news."""
        if isinstance(slot, int) and 0 <= slot < self.slots and slot not in self.free:
            self.free.append(slot)

    def close(self) -> None:
        self.memory.release()
        self._map.close()


class ChunkSink:
    """A file for pyarrow's writer, whose bytes become messages of version 2."""

    closed = False

    def __init__(self, output: Output) -> None:
        self._output = output
        self._parts: list[bytes] = []
        self._size = 0

    def write(self, data: Any) -> int:
        view = memoryview(data).cast("B")
        size = view.nbytes
        if size >= _DIRECT:
            self.flush_stream()
            for start in range(0, size, CHUNK_SIZE):
                self._output.message(CHUNK, view[start : start + CHUNK_SIZE])
        else:
            self._parts.append(bytes(view))
            self._size += size
            if self._size >= CHUNK_SIZE:
                self.flush_stream()
        return size

    def flush_stream(self) -> None:
        """Send what waits."""
        if self._size:
            self._output.message(CHUNK, b"".join(self._parts))
        self._parts.clear()
        self._size = 0

    def flush(self) -> None:
        """pyarrow's own calls: what waits may wait on."""

    def close(self) -> None:
        """Nothing is held that would have to be closed."""


class RingSink(ChunkSink):
    """The same through the ring. `wait` returns when a slot may have become free."""

    def __init__(self, output: Output, ring: Ring, wait: Any) -> None:
        super().__init__(output)
        self._ring = ring
        self._wait = wait
        self._slot: int | None = None
        self._used = 0
        ring.reset()

    def write(self, data: Any) -> int:
        view = memoryview(data).cast("B")
        size = view.nbytes
        done = 0
        while done < size:
            begin = self._begin() + self._used
            count = min(size - done, self._ring.slot_size - self._used)
            self._ring.memory[begin : begin + count] = view[done : done + count]
            self._used += count
            done += count
            if self._used == self._ring.slot_size:
                self.flush_stream()
        return size

    def _begin(self) -> int:
        """Where the present slot begins; takes one where there is none."""
        while self._slot is None:
            if self._ring.free:
                self._slot = self._ring.free.pop(0)
            else:
                self._wait()
        return self._slot * self._ring.slot_size

    def flush_stream(self) -> None:
        if self._slot is not None:
            slot, self._slot = self._slot, None
            used, self._used = self._used, 0
            self._output.message(SLOT, _SLOT.pack(slot, used))
