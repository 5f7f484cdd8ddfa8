"""How a command ends: exit codes, errors as three lines or as JSON."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, NoReturn

import click

if TYPE_CHECKING:
    from qanat.errors import QanatError

EXIT_FAILED = 1
EXIT_USAGE = 2
EXIT_CONFIGURATION = 3
EXIT_CONNECTION = 4
EXIT_INTERRUPTED = 130


def exit_code(error: QanatError, planning: bool = False) -> int:
    """The exit code of an error; while planning, everything is the configuration's fault."""
    from qanat import errors

    if planning or isinstance(error, errors.ConfigurationError):
        return EXIT_CONFIGURATION
    if isinstance(error, errors.DatabaseConnectionError | errors.ConnectionClosedError):
        return EXIT_CONNECTION
    return EXIT_FAILED


def _advice(error: QanatError, code: int) -> str:
    if error.hint:
        return str(error.hint)
    if code == EXIT_CONNECTION:
        return "check the address, that the server runs, and the credentials; `qanat doctor` shows the drivers"
    if error.retryable:
        return "run it again: the same command may succeed later"
    if code == EXIT_CONFIGURATION:
        return "correct the configuration and run it again; see docs/formats/task.md"
    if error.detail:
        return str(error.detail)
    return "set QANAT_LOG=debug to see every statement"


def _split(error: QanatError, where: str) -> tuple[str, str]:
    """What happened and where: an error of a task file begins with the file and the line."""
    message = str(error)
    if message.startswith(where):
        place, colon, rest = message.partition(": ")
        if colon:
            return rest, place.replace(":", ", line ", 1) if place != where else where
    parts = [where] if where else []
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
    return " ".join(text.split())


def fail(error: QanatError, where: str, as_json: bool, planning: bool = False, **more: Any) -> NoReturn:
    """Say what, where and what to do on standard error (and as JSON on standard output), and exit."""
    code = exit_code(error, planning)
    what, place = _split(error, where)
    advice = _advice(error, code)
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
    click.echo(f"error: {_one_line(what)}", err=True)
    click.echo(f"where: {_one_line(place)}", err=True)
    click.echo(f"  fix: {_one_line(advice)}", err=True)
    sys.exit(code)


@contextmanager
def reported(where: str, as_json: bool, planning: bool = False) -> Iterator[None]:
    """Errors of the library inside end the command with its three lines."""
    from qanat.errors import QanatError

    try:
        yield
    except QanatError as error:
        fail(error, where, as_json, planning)
