"""Fixtures shared by all Python tests: one private PostgreSQL server a session, and fresh SQLite files.

`make test` runs the tests in several processes side by side, each file in one of them (pytest-xdist). Each process is a
session of its own, with its own server; a test that cannot stand others beside it is marked `alone`.
"""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
sys.path[:0] = [str(ROOT / "scripts"), str(ROOT / "tests" / "sandbox"), str(ROOT / "tests" / "support")]

# Whoever runs the tests in the background of a shell has SIGINT ignored, and so would every program that they start.
signal.signal(signal.SIGINT, signal.default_int_handler)

from attempts_table import pytest_terminal_summary  # noqa: E402, F401  (both found through the path set above)

from postgres_server import PostgresServer  # noqa: E402

# Files that take long: they begin first, so that no process has one left at the end while the others have none.
LONG = (
    "tests/python/test_packaging.py",
    "tests/sandbox/test_attempts.py",
    "tests/python/test_task.py",
    "tests/python/test_documents.py",
    "tests/cli/test_bundle.py",
    "sdk/python/tests/test_memory.py",
)


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    if hasattr(config, "workerinput"):  # one of several processes
        ranks = {name: rank for rank, name in enumerate(LONG)}
        items.sort(key=lambda item: ranks.get(item.path.relative_to(ROOT).as_posix(), len(LONG)))


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
