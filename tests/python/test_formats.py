"""Formats in Python: parquet, csv, json and jsonl, read and written as the engine does it."""

from __future__ import annotations

import datetime as dt
import decimal
import io
import json
import os
import struct
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from qanat import _format_json, _formats, errors
from qanat.errors import ConfigurationError, DataError, NotSupportedError, QanatError

D = decimal.Decimal
FORMATS = {name: form for name, _, _, _, form in _formats._FORMATS}


def read(form: str, data: bytes | Path, asked: list[str] | None = None, *, name: str = "x", **options: Any) -> pa.Table:
    """What a file holds. A schema that the batches do not have fails here."""
    path = data if isinstance(data, Path) else None
    with io.FileIO(os.memfd_create("test") if path is None else str(path), "rb" if path else "r+b") as file:
        if isinstance(data, bytes):
            file.write(data)
            file.seek(0)
        schema, batches, _ = FORMATS[form].read(file.fileno(), name, asked, json.dumps(options))
    table = pa.Table.from_batches(list(batches), schema)
    table.validate(full=True)
    return table


def write(form: str, table: pa.Table, rows: int = 1000) -> bytes:
    sink = io.BytesIO()
    writer = FORMATS[form].writer(table.schema, sink)  # type: ignore[arg-type]
    for batch in table.to_batches(max_chunksize=rows):
        writer.write(batch)  # type: ignore[arg-type]
    writer.finish()
    return sink.getvalue()


def refused(form: str, data: bytes, words: str, **options: Any) -> QanatError:
    with pytest.raises(QanatError) as caught:
        read(form, data, **options)
    assert words in str(caught.value)
    assert '"x": ' in str(caught.value)
    assert _formats.failure(caught.value) is not None
    return caught.value


# ---- parquet ----


def test_parquet_is_the_same_file_whatever_else_is_written() -> None:
    """A location without a version has changed where its file has: what others do meanwhile must not show in it."""
    table = pa.table({"id": pa.array(range(1 << 16), pa.int64())})
    (batch,) = table.to_batches()
    sinks = [io.BytesIO() for _ in range(16)]
    writers = [FORMATS["parquet"].writer(table.schema, sink) for sink in sinks]  # type: ignore[arg-type]
    most = 0
    for _ in range(40):  # 20 MiB of each
        for writer in writers:
            writer.write(batch)  # type: ignore[arg-type]
            most = max(most, max(each._bytes for each in writers))  # type: ignore[attr-defined]
    for writer in writers:
        writer.finish()
    assert most < 8 << 20, "a group is encoded as soon as it has 8 MiB"
    alone = write("parquet", pa.Table.from_batches([batch] * 40), batch.num_rows)
    assert all(sink.getvalue() == alone for sink in sinks)
    file = pq.ParquetFile(io.BytesIO(alone))
    assert [file.metadata.row_group(i).num_rows for i in range(file.num_row_groups)] == [1 << 20, 1 << 20, 8 << 16]
    assert file.read()["id"].to_pylist()[:: 1 << 16] == [0] * 40


def test_parquet_needs_little_memory_whatever_the_values_are() -> None:
    """Dictionaries, which many different values fill, are kept small: they are what a writer holds between groups."""
    table = pa.table({"text": pa.array([f"{i:08d}" for i in range(1 << 18)])})
    before = pa.total_allocated_bytes()
    writer = FORMATS["parquet"].writer(table.schema, io.BytesIO())  # type: ignore[arg-type]
    for batch in table.to_batches(max_chunksize=1 << 16) * 8:
        writer.write(batch)  # type: ignore[arg-type]
    writer._flush()  # type: ignore[attr-defined]
    held = pa.total_allocated_bytes() - before
    writer.finish()
    assert held < 1 << 20


