"""`qanat bundle ...`: each command opens the bundle, does one thing and commits it."""

from __future__ import annotations

import re
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

from qanat.cli import bundle_report as report
from qanat.cli.command_query import FORMATS, SHOWN_ROWS, format_of, parse_value, save
from qanat.cli.outcome import EXIT_FAILED, EXIT_INTERRUPTED, counted, reported

if TYPE_CHECKING:
    from qanat.bundle import Bundle, FetchResults

_F = TypeVar("_F", bound=Callable[..., Any])

KNOWN = {
    "ConflictError": "look at what the other writer changed (`qanat bundle log`), then run it again",
    "DataError": "`qanat bundle verify` says what is damaged",
}


@click.group("bundle", context_settings={"help_option_names": ["-h", "--help"]})
def command() -> None:
    """Keep what connectors deliver as tables with a history.

    PATH is the bundle's folder. Commands that change something commit it at once; -m gives the commit its message.
    """


# ---- options ----


def _path(function: _F) -> _F:
    return click.argument("path")(function)


def _json(function: _F) -> _F:
    return click.option("--json", "as_json", is_flag=True, help="One JSON document on standard output.")(function)


def _message(function: _F) -> _F:
    return click.option("-m", "--message", metavar="TEXT", help="The commit's message.")(function)


def _pack(function: _F) -> _F:
    return click.option("--pack", default="base", show_default=True, help="Which table of the bundle.")(function)


def _allow(function: _F) -> _F:
    text = "Let connectors run that are code from outside, as QANAT_SYSTEM_ALLOW_EXTERNAL_CODE=true does."
    return click.option("--allow-external-code", "allow", is_flag=True, help=text)(function)


def _temporary(function: _F) -> _F:
    text = "A connector for this command only: acme.weather=ipc::weather.py, shop.orders=python::shop:Orders."
    return click.option("--connector", "temporary", metavar="NAME=URI", multiple=True, help=text)(function)


def _version(function: _F) -> _F:
    text = "An older version: a number, the beginning of a hash, or a time."
    return click.option("--version", "version", metavar="VERSION", help=text)(function)


def _columns(function: _F) -> _F:
    text = "Only these, with commas between; _location, _version and _commit say where a row came from."
    return click.option("--columns", metavar="NAMES", help=text)(function)


def _pair(text: str, what: str) -> tuple[str, str]:
    name, equals, value = text.partition("=")
    if not equals or not name:
        raise click.UsageError(f"{what} is NAME=VALUE, not {text!r}")
    return name, value


def _names(columns: str | None) -> list[str] | None:
    return None if columns is None else [name.strip() for name in columns.split(",")]


@contextmanager
def _opened(
    path: str, as_json: bool, version: str | None = None, allow: bool = False, temporary: tuple[str, ...] = ()
) -> Iterator[Bundle]:
    """The bundle; what the library says against it ends the command."""
    import qanat as qn

    named = [_pair(one, "--connector") for one in temporary]
    config = {"system": {"allow_external_code": "true"}} if allow else None
    try:
        with reported(path, as_json, known=KNOWN), qn.open(path, version, config) as bundle:
            for name, uri in named:
                bundle.import_temp_connector(name, uri)
            yield bundle
    except KeyboardInterrupt:
        click.echo("interrupted: nothing was committed", err=True)
        sys.exit(EXIT_INTERRUPTED)


# ---- changing ----


@command.command("create")
@_path
@_json
def create(path: str, as_json: bool) -> None:
    """Make a bundle in a folder that is not there or is empty."""
    import qanat as qn

    with reported(path, as_json), qn.create(path) as bundle:
        report.done(as_json, f"made {path}", version=bundle.version)


@command.command("import")
@_path
@click.argument("name")
@click.argument("uri")
@click.option("--platform", metavar="OS/ARCH", help='Only there: "linux/amd64".')
@_message
@_json
def import_(path: str, name: str, uri: str, platform: str | None, message: str | None, as_json: bool) -> None:
    """Name a connector: `qanat bundle import data acme.weather ffi::./weather.so`."""
    with _opened(path, as_json) as bundle:
        bundle.import_connector(name, uri, platform)
        version = bundle.commit(message or f"import connector {name}")
        report.done(as_json, f"{name} is {uri} (version {version})", version=version)


