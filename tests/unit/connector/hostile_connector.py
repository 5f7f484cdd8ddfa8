"""A connector without any SDK that is good to all locations but "bad": hostile_connector.py MODE MESSAGES [MORE].

MESSAGES is a file of Arrow IPC messages, each after its length (8 bytes, little-endian): a schema, batches, the end.
"""

from __future__ import annotations

import json
import os
import signal
import sys
import time
from pathlib import Path
from typing import Any, NoReturn

MODE = sys.argv[1]
OUT = sys.stdout.buffer
VERSION_1 = MODE.startswith("v1_")
LOCATIONS = ["good", "bad", "../up", "two\nlines"]


def read_messages() -> list[bytes]:
    content = Path(sys.argv[2]).read_bytes()
    found = []
    while content:
        size = int.from_bytes(content[:8], "little")
        found.append(content[8 : 8 + size])
        content = content[8 + size :]
    return found


MESSAGES = read_messages()


def complain(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


def wait_for_ever() -> NoReturn:
    while True:
        signal.pause()


def die(text: str) -> NoReturn:
    complain(text)
    os._exit(7)


def reply(number: int, **members: Any) -> None:
    OUT.write(json.dumps({"jsonrpc": "2.0", "id": number, **members}).encode() + b"\n")
    OUT.flush()


def fail(number: int, message: str, **data: Any) -> None:
    reply(number, error={"code": -32000, "message": message, "data": data})


def message(kind: int, payload: bytes) -> None:
    OUT.write((kind << 28 | len(payload)).to_bytes(4, "big") + payload)
    OUT.flush()


# ---- data ----


def frame(parts: list[bytes], announced: int | None = None) -> None:
    size = sum(map(len, parts))
    OUT.write((size if announced is None else announced).to_bytes(4, "big") + b"".join(parts))
    OUT.flush()


def chunks(parts: list[bytes]) -> None:
    for part in parts:
        message(0, part)


def end(rows: int | None = None) -> None:
    batches = len(MESSAGES) - 2
    message(2, json.dumps({"rows": 4 * batches if rows is None else rows, "batches": batches}).encode())


def bad_frame() -> None:
    """Version 1."""
    if MODE == "v1_dies_in_frame":
        frame(MESSAGES[:2], sum(map(len, MESSAGES)))
        die("out of something")
    elif MODE == "v1_hangs_in_frame":
        frame(MESSAGES[:2], sum(map(len, MESSAGES)))
        wait_for_ever()
    elif MODE == "v1_announces_much":
        frame(MESSAGES[:2], 0xFFFFFFFF)
        die("that was all")
    elif MODE == "v1_longer":
        frame([*MESSAGES, b"junk!"])
    elif MODE == "v1_shorter":
        frame(MESSAGES, sum(map(len, MESSAGES)) - 5)
    elif MODE == "v1_truncated":
        frame([*MESSAGES[:2], MESSAGES[2][:-8]])
    elif MODE == "v1_corrupt":
        frame([MESSAGES[0], b"\xff\xff\xff\xff" + b"\x10\0\0\0" + b"\x5a" * 16, *MESSAGES[2:]])
    elif MODE == "v1_no_arrow":
        frame([b"col,col2\n1,2\n"])
    else:
        frame(MESSAGES)


def bad_messages() -> None:
    """Version 2."""
    if MODE == "dies_in_chunk":
        OUT.write((len(MESSAGES[0]) + 9).to_bytes(4, "big") + MESSAGES[0])
        OUT.flush()
        die("out of something")
    if MODE == "hangs_in_data":
        chunks(MESSAGES[:3])
        wait_for_ever()
    if MODE == "second_schema":
        chunks([*MESSAGES[:2], MESSAGES[0], *MESSAGES[2:]])
    elif MODE == "five_gib":
        chunks([*MESSAGES[:2], Path(sys.argv[3]).read_bytes()])
        message(0, bytes(1 << 20))
        wait_for_ever()
    elif MODE == "big_message":
        OUT.write((0 << 28 | (16 << 20) + 1).to_bytes(4, "big") + bytes(1 << 20))
        OUT.flush()
        wait_for_ever()
    elif MODE == "strange_kind":
        message(9, b"?")
    elif MODE == "slot_without_ring":
        message(3, (77).to_bytes(4, "big") + (1).to_bytes(4, "big"))
    elif MODE == "no_end":
        chunks(MESSAGES)
        die("forgot the end")
    elif MODE == "fails_late":
        chunks(MESSAGES[:3])
        error = {"code": -32000, "message": "the source is gone", "data": {"kind": "unavailable"}}
        message(2, json.dumps({"error": error}).encode())
        return
    else:
        chunks(MESSAGES)
    end(rows=1 if MODE == "wrong_rows" else None)


def breaks_once(number: int, skip: int) -> None:
    """The k-th request breaks before its k-th batch, and says that it is worth another try."""
    tries = Path(sys.argv[3])
    count = len(tries.read_bytes())
    tries.write_bytes(b"." * (count + 1))
    first = skip // 4
    reply(number, result={"ok": True, "applied": ["skip_rows"] if skip % 4 == 0 else []})
    batches = MESSAGES[1 + first if skip % 4 == 0 else 1 : -1]
    chunks([MESSAGES[0]])
    if len(batches) <= 1:
        chunks([*batches, MESSAGES[-1]])
        message(2, json.dumps({"rows": 4 * len(batches), "batches": len(batches)}).encode())
        return
    chunks(batches[:1])
    if MODE == "killed_at_every_batch":
        os.kill(os.getpid(), signal.SIGKILL)
    error = {"code": -32000, "message": "once more", "data": {"kind": "unavailable", "retryable": True}}
    message(2, json.dumps({"error": error}).encode())


def much(number: int) -> None:
    """One batch again and again, as often as the environment says; the last one fills the frame of version 1."""
    times = int(os.environ["QANAT_TEST_BATCHES"])
    schema, batch, last, mark = MESSAGES
    reply(number, result={"ok": True, "applied": []})
    if VERSION_1:
        OUT.write((len(schema) + times * len(batch) + len(last) + len(mark)).to_bytes(4, "big") + schema)
        for _ in range(times):
            OUT.write(batch)
        OUT.write(last + mark)
        OUT.flush()
        return
    message(0, schema)
    for _ in range(times):
        message(0, batch)
    chunks([last, mark])
    rows = times * int(os.environ["QANAT_TEST_ROWS"]) + int(os.environ["QANAT_TEST_LAST"])
    message(2, json.dumps({"rows": rows, "batches": times + 1}).encode())


def data(number: int, params: dict[str, Any]) -> None:
    name = params["location"]["location"]
    if MODE in {"much", "v1_much"}:
        much(number)
        return
    bad = name == "bad"
    if bad:
        complain("asked for bad")
    if MODE in {"breaks_at_every_batch", "killed_at_every_batch"}:
        breaks_once(number, params.get("_skip_rows", 0))
        return
    if bad and MODE == "hangs_before_data":
        complain("let me think")
        wait_for_ever()
    if bad and MODE == "prints":
        print("hello, world", flush=True)
    if bad and MODE == "raises":
        complain("Traceback: it is in there")
        fail(number, "no such\ncity: Atlantis", kind="not_found")
        return
    if bad and MODE == "rate_limited":
        fail(number, "slow down", kind="rate_limited", retryable=True, retry_after_ms=3_600_000)
        return
    if bad and MODE == "segfaults":
        complain("about to fall")
        os.kill(os.getpid(), signal.SIGSEGV)
    reply(number, result={"ok": not (bad and MODE == "not_ok"), "applied": []})
    if bad and MODE == "no_reply_but_end":
        os._exit(0)
    if VERSION_1:
        if bad:
            bad_frame()
        else:
            frame(MESSAGES)
    elif bad:
        bad_messages()
    else:
        chunks(MESSAGES)
        end()


# ---- the rest ----


def endless_line() -> None:
    OUT.write(b'{"jsonrpc":"2.0","id":2,"result":{"locations":[')
    many = b'{"location":"x"},' * 100_000
    while True:
        OUT.write(many)


def page(number: int, params: dict[str, Any]) -> None:
    """A thousand locations a page, as many pages as the environment says; "again" may be in the first two."""
    pages = int(os.environ["QANAT_TEST_PAGES"])
    at = int(params.get("_page", "0"))
    if at > 0 and "attached_locations" in params:
        fail(number, "a page is asked for without those that are attached")
        return
    found = [{"location": f"{at}/{i}"} for i in range(1000)]
    if MODE == "repeats_in_pages" and at < 2:
        found[999] = {"location": "again"}
    reply(number, result={"locations": found, "next": str(at + 1) if at + 1 < pages else None})


def discover(number: int, params: dict[str, Any]) -> None:
    if MODE in {"pages", "repeats_in_pages"}:
        page(number, params)
        return
    complain("asked for all")
    if MODE == "hangs_in_discover":
        wait_for_ever()
    if MODE == "endless_line":
        endless_line()
    found: Any = [{"location": name} for name in LOCATIONS]
    if MODE == "duplicates":
        found.append({"location": "two\nlines"})
    elif MODE == "no_list":
        found = {"location": "a"}
    elif MODE == "no_name":
        found.append({"version": "1"})
    elif MODE == "huge_name":
        found.append({"location": "n" * 70_000})
    elif MODE == "wrong_id":
        number += 5
    elif MODE == "deep":
        OUT.write(b"[" * 1000 + b"\n")
        OUT.flush()
    reply(number, result={"locations": found})


def fork_a_child() -> None:
    """One that ignores SIGTERM and holds all pipes open."""
    read, write = os.pipe()
    child = os.fork()
    if child == 0:
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        os.write(write, b"1")
        wait_for_ever()
    os.read(read, 1)
    complain(f"forked {child}")


def begin() -> None:
    complain(f"pid {os.getpid()}")
    if MODE == "exits":
        complain("no key")
        sys.exit(3)
    if MODE == "killed":
        os.kill(os.getpid(), signal.SIGKILL)
    if MODE == "starts_slowly":
        while time.process_time() < 1:
            pass
    if MODE == "garbage":
        OUT.write(bytes(range(256)) * 100 + b"\n")
        OUT.flush()
    if MODE == "ignores_term":
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
    if MODE == "forks":
        fork_a_child()


def handshake(number: int) -> None:
    if MODE == "hangs_in_handshake":
        wait_for_ever()
    if MODE == "closes_stdin":
        os.close(0)
    if VERSION_1:
        reply(number, error={"code": -32601, "message": "Method not found: handshake"})
    else:
        reply(number, result={"qanat": {"version": 2, "ring": False}})
    if MODE == "closes_stdin":
        wait_for_ever()


def serve() -> None:
    begin()
    for line in iter(sys.stdin.readline, ""):
        request = json.loads(line)
        method = request["method"]
        if "id" not in request:
            continue  # a cancel that comes too late
        number = request["id"]
        if method == "handshake":
            handshake(number)
        elif method == "discover":
            discover(number, request["params"])
        elif method == "data":
            data(number, request["params"])
        elif method == "describe" and not VERSION_1:
            if MODE == "hangs_in_describe":
                wait_for_ever()
            reply(number, result={"name": "hostile", "arguments": {}, "capabilities": ["pages", "stable_order"]})
        elif method == "stable_url" and MODE != "no_stable_url":
            bad = request["params"]["location"]["location"] == "bad"
            if bad:
                complain("asked for bad")
            if bad and MODE in {"hangs_in_stable_url", "ignores_term"}:
                wait_for_ever()
            reply(number, result={"url": 5} if bad and MODE == "bad_url" else None)
        else:
            reply(number, error={"code": -32601, "message": f"no method {method}"})
    if MODE == "ignores_the_end":
        wait_for_ever()


serve()