def every_type() -> pa.Table:
    big = 2**60
    return pa.table(
        {
            "i": pa.array([1, None, -(2**63)], pa.int64()),
            "u": pa.array([2**64 - 1, 0, None], pa.uint64()),
            "f": pa.array([0.1, None, -0.0], pa.float64()),
            "d": pa.array([D("1.25"), None, D("-99.99")], pa.decimal128(38, 2)),
            "t": pa.array(["", None, "Zürich"], pa.string()),
            "b": pa.array([b"", b"\xff\0", None], pa.binary()),
            "day": pa.array([dt.date(1, 1, 1), None, dt.date(9999, 12, 31)], pa.date32()),
            "us": pa.array([big, None, -big], pa.int64()).cast(pa.timestamp("us", "UTC")),
            "ns": pa.array([big, None, -big], pa.int64()).cast(pa.timestamp("ns", "Europe/Zurich")),
            "time": pa.array([dt.time(23, 59, 59, 999999), None, dt.time()], pa.time64("us")),
            "list": pa.array([[1, None], [], None], pa.list_(pa.int32())),
            "struct": pa.array([{"a": 1}, None, {"a": None}], pa.struct([("a", pa.int8())])),
            "map": pa.array([[("a", 1)], [], None], pa.map_(pa.string(), pa.int64())),
            "bool": pa.array([True, None, False]),
            "dur": pa.array([1, None, -1], pa.int64()).cast(pa.duration("us")),
        }
    )


def test_parquet_keeps_every_value_and_type() -> None:
    table = every_type()
    assert read("parquet", write("parquet", table)).equals(table)
    assert pq.read_table(io.BytesIO(write("parquet", table))).equals(table)


def test_parquet_makes_plain_columns_of_views_and_dictionaries() -> None:
    words = pa.array(["red", None, "a text of more than twelve bytes", "red"])
    table = pa.table(
        {
            "view": words.cast(pa.string_view()),
            "bytes": words.cast(pa.binary()).cast(pa.binary_view()),
            "dictionary": words.dictionary_encode(),
            "odd": pa.DictionaryArray.from_arrays(pa.array([0, 1, None, 0], pa.int8()), pa.array(["x", None])),
        }
    )
    got = read("parquet", write("parquet", table))
    assert [field.type for field in got.schema] == [pa.string(), pa.binary(), pa.string(), pa.string()]
    assert got["view"].to_pylist() == got["dictionary"].to_pylist() == words.to_pylist()
    assert got["odd"].to_pylist() == ["x", None, None, "x"]
    dictionary = io.BytesIO()
    pq.write_table(table.select(["dictionary"]), dictionary)  # which pyarrow reads as a dictionary again
    assert read("parquet", dictionary.getvalue()).schema.field(0).type == pa.string()


def test_parquet_row_groups_fill_and_have_statistics() -> None:
    rows = 3_000_000
    table = pa.table({"id": pa.array(range(rows), pa.int64())})
    data = write("parquet", table, rows=10_000)
    file = pq.ParquetFile(io.BytesIO(data))
    groups = [file.metadata.row_group(i) for i in range(file.num_row_groups)]
    assert len(groups) == 3
    assert groups[1].column(0).statistics.min == groups[0].column(0).statistics.max + 1
    assert groups[0].column(0).compression == "ZSTD"
    one = write("parquet", table, rows=rows)  # a batch that is larger than a group is cut
    assert pq.ParquetFile(io.BytesIO(one)).num_row_groups == 2


def test_parquet_leaves_columns_unread() -> None:
    table = pa.table({"a": [1, 2], "b": ["x", "y"], "c": [1.5, 2.5]})
    data = write("parquet", table)
    assert read("parquet", data, ["c", "a"]).column_names == ["a", "c"]  # the engine puts them in order
    damaged = bytearray(data)
    file = pq.ParquetFile(io.BytesIO(data))
    begin = file.metadata.row_group(0).column(1).dictionary_page_offset
    damaged[begin : begin + 12] = b"\xee" * 12
    assert read("parquet", bytes(damaged), ["a", "c"])["c"].to_pylist() == [1.5, 2.5]
    assert isinstance(refused("parquet", bytes(damaged), ""), DataError)
    assert FORMATS["parquet"].counts
    with io.FileIO(os.memfd_create("test"), "r+b") as file:
        file.write(data)
        assert FORMATS["parquet"].count(file.fileno(), "x", None) == 2


