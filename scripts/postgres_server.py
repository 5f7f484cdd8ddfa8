"""A private PostgreSQL server for tests and benches: started here, on a free port and a Unix socket, stopped here.

    with PostgresServer() as server:
        connect(server.uri)

    python scripts/postgres_server.py -- COMMAND ...    runs COMMAND with the server's URI in QANAT_TEST_POSTGRES

The data directory is a temporary folder that goes with the server. As root the server runs as the `postgres` user (or
`nobody`), since it refuses to run as root. It dies with the process that started it. TLS is on, with a certificate
authority of the test's own; roles: `qanat` (superuser, no password on the socket), `scram` (password over TCP),
`tls_only` (password, refused without TLS).
"""

from __future__ import annotations

import os
import pwd
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType
from typing import Self

PASSWORD = "s3cret pa:ss/w@rd"
HBA = """\
local   all all                          trust
hostssl all tls_only  127.0.0.1/32       scram-sha-256
host    all tls_only  127.0.0.1/32       reject
host    all all       127.0.0.1/32       scram-sha-256
host    all all       ::1/128            scram-sha-256
"""


class ServerUnavailable(Exception):
    """No PostgreSQL server programs on this machine: the message says what to install."""


def binary_folder() -> Path:
    """The folder of the newest server programs."""
    folders = [Path(name) for name in os.environ.get("PATH", "").split(os.pathsep) if name]
    versions = Path("/usr/lib/postgresql")
    if versions.is_dir():
        numbered = (folder for folder in versions.iterdir() if folder.name.isdigit())
        folders += [folder / "bin" for folder in sorted(numbered, key=lambda f: int(f.name), reverse=True)]
    for folder in folders:
        if all((folder / program).exists() for program in ("postgres", "initdb", "pg_isready", "psql")):
            return folder
    raise ServerUnavailable("no PostgreSQL server programs found: apt-get install postgresql")


def unprivileged_user() -> str | None:
    """The account to run the server as: None where this process is not root."""
    if os.geteuid() != 0:
        return None
    for name in ("postgres", "nobody"):
        try:
            pwd.getpwnam(name)
        except KeyError:
            continue
        return name
    raise ServerUnavailable("running as root, and there is neither a postgres nor a nobody account for the server")


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


# Becomes the program of its arguments, as the user of the first two, that gets a fast shutdown (SIGINT) when the one
# that started it has gone. A program of its own: between fork and exec, where other threads may have been running,
# nothing of Python is safe to call.
DYING_WITH_PARENT = """
import ctypes, os, signal, sys
user, group, *command = sys.argv[1:]
if user:
    os.setgroups([])
    os.setgid(int(group))
    os.setuid(int(user))
ctypes.CDLL(None).prctl(1, signal.SIGINT)
os.execv(command[0], command)
"""


