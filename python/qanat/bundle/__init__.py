"""Bundles: tables with a history, fed by connectors.

    import qanat as qn
    b = qn.create("my/data")
    b.create_source("files", {"path": "incoming/*.parquet"})
    b.fetch()
    b.commit("first load")
    b.to_polars()

The format on disk is described in docs/formats/bundle.md.
"""

from __future__ import annotations

from qanat.bundle._bundle import Bundle, create, open, verify  # noqa: A004  (its documented name)
from qanat.bundle._results import (
    Block,
    Collected,
    Commit,
    Description,
    FailedLocation,
    Failure,
    FetchProgress,
    FetchResult,
    FetchResults,
    History,
    Operation,
    Pack,
    Problem,
    Status,
)

__all__ = [
    "Block",
    "Bundle",
    "Collected",
    "Commit",
    "Description",
    "FailedLocation",
    "Failure",
    "FetchProgress",
    "FetchResult",
    "FetchResults",
    "History",
    "Operation",
    "Pack",
    "Problem",
    "Status",
    "create",
    "open",
    "verify",
]
