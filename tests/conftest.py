"""Fixtures shared by all Python tests: one private PostgreSQL server a session, and fresh SQLite files."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT / "scripts"))

from postgres_server import PostgresServer  # noqa: E402  (found through the path set above)


@pytest.fixture(scope="session")
def postgres_server() -> Iterator[PostgresServer]:
    """A server of this session's own. Without server programs this fails and says what to install."""
    with PostgresServer() as server:
        yield server


@pytest.fixture
def postgres_uri(postgres_server: PostgresServer, request: pytest.FixtureRequest) -> Iterator[str]:
    """The URI of an empty database of the test's own, over the Unix socket."""
    with postgres_server.new_database() as uri:
        yield uri


@pytest.fixture
def sqlite_uri(tmp_path: Path) -> str:
    """The URI of a SQLite file that does not exist yet."""
    return f"sqlite:///{tmp_path / 'test.db'}"


@pytest.fixture(params=["sqlite", "postgres"])
def db_uri(request: pytest.FixtureRequest) -> str:
    """Both databases in turn."""
    return str(request.getfixturevalue(f"{request.param}_uri"))


@pytest.fixture(scope="session")
def seeds() -> Path:
    """The documents that the product was conceived from, where they lie beside the project."""
    folder = ROOT.parent / "shared" / "seeds"
    if not folder.is_dir():
        pytest.skip(f"the documents are not beside the project ({folder.name} not found)")
    return folder
