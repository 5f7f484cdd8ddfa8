"""Stream, Batch and Schema: bounded reading, and the Arrow PyCapsule protocol."""

from __future__ import annotations

import gc
from pathlib import Path
from typing import Any

import polars as pl
import pyarrow as pa
import pyarrow.compute as pc
import pytest

import qanat as qn

ROWS = 10_000


@pytest.fixture
def db(db_uri: str):  # type: ignore[no-untyped-def]
    with qn.connect(db_uri) as connection:
        connection.execute("create table t (i bigint, s text)")
        connection.insert(
            "t", {"i": list(range(ROWS)), "s": [f"a text of some length, number {n}" for n in range(ROWS)]}
        )
        yield connection


def test_iteration_gives_batches_of_the_size_asked(db: qn.Connection) -> None:
    with db.stream("select i, s from t order by i", batch_rows=3000) as stream:
        sizes = []
        first = []
        for batch in stream:
            assert isinstance(batch, qn.Batch)
            assert batch.num_columns == 2
            assert len(batch) == batch.num_rows
            sizes.append(batch.num_rows)
            first.append(batch.to_polars()["i"][0])
        assert sum(sizes) == ROWS
        assert max(sizes) <= 3000
        assert len(sizes) >= 4
        assert first[0] == 0
        assert stream.closed
    assert db.execute("select count(*) as n from t").item() == ROWS


def test_stream_of_a_table(db: qn.Connection) -> None:
    assert db.stream(table="t").to_polars().height == ROWS
    frame = db.stream(table="t", columns=["s"], where="i < ?", params=[2]).to_polars()
    assert frame.columns == ["s"]
    assert frame.height == 2


def test_wrong_arguments(db: qn.Connection) -> None:
    for arguments, says in (
        ({}, "either sql or table"),
        ({"sql": "select 1", "table": "t"}, "either sql or table"),
        ({"sql": "select 1", "where": "i = 1"}, "belong to table"),
        ({"table": "t", "partitions": 0}, "partitions"),
        ({"table": "t", "batch_rows": 0}, "batch_rows"),
    ):
        with pytest.raises(qn.ArgumentError, match=says):
            db.stream(**arguments)  # type: ignore[arg-type]
    assert db.execute("select 1 as a").item() == 1


