"""Checks of the process: memory, descriptors, cancelling, ending, and the way through the host."""

from __future__ import annotations

import signal
import time

from qanat.connector_kit.checks_data import _compare, _name
from qanat.connector_kit.kit import Check, Skipped, Warned
from qanat.connector_kit.subject import Subject
from qanat.connector_kit.talk import Fault, ReplyFault
from qanat.errors import QanatError

MUCH = 64 << 20  # bytes of a location that say something about memory
_ROUNDS = 12


def several(subject: Subject) -> str:
    """One more beside the one that works."""
    subject.shared().ask("discover", {"attached_locations": [], **subject.options.arguments})
    talk = subject.talk(subject.version, beside=True)
    try:
        talk.ask("discover", {"attached_locations": [], **subject.options.arguments})
    except ReplyFault as fault:
        raise Fault(f"with another process beside it, discover fails: {fault}") from None
    finally:
        subject.end(talk)
    return "two processes at once"


def cancel(subject: Subject) -> str:
    if subject.version == 1:
        raise Skipped("version 1 cannot cancel")
    found = subject.with_data()
    if not found:
        raise Skipped("no location has data")
    location = max(found, key=lambda each: subject.samples[each["location"]].batches)
    talk = subject.shared()
    reading, _, identifier = talk.data(location, dict(subject.options.arguments))
    reading.is_empty()
    talk.notify("cancel", {"id": identifier})
    begin = time.monotonic()
    ended = "it had ended before"
    try:
        reading.drain()
    except ReplyFault as fault:
        kind = (fault.error.get("data") or {}).get("kind")
        if kind != "cancelled":
            raise Fault(f"{_name(location)}: cancelled, it ended with an error of kind {kind!r}: {fault}") from None
        ended = "ended as cancelled"
    took = time.monotonic() - begin
    if took > subject.options.patience:
        raise Fault(f"{_name(location)}: it went on for {took:.1f} s after it was cancelled")
    if talk.ask("ping", {}) != "pong":
        raise Fault("after a cancel it does not answer ping")
    return f"{ended}, after {took:.2f} s, and it goes on"


def memory(subject: Subject) -> str:
    found = subject.with_data()
    location = max(found, key=lambda each: subject.samples[each["location"]].size, default=None)
    if location is None or subject.samples[location["location"]].size < MUCH:
        size = 0 if location is None else subject.samples[location["location"]].size
        raise Skipped(f"the largest location has {size / 1e6:.1f} MB: {MUCH / 1e6:.0f} MB would tell something")
    if subject.command is not None and subject.command[0] == "docker":
        raise Skipped("the memory of a container is not seen from here")
    talk = subject.talk(subject.version)
    try:
        talk.ask("discover", {"attached_locations": [], **subject.options.arguments})
        before = talk.status("VmHWM")
        size = subject.read(location, talk=talk).size
        after = talk.status("VmHWM")
    finally:
        subject.end(talk)
    if before is None or after is None:
        raise Skipped("this system does not tell the memory of a process")
    grown = (after - before) << 10
    told = f"{_name(location)}: {grown / 1e6:.0f} MB more for {size / 1e6:.0f} MB of data"
    if grown > size // 2:
        raise Warned(f"{told}: return an iterator of batches or rows, and memory is bounded by the batch")
    return told


def descriptors(subject: Subject) -> str:
    talk = subject.shared()
    counts = []
    for _ in range(2):
        for _ in range(_ROUNDS):
            talk.ask("discover", {"attached_locations": [], **subject.options.arguments})
            for location in subject.chosen()[:1]:
                subject.read(location, talk=talk, **({"_limit": 1} if talk.version == 2 else {}))
        counts.append(talk.descriptors())
    first, last = counts
    if first is None or last is None:
        raise Skipped("this system does not tell the open files of a process")
    if last - first >= _ROUNDS:
        raise Fault(f"{last - first} files or connections more are open after {_ROUNDS} rounds of discover and data")
    return f"{last} open files after {2 * _ROUNDS} rounds"


