"""QANAT_LOG: the engine's log on standard error, without any configuration of Python's logging."""

from __future__ import annotations

import logging
import os

_LEVELS = {"debug": logging.DEBUG, "info": logging.INFO, "warning": logging.WARNING, "error": logging.ERROR}


class _UnlessConfigured(logging.StreamHandler):  # type: ignore[type-arg]
    """Writes only while the program has set up no handlers of its own, so that nothing is written twice."""

    def emit(self, record: logging.LogRecord) -> None:
        if not logging.getLogger().handlers:
            super().emit(record)


def from_environment() -> None:
    """Turn the log on where QANAT_LOG is debug, info, warning or error; other values are ignored, as in C."""
    level = _LEVELS.get(os.environ.get("QANAT_LOG", "").lower())
    if level is None:
        return
    logger = logging.getLogger("qanat")
    if logger.level == logging.NOTSET:
        logger.setLevel(level)
    handler = _UnlessConfigured()
    handler.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(name)s: %(message)s"))
    logger.addHandler(handler)
