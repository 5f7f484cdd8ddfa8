"""`qanat runtime`: the environments that statements run in."""

from __future__ import annotations

import dataclasses
import json
import sys
from pathlib import Path

import click

from qanat.cli.outcome import EXIT_FAILED, EXIT_INTERRUPTED, counted, escaped, reported

REFUSED = {"ConfigurationError": "see `qanat runtime --help`, and docs/guides/processor.md on runtimes"}
BROKEN = {**REFUSED, "QanatError": "the lines above say why; nothing was left behind"}


@click.group("runtime")
def command() -> None:
    """Make, show, check and remove the environments that statements run in."""


@command.command("create")
@click.argument("name")
@click.option("--requirements", metavar="FILE", type=click.Path(dir_okay=False), help="Packages, as pip reads them.")
@click.option("--python", metavar="PATH", help="The interpreter; otherwise one that is found.")
def create_command(name: str, requirements: str | None, python: str | None) -> None:
    """Make an environment of pinned packages from the package registry.

    The one named `standard` is CPython 3.11 with pandas, numpy, PyYAML, openai, deepdiff, python-jose, passlib, httpx
    and matplotlib, each at one version.
    """
    from qanat.errors import QanatError

    def say(text: str) -> None:
        click.echo(f"{name}: {escaped(text)}", err=True)

    try:
        with reported(f"runtime {name}", False, known=BROKEN):
            from qanat import _runtime_create

            try:
                place = _runtime_create.create(name, Path(requirements) if requirements else None, python, say)
            except QanatError as error:
                for line in (error.detail or "").splitlines():
                    say(line)
                raise
    except KeyboardInterrupt:
        click.echo("interrupted: nothing was left behind", err=True)
        sys.exit(EXIT_INTERRUPTED)
    click.echo(f"{name} is in {place}; `qanat runtime check {name}` tries it in the sandbox")


@command.command("list")
@click.option("--json", "as_json", is_flag=True, help="The same as a JSON array.")
def list_command(as_json: bool) -> None:
    """Show the environments that there are."""
    with reported("the runtimes", as_json):
        from qanat import _runtime

        there = [{"name": _runtime.DEFAULT, "python": _runtime.own_version(), "packages": None, "folder": None}]
        for name in _runtime.created():
            record = _runtime.record_of(name)
            folder = str(_runtime.runtimes_folder() / name)
            there.append(
                {"name": name, "python": record["full_version"], "packages": record["packages"], "folder": folder}
            )
    if as_json:
        click.echo(json.dumps(there))
        return
    for item in there:
        packages = item["packages"]
        what = counted(len(packages), "package") if packages is not None else "what qanat itself runs with"
        click.echo(
            f"{item['name']:12} CPython {item['python']:8} {what}{', ' + item['folder'] if item['folder'] else ''}"
        )


@command.command("check")
@click.argument("name", default="default")
@click.option("--json", "as_json", is_flag=True, help="The same as a JSON object.")
def check_command(name: str, as_json: bool) -> None:
    """Try an environment: interpreter, versions, the worker's extension, and imports inside the sandbox.

    Exit code 1 where something is wrong with it.
    """
    with reported(f"runtime {name}", as_json, known=REFUSED):
        from qanat import _runtime_create

        found = _runtime_create.check(name)
    if as_json:
        click.echo(json.dumps({"ok": not found.problems, **dataclasses.asdict(found)}))
    else:
        click.echo(f"{name}: CPython {found.version}, {counted(len(found.packages), 'pinned package')}")
        if found.imports:
            click.echo(f"imported in the sandbox: {', '.join(found.imports)}")
        for problem in found.problems:
            click.echo(f"wrong: {problem}")
        click.echo("it works" if not found.problems else "it does not work: remove it and create it again")
    sys.exit(EXIT_FAILED if found.problems else 0)


@command.command("remove")
@click.argument("name")
def remove_command(name: str) -> None:
    """Remove an environment."""
    with reported(f"runtime {name}", False, known=REFUSED):
        from qanat import _runtime_create

        _runtime_create.remove(name)
    click.echo(f"{name} was removed")


@command.command("describe")
@click.argument("name", default="default")
def describe_command(name: str) -> None:
    """Print what an environment is made of, and what of this machine statements may see, as JSON."""
    with reported(f"runtime {name}", False, known=REFUSED):
        from qanat import _runtime

        description = _runtime.describe(name)
    click.echo(json.dumps(description, indent=2))
