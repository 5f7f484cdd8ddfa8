"""The network inside a run: names are asked of the engine, and refusals say what they are.

A run resolves nothing itself: `install` puts functions into the `socket` module that ask over the names socket
(src/processor/protocol.h, "names"), so that what stands on it (create_connection, asyncio, httpx, requests, urllib3)
works unchanged. Connections need nothing of this module: the kernel brings each connect() before the engine. With the
network off the same functions say so. Nothing here is a wall. Standard library only. Threads: any number may ask, one
at a time is answered.
"""

from __future__ import annotations

import errno
import os
import socket
import struct
import threading
from collections.abc import Sequence
from typing import Any, NoReturn

__all__ = ["Names", "install"]

OFF = "the network is off for this statement"
ONLY_TCP = "only TCP connections (SOCK_STREAM of AF_INET and AF_INET6) are allowed"
NO_REVERSE = "addresses are not turned into names here"

# struct qn_name_question and struct qn_name_answer.
MAX_HOST = 256
MAX_ADDRESSES = 16
QUESTION = struct.Struct(f"={MAX_HOST}sII")
ANSWER_HEAD = struct.Struct("=iI")
ANSWER_ADDRESS = struct.Struct("=I16s")
ANSWER_TEXT = 256
ANSWER_SIZE = ANSWER_HEAD.size + MAX_ADDRESSES * ANSWER_ADDRESS.size + ANSWER_TEXT

# Of /etc/services, which a run cannot read.
SERVICES = {"http": 80, "https": 443, "ws": 80, "wss": 443, "postgresql": 5432, "smtp": 25, "imaps": 993}
PROTOCOLS = {socket.SOCK_STREAM: socket.IPPROTO_TCP, socket.SOCK_DGRAM: socket.IPPROTO_UDP}

Address = tuple[int, str]  # family and text
Entry = tuple[socket.AddressFamily, socket.SocketKind, int, str, tuple[Any, ...]]


def _parse_number(host: str) -> Address | None:
    """An address in its usual form; the odd forms (127.1, 0x7f000001) are the engine's to read."""
    for family in (socket.AF_INET, socket.AF_INET6):
        try:
            return family, socket.inet_ntop(family, socket.inet_pton(family, host))
        except (OSError, ValueError):
            continue
    return None


def _port_number(port: object) -> int:
    if port is None:
        return 0
    if isinstance(port, bytes):
        port = port.decode("ascii", "replace")
    if isinstance(port, str):
        if port.isdecimal():
            port = int(port)
        elif port in SERVICES:
            return SERVICES[port]
        else:
            raise socket.gaierror(socket.EAI_SERVICE, f"unknown service {port!r}: write the port as a number")
    if not isinstance(port, int):
        raise OSError("Int or String expected")
    if not 0 <= port <= 65535:
        raise OverflowError(f"port must be 0-65535, not {port}")
    return port


def _host_text(host: object) -> str:
    if isinstance(host, bytes | bytearray):
        host = bytes(host).decode("ascii")
    if not isinstance(host, str):
        raise TypeError("getaddrinfo() argument 1 must be string or None")
    if not host.isascii():
        host = host.encode("idna").decode("ascii")
    if "\0" in host:
        raise ValueError("embedded null character")
    return host


