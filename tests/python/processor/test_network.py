"""The network of statements: off, public or a list, in both tiers, by the libraries that statements use.

Servers are of these tests, on loopback. The runs stand in the sandbox as always; only where it says so the rules of the
language are off, so that the kernel and the broker stand alone.
"""

from __future__ import annotations

import http.server
import json
import socket
import ssl
import subprocess
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import qanat as qn

pytestmark = pytest.mark.trace("B7")

OUTPUT = {"v": "Utf8"}
URLLIB = ["urllib.request"]


class Handler(http.server.BaseHTTPRequestHandler):
    """Says hello; /to/URL redirects; POST answers as the chat API does."""

    protocol_version = "HTTP/1.1"

    def answer(self, status: int, body: bytes, headers: dict[str, str]) -> None:
        self.send_response(status)
        for name, value in {**headers, "Content-Length": str(len(body)), "Connection": "close"}.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(body)

    def do_GET(self) -> None:
        if self.path.startswith("/to/"):
            self.answer(302, b"", {"Location": self.path.removeprefix("/to/")})
        else:
            self.answer(200, b"hello " + self.path.encode(), {})

    def do_POST(self) -> None:
        asked = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        message = {"role": "assistant", "content": "heard " + asked["messages"][-1]["content"]}
        choice = {"index": 0, "message": message, "finish_reason": "stop"}
        body = {"id": "1", "object": "chat.completion", "model": asked["model"], "choices": [choice]}
        self.answer(200, json.dumps(body).encode(), {"Content-Type": "application/json"})

    def log_message(self, format: str, *args: Any) -> None:
        pass


@pytest.fixture(scope="module")
def port() -> Iterator[int]:
    """Of a web server on 127.0.0.1."""
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield server.server_address[1]
        server.shutdown()
        thread.join()


