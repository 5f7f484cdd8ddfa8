"""A debugged run as text: how it ended, its rows, its log, where the time went, memory, the checkpoint."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from qanat.cli.outcome import counted, escaped
from qanat.cli.run_report import size_text
from qanat.cli.save import json_value
from qanat.cli.table import frame_text

if TYPE_CHECKING:
    from qanat.processor import LogEntry, Result

_STAGES = {
    "start": "until the process was ready",
    "compile": "check and compile",
    "read": "rows to Python",
    "run": "the statement",
    "write": "rows back",
    "total": "all of it",
}


def _log_line(entry: LogEntry) -> str:
    place = f"line {entry.line}" if entry.line is not None else ""
    row = f"row {entry.row}" if entry.row is not None else ""
    return f"  {entry.level:5}  {', '.join(filter(None, (place, row))):16}  {escaped(entry.message)}"


def _rows(result: Result, limit: int) -> list[str]:
    if result.status != "ok":
        return []
    frame = result.to_polars()
    shown = frame_text(frame.head(limit))
    more = f"{limit:,} of {frame.height:,} rows shown" if frame.height > limit else counted(frame.height, "row")
    return [shown, f"{more}, {counted(frame.width, 'column')}"]


def _time_text(seconds: float) -> str:
    return f"{seconds * 1000:,.2f} ms" if seconds < 1 else f"{seconds:,.3f} s"


def report_text(result: Result, rows: int) -> str:
    """Everything about a run, the first `rows` rows included."""
    blamed = [f"{what} {at}" for what, at in (("line", result.line), ("row", result.row)) if at is not None]
    lines = [f"status: {result.status}" + (f" in {', '.join(blamed)}" if blamed else "")]
    if result.message:
        lines += [f"  {escaped(line)}" for line in result.message.rstrip("\n").split("\n")]
    lines += _rows(result, rows)
    lines.append(f"log: {counted(len(result.logs), 'message')}")
    lines += map(_log_line, result.logs)
    dropped = result.stats["logs_dropped"]
    if dropped:
        lines.append(f"  {counted(dropped, 'more message')} did not fit the limit of the log")
    lines.append("time:")
    seconds = result.stats["seconds"]
    lines += [f"  {_time_text(seconds[stage]):>12}  {what}" for stage, what in _STAGES.items()]
    lines.append(f"rows: {result.stats['rows_in']:,} in, {result.stats['rows_out']:,} out")
    lines.append(f"memory: {size_text(result.stats['peak_memory'])} at the peak")
    lines.append(f"sandbox: {result.stats['tier'] or 'not entered'}")
    if result.ok:
        value = result.checkpoint
        stored = "none would be stored" if value is None else f"{escaped(str(value))} would be stored"
        lines.append(f"checkpoint: {stored}")
    else:
        lines.append("checkpoint: would stay as it was")
    return "\n".join(lines)


def report_json(result: Result) -> dict[str, Any]:
    """The same as plain values, with all rows; what JSON cannot hold is text, as in saved files."""
    return {
        "ok": result.ok,
        "status": result.status,
        "message": result.message,
        "line": result.line,
        "row": result.row,
        "rows": [json_value(row) for row in result.to_dicts()] if result.ok else [],
        "logs": [entry._asdict() for entry in result.logs],
        "checkpoint": json_value(result.checkpoint),
        "stats": result.stats,
    }


def report_json_text(result: Result) -> str:
    return json.dumps(report_json(result), ensure_ascii=False)
