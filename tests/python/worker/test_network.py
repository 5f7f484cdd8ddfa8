"""Names inside a run: questions as the engine expects them, answers as `socket` gives them, refusals with reasons."""

from __future__ import annotations

import socket
import struct
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from qanat.worker import network
from qanat.worker.network import Names

QUESTION = "=256sII"  # struct qn_name_question
Question = tuple[str, int, int]


def make_answer(addresses: list[str], error: int = 0, text: str = "") -> bytes:
    """struct qn_name_answer"""
    packed = struct.pack("=iI", error, len(addresses))
    for address in [*addresses, *[""] * (16 - len(addresses))]:
        family = 0 if not address else socket.AF_INET6 if ":" in address else socket.AF_INET
        packed += struct.pack("=I16s", family, socket.inet_pton(family, address) if family else b"")
    return packed + struct.pack("=256s", text.encode())


class Engine:
    """The other end of the names socket, in a thread: answers by a function, keeps the questions."""

    def __init__(self, answer: Callable[[str, int], bytes]) -> None:
        self.ours, self.theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self.answer = answer
        self.questions: list[Question] = []
        self.thread = threading.Thread(target=self.serve)
        self.thread.start()
        self.names = Names(self.theirs.fileno())

    def serve(self) -> None:
        while raw := self.ours.recv(4096):
            assert len(raw) == struct.calcsize(QUESTION)
            host, port, family = struct.unpack(QUESTION, raw)
            assert host.endswith(b"\0")
            name = host.rstrip(b"\0").decode("ascii")
            self.questions.append((name, port, family))
            reply = self.answer(name, family)
            if not reply:
                break
            self.ours.send(reply)
        self.ours.close()

    def close(self) -> None:
        self.theirs.close()
        self.thread.join()


@pytest.fixture
def two() -> Iterator[Engine]:
    """Answers every name with an address of each family."""
    engine = Engine(lambda name, family: make_answer(["2001:db8::5", "192.0.2.5"]))
    yield engine
    engine.close()


TCP6 = (socket.AF_INET6, socket.SOCK_STREAM, socket.IPPROTO_TCP, "", ("2001:db8::5", 443, 0, 0))
TCP4 = (socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_TCP, "", ("192.0.2.5", 443))


def test_getaddrinfo_asks_the_engine_and_answers_as_socket_does(two: Engine) -> None:
    found = two.names.getaddrinfo("example.com", 443, type=socket.SOCK_STREAM)
    assert found == [TCP6, TCP4]
    assert [type(entry[0]) for entry in found] == [socket.AddressFamily] * 2
    assert [type(entry[1]) for entry in found] == [socket.SocketKind] * 2
    assert two.names.getaddrinfo("example.com", "https", socket.AF_INET) == [TCP6, TCP4]  # the engine honours it
    assert two.names.getaddrinfo(b"example.com", b"443") == [TCP6, TCP4]
    assert two.questions == [
        ("example.com", 443, 0),
        ("example.com", 443, socket.AF_INET),
        ("example.com", 443, 0),
    ]


def test_arguments_that_change_entries_but_not_questions(two: Engine) -> None:
    datagram = two.names.getaddrinfo("h", None, 0, socket.SOCK_DGRAM)
    assert [entry[1:3] for entry in datagram] == [(socket.SOCK_DGRAM, socket.IPPROTO_UDP)] * 2
    assert [entry[4][1] for entry in datagram] == [0, 0]
    named = two.names.getaddrinfo("h", 1, 0, 0, 0, socket.AI_CANONNAME)
    assert [entry[3] for entry in named] == ["h", "h"]


def test_a_name_of_other_letters_is_asked_in_its_ascii_form(two: Engine) -> None:
    two.names.getaddrinfo("bücher.example", 443)
    assert two.questions == [("xn--bcher-kva.example", 443, 0)]


def test_usual_numbers_are_not_asked_for(two: Engine) -> None:
    def addresses(host: str | None, family: int = 0, flags: int = 0) -> list[str]:
        return [entry[4][0] for entry in two.names.getaddrinfo(host, 80, family, 0, 0, flags)]

    assert addresses("127.0.0.1") == ["127.0.0.1"]
    assert addresses("::1") == ["::1"]
    assert addresses("2001:DB8:0:0::1") == ["2001:db8::1"]
    assert addresses(None) == ["::1", "127.0.0.1"]
    assert addresses(None, flags=socket.AI_PASSIVE) == ["::", "0.0.0.0"]
    assert addresses(None, socket.AF_INET) == ["127.0.0.1"]
    with pytest.raises(socket.gaierror) as wrong_family:
        addresses("127.0.0.1", socket.AF_INET6)
    assert wrong_family.value.errno == socket.EAI_ADDRFAMILY
    with pytest.raises(socket.gaierror) as no_number:
        addresses("example.com", flags=socket.AI_NUMERICHOST)
    assert no_number.value.errno == socket.EAI_NONAME
    assert two.questions == []
    addresses("2130706433")  # an odd form is the engine's to read
    assert two.questions == [("2130706433", 80, 0)]


