"""`qanat runtime`: the environments that statements run in."""

from __future__ import annotations

import json

import click

from qanat.cli.outcome import reported


@click.group("runtime")
def command() -> None:
    """Make, show, check and remove the environments that statements run in."""


@command.command("describe")
@click.argument("name", default="default")
def describe_command(name: str) -> None:
    """Print what a runtime is made of and what of this machine it may see, as JSON."""
    with reported(f"runtime {name}", False):
        from qanat import _runtime

        description = _runtime.describe(name)
    click.echo(json.dumps(description, indent=2))
