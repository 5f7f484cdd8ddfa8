"""One measurement of one arm, in a process of its own.

    python bench/arms.py TABLE ARM JSON     the JSON holds addresses and sizes (bench/run.py makes it)

An arm connects and prepares first; then only the work is timed: wall seconds, CPU seconds of this process, and the peak
memory of the process. Every arm of a table ends with the same thing in hand. Prints one line of JSON.
"""

from __future__ import annotations

import json
import resource
import sys
import time
from collections.abc import Callable
from typing import Any

import polars as pl

Work = Callable[[], Any]
ARMS: dict[tuple[str, str], Callable[[dict[str, Any]], Work]] = {}


def arm(table: str, name: str) -> Callable[[Callable[[dict[str, Any]], Work]], Callable[[dict[str, Any]], Work]]:
    def register(make: Callable[[dict[str, Any]], Work]) -> Callable[[dict[str, Any]], Work]:
        ARMS[table, name] = make
        return make

    return register


def rows_of(frame: pl.DataFrame, expected: int) -> int:
    assert frame.height == expected, f"{frame.height} rows, {expected} expected"
    return frame.height


# ---- reads: SQL in, a polars frame out ----


def qanat_read(given: dict[str, Any]) -> Work:
    import qanat as qn

    connection = qn.connect(given["uri"])
    return lambda: rows_of(connection.execute(given["sql"]), given["rows"])


def adbc_postgres_read(given: dict[str, Any]) -> Work:
    from adbc_driver_postgresql import dbapi

    cursor = dbapi.connect(given["uri"]).cursor()

    def work() -> int:
        cursor.execute(given["sql"])
        frame = pl.from_arrow(cursor.fetch_arrow_table())
        assert isinstance(frame, pl.DataFrame)
        return rows_of(frame, given["rows"])

    return work


def adbc_sqlite_read(given: dict[str, Any]) -> Work:
    from adbc_driver_sqlite import dbapi

    cursor = dbapi.connect(given["file"]).cursor()

    def work() -> int:
        cursor.execute(given["sql"])
        frame = pl.from_arrow(cursor.fetch_arrow_table())
        assert isinstance(frame, pl.DataFrame)
        return rows_of(frame, given["rows"])

    return work


def connectorx_read(given: dict[str, Any]) -> Work:
    import connectorx

    uri = given.get("tcp_uri") or f"sqlite://{given['file']}"
    return lambda: rows_of(connectorx.read_sql(uri, given["sql"], return_type="polars"), given["rows"])


def psycopg_read(given: dict[str, Any]) -> Work:
    import psycopg

    connection = psycopg.connect(given["uri"])

    def work() -> int:
        cursor = connection.cursor(binary=True)
        cursor.execute(given["sql"])
        names = [column.name for column in cursor.description or []]
        return rows_of(pl.DataFrame(cursor.fetchall(), schema=names, orient="row"), given["rows"])

    return work


def sqlite3_read(given: dict[str, Any]) -> Work:
    import sqlite3

    connection = sqlite3.connect(given["file"])

    def work() -> int:
        cursor = connection.execute(given["sql"])
        names = [column[0] for column in cursor.description]
        return rows_of(pl.DataFrame(cursor.fetchall(), schema=names, orient="row"), given["rows"])

    return work


for read_table in ("pg_read_fixed", "pg_read_lineitem"):
    ARMS[read_table, "qanat"] = qanat_read
    ARMS[read_table, "adbc"] = adbc_postgres_read
    ARMS[read_table, "connectorx"] = connectorx_read
    ARMS[read_table, "psycopg"] = psycopg_read
ARMS["sqlite_read", "qanat"] = qanat_read
ARMS["sqlite_read", "adbc"] = adbc_sqlite_read
ARMS["sqlite_read", "connectorx"] = connectorx_read
ARMS["sqlite_read", "sqlite3"] = sqlite3_read


# ---- bulk writes: a polars frame into an empty table that exists, committed ----


def fixed_frame(given: dict[str, Any]) -> pl.DataFrame:
    import qanat as qn

    with qn.connect(given["uri"]) as connection:
        return connection.execute(given["sql"])


@arm("pg_write", "qanat")
def qanat_pg_write(given: dict[str, Any]) -> Work:
    import qanat as qn

    frame, connection = fixed_frame(given), qn.connect(given["uri"])
    connection.execute("truncate target")
    return lambda: connection.insert("target", frame)


@arm("pg_write", "adbc")
def adbc_pg_write(given: dict[str, Any]) -> Work:
    from adbc_driver_postgresql import dbapi

    frame, connection = fixed_frame(given), dbapi.connect(given["uri"])
    cursor = connection.cursor()
    cursor.execute("truncate target")
    connection.commit()

    def work() -> None:
        cursor.adbc_ingest("target", frame.to_arrow(), mode="append")
        connection.commit()

    return work


