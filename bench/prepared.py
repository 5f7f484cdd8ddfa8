"""prepared.py: a connector that gives one prepared batch of 1 MiB again and again, for bench_connector.

usage: prepared.py [ring|chunks|frame]   how the bytes go: shared memory, chunks on the pipe, version 1 of the protocol
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from typing import Any

import pyarrow as pa

from qanat_sdk import Connector, Location, serve
from qanat_sdk.session import Session

ROWS = 1 << 16


class Prepared(Connector):
    batch = pa.record_batch({"a": pa.array(range(ROWS)), "b": pa.array([n * n for n in range(ROWS)])})

    def discover(self, attached_locations: list[str], **kwargs: Any) -> list[Location]:
        return [Location("1")]

    def data(self, location: Location, **kwargs: Any) -> Iterator[pa.RecordBatch] | list[pa.RecordBatch]:
        number = int(location.location) << 10
        if sys.argv[1:] == ["frame"]:
            return [self.batch] * number  # its size is known: no file in between
        return (self.batch for _ in range(number)) if number else iter([self.batch.slice(0, 0)])


if __name__ == "__main__":
    if sys.argv[1:] == ["chunks"]:
        Session._take_ring = lambda self, offer: False  # type: ignore[method-assign]
    elif sys.argv[1:] == ["frame"]:
        Session._handshake = lambda self, params: {"protocol_version": "1"}  # type: ignore[method-assign]
    serve(Prepared())