def test_partitions_are_read_as_one_with_a_line_in_the_log(db: qn.Connection, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level("INFO", logger="qanat"):
        assert db.stream(table="t", partitions=4).to_polars().height == ROWS
    assert "one partition instead of 4" in caplog.text


def test_schema(db: qn.Connection) -> None:
    with db.stream("select i, s from t") as stream:
        schema = stream.schema
        assert schema is stream.schema
        assert isinstance(schema, qn.Schema)
        assert schema.names == ["i", "s"]
        assert schema.formats == ["l", "vu"]
        assert len(schema) == 2
        assert isinstance(schema.metadata(1), dict)
        with pytest.raises(IndexError):
            schema.metadata(2)
        assert schema.to_polars() == {"i": pl.Int64, "s": pl.String}
        assert pa.schema(schema) == pa.schema([("i", pa.int64()), ("s", pa.string_view())])
        assert next(iter(stream)).schema is schema
    assert stream.schema.names == ["i", "s"]


def test_close_leaves_the_connection_ready(db: qn.Connection) -> None:
    stream = db.stream("select i from t", batch_rows=10)
    assert next(stream).num_rows == 10
    with pytest.raises(qn.ConnectionBusyError, match="stream"):
        db.execute("select 1")
    stream.close()
    stream.close()
    with pytest.raises(qn.ConnectionClosedError):
        next(stream)
    assert db.execute("select 1 as a").item() == 1


def test_dropping_a_stream_ends_its_statement(db: qn.Connection) -> None:
    stream = db.stream("select i from t", batch_rows=10)
    next(stream)
    del stream
    gc.collect()
    assert db.execute("select 1 as a").item() == 1


def test_stream_keeps_its_connection_open(db_uri: str) -> None:
    with pytest.warns(ResourceWarning):
        stream = qn.connect(db_uri).stream("select 1 as a")
        gc.collect()
        assert stream.to_polars().item() == 1
        del stream
        gc.collect()


def test_exported_stream_outlives_stream_and_connection_objects(db_uri: str) -> None:
    with pytest.warns(ResourceWarning):
        reader = pa.RecordBatchReader.from_stream(qn.connect(db_uri).stream("select 1 as a"))
        gc.collect()
    assert reader.read_all()["a"].to_pylist() == [1]


def test_closed_connection_ends_the_stream(db: qn.Connection) -> None:
    stream = db.stream("select i from t", batch_rows=10)
    next(stream)
    db.close()
    with pytest.raises((qn.ConnectionClosedError, qn.QueryCancelledError)):
        next(stream)


def test_stream_is_read_once(db: qn.Connection) -> None:
    stream = db.stream("select i from t")
    assert stream.to_polars().height == ROWS
    for again in (stream.to_polars, stream.to_pyarrow, lambda: next(stream), stream.__arrow_c_stream__):
        with pytest.raises(qn.ConnectionClosedError, match="once"):
            again()


@pytest.mark.trace("D12")
def test_takers(db: qn.Connection, tmp_path: Path) -> None:
    expected = list(range(ROWS))
    query = "select i, s from t order by i"
    assert db.stream(query).to_polars()["i"].to_list() == expected
    assert pl.DataFrame(db.stream(query))["i"].to_list() == expected
    assert db.stream(query).to_pyarrow()["i"].to_pylist() == expected
    assert pa.table(db.stream(query))["i"].to_pylist() == expected
    assert db.stream(query).to_pandas()["i"].tolist() == expected
    db.stream(query, batch_rows=500).lazy().sink_parquet(tmp_path / "t.parquet")
    assert pl.read_parquet(tmp_path / "t.parquet")["i"].to_list() == expected
    with db.stream(query, batch_rows=500) as stream:
        lazy = stream.lazy().filter(pl.col("i") >= 7).select("s").head(2)
        assert lazy.collect()["s"].to_list() == [f"a text of some length, number {n}" for n in (7, 8)]
    assert db.execute("select 1 as a").item() == 1


@pytest.mark.trace("D12")
def test_batches_are_handed_over_without_a_copy(db: qn.Connection) -> None:
    """Every taker of a batch sees the buffers at the same addresses."""
    with db.stream("select i, s from t", batch_rows=100) as stream:
        batch = next(stream)
        first, second = pa.record_batch(batch), pa.record_batch(batch)
        for column in (0, 1):
            ours = [b.address for b in first.column(column).buffers() if b is not None]
            theirs = [b.address for b in second.column(column).buffers() if b is not None]
            assert ours == theirs
            assert len(ours) >= 1
        frame = batch.to_polars()
        chunk = frame["i"].to_arrow()
        assert chunk.buffers()[1].address == first.column(0).buffers()[1].address
        views = first.column(1).buffers()[1].address
        text = next(
            b
            for b in frame["s"]
            .rechunk()
            .to_frame()
            .to_arrow(compat_level=pl.CompatLevel.newest())["s"]
            .chunks[0]
            .buffers()[1:]
        )
        assert text is not None
        assert text.address == views


def test_batch_outlives_everything(db: qn.Connection) -> None:
    stream = db.stream("select i, s from t order by i", batch_rows=10)
    batch = next(stream)
    frame = batch.to_polars()
    stream.close()
    db.close()
    del stream, batch
    gc.collect()
    assert frame["s"][9] == "a text of some length, number 9"


@pytest.mark.parametrize(
    ("wanted", "column"), [(pa.string(), "s"), (pa.large_string(), "s"), (pa.string_view(), "s"), (pa.int64(), "i")]
)
def test_requested_schema_is_honoured(db: qn.Connection, wanted: pa.DataType, column: str) -> None:
    fields = {"i": pa.int64(), "s": pa.string(), column: wanted}
    schema = pa.schema(list(fields.items()))
    query = "select i, s from t order by i"
    reader = pa.RecordBatchReader.from_stream(db.stream(query, batch_rows=777), schema=schema)
    assert reader.schema.field(column).type == wanted
    table = reader.read_all()
    table.validate(full=True)
    assert table["s"].to_pylist()[-1] == f"a text of some length, number {ROWS - 1}"
    with db.stream(query, batch_rows=10) as stream:
        batch = next(stream)
        got = pa.record_batch(batch, schema=schema)
        got.validate(full=True)
        assert got.schema.field(column).type == wanted
        assert pa.record_batch(batch).schema.field("s").type == pa.string_view()


def test_to_pyarrow_has_plain_strings(db: qn.Connection) -> None:
    table = db.stream("select s from t where i < 3").to_pyarrow()
    assert table.schema.field("s").type == pa.string()
    assert pc.utf8_upper(table["s"]).to_pylist()[0] == "A TEXT OF SOME LENGTH, NUMBER 0"


def test_requested_schema_of_another_shape_is_an_error(db: qn.Connection) -> None:
    with db.stream("select i, s from t") as stream, pytest.raises((qn.ArgumentError, ValueError)):
        stream.__arrow_c_stream__(pa.schema([("i", pa.int64())]).__arrow_c_schema__())
    assert db.execute("select 1 as a").item() == 1
    with db.stream("select i, s from t") as stream, pytest.raises(ValueError, match="PyCapsule"):
        stream.__arrow_c_stream__(object())


def test_capsules_that_nobody_takes_are_freed(db: qn.Connection) -> None:
    stream = db.stream("select i from t", batch_rows=10)
    capsule = stream.__arrow_c_stream__()
    with pytest.raises(qn.ConnectionBusyError):
        db.execute("select 1")
    del capsule
    assert db.execute("select 1 as a").item() == 1


# ---- errors in mid-stream ----


@pytest.fixture
def late_text():  # type: ignore[no-untyped-def]
    """A result whose type is decided by its first batches, and whose last row does not fit."""
    with qn.connect("sqlite://:memory:") as connection:
        connection.execute("create table s (a)")
        connection.insert("s", {"a": list(range(1000))})
        connection.execute("insert into s values ('late text')")
        yield connection


def check(error: qn.DataError) -> None:
    assert (error.row, error.column) == (1000, "a")
    assert error.sql == "select a from s"
    assert "types" in str(error) + str(error.hint)


def takers() -> list[Any]:
    return [
        lambda stream: stream.to_polars(),
        lambda stream: stream.to_pyarrow(),
        lambda stream: stream.to_pandas(),
        list,
    ]


@pytest.mark.trace("D11")
@pytest.mark.parametrize("taker", takers(), ids=["polars", "pyarrow", "pandas", "iteration"])
def test_error_in_mid_stream_is_typed_whoever_reads(late_text: qn.Connection, taker: Any) -> None:
    stream = late_text.stream("select a from s", batch_rows=100)
    with pytest.raises(qn.DataError) as caught:
        taker(stream)
    check(caught.value)
    assert stream.closed
    assert late_text.execute("select 1 as a").item() == 1


@pytest.mark.trace("D11")
def test_error_through_another_library_keeps_its_text(late_text: qn.Connection) -> None:
    stream = late_text.stream("select a from s", batch_rows=100)
    with pytest.raises(pl.exceptions.PolarsError, match="late text|types"):
        pl.DataFrame(stream)
    with pytest.raises((OSError, pa.ArrowInvalid), match="row 1000|types"):
        pa.table(late_text.stream("select a from s", batch_rows=100))
    assert late_text.execute("select 1 as a").item() == 1


def test_error_again_after_an_error(late_text: qn.Connection) -> None:
    stream = late_text.stream("select a from s", batch_rows=100)
    with pytest.raises(qn.DataError):
        list(stream)
    with pytest.raises(qn.DataError) as caught:
        next(stream)
    check(caught.value)


def test_typed_error_has_the_other_library_s_as_its_cause(late_text: qn.Connection) -> None:
    with pytest.raises(qn.DataError) as caught:
        late_text.stream("select a from s", batch_rows=100).to_polars()
    assert isinstance(caught.value.__cause__, pl.exceptions.PolarsError)


def test_pandas_keeps_integers_and_booleans_beside_nulls(db_uri: str) -> None:
    with qn.connect(db_uri) as db:
        db.execute("create table t (i bigint, b boolean, n bigint)")
        db.insert("t", {"i": [9007199254740993, None], "b": [True, None], "n": [1, 2]})
        with db.stream("select i, b, n from t order by n") as stream:
            frame = stream.to_pandas()
    assert int(frame["i"][0]) == 9007199254740993
    assert frame["i"].isna().tolist() == [False, True]
    assert bool(frame["b"][0]) is True
    assert frame["n"].tolist() == [1, 2]
