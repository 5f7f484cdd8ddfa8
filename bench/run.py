"""Ours beside the peers: the tables of the database part.

    python bench/run.py [--scale 1.0] [--rounds 5] [--slow] [--markdown FILE] [TABLE ...]

Starts a private PostgreSQL server, makes the data, then measures every arm of a table once a round, in turn, each in a
process of its own (bench/arms.py), and prints medians. Ratios within one run are what counts; the machine is part of
the figure. `--slow` adds the arms that build Python objects row by row.
"""

from __future__ import annotations

import argparse
import json
import sqlite3
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent / "scripts"))
sys.path.insert(0, str(HERE))

import data  # noqa: E402
from arms import ARMS  # noqa: E402

from postgres_server import PostgresServer  # noqa: E402

SLOW = {("pg_read_fixed", "psycopg"), ("pg_read_lineitem", "psycopg")}
FLOORS = HERE.parent / "build" / "bench-floors"


class Bench:
    def __init__(self, server: PostgresServer, folder: Path, scale: float) -> None:
        self.server, self.folder, self.scale = server, folder, scale
        self.sqlite_file = folder / "bench.db"
        self.prepared: set[str] = set()

    def prepare(self, table: str) -> None:
        kind = table.partition("_")[0]
        if kind in self.prepared:
            return
        self.prepared.add(kind)
        if kind == "sqlite":
            with sqlite3.connect(self.sqlite_file) as connection:
                connection.execute(data.SQLITE_CREATE)
                connection.execute(data.SQLITE_FILL.format(rows=int(data.SQLITE_ROWS * self.scale)))
            return
        for statement in data.postgres_setup(self.scale):
            self.server.execute(statement)
        self.server.execute("create table target (like fixed)")
        self.server.execute("create table many (i bigint, s text, f double precision)")
        self.server.execute(f"copy fixed to '{self.server.folder}/fixed.bin' (format binary)")

    def before(self, table: str) -> None:
        """Back to the same state before each measurement."""
        if table == "pg_upsert":
            self.server.execute("drop table if exists upsert_target")
            self.server.execute("create table upsert_target (id bigint primary key, v bigint, name text)")
            self.server.execute("insert into upsert_target select * from upsert_source")
        if table == "sqlite_write":
            for path in self.folder.glob("target.db*"):
                path.unlink()
        if table.startswith("pg_"):
            self.server.execute("checkpoint")

    def given(self, table: str) -> dict[str, Any]:
        onto, upserts = int(data.UPSERT_ONTO * self.scale), int(data.UPSERT_ROWS * self.scale)
        upsert_sql = (
            f"select id + {onto - upserts // 2} as id, v + 1 as v, name || '!' as name "
            f"from upsert_source where id <= {upserts}"
        )
        sql = {
            "pg_read_fixed": "select * from fixed",
            "pg_read_lineitem": "select * from lineitem",
            "pg_write": "select * from fixed",
            "pg_upsert": upsert_sql,
            "pg_first_row": "select $1::bigint as a, 'some text' as b, 0.5::float8 as c",
            "sqlite_read": "select * from t",
            "sqlite_write": "select * from t",
            "sqlite_first_row": "select * from t where rowid = ?",
        }.get(table, "")
        rows = {
            "pg_read_fixed": data.FIXED_ROWS * self.scale,
            "pg_read_lineitem": data.LINEITEM_ROWS * self.scale,
            "sqlite_read": data.SQLITE_ROWS * self.scale,
            "pg_execute_many": data.MANY_ROWS,
        }.get(table, 0)
        given: dict[str, Any] = {"sql": sql, "rows": int(rows), "create": data.SQLITE_CREATE}
        if table.startswith("sqlite"):
            target = self.folder / "target.db"
            return given | {
                "uri": f"sqlite:///{self.sqlite_file}",
                "file": str(self.sqlite_file),
                "target_uri": f"sqlite:///{target}",
                "target_file": str(target),
            }
        return given | {
            "uri": self.server.uri,
            "tcp_uri": self.server.tcp_uri(sslmode="disable"),
            "copy_file": f"{self.server.folder}/fixed.bin",
        }

    def measure(self, table: str, name: str) -> dict[str, float]:
        self.before(table)
        given = self.given(table)
        if name == "bytes only (floor)":
            conninfo = f"host={self.server.folder} port={self.server.port} user=qanat dbname=postgres"
            command = [str(FLOORS / "floor_postgres"), conninfo, given["sql"]]
        elif name == "step and values (floor)":
            command = [str(FLOORS / "floor_sqlite"), given["file"], given["sql"]]
        else:
            command = [sys.executable, str(HERE / "arms.py"), table, name, json.dumps(given)]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        if done.returncode != 0:
            raise SystemExit(f"{table}, {name}: {done.stderr[-2000:]}")
        return dict(json.loads(done.stdout.splitlines()[-1]))


def arms_of(table: str, slow: bool) -> list[str]:
    names = [name for known, name in ARMS if known == table and (slow or (known, name) not in SLOW)]
    if table.startswith("pg_read"):
        names.append("bytes only (floor)")
    if table == "sqlite_read":
        names.append("step and values (floor)")
    return names


def report(table: str, results: dict[str, list[dict[str, float]]]) -> list[str]:
    latency = table in ("pg_first_row", "pg_connect", "sqlite_first_row")
    unit, factor = ("ms", 1e3) if latency else ("s", 1.0)
    lines = [f"### {table}", "", f"| arm | wall {unit} | CPU s | peak MB | wall / qanat |", "|---|---|---|---|---|"]
    ours = next((name for name in results if name.startswith("qanat")), None)
    base = statistics.median(r["wall"] for r in results[ours]) if ours else None
    for name, runs in results.items():
        wall = statistics.median(r["wall"] for r in runs)
        cpu = statistics.median(r["cpu"] for r in runs)
        peak = statistics.median(r.get("peak_mb", 0) for r in runs)
        ratio = f"{wall / base:.2f}" if base else "-"
        lines.append(f"| {name} | {wall * factor:.3f} | {cpu:.2f} | {peak:.0f} | {ratio} |")
    return [*lines, ""]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("tables", nargs="*")
    parser.add_argument("--scale", type=float, default=1.0)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--slow", action="store_true")
    parser.add_argument("--markdown", type=Path)
    arguments = parser.parse_args()
    tables = arguments.tables or list(dict.fromkeys(table for table, _ in ARMS))
    output: list[str] = []
    with PostgresServer() as server, tempfile.TemporaryDirectory() as folder:
        bench = Bench(server, Path(folder), arguments.scale)
        for table in tables:
            bench.prepare(table)
            results: dict[str, list[dict[str, float]]] = {name: [] for name in arms_of(table, arguments.slow)}
            for _ in range(arguments.rounds):
                for name, runs in results.items():
                    runs.append(bench.measure(table, name))
            output += report(table, results)
            print("\n".join(output[-len(results) - 5 :]), flush=True)
    if arguments.markdown:
        arguments.markdown.write_text("\n".join(output), encoding="utf-8")


if __name__ == "__main__":
    main()
