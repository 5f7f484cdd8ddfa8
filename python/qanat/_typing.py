"""Types of the API's signatures."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Protocol


class ArrowStream(Protocol):
    """Anything that gives an Arrow stream: a polars or pandas frame, a pyarrow table, a Stream, a DuckDB relation."""

    def __arrow_c_stream__(self, requested_schema: Any = None) -> Any: ...


class ArrowArray(Protocol):
    """Anything that gives an Arrow struct array: a pyarrow record batch, a Batch."""

    def __arrow_c_array__(self, requested_schema: Any = None) -> Any: ...


ArrowData = ArrowStream | ArrowArray
Types = Mapping[str, Any]
"""Column names and types: type strings ("Utf8", "Decimal(10,2)") or polars types."""
