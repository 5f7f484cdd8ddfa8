"""`qanat query URI SQL`."""

from __future__ import annotations

import errno
import json
import os
import re
import sys
import tomllib
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from qanat.cli.outcome import EXIT_INTERRUPTED, counted, fail, reported, say

if TYPE_CHECKING:
    from qanat import Connection, DatabaseConfig, Stream
    from qanat.cli.save import Rows

FORMATS = ("parquet", "csv", "json", "jsonl", "arrow")
SUFFIXES = {".parquet": "parquet", ".csv": "csv", ".json": "json", ".jsonl": "jsonl", ".ndjson": "jsonl"}
SUFFIXES |= {".arrow": "arrow", ".ipc": "arrow", ".feather": "arrow"}
SHOWN_ROWS = 20

NULL = "null:"  # TOML has none

PLACEHOLDERS = {"ArgumentError": "give every placeholder a value: -p VALUE for ?, -p NAME=VALUE for :NAME"}
CANNOT_WRITE = {
    errno.ENOENT: "make the folder first, or name a file in one that is there",
    errno.ENOSPC: "make room, or name a file elsewhere",
}

_NAMED = re.compile(r"([A-Za-z_]\w*)=(.*)", re.DOTALL)


def parse_value(text: str) -> Any:
    """A value as TOML writes it (5, 1.5, true, 2013-01-31, "text"), null:, otherwise the text itself."""
    if text == NULL:
        return None
    try:
        parsed = tomllib.loads(f"value = {text}")
    except (tomllib.TOMLDecodeError, ValueError, RecursionError):
        return text
    value = parsed["value"]
    return text if set(parsed) != {"value"} or isinstance(value, dict | list) else value


def parse_params(sql: str, given: tuple[str, ...]) -> list[Any] | dict[str, Any] | None:
    """By position; by name where every one is written name=value and the statement has :name."""
    matches = [_NAMED.fullmatch(text) for text in given]
    named = {match.group(1): match.group(2) for match in matches if match is not None}
    if given and len(named) == len(given) and all(re.search(rf"(?<!:):{name}\b", sql) for name in named):
        return {name: parse_value(text) for name, text in named.items()}
    return [parse_value(text) for text in given] or None


def format_of(output: str, given: str | None) -> str:
    if given is not None:
        return given
    found = SUFFIXES.get(Path(output).suffix.lower())
    if found is None:
        raise click.UsageError(f"the format of {output!r} is not known by its ending: say --format {'|'.join(FORMATS)}")
    return found


def _show(stream: Stream, limit: int) -> None:
    from qanat.cli.table import show_stream

    show_stream(stream, limit)


def save(stream: Rows, output: str, form: str, as_json: bool) -> int:
    """Write all rows; a file is replaced only when all of them are there."""
    from qanat.cli.save import save_stream

    if output == "-":
        return save_stream(stream, sys.stdout.buffer, form)
    target = Path(output)
    part = target.with_name(f".{target.name}.{os.getpid()}.part")
    try:
        with part.open("wb") as file:
            rows = save_stream(stream, file, form)
        part.replace(target)
    except OSError as error:
        from qanat.errors import QanatError

        hint = CANNOT_WRITE.get(error.errno or 0, "name a file that you may write")
        fail(QanatError(f"cannot write: {error.strerror or error}", hint=hint), output, as_json)
    finally:
        part.unlink(missing_ok=True)
    return rows


def _careful(config: DatabaseConfig) -> DatabaseConfig:
    """A SQLite file that is not there is not made by asking it."""
    from qanat import DatabaseConfig

    if config.db_type == "sqlite" and config.path not in (None, "", ":memory:") and "create" not in config.options:
        return DatabaseConfig.from_dict({**config.to_dict(), "create": "false"})
    return config


def _tell_affected(rows: int, as_json: bool) -> None:
    """How a statement without rows ended; -1: the database does not say how many rows it concerned."""
    text = "done; the statement returns no rows" if rows < 0 else f"done: {counted(rows, 'row')} affected"
    shown = json.dumps({"ok": True, "rows_affected": rows if rows >= 0 else None}) if as_json else text
    say(shown, f"the statement was carried out ({text})")


def _run(
    connection: Connection, sql: str, params: Any, output: str | None, form: str | None, limit: int, as_json: bool
) -> None:
    with connection.stream(sql, params) as stream:
        if not stream.schema.names:
            for _ in stream:
                pass
            _tell_affected(connection.rowcount, as_json)
        elif output is not None and form is not None:
            rows = save(stream, output, form, as_json)
            if output != "-":
                click.echo(f"{counted(rows, 'row')} in {output}", err=True)
        else:
            _show(stream, limit)


@click.command("query")
@click.argument("uri")
@click.argument("sql")
@click.option(
    "-p", "--param", "given", metavar="VALUE", multiple=True, help="A parameter: VALUE for ?, NAME=VALUE for :NAME."
)
@click.option(
    "-o", "--output", metavar="FILE", help="Save all rows: .parquet .csv .json .jsonl .arrow, or - for standard output."
)
@click.option(
    "--format", "form", type=click.Choice(FORMATS), help="The format of FILE, where its ending does not tell."
)
@click.option(
    "--rows", "limit", type=click.IntRange(0), default=SHOWN_ROWS, show_default=True, help="How many rows to show."
)
@click.option("--json", "as_json", is_flag=True, help="All rows as a JSON array on standard output.")
def command(
    uri: str, sql: str, given: tuple[str, ...], output: str | None, form: str | None, limit: int, as_json: bool
) -> None:
    """Run a statement and show its rows, or save them with -o.

    URI is sqlite:///file.db or postgresql://user@host/database. Memory stays bounded whatever the size of the result.
    """
    if as_json and output is None:
        output, form = "-", "json"
    if output is not None:
        form = format_of(output, form)
    params = parse_params(sql, given)
    try:
        with reported("the URI", as_json, planning=True):
            from qanat import DatabaseConfig

            config = DatabaseConfig.from_uri(uri)
        where = config._native.to_uri(False)
        with reported(where, as_json, known=PLACEHOLDERS), _careful(config).connect() as connection:
            _run(connection, sql, params, output, form, limit, as_json)
    except KeyboardInterrupt:
        click.echo("interrupted: the statement was cancelled", err=True)
        sys.exit(EXIT_INTERRUPTED)
