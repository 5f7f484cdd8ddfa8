"""Fetching from connectors of every bad kind: the error names connector, location and last words; the rest is kept.

`make test` runs a fault of each sort, `make torture` all of them.
"""

from __future__ import annotations

import os
import re
import shlex
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pyarrow as pa
import pytest
from child_processes import children

import qanat as qn

SCRIPT = Path(__file__).resolve().parents[2] / "unit" / "connector" / "hostile_connector.py"
GOOD = ["good", "../up", "two\nlines"]
BATCHES, ROWS_EACH = 5, 4
PATIENCE = "0.6"  # seconds, of those that hang
QUICK = {"hangs_in_data", "prints", "dies_in_chunk", "second_schema", "v1_dies_in_frame", "v1_longer", "v1_truncated"}
QUICK |= {"exits", "garbage", "hangs_in_discover", "no_list", "closes_stdin"}


@dataclass
class Fault:
    mode: str
    said: str
    last_words: str = "asked for "
    hangs: bool = False


IN_DATA = [
    Fault("hangs_before_data", "no sign of life", "let me think", hangs=True),
    Fault("hangs_in_data", "no sign of life", hangs=True),
    Fault("hangs_in_stable_url", "no sign of life", hangs=True),
    Fault("ignores_term", "no sign of life", hangs=True),
    Fault("bad_url", 'neither null nor {"url": text}'),
    Fault("prints", "hello, world"),
    Fault("raises", "no such city: Atlantis", "Traceback: it is in there"),
    Fault("fails_late", "the source is gone"),
    Fault("segfaults", "ended by signal 11", "about to fall"),
    Fault("not_ok", 'is not {"ok": true}'),
    Fault("no_reply_but_end", "ended with status 0"),
    Fault("dies_in_chunk", "ended with status 7", "out of something"),
    Fault("no_end", "ended with status 7", "forgot the end"),
    Fault("second_schema", "it is no batch"),
    Fault("big_message", "a message of 16777217 bytes"),
    Fault("strange_kind", "the unknown kind 9"),
    Fault("slot_without_ring", "a ring that was not agreed on"),
    Fault("wrong_rows", "it sent 1 rows in 5 batches; 20 in 5 came"),
    Fault("v1_dies_in_frame", "in the middle of its data", "out of something"),
    Fault("v1_hangs_in_frame", "no sign of life", hangs=True),
    Fault("v1_announces_much", "in the middle of its data", "that was all"),
    Fault("v1_longer", "bytes follow the end"),
    Fault("v1_shorter", "in the middle of a message"),
    Fault("v1_truncated", "in the middle of a message"),
    Fault("v1_corrupt", "Arrow IPC"),
    Fault("v1_no_arrow", "Arrow IPC"),
]
IN_DISCOVERY = [
    Fault("exits", "ended with status 3", "no key"),
    Fault("killed", "ended by signal 9", "pid "),
    Fault("garbage", "is not JSON", "pid "),
    Fault("hangs_in_handshake", "no sign of life", "pid ", hangs=True),
    Fault("hangs_in_discover", "no sign of life", hangs=True),
    Fault("endless_line", "longer than 67108864 bytes"),
    Fault("no_list", 'is not {"locations": [...]}'),
    Fault("no_name", 'has no "location"'),
    Fault("huge_name", "longer than 65536 bytes"),
    Fault("wrong_id", "a reply to request 7 in place of 2"),
    Fault("deep", "deeper than 64 levels"),
    Fault("closes_stdin", "it no longer reads", "pid "),
]
if "QANAT_TORTURE" not in os.environ:
    IN_DATA = [fault for fault in IN_DATA if fault.mode in QUICK]
    IN_DISCOVERY = [fault for fault in IN_DISCOVERY if fault.mode in QUICK]


@pytest.fixture
def nothing_left() -> Iterator[None]:
    before = children()
    yield
    assert children() <= before


