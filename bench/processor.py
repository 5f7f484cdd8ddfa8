"""The processor beside the peers: rows to Python and back, single runs, row mode, bulk, rows that await, idle memory.

    python bench/processor.py [--scale 1.0] [--rounds 5] [--markdown FILE] [TABLE ...]
    python bench/processor.py --arm TABLE ARM SCALE       one measurement, in this process; prints a line of JSON

Every arm of a table is measured once a round, in turn, each in a process of its own; medians are shown. Ours runs in
the sandbox that the machine has. The peers run what they are given with the rights of the process:
RestrictedPython rewrites the code, a plain subprocess is a fresh interpreter without walls.
"""

from __future__ import annotations

import datetime as dt
import importlib
import json
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from decimal import Decimal
from pathlib import Path
from typing import Any

import pyarrow as pa
from rounds import Figures, Results, arm, main

BATCH = 10_000  # rows of a batch of the tables of rows
CALENDAR = dt.datetime(2024, 1, 1)

TITLES = {
    "rows_in": "Rows of 6 columns (int64, float64, text, bool, timestamp, decimal) from Arrow to dicts",
    "rows_out": "The same rows from dicts to Arrow, held to a schema",
    "one_row": "One run over one row, the statement compiled for it: the caller's wait",
    "row_mode": "Row mode over 500,000 rows of 6 columns: a call of the statement for each, 2 columns out",
    "bulk": "Bulk over 500,000 rows of 6 columns: one call, 2 columns out",
    "awaiting": "10,000 rows that each await 10 ms, 100 in flight",
    "idle": "Memory of what stays between runs (proportional set size)",
}
UNITS = {"rows_in": "ns a row", "rows_out": "ns a row", "one_row": "p50 ms", "awaiting": "s", "idle": "MB"}


# ---- data ----

SCHEMA = pa.schema(
    [
        ("id", pa.int64()),
        ("price", pa.float64()),
        ("name", pa.string()),
        ("open", pa.bool_()),
        ("at", pa.timestamp("us")),
        ("total", pa.decimal128(12, 2)),
    ]
)


def dicts(first: int, count: int) -> list[dict[str, Any]]:
    return [
        {
            "id": 1_000_000 + i,
            "price": i * 0.5,
            "name": f"customer {i % 5000}",
            "open": i % 3 == 0,
            "at": CALENDAR + dt.timedelta(seconds=i),
            "total": Decimal(i * 7).scaleb(-2),
        }
        for i in range(first, first + count)
    ]


def batch(first: int, count: int) -> pa.RecordBatch:
    return pa.RecordBatch.from_pylist(dicts(first, count), schema=SCHEMA)


def per_row(call: Callable[[], Any], scale: float) -> Figures:
    """The median of many calls over BATCH rows."""
    call()
    nanos = []
    for _ in range(max(5, int(40 * scale))):
        start = time.perf_counter_ns()
        made = call()
        nanos.append((time.perf_counter_ns() - start) / BATCH)
        del made  # not timed: the caller's to do, and alike for all
    return {"value": statistics.median(nanos)}


# ---- rows in ----


def worker() -> Any:
    return importlib.import_module("qanat.worker._worker")


@arm("rows_in", "qanat")
def qanat_in(scale: float) -> Figures:
    schema, array = batch(0, BATCH).__arrow_c_array__()
    rows = worker().RowsIn(schema)
    assert rows.list(array) == dicts(0, BATCH)
    return per_row(lambda: rows.list(array), scale)


@arm("rows_in", "pyarrow to_pylist")
def pyarrow_in(scale: float) -> Figures:
    source = batch(0, BATCH)
    return per_row(source.to_pylist, scale)


@arm("rows_in", "pandas to_dict")
def pandas_in(scale: float) -> Figures:
    frame = batch(0, BATCH).to_pandas()
    return per_row(lambda: frame.to_dict("records"), scale)


@arm("rows_in", "polars to_dicts")
def polars_in(scale: float) -> Figures:
    import polars as pl

    frame = pl.DataFrame(pa.Table.from_batches([batch(0, BATCH)]))
    return per_row(frame.to_dicts, scale)


# ---- rows out ----


