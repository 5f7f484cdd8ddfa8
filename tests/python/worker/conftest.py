"""Fixtures of the worker's tests."""

from __future__ import annotations

import importlib
from collections.abc import Iterator
from typing import Any

import pytest

_worker: Any = importlib.import_module("qanat.worker._worker")


@pytest.fixture(params=["direct", "text"])
def decimals(request: pytest.FixtureRequest) -> Iterator[str]:
    """Decimals by the layout of their objects, and by their texts: both ways must say the same."""
    before = _worker.decimals_direct(True)
    if request.param == "text":
        assert _worker.decimals_direct(False) is True, "the direct way is not there in this CPython"
    yield request.param
    _worker.decimals_direct(before)
