"""A conversation with a host: requests to the connector's methods, and what they return back.

Requests are worked off one by one. While data is sent, what the host says meanwhile (credits, cancel) is read between
the batches. Whatever a connector's method does, the conversation goes on; it ends with `shutdown`, with the end of the
input, or when the host is gone.
"""

from __future__ import annotations

import base64
import math
import tempfile
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, BinaryIO

import pyarrow as pa

from qanat_sdk.call import Method, ParameterError, describe
from qanat_sdk.connector import Connector, Location, StableUrl
from qanat_sdk.data import Stream, limit_rows, select, skip_rows, stream_of
from qanat_sdk.errors import CancelledError, ConnectorError, complain, details_of, message_of
from qanat_sdk.locations import Pages, check_text, count_of, location_of, whole
from qanat_sdk.types import schema_of
from qanat_sdk.wire import (
    CHUNK_SIZE,
    END,
    LENGTH,
    MAX_FRAME,
    MAX_LINE,
    NOTIFICATION,
    ChunkSink,
    HostGoneError,
    Input,
    LineTooLong,
    Output,
    Ring,
    RingSink,
    encode,
    parse,
)

CAPABILITIES = ("projection", "filter", "limit", "stable_order")
_MAX_TEXT = 1 << 20  # characters of a message

_FAILED, _PARSE, _REQUEST, _METHOD, _PARAMETERS = -32000, -32700, -32600, -32601, -32602
_MAX_LIST = 1 << 16  # locations of a list that is told whole, to hosts of version 2
_PATIENCE = 1.0  # seconds that a row waits for others of its batch (version 2)
_MAX_WAITING = 16  # requests that are read ahead while another is worked on
_LINGER = 0.1  # seconds that encoded bytes wait for others

# What a connector's code may raise and survive. SIGTERM, Ctrl-C and a host that is gone are none of these.
_FAILURES = (Exception, SystemExit)


class _Work:
    """The request that is being worked on."""

    def __init__(self, identifier: Any) -> None:
        self.id = identifier
        self.cancelled = False
        self.in_data = False  # between the reply to data and its end
        self.sent = time.monotonic()  # when bytes of the data were last sent


class _DataRequest:
    """What of the data a host of version 2 wants, and which part of that is done on this side."""

    def __init__(self, params: Mapping[str, Any]) -> None:
        self.columns = params.get("_columns")
        self.filter = params.get("_filter")
        self.limit = count_of(params, "_limit")
        self.skip = count_of(params, "_skip_rows") or 0
        if self.columns is not None and not _is_texts(self.columns):
            raise ParameterError('"_columns" is a list of names')
        if self.filter is not None and not isinstance(self.filter, list):
            raise ParameterError('"_filter" is an expression: a list')
        self.applied: list[str] = []
        self.reserved: dict[str, Any] = {}
        self._skip_here = 0
        self._limit_here: int | None = None

    def plan(self, method: Method, capabilities: frozenset[str]) -> None:
        """Decide what the connector does, what is done here, and what is left to the host. The order is: filter, skip,
        limit, projection; whatever comes after a part that is left to the host is left to it too, but projection."""
        after_filter = self.filter is None
        if self.filter is not None and "filter" in capabilities and method.takes("_filter"):
            self.reserved["_filter"] = self.filter
            self.applied.append("filter")
            after_filter = True
        after_skip = after_filter
        if self.skip:
            after_skip = after_filter and "stable_order" in capabilities
            if after_skip:
                self.applied.append("skip_rows")
                if method.names("_skip_rows"):
                    self.reserved["_skip_rows"] = self.skip
                else:
                    self._skip_here = self.skip
        if self.limit is not None and after_skip:
            self.applied.append("limit")
            self._limit_here = self.limit
            if "limit" in capabilities:
                self.reserved["_limit"] = self.limit + self._skip_here
        if self.columns is not None:
            self.applied.append("projection")
            self.reserved["_columns"] = self.columns

    def schema(self, schema: Any) -> Any:
        return schema if self.columns is None else select(schema, self.columns)

    def batches(self, batches: Iterator[Any]) -> Iterator[Any]:
        if self._skip_here:
            batches = skip_rows(batches, self._skip_here)
        if self._limit_here is not None:
            batches = limit_rows(batches, self._limit_here)
        if self.columns is not None:
            names = self.columns
            batches = (batch.select(names) for batch in batches)
        return batches


def _is_texts(value: Any) -> bool:
    return isinstance(value, list) and all(isinstance(item, str) for item in value)


