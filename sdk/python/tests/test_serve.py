"""Conversations with explicit streams, in both versions of the protocol."""

from __future__ import annotations

import base64
import io
import json
import threading
from collections.abc import Callable, Iterator
from typing import Any

import pyarrow as pa
import pytest
from client import Reader, Talk, notification, offer, request, rows_so_far, table

from qanat_sdk import CancelledError, Connector, Location, RetryableError, StableUrl
from qanat_sdk.serve import _serve

PEOPLE = {"name": ["alice", "bob"], "age": [30, 25]}
ROWS = [{"name": "alice", "age": 30}, {"name": "bob", "age": 25}]
SCHEMA = pa.schema([("name", pa.string()), ("age", pa.int32())])


class Returns(Connector):
    """data() returns what `make` makes; everything that it was asked is kept."""

    def __init__(self, make: Callable[[], Any], schema: Any = None) -> None:
        self.make = make
        self.described = schema
        self.asked: list[tuple[Any, ...]] = []

    def schema(self) -> Any:
        return self.described

    def discover(self, attached_locations: list[str], **kwargs: Any) -> Any:
        self.asked.append(("discover", attached_locations, kwargs))
        return self.make()

    def data(self, location: Location, **kwargs: Any) -> Any:
        self.asked.append(("data", location, kwargs))
        return self.make()

    def stable_url(self, location: Location, **kwargs: Any) -> Any:
        self.asked.append(("stable_url", location, kwargs))
        return self.make()


@pytest.fixture(params=[1, 2], ids=["version1", "version2"])
def version(request: pytest.FixtureRequest) -> int:
    return int(request.param)


def batch(names: list[str] | None = None, ages: list[int] | None = None) -> pa.RecordBatch:
    return pa.record_batch([names or PEOPLE["name"], pa.array(ages or PEOPLE["age"], pa.int32())], schema=SCHEMA)


class Exporting:
    """Any object with __arrow_c_stream__."""

    def __arrow_c_stream__(self, requested_schema: Any = None) -> Any:
        return pa.table(PEOPLE, schema=SCHEMA).__arrow_c_stream__(requested_schema)


class ExportingOne:
    def __arrow_c_array__(self, requested_schema: Any = None) -> Any:
        return batch().__arrow_c_array__(requested_schema)


def generated() -> Iterator[dict[str, Any]]:
    yield from ROWS


DICTS = {"name": "Utf8", "age": "Int32"}
KINDS: list[Any] = [
    pytest.param(lambda: pa.table(PEOPLE, schema=SCHEMA), None, marks=pytest.mark.trace("C11"), id="table"),
    pytest.param(batch, None, marks=pytest.mark.trace("C12"), id="batch"),
    pytest.param(lambda: [batch()], None, marks=pytest.mark.trace("C13"), id="batches"),
    pytest.param(lambda: (batch(),), None, id="tuple"),
    pytest.param(lambda: ROWS, DICTS, marks=pytest.mark.trace("C14"), id="rows"),
    pytest.param(lambda: PEOPLE, DICTS, marks=pytest.mark.trace("C15"), id="columns"),
    pytest.param(generated, DICTS, marks=pytest.mark.trace("C16"), id="generator"),
    pytest.param(lambda: iter(ROWS), SCHEMA, id="iterator"),
    pytest.param(Exporting, None, id="stream"),
    pytest.param(ExportingOne, None, id="array"),
    pytest.param(lambda: pa.table(PEOPLE, schema=SCHEMA).to_reader(), None, id="reader"),
    pytest.param(lambda: iter([batch(["alice"], [30]), batch(["bob"], [25])]), None, id="iterator of batches"),
    pytest.param(lambda: iter([Exporting()]), None, id="iterator of streams"),
]


@pytest.mark.trace("C6", "C11", "C12", "C13", "C14", "C15", "C16")
@pytest.mark.parametrize(("make", "schema"), KINDS)
def test_data_of_every_kind(make: Callable[[], Any], schema: Any, version: int) -> None:
    found = Talk(Returns(make, schema), version).data()
    assert found.schema == SCHEMA
    assert found.to_pylist() == ROWS


@pytest.mark.trace("C17")
@pytest.mark.parametrize("make", [lambda: None, list, dict, lambda: iter(())], ids=["none", "list", "dict", "iterator"])
def test_no_data(make: Callable[[], Any], version: int) -> None:
    if make() == {}:
        with pytest.raises(RuntimeError, match=r"needs schema\(\)"):
            Talk(Returns(make), version).data()
    else:
        assert Talk(Returns(make), version).data() is None