@pytest.fixture
def secret() -> Iterator[int]:
    """The port of a server that nobody may reach; that nobody did is checked at the end."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        server.setblocking(False)
        yield server.getsockname()[1]
        with pytest.raises(BlockingIOError):
            server.accept()


@pytest.fixture(params=["full", "reduced"])
def tier(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """Each tier in turn; the full one may be missing where this runs."""
    name = str(request.param)
    monkeypatch.setenv("QANAT_SANDBOX", name)
    return name


def run(statement: str, network: Any, **arguments: Any) -> qn.Result:
    arguments = {"mode": "bulk", "allow": URLLIB, "output": OUTPUT, **arguments}
    return qn.Processor(statement, network=network, **arguments).run([{"n": 1}])


def value(result: qn.Result) -> str:
    assert result.status == "ok", result.message
    (row,) = result.to_dicts()
    return str(row["v"])


def get(url: str) -> str:
    return f"import urllib.request\nreturn [{{'v': urllib.request.urlopen({url!r}).read().decode()}}]"


def warnings_of(result: qn.Result) -> list[str]:
    return [entry.message for entry in result.logs if entry.level == "warn"]


# ---- what is allowed -------------------------------------------------------------------------------------------------


def test_a_listed_address_is_reached(port: int, tier: str) -> None:
    result = run(get(f"http://127.0.0.1:{port}/a"), [f"127.0.0.1:{port}"])
    assert value(result) == "hello /a"
    assert result.stats["tier"] == tier
    assert result.logs == []


def test_a_listed_name_is_reached_by_its_name(port: int, tier: str) -> None:
    assert value(run(get(f"http://localhost:{port}/b"), [f"localhost:{port}"])) == "hello /b"
    assert value(run(get(f"http://LOCALHOST:{port}/c"), ["localhost:*"])) == "hello /c"


def test_a_redirect_to_what_is_listed_is_followed(port: int) -> None:
    network = [f"127.0.0.1:{port}", f"localhost:{port}"]
    url = f"http://127.0.0.1:{port}/to/http://localhost:{port}/there"
    assert value(run(get(url), network)) == "hello /there"


# ---- what is refused -------------------------------------------------------------------------------------------------


def test_off_says_so(port: int, tier: str) -> None:
    result = run(get(f"http://127.0.0.1:{port}/"), "off")
    assert result.status == "failed"
    assert "the network is off for this statement" in result.message
    assert "line 2" in result.message


def test_a_port_that_is_not_listed_is_refused(port: int, secret: int, tier: str) -> None:
    result = run(get(f"http://127.0.0.1:{secret}/"), [f"127.0.0.1:{port}"])
    assert result.status == "failed"
    assert f"connection to 127.0.0.1:{secret} is not allowed by this processor's network" in result.message
    refused = f"connection to 127.0.0.1:{secret} is not allowed: not in the list of this processor's network"
    assert warnings_of(result) == [refused]


def test_a_name_that_is_not_listed_is_not_resolved(port: int, tier: str) -> None:
    result = run(get(f"http://localhost:{port}/"), [f"127.0.0.1:{port}"])
    assert result.status == "failed"
    refused = 'host "localhost" is not in the list of this processor\'s network: not allowed'
    assert refused in result.message
    assert warnings_of(result) == [refused]


def test_a_listed_name_opens_one_port(port: int, secret: int) -> None:
    result = run(get(f"http://localhost:{secret}/"), [f"localhost:{port}"])
    assert result.status == "failed"
    assert any(f"127.0.0.1:{secret} is not allowed" in text for text in warnings_of(result))


@pytest.mark.parametrize(
    "where", ["http://169.254.169.254/latest/", "http://127.0.0.1:{secret}/", "http://[::1]:{secret}/"]
)
def test_a_redirect_leads_no_further_than_the_list(port: int, secret: int, where: str, tier: str) -> None:
    where = where.format(secret=secret)
    result = run(get(f"http://127.0.0.1:{port}/to/{where}"), [f"127.0.0.1:{port}"])
    assert result.status == "failed"
    (refused,) = warnings_of(result)
    assert refused.startswith("connection to ") and "is not allowed" in refused


# Each means this machine, or one beside it, to some library.
HIDDEN = [
    ("127.0.0.1", "an address of this machine"),
    ("127.1", "an address of this machine"),
    ("2130706433", "an address of this machine"),
    ("0x7f000001", "an address of this machine"),
    ("0x7f.1", "an address of this machine"),
    ("0177.0.0.1", "an address of this machine"),
    ("017700000001", "an address of this machine"),
    ("[::1]", "an address of this machine"),
    ("localhost", "an address of this machine"),
    ("0", "an address that stands for none"),
    ("0.0.0.0", "an address that stands for none"),
    ("[::]", "an address that stands for none"),
    ("[::ffff:127.0.0.1]", "an IPv4 address written as IPv6"),
    ("[::ffff:7f00:1]", "an IPv4 address written as IPv6"),
    ("[::127.0.0.1]", "an IPv4 address written as IPv6"),
    ("[64:ff9b::127.0.0.1]", "an address behind a relay"),
    ("[2002:7f00:1::]", "an address behind a relay"),
    ("169.254.169.254", "an address where clouds keep secrets"),
    ("2852039166", "an address where clouds keep secrets"),
    ("0xa9fea9fe", "an address where clouds keep secrets"),
    ("[::ffff:169.254.169.254]", "an IPv4 address written as IPv6"),
    ("[fd00:ec2::254]", "an address where clouds keep secrets"),
    ("10.0.0.1", "a private address"),
    ("192.168.0.1", "a private address"),
    ("100.64.0.1", "a private address"),
    ("[fd00::1]", "a private address"),
    ("[fe80::1]", "a link-local address"),
]


@pytest.mark.parametrize(("host", "reason"), HIDDEN)
def test_public_is_not_this_machine_however_it_is_written(host: str, reason: str, secret: int) -> None:
    result = run(get(f"http://{host}:{secret}/"), "public")
    assert result.status == "failed"
    logged = warnings_of(result)
    assert logged and all(reason in text and "not allowed" in text for text in logged), (logged, result.message)


def test_a_closed_port_is_told_as_such(tier: str) -> None:
    with socket.socket() as bound:
        bound.bind(("127.0.0.1", 0))
        port = bound.getsockname()[1]
        result = run(get(f"http://127.0.0.1:{port}/"), [f"127.0.0.1:{port}"])
    assert result.status == "failed"
    assert "Connection refused" in result.message


def test_a_connection_that_hangs_ends_at_the_deadline(tier: str) -> None:
    with socket.socket() as full, socket.socket() as one, socket.socket() as two:
        full.bind(("127.0.0.1", 0))
        full.listen(0)
        for crowd in (one, two):  # the kernel drops what comes after
            crowd.setblocking(False)
            crowd.connect_ex(full.getsockname())
        port = full.getsockname()[1]
        result = run(get(f"http://127.0.0.1:{port}/"), [f"127.0.0.1:{port}"], timeout=0.3)
    assert result.status == "timed_out", result.message


@pytest.mark.parametrize(
    ("entry", "message"),
    [
        ("127.0.0.1", 'network entry "127.0.0.1" is not of the form host:port'),
        ("*.example.com:443", "there are no wildcards"),
        ("2130706433:80", "neither a name"),
        ("example.com:0", "from 1 to 65535"),
    ],
)
def test_a_wrong_entry_is_an_error_of_the_constructor(entry: str, message: str) -> None:
    with pytest.raises(qn.ConfigurationError, match=message.replace("*", r"\*")):
        qn.Processor("return []", output=OUTPUT, network=[entry])


# ---- the kernel and the broker alone ---------------------------------------------------------------------------------

ATTEMPT = """
import ctypes, errno, fcntl, socket, struct
libc = ctypes.CDLL(None, use_errno=True)
OPEN, SECRET = ("127.0.0.1", {port}), ("127.0.0.1", {secret})
def libc_call(name, *arguments):
    if getattr(libc, name)(*arguments) < 0:
        raise OSError(ctypes.get_errno(), name)
