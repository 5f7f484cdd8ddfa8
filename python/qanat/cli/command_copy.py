"""`qanat copy URI TABLE URI TABLE`: a task without a file and without a checkpoint."""

from __future__ import annotations

import click

from qanat.cli.outcome import reported

NEEDS_KEY = ("upsert", "ignore")
TABLE_IS_THERE = {"42P07": "--mode replace puts the rows in place of those that are there, --mode append adds them"}
MODES = ("append", "create", "replace", "truncate", "upsert", "ignore")


@click.command("copy")
@click.argument("source_uri")
@click.argument("source_table")
@click.argument("sink_uri")
@click.argument("sink_table")
@click.option(
    "--mode", type=click.Choice(MODES), default="append", show_default=True, help="What happens to rows that are there."
)
@click.option("--key", metavar="COLUMN[,COLUMN]", help="Which columns make a row the same one (upsert, ignore).")
@click.option("--json", "as_json", is_flag=True, help="Say how it ended as one JSON object.")
def command(
    source_uri: str, source_table: str, sink_uri: str, sink_table: str, mode: str, key: str | None, as_json: bool
) -> None:
    """Copy a table from one database into another, in one transaction.

    A table that is absent is created with the columns of the source.
    """
    if mode in NEEDS_KEY and not key:
        raise click.UsageError(f"--mode {mode} needs --key COLUMN[,COLUMN], which make a row the same one")
    sink = {"connection": "to", "table": sink_table, "mode": mode}
    plan = {
        "connections": {"from": {"uri": source_uri}, "to": {"uri": sink_uri}},
        "task": {"name": f"{source_table} to {sink_table}"},
        "source": {"connection": "from", "table": source_table},
        "sink": sink | ({"key": [part.strip() for part in key.split(",")]} if key else {}),
    }
    where = f"copy of {source_table} to {sink_table}"
    with reported(where, as_json, planning=True):
        from qanat.task import Task

        task = Task(plan)
    from qanat.cli.run_report import run_task

    run_task(task, where, False, as_json, TABLE_IS_THERE)
