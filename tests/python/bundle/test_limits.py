"""What a program around a bundle relies on: Ctrl-C, forks, memory."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

import qanat as qn

FETCHING = """\
import sys
import qanat as qn

b = qn.create("data", config={"system": {"allow_external_code": "true"}})
b.import_temp_connector("test.shop", sys.argv[1])
b.create_source("test.shop", {"root": "shelf"})
try:
    b.fetch(parallel=1, progress=lambda now: print("rows", now.rows, flush=True) if now.rows > 2 else None)
except KeyboardInterrupt:
    print("interrupted")
print([operation.operation for operation in b.status().operations], b.num_rows, b.commit("what there is"))
"""

READING = """\
import resource, sys
import duckdb, polars as pl, pyarrow.dataset
import qanat as qn
import qanat.bundle._sql

def peak():
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss

b = qn.open("data")
pl.LazyFrame({"a": [1]}).collect(engine="streaming")
before = peak()
if sys.argv[1] == "scan":
    found = b.scan().filter(pl.col("x") == 0.0).select(pl.col("id").max()).collect(engine="streaming").item()
else:
    found = b.sql("select max(id) from base where x = 0").item()
print(found, (peak() - before) // 1024)
"""


@pytest.mark.parametrize("uri", ["python::shop:Shop", "ipc::shop.py"])
def test_ctrl_c_ends_a_fetch(shelf: Any, uri: str) -> None:
    folder = shelf.root.parent
    shelf.put("a", {"id": [1, 2]})
    shelf.put("b", sleep=0.01)
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(folder), os.environ.get("PYTHONPATH", "")])}
    command = [sys.executable, "-c", FETCHING, uri]
    with subprocess.Popen(command, cwd=folder, env=environment, stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout is not None and process.stdout.readline().startswith("rows ")
            process.send_signal(signal.SIGINT)
            said = [line for line in process.stdout.read().splitlines() if not line.startswith("rows ")]
            assert process.wait(30) == 0
        finally:
            process.kill()
    assert said[0] == "interrupted"
    assert said[1] == "['create_source', 'fetch'] 2 1", "what was whole stays, half a location is none"


@pytest.mark.filterwarnings("ignore:.*fork:DeprecationWarning")
def test_a_forked_child_is_refused(empty: qn.Bundle) -> None:
    empty.put("one", {"id": [1]})
    pid = os.fork()
    if pid == 0:
        code = 1
        try:
            empty.status()
        except qn.ConnectionClosedError:
            code = 0
        finally:
            os._exit(code)
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0
    assert empty.commit("the parent goes on") == 1 and empty.num_rows == 1


@pytest.mark.trace("B5")
def test_memory_is_bounded_whatever_the_size(empty: qn.Bundle, tmp_path: Path) -> None:
    import numpy as np
    import pyarrow as pa

    batches, rows = 160, 65536
    schema = pa.schema([("id", pa.int64()), ("x", pa.float64())])

    def made() -> Any:
        for number in range(batches):
            ids = np.arange(number * rows, (number + 1) * rows)
            yield pa.record_batch([pa.array(ids), pa.array(np.zeros(rows))], schema=schema)

    assert empty.put("big", pa.RecordBatchReader.from_batches(schema, made())) == batches * rows
    empty.commit("160 MiB of Arrow")
    for how in ("scan", "sql"):
        command = [sys.executable, "-c", READING, how]
        done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
        found, grown = map(int, done.stdout.split())
        assert found == batches * rows - 1 and grown < 120, f"{how}: {grown} MiB"
