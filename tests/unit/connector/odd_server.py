"""A web server of the tests: most of it misbehaves. usage: odd_server.py FOLDER

Serves the files of a folder; the first part of a path says how. Prints its two ports on a line and ends with its input.
Nothing sleeps: what is silent waits until the other side has gone.
"""

from __future__ import annotations

import gzip
import itertools
import re
import socket
import struct
import sys
import threading
from email.utils import formatdate
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, ClassVar

MODIFIED = formatdate(1_700_000_000, usegmt=True)
ARROW = "application/vnd.apache.arrow.file"


class Gone(Exception):
    """The connection is to be cut here."""


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    folder: ClassVar[Path]
    other_port: ClassVar[int]
    lock: ClassVar[threading.Lock] = threading.Lock()
    counts: ClassVar[dict[str, int]] = {}
    seen: ClassVar[list[str]] = []

    def log_message(self, format: str, *args: Any) -> None:
        pass

    # ---- making replies ----

    def count(self) -> int:
        """How often this path was asked for, not counting HEAD."""
        with self.lock:
            self.counts[self.path] = self.counts.get(self.path, 0) + 1
            return self.counts[self.path]

    def head(self, status: int, headers: dict[str, str]) -> None:
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name, value)
        self.end_headers()

    def reply(self, status: int, body: bytes, **headers: str) -> None:
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        self.head(status, {"Content-Length": str(len(body)), **named})
        if self.command != "HEAD":
            self.wfile.write(body)

    def cut(self, body: bytes, at: int) -> None:
        self.wfile.write(body[:at])
        self.wfile.flush()
        raise Gone

    def wait_until_gone(self) -> None:
        while self.connection.recv(4096):
            pass
        raise Gone

    def content(self, name: str) -> bytes:
        return (self.folder / name).read_bytes()

    def ranged(self, body: bytes, validators: dict[str, str], limit: int | None = None) -> None:
        """The body, or the range that is asked for where If-Range fits; at most `limit` bytes of it, then the end."""
        wanted = re.fullmatch(r"bytes=(\d+)-(\d*)", self.headers.get("Range", ""))
        fits = self.headers.get("If-Range") in (None, *validators.values())
        if wanted and fits:
            start, end = int(wanted[1]), int(wanted[2] or len(body) - 1)
            if start >= len(body):
                return self.reply(416, b"", Content_Range=f"bytes */{len(body)}")
            part, status = body[start : end + 1], 206
            extra = {"Content-Range": f"bytes {start}-{min(end, len(body) - 1)}/{len(body)}"}
        else:
            part, status, extra = body, 200, {}
        self.head(status, {"Content-Length": str(len(part)), **extra, **validators})
        if self.command == "HEAD":
            return None
        if limit is not None and limit < len(part):
            self.cut(part, limit)
        self.wfile.write(part)
        return None

    # ---- the ways to behave ----

    def do_ok(self, *rest: str) -> None:
        self.ranged(self.content(rest[-1]), {"ETag": '"one"', "Last-Modified": MODIFIED})

    def do_modified(self, name: str) -> None:
        self.ranged(self.content(name), {"Last-Modified": MODIFIED})

    def do_plain(self, name: str) -> None:
        self.reply(200, self.content(name))

    def do_nohead(self, name: str) -> None:
        self.reply(405, b"") if self.command == "HEAD" else self.do_ok(name)

    def do_headdrop(self, name: str) -> None:
        if self.command == "HEAD":
            raise Gone
        self.do_ok(name)

    def do_type(self, name: str) -> None:
        self.reply(200, self.content(name), Content_Type=f"{ARROW}; v=1")

    def do_octets(self, name: str) -> None:
        self.reply(200, self.content(name + ".arrow"), Content_Type="application/octet-stream")

    def do_fresh(self, name: str) -> None:
        """Every reply has a version of its own."""
        self.ranged(self.content(name), {"ETag": f'"{next(NUMBERS)}"'})

    def do_break(self, size: str, name: str) -> None:
        self.ranged(self.content(name), {"ETag": '"one"'}, int(size))

    def do_breakweak(self, size: str, name: str) -> None:
        self.ranged(self.content(name), {"ETag": 'W/"one"'}, int(size) if self.count() == 1 else None)

    def do_breakdate(self, size: str, name: str) -> None:
        self.ranged(self.content(name), {"Last-Modified": MODIFIED}, int(size))

    def do_breakonce(self, size: str, name: str) -> None:
        body = self.content(name)
        self.head(200, {"Content-Length": str(len(body))})
        self.cut(body, int(size)) if self.command == "GET" and self.count() == 1 else self.wfile.write(body)

    def do_change(self, size: str, name: str) -> None:
        """A broken transfer, and another file afterwards, which the server gives whole."""
        n = self.count()
        self.ranged(self.content(name), {"ETag": f'"{n}"'}, int(size) if n == 1 else None)

    def do_mixed(self, size: str, name: str) -> None:
        """The rest of another file: this server does not look at If-Range."""
        n = self.count()
        del self.headers["If-Range"]
        self.ranged(self.content(name), {"ETag": f'"{n}"'}, int(size) if n == 1 else None)

    def do_norange(self, size: str, name: str) -> None:
        del self.headers["Range"]
        self.ranged(self.content(name), {"ETag": '"one"'}, int(size) if self.count() == 1 else None)

    def do_wrongrange(self, size: str, name: str) -> None:
        body = self.content(name)
        if self.count() == 1:
            self.head(200, {"Content-Length": str(len(body)), "ETag": '"one"'})
            self.cut(body, int(size))
        self.reply(206, body[5:], Content_Range=f"bytes 5-{len(body) - 1}/{len(body)}", ETag='"one"')

    def do_short(self, name: str) -> None:
        body = self.content(name)
        self.head(200, {"Content-Length": str(len(body) + 1000)})
        self.cut(body, len(body))

    def do_gzip(self, name: str) -> None:
        self.reply(200, gzip.compress(self.content(name)), Content_Encoding="gzip", ETag='"zipped"')

    def do_negotiated(self, name: str) -> None:
        if "gzip" in self.headers.get("Accept-Encoding", ""):
            return self.do_gzip(name)
        return self.reply(406, b"compressed only")

    def do_badgzip(self, name: str) -> None:
        self.reply(200, b"this is not gzip at all", Content_Encoding="gzip")

    def do_chunked(self, name: str) -> None:
        body = self.content(name)
        self.head(200, {"Transfer-Encoding": "chunked", "ETag": '"one"'})
        for at in range(0, len(body), 1000):
            part = body[at : at + 1000]
            self.wfile.write(b"%x\r\n%s\r\n" % (len(part), part))
        self.wfile.write(b"0\r\n\r\n")

    def do_chunkedbreak(self, name: str) -> None:
        self.head(200, {"Transfer-Encoding": "chunked"})
        self.cut(b"3e8\r\n" + self.content(name)[:500], 10_000)

    def do_empty(self, *rest: str) -> None:
        self.reply(200, b"", ETag='"empty"')

    def do_endless(self, *rest: str) -> None:
        self.head(200, {"Transfer-Encoding": "chunked"})
        while self.command == "GET":
            self.wfile.write(b"10000\r\n" + bytes(0x10000) + b"\r\n")

    def do_bigheader(self, *rest: str) -> None:
        self.wfile.write(b"HTTP/1.1 200 OK\r\n")
        for n in itertools.count():
            self.wfile.write(b"X-Filler-%d: %s\r\n" % (n, b"x" * 1000))

    def do_garbage(self, *rest: str) -> None:
        self.wfile.write(b"220 this is not HTTP\r\n\r\n" * 10)
        raise Gone

    def do_silent(self, *rest: str) -> None:
        self.wait_until_gone()

    def do_stall(self, size: str, name: str) -> None:
        body = self.content(name)
        self.head(200, {"Content-Length": str(len(body)), "ETag": '"one"'})
        if self.command != "HEAD":
            self.wfile.write(body[: int(size)])
            self.wfile.flush()
            self.wait_until_gone()

    def do_reset(self, *rest: str) -> None:
        self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        raise Gone

    def do_status(self, code: str, retry_after: str = "", *rest: str) -> None:
        headers = {"Retry_After": retry_after.replace("_", " ")} if retry_after else {}
        self.reply(int(code), b"<h1>what\n  went\twrong</h1>\x00\xff", **headers)

    def do_busy(self, times: str, name: str) -> None:
        if self.command != "HEAD" and self.count() <= int(times):
            return self.reply(429, b"too many", Retry_After="0")
        return self.do_ok(name)

    def do_redirect(self, times: str, name: str) -> None:
        left = int(times)
        where = f"/redirect/{left - 1}/{name}" if left > 1 else f"/ok/{name}"
        self.reply(302, b"moved" * 1000, Location=where)

    def do_loop(self, *rest: str) -> None:
        self.reply(301, b"", Location=self.path)

    def do_away(self, name: str) -> None:
        """To another port, which is another origin."""
        self.reply(307, b"", Location=f"http://127.0.0.1:{self.other_port}/guard/{name}")

    def do_home(self, name: str) -> None:
        self.reply(307, b"", Location=f"/locked/{name}")

    def do_guard(self, name: str) -> None:
        secrets = [key for key in ("Authorization", "X-Api-Key", "Cookie") if key in self.headers]
        if secrets or self.headers.get("Accept-Language") != "en":
            return self.reply(400, f"here are {secrets}".encode())
        return self.do_ok(name)

    def do_locked(self, name: str) -> None:
        if (
            self.headers.get("Authorization") != "Basic dXNlcjpwYTpzcw=="
            and self.headers.get("X-Api-Key") != "hush-hush"
        ):
            return self.reply(401, b"who are you?")
        return self.do_ok(name)

    def do_plainly(self, name: str) -> None:
        self.reply(302, b"", Location=f"http://127.0.0.1:{self.server.server_address[1]}/ok/{name}")

    def do_proxied(self, name: str) -> None:
        """Only by a proxy: the request has the whole URL."""
        self.do_ok(name) if self.path.startswith("http://data.invalid/") else self.reply(421, b"not by a proxy")

    def do_tofile(self, *rest: str) -> None:
        self.reply(302, b"", Location="file:///etc/passwd")

    def do_tell(self, *rest: str) -> None:
        """Says all that it was told."""
        self.reply(400, f"{self.path} {self.headers.get('Authorization')} {self.headers.get('X-Api-Key')}".encode())

    def do_query(self, name: str) -> None:
        """A POST of the right body and type."""
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        if self.command != "POST" or body != b'{"from": 1}':
            return self.reply(400, b"not like this")
        if self.headers.get("Content-Type") != "application/json":
            return self.reply(415, b"json, please")
        return self.reply(200, self.content(name), ETag='"post"')

    def do_asked(self, *rest: str) -> None:
        """What was asked for since the last time, a line each."""
        with self.lock:
            lines, self.seen[:] = list(self.seen), []
        self.reply(200, "\n".join(lines).encode())

    def answer(self) -> None:
        path = re.sub(r"^http://[^/]*", "", self.path.partition("?")[0])
        kind, *rest = path.strip("/").split("/")
        if kind != "asked":
            with self.lock:
                self.seen.append(f"{self.command} {path} {self.headers.get('Range', '-')}")
        try:
            method = getattr(self, "do_" + kind, None)
            if method is None:
                self.reply(404, b"no such behaviour")
            else:
                method(*rest)
        except (Gone, ConnectionError):
            self.close_connection = True

    do_GET = do_HEAD = do_POST = answer


class Server(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 128

    def handle_error(self, request: Any, client_address: Any) -> None:
        pass  # clients go away as they like


NUMBERS = itertools.count(1)


def start(folder: Path) -> tuple[Server, Server]:
    """Two servers in threads of their own; the second is where /away leads."""
    Handler.folder = folder
    servers = Server(("127.0.0.1", 0), Handler), Server(("127.0.0.1", 0), Handler)
    Handler.other_port = servers[1].server_address[1]
    for server in servers:
        threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True).start()
    return servers


if __name__ == "__main__":
    here, there = start(Path(sys.argv[1]))
    print(here.server_address[1], there.server_address[1], flush=True)
    sys.stdin.read()
