"""What a fetch shows while it goes on: a bar on a terminal, plain lines elsewhere; always on standard error."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress

from qanat.bundle._results import FetchProgress

Listener = Callable[[FetchProgress], object]

PLAIN_SECONDS = 2.0  # between plain lines


def _size(size: float) -> str:
    for unit in ("B", "KiB", "MiB"):
        if size < 1024:
            return f"{size:.0f} {unit}" if unit == "B" else f"{size:.1f} {unit}"
        size /= 1024
    return f"{size:.1f} GiB"


def line(progress: FetchProgress) -> str:
    """How it stands, in one line."""
    counts = f"{progress.locations:,} of {progress.locations_total:,} locations, {progress.rows:,} rows"
    return f"{progress.source or 'fetch'}: {counts}, {_size(progress.bytes)}, {progress.seconds:.1f} s"


@contextmanager
def _bar() -> Iterator[Listener]:
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, SpinnerColumn, TextColumn
    from rich.progress import Progress as Bar

    columns = (
        SpinnerColumn(),
        TextColumn("{task.description}"),
        BarColumn(bar_width=24),
        MofNCompleteColumn(),
        TextColumn("{task.fields[text]}"),
    )
    with Bar(*columns, console=Console(stderr=True), transient=True, refresh_per_second=10) as bar:
        row = bar.add_task("fetch", total=None, text="")

        def show(progress: FetchProgress) -> None:
            text = f"{progress.rows:,} rows, {_size(progress.bytes)}"
            total = progress.locations_total or None
            bar.update(
                row, description=progress.source or "fetch", completed=progress.locations, total=total, text=text
            )

        yield show


@contextmanager
def _lines() -> Iterator[Listener]:
    shown = time.monotonic()
    said = ""

    def show(progress: FetchProgress) -> None:
        nonlocal shown, said
        now = time.monotonic()
        ended = progress.locations_total > 0 and progress.locations == progress.locations_total
        text = line(progress)
        if (ended or now - shown >= PLAIN_SECONDS) and text != said:
            shown, said = now, text
            with suppress(OSError):  # a fetch does not end because nobody reads how it goes
                print(text, file=sys.stderr, flush=True)

    yield show


@contextmanager
def shown(progress: bool | Listener) -> Iterator[Listener | None]:
    """The listener for `progress`: True shows a bar or lines, a callable is called, False is nothing."""
    if callable(progress):
        yield progress
    elif not progress:
        yield None
    else:
        how = _lines
        if sys.stderr is not None and sys.stderr.isatty():
            with suppress(ImportError):
                import rich.progress  # noqa: F401  (without it there are lines)

                how = _bar
        with how() as listener:
            yield listener
