"""A connector of both versions of the protocol without any SDK, and with one fault: raw_connector.py FOLDER [FAULT].

FOLDER has the Arrow streams that it sends, a file each, and index.json: {name: [rows, batches]}.
"""

import fcntl
import json
import os
import select
import signal
import struct
import subprocess
import sys
import time

FOLDER = sys.argv[1]
FAULT = sys.argv[2] if len(sys.argv) > 2 else ""
INDEX = json.load(open(os.path.join(FOLDER, "index.json")))
CAPABILITIES = ["filter", "limit", "projection", "stable_order"]
ARGUMENTS = {"type": "object", "properties": {"planet": {"type": "string", "default": "Earth"}}}

version = 1
ring = None
counts = {"discover": 0, "plain": 0}
kept = []
waiting = b""
cancelled = None


class Error(Exception):
    def __init__(self, code, message, kind="failed"):
        self.value = {"code": code, "message": message}
        if version == 2:
            self.value["data"] = {"kind": kind, "retryable": False}


def write(data):
    while data:
        data = data[os.write(1, data) :]


def line(value):
    write(json.dumps({"jsonrpc": "2.0", **value}).encode() + b"\n")


def message(kind, payload):
    write(struct.pack(">I", kind << 28 | len(payload)) + payload)


def next_line(wait=True):
    """A line of the host; None at the end, or where there is none yet."""
    global waiting
    while b"\n" not in waiting:
        if not wait and not select.select([0], [], [], 0)[0]:
            return None
        data = os.read(0, 65536)
        if not data:
            return None
        waiting += data
    found, _, waiting = waiting.partition(b"\n")
    return found


def handshake(params):
    global version, ring
    offer = params.get("qanat")
    if FAULT == "handshake":
        raise Error(-32000, "no handshake today")
    if not offer:
        version = 1
        return {"protocol_version": "1"}
    if FAULT == "version":
        return {"qanat": {"version": 3}}
    version = 2
    ring = offer.get("ring") if FAULT == "ring" else None
    return {"protocol_version": "1", "qanat": {"version": 2, "ring": ring is not None}}


