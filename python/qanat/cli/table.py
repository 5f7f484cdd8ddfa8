"""Rows as a table of text: names, types and the first rows, with their number."""

from __future__ import annotations

import shutil
import sys
from typing import TYPE_CHECKING

import click

from qanat.cli.outcome import counted, escaped

if TYPE_CHECKING:
    import polars as pl

    from qanat.cli.save import Rows

UNLIMITED_WIDTH = 10_000  # of a line where the output is no terminal


def _head(stream: Rows, limit: int) -> tuple[pl.DataFrame, int]:
    """The first `limit` rows and how many there are; no more than one batch is held besides them."""
    import polars as pl

    kept = [pl.DataFrame(schema=pl.Schema(stream.schema))]
    rows = 0
    for batch in stream:
        frame = pl.DataFrame(batch)
        if rows < limit:
            kept.append(frame.head(limit - rows))
        rows += frame.height
    return pl.concat(kept), rows


def frame_text(frame: pl.DataFrame) -> str:
    """Every row and column of a frame as text, within the width of the terminal where there is one."""
    import polars as pl

    width = max(shutil.get_terminal_size().columns, 40) if sys.stdout.isatty() else UNLIMITED_WIDTH
    with pl.Config(tbl_rows=-1, tbl_cols=-1, tbl_hide_dataframe_shape=True, fmt_str_lengths=60, tbl_width_chars=width):
        shown = frame.with_columns(pl.col(pl.String).map_elements(escaped, return_dtype=pl.String))
        return "\n".join(escaped(line) for line in str(shown).split("\n"))  # names and nested values too


def show_stream(stream: Rows, limit: int, more: str = "--rows N shows more, -o FILE saves all") -> None:
    """Print the first rows and how many there are; `more` says how to have the others."""
    frame, rows = _head(stream, limit)
    click.echo(frame_text(frame))
    columns = counted(frame.width, "column")
    if rows > frame.height:
        click.echo(f"{frame.height:,} of {rows:,} rows shown, {columns} ({more})")
    else:
        click.echo(f"{counted(rows, 'row')}, {columns}")
