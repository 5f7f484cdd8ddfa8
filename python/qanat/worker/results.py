"""What a bulk statement may return besides a list of dicts: a frame of pandas, polars or pyarrow.

Told by what it offers, never by importing anything. polars and pyarrow hand Arrow over; pandas goes column by column.
Values go out exactly or the run fails, naming column, row, expected and found. Thread rule: the main thread.
"""

from __future__ import annotations

from typing import Any


def put_frame(child: Any, returned: Any) -> bool:
    """Put a frame out; False where it is none."""
    if isinstance(returned, list | tuple | dict) or returned is None:
        return False
    stream = getattr(type(returned), "__arrow_c_stream__", None)
    if stream is None:
        return False
    child.put_stream(stream(returned))
    return True
