"""Databases as Arrow: connect, ask, insert; frames without a copy.

    import qanat as qn
    db = qn.connect("sqlite:///demo.db")
    db.insert("planes", frame, mode="create")
    db.execute("select * from planes where seats > ?", [100])

polars is imported when the first frame is made. The engine logs through logging.getLogger("qanat"); QANAT_LOG=debug in
the environment writes to standard error without any configuration.
"""

from __future__ import annotations

import atexit as _atexit
from typing import TYPE_CHECKING

from qanat import _logging, _native
from qanat._config import DatabaseConfig, load_config
from qanat._connection import Connection, connect
from qanat._install import get_include, get_library
from qanat._stream import Batch, Schema, Stream
from qanat.errors import (
    ArgumentError,
    ConfigurationError,
    ConflictError,
    ConnectionBusyError,
    ConnectionClosedError,
    ConnectorError,
    ConstraintViolationError,
    DatabaseConnectionError,
    DataError,
    FileError,
    ForbiddenError,
    InternalError,
    NotSupportedError,
    OutOfMemoryError,
    QanatError,
    QueryCancelledError,
    QueryExecutionError,
    QueryTimeoutError,
    StatementError,
)

if TYPE_CHECKING:
    from qanat import aio as aio
    from qanat._connector import ConnectorHandle, Location, open_connector
    from qanat.bundle import Bundle as Bundle
    from qanat.bundle import create as create
    from qanat.bundle import open as open  # noqa: A004  (its documented name)
    from qanat.bundle import verify as verify
    from qanat.processor import Processor
    from qanat.task import Progress, Task, TaskResult

__all__ = [
    "ArgumentError",
    "Batch",
    "Bundle",
    "ConfigurationError",
    "ConflictError",
    "Connection",
    "ConnectionBusyError",
    "ConnectionClosedError",
    "ConnectorError",
    "ConnectorHandle",
    "ConstraintViolationError",
    "DataError",
    "DatabaseConfig",
    "DatabaseConnectionError",
    "FileError",
    "ForbiddenError",
    "InternalError",
    "Location",
    "NotSupportedError",
    "OutOfMemoryError",
    "Processor",
    "Progress",
    "QanatError",
    "QueryCancelledError",
    "QueryExecutionError",
    "QueryTimeoutError",
    "Schema",
    "StatementError",
    "Stream",
    "Task",
    "TaskResult",
    "__version__",
    "aio",
    "connect",
    "create",
    "get_include",
    "get_library",
    "load_config",
    "open_connector",
    "verify",
]

__version__ = _native.version()


def __getattr__(name: str) -> object:
    """Tasks, processors and bundles read TOML and JSON: that is only imported where it is used."""
    if name in ("Progress", "Task", "TaskResult"):
        from qanat import task

        return getattr(task, name)
    if name == "Processor":
        from qanat.processor import Processor

        return Processor
    if name in ("ConnectorHandle", "Location", "open_connector"):
        from qanat import _connector

        return getattr(_connector, name)
    if name in ("Bundle", "create", "open", "verify"):
        from qanat import bundle

        return getattr(bundle, name)
    if name == "aio":
        import importlib

        return importlib.import_module("qanat.aio")
    raise AttributeError(f"module 'qanat' has no attribute {name!r}")


_logging.from_environment()
_atexit.register(_native._shutdown)
