"""What is not there unless it was asked for: pyarrow, pandas, DuckDB."""

from __future__ import annotations

import importlib
from typing import Any

from qanat.errors import NotSupportedError

_EXTRAS = {"pyarrow": "bundles", "pandas": "pandas", "duckdb": "sql"}


def need(module: str, what: str) -> Any:
    """The module `module`, or an error that says what needs it and which extra brings it."""
    try:
        return importlib.import_module(module)
    except ModuleNotFoundError as error:
        package = module.partition(".")[0]
        if error.name is None or error.name.partition(".")[0] != package:
            raise  # it is there, and something that it needs is not
        raise NotSupportedError(
            f"{what} needs {package}, which is not installed", hint=f"pip install 'qanat[{_EXTRAS[package]}]'"
        ) from error