def every_descriptor(call):
    failures = set()
    for fd in range(3, 1024):
        try:
            call(fd)
            raise AssertionError("descriptor %d" % fd)
        except OSError as error:
            if error.errno != errno.EBADF:
                failures.add(error.errno)
    raise OSError(max(failures), sorted(failures))
def connected():
    s = socket.socket()
    s.connect(OPEN)
    return s
def refused():
    s = socket.socket()
    try:
        s.connect(("127.0.0.1", 1))
    except ConnectionRefusedError:
        return s
def attempt():
{body}
try:
    attempt()
    v = "it worked"
except OSError as error:
    v = errno.errorcode[error.errno]
return [{{"v": v}}]
"""

ATTACKS = {
    "udp": ("socket.socket(socket.AF_INET, socket.SOCK_DGRAM)", "EPERM"),
    "raw": ("socket.socket(socket.AF_INET, socket.SOCK_RAW, 1)", "EPERM"),
    "unix": ("socket.socket(socket.AF_UNIX)", "EPERM"),
    "unix pair": ("socket.socketpair()", "EPERM"),
    "netlink": ("socket.socket(socket.AF_NETLINK, socket.SOCK_RAW)", "EPERM"),
    "packet": ("socket.socket(socket.AF_PACKET, socket.SOCK_RAW)", "EPERM"),
    "vsock": ("socket.socket(socket.AF_VSOCK)", "EPERM"),
    "alg": ("socket.socket(socket.AF_ALG, socket.SOCK_SEQPACKET)", "EPERM"),
    "mptcp": ("socket.socket(socket.AF_INET, socket.SOCK_STREAM, 262)", "EPERM"),
    "sctp": ("socket.socket(socket.AF_INET, socket.SOCK_STREAM, 132)", "EPERM"),
    "bind": ("socket.socket().bind(('127.0.0.1', 0))", "EPERM"),
    "bind what was handed over": ("refused().bind(('127.0.0.1', 0))", "EPERM"),
    "listen on what was handed over": ("refused().listen()", "EPERM"),
    "accept": ("socket.socket().accept()", "EPERM"),
    "fast open": ("socket.socket().sendto(b'x', socket.MSG_FASTOPEN, SECRET)", "EPERM"),
    "fast open, sendmsg": ("socket.socket().sendmsg([b'x'], [], socket.MSG_FASTOPEN, SECRET)", "EPERM"),
    "fast open what was handed over": ("refused().sendmsg([b'x'], [], socket.MSG_FASTOPEN, SECRET)", "EPERM"),
    "fast open by option": ("socket.socket().setsockopt(socket.IPPROTO_TCP, 30, 1)", "EPERM"),
    "send to an address": ("socket.socket().sendto(b'x', SECRET)", "EPERM"),
    "send a message to an address": ("socket.socket().sendmsg([b'x'], [], 0, SECRET)", "EPIPE"),
    "connect": ("socket.socket().connect(SECRET)", "EACCES"),
    "connect again": ("connected().connect(SECRET)", "EACCES"),
    "connect again where allowed": ("connected().connect(OPEN)", "EISCONN"),
    "connect what failed": ("refused().connect(SECRET)", "EACCES"),
    "disconnect": (
        "libc_call('connect', connected().fileno(), struct.pack('=HHIQ', 0, 0, 0, 0), 16)",
        "EAFNOSUPPORT",
    ),
    "connect by the library": (
        "libc_call('connect', socket.socket().fileno(), struct.pack('=H', 2) + struct.pack('!H', SECRET[1])"
        " + bytes([127, 0, 0, 1]) + bytes(8), 16)",
        "EACCES",
    ),
    "connect every socket there is to a Unix address": (
        "every_descriptor(lambda fd: libc_call('connect', fd, struct.pack('=H', 1) + bytes(1) + b'systemd', 10))",
        "EACCES",
    ),
    "answer for the broker": ("every_descriptor(lambda fd: libc_call('ioctl', fd, 0xc0502100, bytes(80)))", "EPERM"),
    "a filter of its own": ("libc_call('syscall', 317, 1, 8, bytes(16))", "EPERM"),
    "a ring": ("libc_call('syscall', 425, 8, bytes(120))", "ENOSYS"),
    "many messages": ("libc_call('sendmmsg', socket.socket().fileno(), bytes(64), 1, socket.MSG_FASTOPEN)", "EPERM"),
}


@pytest.mark.parametrize("name", ATTACKS)
def test_the_kernel_and_the_broker_hold_alone(
    name: str, port: int, secret: int, tier: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("QANAT_TEST_LANGUAGE_RULES", "off")
    body, expected = ATTACKS[name]
    statement = ATTEMPT.format(port=port, secret=secret, body=f"    {body}")
    assert value(run(statement, [f"127.0.0.1:{port}", "127.0.0.1:1"])) == expected


def test_the_c_library_resolves_nothing(tier: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("QANAT_TEST_LANGUAGE_RULES", "off")
    statement = (
        "import _socket\ntry:\n    v = str(_socket.getaddrinfo('localhost', 80))\nexcept OSError:\n    v = 'no'\n"
    )
    assert value(run(statement + "return [{'v': v}]", "public")) == "no"


def test_tls_is_the_statements_own(tmp_path: Path) -> None:
    key, certificate = tmp_path / "key.pem", tmp_path / "certificate.pem"
    made = ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes"]
    names = ["-subj", "/CN=localhost", "-addext", "subjectAltName=DNS:localhost", "-days", "2"]
    files = ["-keyout", str(key), "-out", str(certificate)]
    subprocess.run([*made, *names, *files], check=True, capture_output=True)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate, key)
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        server.socket = context.wrap_socket(server.socket, server_side=True)
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        port = server.server_address[1]
        statement = (
            "import ssl, urllib.request\n"
            f"context = ssl.create_default_context(cadata={certificate.read_text()!r})\n"
            f"answer = urllib.request.urlopen('https://localhost:{port}/tls', context=context)\n"
            "return [{'v': answer.read().decode()}]"
        )
        result = run(statement, [f"localhost:{port}"], allow=["ssl", "urllib.request"])
        server.shutdown()
        thread.join()
    assert value(result) == "hello /tls"


# ---- the libraries of the standard runtime ---------------------------------------------------------------------------


def run_standard(runtime: str, statement: str, network: list[str], **arguments: Any) -> qn.Result:
    return run(statement, network, runtime=runtime, allow=None, **arguments)


def test_httpx_reaches_what_is_listed(standard_runtime: str, port: int, tier: str) -> None:
    statement = f"import httpx\nreturn [{{'v': httpx.get('http://127.0.0.1:{port}/x').text}}]"
    assert value(run_standard(standard_runtime, statement, [f"127.0.0.1:{port}"])) == "hello /x"


def test_httpx_awaits(standard_runtime: str, port: int) -> None:
    statement = (
        "import httpx\nasync with httpx.AsyncClient() as client:\n"
        f"    answer = await client.get('http://localhost:{port}/y')\nreturn [{{'v': answer.text}}]"
    )
    assert value(run_standard(standard_runtime, statement, [f"localhost:{port}"])) == "hello /y"


def test_httpx_is_refused_after_a_redirect(standard_runtime: str, port: int, secret: int) -> None:
    for where in ("http://169.254.169.254/", f"http://127.0.0.1:{secret}/"):
        statement = (
            "import httpx\ntry:\n"
            f"    httpx.get('http://127.0.0.1:{port}/to/{where}', follow_redirects=True)\n"
            "except httpx.ConnectError as error:\n    return [{'v': str(error)}]"
        )
        found = value(run_standard(standard_runtime, statement, [f"127.0.0.1:{port}"]))
        assert "is not allowed by this processor's network" in found


def test_rows_in_flight_share_the_network(standard_runtime: str, port: int) -> None:
    statement = (
        "import httpx\nasync with httpx.AsyncClient() as client:\n"
        f"    answer = await client.get('http://localhost:{port}/%d' % INPUT_DATA[0]['n'])\n"
        "return [{'v': answer.text}]"
    )
    processor = qn.Processor(
        statement, output=OUTPUT, network=[f"localhost:{port}"], concurrency=10, runtime=standard_runtime
    )
    result = processor.run([{"n": n} for n in range(40)])
    assert result.status == "ok", result.message
    assert [row["v"] for row in result.to_dicts()] == [f"hello /{n}" for n in range(40)]


CHAT = (
    "(model='m', messages=[{'role': 'user', 'content': 'hi'}])\nreturn [{'v': r['choices'][0]['message']['content']}]"
)


@pytest.mark.parametrize("call", ["openai.ChatCompletion.create", "await openai.ChatCompletion.acreate"])
def test_openai_talks_to_its_server(standard_runtime: str, port: int, call: str, tier: str) -> None:
    statement = f"import openai\nopenai.api_key = 'k'\nopenai.api_base = 'http://localhost:{port}/v1'\nr = {call}{CHAT}"
    assert value(run_standard(standard_runtime, statement, [f"localhost:{port}"])) == "heard hi"


def test_openai_without_a_network_says_why(standard_runtime: str) -> None:
    statement = f"import openai\nopenai.api_key = 'k'\nr = openai.ChatCompletion.create{CHAT}"
    result = run(statement, "off", runtime=standard_runtime, allow=None)
    assert result.status == "failed"
    assert "the network is off for this statement" in result.message