def _fit(text: str) -> str:
    """A text for a host to show: not endless, and of characters that any host can hold."""
    return text[:_MAX_TEXT].replace("\0", "\ufffd").encode("utf-8", "replace").decode("utf-8")


class Session:
    """One host, one connector. It is also what the connector's log(), progress() and cancelled() speak to."""

    def __init__(self, connector: Connector, stdin: BinaryIO, stdout: BinaryIO) -> None:
        unknown = [name for name in connector.capabilities if name not in CAPABILITIES]
        if unknown:
            raise ValueError(f"capability {unknown[0]!r} is not known; known are {', '.join(CAPABILITIES)}")
        self._connector = connector
        self._capabilities = frozenset(connector.capabilities)
        self._input = Input(stdin)
        self._input_lock = threading.Lock()
        self._output = Output(stdout)
        self._notify_lock = threading.Lock()  # whether data is being sent does not change under a notification
        self._waiting: deque[bytes] = deque()  # requests that came while another was worked on
        self._version = 1
        self._ring: Ring | None = None
        self._work: _Work | None = None
        self._pages: Pages | None = None  # of the last discover, while there are more
        self._n_pages = 0
        self._methods: dict[str, Callable[[dict[str, Any]], Any]] = {
            "handshake": self._handshake,
            "ping": lambda _: "pong",
            "discover": self._discover,
            "stable_url": self._stable_url,
            "shutdown": lambda _: {"ok": True},
        }
        self._methods_2: dict[str, Callable[[dict[str, Any]], Any]] = {
            "describe": self._describe,
            "schema": self._schema,
        }

    # ---- the loop ----

    def run(self) -> None:
        """Work until the host ends it."""
        try:
            while True:
                request = self._waiting.popleft() if self._waiting else self._next()
                if request is None or not self._handle(request):
                    return
        except HostGoneError:
            return
        finally:
            self._close_pages()
            if self._ring is not None:
                self._ring.close()

    def _next(self) -> bytes | None:
        with self._input_lock:
            return self._input.line()

    def _handle(self, line: bytes) -> bool:
        """One line; False where it was the last."""
        if not isinstance(line, LineTooLong) and not line.strip():
            return True
        try:
            request = parse(line)
        except ValueError as error:
            self._fail(None, _PARSE, f"not JSON: {error}")
            return True
        problem = _request_problem(request)
        if problem is not None:
            identifier = request.get("id") if isinstance(request, dict) else None
            self._fail(identifier if type(identifier) in (str, int) else None, _REQUEST, problem)
            return True
        if "id" not in request:
            self._notified(request)
            return True
        self._work = _Work(request["id"])
        try:
            self._answer(request["method"], request.get("params", {}))
        finally:
            self._work = None
        return bool(request["method"] != "shutdown")

    def _answer(self, name: str, params: Any) -> None:
        assert self._work is not None
        identifier = self._work.id
        method = self._methods.get(name) or (self._methods_2.get(name) if self._version == 2 else None)
        try:
            if method is None and name != "data":
                self._fail(identifier, _METHOD, f'there is no method "{name}"')
                return
            if not isinstance(params, dict):
                raise ParameterError("the parameters are an object")
            if method is None:
                self._data(params)
            else:
                self._reply(method(params))
        except ParameterError as error:
            self._fail(identifier, _PARAMETERS, str(error))
        except _FAILURES as error:
            self._fail(identifier, _FAILED, *self._told(error))

    def _told(self, error: BaseException) -> tuple[str, dict[str, Any]]:
        """What the host is told of a failure. People find the traceback on standard error."""
        if isinstance(error, SystemExit):
            return f"the connector called sys.exit({error.code!r})", details_of(error)
        if not isinstance(error, ConnectorError):
            complain(error)
        return message_of(error), details_of(error)

    def _reply(self, result: Any) -> None:
        assert self._work is not None
        line = encode({"jsonrpc": "2.0", "id": self._work.id, "result": result}) + b"\n"
        if len(line) > MAX_LINE:
            raise ValueError(f"the reply takes {len(line)} bytes, and a line holds {MAX_LINE}")
        self._output.write(line)

    def _error(self, code: int, message: str, data: dict[str, Any] | None) -> dict[str, Any]:
        error: dict[str, Any] = {"code": code, "message": _fit(message)}
        if self._version == 2 and data is not None:
            error["data"] = data
        return error

    def _fail(self, identifier: Any, code: int, message: str, data: dict[str, Any] | None = None) -> None:
        error = self._error(code, message, data if code == _FAILED else {"kind": "invalid", "retryable": False})
        self._output.line({"jsonrpc": "2.0", "id": identifier, "error": error})

    # ---- what the host says by itself ----

    def _notified(self, notification: dict[str, Any]) -> None:
        """Unknown notifications, and all of them in version 1, are nobody's business."""
        params = notification.get("params")
        if self._version != 2 or not isinstance(params, dict):
            return
        if notification["method"] == "credit" and self._ring is not None:
            if self._work is not None and self._work.in_data:
                self._ring.credit(params.get("slot"))
        elif notification["method"] == "cancel" and self._work is not None:
            wanted = params.get("id")
            if type(wanted) is type(self._work.id) and wanted == self._work.id:
                self._work.cancelled = True

    def _heard(self, line: bytes) -> None:
        """A line that came while a request is worked on: a notification, or a request that has to wait."""
        try:
            value = parse(line)
        except ValueError:
            value = None
        if value is not None and _request_problem(value) is None and "id" not in value:
            self._notified(value)
        else:
            self._waiting.append(line)

    def _listen(self) -> None:
        """Hear what is there, without waiting. In a thread of the connector's own, only where nobody else listens."""
        if self._version == 2 and self._input_lock.acquire(blocking=False):
            try:
                while len(self._waiting) < _MAX_WAITING and (line := self._input.ready_line()) is not None:
                    self._heard(line)
            finally:
                self._input_lock.release()

    def _wait(self) -> None:
        """Wait for a word of the host: it owes a slot."""
        with self._input_lock:
            line = self._input.line()
        if line is None:
            raise HostGoneError("the host has ended its side in the middle of data")
        self._heard(line)
        self._check()

    def _check(self) -> None:
        if self._work is not None and self._work.cancelled:
            raise CancelledError

    # ---- what a connector says by itself (connector.Host) ----

    def log(self, level: str, message: str) -> None:
        if self._version == 1:
            complain(f"{level}: {message}")
        else:
            self._notify("log", {"level": level, "message": _fit(message)})

    def progress(self, rows: int, total: int | None, text: str) -> None:
        if self._version == 2:
            self._notify("progress", {"rows": rows, "total": total, "text": _fit(text)})

    def cancelled(self) -> bool:
        self._listen()
        return self._work is not None and self._work.cancelled

    def _notify(self, method: str, params: dict[str, Any]) -> None:
        payload = encode({"jsonrpc": "2.0", "method": method, "params": params})
        with self._notify_lock:
            if self._work is not None and self._work.in_data:
                self._output.message(NOTIFICATION, payload)
            else:
                self._output.write(payload + b"\n")

    # ---- methods ----

    def _handshake(self, params: dict[str, Any]) -> Any:
        self._version = 1
        if getattr(type(self._connector), "schema", None) is not Connector.schema:
            # Rows need pa.array(), whose first call imports pandas where that is installed, for half a second. It is
            # part of the start here: in data() the host would count it as silence.
            pa.array([])
        offer = params.get("qanat")
        result: dict[str, Any] = {"protocol_version": "1"}
        if isinstance(offer, dict) and isinstance(offer.get("versions"), list) and 2 in offer["versions"]:
            self._version = 2
            result["qanat"] = {"version": 2, "ring": self._take_ring(offer.get("ring"))}
        return result

    def _take_ring(self, offer: Any) -> bool:
        """Map the memory that is offered; without it the data comes in chunks."""
        if self._ring is not None:
            self._ring.close()
            self._ring = None
        if not isinstance(offer, dict):
            return False
        numbers: list[Any] = [offer.get(name) for name in ("fd", "slots", "slot_size")]
        if not all(type(number) is int and 0 <= number < 1 << 31 for number in numbers):
            return False
        try:
            self._ring = Ring(*numbers)
        except (OSError, ValueError) as error:
            complain(f"the ring that the host offers cannot be used: {error}")
            return False
        return True

    def _describe(self, params: dict[str, Any]) -> Any:
        return describe(self._connector, self._capabilities)

    def _discover(self, params: dict[str, Any]) -> Any:
        attached = params.get("attached_locations", [])
        if not _is_texts(attached):
            raise ParameterError('"attached_locations" is a list of texts')
        if self._version == 2 and "_page" in params:
            return self._next_page(params["_page"])
        self._close_pages()
        arguments = {name: value for name, value in params.items() if name != "attached_locations"}
        found = Method(self._connector.discover)(attached, arguments)
        if isinstance(found, (str, bytes, Mapping)) or not hasattr(found, "__iter__"):
            raise TypeError(f"discover() returns a list of Location, not {type(found).__name__}")
        if self._version == 1 or (isinstance(found, Sequence) and len(found) <= _MAX_LIST):
            return whole(found, self._hear_cancel, MAX_LINE)
        self._pages = Pages(found, self._n_pages, self._hear_cancel)
        return self._next_page(None)

    def _next_page(self, name: Any) -> dict[str, Any]:
        """The first page (None), or the one that was told as the next."""
        pages = self._pages
        if pages is None or pages.next != name:
            raise ParameterError(f"there is no page {name!r}: pages are asked for in their order, each once")
        try:
            return pages.page()
        finally:
            self._n_pages = pages.number
            if pages.next is None:  # the last one, or it failed
                self._close_pages()

    def _close_pages(self) -> None:
        pages, self._pages = self._pages, None
        if pages is not None:
            try:
                pages.close()
            except _FAILURES as error:
                complain(error)

    def _hear_cancel(self) -> None:
        self._listen()
        self._check()

    def _stable_url(self, params: dict[str, Any]) -> Any:
        found = Method(self._connector.stable_url)(location_of(params), _arguments(params))
        if found is None:
            return None
        if not isinstance(found, StableUrl) or not isinstance(found.url, str):
            raise TypeError(f"stable_url() returns a StableUrl or None, not {found!r}")
        check_text(found.url, "StableUrl.url")
        return {"url": found.url}

    def _schema(self, params: dict[str, Any]) -> Any:
        schema = self._connector_schema(location_of(params), _arguments(params))
        if schema is None:
            return {"schema": None}
        return {"schema": base64.b64encode(schema.serialize()).decode("ascii")}

    def _connector_schema(self, location: Location, arguments: dict[str, Any]) -> Any:
        method = Method(self._connector.schema)
        taken = {name: value for name, value in arguments.items() if method.takes(name)}
        return schema_of(method(location, taken))

    # ---- data ----

    def _data(self, params: dict[str, Any]) -> None:
        location = location_of(params)
        method = Method(self._connector.data)
        if self._version == 1:
            self._data_1(location, method, params)
        else:
            self._data_2(location, method, params)

    def _stream(self, location: Location, method: Method, arguments: dict[str, Any], reserved: dict[str, Any]) -> Any:
        data = method(location, arguments, reserved)
        self._check()
        return stream_of(
            data, lambda: self._connector_schema(location, arguments), _PATIENCE if self._version == 2 else None
        )

    def _data_1(self, location: Location, method: Method, params: dict[str, Any]) -> None:
        reserved = {name: value for name, value in params.items() if name == "_columns"}
        stream = self._stream(location, method, _arguments(params), reserved)
        if stream is None:
            self._reply({"ok": True})
            self._output.write(LENGTH.pack(0))
            return
        with _closing(stream):
            if stream.whole:
                self._frame_of_whole(stream)
            else:
                self._frame_of_iterator(stream)

    def _frame_of_whole(self, stream: Stream) -> None:
        """All is in memory: written twice, the first time only to know the length."""
        counter = pa.MockOutputStream()
        _write(counter, stream)
        size = counter.size()
        if size > MAX_FRAME:
            raise _too_large()
        self._reply({"ok": True})
        self._output.write(LENGTH.pack(size))
        sink = _FrameSink(self._output, size)
        try:
            _write(pa.PythonFile(sink, "w"), stream)
        except _FAILURES as error:
            # A frame cannot be taken back: only the end of the conversation tells the host.
            complain(error)
            raise HostGoneError("the data failed in the middle of a frame") from error
        if sink.left:
            complain("the data changed while it was written: the conversation ends in the middle of a frame")
            raise HostGoneError("the data changed while it was written")

    def _frame_of_iterator(self, stream: Stream) -> None:
        """The length goes first, and nobody knows it: the stream goes through a file."""
        with tempfile.SpooledTemporaryFile(max_size=CHUNK_SIZE) as spool:
            _write(pa.PythonFile(_Spool(spool), "w"), stream)
            size = spool.tell()
            spool.seek(0)
            self._reply({"ok": True})
            self._output.write(LENGTH.pack(size))
            while part := spool.read(CHUNK_SIZE):
                self._output.write(part)

    def _data_2(self, location: Location, method: Method, params: dict[str, Any]) -> None:
        assert self._work is not None
        request = _DataRequest(params)
        request.plan(method, self._capabilities)
        stream = self._stream(location, method, _arguments(params, _RESERVED), request.reserved)
        if stream is None:
            self._begin({"ok": True, "applied": []})
            self._end({"rows": 0, "batches": 0})
            return
        with _closing(stream):
            schema = request.schema(stream.schema)
            batches = request.batches(stream.batches())
            first = next(batches, None)  # what fails before the first batch is an ordinary error
            self._listen()
            self._check()
            self._begin({"ok": True, "applied": request.applied})
            try:
                ending = self._send(schema, first, batches)
            except _FAILURES as error:
                ending = {"error": self._error(_FAILED, *self._told(error))}
            self._end(ending)

    def _begin(self, reply: dict[str, Any]) -> None:
        assert self._work is not None
        with self._notify_lock:
            self._reply(reply)
            self._work.in_data = True

    def _end(self, ending: dict[str, Any]) -> None:
        assert self._work is not None
        with self._notify_lock:
            self._output.message(END, encode(ending))
            self._work.in_data = False

    def _send(self, schema: Any, first: Any, batches: Iterator[Any]) -> dict[str, Any]:
        """The batches as messages; what the end says of them. Where it fails, what was encoded has been sent."""
        sink = ChunkSink(self._output) if self._ring is None else RingSink(self._output, self._ring, self._wait)
        work = self._work
        assert work is not None
        rows = count = 0
        batch = first
        try:
            writer = pa.ipc.new_stream(pa.PythonFile(sink, "w"), schema)
            while batch is not None:
                writer.write_batch(batch)
                rows += batch.num_rows
                count += 1
                self._listen()
                self._check()
                if time.monotonic() - work.sent > _LINGER:
                    sink.flush_stream()
                    work.sent = time.monotonic()
                batch = next(batches, None)
            writer.close()
        finally:
            sink.flush_stream()
        return {"rows": rows, "batches": count}


