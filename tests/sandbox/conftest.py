"""The surroundings of the attempts, and the table of what stopped each."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

sys.path.insert(0, str(Path(__file__).resolve().parent))

from sandbox_attempts import Surroundings

# Attempt, language rule, layer; outcome by tier.
Table = dict[tuple[str, str, str], dict[str, str]]
TABLE = pytest.StashKey[Table]()
HEADS = ("attempt", "language rule", "layer", "rules off, full tier", "rules off, reduced tier")
WIDTHS = (60, 44, 28, 40, 40)


@pytest.fixture(scope="session")
def surroundings() -> Iterator[Surroundings]:
    around = Surroundings()
    yield around
    around.close()


@pytest.fixture(scope="session")
def table(pytestconfig: pytest.Config) -> Table:
    return pytestconfig.stash.setdefault(TABLE, {})


def cut(text: str, width: int) -> str:
    text = "".join(letter if letter.isprintable() else "?" for letter in text)
    return text if len(text) <= width else text[: width - 3] + "..."


def pytest_terminal_summary(terminalreporter: Any, config: pytest.Config) -> None:
    table = config.stash.get(TABLE, {})
    if not table:
        return
    rows = [(*what, by.get("full", "-"), by.get("reduced", "-")) for what, by in sorted(table.items())]
    terminalreporter.section("attempts on the sandbox: what stopped each")
    for row in (HEADS, *rows):
        line = "  ".join(cut(cell, width).ljust(width) for cell, width in zip(row, WIDTHS, strict=True))
        terminalreporter.write_line(line.rstrip())
    refused = sum(row[1] != "-" for row in rows)
    terminalreporter.write_line(f"{len(rows)} attempts stopped, {refused} of them already by a rule of the language")