@pytest.mark.parametrize(
    ("column", "words"),
    [
        (pa.array([dt.datetime(2024, 1, 1, 12)], pa.timestamp("ms")).cast(pa.date64(), safe=False), None),
        (pa.array([{}], pa.struct([])), "a struct without fields"),
        (pa.array([(1, 2, 3)], pa.month_day_nano_interval()), "an interval"),
        (pa.array([D(100)], pa.decimal128(5, -2)), "negative scale"),
        (pa.array([b""], pa.binary(0)), "no bytes"),
        (pa.array([2**60]).cast(pa.timestamp("s")), "overflow"),
    ],
)
def test_parquet_refuses_what_it_would_lose(column: pa.Array, words: str | None) -> None:
    if words is None:
        column = pa.Array.from_buffers(pa.date64(), 1, [None, pa.py_buffer(struct.pack("<q", 86_400_001))])
        words = "time of day"
    with pytest.raises(Exception) as caught:
        write("parquet", pa.table({"x": column}))
    told = _formats.failure(caught.value)
    assert told is not None
    assert words in told[1]
    assert told[0] in (11, 13)


def test_parquet_times_of_96_bits_are_exact_or_an_error() -> None:
    def wide(seconds: int) -> bytes:
        out = io.BytesIO()
        moments = pa.array([seconds, None, 5], pa.int64()).cast(pa.timestamp("s"))
        pq.write_table(pa.table({"a": [1, 2, 3], "t": moments}), out, use_deprecated_int96_timestamps=True)
        return out.getvalue()

    good = read("parquet", wide(-(2**32)))
    assert good["t"].type == pa.timestamp("ns")
    assert good["t"].cast(pa.int64()).to_pylist() == [-(2**32) * 10**9, None, 5 * 10**9]
    far = int((dt.datetime(1900, 1, 1) - dt.datetime(1970, 1, 1)).total_seconds()) - 86400 * 365 * 300
    with pytest.raises((DataError, pa.ArrowInvalid)):
        read("parquet", wide(far))


def test_parquet_that_is_damaged_is_a_typed_error() -> None:
    data = write("parquet", every_type())
    for cut in (0, 4, 100, len(data) - 1):
        assert isinstance(refused("parquet", data[:cut], ""), DataError)
    refused("parquet", b"not a parquet file at all", "")
    refused("parquet", data, 'no option "x"', x="1")


# ---- csv ----


def test_csv_infers_what_it_holds_exactly() -> None:
    data = (
        b"id,zip,price,ok,day,at,zoned,name,long,empty\n"
        b'1,00701,1.5,true,2024-02-29,2024-02-29 12:00:00.5,2024-02-29T12:00:00Z,"a,b",12345678901234567890,\n'
        b'-2,10115,-0.25,false,0001-01-01,2024-02-29T12:00,2024-02-29T12:00:01Z,"say ""hi""\nthere",1,\n'
        b',,1e3,,,,,"",2,\n'
    )
    table = read("csv", data)
    assert {field.name: str(field.type) for field in table.schema} == {
        "id": "int64",
        "zip": "string",
        "price": "double",
        "ok": "bool",
        "day": "date32[day]",
        "at": "timestamp[us]",
        "zoned": "timestamp[us, tz=UTC]",
        "name": "string",
        "long": "string",
        "empty": "string",
    }
    assert table["id"].to_pylist() == [1, -2, None]
    assert table["zip"].to_pylist() == ["00701", "10115", None]
    assert table["price"].to_pylist() == [1.5, -0.25, 1000.0]
    assert table["name"].to_pylist() == ["a,b", 'say "hi"\nthere', ""]
    assert table["at"].to_pylist()[0] == dt.datetime(2024, 2, 29, 12, 0, 0, 500000)
    assert table["long"].to_pylist() == ["12345678901234567890", "1", "2"]
    assert table["empty"].null_count == 3


