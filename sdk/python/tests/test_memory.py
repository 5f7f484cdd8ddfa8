"""Bounded memory: gigabytes that are generated pass through a connector whose own memory hardly grows."""

from __future__ import annotations

import json
import os
import struct
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from client import Process, Ring, request

TORTURE = bool(os.environ.get("QANAT_TORTURE"))
MIB = 1 << 20

# Locations are numbers of MiB. VmHWM is the peak of memory; writing 5 to clear_refs begins it anew.
SOURCE = """
import pyarrow as pa
from qanat_sdk import Connector, Location, serve

TEXT = "x" * 1000

def status(field):
    for line in open("/proc/self/status"):
        if line.startswith(field):
            return int(line.split()[1])  # KiB

class Mine(Connector):
    def schema(self):
        return {"i": "Int64", "text": "Utf8"}
    def discover(self, attached_locations, **kwargs):
        peak = status("VmHWM")
        open("/proc/self/clear_refs", "w").write("5")
        if attached_locations:
            return (Location(f"2026/{n:08}.parquet", version="v1") for n in range(int(attached_locations[0])))
        return [Location("peak", num_rows=peak)]
    def data(self, location, kind):
        return getattr(self, kind)(int(location.location) << 20)
    def rows(self, size):
        for i in range(size // 1000):
            yield {"i": i, "text": TEXT}
    def batches(self, size):
        batch = pa.record_batch({"i": pa.array(range(1 << 17), pa.int64())})
        for _ in range(size // batch.nbytes):
            yield batch
    def one(self, size):  # a batch as large as all, whose own memory is part of what was there before
        if getattr(self, "kept", None) is None:
            self.kept = pa.record_batch({"b": pa.array([bytes(MIB)] * (size >> 20))})
        return self.kept

MIB = 1 << 20
serve(Mine())
"""


@pytest.fixture
def ring() -> Iterator[Ring]:
    made = Ring(slots=4, slot_size=MIB)
    yield made
    made.close()


def peak(process: Process) -> int:
    """MiB, since the last time."""
    return process.ask("discover")["result"]["locations"][0]["num_rows"] >> 10


def swallow(process: Process, mib: int, kind: str, version: int, ring: Ring | None) -> int:
    """Fetch and forget; the bytes that came."""
    process.send(request("data", {"location": {"location": str(mib)}, "kind": kind}))
    assert process.reply()["result"]["ok"] is True
    if version == 1:
        (size,) = struct.unpack(">I", process.exactly(4))
        left = size
        while left:
            left -= len(process.exactly(min(left, MIB)))
        return size
    total = 0
    for number, payload in process.messages():
        if number == 3:
            slot, used = struct.unpack(">II", payload)
            total += used
            process.credit(slot)
        elif number == 0:
            total += len(payload)
        else:
            assert b"error" not in payload
    return total


@pytest.mark.trace("C16")
@pytest.mark.parametrize(
    ("version", "with_ring", "kind", "mib"),
    [
        (1, False, "rows", 200),
        (2, False, "rows", 5120 if TORTURE else 200),
        (2, True, "rows", 5120 if TORTURE else 200),
        (1, False, "batches", 400),
        (2, False, "batches", 5120 if TORTURE else 400),
        (2, True, "batches", 5120 if TORTURE else 400),
        (1, False, "one", 300),
        (2, False, "one", 300),
        (2, True, "one", 300),
    ],
)
def test_memory_does_not_grow_with_the_data(
    start: Callable[..., Process], ring: Ring, version: int, with_ring: bool, kind: str, mib: int
) -> None:
    process = start(SOURCE, ring=ring if with_ring else None)
    if version == 2:
        assert process.handshake()["qanat"]["ring"] is with_ring
    first = mib if kind == "one" else 8
    swallow(process, first, kind, version, ring)  # whatever is imported and kept is, by now
    peak(process)
    before = peak(process)
    assert swallow(process, mib, kind, version, ring) > mib * MIB * 9 // 10
    assert peak(process) - before < 24
    assert process.end_input() == 0


def test_memory_does_not_grow_with_the_number_of_locations(start: Callable[..., Process]) -> None:
    many = 10_000_000 if TORTURE else 200_000
    process = start(SOURCE)
    process.handshake()
    params: dict[str, Any] = {"attached_locations": ["20000"]}
    count = longest = 0
    before: int | None = None
    while True:
        process.send(request("discover", params))
        line = process.stream.readline()
        longest = max(longest, len(line))
        result = json.loads(line)["result"]
        assert result["locations"][0]["location"] == f"2026/{count:08}.parquet"
        count += len(result["locations"])
        if "next" in result:
            params = {"_page": result["next"]}
        elif before is None:  # what is imported and kept is, by now
            assert count == 20000
            peak(process)
            before = peak(process)
            count = 0
            params = {"attached_locations": [str(many)]}
        else:
            break
    assert count == many
    assert longest < 2 * MIB
    assert peak(process) - before < 24
    assert process.end_input() == 0