class PostgresServer:
    """One server. Use it as a context manager; `start` and `stop` do the same by hand."""

    def __init__(self, **settings: str) -> None:
        self.settings = {
            "fsync": "off",
            "synchronous_commit": "off",
            "full_page_writes": "off",
            "max_wal_size": "4GB",
            "shared_buffers": "128MB",
            "max_connections": "60",
            "logging_collector": "off",
            **settings,
        }
        self.folder = Path()
        self.port = 0
        self.databases = 0
        self.process: subprocess.Popen[bytes] | None = None

    @property
    def uri(self) -> str:
        """Over the Unix socket, as superuser."""
        return f"postgresql:///postgres?host={self.folder}&port={self.port}&user=qanat"

    @property
    def authority(self) -> Path:
        """The certificate authority that signed the server's certificate (for localhost and 127.0.0.1)."""
        return self.folder / "authority.crt"

    def tcp_uri(
        self, user: str = "scram", password: str | None = PASSWORD, host: str = "127.0.0.1", **query: str
    ) -> str:
        from urllib.parse import quote, urlencode

        secret = "" if password is None else ":" + quote(password, safe="")
        tail = "?" + urlencode(query) if query else ""
        return f"postgresql://{user}{secret}@{host}:{self.port}/postgres{tail}"

    def _run(self, *command: str | Path) -> None:
        user = unprivileged_user()
        done = subprocess.run(
            [str(part) for part in command],
            user=user,
            group=user and pwd.getpwnam(user).pw_gid,
            cwd=self.folder,
            env={"PATH": os.environ.get("PATH", ""), "LC_ALL": "C.UTF-8"},
            capture_output=True,
            text=True,
            check=False,
        )
        if done.returncode != 0:
            raise RuntimeError(f"{command[0]} failed:\n{done.stdout}{done.stderr}")

    def _make_certificates(self) -> None:
        openssl = shutil.which("openssl")
        if openssl is None:
            raise ServerUnavailable("no openssl program found: apt-get install openssl")
        names = "subjectAltName=DNS:localhost,IP:127.0.0.1\n"
        (self.folder / "names.txt").write_text(names, encoding="ascii")
        key = ("-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes")
        self._run(
            openssl,
            "req",
            "-x509",
            *key,
            "-keyout",
            "authority.key",
            "-out",
            "authority.crt",
            "-days",
            "2",
            "-subj",
            "/CN=qanat test authority",
        )
        self._run(openssl, "req", *key, "-keyout", "server.key", "-out", "server.csr", "-subj", "/CN=localhost")
        self._run(
            openssl,
            "x509",
            "-req",
            "-in",
            "server.csr",
            "-CA",
            "authority.crt",
            "-CAkey",
            "authority.key",
            "-CAcreateserial",
            "-out",
            "server.crt",
            "-days",
            "2",
            "-extfile",
            "names.txt",
        )
        (self.folder / "server.key").chmod(0o600)

    def start(self) -> None:
        programs = binary_folder()
        user = unprivileged_user()
        self.folder = Path(tempfile.mkdtemp(prefix="qanat-pg-"))
        try:
            if user is not None:
                account = pwd.getpwnam(user)
                os.chown(self.folder, account.pw_uid, account.pw_gid)
            self.folder.chmod(0o755)
            data = self.folder / "data"
            self._run(
                programs / "initdb",
                "-D",
                data,
                "-U",
                "qanat",
                "-A",
                "trust",
                "-E",
                "UTF8",
                "--locale=C.UTF-8",
                "--no-sync",
            )
            self._make_certificates()
            (data / "pg_hba.conf").write_text(HBA, encoding="ascii")
            self.port = free_port()
            settings = {
                **self.settings,
                "port": str(self.port),
                "listen_addresses": "127.0.0.1",
                "unix_socket_directories": str(self.folder),
                "ssl": "on",
                "ssl_cert_file": str(self.folder / "server.crt"),
                "ssl_key_file": str(self.folder / "server.key"),
                "ssl_ca_file": str(self.authority),
            }
            command = [str(programs / "postgres"), "-D", str(data)]
            for name, value in settings.items():
                command += ["-c", f"{name}={value}"]
            become = ["", ""] if user is None else [str(account.pw_uid), str(account.pw_gid)]
            with (self.folder / "log.txt").open("wb") as log:
                self.process = subprocess.Popen(
                    [sys.executable, "-I", "-S", "-c", DYING_WITH_PARENT, *become, *command],
                    stdin=subprocess.DEVNULL,
                    stdout=log,
                    stderr=log,
                    cwd=self.folder,
                    env={"LC_ALL": "C.UTF-8"},
                )
            self._wait_until_ready(programs)
            for role in ("scram superuser", "tls_only"):
                name, *rights = role.split()
                self.execute(f"create role {name} login {' '.join(rights)} password '{PASSWORD}'")
        except BaseException:
            self.stop()
            raise

    def _wait_until_ready(self, programs: Path) -> None:
        assert self.process is not None
        deadline = time.monotonic() + 60
        ready = [str(programs / "pg_isready"), "-q", "-h", str(self.folder), "-p", str(self.port), "-U", "qanat"]
        while subprocess.run(ready, env={"LC_ALL": "C.UTF-8"}, check=False).returncode != 0:
            if self.process.poll() is not None or time.monotonic() > deadline:
                raise RuntimeError(
                    "PostgreSQL did not start:\n" + (self.folder / "log.txt").read_text(errors="replace")
                )
            time.sleep(0.02)  # pg_isready is the event to wait for; it has no waiting form

    @contextmanager
    def new_database(self) -> Iterator[str]:
        """An empty database, dropped at the end with whatever is still connected to it; yields its URI."""
        self.databases += 1
        name = f"test_{self.databases}"
        self.execute(f"create database {name} template template0")
        try:
            yield self.uri.replace("/postgres?", f"/{name}?")
        finally:
            self.execute(f"drop database {name} with (force)")

    def execute(self, sql: str) -> None:
        """Run one statement in the database `postgres`, through psql: independent of what is under test."""
        self._run(
            binary_folder() / "psql",
            "-X",
            "-q",
            "-v",
            "ON_ERROR_STOP=1",
            "-h",
            self.folder,
            "-p",
            str(self.port),
            "-U",
            "qanat",
            "-d",
            "postgres",
            "-c",
            sql,
        )

    def stop(self) -> None:
        if self.process is not None:
            if self.process.poll() is None:
                self.process.send_signal(signal.SIGINT)  # fast shutdown: ends sessions, by pid, ours only
                try:
                    self.process.wait(20)
                except subprocess.TimeoutExpired:
                    self.process.send_signal(signal.SIGQUIT)
                    self.process.wait()
            self.process = None
        if self.folder != Path():
            shutil.rmtree(self.folder, ignore_errors=True)

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()


def main() -> int:
    if len(sys.argv) < 3 or sys.argv[1] != "--":
        print(__doc__, file=sys.stderr)
        return 2
    with PostgresServer() as server:
        environment = {**os.environ, "QANAT_TEST_POSTGRES": server.uri, "QANAT_TEST_POSTGRES_TCP": server.tcp_uri()}
        environment["QANAT_TEST_POSTGRES_CA"] = str(server.authority)
        return subprocess.run(sys.argv[2:], env=environment, check=False).returncode


if __name__ == "__main__":
    sys.exit(main())
