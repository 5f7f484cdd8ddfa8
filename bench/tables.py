"""tables.py: the connector of the bench: one prepared batch again and again, or many small locations that each wait.

Run by itself it serves the protocol, for any host. Arguments: `batches` of the one location; or `locations`, each of
which waits `wait` seconds and has one small batch.
"""

from __future__ import annotations

import time
from array import array
from collections.abc import Iterable, Iterator
from itertools import accumulate
from typing import Any

import pyarrow as pa

from qanat_sdk import Connector, Location, serve

ROWS = 1 << 16


def fixed(kind: Any, code: str, values: Iterable[float]) -> pa.Array:
    """Numbers by their bytes: pa.array() would load pandas, wherever it is installed, in each process."""
    numbers = array(code, values)
    return pa.Array.from_buffers(kind, len(numbers), [None, pa.py_buffer(numbers.tobytes())])


def texts(values: list[str]) -> pa.Array:
    offsets = array("i", accumulate(map(len, values), initial=0))
    buffers = [None, pa.py_buffer(offsets.tobytes()), pa.py_buffer("".join(values).encode())]
    return pa.Array.from_buffers(pa.string(), len(values), buffers)


SMALL = pa.RecordBatch.from_arrays([fixed(pa.int64(), "q", range(100))], ["id"])


def prepared() -> pa.RecordBatch:
    """65,536 rows of an int64, a float64 and a text of 8 letters: 1.8 MB."""
    columns = [
        fixed(pa.int64(), "q", range(ROWS)),
        fixed(pa.float64(), "d", (i * 0.5 for i in range(ROWS))),
        texts([f"{i * 7919 % 100_000_000:08d}" for i in range(ROWS)]),
    ]
    return pa.RecordBatch.from_arrays(columns, ["id", "value", "name"])


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
