"""The table at the end of a run: what stopped each attempt.

What is told of an attempt goes with its test's report, which reaches the process that prints wherever the test ran.
Where tests run in several processes, that one does not read this folder's conftest.py: the one above imports the hook.
"""

from __future__ import annotations

from typing import Any

import pytest

PROPERTY = "attempt"
HEADS = ("attempt", "language rule", "layer", "rules off, full tier", "rules off, reduced tier")
WIDTHS = (60, 44, 28, 40, 40)


def note(request: pytest.FixtureRequest, what: tuple[str, str, str], tier: str, outcome: str) -> None:
    """An attempt (its name, the rule of the language, the layer) was stopped in a tier, with this outcome."""
    request.node.user_properties.append((PROPERTY, [*what, tier, outcome]))


def cut(text: str, width: int) -> str:
    text = "".join(letter if letter.isprintable() else "?" for letter in text)
    return text if len(text) <= width else text[: width - 3] + "..."


def pytest_terminal_summary(terminalreporter: Any) -> None:
    table: dict[tuple[str, str, str], dict[str, str]] = {}
    for report in terminalreporter.stats.get("passed", []):
        for name, value in report.user_properties:
            if name == PROPERTY:
                attempt, rule, layer, tier, outcome = value
                table.setdefault((attempt, rule, layer), {})[tier] = outcome
    if not table:
        return
    rows = [(*what, by.get("full", "-"), by.get("reduced", "-")) for what, by in sorted(table.items())]
    terminalreporter.section("attempts on the sandbox: what stopped each")
    for row in (HEADS, *rows):
        line = "  ".join(cut(cell, width).ljust(width) for cell, width in zip(row, WIDTHS, strict=True))
        terminalreporter.write_line(line.rstrip())
    refused = sum(row[1] != "-" for row in rows)
    terminalreporter.write_line(f"{len(rows)} attempts stopped, {refused} of them already by a rule of the language")
