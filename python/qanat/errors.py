"""The exceptions: one family for all databases.

    QanatError
      ConfigurationError         a URI, a configuration, an option or a task file is wrong
        ForbiddenError             ... or does not allow it: code from outside may not run
      ArgumentError              (also a ValueError) a call got something that it cannot take
      DatabaseConnectionError    the database cannot be reached, or the connection is gone
      ConnectionClosedError      the connection or stream was closed, or belongs to another process
      ConnectionBusyError        the connection is in use by another thread or by an open stream; nothing was run
      NotSupportedError          a right request that this database or build cannot serve
      FileError                  (also an OSError) a file or a pipe failed
      OutOfMemoryError           (also a MemoryError) an allocation failed or a named limit was reached
      ConnectorError             a connector failed: by its own word, or its process or its protocol broke
      ConflictError              another writer changed the same thing since it was read
      InternalError              a mistake of qanat's
      StatementError             (also a SyntaxError) a Python statement breaks a rule of the language
      QueryExecutionError        the database refused a statement
        ConstraintViolationError   ... because of a constraint
        QueryTimeoutError          a time limit has passed
        QueryCancelledError        cancelled by cancel(), an administrator, or a closed stream
        DataError                  a value does not fit or is malformed; row and column are named

`str(error)` is the message, one line. What else is known stands in the attributes; detail and hint are also notes
(PEP 678), so that a traceback shows them. `sql` never holds parameter values; `detail` is what the database says,
which may quote a value of the row, such as the key that is there already.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from qanat.bundle import FetchResults

__all__ = [
    "ArgumentError",
    "ConfigurationError",
    "ConflictError",
    "ConnectionBusyError",
    "ConnectionClosedError",
    "ConnectorError",
    "ConstraintViolationError",
    "DataError",
    "DatabaseConnectionError",
    "FileError",
    "ForbiddenError",
    "InternalError",
    "NotSupportedError",
    "OutOfMemoryError",
    "QanatError",
    "QueryCancelledError",
    "QueryExecutionError",
    "QueryTimeoutError",
    "StatementError",
]


class QanatError(Exception):
    """The base of all errors that qanat raises."""

    sqlstate: str | None
    """Five characters of the SQL standard's table, where the database or its driver gives them."""
    retryable: bool
    """Whether the same call may succeed later without a change: a deadlock, a lost link, a locked file."""
    retry_after: float | None
    """Seconds that a retry should wait at least, where the other side said so."""
    constraint: str | None
    schema: str | None
    table: str | None
    column: str | None
    row: int | None
    """Which row of the data of this call, counted from 0."""
    detail: str | None
    hint: str | None
    """What you can do about it."""
    position: int | None
    """Which character of `sql`, counted from 1."""
    sql: str | None
    """The statement as it was given, without parameter values."""

    def __init__(
        self,
        message: str = "",
        *,
        sqlstate: str | None = None,
        retryable: bool = False,
        retry_after: float | None = None,
        constraint: str | None = None,
        schema: str | None = None,
        table: str | None = None,
        column: str | None = None,
        row: int | None = None,
        detail: str | None = None,
        hint: str | None = None,
        position: int | None = None,
        sql: str | None = None,
    ) -> None:
        super().__init__(message)
        self.sqlstate = sqlstate
        self.retryable = retryable
        self.retry_after = retry_after
        self.constraint = constraint
        self.schema = schema
        self.table = table
        self.column = column
        self.row = row
        self.detail = detail
        self.hint = hint
        self.position = position
        self.sql = sql
        if detail is not None:
            self.add_note(f"detail: {detail}")
        if hint is not None:
            self.add_note(f"hint: {hint}")

    def __str__(self) -> str:
        return str(self.args[0]) if self.args else ""

    def __reduce__(self) -> tuple[Any, ...]:
        # OSError's own way would lose the attributes.
        return type(self), self.args, dict(self.__dict__)


class ConfigurationError(QanatError):
    """A URI, a configuration, an option or a task file is wrong."""


class ForbiddenError(ConfigurationError):
    """The configuration does not allow it: code from outside may not run. `hint` says how to allow it."""


class ArgumentError(QanatError, ValueError):
    """A call got an argument that it cannot take."""


class DatabaseConnectionError(QanatError):
    """The database cannot be reached, or the connection is gone."""


class ConnectionClosedError(QanatError):
    """The connection or stream was closed, or it belongs to another process."""


class ConnectionBusyError(QanatError):
    """The connection is in use, by another thread or by an open stream. Nothing was run."""


class NotSupportedError(QanatError):
    """A right request that this database, driver or build cannot serve."""


class FileError(QanatError, OSError):
    """A file or a pipe failed."""


class OutOfMemoryError(QanatError, MemoryError):
    """An allocation failed, or a named limit was reached."""


class ConnectorError(QanatError):
    """A connector failed: by its own word, or because its process or its protocol broke.

    The message names connector and location; `detail` has the last lines of its standard error.
    """

    results: FetchResults | None = None
    """Of a fetch of a bundle: what it did, with the locations that failed."""


class ConflictError(QanatError):
    """Another writer changed the same thing since it was read: look again, then decide. Nothing was written."""


class InternalError(QanatError):
    """A mistake of qanat's: please report it."""


class QueryExecutionError(QanatError):
    """The database refused a statement."""


class ConstraintViolationError(QueryExecutionError):
    """The database refused a statement because of a constraint: `constraint`, `table` and `column` say which."""


class QueryTimeoutError(QueryExecutionError):
    """A time limit that the caller or the server set has passed."""


class QueryCancelledError(QueryExecutionError):
    """The statement was cancelled: by cancel(), by an administrator, or because its stream was closed."""


class DataError(QueryExecutionError):
    """A value does not fit or is malformed: `row` and `column` say which."""


class StatementError(QanatError, SyntaxError):
    """A Python statement was refused before it ran: `filename`, `lineno`, `offset` and `text` say where."""

    def __init__(
        self,
        message: str = "",
        *,
        filename: str | None = None,
        lineno: int | None = None,
        offset: int | None = None,
        text: str | None = None,
        **fields: Any,
    ) -> None:
        super().__init__(message, **fields)
        self.filename = filename
        self.lineno = lineno
        self.offset = offset
        self.text = text

    def __reduce__(self) -> tuple[Any, ...]:
        # What SyntaxError keeps is not in __dict__.
        place = {name: getattr(self, name) for name in ("filename", "lineno", "offset", "text")}
        return type(self), self.args, dict(self.__dict__) | place
