"""Connectors for the tests: `python::sample_connectors:Class`, `ipc::sample_connectors.py Class`."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Iterator
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from qanat_sdk import Connector, ConnectorError, Location, RetryableError, StableUrl, serve

ROW_NUMBERS = pa.array(range(1 << 16), pa.int64())
BATCH = pa.RecordBatch.from_pydict({"n": pa.array(range(1000), pa.int64()), "t": ["some text"] * 1000})


class Documented(Connector):
    """What the document promises of the methods."""

    def discover(self, attached_locations: list[str], **kwargs: str) -> list[Location]:
        assert isinstance(attached_locations, list)
        assert all(isinstance(value, str) for value in kwargs.values())
        found = [
            Location("plain"),
            Location("all", must_copy=False, format="csv", version="v7", num_rows=3),
            Location("odd name/..\n\u2603 ü", version="1"),
        ]
        return [location for location in found if location.location not in attached_locations]

    def data(self, location: Location, **kwargs: str) -> Any:
        assert type(location) is Location
        fields = [location.location, location.must_copy, location.format, location.version, location.num_rows]
        return pa.table({"field": [repr(field) for field in fields]})

    def stable_url(self, location: Location, **kwargs: str) -> StableUrl | None:
        return StableUrl(f"https://example.com/{location.location}") if location.location == "all" else None


class Arguments(Connector):
    """Says which arguments have reached it."""

    def discover(self, attached_locations: list[str], **kwargs: Any) -> list[Location]:
        return [Location(f"{name}={value!r}") for name, value in sorted(kwargs.items())]

    def data(self, location: Location, **kwargs: Any) -> Any:
        return pa.table({"argument": [f"{name}={value!r}" for name, value in sorted(kwargs.items())]})

    def stable_url(self, location: Location, **kwargs: Any) -> StableUrl:
        return StableUrl("test:" + ",".join(f"{name}={value!r}" for name, value in sorted(kwargs.items())))


class Strict(Connector):
    """Takes one argument and no other."""

    def discover(self, attached_locations: list[str], planet: str = "Earth") -> list[Location]:
        return [Location(planet)]

    def data(self, location: Location, planet: str = "Earth") -> Any:
        return pa.table({"planet": [planet]})


class _Stream:
    """Anything with `__arrow_c_stream__`."""

    def __arrow_c_stream__(self, requested_schema: Any = None) -> Any:
        return pa.table({"id": [1, 2, 3], "name": ["a", None, "c"]}).__arrow_c_stream__()


class Returns(Connector):
    """Everything that data() may return; the locations say what."""

    EMPTY = ("none", "no items")
    SAME = (
        "table", "batch", "batches", "rows", "columns", "row iterator", "batch iterator", "stream", "reader", "tables",
    )  # fmt: skip

    def schema(self) -> dict[str, str]:
        return {"id": "Int64", "name": "Utf8"}

    def discover(self, attached_locations: list[str], **kwargs: Any) -> list[Location]:
        return [Location(name) for name in (*self.SAME, *self.EMPTY)]

    def data(self, location: Location, **kwargs: Any) -> Any:
        rows = [{"id": 1, "name": "a"}, {"id": 2, "name": None}, {"id": 3, "name": "c"}]
        table = pa.table({"id": [1, 2, 3], "name": ["a", None, "c"]})
        (batch,) = table.to_batches()
        made = {
            "table": table,
            "batch": batch,
            "batches": [batch.slice(0, 1), batch.slice(1)],
            "rows": rows,
            "columns": {"id": [1, 2, 3], "name": ["a", None, "c"]},
            "row iterator": iter(rows),
            "batch iterator": iter([batch.slice(0, 2), batch.slice(2)]),
            "stream": _Stream(),
            "reader": pa.RecordBatchReader.from_batches(table.schema, [batch]),
            "tables": iter([table.slice(0, 2), table.slice(2)]),
            "none": None,
            "no items": [],
        }
        return made[location.location]


class Schemaless(Returns):
    """Rows without a schema."""

    def schema(self) -> Any:
        return None


class Failing(Connector):
    """Fails as the location says."""

    def discover(self, attached_locations: list[str], **kwargs: Any) -> list[Location]:
        if kwargs.get("fail") == "discover":
            raise LookupError("no catalogue today")
        return [Location("value error"), Location("good"), Location("after a batch")]

    def data(self, location: Location, **kwargs: Any) -> Any:
        name = location.location
        if name == "value error":
            raise ValueError("the data is not there\nsays line two")
        if name == "after a batch":
            return self._failing()
        if name == "retryable":
            raise RetryableError("come again", retry_after=30)
        if name == "authentication":
            raise ConnectorError("the token has expired", kind="authentication")
        if name == "exit":
            sys.exit(3)
        if name == "unprintable":
            raise _UnprintableError
        return pa.table({"n": [1]})

    def stable_url(self, location: Location, **kwargs: Any) -> Any:
        if location.location == "value error":
            raise ValueError("no URL")
        return "https://example.com" if location.location == "wrong type" else None

    def _failing(self) -> Iterator[Any]:
        yield BATCH
        raise OSError("the link went down")


class _UnprintableError(Exception):
    def __str__(self) -> str:
        raise RuntimeError("no text")


class Flaky(Connector):
    """Fails twice with an error that may be retried. In a process of its own it counts by a file."""

    def discover(self, attached_locations: list[str], **kwargs: Any) -> list[Location]:
        return [Location("x")]

    def data(self, location: Location, counter: str) -> Any:
        with open(counter, "a+", encoding="utf-8") as file:
            file.write("x")
            file.seek(0)
            count = len(file.read())
        if count <= 2:
            raise RetryableError(f"failure {count}", retry_after=0.01)
        return pa.table({"count": [count]})


class Numbers(Connector):
    """Many rows, made as they are asked for; projection, filter, limit and a stable order."""

    capabilities = ("stable_order",)

    def discover(self, attached_locations: list[str], **kwargs: Any) -> list[Location]:
        return [Location("numbers", num_rows=100_000)]

    def data(self, location: Location, **kwargs: Any) -> Iterator[Any]:
        for start in range(0, 100_000, 1000):
            yield pa.RecordBatch.from_pydict(
                {"n": pa.array(range(start, start + 1000), pa.int64()), "even": [n % 2 == 0 for n in range(1000)]}
            )


class Endless(Connector):
    """The same batch for ever. Says in the log that its iterator was closed."""

    def discover(self, attached_locations: list[str], **kwargs: Any) -> list[Location]:
        return [Location("endless")]

    def data(self, location: Location, **kwargs: Any) -> Iterator[Any]:
        try:
            while True:
                yield BATCH
        finally:
            self.log("closed", "warning")


class Slow(Connector):
    """Waits where the location says so."""

    def discover(self, attached_locations: list[str], wait: str = "") -> list[Location]:
        if wait == "discover":
            time.sleep(600)
        return [Location("data"), Location("batch"), Location("stable_url")]

    def data(self, location: Location, wait: str = "") -> Any:
        if location.location == "data":
            time.sleep(600)
        return self._batches()

    def stable_url(self, location: Location, wait: str = "") -> None:
        time.sleep(600)

    def _batches(self) -> Iterator[Any]:
        yield BATCH
        time.sleep(0.2)  # the SDK sends what has waited for a tenth of a second
        yield BATCH
        time.sleep(600)


class Waiting(Connector):
    """Many locations, each of which takes 50 ms."""

    def discover(self, attached_locations: list[str], **kwargs: Any) -> list[Location]:
        return [Location(str(n)) for n in range(16)]

    def data(self, location: Location, **kwargs: Any) -> Any:
        time.sleep(0.05)
        return pa.table({"n": [int(location.location)]})


class Talking(Connector):
    """Says things while it works, and prints."""

    def discover(self, attached_locations: list[str], **kwargs: Any) -> list[Location]:
        self.log("looking", "debug")
        return [Location("x")]

    def data(self, location: Location, **kwargs: Any) -> Iterator[Any]:
        self.progress(0, 2000, "begun")
        yield BATCH
        self.log("half", "warning")
        self.progress(1000, 2000, "half")
        yield BATCH


class Made(Connector):
    """Numbers and texts that are made as they are asked for."""

    def discover(self, attached_locations: list[str], **kwargs: Any) -> list[Location]:
        return [Location("made")]

    def data(self, location: Location, **kwargs: Any) -> Iterator[Any]:
        rows = 1 << 16
        for number in range(int(kwargs["batches"])):
            ids = pc.add(ROW_NUMBERS, number * rows)
            yield pa.RecordBatch.from_arrays([ids, pc.cast(ids, pa.string())], ["id", "text"])


class Crash(Connector):
    """Ends its process as the location says."""

    def discover(self, attached_locations: list[str], **kwargs: Any) -> list[Location]:
        return [Location("good"), Location("at once"), Location("in the middle"), Location("killed")]

    def data(self, location: Location, **kwargs: Any) -> Any:
        if location.location == "at once":
            print("these are my last words", file=sys.stderr, flush=True)
            os._exit(7)
        if location.location == "killed":
            os.kill(os.getpid(), 9)
        return self._batches(location.location)

    def _batches(self, name: str) -> Iterator[Any]:
        for number in range(200):
            if name == "in the middle" and number == 100:
                os._exit(8)
            yield BATCH


if __name__ == "__main__":
    serve(globals()[sys.argv[1]]())
