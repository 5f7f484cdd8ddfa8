"""The errors that a connector raises to say more than "it failed", and what a host is told of any error."""

from __future__ import annotations

import contextlib
import sys
import traceback
from typing import Any

#: What a host can tell apart. Anything else that goes wrong is "failed".
KINDS = ("authentication", "not_found", "rate_limited", "unavailable", "invalid", "cancelled", "failed")

MAX_RETRY_AFTER = 30 * 24 * 3600


class ConnectorError(Exception):
    """A failure with a kind. `retry_after` is in seconds; giving it makes the failure one that may be retried."""

    def __init__(
        self,
        message: str = "",
        *,
        kind: str = "failed",
        retryable: bool = False,
        retry_after: float | None = None,
    ) -> None:
        if kind not in KINDS:
            raise ValueError(f"kind {kind!r} is not known; known are {', '.join(KINDS)}")
        if retry_after is not None and not 0 <= retry_after <= MAX_RETRY_AFTER:
            raise ValueError(f"retry_after is a number of seconds up to {MAX_RETRY_AFTER}, not {retry_after!r}")
        super().__init__(message or f"the connector failed ({kind})")
        self.kind = kind
        self.retryable = retryable or retry_after is not None
        self.retry_after = retry_after


class RetryableError(ConnectorError):
    """A failure that may be gone when the host asks again, after `retry_after` seconds where that is known."""

    def __init__(self, message: str = "", *, retry_after: float | None = None, kind: str = "unavailable") -> None:
        super().__init__(message, kind=kind, retryable=True, retry_after=retry_after)


class CancelledError(ConnectorError):
    """The host wants this request no more. Raised by Connector.check_cancelled()."""

    def __init__(self, message: str = "cancelled") -> None:
        super().__init__(message, kind="cancelled")


def complain(what: str | BaseException) -> None:
    """Tell people, on standard error: a text, or an exception with its traceback. Nobody has to listen."""
    if sys.stderr is None:
        return
    with contextlib.suppress(OSError, ValueError):  # the host may have closed its end
        if isinstance(what, str):
            print(what, file=sys.stderr, flush=True)
        else:
            traceback.print_exception(what, file=sys.stderr)


def message_of(error: BaseException) -> str:
    """The text of an exception; its class where it has none, and before a text that is the key of a KeyError alone."""
    try:
        text = str(error)
    except Exception as again:  # noqa: BLE001 - an exception whose __str__ fails must not end the connector
        text = f"{type(error).__name__} (its text cannot be had: {type(again).__name__})"
    name = type(error).__name__
    if not text.strip():
        return name
    return f"{name}: {text}" if type(error).__str__ is KeyError.__str__ else text


def details_of(error: BaseException) -> dict[str, Any]:
    """The member `data` of an error reply of version 2."""
    if isinstance(error, ConnectorError):
        found: dict[str, Any] = {"kind": error.kind, "retryable": error.retryable}
        if error.retry_after is not None:
            found["retry_after_ms"] = round(error.retry_after * 1000)
        return found
    if isinstance(error, FileNotFoundError):
        return {"kind": "not_found", "retryable": False}
    if isinstance(error, (ConnectionError, TimeoutError)):
        return {"kind": "unavailable", "retryable": True}
    return {"kind": "failed", "retryable": False}