def eof(subject: Subject) -> str:
    talk = subject.shared()
    talk.ask("discover", {"attached_locations": [], **subject.options.arguments})
    talk.close_input()
    begin = time.monotonic()
    try:
        ended = talk.ends_within(subject.options.patience)
        took = time.monotonic() - begin
        talk.process.kill()
        code = talk.process.wait()
        subject.left_behind = talk.left_behind()
    finally:
        subject.drop()
    if not ended:
        raise Fault(f"it still ran {subject.options.patience:g} s after its standard input had ended")
    if code != 0:
        raise Fault(f"it ended with {_code(code)}; a connector that is not needed any more ends with 0")
    return f"after {took:.2f} s"


def _code(code: int) -> str:
    return f"exit code {code}" if code >= 0 else f"signal {-code}"


def shutdown(subject: Subject) -> str:
    talk = subject.talk(subject.version)
    try:
        result = talk.ask("shutdown", {})
        if not isinstance(result, dict) or result.get("ok") is not True:
            raise Fault(f'shutdown is answered with {result!r}; it is {{"ok": true}}')
        if not talk.ends_within(subject.options.patience):
            raise Fault(f"it still ran {subject.options.patience:g} s after shutdown")
    finally:
        subject.end(talk)
    return "answered, and ended"


def sigterm(subject: Subject) -> str:
    talk = subject.talk(subject.version)
    try:
        talk.process.send_signal(signal.SIGTERM)
        if not talk.ends_within(subject.options.patience):
            raise Fault(f"it still ran {subject.options.patience:g} s after SIGTERM: a host sends SIGKILL then")
    finally:
        subject.end(talk)
    return "ended"


def children(subject: Subject) -> str:
    left = subject.left_behind
    if left is None:
        raise Skipped("no process of it has come to its end")
    if left:
        raise Fault(f"{len(left)} processes that it has started still run, first: {left[0][:80]}")
    return "no process is left behind"


def host(subject: Subject) -> str:
    return _through(subject, subject.uri)


def in_process(subject: Subject) -> str:
    if subject.in_process is None:
        raise Skipped("it was not given as a class")
    return _through(subject, subject.in_process)


def _through(subject: Subject, uri: str) -> str:
    if subject.heard():
        raise Skipped("what it prints on standard output would break it: see protocol.stdout")
    subject.drop()
    try:
        handle = subject.open(uri)
    except QanatError as error:
        raise Fault(str(error)) from None
    with handle:
        for location in subject.chosen():
            difference = _compare(subject.samples[location["location"]], subject.read_by_host(handle, location))
            if difference not in ("same", "order"):
                raise Fault(f"{_name(location)}: by the protocol, then by {uri.partition('::')[0]}::, {difference}")
    return f"the same data as {uri.partition('::')[0]}::"


_DATA = ("data.answers",)
_SAME = ("data.repeatable",)

CHECKS = (
    Check(
        "process.several",
        "can run more than once at a time",
        "a host starts several processes to fetch several locations at once",
        several,
        ("discover.answers",),
        True,
    ),
    Check(
        "process.descriptors",
        "closes what it opens",
        "a connector that runs for days runs out of them",
        descriptors,
        _DATA,
        True,
    ),
    Check(
        "memory.bounded",
        "needs little memory for much data",
        "locations can be larger than memory",
        memory,
        _DATA,
        True,
    ),
    Check(
        "cancel.ends",
        "ends what is not wanted any more",
        "a user who has seen enough does not want to wait for the rest",
        cancel,
        ("data.answers", "protocol.ping", "protocol.notification"),
        True,
    ),
    Check("ending.eof", "ends with its standard input", "that is how a host ends it", eof, _DATA, True),
    Check(
        "ending.shutdown",
        "ends after shutdown",
        "that is how a host ends it politely",
        shutdown,
        ("protocol.starts",),
        True,
    ),
    Check(
        "ending.sigterm",
        "ends at SIGTERM",
        "that is how a host ends one that does not answer",
        sigterm,
        ("protocol.starts",),
        True,
    ),
    Check("ending.children", "leaves no process behind", "nobody else knows of them", children, _DATA, True),
    Check(
        "host.process",
        "runs in the host of qanat",
        "the ring, several processes, and what the host adds",
        host,
        ("data.repeatable", "protocol.version_2"),
        True,
    ),
    Check("host.in_process", "runs as python:: too", "the same class, without a process of its own", in_process, _SAME),
)
