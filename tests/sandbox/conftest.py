"""The surroundings of the attempts."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).resolve().parent))

from sandbox_attempts import Surroundings


@pytest.fixture(scope="session")
def surroundings() -> Iterator[Surroundings]:
    around = Surroundings()
    yield around
    around.close()