def discover(params):
    counts["discover"] += 1
    if "attached_locations" not in params or not isinstance(params["attached_locations"], list):
        raise Error(-32602, "attached_locations is a list")
    unknown = set(params) - {"attached_locations", "planet"}
    if FAULT == "unknown argument" and unknown:
        raise Error(-32000, "something is wrong")
    if FAULT == "attached" and params["attached_locations"]:
        raise Error(-32000, "I did not expect any")
    if FAULT == "one at a time" and not kept:
        kept.append(open(os.path.join(FOLDER, "lock"), "w"))
        try:
            fcntl.flock(kept[0], fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            raise Error(-32000, "another one runs") from None
    if FAULT == "descriptors":
        kept.append(open(os.path.join(FOLDER, "index.json")))
    rows = INDEX["full"][0]
    found = [{"location": "a", "version": "1", "num_rows": rows}, {"location": "none", "must_copy": False}]
    if FAULT == "location":
        found[0]["num_rows"] = str(rows)
    if FAULT == "twice":
        found.append(found[0])
    if FAULT == "version of a location":
        found[0]["version"] = str(counts["discover"])
    if FAULT == "rows":
        found[0]["num_rows"] = rows + 1
    return {"locations": found}


def variant(params):
    """Which of the files is sent, and what was applied."""
    asked = [name for name in ("_filter", "_skip_rows", "_limit", "_columns") if name in params]
    if not asked:
        counts["plain"] += 1
        if FAULT == "repeated" and counts["plain"] > 1:
            return "other", []
        if FAULT == "order" and counts["plain"] % 2 == 0:
            return "reversed", []
        if FAULT == "version 1" and version == 1:
            return "other", []
        if FAULT == "in a ring" and ring:
            return "other", []
        return "full", []
    name = {"_filter": "filter", "_skip_rows": "skip_rows", "_limit": "limit", "_columns": "projection"}[asked[0]]
    told = [] if version == 1 else [name]
    if FAULT == name:
        return ("projection wrong" if name == "projection" else "full"), told
    return name, told


def data(identifier, params):
    global cancelled
    location = params.get("location")
    if not isinstance(location, dict) or not isinstance(location.get("location"), str):
        raise Error(-32000 if FAULT == "parameters" else -32602, "location is an object")
    if FAULT == "argument" and "planet" in params:
        raise Error(-32602, "data takes no argument planet")
    name = location["location"]
    if name not in ("a", "none"):
        if FAULT == "unknown location":
            os._exit(3)
        raise Error(-32000, f"there is no {name}")
    chosen, applied = variant(params)
    path = os.path.join(FOLDER, chosen)
    size = 0 if name == "none" else size_of(path)
    rows, batches = (0, 0) if name == "none" else INDEX[chosen]
    if version == 1:
        line({"id": identifier, "result": {"ok": True}})
        write(struct.pack(">I", size))
        if size:
            for part in parts(path, chosen):
                write(part)
        return
    line({"id": identifier, "result": {"ok": True, "applied": applied}})
    cancelled = None
    first = True
    if size:
        for part in parts(path, chosen):
            if ring:
                message(3, struct.pack(">II", 99, 1))
            message(0, part)
            if FAULT == "cancel" and chosen == "full" and first:
                select.select([0], [], [], 0.5)
            first = False
            listen()
            if cancelled == identifier:
                if FAULT == "cancel":
                    time.sleep(1.2)
                message(2, json.dumps({"error": Error(-32000, "cancelled", "cancelled").value}).encode())
                return
    if FAULT == "end":
        rows += 1
    message(2, json.dumps({"rows": rows, "batches": batches}).encode())


def size_of(path):
    with open(path, "rb") as file:
        return file.seek(0, os.SEEK_END)


def parts(path, chosen):
    """The file in pieces; the last ones are missing where that is the fault."""
    size = size_of(path)
    with open(path, "rb") as file:
        while part := file.read(1 << 20 if size > 1 << 20 else 256):
            if FAULT == "memory":
                kept.append(part + b"")
            if FAULT == "cut off" and chosen == "full" and file.tell() == size:
                part = part[:-100]
            yield part


def listen():
    """What the host says while data is sent."""
    global cancelled, waiting
    later = b""
    while (found := next_line(wait=False)) is not None:
        value = json.loads(found)
        if value.get("method") == "cancel":
            cancelled = value["params"]["id"]
        elif "id" in value:
            later += found + b"\n"
    waiting = later + waiting


def answer(request):
    method, params = request["method"], request.get("params") or {}
    if method == "handshake":
        return handshake(params)
    if method == "ping":
        return "ping" if FAULT == "ping" else "pong"
    if method == "discover":
        return discover(params)
    if method == "stable_url":
        return {"link": "x:y"} if FAULT == "url" else {"url": "https://example.com/a"}
    if method == "shutdown":
        return {"ok": True}
    if version == 2 and method == "describe":
        return {"name": "Raw", "arguments": ARGUMENTS, "capabilities": "all" if FAULT == "describe" else CAPABILITIES}
    if version == 2 and method == "schema":
        return {"schema": INDEX["schema of other" if FAULT == "schema" else "schema"]}
    if FAULT == "unknown method":
        return {}
    raise Error(-32601, f"there is no {method}")


def main():
    if FAULT == "SIGTERM":
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
    if FAULT == "child":
        subprocess.Popen(
            ["sleep", "60"], stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )
    if FAULT == "exit":
        sys.exit("I cannot work like this")
    while (found := next_line()) is not None:
        try:
            request = json.loads(found)
        except ValueError:
            if FAULT == "not JSON":
                raise
            line({"id": None, "error": {"code": -32700, "message": "not JSON"}})
            continue
        if "id" not in request:
            if FAULT == "notification" and request["method"] != "cancel":
                line({"id": None, "result": None})
            continue
        if FAULT == "noise" and request["method"] == "discover":
            write(b"looking for locations\n")
        try:
            if request["method"] == "data":
                data(request["id"], request.get("params") or {})
            else:
                line({"id": request["id"], "result": answer(request)})
        except Error as error:
            line({"id": request["id"], "error": error.value})
        if request["method"] == "shutdown" and FAULT != "shutdown":
            return
    while FAULT == "end of input":
        time.sleep(60)


main()
