"""Bounded memory: hundreds of megabytes pass through a process that hardly grows."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

MOVED = 400 << 20  # bytes of text that pass through
ROW = 2000  # bytes of text a row
ROWS = MOVED // ROW
SERIES = {
    "sqlite": "(with recursive s(i) as (select 1 union all select i + 1 from s where i < {n}) select i from s) s",
    "postgres": "(select generate_series(1, {n})::bigint as i) s",
}
TEXT = {"sqlite": f"printf('%.*c', {ROW}, 'x')", "postgres": f"repeat('x', {ROW})"}

HEAD = """
import gc, resource, sys
import polars as pl, pyarrow as pa, qanat as qn
uri, rows, small, large = sys.argv[1], int(sys.argv[2]), sys.argv[3], sys.argv[4]

def peak():
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss  # KiB
"""

READ = """
def read(db, sql):
    seen = size = 0
    with db.stream(sql) as stream:
        for batch in stream:
            frame = pl.DataFrame(batch)
            seen += frame.height
            size += frame["t"].str.len_bytes().sum()
            del batch, frame
    return seen, size

with qn.connect(uri) as db:
    read(db, small)
    before = peak()
    seen, size = read(db, large)
print(seen, size, peak() - before)
"""

WRITE = """
TEXT = "x" * 2000

def batches(n):
    schema = pa.schema([("i", pa.int64()), ("t", pa.string())])
    def make():
        for first in range(0, n, 2000):
            count = min(2000, n - first)
            yield pa.record_batch([pa.array(range(first, first + count), pa.int64()), pa.array([TEXT] * count)], schema)
    return pa.RecordBatchReader.from_batches(schema, make())

with qn.connect(uri) as db:
    db.execute("create table t (i bigint, t text)")
    db.insert("t", batches(rows // 20))
    before = peak()
    seen = db.insert("t", batches(rows))
    growth = peak() - before
    size = db.execute("select sum(length(t)) as s from t where i >= ?", [0]).item() - rows // 20 * len(TEXT)
print(seen, int(size), growth)
"""


def growth(code: str, uri: str, rows: int, small: str = "", large: str = "") -> int:
    """Run it in a process of its own; what it moved is checked; the growth of its peak in MiB."""
    arguments = [uri, str(rows), small, large]
    done = subprocess.run([sys.executable, "-c", HEAD + code, *arguments], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    seen, size, grown = map(int, done.stdout.split())
    assert (seen, size) == (rows, rows * ROW)
    return grown // 1024


@pytest.mark.parametrize("driver", ["sqlite", "postgres"])
def test_a_stream_is_read_with_bounded_memory(driver: str, tmp_path: Path, request: pytest.FixtureRequest) -> None:
    uri = "sqlite://:memory:" if driver == "sqlite" else request.getfixturevalue("postgres_uri")
    sql = f"select i, {TEXT[driver]} as t from {SERIES[driver]}"
    assert growth(READ, uri, ROWS, sql.format(n=ROWS // 20), sql.format(n=ROWS)) < 100


def test_a_stream_is_inserted_with_bounded_memory(db_uri: str) -> None:
    assert growth(WRITE, db_uri, ROWS) < 100
