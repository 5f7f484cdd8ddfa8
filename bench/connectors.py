"""Connectors and bundles beside the peers: one large location, many small ones.

    python bench/connectors.py [--scale 1.0] [--rounds 5] [--markdown FILE] [TABLE ...]
    python bench/connectors.py --arm TABLE ARM SCALE       one measurement, in this process; prints a line of JSON

Every arm of a table is measured once a round, in turn, each in a process of its own; medians are shown. Ours and the
published peer run the same connector (bench/tables.py) over the same data. Memory is the peak above what the process
had before: of the host, and of the connector's process where it has one (above a connector that gives one batch).
"""

from __future__ import annotations

import resource
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import tables
from rounds import Figures, Results, arm, main

HERE = Path(__file__).resolve().parent

TITLES = {
    "stream": "1 GiB from a connector into the host, every value looked at (a sum of each number column)",
    "fetch": "4 million rows of 3 columns fetched into a bundle and committed",
    "large": "1 GiB fetched into a bundle as Arrow IPC and committed",
    "small": "1,000 locations that each wait 50 ms, fetched and committed",
}
BATCH_BYTES = tables.prepared().nbytes
STREAM_BATCHES = (1 << 30) // BATCH_BYTES
FETCH_BATCHES = 4_000_000 // tables.ROWS
GROUP_BATCHES = (32 << 20) // BATCH_BYTES + 1
SMALL_LOCATIONS, WAIT, ONE_BY_ONE = 1000, 0.05, 100
SCRIPT = f"ipc::{sys.executable} {HERE / 'tables.py'}"
NATIVE = "python::tables:Tables"


# ---- measuring ----


def peak(who: int) -> float:
    """MB."""
    return resource.getrusage(who).ru_maxrss / 1024


def measured(work: Callable[[], None], idle: Callable[[], None] | None = None) -> Figures:
    """Seconds of `work`, and the peaks above those of `idle`, which has done the same over next to nothing."""
    if idle is not None:
        idle()
    host, child = peak(resource.RUSAGE_SELF), peak(resource.RUSAGE_CHILDREN)
    start = time.perf_counter()
    work()
    seconds = time.perf_counter() - start
    return {
        "value": seconds,
        "host": peak(resource.RUSAGE_SELF) - host,
        "child": max(0.0, peak(resource.RUSAGE_CHILDREN) - child),
    }


def count(number: float) -> int:
    return max(1, round(number))


# ---- one large location as a stream ----


def look_at(reader: Any, batches: int) -> None:
    """Touch every number; the row count has to be right."""
    import pyarrow.compute as pc

    rows, total = 0, 0.0
    for batch in reader:
        rows += batch.num_rows
        total += pc.sum(batch.column(0)).as_py() + pc.sum(batch.column(1)).as_py()
    assert rows == batches * tables.ROWS
    assert total == batches * 1.5 * tables.ROWS * (tables.ROWS - 1) / 2


def stream_qanat(uri: str, scale: float) -> Figures:
    import qanat as qn

    def take(batches: int) -> None:
        arguments = {"batches": str(batches)}
        with qn.open_connector(uri, arguments, allow_external_code=True, folder=HERE) as connector:
            stream = connector.data("large")
            assert stream is not None
            look_at(pa.RecordBatchReader.from_stream(stream), batches)

    return measured(lambda: take(count(STREAM_BATCHES * scale)), lambda: take(1))


@arm("stream", "qanat, in the process (python::)")
def stream_native(scale: float) -> Figures:
    return stream_qanat(NATIVE, scale)


@arm("stream", "qanat, a process of its own (ipc::)")
def stream_ipc(scale: float) -> Figures:
    return stream_qanat(SCRIPT, scale)


WRITER = """
import sys, pyarrow as pa, tables
batch = tables.prepared()
with pa.ipc.new_stream(sys.stdout.buffer, batch.schema) as out:
    for _ in range(int(sys.argv[1])):
        out.write_batch(batch)
"""


@arm("stream", "a plain pyarrow pipe")
def stream_pipe(scale: float) -> Figures:
    def take(batches: int) -> None:
        command = [sys.executable, "-c", WRITER, str(batches)]
        with subprocess.Popen(command, stdout=subprocess.PIPE, cwd=HERE) as process:
            assert process.stdout is not None
            look_at(pa.ipc.open_stream(process.stdout), batches)

    return measured(lambda: take(count(STREAM_BATCHES * scale)), lambda: take(1))


# ---- one large location into a bundle ----


class Folder:
    """A folder that is not there before and not there after."""

    def __enter__(self) -> Path:
        self.parent = tempfile.mkdtemp(prefix="qanat-bench-")
        return Path(self.parent) / "bundle"

    def __exit__(self, *_: object) -> None:
        shutil.rmtree(self.parent)


def fetch_qanat(uri: str, save_as: str, arguments: dict[str, str], rows: int, parallel: int | None = None) -> None:
    import qanat as qn

    with Folder() as folder, qn.create(folder, config={"system": {"allow_external_code": "true"}}) as bundle:
        bundle.import_temp_connector("bench.tables", uri)
        bundle.create_source("bench.tables", arguments, save_as=save_as)
        if parallel is not None:
            bundle.set_config("system.fetch_parallel", str(parallel))
        fetched = bundle.fetch("base", "add")
        bundle.commit("fetched")
        assert (fetched.rows, bundle.num_rows) == (rows, rows)