@command.command("source")
@_path
@click.argument("connector")
@click.option("-a", "--argument", "given", metavar="NAME=VALUE", multiple=True, help="An argument of the connector.")
@_pack
@click.option("--save-as", default="parquet", show_default=True, type=click.Choice(("parquet", "arrow")))
@_message
@_allow
@_temporary
@_json
def source(
    path: str,
    connector: str,
    given: tuple[str, ...],
    pack: str,
    save_as: str,
    message: str | None,
    allow: bool,
    temporary: tuple[str, ...],
    as_json: bool,
) -> None:
    """Have a connector feed a pack. CONNECTOR is an imported name, files, http or database."""
    arguments = dict(_pair(one, "an argument") for one in given)
    with _opened(path, as_json, None, allow, temporary) as bundle:
        made = bundle.create_source(connector, arguments, pack, save_as=save_as)
        version = bundle.commit(message or f"create source of {connector} for {pack}")
        report.done(as_json, f"source {made} feeds {pack} (version {version})", version=version, source_id=made)


@command.command("fetch")
@_path
@click.argument("pack", default="base")
@click.option("--all", "all_packs", is_flag=True, help="All packs.")
@click.option("--mode", type=click.Choice(("add", "update", "sync")), default="add", show_default=True)
@click.option("--dry-run", is_flag=True, help="Say what would change; nothing does.")
@click.option("--retry", is_flag=True, help="Only what failed before.")
@click.option("--on-error", type=click.Choice(("raise", "quarantine")), default="raise", show_default=True)
@click.option("--parallel", type=click.IntRange(1), help="How many locations at a time.")
@_message
@_allow
@_temporary
@_json
def fetch(
    path: str,
    pack: str,
    all_packs: bool,
    mode: Any,
    dry_run: bool,
    retry: bool,
    on_error: str,
    parallel: int | None,
    message: str | None,
    allow: bool,
    temporary: tuple[str, ...],
    as_json: bool,
) -> None:
    """Have the sources of a pack deliver, and commit what they did.

    A location that fails is set aside; the others are committed all the same. The exit code is then 1, or 0 with
    --on-error quarantine; --retry fetches what was set aside again.
    """
    with _opened(path, as_json, None, allow, temporary) as bundle:
        progress = not as_json
        results: FetchResults
        if retry:
            results = bundle.retry(None if all_packs else pack, progress, "quarantine", parallel=parallel)
        elif all_packs:
            results = bundle.fetch_all(mode, dry_run, progress, "quarantine", parallel=parallel)
        else:
            results = bundle.fetch(pack, mode, dry_run, progress, "quarantine", parallel=parallel)
        version = bundle.version
        if not dry_run:
            version = bundle.commit(message or f"fetch {'all packs' if all_packs else pack}")
        report.fetched(results, version, dry_run, as_json)
        if results.failed and on_error == "raise":
            sys.exit(EXIT_FAILED)


@command.command("commit")
@_path
@click.argument("files", nargs=-1, required=True)
@_pack
@click.option("--replace", is_flag=True, help="Replace what is there under these names.")
@_message
@_json
def commit(path: str, files: tuple[str, ...], pack: str, replace: bool, message: str | None, as_json: bool) -> None:
    """Put files into a pack and commit them: .parquet .csv .jsonl .arrow. A file's location is its name."""
    with _opened(path, as_json) as bundle:
        rows = sum(bundle.put(Path(file).name, report.table_of(file), pack, replace=replace) for file in files)
        version = bundle.commit(message or f"put {counted(len(files), 'file')} into {pack}")
        said = f"{counted(rows, 'row')} of {counted(len(files), 'file')} in {pack} (version {version})"
        report.done(as_json, said, version=version, rows=rows)


@command.command("revert")
@_path
@click.argument("version")
@_message
@_json
def revert(path: str, version: str, message: str | None, as_json: bool) -> None:
    """Commit a new version that holds what VERSION held."""
    with _opened(path, as_json) as bundle:
        made = bundle.revert(version, message)
        report.done(as_json, f"version {made} holds what version {version} held", version=made)


# ---- looking ----


@command.command("log")
@_path
@click.option("-n", "number", type=click.IntRange(1), default=20, show_default=True, help="How many commits.")
@_json
def log(path: str, number: int, as_json: bool) -> None:
    """Show the newest commits, the newest first."""
    with _opened(path, as_json) as bundle:
        report.log(bundle.history(max(0, bundle.version - number + 1)), as_json)


@command.command("status")
@_path
@_version
@_json
def status(path: str, version: str | None, as_json: bool) -> None:
    """Show packs, connectors, sources and what has been set aside. Secrets are masked."""
    with _opened(path, as_json, version) as bundle:
        report.status(bundle, as_json)


