"""`qanat connector`: begin a connector, and see whether it does what a host expects."""

from __future__ import annotations

import contextlib
import json
import shlex
import sys
import time
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING

import click

from qanat.cli.outcome import CONNECTORS, EXIT_FAILED, EXIT_INTERRUPTED, escaped, reported

if TYPE_CHECKING:
    from qanat.connector_kit.kit import Result
    from qanat.connector_kit.subject import Subject

_MARKS = {"passed": ("ok", "green"), "failed": ("FAILED", "red"), "warned": ("warn", "yellow"), "skipped": ("-", None)}


@click.group("connector")
def command() -> None:
    """Begin a connector; test one."""


@command.command("new")
@click.argument("name")
@click.option("--folder", metavar="PATH", default=".", type=click.Path(file_okay=False), help="Where its folder goes.")
def new_command(name: str, folder: str) -> None:
    """Make a folder with a connector, a test that passes, and a README."""
    with reported(f"connector {name}", False, page=CONNECTORS):
        from qanat.connector_kit.scaffold import create

        made = create(name, Path(folder))
    click.echo(f"{escaped(str(made))} is made; `cd {escaped(str(made))} && python -m pytest` tests it")


def _arguments(pairs: tuple[str, ...]) -> dict[str, str]:
    given: dict[str, str] = {}
    for pair in pairs:
        name, equals, value = pair.partition("=")
        if not equals or not name:
            raise click.BadParameter(f"{pair!r} is not NAME=VALUE", param_hint="--arg")
        given[name] = value
    return given


def _show(result: Result) -> None:
    """A line a check; what has failed says why it matters."""
    mark, colour = _MARKS[result.status]
    padded = click.style(f"{mark:7}", fg=colour, bold=result.status == "failed")
    bad = result.status in ("failed", "warned")
    click.echo(f"{padded}{result.name:25}{escaped(result.title if bad else result.found)}")
    if bad:
        click.echo(f"{'':7}found: {escaped(result.found)}")
        click.echo(f"{'':7}  why: {escaped(result.why)}")


def _record(subject: Subject, file: str) -> str:
    """A cassette of a discovery and of the data of the locations that were read."""
    with subject.open(subject.uri, file) as handle:
        found = handle.discover()
        handle.discover([location.location for location in found])
        locations = found[: subject.options.locations]
        for location in locations:
            stream = handle.data(location)
            if stream is not None:
                with stream:
                    for _ in stream:
                        pass
            handle.stable_url(location)
        handle.describe()
    return f"{file} has the discovery and the data of {len(locations)} locations: cassette::{file} replays them"


@command.command("test")
@click.argument("words", metavar="MODULE:CLASS|COMMAND|URI", nargs=-1, required=True)
@click.option("--arg", "pairs", metavar="NAME=VALUE", multiple=True, help="An argument of the connector.")
@click.option("--folder", metavar="PATH", default=".", type=click.Path(exists=True, file_okay=False),
              help="Where modules, scripts and relative paths begin.")  # fmt: skip
@click.option("--locations", metavar="N", default=5, type=click.IntRange(1), help="How many locations are read (5).")
@click.option("--rows", metavar="N", default=100_000, type=click.IntRange(1), help="Rows of each that are compared.")
@click.option("--timeout", metavar="SECONDS", default=60.0, type=click.FloatRange(0.1), help="Without an answer (60).")
@click.option("--patience", metavar="SECONDS", default=10.0, type=click.FloatRange(0.1),
              help="How long ending and cancelling may take (10).")  # fmt: skip
@click.option("--record", metavar="FILE", help="Keep what is asked and answered in a new cassette.")
@click.option("--json", "as_json", is_flag=True, help="The report as one JSON object.")
def test_command(
    words: tuple[str, ...],
    pairs: tuple[str, ...],
    folder: str,
    locations: int,
    rows: int,
    timeout: float,
    patience: float,
    record: str | None,
    as_json: bool,
) -> None:
    """Ask a connector everything that a host may ask, and report. Exit code 1 where a check has failed.

    The connector is `module:Class` (both in a process of its own and as python::), the command that starts it
    (`planets.py`, `node squares.mjs`; its own options after `--`), or any URI. It is run: naming it here allows its
    code.
    """
    target = words[0] if len(words) == 1 else shlex.join(words)
    given = _arguments(pairs)
    begin = time.monotonic()
    results: list[Result] = []
    said: list[str] = []
    with reported(target, as_json, page=CONNECTORS):
        from qanat.bundle._needs import need

        need("pyarrow", "qanat connector test")
        from qanat.connector_kit.kit import Options, Subject, examine

        options = Options(given, folder, timeout, patience, locations, rows)
        subject = Subject(target, options)
        try:
            # What a connector in this process prints is none of the report.
            with contextlib.redirect_stdout(sys.stderr) if as_json else contextlib.nullcontext():
                for result in examine(subject):
                    results.append(result)
                    if not as_json:
                        _show(result)
                if record is not None:
                    said.append(_record(subject, record))
        except KeyboardInterrupt:
            click.echo("interrupted: nothing is left running", err=True)
            sys.exit(EXIT_INTERRUPTED)
        finally:
            subject.finish()
    counts = Counter(result.status for result in results)
    if as_json:
        checks = [result.as_dict() for result in results]
        click.echo(json.dumps({"ok": not counts["failed"], "connector": target, "counts": counts, "checks": checks}))
    else:
        for line in said:
            click.echo(escaped(line))
        shown = ", ".join(f"{counts[status]} {status}" for status in _MARKS if counts[status] or status == "passed")
        click.echo(f"{shown} in {time.monotonic() - begin:.1f} s")
    sys.exit(EXIT_FAILED if counts["failed"] else 0)
