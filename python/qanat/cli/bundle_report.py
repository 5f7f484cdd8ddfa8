"""What the commands of `qanat bundle` say."""

from __future__ import annotations

import dataclasses
import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from qanat.cli.outcome import counted, escaped, say

if TYPE_CHECKING:
    import polars as pl

    from qanat.bundle import Bundle, Collected, Commit, Failure, FetchResults, Problem

_SECRET = re.compile(r"password|passwd|secret|token|credential|api_?key|authorization", re.IGNORECASE)
_IN_URI = re.compile(r"(://[^/\s:@]*):[^/\s@]*@")
MASK = "***"


class Frame:
    """A frame as rows that can be shown and saved."""

    def __init__(self, frame: pl.DataFrame) -> None:
        self._frame = frame

    @property
    def schema(self) -> pl.Schema:
        return self._frame.schema

    def __iter__(self) -> Iterator[pl.DataFrame]:
        return self._frame.iter_slices(65536)


def done(as_json: bool, text: str, **members: Any) -> None:
    say(json.dumps({"ok": True, **members}) if as_json else escaped(text), text)


def masked(values: dict[str, Any]) -> dict[str, Any]:
    """Arguments or configuration without what is secret: by the name, and passwords inside of URIs."""
    return {
        name: MASK if _SECRET.search(name) else _IN_URI.sub(rf"\1:{MASK}@", value) if isinstance(value, str) else value
        for name, value in values.items()
    }


def table_of(file: str) -> Any:
    """The rows of a file, by its ending."""
    import polars as pl

    from qanat.errors import FileError, NotSupportedError

    readers = {
        ".parquet": pl.read_parquet,
        ".csv": pl.read_csv,
        ".jsonl": pl.read_ndjson,
        ".ndjson": pl.read_ndjson,
        ".arrow": pl.read_ipc,
        ".ipc": pl.read_ipc,
        ".feather": pl.read_ipc,
    }
    reader: Any = readers.get(Path(file).suffix.lower())
    if reader is None:
        raise NotSupportedError(f"{file}: its ending is none of {', '.join(readers)}")
    try:
        return reader(file)
    except OSError as error:
        raise FileError(f"cannot read {file}: {error.strerror or error}") from error
    except pl.exceptions.PolarsError as error:
        raise FileError(f"cannot read {file}: {error}") from error


def log(commits: list[Commit], as_json: bool) -> None:
    newest_first = list(reversed(commits))
    from qanat.bundle._tables import counted_changes

    if as_json:
        click.echo(json.dumps([{**dataclasses.asdict(c), "timestamp": c.timestamp.isoformat()} for c in newest_first]))
        return
    for commit in newest_first:
        when = commit.timestamp.strftime("%Y-%m-%d %H:%M:%S")
        changes = counted_changes(commit.changes)
        click.echo(f"{commit.version:>6}  {commit.hash[:12]}  {when}  {escaped(commit.message)} ({changes})")


def status(bundle: Bundle, as_json: bool) -> None:
    said = bundle.describe()
    sources = [{**source, "arguments": masked(source["arguments"])} for source in said.sources]
    if as_json:
        document = {
            "version": bundle.version,
            "packs": [dataclasses.asdict(pack) for pack in said.packs],
            "connectors": said.connectors,
            "sources": sources,
            "config": masked(said.config),
            "checkpoints": said.checkpoints,
            "failures": [dataclasses.asdict(failure) for failure in said.failures],
        }
        click.echo(json.dumps(document, default=str))
        return
    click.echo(f"version {bundle.version}")
    for pack in said.packs:
        rows = "rows not counted" if pack.rows is None else counted(pack.rows, "row")
        click.echo(f"pack {escaped(pack.name)}: {rows}, {counted(pack.blocks, 'location')}")
    for connector in said.connectors:
        for platform, uri in connector["platforms"].items():
            where = f" ({platform})" if platform else ""
            click.echo(f"connector {escaped(connector['name'])}{escaped(where)}: {escaped(str(uri))}")
    for source in sources:
        arguments = " ".join(f"{name}={value}" for name, value in source["arguments"].items())
        click.echo(escaped(f"source {source['id']}: {source['connector']} -> {source['pack']} {arguments}".rstrip()))
    for failure in said.failures:
        click.echo(_failure_line(failure))


def fetched_members(results: FetchResults, version: int, dry_run: bool) -> dict[str, Any]:
    return {"version": version, "dry_run": dry_run, "results": [dataclasses.asdict(result) for result in results]}


def fetched(results: FetchResults, version: int, dry_run: bool, as_json: bool, *, interrupted: bool = False) -> None:
    if as_json:
        ended = {"interrupted": True} if interrupted else {}
        members = fetched_members(results, version, dry_run)
        click.echo(json.dumps({"ok": not results.failed and not interrupted, **ended, **members}))
        return
    verb = "would be " if dry_run else ""
    for result in results:
        counts = f"{len(result.added):,} added, {len(result.replaced):,} replaced, {len(result.removed):,} removed"
        more = f", {len(result.failed):,} failed" if result.failed else ""
        more += f", {len(result.vanished):,} vanished" if result.vanished else ""
        rows = "" if dry_run else f"; {counted(result.rows, 'row')} in {result.seconds:.2f} s"
        after = "" if result.rows_after is None else f"; {counted(result.rows_after, 'row')} {verb}in the pack"
        click.echo(escaped(f"{result.pack} from {result.connector}: {verb}{counts}{more}{rows}{after}"))
        for failure in result.failed:  # of no location: the source as a whole
            place = f"{failure.location}: " if failure.location else ""
            click.echo(escaped(f"failed: {place}{failure.error}"), err=True)
            for line in (failure.detail or "").splitlines():
                click.echo(escaped(f"    {line}"), err=True)
        for location in result.vanished:
            end = "" if dry_run else ", and is off the retry list"
            click.echo(escaped(f"vanished: {location} is reported no more{end}"))
    click.echo("nothing was changed: a dry run" if dry_run else f"version {version}")


def _failure_line(failure: Failure) -> str:
    tries = counted(failure.attempts, "time")
    place = " ".join(part for part in (failure.pack, failure.location) if part)
    return escaped(f"failed {tries}: {place}: {failure.error}")


def failures(found: list[Failure], as_json: bool) -> None:
    if as_json:
        click.echo(json.dumps([dataclasses.asdict(failure) for failure in found], default=str))
        return
    for failure in found:
        click.echo(_failure_line(failure))
    if not found:
        click.echo("nothing is set aside")


def verified(found: list[Problem], path: str, as_json: bool) -> None:
    if as_json:
        click.echo(json.dumps({"ok": not found, "problems": [dataclasses.asdict(problem) for problem in found]}))
        return
    for problem in found:
        blame = "" if problem.version is None else f" (version {problem.version})"
        click.echo(escaped(f"{problem.object}{blame}: expected {problem.expected}, found {problem.found}"))
    click.echo(f"{path}: {counted(len(found), 'problem')}" if found else f"{path}: all is well")


def collected(found: Collected, as_json: bool) -> None:
    blocks, left = counted(found.removed, "block"), counted(found.temporary, "leftover")
    text = f"removed {blocks} and {left}, {found.bytes:,} bytes"
    done(as_json, text, **dataclasses.asdict(found))