@command.command("show")
@_path
@_pack
@_columns
@_version
@click.option("--rows", "limit", type=click.IntRange(0), default=SHOWN_ROWS, show_default=True, help="How many rows.")
@_json
def show(path: str, pack: str, columns: str | None, version: str | None, limit: int, as_json: bool) -> None:
    """Show the rows of a pack."""
    from qanat.cli.table import show_stream

    with _opened(path, as_json, version) as bundle, bundle.stream(_names(columns), pack) as stream:
        if as_json:
            save(stream, "-", "json", as_json)
        else:
            show_stream(stream, limit, "--rows N shows more, `qanat bundle export` saves all")


@command.command("export")
@_path
@click.option("-o", "--output", metavar="FILE", required=True, help="Where to, or - for standard output.")
@click.option("--format", "form", type=click.Choice(FORMATS), help="Where the ending of FILE does not tell.")
@_pack
@_columns
@_version
def export(path: str, output: str, form: str | None, pack: str, columns: str | None, version: str | None) -> None:
    """Save the rows of a pack: .parquet .csv .json .jsonl .arrow. Memory stays bounded."""
    form = format_of(output, form)
    with _opened(path, False, version) as bundle, bundle.stream(_names(columns), pack) as stream:
        rows = save(stream, output, form, False)
        click.echo(f"{counted(rows, 'row')} in {output}", err=True)


@command.command("sql")
@_path
@click.argument("query")
@click.option("-p", "--param", "given", metavar="VALUE", multiple=True, help="A value for ?, NAME=VALUE for $NAME.")
@click.option("--provenance", is_flag=True, help="The tables have _location, _version and _commit too.")
@click.option("-o", "--output", metavar="FILE", help="Save the rows: .parquet .csv .json .jsonl .arrow, or -.")
@click.option("--format", "form", type=click.Choice(FORMATS), help="Where the ending of FILE does not tell.")
@click.option("--rows", "limit", type=click.IntRange(0), default=SHOWN_ROWS, show_default=True, help="How many rows.")
@_version
@_json
def sql(
    path: str,
    query: str,
    given: tuple[str, ...],
    provenance: bool,
    output: str | None,
    form: str | None,
    limit: int,
    version: str | None,
    as_json: bool,
) -> None:
    """Run a query in DuckDB; the packs are its tables."""
    from qanat.cli.table import show_stream

    if as_json and output is None:
        output, form = "-", "json"
    if output is not None:
        form = format_of(output, form)
    with _opened(path, as_json, version) as bundle:
        rows = report.Frame(bundle.sql(query, _params(query, given), provenance))
        if output is None or form is None:
            show_stream(rows, limit)
        else:
            number = save(rows, output, form, as_json)
            if output != "-":
                click.echo(f"{counted(number, 'row')} in {output}", err=True)


def _params(query: str, given: tuple[str, ...]) -> list[Any] | dict[str, Any] | None:
    """By position; by name where every one is NAME=VALUE and the query has $NAME."""
    pairs = [one.partition("=") for one in given]
    if given and all(equals and re.search(rf"\${re.escape(name)}\b", query) for name, equals, _ in pairs):
        return {name: parse_value(value) for name, _, value in pairs}
    return [parse_value(one) for one in given] or None


# ---- keeping it well ----


@command.command("verify")
@_path
@_json
def verify(path: str, as_json: bool) -> None:
    """Read everything again. Exit code 1 says that something is wrong."""
    from qanat import _native
    from qanat.bundle._results import problems

    with reported(path, as_json, known=KNOWN):  # not opened: a log that is damaged may not let itself be
        found = problems(_native.Bundle.verify(path))
    report.verified(found, path, as_json)
    if found:
        sys.exit(EXIT_FAILED)


@command.command("gc")
@_path
@click.option("--min-age", type=click.FloatRange(0), default=86400.0, show_default=True, help="Seconds to leave alone.")
@click.option("--keep-versions", type=click.IntRange(1), help="Only the newest N keep their blocks; all otherwise.")
@_json
def gc(path: str, min_age: float, keep_versions: int | None, as_json: bool) -> None:
    """Remove blocks that no version needs, and what writers that died have left."""
    with _opened(path, as_json) as bundle:
        report.collected(bundle.gc(min_age, keep_versions), as_json)


@command.command("mirror")
@_path
@click.argument("kind", type=click.Choice(("delta",)), default="delta")
@_pack
@_json
def mirror(path: str, kind: Any, pack: str, as_json: bool) -> None:
    """Write the history of a pack as a Delta table, for other engines."""
    with _opened(path, as_json) as bundle:
        made = bundle.mirror(kind, pack)
        said = f"{made.path} is a Delta table at version {made.version}"
        report.done(as_json, said, path=str(made.path), version=made.version, versions=made.versions)
