"""The engine's log: logging.getLogger("qanat"), or QANAT_LOG on standard error."""

from __future__ import annotations

import logging
import os
import subprocess
import sys
import threading

import pytest

import qanat as qn

pytestmark = pytest.mark.trace("D18")


def test_statements_at_debug_without_values(db_uri: str, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.DEBUG, logger="qanat"), qn.connect(db_uri) as connection:
        connection.execute("select ? as marker", ["hunter2-secret"])
    ours = [record for record in caplog.records if record.name.startswith("qanat.")]
    assert any("as marker" in record.getMessage() for record in ours if record.levelno == logging.DEBUG)
    assert "hunter2-secret" not in caplog.text


def test_statements_are_not_logged_above_debug(db_uri: str, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO, logger="qanat"), qn.connect(db_uri) as connection:
        connection.execute("select 1 as marker")
    assert "marker" not in caplog.text


def test_password_is_not_logged(postgres_uri: str, caplog: pytest.LogCaptureFixture) -> None:
    config = qn.DatabaseConfig.from_dict({**qn.DatabaseConfig.from_uri(postgres_uri).to_dict(), "password": "hunter2"})
    with caplog.at_level(logging.DEBUG, logger="qanat"), qn.connect(config) as connection:
        connection.execute("select 1 as a")
    assert caplog.records
    assert "hunter2" not in caplog.text


def test_messages_of_other_threads_arrive(sqlite_uri: str, caplog: pytest.LogCaptureFixture) -> None:
    def work() -> None:
        with qn.connect(sqlite_uri) as connection:
            connection.execute("select 1 as from_a_thread")

    with caplog.at_level(logging.DEBUG, logger="qanat"):
        thread = threading.Thread(target=work, name="worker")
        thread.start()
        thread.join()
    assert any("from_a_thread" in r.getMessage() and r.threadName == "worker" for r in caplog.records)


def test_handler_that_raises_does_not_break_the_call(sqlite_uri: str, capsys: pytest.CaptureFixture[str]) -> None:
    class Broken(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            raise RuntimeError("the log is full")

    logger = logging.getLogger("qanat")
    handler = Broken()
    logger.addHandler(handler)
    logger.setLevel(logging.DEBUG)
    unraisable: list[object] = []
    hook, sys.unraisablehook = sys.unraisablehook, lambda args: unraisable.append(args.exc_value)
    try:
        with qn.connect(sqlite_uri) as connection:
            assert connection.execute("select 1 as a").item() == 1
    finally:
        sys.unraisablehook = hook
        logger.removeHandler(handler)
        logger.setLevel(logging.NOTSET)
    assert any("the log is full" in str(error) for error in unraisable)


def run(program: str, **environment: str) -> str:
    clean = {key: value for key, value in os.environ.items() if key != "QANAT_LOG"}
    done = subprocess.run(
        [sys.executable, "-c", program],
        env={**clean, **environment},
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )
    return done.stderr


PROGRAM = "import qanat as qn\nwith qn.connect('sqlite://:memory:') as c:\n    c.execute('select 1 as marker')\n"


def test_environment_alone_turns_it_on() -> None:
    assert "select 1 as marker" in run(PROGRAM, QANAT_LOG="debug")
    assert "marker" not in run(PROGRAM, QANAT_LOG="warning")
    assert run(PROGRAM) == ""
    assert run(PROGRAM, QANAT_LOG="nonsense") == ""


def test_nothing_is_written_twice() -> None:
    configured = "import logging\nlogging.basicConfig(level='DEBUG')\n" + PROGRAM
    assert run(configured, QANAT_LOG="debug").count("select 1 as marker") == 1


def test_basic_config_alone_turns_it_on() -> None:
    assert "select 1 as marker" in run("import logging\nlogging.basicConfig(level=logging.DEBUG)\n" + PROGRAM)