_RESERVED = frozenset({"_columns", "_filter", "_limit", "_skip_rows"})


def _arguments(params: Mapping[str, Any], reserved: frozenset[str] = frozenset({"_columns"})) -> dict[str, Any]:
    return {name: value for name, value in params.items() if name != "location" and name not in reserved}


def _request_problem(request: Any) -> str | None:
    """What is wrong with a JSON value as a request or notification; None where it is one."""
    if not isinstance(request, dict):
        return "a request is an object"
    if request.get("jsonrpc", "2.0") != "2.0":
        return '"jsonrpc" is "2.0"'
    if not isinstance(request.get("method"), str):
        return '"method" is a text'
    identifier = request.get("id")
    if isinstance(identifier, bool) or not isinstance(identifier, (str, int, float, type(None))):
        return '"id" is a text or a number'
    if isinstance(identifier, float) and not math.isfinite(identifier):
        return '"id" is a number that no reply can repeat'
    return None


@contextmanager
def _closing(stream: Stream) -> Iterator[None]:
    """Close the connector's iterator in the end. What fails then comes too late for the host: the reply is out."""
    try:
        yield
    finally:
        try:
            stream.close()
        except _FAILURES as error:
            complain(error)


def _too_large() -> ConnectorError:
    return ConnectorError(
        f"the data takes more than {MAX_FRAME} bytes, which is all that version 1 of the protocol can carry at once: "
        "divide it into several locations, or use a host that speaks version 2",
        kind="invalid",
    )


