"""`qanat bundle ...`: each command opens the bundle, does one thing and commits it."""

from __future__ import annotations

import json
import re
import signal
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, TypeVar, cast

import click

from qanat.cli import bundle_report as report
from qanat.cli.command_query import FORMATS, SHOWN_ROWS, format_of, parse_value, save
from qanat.cli.outcome import BUNDLES, EXIT_FAILED, EXIT_INTERRUPTED, counted, escaped, fail, hint_of, reported

if TYPE_CHECKING:
    from qanat.bundle import Bundle, FetchResults
    from qanat.errors import QanatError

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
    text = "Let connectors run that are code from outside (all but files, http and database): they need it."
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
        with reported(path, as_json, known=KNOWN, page=BUNDLES), qn.open(path, version, config) as bundle:
            for name, uri in named:
                bundle.import_temp_connector(name, uri)
            yield bundle
    except KeyboardInterrupt:
        if as_json:
            click.echo(json.dumps({"ok": False, "interrupted": True}))
        click.echo("interrupted: nothing was committed", err=True)
        sys.exit(EXIT_INTERRUPTED)


# ---- changing ----


@command.command("create")
@_path
@_json
def create(path: str, as_json: bool) -> None:
    """Make a bundle in a folder that is not there or is empty."""
    import qanat as qn

    with reported(path, as_json, page=BUNDLES), qn.create(path) as bundle:
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


@command.command("drop-connector")
@_path
@click.argument("name")
@click.option(
    "--platform", metavar="OS/ARCH", help="Only what is there for this one; otherwise the connector as a whole."
)
@_message
@_json
def drop_connector(path: str, name: str, platform: str | None, message: str | None, as_json: bool) -> None:
    """Forget a connector's name."""
    with _opened(path, as_json) as bundle:
        bundle.drop_connector(name, platform)
        version = bundle.commit(message or f"drop connector {name}")
        report.done(as_json, f"{name} is no connector any more (version {version})", version=version)


@command.command("rename-connector")
@_path
@click.argument("name")
@click.argument("new_name")
@_message
@_json
def rename_connector(path: str, name: str, new_name: str, message: str | None, as_json: bool) -> None:
    """Give a connector another name."""
    with _opened(path, as_json) as bundle:
        bundle.rename_connector(name, new_name)
        version = bundle.commit(message or f"rename connector {name} to {new_name}")
        report.done(as_json, f"{name} is {new_name} now (version {version})", version=version)


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
    """Have a connector feed a pack. CONNECTOR is an imported name, files, http or database.

    A connector that is code from outside runs here already, to check its arguments: that needs --allow-external-code.
    """
    arguments = dict(_pair(one, "an argument") for one in given)
    with _opened(path, as_json, None, allow, temporary) as bundle:
        made = bundle.create_source(connector, arguments, pack, save_as=save_as)
        version = bundle.commit(message or f"create source of {connector} for {pack}")
        report.done(as_json, f"source {made} feeds {pack} (version {version})", version=version, source_id=made)


@command.command("drop-source")
@_path
@click.argument("source_id")
@_message
@_json
def drop_source(path: str, source_id: str, message: str | None, as_json: bool) -> None:
    """Forget a source, by its id (`status` shows it). What it delivered stays."""
    with _opened(path, as_json) as bundle:
        bundle.drop_source(source_id)
        version = bundle.commit(message or f"drop source {source_id}")
        report.done(as_json, f"source {source_id} is dropped (version {version})", version=version)


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

    A location or a source that fails is set aside; the others are committed all the same. The exit code is then 1, or 0
    with --on-error quarantine; --retry fetches what was set aside again. After Ctrl-C, what had finished is committed.
    """
    from qanat.errors import QanatError

    problem: QanatError | KeyboardInterrupt | None = None
    handling = cast(Literal["raise", "quarantine"], on_error)
    with _opened(path, as_json, None, allow, temporary) as bundle:
        progress = not as_json
        try:
            if retry:
                bundle.retry(None if all_packs else pack, progress, handling, parallel=parallel)
            elif all_packs:
                bundle.fetch_all(mode, dry_run, progress, handling, parallel=parallel)
            else:
                bundle.fetch(pack, mode, dry_run, progress, handling, parallel=parallel)
        except (QanatError, KeyboardInterrupt) as error:
            problem = error
        results = bundle._last_results()
        if problem is not None and (results is None or _nothing_came(results, problem)):
            raise problem
        assert results is not None
        version = bundle.version
        if not dry_run:
            with _uninterrupted():  # it takes a moment, and says what was kept
                version = bundle.commit(message or f"fetch {'all packs' if all_packs else pack}")
        _end_fetch(results, problem, version, path, dry_run, handling, as_json)


def _source_failed(results: FetchResults) -> list[bool]:
    return [any(not failure.location for failure in result.failed) for result in results]


def _nothing_came(results: FetchResults, problem: QanatError | KeyboardInterrupt) -> bool:
    """Whether there is nothing to be kept: no location, nor the word that one has failed."""
    if isinstance(problem, KeyboardInterrupt):
        return results.total_count() == 0
    return all(_source_failed(results))


@contextmanager
def _uninterrupted() -> Iterator[None]:
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)


def _end_fetch(
    results: FetchResults,
    problem: QanatError | KeyboardInterrupt | None,
    version: int,
    path: str,
    dry_run: bool,
    on_error: str,
    as_json: bool,
) -> None:
    """Say what was done, and exit by how it ended."""
    if isinstance(problem, KeyboardInterrupt):
        report.fetched(results, version, dry_run, as_json, interrupted=True)
        number = results.total_count()
        kept = f"{counted(number, 'location')} {'was' if number == 1 else 'were'} committed (version {version})"
        click.echo(f"interrupted: {'nothing was changed, a dry run' if dry_run else kept}", err=True)
        sys.exit(EXIT_INTERRUPTED)
    ended = problem is not None and str(problem) not in {failure.error for failure in results.failed}
    if problem is not None and ended:
        fail(problem, path, as_json, known=KNOWN, page=BUNDLES, **report.fetched_members(results, version, dry_run))
    report.fetched(results, version, dry_run, as_json)
    if problem is not None or (results.failed and on_error == "raise"):
        if problem is not None and problem.hint:
            click.echo(f"  fix: {escaped(hint_of(problem))}", err=True)
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


@command.command("remove")
@_path
@click.argument("locations", metavar="LOCATION...", nargs=-1, required=True)
@_pack
@_message
@_json
def remove(path: str, locations: tuple[str, ...], pack: str, message: str | None, as_json: bool) -> None:
    """Take locations out of a pack. Older versions still have them."""
    with _opened(path, as_json) as bundle:
        for location in locations:
            bundle.remove(location, pack)
        number = counted(len(locations), "location")
        version = bundle.commit(message or f"remove {number} from {pack}")
        report.done(as_json, f"removed {number} from {pack} (version {version})", version=version)


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


@command.command("failures")
@_path
@_version
@_json
def failures(path: str, version: str | None, as_json: bool) -> None:
    """Show what fetches have set aside, with the errors: `fetch --retry` fetches it again."""
    with _opened(path, as_json, version) as bundle:
        report.failures(bundle.failures(), as_json)


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

    with reported(path, as_json, known=KNOWN, page=BUNDLES):  # not opened: a log that is damaged may not let itself be
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
