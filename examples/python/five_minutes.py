"""The first five minutes: a table, a question, an upsert, a large result into Parquet, and an error that helps.

python examples/python/five_minutes.py [FOLDER]
"""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path

import polars as pl

import qanat as qn


def tour(folder: Path) -> list[str]:
    """Run the tour in a folder and return what it has to say."""
    said: list[str] = []
    with qn.connect(qn.DatabaseConfig("sqlite", path=folder / "demo.db")) as db:
        planes = pl.DataFrame({"tail": ["N10156", "N102UW", "N103US"], "seats": [55, 182, 182]})
        said.append(f"inserted {db.insert('planes', planes, mode='create')} planes")

        large = db.execute("select tail from planes where seats > ? order by tail", [100])
        said.append(f"large ones: {', '.join(large['tail'])}")

        db.execute("create unique index by_tail on planes (tail)")
        news = {"tail": ["N103US", "N104UW"], "seats": [190, 182]}
        db.insert("planes", news, mode="upsert", key=["tail"])
        said.append(f"after the upsert: {db.select('planes', order_by=['tail'])['seats'].to_list()}")

        db.insert("flights", pl.DataFrame({"id": pl.int_range(200_000, eager=True)}), mode="create")
        with db.stream(table="flights", batch_rows=50_000) as stream:
            stream.lazy().sink_parquet(folder / "flights.parquet")
        rows = pl.scan_parquet(folder / "flights.parquet").select(pl.len()).collect().item()
        said.append(f"streamed {rows} rows into Parquet, a batch at a time")

        try:
            db.execute("select * from plains")
        except qn.QueryExecutionError as error:
            said.append(f"{error.sqlstate}: {error}" + (f" ({error.hint})" if error.hint else ""))
    return said


def main() -> None:
    if len(sys.argv) > 1:
        print(*tour(Path(sys.argv[1])), sep="\n")
        return
    with tempfile.TemporaryDirectory() as folder:
        print(*tour(Path(folder)), sep="\n")


if __name__ == "__main__":
    main()
