"""Ways to connect to PostgreSQL: sockets, TLS with every sslmode, SCRAM, .pgpass, service files, several hosts."""

from __future__ import annotations

import socket
from pathlib import Path
from urllib.parse import quote

import pytest

import qanat as qn
from postgres_server import PASSWORD, PostgresServer, free_port

pytestmark = pytest.mark.trace("D2", "D7")


@pytest.fixture(autouse=True)
def no_environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """libpq reads PG* variables and files of the home folder: none of the tester's own."""
    import os

    for name in [name for name in os.environ if name.startswith("PG")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("PGPASSFILE", str(tmp_path / "none"))


def encrypted(connection: qn.Connection) -> bool:
    return bool(connection.execute("select ssl from pg_stat_ssl where pid = pg_backend_pid()").item())


def big_answer(connection: qn.Connection) -> int:
    """More than one TLS record and one read buffer, so that the channel itself is used in earnest."""
    frame = connection.execute("select i, repeat('x', 100) as s from generate_series(1, 50000) as s(i)")
    return frame.height


def test_unix_socket(postgres_server: PostgresServer) -> None:
    with qn.connect(postgres_server.uri) as connection:
        assert connection.execute("select inet_client_addr() is null as local").item() is True
        assert big_answer(connection) == 50000


def test_unix_socket_as_percent_encoded_host(postgres_server: PostgresServer) -> None:
    host = quote(str(postgres_server.folder), safe="")
    with qn.connect(f"postgresql://qanat@{host}:{postgres_server.port}/postgres") as connection:
        assert connection.is_alive()


@pytest.mark.parametrize(
    ("mode", "tls"),
    [
        ("disable", False),
        ("allow", False),
        ("prefer", True),
        ("require", True),
        ("verify-ca", True),
        ("verify-full", True),
    ],
)
def test_every_sslmode(postgres_server: PostgresServer, mode: str, tls: bool) -> None:
    options = {"sslmode": mode, "sslrootcert": str(postgres_server.authority)}
    with qn.connect(postgres_server.tcp_uri(**options)) as connection:
        assert encrypted(connection) is tls
        assert big_answer(connection) == 50000
        connection.execute("create temp table t (i bigint, s text)")
        rows = {"i": list(range(20000)), "s": ["y" * 50] * 20000}
        assert connection.insert("t", rows) == 20000
        assert connection.execute("select count(*) as n, sum(i)::bigint as total from t").row(0) == (20000, 199990000)


def test_verify_full_refuses_a_name_that_is_not_in_the_certificate(postgres_server: PostgresServer) -> None:
    uri = postgres_server.tcp_uri(sslmode="verify-full", sslrootcert=str(postgres_server.authority), host="127.0.0.1")
    with qn.connect(uri) as connection:
        assert encrypted(connection)
    # hostaddr says where, host says whom: the certificate does not know this name.
    config = qn.DatabaseConfig.from_uri(uri)
    wrong = qn.DatabaseConfig(**{**config.to_dict(), "host": "elsewhere.test", "hostaddr": "127.0.0.1"})
    with pytest.raises(qn.DatabaseConnectionError, match="elsewhere.test"):
        qn.connect(wrong)


def test_verify_ca_refuses_an_unknown_authority(postgres_server: PostgresServer, tmp_path: Path) -> None:
    with pytest.raises(qn.DatabaseConnectionError, match="root certificate file"):
        qn.connect(postgres_server.tcp_uri(sslmode="verify-ca", sslrootcert=str(tmp_path / "absent.crt")))


def test_server_that_demands_tls_is_refused_without_it(postgres_server: PostgresServer) -> None:
    with qn.connect(postgres_server.tcp_uri("tls_only", sslmode="require")) as connection:
        assert encrypted(connection)
    with pytest.raises(qn.DatabaseConnectionError) as caught:
        qn.connect(postgres_server.tcp_uri("tls_only", sslmode="disable"))
    assert caught.value.sqlstate == "28000"
    assert PASSWORD not in str(caught.value)


@pytest.mark.trace("P18")
def test_wrong_password(postgres_server: PostgresServer) -> None:
    with pytest.raises(qn.DatabaseConnectionError) as caught:
        qn.connect(postgres_server.tcp_uri(password="not the pass/word"))
    error = caught.value
    assert error.sqlstate == "28P01"
    assert error.retryable is False
    assert "scram" in str(error)
    assert "not the pass" not in str(error) + str(error.hint) + str(error.detail) + repr(error)


def test_no_password(postgres_server: PostgresServer) -> None:
    with pytest.raises(qn.DatabaseConnectionError, match="password"):
        qn.connect(postgres_server.tcp_uri(password=None))


def test_password_file(postgres_server: PostgresServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "pgpass"
    escaped = PASSWORD.replace("\\", "\\\\").replace(":", "\\:")
    file.write_text(f"127.0.0.1:{postgres_server.port}:*:scram:{escaped}\n")
    file.chmod(0o600)
    monkeypatch.setenv("PGPASSFILE", str(file))
    with qn.connect(postgres_server.tcp_uri(password=None)) as connection:
        assert connection.execute("select current_user::text as u").item() == "scram"


def test_service_file(postgres_server: PostgresServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "services.conf"
    file.write_text(
        f"[tests]\nhost={postgres_server.folder}\nport={postgres_server.port}\nuser=qanat\ndbname=postgres\n"
    )
    monkeypatch.setenv("PGSERVICEFILE", str(file))
    with qn.connect("postgresql://?service=tests") as connection:
        assert connection.execute("select current_user::text as u").item() == "qanat"


def test_first_host_that_answers_is_used(postgres_server: PostgresServer) -> None:
    dead = free_port()
    secret = quote(PASSWORD, safe="")
    uri = f"postgresql://scram:{secret}@127.0.0.1:{dead},127.0.0.1:{postgres_server.port}/postgres"
    with qn.connect(uri) as connection:
        assert connection.is_alive()


def test_nobody_listens() -> None:
    with pytest.raises(qn.DatabaseConnectionError) as caught:
        qn.connect(f"postgresql://someone@127.0.0.1:{free_port()}/postgres")
    assert caught.value.retryable is True
    assert "127.0.0.1" in str(caught.value)


def test_server_that_never_answers_is_given_up_at_the_timeout() -> None:
    with socket.socket() as silent:
        silent.bind(("127.0.0.1", 0))
        silent.listen()
        port = silent.getsockname()[1]
        with pytest.raises(qn.QanatError) as caught:
            qn.connect(f"postgresql://someone@127.0.0.1:{port}/postgres?timeout=0.3")
    assert isinstance(caught.value, qn.DatabaseConnectionError)
    assert caught.value.retryable is True
    assert "127.0.0.1" in str(caught.value)
    assert "0.3 s" in str(caught.value)


def test_unknown_database(postgres_server: PostgresServer) -> None:
    with pytest.raises(qn.DatabaseConnectionError) as caught:
        qn.connect(postgres_server.uri.replace("/postgres?", "/nowhere?"))
    assert caught.value.sqlstate == "3D000"
    assert "nowhere" in str(caught.value)


def test_unknown_option_is_named(postgres_server: PostgresServer) -> None:
    with pytest.raises(qn.ConfigurationError, match="sslmodus"):
        qn.connect(postgres_server.uri + "&sslmodus=require")


def test_bad_sslmode_is_named(postgres_server: PostgresServer) -> None:
    with pytest.raises((qn.ConfigurationError, qn.DatabaseConnectionError), match="bogus"):
        qn.connect(postgres_server.tcp_uri(sslmode="bogus"))


def test_application_name_and_read_only(postgres_server: PostgresServer) -> None:
    with qn.connect(postgres_server.uri + "&application_name=tests&read_only=true") as connection:
        assert connection.execute("select current_setting('application_name') as a").item() == "tests"
        with pytest.raises(qn.QueryExecutionError) as caught:
            connection.execute("create table t (i int)")
        assert caught.value.sqlstate == "25006"
