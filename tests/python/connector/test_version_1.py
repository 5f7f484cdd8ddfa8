"""A connector of version 1 of the protocol never sees a byte that it does not know, whatever its host is asked for."""

from __future__ import annotations

import json
import shlex
import sys
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

import qanat as qn

# It writes down all that comes, answers what version 1 has, and refuses the handshake where it is told to.
CONNECTOR = """
import json, struct, sys

seen = open("seen", "ab", 0)
stream = open("stream", "rb").read()
for line in sys.stdin.buffer:
    seen.write(line)
    request = json.loads(line)
    method, put = request["method"], sys.stdout.buffer.write
    reply = {"jsonrpc": "2.0", "id": request.get("id")}
    if method == "handshake" and sys.argv[1] == "refuses":
        reply["error"] = {"code": -32601, "message": "no method handshake"}
    elif method == "discover":
        reply["result"] = {"locations": [{"location": "a", "version": "v1"}, {"location": "b\\n..", "version": "v1"}]}
    else:
        known = {"handshake": {"protocol_version": "1"}, "ping": "pong", "stable_url": None}
        reply["result"] = known.get(method, {"ok": True})
    put(json.dumps(reply).encode() + b"\\n")
    if method == "data":
        put(struct.pack(">I", len(stream)) + stream)
    sys.stdout.buffer.flush()
"""
LOCATION = {"location", "must_copy", "format", "version", "num_rows"}
ARGUMENTS = {"region": "north"}
PARAMS = {
    "discover": {"attached_locations"},
    "data": {"location", "_columns"},
    "stable_url": {"location"},
    "ping": set(),
    "shutdown": set(),
}


@pytest.fixture(params=["answers", "refuses"])
def uri(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    monkeypatch.chdir(tmp_path)
    table = pa.table({"id": range(1000), "name": [f"row {n}" for n in range(1000)]})
    with pa.OSFile("stream", "wb") as sink, pa.ipc.new_stream(sink, table.schema) as writer:
        writer.write_table(table, max_chunksize=100)
    Path("old.py").write_text(CONNECTOR, encoding="utf-8")
    return f"ipc::{shlex.join([sys.executable, '-I', '-S', 'old.py', request.param])}"


def seen() -> list[dict[str, Any]]:
    data = Path("seen").read_bytes()
    assert data.endswith(b"\n")
    return [json.loads(line) for line in data.splitlines()]


def expect_version_1(requests: list[dict[str, Any]]) -> None:
    for request in requests:
        assert set(request) == {"jsonrpc", "id", "method", "params"}, "notifications are of version 2"
        assert request["jsonrpc"] == "2.0" and isinstance(request["id"], int)
        method, params = request["method"], request["params"]
        if method == "handshake":
            assert params.pop("qanat")["versions"] == [2], "the offer, in a member that version 1 ignores"
            assert params == {"protocol_version": "1"}
            continue
        given = {name: value for name, value in params.items() if name not in ARGUMENTS}
        assert {name: params[name] for name in params if name in ARGUMENTS} in ({}, ARGUMENTS)
        assert method in PARAMS and set(given) <= PARAMS[method], request
        assert set(given.get("location", {})) <= LOCATION


def test_everything_that_a_connector_is_asked(uri: str) -> None:
    with qn.open_connector(uri, ARGUMENTS, allow_external_code=True, processes=1) as handle:
        assert handle.describe()["protocol"] == 1
        assert not handle.can_resume()
        first, second = handle.discover(["a", "old"])
        shaped = handle.data(first, columns=["name"], filter=[">", "id", 500], limit=3)
        assert shaped is not None
        assert shaped.to_pyarrow()["name"].to_pylist() == ["row 501", "row 502", "row 503"]
        cut = handle.data(second)
        assert cut is not None and next(cut).num_rows == 100
        cut.close()  # in the middle: version 2 has a word for it, version 1 has none
        whole = handle.data(second)
        assert whole is not None and whole.to_pyarrow().num_rows == 1000
        assert handle.stable_url(first) is None
    requests = seen()
    expect_version_1(requests)
    (asked,) = (one["params"] for one in requests if one["method"] == "data" and "_columns" in one["params"])
    assert sorted(asked["_columns"]) == ["id", "name"], "what the filter needs is asked for too"
    assert {one["method"] for one in requests} >= {"handshake", "discover", "data", "stable_url"}


def test_a_bundle_that_fetches(uri: str) -> None:
    with qn.create("kept", config={"system": {"allow_external_code": "true"}}) as bundle:
        bundle.import_temp_connector("test.old", uri)
        bundle.create_source("test.old", ARGUMENTS)
        assert bundle.fetch("base", "add").added == ["a", "b\n.."]
        assert bundle.fetch("base", "sync").is_empty() and bundle.num_rows == 2000
    expect_version_1(seen())


def test_a_task_that_moves(uri: str) -> None:
    plan = {
        "task": {"name": "move"},
        "source": {"connector": uri, "args": ARGUMENTS, "folder": "."},
        "sink": {"bundle": "moved"},
        "checkpoint": {"every_rows": 300},
    }
    assert qn.Task(plan).run(allow_external_code=True).rows == 2000
    expect_version_1(seen())