def _write(target: Any, stream: Stream) -> None:
    writer = pa.ipc.new_stream(target, stream.schema)
    for batch in stream.batches():
        writer.write_batch(batch)
    writer.close()


class _FrameSink:
    """A file for pyarrow's writer that goes to the host as it comes; never more than was promised."""

    closed = False

    def __init__(self, output: Output, size: int) -> None:
        self._output = output
        self.left = size

    def write(self, data: Any) -> int:
        view = memoryview(data).cast("B")
        self.left -= view.nbytes
        if self.left < 0:
            raise ValueError("the data changed while it was written")
        self._output.write(view)
        return view.nbytes

    def flush(self) -> None:
        """Output has flushed already."""

    def close(self) -> None:
        """Nothing is held that would have to be closed."""


class _Spool:
    """A file for pyarrow's writer, ended as soon as it is too large for a frame."""

    closed = False

    def __init__(self, file: Any) -> None:
        self._file = file
        self._size = 0

    def write(self, data: Any) -> int:
        view = memoryview(data).cast("B")
        self._size += view.nbytes
        if self._size > MAX_FRAME:
            raise _too_large()
        self._file.write(view)
        return view.nbytes

    def flush(self) -> None:
        """The spool is read only when it is complete."""

    def close(self) -> None:
        """The spool is closed by whoever opened it."""