@arm("pg_write", "psycopg")
def psycopg_pg_write(given: dict[str, Any]) -> Work:
    import psycopg

    frame, connection = fixed_frame(given), psycopg.connect(given["uri"], autocommit=True)
    connection.execute("truncate target")

    def work() -> None:
        text = frame.write_csv(include_header=False)
        with connection.cursor().copy("copy target from stdin (format csv)") as copy:
            copy.write(text)

    return work


@arm("pg_write", "server-side copy (floor)")
def server_side_copy(given: dict[str, Any]) -> Work:
    import psycopg

    connection = psycopg.connect(given["uri"], autocommit=True)
    connection.execute("truncate target")
    return lambda: connection.execute(f"copy target from '{given['copy_file']}' (format binary)")


# ---- upsert: 200k rows onto 1M, half of them there ----


@arm("pg_upsert", "qanat")
def qanat_upsert(given: dict[str, Any]) -> Work:
    import qanat as qn

    connection = qn.connect(given["uri"])
    frame = connection.execute(given["sql"])
    return lambda: connection.insert("upsert_target", frame, mode="upsert", key=["id"])


UPSERT_SQL = (
    "insert into upsert_target select * from stage on conflict (id) do update set v = excluded.v, name = excluded.name"
)


@arm("pg_upsert", "adbc + staging")
def adbc_upsert(given: dict[str, Any]) -> Work:
    from adbc_driver_postgresql import dbapi

    connection = dbapi.connect(given["uri"])
    cursor = connection.cursor()
    cursor.execute(given["sql"])
    rows = cursor.fetch_arrow_table()

    def work() -> None:
        cursor.adbc_ingest("stage", rows, mode="create", temporary=True)
        cursor.execute(UPSERT_SQL)
        connection.commit()

    return work


@arm("pg_upsert", "psycopg + staging")
def psycopg_upsert(given: dict[str, Any]) -> Work:
    import psycopg

    connection = psycopg.connect(given["uri"])
    frame = pl.DataFrame(connection.execute(given["sql"]).fetchall(), schema=["id", "v", "name"], orient="row")

    def work() -> None:
        connection.execute("create temp table stage (like upsert_target) on commit drop")
        with connection.cursor().copy("copy stage from stdin (format csv)") as copy:
            copy.write(frame.write_csv(include_header=False))
        connection.execute(UPSERT_SQL)
        connection.commit()

    return work


# ---- execute_many: 10,000 rows through one insert statement, committed ----


def many_rows(given: dict[str, Any]) -> list[tuple[int, str, float]]:
    return [(i, f"name {i}", i * 0.5) for i in range(given["rows"])]


@arm("pg_execute_many", "qanat")
def qanat_many(given: dict[str, Any]) -> Work:
    import qanat as qn

    rows, connection = many_rows(given), qn.connect(given["uri"])
    connection.execute("truncate many")
    return lambda: connection.execute_many("insert into many values ($1, $2, $3)", rows)


@arm("pg_execute_many", "psycopg")
def psycopg_many(given: dict[str, Any]) -> Work:
    import psycopg

    rows, connection = many_rows(given), psycopg.connect(given["uri"])
    connection.execute("truncate many")
    connection.commit()

    def work() -> None:
        connection.cursor().executemany("insert into many values (%s, %s, %s)", rows)
        connection.commit()

    return work


@arm("pg_execute_many", "adbc")
def adbc_many(given: dict[str, Any]) -> Work:
    from adbc_driver_postgresql import dbapi

    rows, connection = many_rows(given), dbapi.connect(given["uri"])
    cursor = connection.cursor()
    cursor.execute("truncate many")
    connection.commit()

    def work() -> None:
        cursor.executemany("insert into many values ($1, $2, $3)", rows)
        connection.commit()

    return work


# ---- latency: each call is timed; the median is reported as wall ----