@pytest.mark.parametrize("make", [list, lambda: iter(()), lambda: {"name": [], "age": []}, SCHEMA.empty_table])
def test_no_rows_are_not_no_data(make: Callable[[], Any], version: int) -> None:
    found = Talk(Returns(make, DICTS), version).data()
    assert found.schema == SCHEMA
    assert found.num_rows == 0


@pytest.mark.trace("C13", "C21")
def test_batches_arrive_as_they_were_returned(version: int) -> None:
    batches = [batch(["alice"], [30]), batch(["bob", "eve"], [25, 41])]
    found = Talk(Returns(lambda: batches), version).data()
    assert [found.num_rows for found in found.to_batches()] == [1, 2]
    assert found == pa.Table.from_batches(batches)


@pytest.mark.trace("C19")
@pytest.mark.parametrize("make", [lambda: ROWS, lambda: PEOPLE, generated], ids=["rows", "columns", "iterator"])
def test_dicts_without_schema(make: Callable[[], Any], version: int) -> None:
    with pytest.raises(
        RuntimeError, match=r"needs schema\(\): define it in the connector, for example def schema\(self\)"
    ):
        Talk(Returns(make), version).data()


@pytest.mark.trace("C19")
def test_dicts_without_schema_are_a_value_error(capsys: pytest.CaptureFixture[str]) -> None:
    Talk(Returns(lambda: ROWS)).call("data", {"location": {"location": "x"}})
    assert "\nValueError: data() returned a list of dicts, which needs schema()" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: 7, "this one returned int"),
        (lambda: "text", "this one returned str"),
        (lambda: [1, 2], "has a list of int"),
        (lambda: iter(["a"]), "has an iterator of str"),
        (lambda: [batch(), 3], "item 1 of data() is a int, those before it were Arrow batches"),
        (lambda: iter([batch(), ROWS[0]]), "item 1 of data() is a dict"),
        (
            lambda: [batch(), pa.record_batch({"name": ["x"]})],
            "batch 1 has another schema than those before it: columns name",
        ),
        (
            lambda: iter([batch(), pa.record_batch({"name": ["x"], "age": [1]})]),
            'batch 1 has another schema than those before it: column "age" is Int64, it was Int32',
        ),
    ],
)
def test_data_of_no_known_kind(make: Callable[[], Any], message: str, version: int) -> None:
    with pytest.raises(RuntimeError) as caught:
        Talk(Returns(make), version).data()
    assert message in str(caught.value)


@pytest.mark.trace("C20")
def test_schema_driven_connector(version: int) -> None:
    class Sensors(Connector):
        def schema(self) -> dict[str, str]:
            return {"sensor_id": "Utf8", "temperature": "Float32", "reading_count": "Int32"}

        def discover(self, attached_locations: list[str], **kwargs: str) -> list[Location]:
            return [Location("readings")]

        def data(self, location: Location, **kwargs: str) -> dict[str, list[Any]]:
            return {"sensor_id": ["s1", "s2"], "temperature": [22.5, 19.75], "reading_count": [100, 85]}

    found = Talk(Sensors(), version).data("readings")
    assert found.schema == pa.schema(
        [("sensor_id", pa.string()), ("temperature", pa.float32()), ("reading_count", pa.int32())]
    )
    assert found.to_pydict() == {"sensor_id": ["s1", "s2"], "temperature": [22.5, 19.75], "reading_count": [100, 85]}


@pytest.mark.trace("C5", "C8")
def test_discover(version: int) -> None:
    connector = Returns(lambda: [Location("a\nb"), Location("../c", False, "csv", "v2", 7)])
    reply = Talk(connector, version).call("discover", {"attached_locations": ["x", "y"], "db_host": "h"})
    assert reply["result"] == {
        "locations": [
            {"location": "a\nb", "must_copy": True, "format": "parquet", "version": "", "num_rows": None},
            {"location": "../c", "must_copy": False, "format": "csv", "version": "v2", "num_rows": 7},
        ]
    }
    assert connector.asked == [("discover", ["x", "y"], {"db_host": "h"})]


def all_pages(reader: Any, told: list[str]) -> list[str]:
    """The names of the pages that come next, the first of which has the id 1."""
    names: list[str] = []
    for number in range(1, 1000):
        reply = reader.reply()
        assert reply["id"] == number
        told.extend(found["location"] for found in reply["result"]["locations"])
        if "next" not in reply["result"]:
            break
        names.append(reply["result"]["next"])
    return names


