"""The program `qanat`. Commands are imported when they are called, so that --version and --help start at once."""

from __future__ import annotations

import importlib
import sys
from typing import Any, NoReturn

import click

from qanat.cli.outcome import EXIT_INTERRUPTED, output_failed

COMMANDS = {
    "run": "Run a task file once: move what is new.",
    "query": "Run a statement and show or save its rows.",
    "copy": "Copy a table from one database into another.",
    "bundle": "Keep what connectors deliver as tables with a history.",
    "process": "Run a Python statement on a sample and see everything.",
    "connector": "Begin a connector; test one.",
    "runtime": "Make, show, check and remove the environments of statements.",
    "doctor": "Show versions, libraries and drivers, and what is missing.",
}


class _Commands(click.Group):
    """Subcommands by name; each stands in command_NAME.py as `command`."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in COMMANDS:
            return None
        module = importlib.import_module(f"qanat.cli.command_{cmd_name}")
        command: click.Command = module.command
        return command

    def invoke(self, ctx: click.Context) -> Any:
        try:
            return super().invoke(ctx)
        except OSError as error:  # of the library or of a file these are QanatError: what is left is our output
            output_failed(error)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Commands"):  # the help texts stand above: no command is imported to show them
            formatter.write_dl(list(COMMANDS.items()))


def _show_version(ctx: click.Context, _parameter: click.Parameter, value: bool) -> None:
    if value:
        from qanat import __version__

        click.echo(f"qanat {__version__}")
        ctx.exit()


@click.group(cls=_Commands, context_settings={"help_option_names": ["-h", "--help"]})
@click.option(
    "--version", is_flag=True, is_eager=True, expose_value=False, callback=_show_version, help="Show the version."
)
def cli() -> None:
    """Bring tables from many wells to one place.

    Exit codes: 0 done, 1 the run failed, 2 wrong usage, 3 wrong configuration, 4 no connection, 130 interrupted,
    141 the reader of the output has gone.
    """


def main() -> NoReturn:
    """The entry point of `qanat` and of `python -m qanat`."""
    try:
        code = cli.main(prog_name="qanat", standalone_mode=False)
    except click.exceptions.Abort:
        code = EXIT_INTERRUPTED
    except click.ClickException as error:
        error.show()
        code = error.exit_code
    except KeyboardInterrupt:
        click.echo("interrupted", err=True)
        code = EXIT_INTERRUPTED
    except OSError as error:
        output_failed(error)
    sys.exit(code if isinstance(code, int) else 0)
