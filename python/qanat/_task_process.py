"""The steps of a task, [[process]], as the library's plans have them.

A task file names files and runtimes; a plan holds what they are: the statement's text, the fields of its schemas, the
bytes of its memory, the description of its runtime. What the keys mean is checked in the library.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from qanat import _runtime
from qanat._schemas import schema_fields
from qanat.errors import ConfigurationError, QanatError

_MAX_STATEMENT_BYTES = 4 << 20


def complete(plan: Mapping[str, Any], folder: Path) -> dict[str, Any]:
    """The plan with its steps complete; relative files are taken from `folder`. A step that has them stays as it is."""
    steps = plan.get("process")
    if isinstance(steps, Mapping):
        raise ConfigurationError("process is a table; steps are written [[process]], one after the other")
    if not isinstance(steps, list) or not steps:
        return dict(plan)
    return {**plan, "process": [_step(step, f"process[{i}]", folder) for i, step in enumerate(steps)]}


def _step(step: Any, path: str, folder: Path) -> Any:
    if not isinstance(step, Mapping):
        return step  # the library says what it is and must be
    done = dict(step)
    try:
        if isinstance(step.get("statement"), str) and not isinstance(step.get("runtime"), Mapping):
            done["statement"], name = _statement(step["statement"], f"{path}.statement", folder)
            done.setdefault("name", name or path)
        for key in ("input", "output"):
            if isinstance(step.get(key), str | Mapping):
                done[key] = schema_fields(step[key], f"{path}.{key}", folder)
        if isinstance(step.get("memory"), str):
            from qanat.processor import parse_size

            done["memory"] = parse_size(step["memory"], f"{path}.memory")
        runtime = step.get("runtime", _runtime.DEFAULT)
        if isinstance(runtime, str):
            done["runtime"] = _runtime_of(runtime, f"{path}.runtime")
    except (TypeError, ValueError) as error:
        raise ConfigurationError(str(error)) from None
    return done


def _runtime_of(name: str, path: str) -> dict[str, Any]:
    try:
        return _runtime.describe(name)
    except QanatError as error:
        raise ConfigurationError(f"{path}: {error}", hint=error.hint) from None


def _statement(statement: str, path: str, folder: Path) -> tuple[str, str]:
    """The text of a statement and the name of its file, if any. One line that ends in .py is the name of a file."""
    if "\n" in statement or not statement.endswith(".py"):
        return statement, ""
    file = folder / statement
    try:
        with file.open("rb") as stream:
            data = stream.read(_MAX_STATEMENT_BYTES + 1)
    except FileNotFoundError:
        raise ConfigurationError(f"{path}: there is no file {str(file)!r}") from None
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or str(error)
        raise ConfigurationError(f"{path}: cannot read {str(file)!r}: {reason}") from None
    if len(data) > _MAX_STATEMENT_BYTES:
        raise ConfigurationError(f"{path}: {str(file)!r} is no statement: it has more than 4 MiB")
    try:
        text = data.decode("utf-8-sig").replace("\r\n", "\n")
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        raise ConfigurationError(f"{path}: {str(file)!r}, line {line}: it is not UTF-8 (byte {error.start})") from None
    if "\0" in text:
        line = text.count("\n", 0, text.index("\0")) + 1
        raise ConfigurationError(f"{path}: {str(file)!r}, line {line}: a NUL character")
    return text, statement
