"""The SDK's own tests need pytest, hypothesis and pyarrow, and nothing of qanat."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

TESTS = Path(__file__).resolve().parent
sys.path[:0] = [str(TESTS), str(TESTS.parent)]

from client import Process  # noqa: E402  (found through the path set above)


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Callable[..., Process]]:
    """Start a connector script; all that were started are ended."""
    started: list[Process] = []

    def begin(source: str, **options: object) -> Process:
        script = tmp_path / f"connector_{len(started)}.py"
        script.write_text(source, encoding="utf-8")
        process = Process([sys.executable, str(script)], tmp_path / f"stderr_{len(started)}.txt", **options)
        started.append(process)
        return process

    yield begin
    for process in started:
        process.kill()
