"""Nothing is left behind: objects, references and memory after many rounds."""

from __future__ import annotations

import gc
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import polars as pl
import pyarrow as pa
import pytest

import qanat as qn


def resident_kib() -> int:
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith("VmRSS:"):
            return int(line.split()[1])
    raise AssertionError("no VmRSS")


@pytest.fixture
def db():  # type: ignore[no-untyped-def]
    with qn.connect("sqlite://:memory:") as connection:
        connection.execute("create table t (a integer primary key, b text)")
        connection.insert("t", {"a": list(range(1000)), "b": [f"text number {n} of some length" for n in range(1000)]})
        yield connection


def failing(db: qn.Connection) -> None:
    for sql, params in (
        ("select nonsense", None),
        ("select ?", [object()]),
        ("select ?", [10**50]),
        ("select ?", [1, 2]),
    ):
        with pytest.raises((qn.QanatError, TypeError)):
            db.execute(sql, params)
    with pytest.raises(qn.ConstraintViolationError):
        db.insert("t", {"a": [1], "b": ["x"]})


def open_and_close(db: qn.Connection) -> None:
    with qn.connect("sqlite://:memory:") as other:
        other.execute("select 1 as a")


def half_read(db: qn.Connection) -> None:
    with db.stream("select a, b, a from t", batch_rows=10) as stream:
        batch = next(stream)
        _ = batch.to_polars(), stream.schema, batch.__arrow_c_array__(), batch.schema.__arrow_c_schema__()


def given_away(db: qn.Connection) -> None:
    stream = db.stream("select * from t")
    _ = stream.__arrow_c_schema__(), stream.__arrow_c_stream__()


CALLS: dict[str, Callable[[qn.Connection], object]] = {
    "execute": lambda db: db.execute("select * from t where a > ? and b <> ?", [10, "x" * 1000]),
    "named": lambda db: db.execute("select :a as a, :b as b", {"a": bytearray(b"x" * 1000), "b": [1, {"c": 2}]}),
    "to_pyarrow": lambda db: db.stream("select * from t").to_pyarrow(),
    "half_read": half_read,
    "given_away": given_away,
    "insert": lambda db: db.insert("t", pl.DataFrame({"a": [1], "b": ["x" * 1000]}), mode="upsert", key=["a"]),
    "execute_many": lambda db: db.execute_many("update t set b = ? where a = ?", [("y" * 100, 1)] * 10),
    "failing": failing,
    "open_and_close": open_and_close,
    "config": lambda db: qn.DatabaseConfig.from_uri("postgresql://u:p@h/d?sslmode=require").to_dict(),
}


@pytest.mark.parametrize("name", CALLS)
def test_rounds_leave_nothing(db: qn.Connection, name: str) -> None:
    call = CALLS[name]

    def rounds(count: int) -> None:
        for _ in range(count):
            call(db)
        gc.collect()

    rounds(50)
    objects, memory = len(gc.get_objects()), resident_kib()
    rounds(300)
    assert len(gc.get_objects()) - objects < 100
    assert resident_kib() - memory < 8 * 1024


def test_parameters_are_given_back(db: qn.Connection) -> None:
    values = ["a text of its own " * 3, b"bytes" * 7, 10**20, 1.5, [1, 2], {"k": 1}]
    before = [sys.getrefcount(value) for value in values]
    for _ in range(100):
        db.execute("select ?, ?, ?, ?, ?, ?", values)
        with pytest.raises(TypeError):
            db.execute("select ?, ?, ?, ?, ?, ?, ?", [*values, object()])
    gc.collect()
    after = [sys.getrefcount(value) for value in values]
    assert all(abs(a - b) < 10 for a, b in zip(after, before, strict=True))


def test_singletons_keep_their_count(db: qn.Connection) -> None:
    if sys.version_info >= (3, 12):
        pytest.skip("None is immortal since CPython 3.12")
    before = sys.getrefcount(None)
    for _ in range(2000):
        db.execute("update t set b = b where a = ?", [None])
        db.begin()
        db.commit()
        db.execute_many("update t set b = b where a = ?", [])
    gc.collect()
    assert abs(sys.getrefcount(None) - before) < 500


def test_runs_of_statements_leave_nothing_behind() -> None:
    double = qn.Processor(
        "log.info('x' * 100)\nreturn [{'id': row['id'] * 2, 'text': 'x' * 50} for row in INPUT_DATA]",
        output={"id": "Int64", "text": "Utf8"},
        input={"id": "Int64"},
        checkpoint="id",
        mode="bulk",
    )
    failing_one = qn.Processor("return [{'id': 1 / 0}]", output={"id": "Int64"})
    frame = pl.DataFrame({"id": range(1000)})
    rows = frame.to_dicts()

    def use() -> None:
        result = double.run(frame, checkpoint=5)
        assert (len(result.to_dicts()), len(result.logs), result.checkpoint) == (1000, 1, 1998)
        assert result.to_polars().height == double.run(rows).to_pyarrow().num_rows
        assert sum(batch.num_rows for batch in double.stream(frame)) == 1000
        assert double.run([{"id": "x"}]).status == failing_one.run(rows[:1]).status == "failed"
        with double.stream(frame):
            pass

    def descriptors() -> int:
        return len(list(Path("/proc/self/fd").iterdir()))

    for _ in range(10):
        use()
    gc.collect()
    objects, memory, files, nothing = len(gc.get_objects()), resident_kib(), descriptors(), sys.getrefcount(None)
    for _ in range(60):
        use()
    gc.collect()
    assert len(gc.get_objects()) - objects < 100
    assert resident_kib() - memory < 8 * 1024
    assert descriptors() - files < 20  # a few interpreters stand ready
    assert sys.version_info >= (3, 12) or abs(sys.getrefcount(None) - nothing) < 100


@pytest.mark.parametrize("mode", ["row", "bulk"])
def test_a_stream_through_a_statement_has_bounded_memory(mode: str) -> None:
    """300 MB go through; neither end may hold more than a few batches of them."""
    through = qn.Processor(
        "return INPUT_DATA", {"id": "Int64", "text": "Utf8"}, mode=mode, batch_rows=2000 if mode == "bulk" else None
    )

    def batches() -> Iterator[pa.RecordBatch]:
        for number in range(300):
            texts = [f"{number} {row} ".ljust(500, "x") for row in range(2000)]
            yield pa.record_batch({"id": pa.array(range(2000), pa.int64()), "text": pa.array(texts)})

    schema = pa.schema({"id": pa.int64(), "text": pa.string()})
    with through.stream(pa.RecordBatchReader.from_batches(schema, batches())) as stream:
        next(stream)
        before = highest = resident_kib()
        for _ in stream:
            highest = max(highest, resident_kib())
    assert highest - before < 64 * 1024