@pytest.fixture(scope="module")
def messages(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A schema, batches and the end, each after its length, as the connector reads them."""
    schema = pa.schema([("id", pa.int64())])
    batches = [
        pa.record_batch([pa.array(range(n * ROWS_EACH, (n + 1) * ROWS_EACH), pa.int64())], schema=schema)
        for n in range(BATCHES)
    ]
    parts = [schema.serialize(), *(batch.serialize() for batch in batches), pa.py_buffer(b"\xff\xff\xff\xff\0\0\0\0")]
    file = tmp_path_factory.mktemp("hostile") / "messages"
    file.write_bytes(b"".join(part.size.to_bytes(8, "little") + part.to_pybytes() for part in parts))
    return file


def bundle_of(folder: Path, fault: Fault, messages: Path) -> qn.Bundle:
    system = {"allow_external_code": "true", "connector_timeout": PATIENCE if fault.hangs else "60"}
    bundle = qn.create(folder / "data", config={"system": system})
    command = [sys.executable, "-S", "-E", str(SCRIPT), fault.mode, str(messages)]
    bundle.import_temp_connector("acme.hostile", f"ipc::{shlex.join(command)}")
    bundle.create_source("acme.hostile")
    return bundle


def expect_fault(failure: qn.QanatError, fault: Fault, begins: str) -> None:
    assert type(failure) is qn.ConnectorError  # a timeout too: what a fetch raises for its locations
    assert str(failure).startswith(begins) and fault.said in str(failure), failure
    assert "\n" not in str(failure)
    assert fault.last_words in (failure.detail or ""), failure.detail


@pytest.mark.trace("B9", "C26", "C28")
@pytest.mark.usefixtures("nothing_left")
@pytest.mark.parametrize("fault", IN_DATA, ids=lambda fault: fault.mode)
def test_a_bad_location_is_told_and_the_others_are_kept(fault: Fault, messages: Path, tmp_path: Path) -> None:
    with bundle_of(tmp_path, fault, messages) as bundle:
        with pytest.raises(qn.QanatError) as caught:
            bundle.fetch(parallel=2)
        expect_fault(caught.value, fault, 'connector "acme.hostile": location "bad": ')
        results = caught.value.results
        assert results is not None and results.added == GOOD
        (failed,) = results.failed
        assert (failed.location, failed.error) == ("bad", str(caught.value))
        assert fault.last_words in (failed.detail or ""), failed.detail
        bundle.commit("the others")
        assert [failure.location for failure in bundle.failures()] == ["bad"]
        rows = bundle.to_polars(["_location", "id"])
        assert rows["_location"].unique(maintain_order=True).to_list() == GOOD
        assert rows["id"].to_list() == list(range(BATCHES * ROWS_EACH)) * len(GOOD)
        assert bundle.verify() == []
    assert [path.name for path in tmp_path.iterdir()] == ["data"], "no name of a location leads anywhere"


@pytest.mark.trace("B9", "C26")
@pytest.mark.usefixtures("nothing_left")
@pytest.mark.parametrize("fault", IN_DISCOVERY, ids=lambda fault: fault.mode)
def test_a_bad_source_is_told_and_the_others_run(fault: Fault, messages: Path, tmp_path: Path) -> None:
    with bundle_of(tmp_path, fault, messages) as bundle:
        (tmp_path / "one.jsonl").write_text('{"id": 1}\n')
        bundle.create_source("files", {"path": str(tmp_path / "one.jsonl")})
        with pytest.raises(qn.QanatError) as caught:
            bundle.fetch()
        expect_fault(caught.value, fault, 'connector "acme.hostile": ')
        results = caught.value.results
        assert results is not None and results.added == ["one.jsonl"]
        (failed,) = results.failed
        assert (failed.location, failed.error) == ("", str(caught.value))
        bundle.commit("the others")
        assert bundle.to_polars()["id"].to_list() == [1]
        assert [failure.location for failure in bundle.failures()] == [""]


@pytest.mark.trace("B9")
@pytest.mark.usefixtures("nothing_left")
def test_a_location_that_is_reported_twice_is_set_aside(messages: Path, tmp_path: Path) -> None:
    with bundle_of(tmp_path, Fault("duplicates", ""), messages) as bundle:
        twice = re.escape('location "two lines": the connector reports it more than once')
        with pytest.raises(qn.ConnectorError, match=f'^connector "acme.hostile": {twice}$') as caught:
            bundle.fetch()
        results = caught.value.results
        assert results is not None and results.added == ["good", "bad", "../up"]
        assert [failed.location for failed in results.failed] == ["two\nlines"]
        assert bundle.num_rows == 3 * BATCHES * ROWS_EACH
