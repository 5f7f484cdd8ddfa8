"""serve(): a connector as a process of its own, on standard input and output."""

from __future__ import annotations

import fcntl
import os
import signal
import sys
import threading
from types import FrameType
from typing import BinaryIO, NoReturn

from qanat_sdk.connector import Connector
from qanat_sdk.session import Session

__all__ = ["serve"]


class _TerminatedError(BaseException):
    """SIGTERM came. No Exception, so that a connector's `except Exception` does not keep it."""


def serve(source: Connector) -> None:
    """Speak with the host on standard input and output until it ends.

    Both are kept for the protocol: what the connector prints goes to standard error, what it reads is at its end.
    Returns at the end of the input and after `shutdown`. SIGTERM ends the process with status 143, after its `finally`
    blocks.
    """
    stdin, stdout = _take_streams()
    if stdin.isatty():
        print("This is a connector: a host speaks with it, a JSON-RPC request a line. Ctrl-D ends it.", file=sys.stderr)
    _end_on_sigterm()
    try:
        _serve(source, stdin, stdout)
    except _TerminatedError:
        sys.exit(128 + signal.SIGTERM)
    except KeyboardInterrupt:
        sys.exit(128 + signal.SIGINT)


def _serve(connector: Connector, stdin: BinaryIO, stdout: BinaryIO) -> None:
    """The same with explicit binary streams, for tests: a connector needs no process to be spoken with."""
    session = Session(connector, stdin, stdout)
    before = connector._qanat_host
    connector._qanat_host = session
    try:
        session.run()
    finally:
        connector._qanat_host = before


def _take_streams() -> tuple[BinaryIO, BinaryIO]:
    """Descriptors 0 and 1 for ourselves alone; the process gets an empty input, and standard error as its output."""
    try:
        # Above the standard ones, and closed in the connector's own child processes.
        numbers = [fcntl.fcntl(number, fcntl.F_DUPFD_CLOEXEC, 3) for number in (0, 1)]
    except OSError:
        sys.exit("standard input and output are needed: a connector is started by a host")
    for number in numbers:
        os.set_blocking(number, True)
    null = os.open(os.devnull, os.O_RDWR)  # it becomes descriptor 2 where there is no standard error
    os.dup2(null, 0)
    os.dup2(2, 1)
    if null > 2:
        os.close(null)
    if sys.stdout is not None:
        sys.stdout.flush()  # what was printed before and not yet written: to standard error too
    if sys.stderr is not None:
        sys.stdout = sys.stderr
    return os.fdopen(numbers[0], "rb", buffering=0), os.fdopen(numbers[1], "wb", buffering=0)


def _end_on_sigterm() -> None:
    if threading.current_thread() is threading.main_thread() and signal.getsignal(signal.SIGTERM) == signal.SIG_DFL:
        signal.signal(signal.SIGTERM, _terminated)


def _terminated(number: int, frame: FrameType | None) -> NoReturn:
    raise _TerminatedError