@arm("rows_out", "qanat")
def qanat_out(scale: float) -> Figures:
    rows = dicts(0, BATCH)
    out = worker().RowsOut(SCHEMA.__arrow_c_schema__())

    def call() -> Any:
        out.put_all(rows)
        return out.finish()

    return per_row(call, scale)


@arm("rows_out", "pyarrow from_pylist")
def pyarrow_out(scale: float) -> Figures:
    rows = dicts(0, BATCH)
    return per_row(lambda: pa.RecordBatch.from_pylist(rows, schema=SCHEMA), scale)


@arm("rows_out", "pandas DataFrame")
def pandas_out(scale: float) -> Figures:
    import pandas as pd

    rows = dicts(0, BATCH)
    return per_row(lambda: pd.DataFrame(rows), scale)


@arm("rows_out", "polars from_dicts")
def polars_out(scale: float) -> Figures:
    import polars as pl

    rows = dicts(0, BATCH)
    schema = pl.DataFrame(pa.Table.from_batches([batch(0, 1)])).schema
    return per_row(lambda: pl.from_dicts(rows, schema=schema), scale)


# ---- statements ----

OUTPUT = {"id": "Int64", "amount": "Float64"}
ONE_ROW = 'row = INPUT_DATA[0]\nreturn [{"id": row["id"], "amount": row["price"] * 2}]'
BULK = 'return [{"id": row["id"], "amount": row["price"] * 2} for row in INPUT_DATA]'


def body(statement: str, keyword: str = "def") -> str:
    """The text of a function f(INPUT_DATA, DATA_CHECKPOINT) with the statement as its body."""
    lines = "\n".join("    " + line for line in statement.splitlines())
    return f"{keyword} f(INPUT_DATA, DATA_CHECKPOINT):\n{lines}\n"


def plain_function(statement: str) -> Any:
    namespace: dict[str, Any] = {}
    exec(compile(body(statement), "statement", "exec"), namespace)
    return namespace["f"]


def restricted_function(statement: str) -> Any:
    """Compiled by RestrictedPython, with the guards that its documentation gives."""
    from RestrictedPython import compile_restricted, safe_globals
    from RestrictedPython.Eval import default_guarded_getitem, default_guarded_getiter
    from RestrictedPython.Guards import guarded_iter_unpack_sequence

    namespace = dict(safe_globals)
    namespace["_getitem_"] = default_guarded_getitem
    namespace["_getiter_"] = default_guarded_getiter
    namespace["_iter_unpack_sequence_"] = guarded_iter_unpack_sequence
    exec(compile_restricted(body(statement), "statement", "exec"), namespace)
    return namespace["f"]


def processor(statement: str, **options: Any) -> Any:
    import qanat as qn

    return qn.Processor(statement, output=OUTPUT, memory="4GB", timeout=600, **options)


def run_well(made: Any, data: Any, rows: int) -> Any:
    result = made.run(data)
    assert result.status == "ok", f"{result.status}: {result.message}"
    assert result.stats["rows_out"] == rows
    return result


# ---- one row ----


