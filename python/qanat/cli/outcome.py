"""How a command ends: exit codes, errors as three lines or as JSON."""

from __future__ import annotations

import errno
import json
import os
import re
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, Any, NoReturn

import click

if TYPE_CHECKING:
    from qanat.errors import QanatError

EXIT_FAILED = 1
EXIT_USAGE = 2
EXIT_CONFIGURATION = 3
EXIT_CONNECTION = 4
EXIT_PIPE = 141  # as a shell says of a process that SIGPIPE ended
EXIT_INTERRUPTED = 130

BUNDLES = "docs/guides/bundle.md"
CONNECTORS = "docs/guides/connectors.md"
TASKS = "docs/formats/task.md"

_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f]")
_SHORT = {"\n": r"\n", "\r": r"\r", "\t": r"\t"}


def escaped(text: str) -> str:
    """The text with control characters written out, so that data cannot steer the terminal."""
    return _CONTROL.sub(lambda match: _SHORT.get(match.group(), f"\\x{ord(match.group()):02x}"), text)


def counted(n: int, noun: str) -> str:
    return f"{n:,} {noun}" if n == 1 else f"{n:,} {noun}s"


def exit_code(error: QanatError, planning: bool = False) -> int:
    """The exit code of an error; while planning, everything is the configuration's fault."""
    from qanat import errors

    if planning or isinstance(error, errors.ConfigurationError):
        return EXIT_CONFIGURATION
    if isinstance(error, errors.DatabaseConnectionError | errors.ConnectionClosedError):
        return EXIT_CONNECTION
    return EXIT_USAGE if isinstance(error, errors.ArgumentError) else EXIT_FAILED


def hint_of(error: QanatError) -> str:
    """The library's hint, in words of the command line."""
    from qanat import errors

    if isinstance(error, errors.ForbiddenError):
        return "run it with --allow-external-code, or with QANAT_SYSTEM_ALLOW_EXTERNAL_CODE=true in the environment"
    return str(error.hint or "")


def _advice(error: QanatError, code: int, known: Mapping[str, str], page: str | None) -> str:
    """What to do about it; "" where there is nothing to say that the error does not say."""
    from qanat import errors

    if error.sqlstate and error.sqlstate in known:
        return known[error.sqlstate]
    if error.hint:
        return hint_of(error)
    if type(error).__name__ in known:
        return known[type(error).__name__]
    if code == EXIT_CONNECTION:
        return "check the address, that the server runs, and the credentials; `qanat doctor` shows the drivers"
    if error.retryable:
        return "run it again: the same command may succeed later"
    if isinstance(error, errors.ConnectorError):
        return f"see {CONNECTORS}; `qanat connector test` asks a connector everything"
    if isinstance(error, errors.QueryExecutionError) and error.detail:
        return str(error.detail)
    if page:
        return f"see {page}"
    if code == EXIT_CONFIGURATION:
        return "correct the configuration and run it again; the guides are in docs/guides"
    of_database = page is None and isinstance(error, errors.QueryExecutionError)
    return "set QANAT_LOG=debug to see every statement" if of_database else ""


def _split(error: QanatError, where: str) -> tuple[str, str]:
    """What happened and where: an error of a task file begins with the file and the line."""
    message = str(error)
    if message.startswith(where):
        place, colon, rest = message.partition(": ")
        if colon and place.startswith(f"{where}, override of "):
            return rest, place.replace(", override of ", ", --set ", 1)
        if colon:
            return rest, place.replace(":", ", line ", 1) if place != where else where
    parts = [where] if where else []
    line = getattr(error, "lineno", None)  # of a statement
    if line:
        parts.append(f"line {line}")
    if error.table:
        parts.append(f"table {error.table}")
    if error.column:
        parts.append(f"column {error.column}")
    if error.row is not None:
        parts.append(f"row {error.row}")
    if error.position:
        parts.append(f"character {error.position} of the statement")
    return message, ", ".join(parts)


def _one_line(text: str) -> str:
    return escaped(" ".join(text.split()))


def _say(what: str, place: str, advice: str) -> None:
    click.echo(f"error: {_one_line(what)}", err=True)
    click.echo(f"where: {_one_line(place)}", err=True)
    if advice:
        click.echo(f"  fix: {_one_line(advice)}", err=True)


def _told(error: QanatError) -> list[str]:
    """The traceback of a statement, or the last lines of a connector. They come before the three lines."""
    from qanat import errors

    detail = str(error.detail or "")
    if isinstance(error, errors.ConnectorError) or "Traceback (most recent call last):\n" in detail:
        return detail.splitlines()
    return []


_NOTHING: Mapping[str, str] = {}


def fail(
    error: QanatError,
    where: str,
    as_json: bool,
    planning: bool = False,
    known: Mapping[str, str] = _NOTHING,
    page: str | None = None,
    **more: Any,
) -> NoReturn:
    """Say what, where and what to do on standard error (and as JSON on standard output), and exit.

    `known` has what to do where the library has nothing better to say: by SQLSTATE or by the error's class; `page` is
    the document to see where neither has, "" where there is none, None where it is a database that is spoken to.
    """
    code = exit_code(error, planning)
    what, place = _split(error, where)
    advice = _advice(error, code, known, page)
    for line in _told(error):
        click.echo(escaped(line), err=True)
    _say(what, place, advice)
    if as_json:
        fields = (
            "sqlstate",
            "retryable",
            "constraint",
            "schema",
            "table",
            "column",
            "row",
            "detail",
            "hint",
            "position",
        )
        problem = {"type": type(error).__name__, "message": what, "where": place, "exit_code": code}
        problem |= {name: getattr(error, name) for name in fields if getattr(error, name) not in (None, "")}
        click.echo(json.dumps({"ok": False, "error": problem, **more}, default=str))
    sys.exit(code)


def output_failed(error: OSError, done: str = "") -> NoReturn:
    """End the command after standard output could not be written; `done` says what has been done all the same."""
    reader_gone = error.errno == errno.EPIPE
    with suppress(OSError, ValueError):  # what is still buffered would fail again at exit
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, sys.stdout.fileno())
    if not reader_gone:
        advice = "make room where the output goes, or write it elsewhere"
        with suppress(OSError):
            _say(f"cannot write: {error.strerror or error}", "standard output", f"{done}; {advice}" if done else advice)
    sys.exit(EXIT_PIPE if reader_gone else EXIT_FAILED)


def say(text: str, done: str) -> None:
    """Print how it ended; where that fails, `done` is said on standard error."""
    try:
        click.echo(text)
    except OSError as error:
        output_failed(error, done)


@contextmanager
def reported(
    where: str, as_json: bool, planning: bool = False, known: Mapping[str, str] = _NOTHING, page: str | None = None
) -> Iterator[None]:
    """Errors of the library inside end the command with its three lines."""
    from qanat.errors import QanatError

    try:
        yield
    except QanatError as error:
        fail(error, where, as_json, planning, known, page)
