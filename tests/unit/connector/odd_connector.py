"""A connector without any SDK, which misbehaves as it is told: odd_connector.py MODE STREAM_IN_HEX [FILE]."""

from __future__ import annotations

import fcntl
import json
import mmap
import os
import select
import signal
import sys
from typing import Any, NoReturn

MODE = sys.argv[1]
STREAM = bytes.fromhex(sys.argv[2])
OUT = sys.stdout.buffer
VERSION_1 = MODE in {"v1", "dies_in_frame", "hangs_in_frame", "wrong_length", "corrupt", "no_data", "endless_frame"}


def wait_for_ever() -> NoReturn:
    while True:
        signal.pause()


def reply(number: int, **members: Any) -> None:
    OUT.write(json.dumps({"jsonrpc": "2.0", "id": number, **members}).encode() + b"\n")
    OUT.flush()


def message(kind: int, payload: bytes) -> None:
    OUT.write((kind << 28 | len(payload)).to_bytes(4, "big") + payload)
    OUT.flush()


def note(method: str, **params: Any) -> bytes:
    return json.dumps({"jsonrpc": "2.0", "method": method, "params": params}).encode()


def frame() -> None:
    announced = len(STREAM) + (5 if MODE == "wrong_length" else 0)
    OUT.write(announced.to_bytes(4, "big"))
    if MODE in {"dies_in_frame", "hangs_in_frame"}:
        OUT.write(STREAM[: len(STREAM) // 2])
        OUT.flush()
        if MODE == "hangs_in_frame":
            wait_for_ever()
        print("out of something", file=sys.stderr, flush=True)
        os._exit(7)
    OUT.write(b"\0" * len(STREAM) if MODE == "corrupt" else STREAM)
    OUT.write(b"junk!" if MODE == "wrong_length" else b"")
    OUT.flush()


def slots(ring: dict[str, int]) -> None:
    """All of the stream through the ring, waiting for each slot to come back."""
    size = ring["slot_size"]
    with mmap.mmap(ring["fd"], ring["slots"] * size) as memory:
        for index, at in enumerate(range(0, len(STREAM), size)):
            slot = index % ring["slots"]
            piece = STREAM[at : at + size]
            memory[slot * size : slot * size + len(piece)] = piece
            message(3, slot.to_bytes(4, "big") + len(piece).to_bytes(4, "big"))
            credit = json.loads(sys.stdin.readline())
            assert credit["method"] == "credit"
            assert credit["params"] == {"slot": slot}


def messages(ring: dict[str, int] | None) -> None:
    if MODE == "endless":
        message(0, STREAM)
        while not select.select([sys.stdin], [], [], 0)[0]:
            message(1, note("progress", rows=5, total=None, text="going on"))
        assert json.loads(sys.stdin.readline())["method"] == "cancel"
        message(2, b'{"error": {"code": -32000, "message": "cancelled", "data": {"kind": "cancelled"}}}')
        return
    message(1, note("progress", rows=5, total=10, text="half"))
    if ring is not None:
        slots(ring)
    else:
        message(0, STREAM)
    if MODE == "fails_late":
        error = {"code": -32000, "message": "slow down", "data": {"kind": "rate_limited", "retryable": True}}
        message(2, json.dumps({"error": error}).encode())
    else:
        message(2, b'{"rows": 5, "batches": 1}')


def begin() -> None:
    if MODE == "exits":
        print("no key: \xfc\nset one", file=sys.stderr, flush=True)
        sys.exit(3)
    if MODE == "forgets_to_serve":
        sys.exit(0)
    if MODE == "ignores_term":
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
    if MODE == "forks" and os.fork() == 0:
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        held = open(sys.argv[3], "w")  # its lock shows that this process lives
        fcntl.flock(held, fcntl.LOCK_EX)
        print("forked", file=sys.stderr, flush=True)
        wait_for_ever()
    if MODE == "chatters":
        sys.stderr.write("x" * 99 + "\n" + "y" * 300_000 + "\n")
        sys.stderr.flush()


def handshake(number: int, params: dict[str, Any]) -> dict[str, int] | None:
    if MODE == "hangs_in_handshake":
        wait_for_ever()
    if MODE == "prints":
        print("hello, world", flush=True)
    if MODE == "wrong_id":
        number += 1
    if MODE == "strange_version":
        reply(number, result={"qanat": {"version": 3}})
    elif MODE == "v1":
        reply(number, error={"code": -32601, "message": "Method not found: handshake"})
    elif VERSION_1:
        reply(number, result={"name": "odd"})
    else:
        OUT.write(b"\n" + note("log", level="info", message="up") + b"\n")
        ring = params["qanat"].get("ring")
        reply(number, result={"qanat": {"version": 2, "ring": ring is not None}})
        return ring  # type: ignore[no-any-return]
    return None


def serve() -> None:
    ring = None
    begin()
    for line in iter(sys.stdin.readline, ""):
        request = json.loads(line)
        number, method = request["id"], request["method"]
        if method == "handshake":
            ring = handshake(number, request["params"])
        elif method == "ping":
            if MODE in {"hangs", "ignores_term"}:
                wait_for_ever()
            reply(number, result="pong")
        elif method == "data":
            reply(number, result={"ok": MODE != "not_ok", "applied": []})
            if MODE == "no_data":
                OUT.write(bytes(4))
                OUT.flush()
            elif VERSION_1:
                frame()
            else:
                messages(ring)
        else:
            reply(number, error={"code": -32601, "message": f"no method {method}"})
    print("good bye", file=sys.stderr, flush=True)


serve()