def latency(call: Callable[[], Any], times: int, pause: float = 0) -> Figures:
    seconds = []
    for _ in range(times):
        time.sleep(pause)
        start = time.perf_counter()
        call()
        seconds.append(time.perf_counter() - start)
    seconds.sort()
    return {"value": seconds[times // 2] * 1e3, "p95": seconds[times * 95 // 100] * 1e3}


def one_row(scale: float, pause: float) -> Figures:
    made = processor(ONE_ROW)
    data = [{"id": 1, "price": 2.5}]
    for _ in range(5):
        run_well(made, data, 1)
    return latency(lambda: run_well(made, data, 1), int(300 * scale) + 20, pause)


@arm("one_row", "qanat, 5 ms between runs")
def qanat_one_row(scale: float) -> Figures:
    return one_row(scale, 0.005)


@arm("one_row", "qanat, one after the other")
def qanat_one_row_on_end(scale: float) -> Figures:
    return one_row(scale, 0)


@arm("one_row", "RestrictedPython, in the process")
def restricted_one_row(scale: float) -> Figures:
    data = [{"id": 1, "price": 2.5}]
    return latency(lambda: restricted_function(ONE_ROW)(data, None), int(300 * scale) + 20)


@arm("one_row", "a subprocess a run, no walls")
def subprocess_one_row(scale: float) -> Figures:
    code = (
        "import json, sys\n" + body(ONE_ROW) + "json.dump(f(json.load(sys.stdin), None), sys.stdout)\n"
    )  # -I -S: as bare as it gets
    command = [sys.executable, "-I", "-S", "-c", code]
    data = json.dumps([{"id": 1, "price": 2.5}])

    def call() -> None:
        done = subprocess.run(command, input=data, capture_output=True, text=True, check=True)
        assert json.loads(done.stdout) == [{"id": 1, "amount": 5.0}], done.stderr

    return latency(call, int(60 * scale) + 10)


# ---- row by row and bulk ----

ROWS = 500_000


def table_of(scale: float) -> pa.Table:
    count = int(ROWS * scale)
    return pa.Table.from_batches([batch(i, min(BATCH, count - i)) for i in range(0, count, BATCH)])


def rate(call: Callable[[], Any], rows: int) -> Figures:
    start = time.perf_counter()
    call()
    return {"value": rows / (time.perf_counter() - start)}


def from_arrow_to_arrow(table: pa.Table, call: Callable[[list[Any]], list[Any]]) -> None:
    """What an engine without rows in C does: to_pylist, the statement, from_pylist."""
    schema = pa.schema([("id", pa.int64()), ("amount", pa.float64())])
    rows = 0
    for part in table.to_batches():
        rows += pa.RecordBatch.from_pylist(call(part.to_pylist()), schema=schema).num_rows
    assert rows == table.num_rows


@arm("row_mode", "qanat")
def qanat_rows(scale: float) -> Figures:
    table = table_of(scale)
    made = processor(ONE_ROW)
    run_well(made, table.slice(0, 1), 1)
    return rate(lambda: run_well(made, table, table.num_rows), table.num_rows)


def row_by_row(function: Any) -> Callable[[list[Any]], list[Any]]:
    return lambda rows: [made for row in rows for made in function([row], None)]


@arm("row_mode", "RestrictedPython, in the process")
def restricted_rows(scale: float) -> Figures:
    table = table_of(scale)
    call = row_by_row(restricted_function(ONE_ROW))
    return rate(lambda: from_arrow_to_arrow(table, call), table.num_rows)


@arm("row_mode", "plain Python and pyarrow, in the process")
def plain_rows(scale: float) -> Figures:
    table = table_of(scale)
    call = row_by_row(plain_function(ONE_ROW))
    return rate(lambda: from_arrow_to_arrow(table, call), table.num_rows)


@arm("bulk", "qanat, a call for all rows")
def qanat_bulk(scale: float) -> Figures:
    table = table_of(scale)
    made = processor(BULK, mode="bulk")
    run_well(made, table.slice(0, 1), 1)
    return rate(lambda: run_well(made, table, table.num_rows), table.num_rows)


@arm("bulk", "qanat, a call for each 10,000 rows")
def qanat_bulk_batches(scale: float) -> Figures:
    table = table_of(scale)
    made = processor(BULK, mode="bulk", batch_rows=BATCH)
    run_well(made, table.slice(0, 1), 1)
    return rate(lambda: run_well(made, table, table.num_rows), table.num_rows)


@arm("bulk", "RestrictedPython, in the process")
def restricted_bulk(scale: float) -> Figures:
    table = table_of(scale)
    function = restricted_function(BULK)
    return rate(lambda: from_arrow_to_arrow(table, lambda rows: function(rows, None)), table.num_rows)


@arm("bulk", "plain Python and pyarrow, in the process")
def plain_bulk(scale: float) -> Figures:
    table = table_of(scale)
    function = plain_function(BULK)
    return rate(lambda: from_arrow_to_arrow(table, lambda rows: function(rows, None)), table.num_rows)


@arm("bulk", "the statement alone, over dicts (floor)")
def statement_alone(scale: float) -> Figures:
    function = plain_function(BULK)
    parts = [part.to_pylist() for part in table_of(scale).to_batches()]
    return rate(lambda: [len(function(rows, None)) for rows in parts], sum(map(len, parts)))


# ---- rows that await ----

AWAITING_ROWS, IN_FLIGHT = 10_000, 100


@arm("awaiting", "qanat, concurrency=100")
def qanat_awaiting(scale: float) -> Figures:
    made = processor("await sleep(0.01)\n" + ONE_ROW, concurrency=IN_FLIGHT)
    data = table_of(AWAITING_ROWS / ROWS)
    run_well(made, data.slice(0, 1), 1)
    start = time.perf_counter()
    run_well(made, data, AWAITING_ROWS)
    return {"value": time.perf_counter() - start}


@arm("awaiting", "asyncio in the process (floor)")
def asyncio_awaiting(scale: float) -> Figures:
    import asyncio

    rows = table_of(AWAITING_ROWS / ROWS).to_pylist()

    async def work(todo: Iterator[Any], done: list[Any]) -> None:
        for row in todo:
            await asyncio.sleep(0.01)
            done.append({"id": row["id"], "amount": row["price"] * 2})

    async def everything() -> list[Any]:
        todo, done = iter(rows), list[Any]()
        await asyncio.gather(*(work(todo, done) for _ in range(IN_FLIGHT)))
        return done

    start = time.perf_counter()
    assert len(asyncio.run(everything())) == AWAITING_ROWS
    return {"value": time.perf_counter() - start}


# ---- idle ----


def children_of(pid: int) -> list[int]:
    """Processes below one, each before its own."""
    found = []
    for task in Path(f"/proc/{pid}/task").iterdir():
        for child in (task / "children").read_text(encoding="ascii").split():
            found += [int(child), *children_of(int(child))]
    return found


def resident(pid: int) -> tuple[float, float]:
    """MB of proportional set size and of memory that is nobody else's."""
    kilobytes = {"Pss": 0, "Private_Clean": 0, "Private_Dirty": 0}
    for line in Path(f"/proc/{pid}/smaps_rollup").read_text(encoding="ascii").splitlines()[1:]:
        name, value = line.split(":")
        if name in kilobytes:
            kilobytes[name] = int(value.split()[0])
    return kilobytes["Pss"] / 1024, (kilobytes["Private_Clean"] + kilobytes["Private_Dirty"]) / 1024


def idle_processes(imports: str) -> list[tuple[float, float]]:
    """Of the interpreter that waits, then of each process that stands ready for a run."""
    made = processor(imports + ONE_ROW)
    run_well(made, [{"id": 1, "price": 2.5}], 1)
    time.sleep(1)
    return [resident(pid) for pid in children_of(os.getpid())]


def idle(imports: str) -> Figures:
    processes = idle_processes(imports)
    return {"value": sum(pss for pss, _ in processes), "processes": len(processes), "largest": max(processes)[0]}


@arm("idle", "qanat, interpreter and the processes that stand ready")
def qanat_idle(scale: float) -> Figures:
    return idle("")


@arm("idle", "qanat, with pandas imported")
def qanat_idle_pandas(scale: float) -> Figures:
    return idle("import pandas\n")


# ---- tables ----

RATES = {"row_mode", "bulk"}


def columns(table: str, results: Results) -> list[str]:
    unit = UNITS.get(table, "rows/s")
    extra = sorted({key for runs in results.values() for key in runs[0] if key != "value"})
    names = {"p95": "p95 ms", "processes": "processes", "largest": "largest MB"}
    lines = [
        f"| arm | {unit} | " + "".join(f"{names[key]} | " for key in extra) + "against qanat |",
        "|---|---|" + "---|" * len(extra) + "---|",
    ]
    base = statistics.median(run["value"] for run in next(iter(results.values())))
    for name, runs in results.items():
        value = statistics.median(run["value"] for run in runs)
        shown = f"{value:,.0f}" if unit in ("rows/s", "ns a row") else f"{value:.2f}"
        more = "".join(f"{statistics.median(run[key] for run in runs):.2f} | " for key in extra)
        ratio = base / value if table in RATES else value / base
        lines.append(f"| {name} | {shown} | {more}{ratio:.2f} |")
    return lines


if __name__ == "__main__":
    main(Path(__file__).resolve(), __doc__, TITLES, columns)
