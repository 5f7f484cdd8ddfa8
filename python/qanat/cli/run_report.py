"""What a run shows while it goes on and when it has ended, for `run` and `copy`."""

from __future__ import annotations

import dataclasses
import json
import logging
import os
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, Any

import click

from qanat.cli.outcome import EXIT_INTERRUPTED, counted, fail, say

if TYPE_CHECKING:
    from qanat.task import Progress, Task, TaskResult

PLAIN_SECONDS = 2.0  # between plain lines


def size_text(size: float) -> str:
    for unit in ("B", "KiB", "MiB", "GiB"):
        if size < 1024 or unit == "GiB":
            return f"{size:.0f} {unit}" if unit == "B" else f"{size:.1f} {unit}"
        size /= 1024
    raise AssertionError


def _line(progress: Progress) -> str:
    rate = f", {progress.rows / progress.seconds:,.0f} rows/s" if progress.rows and progress.seconds > 0.05 else ""
    rows = counted(progress.rows, "row")
    return f"{progress.stage}: {rows}, {size_text(progress.bytes)}, {progress.seconds:.1f} s{rate}"


@contextmanager
def _bar(name: str) -> Iterator[Callable[[Progress], None]]:
    """A moving bar: how many rows there will be is not known, so it pulses."""
    from rich.console import Console
    from rich.progress import BarColumn, SpinnerColumn, TextColumn
    from rich.progress import Progress as Bar

    columns = (
        SpinnerColumn(),
        TextColumn("{task.description}"),
        BarColumn(bar_width=24),
        TextColumn("{task.fields[text]}"),
    )
    with Bar(*columns, console=Console(stderr=True), transient=True, refresh_per_second=10) as bar:
        row = bar.add_task(name, total=None, text="")
        yield lambda progress: bar.update(row, text=_line(progress))


@contextmanager
def _lines(name: str) -> Iterator[Callable[[Progress], None]]:
    shown = time.monotonic()

    def show(progress: Progress) -> None:
        nonlocal shown
        now = time.monotonic()
        if now - shown >= PLAIN_SECONDS:
            shown = now
            with suppress(OSError):  # a run does not end because nobody reads how it goes
                click.echo(f"{name}: {_line(progress)}", err=True)

    yield show


@contextmanager
def _nothing(_name: str) -> Iterator[None]:
    yield None


class _Echo(logging.Handler):
    def __init__(self, name: str) -> None:
        super().__init__(logging.INFO)
        self._commit = f"{name}: committed "  # the summary has them

    def emit(self, record: logging.LogRecord) -> None:
        message = record.getMessage()
        level = "" if record.levelno <= logging.INFO else f"{record.levelname.lower()}: "
        if not message.startswith(self._commit):
            with suppress(OSError):
                click.echo(f"{level}{message}", err=True)


@contextmanager
def _statements_heard(task: Task) -> Iterator[None]:
    """Have what statements say, and how they end, appear on standard error, but where a log does that already."""
    logger = logging.getLogger("qanat.task")
    heard = logging.getLogger().handlers or "QANAT_LOG" in os.environ
    if heard or not task.has_statements:
        yield
        return
    handler = _Echo(task.name)
    before = logger.level, logger.propagate
    logger.addHandler(handler)
    logger.setLevel(logging.INFO)
    logger.propagate = False
    try:
        yield
    finally:
        logger.removeHandler(handler)
        logger.setLevel(before[0])
        logger.propagate = before[1]


def _summary(result: TaskResult) -> str:
    checkpoint = ""
    if result.checkpoint_after is not None:
        before = result.checkpoint_before if result.checkpoint_before is not None else "none"
        change = f"{before} -> {result.checkpoint_after}" if result.rows else result.checkpoint_after
        checkpoint = f"; checkpoint {change}"
    if result.rows == 0 and result.commits == 0:
        return f"{result.task}: nothing new{checkpoint} ({result.seconds:.2f} s)"
    moved = f"{counted(result.rows, 'row')} in {counted(result.commits, 'commit')}"
    rate = f", {result.rows / result.seconds:,.0f} rows/s" if result.seconds > 0 else ""
    return f"{result.task}: {moved}{checkpoint} ({result.seconds:.2f} s{rate})"


def _committed(result: TaskResult | None) -> str:
    if result is None or result.commits == 0:
        return "nothing was committed"
    after = f", checkpoint {result.checkpoint_after}" if result.checkpoint_after is not None else ""
    verb = "was" if result.rows == 1 else "were"
    return f"{counted(result.rows, 'row')} {verb} committed{after}; the rest was rolled back"


def _as_dict(result: TaskResult | None) -> dict[str, Any] | None:
    return None if result is None else dataclasses.asdict(result)


def run_task(
    task: Task,
    where: str,
    full: bool,
    as_json: bool,
    known: Mapping[str, str] | None = None,
    *,
    allow_external_code: bool | None = None,
) -> None:
    """Run it, show how it goes, say how it ended; exits on failure."""
    from qanat.errors import QanatError

    show = _nothing if as_json else _bar if sys.stderr.isatty() else _lines
    try:
        with _statements_heard(task), show(task.name) as progress:
            result = task.run(full=full, progress=progress, allow_external_code=allow_external_code)
    except KeyboardInterrupt:
        if as_json:
            click.echo(json.dumps({"ok": False, "interrupted": True, "result": _as_dict(task.last)}))
        click.echo(f"interrupted: {_committed(task.last)}", err=True)
        sys.exit(EXIT_INTERRUPTED)
    except QanatError as error:
        fail(error, where, as_json, known=known or {}, page="" if task.has_places else None, result=_as_dict(task.last))
    done = f"the run was committed ({counted(result.rows, 'row')} in {counted(result.commits, 'commit')})"
    if result.commits == 0:
        done = "the run has ended: nothing was new"
    say(json.dumps({"ok": True, "result": _as_dict(result)}) if as_json else _summary(result), done)
