"""Connectors of sample_connectors.py in both modes: a class in this process, and a script in one of its own."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

import qanat as qn

FOLDER = Path(__file__).resolve().parent

URIS = {"python": "python::sample_connectors:{}", "ipc": "ipc::sample_connectors.py {}"}


@pytest.fixture(params=sorted(URIS))
def mode(request: pytest.FixtureRequest) -> str:
    """Both modes in turn."""
    return str(request.param)


@pytest.fixture
def opener() -> Iterator[Callable[..., qn.ConnectorHandle]]:
    """Opens a class of sample_connectors.py in a mode; closed after the test."""
    handles: list[qn.ConnectorHandle] = []

    def open_it(mode: str, name: str, arguments: Any = None, **options: Any) -> qn.ConnectorHandle:
        options = {"allow_external_code": True, "folder": FOLDER, "name": "acme.sample", **options}
        handles.append(qn.open_connector(URIS[mode].format(name), arguments, **options))
        return handles[-1]

    yield open_it
    for handle in handles:
        handle.close()