def asking(pages: int, first: int = 0) -> list[bytes]:
    lines = [request("discover", {"attached_locations": []})]
    return lines + [request("discover", {"_page": str(first + page)}, page + 1) for page in range(1, pages)]


def test_generator_is_told_in_pages() -> None:
    many = 3 * 4096 + 5
    made: list[int] = []

    def locations() -> Iterator[Location]:
        for n in range(many):
            made.append(n)
            yield Location(str(n))

    told: list[str] = []
    assert all_pages(Talk(Returns(locations), 2).reader(*asking(4)), told) == ["1", "2", "3"]
    assert told == [str(n) for n in range(many)]
    # A host of version 1 gets the same at once; `_page` means nothing to it.
    reply = Talk(Returns(locations), 1).call("discover")["result"]
    assert "next" not in reply and len(reply["locations"]) == many
    # Who asks no further gets no further, and the generator is closed.
    made.clear()
    Talk(Returns(locations), 2).call("discover")
    assert len(made) == 4096


def test_pages_are_small_where_names_are_long() -> None:
    told: list[str] = []
    reader = Talk(Returns(lambda: (Location("x" * 60_000 + str(n)) for n in range(50))), 2).reader(*asking(3))
    assert len(all_pages(reader, told)) == 2
    assert len(told) == len(set(told)) == 50