def test_gethostbyname(two: Engine) -> None:
    engine = Engine(lambda name, family: make_answer(["192.0.2.5", "192.0.2.6"]))
    assert engine.names.gethostbyname("h") == "192.0.2.5"
    assert engine.names.gethostbyname_ex("h") == ("h", [], ["192.0.2.5", "192.0.2.6"])
    assert engine.questions == [("h", 0, socket.AF_INET)] * 2
    engine.close()


def test_refusals_carry_the_engines_number_and_reason() -> None:
    reason = 'host "x" stands for 10.0.0.5, a private address: not allowed'
    engine = Engine(lambda name, family: make_answer([], socket.EAI_FAIL, reason))
    with pytest.raises(socket.gaierror) as refused:
        engine.names.getaddrinfo("x", 80)
    assert refused.value.args == (socket.EAI_FAIL, reason)
    engine.close()


def test_an_engine_that_is_gone_is_an_error_and_not_a_hang() -> None:
    engine = Engine(lambda name, family: b"")
    with pytest.raises(socket.gaierror, match="names are not answered any more"):
        engine.names.getaddrinfo("x", 80)
    engine.close()


@pytest.mark.parametrize(
    ("host", "port", "kind"),
    [
        ("x" * 256, 80, socket.gaierror),
        ("x", "gopher", socket.gaierror),
        ("x", 65536, OverflowError),
        ("x", -1, OverflowError),
        ("x", 1.5, OSError),
        (5, 80, TypeError),
        ("a\0b", 80, ValueError),
        ("ü" * 70, 80, UnicodeError),
    ],
)
def test_wrong_arguments_are_errors_before_anything_is_asked(
    two: Engine, host: object, port: object, kind: type[Exception]
) -> None:
    with pytest.raises(kind):
        two.names.getaddrinfo(host, port)
    assert two.questions == []


def test_threads_get_their_own_answers() -> None:
    engine = Engine(lambda name, family: make_answer([f"192.0.2.{name[1:]}"]))
    found: dict[int, str] = {}

    def ask(i: int) -> None:
        for _ in range(20):
            found[i] = engine.names.gethostbyname(f"n{i}")
            assert found[i] == f"192.0.2.{i}"

    threads = [threading.Thread(target=ask, args=(i,)) for i in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert found == {i: f"192.0.2.{i}" for i in range(8)}
    engine.close()


def run_installed(fd: int, body: str) -> None:
    """Run code in an interpreter of its own, whose socket module has been changed."""
    folder = Path(network.__file__).parent
    program = f"import sys; sys.path.insert(0, {str(folder)!r})\nimport network; network.install({fd})\n{body}"
    fds = (fd,) if fd >= 0 else ()
    ran = subprocess.run(
        [sys.executable, "-c", program], pass_fds=fds, capture_output=True, text=True, check=False, timeout=60
    )
    assert ran.returncode == 0, ran.stderr


def test_what_stands_on_socket_uses_it() -> None:
    engine = Engine(lambda name, family: make_answer(["127.0.0.1"]))
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        run_installed(
            engine.theirs.fileno(),
            f"""
import asyncio, socket, urllib.request
socket.create_connection(("a.test", {port})).close()
socket.create_connection(("b.test", {port}), timeout=5).close()
async def main():
    reader, writer = await asyncio.open_connection("c.test", {port})
    writer.close()
    assert await asyncio.get_running_loop().getaddrinfo("d.test", 1)
asyncio.run(main())
assert socket.gethostbyname("e.test") == "127.0.0.1"
assert socket.getnameinfo(("192.0.2.1", 80), 0) == ("192.0.2.1", "80")
assert socket.getfqdn("192.0.2.1") == "192.0.2.1"
""",
        )
    assert [question[0] for question in engine.questions] == ["a.test", "b.test", "c.test", "d.test", "e.test"]
    engine.close()


def test_with_the_network_off_every_way_says_so() -> None:
    run_installed(
        -1,
        """
import asyncio, socket
text = "the network is off for this statement"
for ask in (socket.getaddrinfo, socket.gethostbyname, socket.gethostbyname_ex):
    try:
        ask("example.com", *((80,) if ask is socket.getaddrinfo else ()))
    except socket.gaierror as error:
        assert error.args == (socket.EAI_FAIL, text), error
    else:
        raise AssertionError(ask)
async def main():
    try:
        await asyncio.open_connection("example.com", 80)
    except OSError as error:
        assert text in str(error), error
    else:
        raise AssertionError("connected")
asyncio.run(main())
""",
    )
