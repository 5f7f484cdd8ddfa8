"""The run of the checks over a connector, and what came of each."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from typing import Any

from qanat.connector_kit.subject import Options, Subject
from qanat.connector_kit.talk import Fault

__all__ = ["Check", "Fault", "Options", "Result", "Skipped", "Subject", "Warned", "examine"]


class Skipped(Exception):
    """A check that says nothing about this connector, and why."""


class Warned(Exception):
    """Allowed, and worth knowing."""


@dataclass(frozen=True)
class Check:
    """One question. `run` returns what was found where all is well, and raises Fault, Warned or Skipped otherwise."""

    name: str
    title: str
    why: str
    run: Callable[[Subject], str]
    needs: tuple[str, ...] = ()
    process: bool = False  # speaks to a process of the connector's own, which not every runtime has


@dataclass(frozen=True)
class Result:
    """What came of a check. `status` is "passed", "failed", "warned" or "skipped"."""

    name: str
    title: str
    why: str
    status: str
    found: str
    seconds: float

    def as_dict(self) -> dict[str, Any]:
        return asdict(self)


def _outcome(check: Check, subject: Subject, passed: set[str]) -> tuple[str, str]:
    missing = [need for need in check.needs if need not in passed]
    if missing:
        return "skipped", f"{missing[0]} comes first"
    if check.process and subject.command is None:
        return "skipped", "this connector has no process of its own"
    try:
        return "passed", check.run(subject)
    except Fault as fault:
        subject.drop()
        return "failed", str(fault)
    except Warned as warned:
        return "warned", str(warned)
    except Skipped as reason:
        return "skipped", str(reason)


def examine(subject: Subject) -> Iterator[Result]:
    """The results of all checks, as they come. Nothing is left running, however it ends."""
    from qanat.connector_kit import checks_data, checks_process, checks_protocol

    checks = (
        *checks_protocol.FIRST,
        *checks_data.CHECKS,
        *checks_process.CHECKS,
        *checks_protocol.LAST,
    )
    passed: set[str] = set()
    try:
        for check in checks:
            begin = time.monotonic()
            status, found = _outcome(check, subject, passed)
            if status in ("passed", "warned") or found == "this connector has no process of its own":
                passed.add(check.name)
            yield Result(check.name, check.title, check.why, status, found, time.monotonic() - begin)
    finally:
        subject.finish()