@pytest.mark.parametrize(
    ("values", "kind"),
    [
        (["0.1", "0.30000000000000004"], "double"),  # the shortest text of its Float64
        (["0.1", "0.12345678901234567890"], "string"),
        (["1", "1e400"], "string"),
        (["9007199254740993", "0.5"], "string"),
        (["9223372036854775807"], "int64"),
        (["9223372036854775808"], "string"),
        (["+1"], "string"),
        (["-0"], "double"),
        (["2023-02-29"], "string"),
        (["1", "x"], "string"),
        (["NaN"], "string"),
    ],
)
def test_csv_never_rounds_unseen(values: list[str], kind: str) -> None:
    table = read("csv", "\n".join(["v", *values, ""]).encode())
    assert str(table.schema.field(0).type) == kind
    if kind == "string":
        assert table["v"].to_pylist() == values


def test_csv_values_that_do_not_fit_later_are_errors_with_row_and_column() -> None:
    lines = ["id,v"] + [f"{i},{i % 7}" for i in range(300_000)]
    lines[250_001] = "250000,007"
    error = refused("csv", "\n".join(lines).encode(), '"007" is no int64')
    assert (error.row, error.column) == (250_000, "v")
    assert error.hint is not None
    table = read("csv", "\n".join(lines).encode(), types={"v": "Utf8"})
    assert table["v"].to_pylist()[249_999:250_002] == [str(249_999 % 7), "007", str(250_001 % 7)]
    assert read("csv", "\n".join(lines).encode(), infer="false").schema.field("id").type == pa.string()


def test_csv_options() -> None:
    data = "Grüße;NA;'a;b'\n;-;''\n".encode("latin-1")
    options = {"delimiter": ";", "header": "false", "quote": "'", "encoding": "latin-1", "null": '["NA", "-", ""]'}
    assert read("csv", data, **options).to_pydict() == {
        "f0": ["Grüße", None],
        "f1": [None, None],
        "f2": ["a;b", ""],
    }
    assert read("csv", data, **options, columns='["x", "y", "z"]').column_names == [
        "x",
        "y",
        "z",
    ]
    assert read("csv", b"a\tb\n1\t2\n", name="x.tsv").column_names == ["a", "b"]
    exact = read("csv", b"p,t\n1.10,10:00:00\n", types='{"p": "Decimal(5,2)", "t": "Time[s]"}')
    assert exact["p"].to_pylist() == [D("1.10")]
    assert exact["t"].to_pylist() == [dt.time(10)]
    assert isinstance(refused("csv", b"p\n1.234\n", "1.234", types={"p": "Decimal(5,2)"}), DataError)
    assert isinstance(refused("csv", b"p\n1e400\n", "1e400", types={"p": "Float64"}), DataError)
    for options, words in (
        ({"delimiter": ";;"}, "one ASCII character"),
        ({"heading": "true"}, 'no option "heading"'),
        ({"header": "maybe"}, '"true" or "false"'),
        ({"types": {"a": "Integer"}}, "is not known"),
        ({"types": {"z": "Int64"}}, 'has the column "z"'),
        ({"encoding": "latin-99"}, "latin-99"),
    ):
        error = refused("csv", b"a\n1\n", words, **options)
        assert isinstance(error, ConfigurationError) or "encoding" in options


def test_csv_that_is_damaged_is_a_typed_error() -> None:
    refused("csv", b"", "")
    refused("csv", b"a,b\n1\n", "Expected 2 columns")
    refused("csv", b"a\n\xff\xfe\n", "")
    assert read("csv", b"a,b\n").num_rows == 0


