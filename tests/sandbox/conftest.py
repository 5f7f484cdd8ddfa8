"""The surroundings of the attempts, and the table of what stopped each."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

sys.path.insert(0, str(Path(__file__).resolve().parent))

from sandbox_attempts import Surroundings  # noqa: E402  (found through the path set above)

TABLE = pytest.StashKey[list[tuple[str, ...]]]()
HEADS = ("attempt", "tier", "stopped by a language rule", "stopped by the kernel (rules off)", "outcome (rules off)")
WIDTHS = (58, 7, 46, 34, 60)


@pytest.fixture(scope="session")
def surroundings() -> Iterator[Surroundings]:
    around = Surroundings()
    yield around
    around.close()


@pytest.fixture(scope="session")
def table(pytestconfig: pytest.Config) -> list[tuple[str, ...]]:
    return pytestconfig.stash.setdefault(TABLE, [])


def cut(text: str, width: int) -> str:
    return text if len(text) <= width else text[: width - 1] + "…"


def pytest_terminal_summary(terminalreporter: Any, config: pytest.Config) -> None:
    rows = config.stash.get(TABLE, [])
    if not rows:
        return
    terminalreporter.section("attempts on the sandbox")
    for row in (HEADS, *sorted(rows)):
        line = "  ".join(cut(cell, width).ljust(width) for cell, width in zip(row, WIDTHS, strict=True))
        terminalreporter.write_line(line.rstrip())
    by_rule = sum(row[2] != "-" for row in rows)
    terminalreporter.write_line(
        f"{len(rows)} attempts in all tiers, {by_rule} refused by a rule of the language, all stopped without the rules"
    )
