"""Fixtures shared by all Python tests: one private PostgreSQL server a session, and fresh SQLite files."""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT / "scripts"))

# Whoever runs the tests in the background of a shell has SIGINT ignored, and so would every program that they start.
signal.signal(signal.SIGINT, signal.default_int_handler)

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


@pytest.fixture(scope="session")
def standard_runtime() -> Iterator[str]:
    """The name of the runtime of the document: made once, in build/runtimes, and kept there for the next session."""
    from qanat import _runtime, _runtime_create
    from qanat.errors import ConfigurationError

    before = os.environ.get("QANAT_RUNTIMES")
    os.environ["QANAT_RUNTIMES"] = str(ROOT / "build" / "runtimes")
    try:
        if _runtime_create.STANDARD not in _runtime.created():
            try:
                _runtime_create.find_python(_runtime_create.STANDARD_PYTHON)
            except ConfigurationError as error:
                pytest.skip(f"{error}: {error.hint}")
            _runtime_create.create(_runtime_create.STANDARD)
        yield _runtime_create.STANDARD
    finally:
        if before is None:
            del os.environ["QANAT_RUNTIMES"]
        else:
            os.environ["QANAT_RUNTIMES"] = before