def median_of(times: int, call: Work) -> float:
    seconds = []
    for _ in range(times):
        start = time.perf_counter()
        call()
        seconds.append(time.perf_counter() - start)
    return sorted(seconds)[times // 2]


@arm("pg_first_row", "qanat, a frame")
def qanat_first_row(given: dict[str, Any]) -> Work:
    import qanat as qn

    connection = qn.connect(given["uri"])
    connection.execute(given["sql"], [1])
    return lambda: median_of(2000, lambda: connection.execute(given["sql"], [1]))


@arm("pg_first_row", "qanat, no frame")
def qanat_first_batch(given: dict[str, Any]) -> Work:
    import qanat as qn

    connection = qn.connect(given["uri"])

    def call() -> None:
        with connection.stream(given["sql"], [1]) as stream:
            for _ in stream:
                pass

    call()
    return lambda: median_of(2000, call)


@arm("pg_first_row", "psycopg, no frame")
def psycopg_first_row(given: dict[str, Any]) -> Work:
    import psycopg

    cursor = psycopg.connect(given["uri"], autocommit=True).cursor()
    sql = given["sql"].replace("$1", "%s")
    return lambda: median_of(2000, lambda: cursor.execute(sql, [1], prepare=True).fetchall())


@arm("pg_first_row", "adbc, a frame")
def adbc_first_row(given: dict[str, Any]) -> Work:
    from adbc_driver_postgresql import dbapi

    cursor = dbapi.connect(given["uri"], autocommit=True).cursor()

    def call() -> None:
        cursor.execute(given["sql"], [1])
        pl.from_arrow(cursor.fetch_arrow_table())

    return lambda: median_of(500, call)


@arm("pg_connect", "qanat")
def qanat_connect(given: dict[str, Any]) -> Work:
    import qanat as qn

    def call() -> None:
        with qn.connect(given["uri"]) as connection:
            connection.execute("select 1 as a")

    call()
    return lambda: median_of(100, call)


@arm("pg_connect", "psycopg")
def psycopg_connect(given: dict[str, Any]) -> Work:
    import psycopg

    def call() -> None:
        with psycopg.connect(given["uri"]) as connection:
            connection.execute("select 1 as a").fetchall()

    call()
    return lambda: median_of(100, call)


@arm("pg_connect", "adbc")
def adbc_connect(given: dict[str, Any]) -> Work:
    from adbc_driver_postgresql import dbapi

    def call() -> None:
        with dbapi.connect(given["uri"]) as connection, connection.cursor() as cursor:
            cursor.execute("select 1 as a")
            cursor.fetch_arrow_table()

    call()
    return lambda: median_of(20, call)


# ---- SQLite writes: a frame into a new file, journal on ----


def sqlite_frame(given: dict[str, Any]) -> pl.DataFrame:
    import qanat as qn

    with qn.connect(given["uri"]) as connection:
        return connection.execute(given["sql"])


@arm("sqlite_write", "qanat")
def qanat_sqlite_write(given: dict[str, Any]) -> Work:
    import qanat as qn

    frame, connection = sqlite_frame(given), qn.connect(given["target_uri"])
    connection.execute(given["create"])
    return lambda: connection.insert("t", frame)


@arm("sqlite_write", "adbc")
def adbc_sqlite_write(given: dict[str, Any]) -> Work:
    from adbc_driver_sqlite import dbapi

    frame, connection = sqlite_frame(given), dbapi.connect(given["target_file"])
    cursor = connection.cursor()
    cursor.execute(given["create"])
    connection.commit()

    def work() -> None:
        cursor.adbc_ingest("t", frame.to_arrow(), mode="append")
        connection.commit()

    return work


@arm("sqlite_write", "sqlite3")
def sqlite3_write(given: dict[str, Any]) -> Work:
    import sqlite3

    frame, connection = sqlite_frame(given), sqlite3.connect(given["target_file"])
    connection.execute(given["create"])

    def work() -> None:
        connection.executemany("insert into t values (?,?,?,?,?,?,?,?)", frame.iter_rows())
        connection.commit()

    return work


@arm("sqlite_first_row", "qanat, no frame")
def qanat_sqlite_first_row(given: dict[str, Any]) -> Work:
    import qanat as qn

    connection = qn.connect(given["uri"])

    def call() -> None:
        with connection.stream(given["sql"], [1]) as stream:
            for _ in stream:
                pass

    call()
    return lambda: median_of(5000, call)


@arm("sqlite_first_row", "sqlite3, no frame")
def sqlite3_first_row(given: dict[str, Any]) -> Work:
    import sqlite3

    connection = sqlite3.connect(given["file"])
    return lambda: median_of(5000, lambda: connection.execute(given["sql"], [1]).fetchall())


def main() -> None:
    table, name, given = sys.argv[1], sys.argv[2], json.loads(sys.argv[3])
    work = ARMS[table, name](given)
    before, start = resource.getrusage(resource.RUSAGE_SELF), time.perf_counter()
    answer = work()
    wall, after = time.perf_counter() - start, resource.getrusage(resource.RUSAGE_SELF)
    cpu = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    if isinstance(answer, float):  # a latency table: the median of one call
        wall = answer
    print(json.dumps({"wall": wall, "cpu": cpu, "peak_mb": after.ru_maxrss / 1024}))


if __name__ == "__main__":
    main()