def test_csv_columns_and_round_trip() -> None:
    table = pa.table(
        {
            "i": [1, None, 3],
            "t": ["", None, 'a "quoted", text'],
            "f": [0.1, None, 1e300],
            "d": pa.array([D("1.10"), None, D("-5.00")], pa.decimal128(9, 2)),
            "day": [dt.date(2024, 2, 29), None, dt.date(1, 1, 1)],
            "view": pa.array(["x", None, ""], pa.string_view()),
        }
    )
    data = write("csv", table)
    types = {"d": "Decimal(9,2)"}
    got = read("csv", data, types=types)
    assert got.to_pydict() == table.to_pydict()
    assert read("csv", data, ["d", "i"], types=types).column_names == ["i", "d"]
    with pytest.raises(NotSupportedError, match="CSV holds no"):
        write("csv", pa.table({"l": [[1]]}))


# ---- json ----


def as_lines(rows: list[Any]) -> bytes:
    return b"".join(json.dumps(row).encode() + b"\n" for row in rows)


ROWS: list[dict[str, Any]] = [
    {"id": 1, "name": "Zürich", "tags": ["a", None], "who": {"age": 3}, "ok": True, "x": 0.5},
    {"id": 2**62, "name": "2024-01-01", "tags": [], "who": None, "ok": None, "more": "only here"},
]


@pytest.mark.parametrize(
    ("form", "data"),
    [
        ("jsonl", as_lines(ROWS)),
        ("jsonl", b"\xef\xbb\xbf" + as_lines(ROWS).replace(b"\n", b"\r\n") + b"\n  \n"),
        ("json", json.dumps(ROWS).encode()),
        ("json", json.dumps(ROWS, indent=3).encode()),
        ("json", as_lines(ROWS)),
        ("json", b" \n" + json.dumps(ROWS[0]).encode() + json.dumps(ROWS[1]).encode()),
    ],
)
def test_json_rows(form: str, data: bytes) -> None:
    table = read(form, data)
    names = ["id", "name", "tags", "who", "ok", "x", "more"]
    assert table.column_names == names
    assert table.to_pylist() == [{name: row.get(name) for name in names} for row in ROWS]
    assert str(table.schema.field("tags").type) == "list<item: string>"
    assert str(table.schema.field("name").type) == "string"


@pytest.mark.parametrize("form", ["json", "jsonl"])
def test_json_refuses_what_it_would_change(form: str) -> None:
    for line, words in (
        (b'{"a": 0.12345678901234567890}', "more than a Float64"),
        (b'{"a": 1e400}', "more than a Float64"),
        (b'{"a": 1, "a": 2}', '"a" twice'),
        (b'{"a": NaN}', "no JSON"),
        (b'{"a": 18446744073709551616}', 'column "a"'),
        (b'{"a": "\\ud800"}', 'column "a"'),
        (b"[1]" if form == "jsonl" else b"[1, 2]", "is an object"),
        (b'{"a": 1} x', "no JSON"),
        (b'{"a": ', "no JSON"),
        (b'{"a": "\xff"}', ""),
    ):
        assert isinstance(refused(form, line, words), DataError), line
    assert read(form, b'{"a": 0.30000000000000004}')["a"].to_pylist() == [0.30000000000000004]
    exact = read(form, b'{"a": 0.12345678901234567890, "b": 0.5}', types={"a": "Decimal(38,20)", "b": "Float64"})
    assert exact.to_pylist() == [{"a": D("0.12345678901234567890"), "b": 0.5}]
    assert read(form, b'{"a": "10:00:00"}', types={"a": "Time[s]"})["a"].to_pylist() == [dt.time(10)]


