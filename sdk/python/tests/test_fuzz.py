"""Whatever comes, the conversation goes on: random bytes, broken requests, lines in any order."""

from __future__ import annotations

import io
import json
import struct
from collections.abc import Iterator
from typing import Any

import hypothesis.strategies as st
import pyarrow as pa
import pytest
from client import notification, offer, request
from hypothesis import HealthCheck, given, settings

from qanat_sdk import Connector, Location, StableUrl
from qanat_sdk.serve import _serve


class Busy(Connector):
    capabilities = ("stable_order",)

    def schema(self) -> dict[str, str]:
        return {"n": "Int64", "text": "Utf8"}

    def discover(self, attached_locations: list[str], **kwargs: Any) -> list[Location]:
        self.log("discovering")
        return [Location(name) for name in attached_locations]

    def data(self, location: Location, **kwargs: Any) -> Any:
        if location.location == "none":
            return None
        if location.location == "table":
            return pa.table({"n": [1, 2, 3]})
        return self.rows(location.location)

    def rows(self, name: str) -> Iterator[dict[str, Any]]:
        for n in range(5):
            self.progress(n)
            yield {"n": n, "text": name}
        if name == "fails":
            raise OSError("in the middle")

    def stable_url(self, location: Location, **kwargs: Any) -> StableUrl:
        return StableUrl(location.location)


def check(data: bytes) -> int:
    """That the output is whole replies, notifications, frames and messages of the protocol, and no byte else."""
    stream = io.BytesIO(data)
    replies = 0
    version = 1
    while line := stream.readline():
        assert line.endswith(b"\n")
        value = json.loads(line)
        assert value["jsonrpc"] == "2.0"
        if "method" in value:
            assert version == 2
            continue
        replies += 1
        assert ("result" in value) != ("error" in value)
        if "error" in value:
            assert value["error"]["code"] in (-32000, -32600, -32601, -32602, -32700)
            assert value["error"]["message"]
            assert version == 2 or set(value["error"]) == {"code", "message"}
            continue
        result = value["result"]
        if isinstance(result, dict) and "protocol_version" in result:
            version = 2 if "qanat" in result else 1
        elif isinstance(result, dict) and "applied" in result:
            assert version == 2
            skip_messages(stream)
        elif result == {"ok": True} and version == 1 and stream.tell() < len(data):
            (size,) = struct.unpack(">I", stream.read(4))
            assert len(stream.read(size)) == size
    return replies


def skip_messages(stream: io.BytesIO) -> None:
    ipc = bytearray()
    while True:
        (header,) = struct.unpack(">I", stream.read(4))
        kind, size = header >> 28, header & 0x0FFFFFFF
        payload = stream.read(size)
        assert len(payload) == size
        assert kind in (0, 1, 2)
        if kind == 0:
            ipc += payload
        elif kind == 1:
            assert json.loads(payload)["method"] in ("log", "progress")
        else:
            end = json.loads(payload)
            if "error" not in end and ipc:
                found = pa.ipc.open_stream(bytes(ipc)).read_all()
                assert (found.num_rows, len(found.to_batches())) == (end["rows"], end["batches"])
            return


def serve(data: bytes) -> bytes:
    stdout = io.BytesIO()
    _serve(Busy(), io.BytesIO(data), stdout)
    return stdout.getvalue()


LAST = b'{"jsonrpc":"2.0","id":"the end","result":"pong"}\n'
METHODS = ("ping", "discover", "data", "stable_url", "describe", "schema", "handshake", "cancel", "credit", "nothing")
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=6), inner, max_size=3),
    max_leaves=6,
)
LOCATIONS = st.fixed_dictionaries({"location": st.sampled_from(["x", "none", "table", "fails"])}) | JSON
PARAMS = (
    st.fixed_dictionaries(
        {"location": LOCATIONS},
        optional={
            "attached_locations": st.lists(st.text(max_size=5), max_size=3) | JSON,
            "qanat": st.sampled_from([{"versions": [2]}, {"versions": [2], "ring": {"fd": 0}}, 2]),
            "_columns": st.just(["n"]) | JSON,
            "_limit": st.integers(-1, 6) | JSON,
            "_skip_rows": st.integers(-1, 6) | JSON,
            "_filter": st.just(["=", "n", 1]) | JSON,
            "id": JSON,
            "slot": JSON,
        },
    )
    | JSON
)
REQUESTS = st.builds(
    lambda method, params, identifier: json.dumps(
        {"jsonrpc": "2.0", "method": method, "params": params, **({} if identifier == "none" else {"id": identifier})}
    ).encode(),
    st.sampled_from(METHODS) | st.text(max_size=6),
    PARAMS,
    st.sampled_from([1, "a", None, "none"]) | JSON,
)
CUT = st.builds(lambda line, at: line[: at % (len(line) + 1)], REQUESTS, st.integers(0, 10_000))
LINES = st.lists(
    REQUESTS | CUT | st.binary(max_size=40) | JSON.map(lambda value: json.dumps(value).encode()), max_size=8
)


@pytest.mark.trace("C10")
@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(LINES, st.booleans())
def test_random_requests(lines: list[bytes], second: bool) -> None:
    begin = [request("handshake", offer(), "begin").rstrip()] if second else []
    data = b"\n".join([*begin, *lines, request("ping", None, "the end").rstrip(), b""])
    found = serve(data)
    check(found)
    assert found.endswith(LAST)


@pytest.mark.trace("C10")
@settings(max_examples=100, deadline=None)
@given(st.binary(max_size=300))
def test_random_bytes(data: bytes) -> None:
    lines = [line for line in data.split(b"\n") if line.strip()]
    assert check(serve(data)) <= len(lines)
    found = serve(data + b"\n" + request("ping", None, "the end"))
    assert found.endswith(LAST)


def test_the_check_can_fail() -> None:
    good = serve(
        request("handshake", offer(), 0) + notification("x", {}) + request("data", {"location": {"location": "x"}})
    )
    assert check(good) == 2
    for cut in (len(good) - 1, len(good) - 30, len(good) - 200):
        with pytest.raises((AssertionError, ValueError, struct.error, pa.ArrowInvalid)):
            check(good[:cut])
