"""tables.py: the connector of the bench: one prepared batch again and again, or many small locations that each wait.

Run by itself it serves the protocol, for any host. Arguments: `batches` of the one location; or `locations`, each of
which waits `wait` seconds and has one small batch.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import Any

import pyarrow as pa

from qanat_sdk import Connector, Location, serve

ROWS = 1 << 16
SMALL = pa.record_batch({"id": pa.array(range(100))})


def prepared() -> pa.RecordBatch:
    """65,536 rows of an int64, a float64 and a text of 8 letters: 1.8 MB."""
    ids = range(ROWS)
    return pa.record_batch(
        {
            "id": pa.array(ids, pa.int64()),
            "value": pa.array([i * 0.5 for i in ids], pa.float64()),
            "name": pa.array([f"{i * 7919 % 100_000_000:08d}" for i in ids], pa.string()),
        }
    )


class Tables(Connector):
    batch: pa.RecordBatch | None = None

    def discover(self, attached_locations: list[str], **kwargs: str) -> list[Location]:
        if "locations" in kwargs:
            return [Location(f"small {i}") for i in range(int(kwargs["locations"]))]
        return [Location("large")]

    def data(self, location: Location, **kwargs: str) -> Any:
        if "locations" in kwargs:
            time.sleep(float(kwargs["wait"]))
            return SMALL
        Tables.batch = Tables.batch or prepared()
        return self.again(int(kwargs["batches"]))

    def again(self, times: int) -> Iterator[pa.RecordBatch]:
        for _ in range(times):
            yield self.batch


if __name__ == "__main__":
    serve(Tables())
