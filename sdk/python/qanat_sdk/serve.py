"""serve(): a connector as a process of its own, on standard input and output."""

from __future__ import annotations

import fcntl
import os
import select
import signal
import stat
import sys
import threading
import time
from types import FrameType
from typing import BinaryIO, NoReturn

from qanat_sdk.connector import Connector
from qanat_sdk.session import Session

__all__ = ["serve"]

_NOTICE = 1.0  # seconds in which work that reads or writes sees by itself that the host is gone
_CLEAN_UP = 2.0  # seconds that `finally` blocks have after that


class _TerminatedError(BaseException):
    """SIGTERM came. No Exception, so that a connector's `except Exception` does not keep it."""


def serve(source: Connector) -> None:
    """Speak with the host on standard input and output until it ends.

    Both are kept for the protocol: what the connector prints goes to standard error, what it reads is at its end.
    Returns at the end of the input and after `shutdown`. SIGTERM ends the process with status 143, after its `finally`
    blocks. A host that is gone, however that came, ends it too, in the middle of whatever it does.
    """
    stdin, stdout = _take_streams()
    if stdin.isatty():
        print("This is a connector: a host speaks with it, a JSON-RPC request a line. Ctrl-D ends it.", file=sys.stderr)
    _end_on_sigterm()
    over = _end_without_reader(stdout.fileno())
    try:
        _serve(source, stdin, stdout)
    except _TerminatedError:
        sys.exit(128 + signal.SIGTERM)
    except KeyboardInterrupt:
        sys.exit(128 + signal.SIGINT)
    finally:
        over.set()


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


def _end_without_reader(number: int) -> threading.Event:
    """End the process once nobody reads its output, also where data() neither reads nor writes for long: a host that
    was killed tells nobody. Set the event when the conversation is over."""
    over = threading.Event()
    mode = os.fstat(number).st_mode
    if stat.S_ISFIFO(mode) or stat.S_ISSOCK(mode):  # files and terminals have no reader that could go
        # A daemon: it waits in the kernel, at no cost, and holds nobody up that ends in another way.
        threading.Thread(target=_watch, args=(number, over), name="qanat-host-watch", daemon=True).start()
    return over


def _watch(number: int, over: threading.Event) -> None:
    poll = select.poll()
    poll.register(number, 0)  # of errors it tells in any case: POLLERR of a pipe, POLLHUP of a socket
    events = poll.poll()
    if not events or not events[0][1] & (select.POLLERR | select.POLLHUP) or over.wait(_NOTICE):
        return
    main = threading.main_thread().ident
    if main is not None:
        signal.pthread_kill(main, signal.SIGTERM)  # ends a sleep or a read, and runs the `finally` blocks
    time.sleep(_CLEAN_UP)
    # What does not hear the signal (a long call of compiled code, threads that the connector began) is not waited for:
    # nobody is left to whom its work would be of use. sys.exit would end this thread alone, and atexit's functions may
    # wait for just what hangs.
    os._exit(128 + signal.SIGPIPE)


def _terminated(number: int, frame: FrameType | None) -> NoReturn:
    raise _TerminatedError
