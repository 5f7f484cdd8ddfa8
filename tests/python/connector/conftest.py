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


@pytest.fixture(scope="module")
def kept() -> Iterator[dict[tuple[str, str], qn.ConnectorHandle]]:
    """Connectors that several tests of a file use, by mode and class: closed when the file is through."""
    handles: dict[tuple[str, str], qn.ConnectorHandle] = {}
    yield handles
    for handle in handles.values():
        handle.close()


@pytest.fixture
def opener(kept: dict[tuple[str, str], qn.ConnectorHandle]) -> Iterator[Callable[..., qn.ConnectorHandle]]:
    """Opens a class of sample_connectors.py in a mode; closed after the test where it has arguments or options."""
    handles: list[qn.ConnectorHandle] = []

    def open_it(mode: str, name: str, arguments: Any = None, **options: Any) -> qn.ConnectorHandle:
        if arguments is None and not options and (mode, name) in kept:
            return kept[mode, name]
        given = {"allow_external_code": True, "folder": FOLDER, "name": "acme.sample", **options}
        handle = qn.open_connector(URIS[mode].format(name), arguments, **given)
        if arguments is None and not options:
            kept[mode, name] = handle
        else:
            handles.append(handle)
        return handle

    yield open_it
    for handle in handles:
        handle.close()
