"""History and status as short tables, for whoever looks at them in a terminal.

Names and messages come from outside: nothing in them steers the terminal. Values are not shown: they may have secrets.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from qanat.bundle._results import Commit, Operation

ROWS = 20
WIDTH = 50  # of a text


def shown(text: str) -> str:
    """A text on one line, cut where it is long."""
    line = "".join(c if c.isprintable() else c.encode("unicode_escape").decode("ascii") for c in text)
    return line if len(line) <= WIDTH else f"{line[: WIDTH - 1]}…"


def counted_changes(changes: Iterable[Mapping[str, Any]]) -> str:
    """How many changes of which kind: "2 add, 1 set source"."""
    counts: dict[str, int] = {}
    for change in changes:
        kind = change["op"] if "location" in change else f"{change['op']} {change['kind']}"
        counts[kind] = counts.get(kind, 0) + 1
    return ", ".join(f"{number:,} {kind}" for kind, number in counts.items()) or "nothing changed"


def _table(rows: Sequence[Sequence[str]], right: Iterable[int]) -> list[str]:
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return [
        "  ".join(
            cell.rjust(width) if at in right else cell.ljust(width)
            for at, (cell, width) in enumerate(zip(row, widths, strict=True))
        ).rstrip()
        for row in rows
    ]


def history(commits: Sequence[Commit]) -> str:
    """The newest versions, the newest last."""
    if not commits:
        return "no versions"
    rows = [("version", "time (UTC)", "hash", "changes", "message")]
    for commit in commits[-ROWS:]:
        when = commit.timestamp.strftime("%Y-%m-%d %H:%M:%S")
        changes = counted_changes(commit.changes)
        rows.append((str(commit.version), when, commit.hash[:12], changes, shown(commit.message)))
    lines = _table(rows, right=(0,))
    if len(commits) > ROWS:
        lines.insert(1, f"… {len(commits) - ROWS:,} older")
    return "\n".join(lines)


def _what(change: Mapping[str, Any]) -> str:
    if "location" in change:
        return f"{shown(change['pack'])}: {shown(change['location'])}"
    return f"{shown(change['kind'])} {shown(change['name'])}"


def status(version: int, operations: Sequence[Operation]) -> str:
    """What is pending, change by change, the first ones of many."""
    changes = [(operation.operation, change) for operation in operations for change in operation.changes]
    if not operations:
        return f"version {version}, nothing pending"
    rows = [("operation", "change", "of", "rows")]
    for operation, change in changes[:ROWS]:
        count = change.get("rows")
        rows.append((operation, change["op"], _what(change), "" if count is None else f"{count:,}"))
    lines = [f"version {version}, pending:", *_table(rows, right=(3,))]
    if len(changes) > ROWS:
        lines.append(f"… {len(changes) - ROWS:,} more")
    return "\n".join(lines)
