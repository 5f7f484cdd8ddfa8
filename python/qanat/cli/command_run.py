"""`qanat run TASK.toml`."""

from __future__ import annotations

import tomllib
from typing import Any

import click

from qanat.cli.outcome import TASKS, reported


def parse_setting(text: str) -> tuple[str, Any]:
    """`sink.mode=upsert`: the value as TOML has it where it is TOML (numbers, booleans, arrays), otherwise a text."""
    key, equals, value = text.partition("=")
    if not equals or not key.strip():
        raise click.BadParameter(f"{text!r} is not key.path=value")
    try:
        parsed = tomllib.loads(f"value = {value}")
    except (tomllib.TOMLDecodeError, ValueError, RecursionError):
        return key.strip(), value
    return key.strip(), parsed["value"] if set(parsed) == {"value"} else value


@click.command("run")
@click.argument("task_file", metavar="TASK.toml", type=click.Path(dir_okay=False))
@click.option("--full", is_flag=True, help="Start from checkpoint.initial, whatever is stored.")
@click.option(
    "--set", "settings", metavar="KEY.PATH=VALUE", multiple=True, help="Set a key of the task file for this run."
)
@click.option(
    "--allow-external-code",
    is_flag=True,
    help="Let a connector run that is not built in (as QANAT_SYSTEM_ALLOW_EXTERNAL_CODE=true does).",
)
@click.option("--json", "as_json", is_flag=True, help="Say how it ended as one JSON object.")
def command(task_file: str, full: bool, settings: tuple[str, ...], allow_external_code: bool, as_json: bool) -> None:
    """Run a task file once: move what is new.

    The rows and the checkpoint are committed together, so a run that was stopped at any instant is simply run again.
    """
    overrides = dict(parse_setting(setting) for setting in settings)
    with reported(task_file, as_json, planning=True, page=TASKS):
        from qanat.task import Task

        task = Task.load(task_file, overrides)
    from qanat.cli.run_report import run_task

    run_task(task, task_file, full, as_json, allow_external_code=allow_external_code or None)