def large_qanat(uri: str, save_as: str, scale: float, whole: int = FETCH_BATCHES) -> Figures:
    def take(batches: int) -> None:
        fetch_qanat(uri, save_as, {"batches": str(batches)}, batches * tables.ROWS)

    return measured(lambda: take(count(whole * scale)), lambda: take(1))


@arm("large", "qanat python::")
def large_native(scale: float) -> Figures:
    return large_qanat(NATIVE, "arrow", scale, STREAM_BATCHES)


@arm("large", "qanat ipc::")
def large_ipc(scale: float) -> Figures:
    return large_qanat(SCRIPT, "arrow", scale, STREAM_BATCHES)


@arm("fetch", "qanat ipc::, blocks as Arrow IPC")
def fetch_arrow(scale: float) -> Figures:
    return large_qanat(SCRIPT, "arrow", scale)


@arm("fetch", "qanat ipc::, blocks as Parquet")
def fetch_parquet(scale: float) -> Figures:
    return large_qanat(SCRIPT, "parquet", scale)


@arm("fetch", "qanat python::, blocks as Arrow IPC")
def fetch_native_arrow(scale: float) -> Figures:
    return large_qanat(NATIVE, "arrow", scale)


@arm("fetch", "qanat python::, blocks as Parquet")
def fetch_native_parquet(scale: float) -> Figures:
    return large_qanat(NATIVE, "parquet", scale)


@arm("fetch", "pyarrow's Parquet writer alone, the batch at hand")
def fetch_writer(scale: float) -> Figures:
    batch = tables.prepared()

    def take(batches: int) -> None:
        with Folder() as folder, pq.ParquetWriter(folder, batch.schema, compression="zstd") as out:
            while batches > 0:  # larger row groups than ours, which is quicker with pyarrow's dictionaries
                group = min(batches, GROUP_BATCHES)
                out.write_table(pa.Table.from_batches([batch] * group), row_group_size=group * tables.ROWS)
                batches -= group

    return measured(lambda: take(count(FETCH_BATCHES * scale)), lambda: take(1))


def fetch_bundlebase(arguments: dict[str, str], rows: int) -> None:
    import bundlebase.sync as bb

    with Folder() as folder:
        bundle = bb.create(str(folder), config={"system": {"allow_external_code": "true"}})
        bundle.import_temp_connector("bench.tables", SCRIPT)
        bundle.create_source("bench.tables", arguments)  # it fetches here; what fetch() finds is nothing
        bundle.fetch("base", "add")
        bundle.commit("fetched")
        assert bundle.num_rows() == rows


@arm("fetch", "bundlebase ipc:: (Parquet)")
def fetch_peer(scale: float) -> Figures:
    def take(batches: int) -> None:
        fetch_bundlebase({"batches": str(batches)}, batches * tables.ROWS)

    return measured(lambda: take(count(FETCH_BATCHES * scale)), lambda: take(1))


# ---- many small locations ----


def small(scale: float, fetch: Callable[[dict[str, str], int], None], part: int = 1) -> Figures:
    """`part`: only one in so many, and the seconds times that."""
    locations = count(SMALL_LOCATIONS * scale / part)
    arguments = {"locations": str(locations), "wait": str(WAIT)}
    one = arguments | {"locations": "1"}
    figures = measured(
        lambda: fetch(arguments, locations * tables.SMALL.num_rows), lambda: fetch(one, tables.SMALL.num_rows)
    )
    return figures | {"value": figures["value"] * part}


@arm("small", "qanat ipc::")
def small_ipc(scale: float) -> Figures:
    return small(scale, lambda arguments, rows: fetch_qanat(SCRIPT, "parquet", arguments, rows))


@arm("small", "qanat ipc::, 32 at a time")
def small_ipc_32(scale: float) -> Figures:
    return small(scale, lambda arguments, rows: fetch_qanat(SCRIPT, "parquet", arguments, rows, 32))


@arm("small", "qanat python::, 32 at a time")
def small_native(scale: float) -> Figures:
    return small(scale, lambda arguments, rows: fetch_qanat(NATIVE, "parquet", arguments, rows, 32))


@arm("small", "qanat ipc::, one after another (a tenth of them, times 10)")
def small_one_by_one(scale: float) -> Figures:
    return small(scale, lambda arguments, rows: fetch_qanat(SCRIPT, "parquet", arguments, rows, 1), 10)


@arm("small", "bundlebase ipc:: (a tenth of them, times 10)")
def small_peer(scale: float) -> Figures:
    return small(scale, fetch_bundlebase, 10)


# ---- tables ----


def columns(table: str, results: Results) -> list[str]:
    lines = [
        "| arm | s | host, MB above idle | connector, MB above idle | against the first |",
        "|---|---|---|---|---|",
    ]
    base = statistics.median(run["value"] for run in next(iter(results.values())))
    for name, runs in results.items():
        value, host, child = (statistics.median(run[key] for run in runs) for key in ("value", "host", "child"))
        lines.append(f"| {name} | {value:.2f} | {host:.0f} | {child:.0f} | {value / base:.2f} |")
    return lines


if __name__ == "__main__":
    main(Path(__file__).resolve(), __doc__, TITLES, columns)
