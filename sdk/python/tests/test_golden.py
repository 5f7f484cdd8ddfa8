"""The golden conversations of docs/protocol: our client reads them, and our connector speaks them, byte for byte but
for the Arrow streams, which another version of pyarrow may lay out in its own way."""

from __future__ import annotations

import io
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from client import Reader, rows_so_far, table

from qanat_sdk import Connector, Location, RetryableError, StableUrl
from qanat_sdk.serve import _serve

GOLDEN = Path(__file__).resolve().parents[3] / "docs" / "protocol" / "golden"
PEOPLE = pa.table({"name": pa.array(["alice", "bob"]), "age": pa.array([30, 25], pa.int32())})


class Golden(Connector):
    def schema(self) -> dict[str, str]:
        return {"name": "Utf8", "age": "Int32"}

    def discover(self, attached_locations: list[str], country: str = "is") -> list[Location]:
        return [
            Location("people", version="v1", num_rows=2),
            Location("empty"),
            Location("broken", must_copy=False, format="csv"),
        ]

    def data(self, location: Location, country: str = "is") -> Any:
        if location.location == "broken":
            raise ValueError("Database connection failed")
        if location.location == "stops":
            return self.stops()
        return PEOPLE if location.location == "people" else None

    def stops(self) -> Iterator[pa.RecordBatch]:
        self.log("begun")
        yield PEOPLE.to_batches()[0]
        self.progress(2)
        raise RetryableError("slow down", retry_after=1.5, kind="rate_limited")

    def stable_url(self, location: Location, country: str = "is") -> StableUrl | None:
        return StableUrl("https://example.com/people") if location.location == "people" else None


def conversation(name: str) -> tuple[bytes, bytes]:
    """What the host says, what the connector says."""
    host, connector = bytearray(), bytearray()
    for line in (GOLDEN / name).read_text(encoding="utf-8").splitlines():
        mark, _, rest = line.partition(" ")
        if mark == ">":
            host += rest.encode() + b"\n"
        elif mark == "<":
            connector += rest.encode() + b"\n"
        elif mark == "<x":
            connector += bytes.fromhex(rest)
        else:
            assert not line or mark == "#", line
    return bytes(host), bytes(connector)


def told(data: bytes, version: int) -> list[Any]:
    """All that a connector said: replies and ends as they are, streams as what they hold."""
    reader = Reader(io.BytesIO(data))
    found: list[Any] = []
    while data[reader.stream.tell() :]:
        begin = reader.stream.tell()
        reply = reader.reply()
        found.append(data[begin : reader.stream.tell()])
        result = reply.get("result")
        if not isinstance(result, dict) or "ok" not in result or ("applied" in result) != (version == 2):
            continue
        if version == 1:
            if reply["id"] != 10:  # shutdown
                found.append(table(reader.frame()))
            continue
        stream, end = reader.stream_2()
        found.append(end)
        found.append(rows_so_far(stream) if "error" in end else table(stream))
    found.append(reader.notifications)
    return found


@pytest.mark.trace("C10")
@pytest.mark.parametrize("version", [1, 2])
def test_connector_speaks_the_golden_conversation(version: int) -> None:
    host, connector = conversation(f"version_{version}.txt")
    stdout = io.BytesIO()
    _serve(Golden(), io.BytesIO(host), stdout)
    expected = told(connector, version)
    assert PEOPLE in [item for item in expected if isinstance(item, pa.Table)], "the conversation has data"
    assert told(stdout.getvalue(), version) == expected


class Paged(Connector):
    def discover(self, attached_locations: list[str], year: str = "") -> Iterator[Location]:
        return (Location(f"{year}/{n}") for n in range(1, 5))

    def data(self, location: Location) -> Any:
        return None


def test_connector_speaks_the_golden_conversation_in_pages(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("qanat_sdk.locations.PAGE", 2)
    host, connector = conversation("version_2_pages.txt")
    stdout = io.BytesIO()
    _serve(Paged(), io.BytesIO(host), stdout)
    assert stdout.getvalue() == connector


def test_golden_version_2_holds_what_the_page_says() -> None:
    _, connector = conversation("version_2.txt")
    found = told(connector, 2)
    ends = [item for item in found if isinstance(item, dict)]
    assert [end.get("rows") for end in ends] == [2, 1, 2, 0, None]
    assert ends[-1]["error"]["data"] == {"kind": "rate_limited", "retryable": True, "retry_after_ms": 1500}
    tables = [item for item in found if isinstance(item, pa.Table)]
    assert [item.to_pydict() for item in tables] == [PEOPLE.to_pydict(), {"age": [30]}, PEOPLE.to_pydict()]
    assert found[-1] == [
        ("log", {"level": "info", "message": "begun"}),
        ("progress", {"rows": 2, "total": None, "text": ""}),
    ]