def test_page_goes_out_when_the_next_location_takes_long(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("qanat_sdk.locations._PATIENCE", 0.0)
    told: list[str] = []
    reader = Talk(Returns(lambda: iter([Location("a"), Location("b")])), 2).reader(*asking(3))
    assert all_pages(reader, told) == ["1", "2"]
    assert told == ["a", "b"]


def test_lists_are_whole_unless_they_are_too_long_for_a_line() -> None:
    for number, pages in ((1 << 16, 0), ((1 << 16) + 1, 16)):
        told: list[str] = []
        found = [Location(str(n)) for n in range(number)]
        assert len(all_pages(Talk(Returns(lambda f=found: f), 2).reader(*asking(17)), told)) == pages
        assert len(told) == number


def test_pages_that_were_not_offered_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("qanat_sdk.locations.PAGE", 1)
    closed: list[str] = []

    def locations() -> Iterator[Location]:
        try:
            yield from (Location("a"), Location("b"), Location("c"))
        finally:
            closed.append("closed")

    reader = Talk(Returns(locations), 2).reader(
        request("discover", {"_page": "1"}, 1),
        request("discover", {}, 2),
        request("discover", {"_page": None}, 3),
        request("discover", {"_page": 1}, 4),
        request("discover", {}, 5),  # begins anew
        request("discover", {"_page": "1"}, 6),
        request("discover", {"_page": "2"}, 7),
        request("discover", {"_page": "2"}, 8),
    )
    replies = [reader.reply() for _ in range(8)]
    assert [reply.get("error", {}).get("code") for reply in replies] == [
        -32602,
        None,
        -32602,
        -32602,
        None,
        *[-32602, None, -32602],
    ]
    assert [reply["result"]["next"] for reply in replies if "result" in reply] == ["1", "2", "3"]
    assert closed == ["closed", "closed"]


def test_page_that_fails_ends_the_pages(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("qanat_sdk.locations.PAGE", 2)

    def locations() -> Iterator[Location]:
        yield from (Location("a"), Location("b"))
        raise RetryableError("the list broke off")

    reader = Talk(Returns(locations), 2).reader(*asking(3), request("ping", identifier=9))
    assert reader.reply()["result"]["next"] == "1"
    error = reader.reply()["error"]
    assert (error["message"], error["data"]["retryable"]) == ("the list broke off", True)
    assert reader.reply()["error"]["code"] == -32602
    assert reader.reply()["result"] == "pong"


@pytest.mark.parametrize(
    ("found", "message"),
    [
        (None, "discover() returns a list of Location, not NoneType"),
        (["a"], "this one has a str"),
        ([Location(7)], "Location.location is a text, not 7"),  # type: ignore[arg-type]
        ([Location("x" * 70000)], "more than 65536 bytes"),
        ([Location("é" * 40000)], "more than 65536 bytes"),
        ([Location("a\0b")], "Location.location has a character that no host can hold"),
        ([Location("\ud800")], "Location.location has a character that no host can hold"),
        ([Location("a", version="\0")], 'location "a": version has a character'),
        ([Location("a", num_rows=-1)], 'location "a": num_rows'),
        ([Location("a", num_rows=True)], 'location "a": num_rows'),
        ([Location("a", must_copy=1)], 'location "a": must_copy is a bool, not 1'),  # type: ignore[arg-type]
        ([Location("a", version=None)], 'location "a": version is a str, not None'),  # type: ignore[arg-type]
    ],
)
def test_discover_that_returns_something_else(found: Any, message: str, version: int) -> None:
    error = Talk(Returns(lambda: found), version).call("discover", {"attached_locations": []})["error"]
    assert error["code"] == -32000
    assert message in error["message"]


@pytest.mark.trace("C6", "C8", "C25")
def test_location_and_arguments_reach_data(version: int) -> None:
    connector = Returns(lambda: None)
    talk = Talk(connector, version)
    whole = {"location": "a", "must_copy": False, "format": "csv", "version": "v", "num_rows": 3}
    talk.call("data", {"location": {"location": "a"}, "db_host": "h", "_columns": ["x"]})
    talk.call("data", {"location": {**whole, "more": 1}})
    assert connector.asked == [
        ("data", Location("a"), {"db_host": "h", "_columns": ["x"]}),
        ("data", Location("a", False, "csv", "v", 3), {}),
    ]


@pytest.mark.trace("C25")
def test_arguments_that_a_method_does_not_take(version: int) -> None:
    class Strict(Connector):
        def discover(self, attached_locations: list[str], *, db_host: str = "localhost") -> list[Location]:
            return [Location(db_host)]

        def data(self, location: Location, db_host: str) -> None:
            return None

    talk = Talk(Strict(), version)
    assert talk.call("discover", {"db_host": "h"})["result"]["locations"][0]["location"] == "h"
    error = talk.call("discover", {"db_hots": "h"})["error"]
    assert (error["code"], error["message"]) == (-32602, 'discover() takes no argument "db_hots"; it takes db_host')
    error = talk.call("data", {"location": {"location": "a"}})["error"]
    assert (error["code"], error["message"]) == (-32602, 'data() needs the argument "db_host"')
    reply = talk.call("data", {"location": {"location": "a"}, "db_host": "h", "_columns": ["x"]})
    assert reply["result"]["ok"] is True


@pytest.mark.trace("C7", "C9", "C25")
def test_stable_url(version: int) -> None:
    connector = Returns(lambda: StableUrl("https://a/b"))
    reply = Talk(connector, version).call("stable_url", {"location": {"location": "a"}, "k": "v"})
    assert reply["result"] == {"url": "https://a/b"}
    assert connector.asked == [("stable_url", Location("a"), {"k": "v"})]
    assert Talk(Returns(lambda: None), version).call("stable_url", {"location": {"location": "a"}})["result"] is None
    error = Talk(Returns(lambda: "https://a"), version).call("stable_url", {"location": {"location": "a"}})["error"]
    assert error["message"] == "stable_url() returns a StableUrl or None, not 'https://a'"


@pytest.mark.trace("C28")
@pytest.mark.parametrize("method", ["discover", "data", "stable_url"])
def test_exception_becomes_an_error_with_its_message(method: str, version: int) -> None:
    def fail() -> None:
        raise ValueError("Database connection failed")

    reader = Talk(Returns(fail), version).reader(
        request(method, {"location": {"location": "a"}} if method != "discover" else {}), request("ping", identifier=2)
    )
    error = reader.reply()["error"]
    data = error.pop("data", None)
    assert error == {"code": -32000, "message": "Database connection failed"}
    assert data == (None if version == 1 else {"kind": "failed", "retryable": False})
    assert reader.reply() == {"jsonrpc": "2.0", "id": 2, "result": "pong"}, "the loop goes on"


def test_messages_that_are_odd_or_endless(version: int) -> None:
    def fail() -> None:
        raise ValueError("\ud800\n\U0001f600\0" * (1 << 20))

    def rows() -> Iterator[dict[str, Any]]:
        yield ROWS[0]
        fail()

    error = Talk(Returns(fail), version).call("discover")["error"]
    assert error["message"].startswith("?\n\U0001f600\ufffd"), "what a host could not hold is replaced"
    with pytest.raises(RuntimeError, match="\U0001f600"):
        Talk(Returns(rows, DICTS), version).data()


def test_exit_is_an_error_too(version: int) -> None:
    def leave() -> None:
        raise SystemExit(3)

    error = Talk(Returns(leave), version).call("discover")["error"]
    assert (error["code"], error["message"]) == (-32000, "the connector called sys.exit(3)")


@pytest.mark.trace("C10")
@pytest.mark.parametrize(
    ("line", "code", "identifier"),
    [
        (b"nonsense", -32700, None),
        (b'{"jsonrpc":"2.0","id":1,"method":', -32700, None),
        (b"\xff\xfe", -32700, None),
        (b'{"id": NaN, "method": "ping"}', -32700, None),
        (b"[" * 70 + b"]" * 70, -32700, None),
        (b"[" * 200_000, -32700, None),
        (b"[]", -32600, None),
        (b"7", -32600, None),
        (b'{"jsonrpc":"2.0","id":5}', -32600, 5),
        (b'{"jsonrpc":"1.0","id":5,"method":"ping"}', -32600, 5),
        (b'{"jsonrpc":"2.0","id":[5],"method":"ping"}', -32600, None),
        (b'{"jsonrpc":"2.0","id":1e999,"method":"ping"}', -32600, None),
        (b'{"jsonrpc":"2.0","id":true,"method":"ping"}', -32600, None),
        (b'{"jsonrpc":"2.0","id":"a","method":"pong"}', -32601, "a"),
        (b'{"jsonrpc":"2.0","id":5,"method":"ping","params":[1]}', -32602, 5),
        (b'{"jsonrpc":"2.0","id":5,"method":"data","params":{}}', -32602, 5),
        (b'{"jsonrpc":"2.0","id":5,"method":"data","params":{"location":"a"}}', -32602, 5),
        (b'{"jsonrpc":"2.0","id":5,"method":"data","params":{"location":{"location":7}}}', -32602, 5),
        (b'{"jsonrpc":"2.0","id":5,"method":"data","params":{"location":{"location":"a","num_rows":"7"}}}', -32602, 5),
        (b'{"jsonrpc":"2.0","id":5,"method":"discover","params":{"attached_locations":"a"}}', -32602, 5),
        (
            b'{"jsonrpc":"2.0","id":5,"method":"stable_url","params":{"location":{"location":"a","must_copy":1}}}',
            -32602,
            5,
        ),
    ],
)
def test_bad_requests(line: bytes, code: int, identifier: Any, version: int) -> None:
    reader = Talk(Returns(lambda: None), version).reader(line + b"\n", request("ping", identifier="after"))
    reply = reader.reply()
    assert (reply["id"], reply["error"]["code"]) == (identifier, code)
    assert reply["error"]["message"]
    assert reader.reply() == {"jsonrpc": "2.0", "id": "after", "result": "pong"}


@pytest.mark.trace("C10")
def test_a_line_without_end_is_dropped(version: int) -> None:
    reader = Talk(Returns(lambda: None), version).reader(b" " * (65 << 20) + b"\n", request("ping"))
    assert reader.reply()["error"]["code"] == -32700
    assert reader.reply()["result"] == "pong"


@pytest.mark.trace("C10")
def test_end_of_input_shutdown_and_what_has_no_reply(version: int) -> None:
    talk = Talk(Returns(lambda: None), version)
    reader = talk.reader(b"\n  \r\n", notification("anything", {"a": 1}), request("shutdown"), request("ping"))
    assert reader.reply()["result"] == {"ok": True}
    assert reader.stream.read() == b"", "nothing is answered after shutdown"
    assert talk.reader().stream.read() == b"", "the end of the input is an end"
    assert talk.reader(request("ping")[:-1]).reply()["result"] == "pong", "a last line needs no end"


def test_identifiers_come_back_as_they_were(version: int) -> None:
    for identifier in (0, -7, "x\n", 1.5, None, 2**70):
        assert (
            Talk(Returns(lambda: None), version).reader(request("ping", None, identifier)).reply()["id"] == identifier
        )


@pytest.mark.trace("C10")
def test_version_1_is_not_told_of_version_2() -> None:
    reader = Talk(Returns(lambda: None)).reader(
        request("handshake", {"protocol_version": "1"}), request("describe"), request("schema", {"location": {}})
    )
    assert reader.reply()["result"] == {"protocol_version": "1"}
    assert reader.reply()["error"]["code"] == -32601
    assert reader.reply()["error"]["code"] == -32601


def test_an_offer_without_version_2_is_not_taken() -> None:
    for qanat in ({"versions": [3]}, {"versions": 2}, [], "2", {}):
        reply = Talk(Returns(lambda: None)).call("handshake", {"protocol_version": "1", "qanat": qanat})
        assert reply["result"] == {"protocol_version": "1"}


def test_log_and_progress_of_version_1_stay_off_the_wire(capsys: pytest.CaptureFixture[str]) -> None:
    connector: Returns

    def speak() -> list[Any]:
        connector.log("careful", "warning")
        connector.progress(1, 2)
        return []

    connector = Returns(speak)
    assert Talk(connector).call("discover")["result"] == {"locations": []}
    assert "warning: careful\n" in capsys.readouterr().err


# ---- version 2 ----


def test_describe() -> None:
    class Described(Returns):
        capabilities = ("filter", "stable_order")

        def discover(self, attached_locations: list[str], table: str, db_host: str = "localhost") -> list[Location]:
            return []

    assert Talk(Described(lambda: None), 2).call("describe")["result"] == {
        "name": "Described",
        "arguments": {
            "type": "object",
            "properties": {"table": {"type": "string"}, "db_host": {"type": "string", "default": "localhost"}},
            "additionalProperties": False,
            "required": ["table"],
        },
        "capabilities": ["filter", "limit", "pages", "projection", "stable_order"],
    }
    Described.arguments = {"type": "object"}
    assert Talk(Described(lambda: None), 2).call("describe")["result"]["arguments"] == {"type": "object"}


def test_capabilities_are_checked_at_once() -> None:
    class Wrong(Returns):
        capabilities = ("speed",)

    with pytest.raises(ValueError, match="capability 'speed' is not known; known are projection"):
        Talk(Wrong(lambda: None)).call("ping")


def test_schema_before_data() -> None:
    def asked(connector: Connector) -> Any:
        reply = Talk(connector, 2).call("schema", {"location": {"location": "x"}, "k": "v"})["result"]["schema"]
        return None if reply is None else pa.ipc.read_schema(pa.py_buffer(base64.b64decode(reply)))

    class Many(Returns):
        def schema(self, location: Location, **kwargs: str) -> Any:  # type: ignore[override]
            return {location.location: "Int64", kwargs["k"]: "Utf8"}

    assert asked(Returns(lambda: None, DICTS)) == SCHEMA
    assert asked(Returns(lambda: None)) is None
    assert asked(Many(lambda: None)) == pa.schema([("x", pa.int64()), ("v", pa.string())])


def test_error_in_the_middle_keeps_what_was_before() -> None:
    def rows() -> Iterator[dict[str, Any]]:
        yield from ROWS
        raise RetryableError("slow down", retry_after=2, kind="rate_limited")

    reader = Talk(Returns(rows, DICTS), 2).reader(request("data", {"location": {"location": "x"}}), request("ping"))
    assert reader.reply()["result"] == {"ok": True, "applied": []}
    data, end = reader.stream_2()
    assert rows_so_far(data) == 2
    assert not data.endswith(b"\xff\xff\xff\xff\x00\x00\x00\x00"), "the stream's own end mark is missing"
    assert end["error"] == {
        "code": -32000,
        "message": "slow down",
        "data": {"kind": "rate_limited", "retryable": True, "retry_after_ms": 2000},
    }
    assert reader.reply()["result"] == "pong"


def test_error_in_the_middle_is_an_ordinary_one_in_version_1() -> None:
    def rows() -> Iterator[dict[str, Any]]:
        yield from ROWS * 100_000
        raise RetryableError("slow down")

    with pytest.raises(RuntimeError, match="slow down"):
        Talk(Returns(rows, DICTS)).data()


def test_frame_of_an_iterator_that_outgrows_version_1(monkeypatch: pytest.MonkeyPatch) -> None:
    """The limit is lowered: 4 GiB through a temporary file are not for every day."""
    monkeypatch.setattr("qanat_sdk.session.MAX_FRAME", 3 << 20)
    made = 0

    def rows() -> Iterator[dict[str, Any]]:
        nonlocal made
        for _ in range(100_000):
            made += 1
            yield {"name": "x" * 1000}

    with pytest.raises(RuntimeError, match="more than 3145728 bytes, which is all that version 1"):
        Talk(Returns(rows, DICTS)).data()
    assert made < 6000, "it is ended as soon as it is too large"


def test_generator_is_closed_whatever_happens(version: int) -> None:
    closed = []

    def rows() -> Iterator[dict[str, Any]]:
        try:
            for i in range(10):
                yield {"name": "x", "age": i if i < 5 else "five"}
        finally:
            closed.append(True)

    with pytest.raises(RuntimeError, match='row 5, field "age": expected Int32, found str'):
        Talk(Returns(rows, DICTS), version).data()
    assert closed == [True]


class Numbers(Returns):
    """0, 1, 2, ...: in batches of ten."""

    def __init__(self) -> None:
        super().__init__(self.numbers)
        self.made = 0

    def numbers(self) -> Iterator[pa.RecordBatch]:
        for first in range(0, 100, 10):
            self.made += 10
            values = list(range(first, first + 10))
            yield pa.record_batch({"n": values, "text": [str(n) for n in values], "half": [n / 2 for n in values]})


def pushed(connector: Connector, **params: Any) -> tuple[list[str], pa.Table]:
    reader = Talk(connector, 2).reader(request("data", {"location": {"location": "x"}, **params}))
    applied = reader.reply()["result"]["applied"]
    data, end = reader.stream_2()
    found = table(data)
    assert found is not None
    assert end == {"rows": found.num_rows, "batches": len(found.to_batches())} or found.num_rows == 0
    return applied, found


def test_limit_and_projection_are_applied_for_every_connector() -> None:
    connector = Numbers()
    applied, found = pushed(connector, _columns=["half", "n"], _limit=15)
    assert applied == ["limit", "projection"]
    assert found.column_names == ["half", "n"]
    assert found["n"].to_pylist() == list(range(15))
    assert connector.made == 20, "what is not wanted is not made"
    assert connector.asked[-1][2] == {"_columns": ["half", "n"]}
    applied, found = pushed(Numbers(), _limit=0)
    assert (applied, found.num_rows, found.num_columns) == (["limit"], 0, 3)
    applied, found = pushed(Numbers(), _columns=[], _limit=5)
    assert (found.num_rows, found.num_columns) == (5, 0)


def test_projection_to_a_column_that_is_not_there() -> None:
    with pytest.raises(RuntimeError, match='column "m" is not in the data, which has n, text, half'):
        Talk(Numbers(), 2).data(_columns=["n", "m"])


def test_filter_and_what_comes_after_is_left_to_the_host() -> None:
    applied, found = pushed(Numbers(), _filter=["<", "n", 5], _limit=3, _columns=["n"])
    assert applied == ["projection"]
    assert found.num_rows == 100


def test_rows_are_skipped_only_where_the_order_is_stable() -> None:
    applied, found = pushed(Numbers(), _skip_rows=95, _limit=3)
    assert (applied, found.num_rows) == ([], 100)

    class Stable(Numbers):
        capabilities = ("stable_order",)

    for skip in (0, 5, 10, 95, 100, 200):
        applied, found = pushed(Stable(), _skip_rows=skip, _limit=3)
        assert found["n"].to_pylist() == list(range(100))[skip:][:3]
        assert applied == (["skip_rows", "limit"] if skip else ["limit"])


def test_connector_that_does_it_itself() -> None:
    class Able(Numbers):
        capabilities = ("filter", "limit", "stable_order", "projection")

        def data(self, location: Location, _skip_rows: int = 0, **kwargs: Any) -> Any:  # type: ignore[override]
            self.asked.append((_skip_rows, kwargs))
            return pa.table({"n": [7, 8, 9], "more": [0, 0, 0]})

    connector = Able()
    wanted = ["and", ["<", "n", 50], ["not", ["is_null", "n"]]]
    applied, found = pushed(connector, _filter=wanted, _limit=2, _skip_rows=7, _columns=["n"], k="v")
    assert applied == ["filter", "skip_rows", "limit", "projection"]
    assert connector.asked == [(7, {"_filter": wanted, "_limit": 2, "_columns": ["n"], "k": "v"})]
    assert found.to_pydict() == {"n": [7, 8]}


@pytest.mark.parametrize(
    "params", [{"_limit": -1}, {"_limit": "1"}, {"_skip_rows": True}, {"_columns": "n"}, {"_filter": {}}]
)
def test_push_down_that_is_wrong(params: Any) -> None:
    assert Talk(Numbers(), 2).call("data", {"location": {"location": "x"}, **params})["error"]["code"] == -32602


def test_notifications_before_and_in_data() -> None:
    connector: Returns

    def rows() -> Iterator[dict[str, Any]]:
        yield ROWS[0]
        connector.progress(1, 2, "half")
        yield ROWS[1]
        connector.log("done")

    def batches() -> Iterator[pa.RecordBatch]:
        connector.log("begun", "debug")
        yield batch()
        connector.progress(2)
        connector.log("in the middle", "warning")

    connector = Returns(rows, DICTS)
    reader = Talk(connector, 2).reader(request("data", {"location": {"location": "x"}}))
    reader.reply()
    assert len(reader.notifications) == 2, "these came before the first batch: lines"
    connector = Returns(batches)
    reader = Talk(connector, 2).reader(request("data", {"location": {"location": "x"}}))
    reader.reply()
    assert reader.notifications == [("log", {"level": "debug", "message": "begun"})]
    reader.stream_2()
    assert reader.notifications[1:] == [
        ("progress", {"rows": 2, "total": None, "text": ""}),
        ("log", {"level": "warning", "message": "in the middle"}),
    ]


def test_notifications_of_other_threads_keep_the_framing() -> None:
    connector: Returns

    def batches() -> Iterator[pa.RecordBatch]:
        def chatter() -> None:
            for i in range(200):
                connector.log(f"message {i}")

        threads = [threading.Thread(target=chatter) for _ in range(4)]
        for thread in threads:
            thread.start()
        for _ in range(50):
            yield batch()
        for thread in threads:
            thread.join()

    connector = Returns(batches)
    reader = Talk(connector, 2).reader(request("data", {"location": {"location": "x"}}))
    reader.reply()
    data, end = reader.stream_2()
    found = table(data)
    assert found is not None
    assert (found.num_rows, end) == (100, {"rows": 100, "batches": 50})
    assert len(reader.notifications) == 800


def test_large_batches_are_cut() -> None:
    large = pa.table({"n": pa.array(range(4 << 20), pa.int64())})
    for version in (1, 2):
        found = Talk(Returns(lambda: large), version).data()
        assert found == large
        assert max(batch.nbytes for batch in found.to_batches()) <= 1 << 20


def test_second_handshake_begins_anew() -> None:
    lines = [request("handshake", offer(), 1), request("handshake", {"protocol_version": "1"}, 2), request("describe")]
    reader = Talk(Returns(lambda: None)).reader(*lines)
    assert "qanat" in reader.reply()["result"]
    assert "qanat" not in reader.reply()["result"]
    assert reader.reply()["error"]["code"] == -32601


@pytest.mark.parametrize(
    "ring", [{"fd": 999, "slots": 4, "slot_size": 4096}, {"fd": 0, "slots": 4, "slot_size": 4096}, 7, {}]
)
def test_ring_that_cannot_be_used_is_not_taken(ring: Any) -> None:
    reply = Talk(Returns(lambda: None)).call("handshake", offer(ring))
    assert reply["result"]["qanat"] == {"version": 2, "ring": False}


@pytest.mark.trace("C22")
def test_serve_takes_explicit_streams_and_leaves_no_trace() -> None:
    connector = Returns(lambda: None)
    stdin, stdout = io.BytesIO(request("ping")), io.BytesIO()
    _serve(connector, stdin, stdout)
    assert json.loads(stdout.getvalue()) == {"jsonrpc": "2.0", "id": 1, "result": "pong"}
    assert not stdin.closed
    assert not stdout.closed
    assert connector._qanat_host is None


def test_host_that_reads_no_more_ends_it_quietly(capsys: pytest.CaptureFixture[str]) -> None:
    class Broken(io.BytesIO):
        def write(self, data: Any) -> int:
            raise BrokenPipeError("gone")

    _serve(Returns(lambda: None), io.BytesIO(request("ping") * 2), Broken())
    assert capsys.readouterr().err == ""


def test_partial_writes_are_finished() -> None:
    class Slow(io.BytesIO):
        def write(self, data: Any) -> int:
            return super().write(memoryview(data)[:7])

    stdout = Slow()
    _serve(Returns(lambda: pa.table(PEOPLE)), io.BytesIO(request("data", {"location": {"location": "x"}})), stdout)
    reader = Reader(io.BytesIO(stdout.getvalue()))
    reader.reply()
    assert table(reader.frame()) == pa.table(PEOPLE)


def test_cancelled_error_is_told() -> None:
    def stop() -> None:
        raise CancelledError

    error = Talk(Returns(stop), 2).call("discover")["error"]
    assert error["data"] == {"kind": "cancelled", "retryable": False}
