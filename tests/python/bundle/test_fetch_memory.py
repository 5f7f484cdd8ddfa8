"""Fetching what is larger than memory: neither the engine's process nor the connector's grows with it."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

import qanat as qn

MIB = 1 << 20
SIZE = 6144 if "QANAT_TORTURE" in os.environ else 256  # MiB; 6 GiB is past what a frame of version 1 holds

CONNECTOR = """
import mmap, struct
import numpy as np
import pyarrow as pa
from qanat_sdk import Connector, Location, serve

ROWS = 1 << 16

def status(field):
    return next(int(line.split()[1]) for line in open("/proc/self/status") if line.startswith(field))

class Large(Connector):
    def discover(self, attached_locations, mib):
        return [Location(mib)]

    def data(self, location, mib):
        return self.batches(int(mib), status("VmRSS"))

    def batches(self, mib, idle):
        for number in range(mib):  # of 1 MiB, no number twice: pa.array() of them would load pandas
            ids = np.arange(number * ROWS, (number + 1) * ROWS)
            buffers = [[None, pa.py_buffer(values)] for values in (ids, ids * ids)]
            arrays = [pa.Array.from_buffers(pa.int64(), ROWS, pair) for pair in buffers]
            yield pa.RecordBatch.from_arrays(arrays, ["id", "square"])
        self.log(f"grew {status('VmHWM') - idle}")

class Long(Connector):
    def discover(self, attached_locations):
        return [Location("before"), Location("five gib"), Location("after")]

    def data(self, location):
        if location.location != "five gib":
            return pa.table({"text": pa.array(["short"], pa.large_string())})
        flags = mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS  # pages of zeros that take no memory
        text = mmap.mmap(-1, 5 << 30, flags=flags, prot=mmap.PROT_READ)
        buffers = [None, pa.py_buffer(struct.pack("<qq", 0, len(text))), pa.py_buffer(text)]
        return pa.record_batch({"text": pa.Array.from_buffers(pa.large_string(), 1, buffers)})

if __name__ == "__main__":
    import sys
    serve({"large": Large, "long": Long}[sys.argv[1]]())
"""

HOST = """
import logging, sys
import qanat as qn

def status(field):
    return next(int(line.split()[1]) for line in open("/proc/self/status") if line.startswith(field))

class Heard(logging.Handler):
    def emit(self, record):
        if "grew " in record.getMessage():
            print("connector", record.getMessage().rpartition(" ")[2])

logging.getLogger("qanat.connector").addHandler(Heard())
logging.getLogger("qanat.connector").setLevel("INFO")
save_as, mib = sys.argv[1:]
with qn.create("kept", config={"system": {"allow_external_code": "true"}}) as bundle:
    bundle.import_temp_connector("test.large", "ipc::large.py large")
    bundle.create_source("test.large", {"mib": "1"}, pack="first", save_as=save_as)
    bundle.create_source("test.large", {"mib": mib}, save_as=save_as)
    bundle.fetch("first")  # what is loaded once is loaded
    idle = status("VmRSS")
    open("/proc/self/clear_refs", "w").write("5")
    bundle.fetch("base")
    print("host", status("VmHWM") - idle)
    bundle.commit("all of it")
    print("rows", bundle.num_rows)
"""


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "large.py").write_text(CONNECTOR, encoding="utf-8")
    return tmp_path


@pytest.mark.trace("B5")
@pytest.mark.parametrize("save_as", ["arrow", "parquet"])
def test_neither_side_grows_with_the_data(folder: Path, save_as: str) -> None:
    command = [sys.executable, "-c", HOST, save_as, str(SIZE)]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    found = [(name, int(number)) for name, number in map(str.split, done.stdout.splitlines())]
    grown = {name: number * 1024 for name, number in found if name != "rows"}  # of the large one, which came last
    assert ("rows", SIZE << 16) in found and [name for name, _ in found].count("connector") == 2
    assert grown["host"] < 64 * MIB and grown["connector"] < 64 * MIB, grown


def test_a_string_of_5_gib_fails_alone(folder: Path) -> None:
    with qn.create("kept", config={"system": {"allow_external_code": "true"}}) as bundle:
        bundle.import_temp_connector("test.long", "ipc::large.py long")
        bundle.create_source("test.long", save_as="arrow")
        with pytest.raises(qn.ConnectorError, match=r'^connector "test\.long": location "five gib": ') as caught:
            bundle.fetch(parallel=1)
        assert "larger than the limit of 2147483648 bytes" in str(caught.value)
        assert "smaller batches" in (caught.value.hint or "")
        assert caught.value.results is not None and caught.value.results.added == ["before", "after"]
        assert bundle.to_polars()["text"].to_list() == ["short", "short"]
