"""A million locations from a generator, through pages, to a callback: neither side holds them."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

MIB = 1 << 20
MANY = 10_000_000 if os.environ.get("QANAT_TORTURE") else 1_000_000

CONNECTOR = """
from qanat_sdk import Connector, Location, serve

def status(field):
    return next(int(line.split()[1]) for line in open("/proc/self/status") if line.startswith(field))

class Many(Connector):
    def discover(self, attached_locations, many):
        before = status("VmHWM")
        for n in range(int(many)):
            yield Location(f"2026/{n:08}.parquet", version="v1")
        self.log(f"grew {status('VmHWM') - before}")
    def data(self, location, many):
        return None

serve(Many())
"""

HOST = """
import sys
import qanat as qn

def status(field):
    return next(int(line.split()[1]) for line in open("/proc/self/status") if line.startswith(field))

def hear(level, message):
    if message.startswith("grew "):
        print("connector", message.split()[1])

def count(location):
    global found
    assert location.location == f"2026/{found:08}.parquet"
    found += 1

found = 0
options = {"allow_external_code": True, "on_log": hear}
with qn.open_connector("ipc::many.py", {"many": "20000"}, **options) as few:
    few.each_location(count)
found = 0
with qn.open_connector("ipc::many.py", {"many": sys.argv[1]}, **options) as connector:
    before = status("VmHWM")
    connector.each_location(count)
    print("host", status("VmHWM") - before)
print("found", found)
"""


def test_a_million_locations_pass_through_a_process(tmp_path: Path) -> None:
    (tmp_path / "many.py").write_text(CONNECTOR, encoding="utf-8")
    command = [sys.executable, "-c", HOST, str(MANY)]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    lines = [line.split() for line in done.stdout.splitlines()]
    grown = [int(value) * 1024 for name, value in lines if name == "connector"]
    host = [int(value) * 1024 for name, value in lines if name == "host"]
    assert ["found", str(MANY)] in lines
    assert len(grown) == 2 and max(grown) < 16 * MIB
    # The host knows the digest of each name, so that none comes twice: at most 72 bytes of it, while its table grows.
    assert len(host) == 1 and host[0] < 16 * MIB + 72 * MANY