def test_json_later_rows_are_held_to_the_first(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_format_json, "CHUNK_ROWS", 5000)
    rows = b"".join(b'{"a": %d, "s": {"x": 1}}\n' % i for i in range(7_000))
    for odd, words, column in (
        ({"a": 1.5}, "no integer", "a"),
        ({"a": True}, "no integer", "a"),
        ({"s": {"x": 2.5}}, "no integer", "s"),
        ({"z": 1}, 'had no "z"', "z"),
        ({"s": {"y": 1}}, 'no "y"', "s"),
        ({"a": "x"}, "is no int64", "a"),
    ):
        error = refused("jsonl", rows + as_lines([odd]), words)
        assert (error.row, error.column) == (7_000, column)
    table = read("jsonl", rows + as_lines([{"z": "late"}]), types={"z": "Utf8"})
    assert table["z"].to_pylist()[-1] == "late"
    assert table.num_rows == 7_001


def test_json_array_is_read_as_it_comes() -> None:
    big = [{"id": i, "text": "x" * 500} for i in range(20_000)]
    assert read("json", json.dumps(big).encode())["id"].to_pylist() == list(range(20_000))
    long = [{"text": "y" * 5_000_000}, {"text": "z"}]  # an object over many pieces
    assert read("json", json.dumps(long).encode()).to_pylist() == long
    for data, words in (
        (b'[{"a": 1}', "no end"),
        (b'[{"a": 1} {"a": 2}]', "comma"),
        (b'[{"a": 1}] x', "follows the array"),
        (b'[{"a": 1},]', "no JSON"),
    ):
        refused("json", data, words)
    assert read("json", b"[]").num_rows == 0
    assert read("json", b"").num_rows == 0


def test_json_records() -> None:
    data = json.dumps({"data": {"items": ROWS}, "next": None}).encode()
    assert read("json", data, records="data.items").num_rows == 2
    refused("json", data, 'no "data.rows"', records="data.rows")
    refused("json", data, "is no array", records="data")


# ---- the table ----


def test_import_qanat_does_not_import_pyarrow() -> None:
    code = (
        "import sys, qanat; from qanat import _formats; assert _formats.register() and _formats.register();"
        "assert not [m for m in sys.modules if m.startswith('pyarrow')]"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def test_without_pyarrow_nothing_is_registered(tmp_path: Path) -> None:
    code = (
        "import sys; from importlib import util; real = util.find_spec\n"
        "util.find_spec = lambda name, *a: None if name == 'pyarrow' else real(name, *a)\n"
        "from qanat import _formats; assert not _formats.register()"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def test_failures_of_any_kind_have_a_status() -> None:
    told = _formats.failure(ValueError("two\nlines \0"))
    assert told == (11, "two lines \ufffd", "", "", False, 0, -1, None)
    assert _formats.failure(KeyboardInterrupt()) is None
    for error, status in (
        (MemoryError("x"), 1),
        (FileNotFoundError(2, "x"), 12),
        (pa.ArrowNotImplementedError("x"), 13),
        (pa.ArrowInvalid("x"), 11),
        (OSError("Couldn't deserialize thrift"), 11),
        (RuntimeError("x"), 15),
    ):
        known = _formats.failure(error)
        assert known is not None
        assert known[0] == status


def test_errors_of_qanat_keep_their_kind() -> None:
    kinds = {name for name in errors.__all__ if name not in ("QanatError", "StatementError")}
    numbers = {}
    for name in kinds:
        told = _formats.failure(getattr(errors, name)("no"))
        assert told is not None
        numbers[name] = told[0]
    assert numbers["ForbiddenError"] == 18
    assert sorted(numbers.values()) == [1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 15, 16, 17, 18]


def test_streams_close_their_file() -> None:
    def descriptors() -> Iterator[str]:
        for one in Path("/proc/self/fd").iterdir():
            try:
                yield str(one.readlink())
            except OSError:
                continue

    with io.FileIO(os.memfd_create("qanat-test-closing"), "r+b") as file:
        file.write(write("parquet", pa.table({"a": list(range(100_000))})))
        _, batches, _ = FORMATS["parquet"].read(file.fileno(), "x", None, None)
        next(batches)
        batches.close()  # type: ignore[attr-defined]
    assert not [one for one in descriptors() if "qanat-test-closing" in one]
