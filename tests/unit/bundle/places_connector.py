"""A connector on the SDK for test_fetch_ipc.c. Its locations are said by its argument `places`: words "KIND:NUMBER".

rows:N    N rows; slow:MS  one row after so many milliseconds; crash:N  the process ends itself after N rows;
raise:N   an exception; big:MB  so many MiB in batches of one; wait:N  a first batch, then nothing until the host goes.
"""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Iterator

import pyarrow as pa

from qanat_sdk import Connector, Location, serve

MIB = 1 << 20


def numbers(first: int, n: int) -> pa.RecordBatch:
    """A batch of the numbers from `first` on."""
    return pa.record_batch({"id": pa.array(range(first, first + n), pa.int64())})


def big(mib: int) -> Iterator[pa.RecordBatch]:
    """The same MiB of zeros again and again."""
    batch = pa.record_batch({"id": pa.array([0] * (MIB // 8), pa.int64())})
    for _ in range(mib):
        yield batch


def crash(rows: int) -> Iterator[pa.RecordBatch]:
    """A batch, and the end of the process."""
    yield numbers(0, rows)
    sys.stderr.write("about to go\n")
    sys.stderr.flush()
    os._exit(3)


def wait() -> Iterator[pa.RecordBatch]:
    """A batch that reaches the host, then silence."""
    yield numbers(0, 200_000)
    time.sleep(600)


class Places(Connector):
    """What `places` says."""

    def discover(self, attached_locations: list[str], **kwargs: str) -> list[Location]:
        """One location a word."""
        return [Location(word, version="1") for word in kwargs["places"].split()]

    def data(self, location: Location, **kwargs: str) -> object:
        """By the kind of the location."""
        kind, number = location.location.split(":")[:2]
        if kind == "slow":
            time.sleep(int(number) / 1000)
            return numbers(0, 1)
        if kind == "raise":
            raise ValueError("no such luck")
        if kind == "crash":
            return crash(int(number))
        if kind == "big":
            return big(int(number))
        return wait() if kind == "wait" else numbers(0, int(number))


if __name__ == "__main__":
    serve(Places())