class Names:
    """What the engine says about names; `fd` is the run's end of the names socket."""

    def __init__(self, fd: int) -> None:
        self.fd = fd
        self.lock = threading.Lock()

    def ask(self, host: str, port: int, family: int) -> list[Address]:
        """The addresses of a host; socket.gaierror where there are none or the engine refuses."""
        name = host.encode("ascii")
        if len(name) >= MAX_HOST:
            raise socket.gaierror(socket.EAI_NONAME, "the name of a host has 253 characters at most")
        with self.lock:
            os.write(self.fd, QUESTION.pack(name, port, family))
            answer = os.read(self.fd, ANSWER_SIZE + 1)
        if len(answer) != ANSWER_SIZE:
            raise socket.gaierror(socket.EAI_FAIL, "names are not answered any more")
        error, count = ANSWER_HEAD.unpack_from(answer)
        if error != 0:
            text = answer[-ANSWER_TEXT:].split(b"\0", 1)[0].decode("utf-8", "replace")
            raise socket.gaierror(error, text)
        found: list[Address] = []
        for i in range(min(count, MAX_ADDRESSES)):
            of, raw = ANSWER_ADDRESS.unpack_from(answer, ANSWER_HEAD.size + i * ANSWER_ADDRESS.size)
            found.append((of, socket.inet_ntop(of, raw[:4] if of == socket.AF_INET else raw)))
        return found

    def resolve(self, host: str | None, port: int, family: int, flags: int) -> list[Address]:
        if family not in (socket.AF_UNSPEC, socket.AF_INET, socket.AF_INET6):
            raise socket.gaierror(socket.EAI_FAMILY, "ai_family not supported")
        if host is None:
            passive = flags & socket.AI_PASSIVE
            both: list[Address] = [
                (socket.AF_INET6, "::" if passive else "::1"),
                (socket.AF_INET, "0.0.0.0" if passive else "127.0.0.1"),
            ]
            return [address for address in both if family in (socket.AF_UNSPEC, address[0])]
        number = _parse_number(host)
        if number is not None:
            if family not in (socket.AF_UNSPEC, number[0]):
                raise socket.gaierror(socket.EAI_ADDRFAMILY, "Address family for hostname not supported")
            return [number]
        if flags & socket.AI_NUMERICHOST:
            raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")
        return self.ask(host, port, family)

    def getaddrinfo(  # the arguments are named as socket names them
        self,
        host: object,
        port: object,
        family: int = 0,
        type: int = 0,  # noqa: A002
        proto: int = 0,
        flags: int = 0,
    ) -> list[Entry]:
        """As socket.getaddrinfo; entries are of TCP where no type is asked for."""
        name = None if host is None else _host_text(host)
        number = _port_number(port)
        kind = socket.SocketKind(type or socket.SOCK_STREAM)
        canonical = name if flags & socket.AI_CANONNAME and name is not None else ""
        return [
            (
                socket.AddressFamily(of),
                kind,
                proto or PROTOCOLS.get(kind, 0),
                canonical,
                (text, number) if of == socket.AF_INET else (text, number, 0, 0),
            )
            for of, text in self.resolve(name, number, family, flags)
        ]

    def gethostbyname_ex(self, host: object) -> tuple[str, list[str], list[str]]:
        name = _host_text(host)
        return name, [], [text for _, text in self.resolve(name, 0, socket.AF_INET, 0)]

    def gethostbyname(self, host: object) -> str:
        return self.gethostbyname_ex(host)[2][0]


class _Off:
    """The same functions where there is no network."""

    @staticmethod
    def getaddrinfo(*_args: object, **_kwargs: object) -> NoReturn:
        raise socket.gaierror(socket.EAI_FAIL, OFF)

    gethostbyname = gethostbyname_ex = getaddrinfo


def _gethostbyaddr(host: object) -> NoReturn:
    raise socket.herror(socket.EAI_FAIL, NO_REVERSE)


def _getnameinfo(address: Sequence[Any], flags: int) -> tuple[str, str]:
    host, port = str(address[0]), int(address[1])
    if flags & socket.NI_NAMEREQD or _parse_number(host) is None:
        raise socket.gaierror(socket.EAI_NONAME, NO_REVERSE)
    return host, str(port)


def _describe(address: object) -> str:
    if isinstance(address, tuple) and len(address) >= 2:
        host, port = address[:2]
        return f"[{host}]:{port}" if ":" in str(host) else f"{host}:{port}"
    return str(address)


def _explain_sockets(refusal: str) -> None:
    """Give the kernel's PermissionError a text that the author of a statement understands."""
    plain_init = socket.socket.__init__
    plain_connect = socket.socket.connect

    def __init__(
        self: socket.socket,
        family: int = -1,
        type: int = -1,  # noqa: A002
        proto: int = -1,
        fileno: int | None = None,
    ) -> None:
        try:
            plain_init(self, family, type, proto, fileno)
        except PermissionError:
            raise PermissionError(errno.EPERM, refusal) from None

    def connect(self: socket.socket, address: Any) -> None:
        try:
            plain_connect(self, address)
        except PermissionError:
            text = f"connection to {_describe(address)} is not allowed by this processor's network"
            raise PermissionError(errno.EACCES, text) from None

    changes: dict[str, Any] = {"__init__": __init__, "connect": connect}
    for name, function in changes.items():
        setattr(socket.socket, name, function)


def install(names_fd: int) -> None:
    """Change the `socket` module of this process; -1: the network is off. Once, before the statement runs."""
    source = Names(names_fd) if names_fd >= 0 else _Off
    changes: dict[str, Any] = {
        "getaddrinfo": source.getaddrinfo,
        "gethostbyname": source.gethostbyname,
        "gethostbyname_ex": source.gethostbyname_ex,
        "gethostbyaddr": _gethostbyaddr,
        "getnameinfo": _getnameinfo,
    }
    for name, function in changes.items():
        setattr(socket, name, function)
    _explain_sockets(ONLY_TCP if names_fd >= 0 else OFF)
