"""Runs of an engine that is an ordinary user, where root runs these tests: both tiers, with a network and without.

As an ordinary user the engine's rights over a run are those over namespaces that it owns (the full tier) or over its
own processes (the reduced one). The package is copied to where that user can read it, and run by an interpreter that it
may execute, without any other package.
"""

from __future__ import annotations

import http.server
import json
import os
import shutil
import subprocess
import sys
import tempfile
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

import qanat
from qanat import _native, _runtime

NOBODY = 65534

PROGRAM = """
import json, os, sys
import qanat as qn

port = int(sys.argv[1])
assert os.getuid() == os.geteuid() == 65534

def outcome(statement, **arguments):
    processor = qn.Processor(statement, output={"v": "Utf8"}, mode="bulk", allow=["urllib.request"], **arguments)
    result = processor.run(None)
    logs = [entry.message for entry in result.logs]
    return {"status": result.status, "tier": result.stats["tier"], "message": result.message, "logs": logs}

get = "import urllib.request\\nlog.info(urllib.request.urlopen('http://%s:%d/').read().decode())\\nreturn [{'v': ''}]"
print(json.dumps({
    "plain": outcome("log.info('here')\\nreturn [{'v': ''}]"),
    "listed": outcome(get % ("localhost", port), network=["localhost:%d" % port]),
    "refused": outcome(get % ("127.0.0.1", port), network="public"),
    "killed": outcome("while True: pass\\nreturn []", timeout=0.2),
}))
"""


def is_for_everybody(path: Path) -> bool:
    return all(folder.stat().st_mode & 0o005 == 0o005 for folder in (path, *path.parents))


def find_interpreter() -> str:
    """One of this version that every user may execute, or a skip."""
    name = "python{}.{}".format(*sys.version_info)
    for candidate in (sys.executable, f"/usr/bin/{name}", f"/usr/local/bin/{name}", shutil.which(name)):
        if candidate and Path(candidate).exists() and is_for_everybody(Path(candidate).resolve()):
            return candidate
    pytest.skip(f"no {name} here that every user may execute")


@pytest.fixture(scope="module")
def package() -> Iterator[Path]:
    """A folder for everybody with the package as it is installed."""
    if os.getuid() != 0:
        pytest.skip("these tests are run by an ordinary user: then all of them show what this one is for")
    with tempfile.TemporaryDirectory(prefix="qanat-") as name:
        folder = Path(name)
        target = folder / "qanat"
        shutil.copytree(Path(qanat.__file__).parent, target, ignore=shutil.ignore_patterns("__pycache__"))
        built = Path(_native.__file__).parent
        for file in (*built.glob("_*.so"), *built.glob("libqanat.so*")):
            if file.is_file() and not file.name.startswith("_worker"):
                shutil.copy2(file, target)
        for part in (_runtime.launcher(), _runtime.own_extension(_runtime.own_suffix())):
            shutil.copy2(part, target / "worker")
        subprocess.run(["chmod", "-R", "a+rX", name], check=True)
        yield folder


class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        self.send_response(200)
        self.send_header("Content-Length", "5")
        self.end_headers()
        self.wfile.write(b"hello")

    def log_message(self, format: str, *args: object) -> None:
        pass


@pytest.fixture(scope="module")
def port() -> Iterator[int]:
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield server.server_address[1]
        server.shutdown()
        thread.join()


@pytest.mark.trace("B7")
@pytest.mark.parametrize("tier", ["full", "reduced"])
def test_runs_of_an_ordinary_users_engine(package: Path, port: int, tier: str) -> None:
    environment = {"PATH": "/usr/bin:/bin", "HOME": "/", "PYTHONPATH": str(package), "QANAT_SANDBOX": tier}
    ran = subprocess.run(
        [find_interpreter(), "-S", "-B", "-c", PROGRAM, str(port)],
        user=NOBODY,
        group=NOBODY,
        extra_groups=[],
        cwd="/",
        env=environment,
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )
    assert ran.returncode == 0, ran.stderr
    outcomes = json.loads(ran.stdout)
    assert [name for name, outcome in outcomes.items() if outcome["tier"] != tier] == []
    assert [(name, outcome["status"], outcome["message"]) for name, outcome in outcomes.items()][:2] == [
        ("plain", "ok", ""),
        ("listed", "ok", ""),
    ]
    assert outcomes["plain"]["logs"] == ["here"]
    assert outcomes["listed"]["logs"] == ["hello"]
    assert outcomes["refused"]["status"] == "failed"
    assert outcomes["refused"]["logs"] == [f"connection to 127.0.0.1:{port} is not allowed: an address of this machine"]
    assert outcomes["killed"]["status"] == "timed_out"
