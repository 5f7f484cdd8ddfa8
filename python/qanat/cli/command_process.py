"""`qanat process debug STATEMENT`: run a statement on a sample, and see everything."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from qanat.cli.outcome import EXIT_FAILED, EXIT_INTERRUPTED, reported, say

if TYPE_CHECKING:
    import polars as pl

SHOWN_ROWS = 20
READERS = {".csv": "csv", ".parquet": "parquet", ".json": "json", ".jsonl": "jsonl", ".ndjson": "jsonl"}
OPTIONS = "see `qanat process debug --help` for what the options take"
FORMS = "{} is name=Type,name=Type, the name of a schema, or a JSON object"
ADVICE = {
    "ArgumentError": OPTIONS,
    "ConfigurationError": OPTIONS,
    "FileError": "give the path of a statement that can be read",
    "StatementError": "correct the statement; docs/guides/processor.md has the rules of the language",
}


def _frame(file: Path, form: str) -> pl.DataFrame:
    import polars as pl

    if form == "csv":
        return pl.read_csv(file, infer_schema_length=None, try_parse_dates=True)
    return pl.read_parquet(file)


def _json_rows(file: Path, form: str) -> list[Any]:
    text = file.read_text(encoding="utf-8-sig")
    if form == "jsonl":
        return [json.loads(line) for line in text.splitlines() if line.strip()]
    rows = json.loads(text)
    if not isinstance(rows, list):
        raise ValueError("it must be an array of objects")
    return rows


def read_input(name: str) -> Any:
    """The rows of a file, by its ending: a frame, or a list of dicts. What is wrong with it is a ConfigurationError."""
    import polars as pl

    from qanat.errors import ConfigurationError

    file = Path(name)
    form = READERS.get(file.suffix.lower())
    if form is None:
        raise click.BadParameter(f"the format of {name!r} is not known by its ending: {', '.join(READERS)}")
    try:
        return _frame(file, form) if form in ("csv", "parquet") else _json_rows(file, form)
    except (OSError, ValueError, RecursionError, pl.exceptions.PolarsError) as error:
        reason = str(error).partition("\n")[0]
        raise ConfigurationError(f"cannot read {name!r}: {reason}") from None


def parse_schema(text: str | None, what: str) -> Any:
    """`id=Int64!,name=Utf8`, a JSON object, or the name of a schema; None where nothing is given."""
    if text is None:
        return None
    if text.lstrip().startswith("{"):
        try:
            table = json.loads(text)
        except ValueError as error:
            raise click.BadParameter(f"{what} is not valid JSON: {error}") from None
        return table
    if "=" not in text and set(text) & set(":,<[( "):
        raise click.BadParameter(FORMS.format(what))
    return dict(_fields(text, what)) if "=" in text else text.strip()


def _fields(text: str, what: str) -> list[tuple[str, str]]:
    """Split at the commas outside of brackets."""
    parts, depth, start = [], 0, 0
    for at, character in enumerate(text):
        depth += (character in "(<[") - (character in ")>]")
        if character == "," and depth == 0:
            parts.append(text[start:at])
            start = at + 1
    pairs = [part.partition("=") for part in [*parts, text[start:]]]
    for name, equals, kind in pairs:
        if not (name.strip() and equals and kind.strip()):
            raise click.BadParameter(FORMS.format(what))
    return [(name.strip(), kind.strip()) for name, _, kind in pairs]


@click.group("process")
def command() -> None:
    """Work with the Python statements of processors."""


@command.command("debug")
@click.argument("statement", metavar="STATEMENT.py", type=click.Path(dir_okay=False))
@click.option("--input", "input_file", metavar="FILE", required=True, help="Rows: .json, .jsonl, .csv or .parquet.")
@click.option(
    "--output-schema", metavar="SCHEMA", required=True, help="name=Type,... or the name of a schema in schemas/."
)
@click.option("--input-schema", metavar="SCHEMA", help="The same for the input, where it is to be checked.")
@click.option("--checkpoint", metavar="VALUE", help="DATA_CHECKPOINT, as TOML writes it (5, 2013-01-31, text).")
@click.option("--checkpoint-column", metavar="COLUMN", help="The output column whose last value would be stored.")
@click.option("--row", type=click.IntRange(0), help="Run on this row alone, counted from 0.")
@click.option("--mode", type=click.Choice(["row", "bulk"]), default="row", show_default=True)
@click.option("--concurrency", type=int, default=1, show_default=True, help="Rows in flight while they await.")
@click.option("--batch-rows", type=int, help="Bulk: rows of one call; otherwise one call for the whole input.")
@click.option("--allow", metavar="MODULE", multiple=True, help="Module for imports, not the list; repeatable.")
@click.option("--network", metavar="HOST:PORT", multiple=True, help="off, public, or what to reach; repeatable.")
@click.option("--timeout", type=float, default=30, show_default=True, help="Seconds of the statement.")
@click.option("--memory", default="512MB", show_default=True, help="Above the idle interpreter.")
@click.option("--runtime", default="default", show_default=True, help="The environment: see `qanat runtime list`.")
@click.option("--rows", "limit", type=click.IntRange(0), default=SHOWN_ROWS, show_default=True, help="Rows to show.")
@click.option("--json", "as_json", is_flag=True, help="Everything as one JSON object, with all rows.")
def debug_command(
    statement: str,
    input_file: str,
    output_schema: str,
    input_schema: str | None,
    checkpoint: str | None,
    checkpoint_column: str | None,
    row: int | None,
    network: tuple[str, ...],
    allow: tuple[str, ...],
    limit: int,
    as_json: bool,
    **limits: Any,
) -> None:
    """Run a statement on a sample: its rows, its log with lines, where the time went, memory, and the checkpoint.

    Nothing is stored. Exit code 1 where the run does not end well, 3 where the statement or an option is refused.
    """
    from qanat.cli.command_query import parse_value

    try:
        with reported(statement, as_json, planning=True, known=ADVICE):
            from qanat.processor import Processor

            processor = Processor(
                Path(statement),
                output=parse_schema(output_schema, "--output-schema"),
                input=parse_schema(input_schema, "--input-schema"),
                checkpoint=checkpoint_column,
                allow=allow or None,
                network=network[0] if len(network) == 1 and network[0] in ("off", "public") else list(network) or "off",
                **limits,
            )
        with reported(input_file, as_json, known=ADVICE):
            value = None if checkpoint is None else parse_value(checkpoint)
            result = processor.debug(read_input(input_file), value, row)
    except KeyboardInterrupt:
        click.echo("interrupted: the run was ended, nothing is stored", err=True)
        sys.exit(EXIT_INTERRUPTED)
    from qanat.cli.process_report import report_json_text

    say(report_json_text(result) if as_json else result.report(limit), f"the run ended as {result.status}")
    sys.exit(0 if result.ok else EXIT_FAILED)
