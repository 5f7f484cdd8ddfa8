"""qn.Processor as its users meet it: arguments, statuses, results, checkpoints, streams, errors."""

from __future__ import annotations

import datetime
import decimal
import logging
import os
import pickle
import re
import signal
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pandas as pd
import polars as pl
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from polars.testing import assert_frame_equal

import qanat as qn
from qanat.processor import parse_size

INT = {"id": "Int64"}
ECHO = "return INPUT_DATA"


def processor(statement: str = ECHO, output: Any = None, **arguments: Any) -> qn.Processor:
    return qn.Processor(statement, output=output or INT, **arguments)


def run_ok(statement: str, data: Any, output: Any = None, checkpoint: Any = None, **arguments: Any) -> list[Any]:
    result = processor(statement, output, **arguments).run(data, checkpoint)
    assert result.status == "ok", (result.status, result.message)
    return result.to_dicts()


def ids(*numbers: int) -> list[dict[str, int]]:
    return [{"id": number} for number in numbers]


# ---- statements ------------------------------------------------------------------------------------------------------


@pytest.mark.trace("P11")
def test_sample_of_the_document_returns_its_list() -> None:
    statement = (
        'users = [\n    { "name": "Alice" },\n    { "name": "Bob" },\n    { "name": "Charlie" },\n]\nreturn users\n'
    )
    assert run_ok(statement, None, {"name": "Utf8"}) == [{"name": "Alice"}, {"name": "Bob"}, {"name": "Charlie"}]


@pytest.mark.trace("P11")
@pytest.mark.parametrize("give", [Path, str])
def test_statement_is_read_from_a_file(tmp_path: Path, give: Any) -> None:
    file = tmp_path / "double.py"
    file.write_bytes("\ufeffreturn [{'id': r['id'] * 2, 'text': 'é'} for r in INPUT_DATA]\r\n".encode())
    made = qn.Processor(give(file), output={"id": "Int64", "text": "Utf8"})
    assert made.name == str(file)
    assert made.run(ids(4)).to_dicts() == [{"id": 8, "text": "é"}]


def test_a_path_without_a_file_is_an_error_that_names_it(tmp_path: Path) -> None:
    with pytest.raises(qn.QanatError, match="cannot read the statement .*absent.py.*No such file"):
        qn.Processor(tmp_path / "absent.py", output=INT)
    with pytest.raises(OSError, match=r"absent\.py"):
        qn.Processor("absent.py", output=INT)
    with pytest.raises(OSError, match="Is a directory"):
        qn.Processor(tmp_path, output=INT)


def test_a_file_that_is_not_utf8_names_the_line(tmp_path: Path) -> None:
    file = tmp_path / "latin.py"
    file.write_bytes(b"x = 1\ny = '\xe9'\nreturn []\n")
    with pytest.raises(qn.StatementError, match="line 2.*not UTF-8") as caught:
        qn.Processor(file, output=INT)
    assert (caught.value.lineno, caught.value.offset, caught.value.filename) == (2, 6, str(file))


def test_a_file_that_is_too_large_is_refused(tmp_path: Path) -> None:
    file = tmp_path / "large.py"
    file.write_bytes(b"#" * (4 << 20) + b"\nreturn []")
    with pytest.raises(qn.QanatError, match="more than 4 MiB"):
        qn.Processor(file, output=INT)


@pytest.mark.parametrize(
    ("statement", "line"),
    [
        ("", 1),
        ("\n\n", 1),
        ("x = 1", 1),
        ("return [", 1),
        ("x = 1\nimport os\nreturn []", 2),
        ("x = 1\ny: int = 2\nreturn []", 2),
        ("return [].__class__", 1),
        ("x = '\0'\nreturn []", 1),
    ],
    ids=["empty", "blank", "no return", "syntax", "import", "type hint", "underscore", "NUL"],
)
def test_refused_statements_raise_from_the_constructor(statement: str, line: int) -> None:
    with pytest.raises(qn.StatementError) as caught:
        processor(statement)
    error = caught.value
    assert isinstance(error, SyntaxError)
    assert isinstance(error, qn.QanatError)
    assert (error.filename, error.lineno) == ("statement.py", line)
    assert str(error)


@pytest.mark.trace("P5", "P6")
def test_statement_error_says_where_and_survives_pickling() -> None:
    with pytest.raises(qn.StatementError, match="import of 'os' is not allowed") as caught:
        processor("x = 1\nif x:\n    import os\nreturn []")
    error = caught.value
    assert (error.lineno, error.offset, error.text) == (3, 12, "    import os")
    again = pickle.loads(pickle.dumps(error))
    assert (type(again), str(again), again.lineno, again.offset, again.text) == (
        qn.StatementError,
        str(error),
        3,
        12,
        "    import os",
    )


@pytest.mark.parametrize("end", ["\n", "\r\n", "\r"], ids=["LF", "CRLF", "CR"])
def test_statement_error_shows_the_line_whatever_ends_it(end: str) -> None:
    with pytest.raises(qn.StatementError, match=r"^line 2: import of 'os' is not allowed") as caught:
        processor(end.join(["x = 1", "import os", "return []"]))
    assert (caught.value.lineno, caught.value.offset, caught.value.text) == (2, 8, "import os")


def test_a_lone_surrogate_is_refused_with_its_line() -> None:
    with pytest.raises(qn.StatementError, match="line 2: a lone surrogate"):
        processor("x = 1\ny = '\ud800'\nreturn []")


# ---- arguments -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("arguments", "kind", "message"),
    [
        ({"statement": 5}, TypeError, "statement must be a str or a path, not int"),
        ({"output": 5}, TypeError, "output must be a dict"),
        ({"output": {"id": 5}}, TypeError, 'output: the type of "id" must be a text'),
        ({"output": {5: "Int64"}}, TypeError, "output has the field 5"),
        ({"output": {}}, qn.ConfigurationError, "output has 0 fields"),
        ({"output": {"id": "Int65"}}, qn.ConfigurationError, r"output: the type of \"id\".*Int65"),
        ({"output": "absent"}, qn.ConfigurationError, r"output is the schema 'absent'.*schemas/absent\.toml"),
        ({"output": "../up"}, qn.ConfigurationError, "output is '../up', which is no name"),
        ({"input": {"id": "Nope"}}, qn.ConfigurationError, r"type.*Nope"),
        ({"input": []}, TypeError, "input must be a dict"),
        ({"mode": "column"}, qn.ConfigurationError, "mode"),
        ({"mode": None}, TypeError, "mode must be a str"),
        ({"checkpoint": "absent"}, qn.ConfigurationError, "checkpoint"),
        ({"checkpoint": 5}, TypeError, "checkpoint must be a str"),
        ({"allow": "math"}, TypeError, "allow must be a list of texts, not str"),
        ({"allow": [5]}, TypeError, "allow has a int in it"),
        ({"allow": ["not a module"]}, qn.ConfigurationError, r"allow\[0\]"),
        ({"network": "on"}, qn.ConfigurationError, "network"),
        ({"network": 5}, TypeError, "network must be a list of texts"),
        ({"network": ["no port"]}, qn.QanatError, "no port"),
        ({"timeout": 0}, ValueError, "timeout is 0"),
        ({"timeout": float("nan")}, ValueError, "timeout is nan"),
        ({"timeout": "30"}, TypeError, "timeout must be a number"),
        ({"timeout": True}, TypeError, "timeout must be a number"),
        ({"memory": "lots"}, ValueError, "memory is 'lots'"),
        ({"memory": "5 XB"}, ValueError, "memory is '5 XB'"),
        ({"memory": None}, TypeError, "memory must be a text"),
        ({"memory": -1}, qn.ConfigurationError, "memory"),
        ({"memory": 10**30}, qn.QanatError, "memory"),
        ({"concurrency": 0}, qn.ConfigurationError, "concurrency"),
        ({"concurrency": 10_001}, qn.ConfigurationError, "concurrency"),
        ({"concurrency": 1.5}, TypeError, "concurrency must be an int"),
        ({"batch_rows": -1}, qn.ConfigurationError, "batch_rows"),
        ({"batch_rows": "5"}, TypeError, "batch_rows must be an int"),
        ({"runtime": "absent"}, qn.ConfigurationError, "there is no runtime 'absent'"),
        ({"runtime": "../x"}, qn.ConfigurationError, "is no name"),
        ({"runtime": None}, TypeError, "runtime must be a str"),
    ],
)
def test_a_wrong_argument_is_named(arguments: dict[str, Any], kind: Any, message: str) -> None:
    with pytest.raises(kind, match=message):
        qn.Processor(**{"statement": ECHO, "output": INT, **arguments})


@pytest.mark.parametrize(
    ("text", "size"),
    [("512MB", 512 << 20), ("1 GB", 1 << 30), ("1.5GiB", 3 << 29), ("2048", 2048), ("64kb", 64 << 10), (7, 7)],
)
def test_sizes(text: Any, size: int) -> None:
    assert parse_size(text, "memory") == size


@pytest.mark.trace("P12")
def test_output_is_mandatory() -> None:
    with pytest.raises(TypeError, match="output"):
        qn.Processor(ECHO)  # type: ignore[call-arg]


def test_a_misspelled_time_zone_is_told_when_the_processor_is_made() -> None:
    for good in ("Europe/Berlin", "UTC", "utc", "Z", "+02:00", "Etc/GMT+5", "America/Port-au-Prince"):
        qn.Processor(ECHO, output={"at": f"Timestamp[us, {good}]"})
    for kind in ("Timestamp[us, Europe/Berln]", "List<Timestamp[ms,Europe/Berln]!>?"):
        with pytest.raises(qn.ConfigurationError, match="\"at\": .* no time zone 'Europe/Berln'; .* 'Europe/Berlin'"):
            qn.Processor(ECHO, output={"at": kind})


@pytest.mark.trace("P16")
def test_schemas_by_name_are_read_beside_the_statement(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "schemas").mkdir()
    (tmp_path / "schemas" / "flight.toml").write_text('[fields]\nid = "Int64!"\ncarrier = "Utf8"\n', encoding="utf-8")
    (tmp_path / "echo.py").write_text(ECHO, encoding="utf-8")
    row = {"id": 1, "carrier": None}
    assert qn.Processor(tmp_path / "echo.py", "flight", input="flight").run([row]).to_dicts() == [row]
    monkeypatch.chdir(tmp_path)
    assert qn.Processor(ECHO, output="flight").run([row]).to_dicts() == [row]


@pytest.mark.trace("P16")
@pytest.mark.parametrize(
    ("text", "message"),
    [
        ('id = "Int64"', r"must hold one table \[fields\]"),
        ("[fields", "is not valid TOML"),
        ("[fields]\nid = 5", 'the type of "id" must be a text'),
        ('[fields]\nid = "Int64"\n[more]\n', r"must hold one table \[fields\]"),
    ],
)
def test_a_wrong_schema_file_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, text: str, message: str) -> None:
    (tmp_path / "schemas").mkdir()
    (tmp_path / "schemas" / "flight.toml").write_text(text, encoding="utf-8")
    monkeypatch.chdir(tmp_path)
    with pytest.raises((qn.ConfigurationError, TypeError), match=message):
        qn.Processor(ECHO, output="flight")


# ---- data ------------------------------------------------------------------------------------------------------------


@pytest.mark.trace("P8")
@pytest.mark.parametrize(
    "data",
    [
        ids(1, 2),
        tuple(ids(1, 2)),
        pl.DataFrame({"id": [1, 2]}),
        pl.DataFrame({"id": [1, 2]}).lazy(),
        pd.DataFrame({"id": [1, 2]}),
        pa.table({"id": [1, 2]}),
        pa.record_batch({"id": [1, 2]}),
    ],
    ids=["list", "tuple", "polars", "lazy", "pandas", "pyarrow table", "pyarrow batch"],
)
def test_data_of_every_kind(data: Any) -> None:
    assert run_ok(ECHO, data) == ids(1, 2)


def test_rows_that_were_taken_out_of_a_pandas_frame_leave_no_column_behind() -> None:
    frame = pd.DataFrame({"id": [1, 2, 3, 4]})
    made = processor(ECHO, input={"id": "Int64"})
    assert made.run(frame[frame["id"] != 2]).to_dicts() == ids(1, 3, 4)


@pytest.mark.trace("P2", "P8")
def test_row_mode_sees_one_row_at_a_time_and_bulk_all_of_them() -> None:
    statement = "return [{'id': len(INPUT_DATA)}]"
    assert run_ok(statement, ids(5, 6, 7)) == ids(1, 1, 1)
    assert run_ok(statement, ids(5, 6, 7), mode="bulk") == ids(3)
    assert run_ok(statement, ids(5, 6, 7), mode="bulk", batch_rows=2) == ids(2, 1)


@pytest.mark.trace("P2")
def test_row_by_row_is_the_default() -> None:
    assert run_ok("return [{'id': len(INPUT_DATA)}]", ids(1, 2)) == ids(1, 1)


@pytest.mark.trace("P8")
@pytest.mark.parametrize("mode", ["row", "bulk"])
def test_without_data_a_statement_is_called_once_with_no_rows(mode: str) -> None:
    assert run_ok("return [{'id': len(INPUT_DATA)}]", None, mode=mode) == ids(0)


VALUES: dict[str, tuple[str, Any]] = {
    "bool": ("Boolean", True),
    "int8": ("Int8", -128),
    "int": ("Int64", -(2**63)),
    "uint": ("UInt64", 2**64 - 1),
    "float": ("Float64", 0.1),
    "text": ("Utf8", "naïve \U0001f600"),
    "bytes": ("Binary", b"\x00\xff"),
    "decimal": ("Decimal(38,10)", decimal.Decimal("12345678901234567890.0123456789")),
    "date": ("Date32", datetime.date(2024, 2, 29)),
    "time": ("Time[us]", datetime.time(23, 59, 59, 999_999)),
    "naive": ("Timestamp[us]", datetime.datetime(1960, 1, 1, 0, 0, 0, 1)),
    "aware": ("Timestamp[us, UTC]", datetime.datetime(2024, 1, 1, tzinfo=datetime.UTC)),
    "duration": ("Duration[us]", datetime.timedelta(days=-1, microseconds=1)),
    "list": ("List<Int64>", [1, None, 3]),
    "struct": ("Struct<a: Int64, b: List<Utf8>>", {"a": 1, "b": ["x", "y"]}),
}


@pytest.mark.trace("P12", "P16")
def test_values_of_every_type_come_back_as_they_were() -> None:
    schema = {name: kind for name, (kind, _) in VALUES.items()}
    row = {name: value for name, (_, value) in VALUES.items()}
    nothing = dict.fromkeys(VALUES)
    result = processor(ECHO, schema, input=schema, mode="bulk").run([row, nothing])
    assert result.status == "ok", result.message
    assert result.to_dicts() == [row, nothing]
    assert type(result.to_dicts()[0]["bool"]) is bool


ANY: dict[str, st.SearchStrategy[Any]] = {
    "bool": st.booleans(),
    "int8": st.integers(-128, 127),
    "int": st.integers(-(2**63), 2**63 - 1),
    "uint": st.integers(0, 2**64 - 1),
    "float": st.floats(allow_nan=False),
    "text": st.text(),
    "bytes": st.binary(),
    "decimal": st.decimals(-(10**27), 10**27, places=10),
    "date": st.dates(),
    "time": st.times(),
    "naive": st.datetimes(),
    "aware": st.datetimes(timezones=st.just(datetime.UTC)),
    "duration": st.timedeltas(datetime.timedelta(days=-100_000_000), datetime.timedelta(days=100_000_000)),
    "list": st.lists(st.none() | st.integers(-(2**63), 2**63 - 1), max_size=5),
    "struct": st.fixed_dictionaries({"a": st.none() | st.integers(0, 9), "b": st.none() | st.lists(st.text())}),
}
SCHEMA = {name: kind for name, (kind, _) in VALUES.items()}


@pytest.fixture(scope="module")
def echo_all() -> qn.Processor:
    return qn.Processor(ECHO, output=SCHEMA, input=SCHEMA, mode="bulk")


@pytest.mark.trace("P12", "P16")
@settings(max_examples=40, deadline=None)
@given(rows=st.lists(st.fixed_dictionaries({name: st.none() | values for name, values in ANY.items()}), min_size=1))
def test_any_value_comes_back_as_it_was(echo_all: qn.Processor, rows: list[dict[str, Any]]) -> None:
    result = echo_all.run(rows)
    assert result.status == "ok", result.message
    back = result.to_dicts()
    assert back == rows
    for name in ("bool", "float"):  # equal is not enough: True and 1, -0.0 and 0.0
        assert [repr(row[name]) for row in back] == [repr(row[name]) for row in rows]


@pytest.mark.trace("P16")
@pytest.mark.parametrize(
    ("rows", "message", "row"),
    [
        ([{"id": 1}, {"id": "x"}], r"row 1, field \"id\": expected Int64!, found str 'x'", 1),
        ([{"id": 1}, {"id": None}], r"row 1, field \"id\": expected Int64!", 1),
        ([{}], r"row 0, field \"id\"", 0),
        ([{"id": 1, "more": 2}], r"row 0, field \"more\"", 0),
        ([{"id": 2**63}], r"row 0, field \"id\"", 0),
        ([{"id": 1}, 5], "row 1: expected a dict", 1),
    ],
)
def test_a_list_that_breaks_the_input_schema_is_a_failed_run(rows: Any, message: str, row: int) -> None:
    checked = processor(ECHO, input={"id": "Int64!"})
    result = checked.run(rows)
    assert (result.status, result.row, result.logs) == ("failed", row, [])
    assert re.search(message, result.message), result.message
    with pytest.raises(qn.QueryExecutionError, match="the run ended as failed"):
        result.to_polars()
    with pytest.raises(qn.DataError, match=message):
        checked.stream(rows)


@pytest.mark.trace("P16")
@pytest.mark.parametrize(
    ("frame", "message"),
    [
        (pl.DataFrame({"id": ["x"]}), 'field "id": expected Int64'),
        (pl.DataFrame({"other": [1]}), 'field "id"'),
        (pl.DataFrame({"id": [1], "more": [2]}), 'field "more"'),
        (pl.DataFrame({"id": [1, None]}), 'field "id"'),
    ],
)
def test_a_frame_that_breaks_the_input_schema_is_a_failed_run(frame: pl.DataFrame, message: str) -> None:
    result = processor(ECHO, input={"id": "Int64!"}).run(frame)
    assert result.status == "failed"
    assert message in result.message


@pytest.mark.parametrize(
    ("data", "kind", "message"),
    [
        (5, TypeError, "data must"),
        ({"id": 1}, TypeError, "a list of one dict"),
        ([5], TypeError, "row 0 of data is a int, not a dict"),
        ([{}], ValueError, "have no fields"),
        ([{"id": 1}, {"id": "x"}], qn.DataError, 'column "id", row 1'),
        ([{"id": 2**63 + 0.5}, {"id": 2**63 + 1}], qn.DataError, 'column "id", row 1'),
        ([{5: 1}], TypeError, "name"),
        (pl.DataFrame({"id": [object()]}), TypeError, 'column "id" has Python objects'),
        (pl.LazyFrame({"id": [object()]}), TypeError, 'column "id" has Python objects'),
    ],
)
def test_a_wrong_call_raises(data: Any, kind: Any, message: str) -> None:
    with pytest.raises(kind, match=message):
        processor().run(data)


# ---- statuses --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("statement", "arguments", "status", "message"),
    [
        ("return []", {}, "no_data", ""),
        ("return None", {}, "failed", "None"),
        ("return {'id': 1}", {}, "failed", "dict"),
        ("return [5]", {}, "failed", "expected a dict"),
        ("return [{}]", {}, "failed", 'field "id"'),
        ("return [{'id': 'x'}]", {}, "failed", "expected Int64, found str 'x'"),
        ("return [{'id': float('nan')}]", {}, "failed", "expected Int64, found float nan"),
        ("return [{'id': 2**64}]", {}, "failed", "expected Int64"),
        ("raise ValueError('so it is')", {}, "failed", "ValueError: so it is"),
        ("log.error('not good')\nreturn INPUT_DATA", {}, "failed", "not good"),
        (
            "while True:\n    try:\n        while True: pass\n    except BaseException: pass\nreturn []",
            {"timeout": 0.3},
            "timed_out",
            "0.3",
        ),
        ("await sleep(60)\nreturn []", {"timeout": 0.3}, "timed_out", "0.3"),
        ("x = 'x' * (1 << 30)\nreturn []", {"memory": "64MB"}, "memory_exceeded", "memory"),
    ],
)
def test_what_a_statement_does_is_a_status(statement: str, arguments: Any, status: str, message: str) -> None:
    if "return" not in statement:
        statement += "\nreturn []"
    result = processor(statement, **arguments).run(ids(1))
    assert (result.status, message in result.message) == (status, True), result.message
    assert result.checkpoint is None


@pytest.mark.parametrize(
    ("statement", "arguments", "kind"),
    [
        ("raise ValueError('no')\nreturn []", {}, qn.QueryExecutionError),
        ("await sleep(60)\nreturn []", {"timeout": 0.2}, qn.QueryTimeoutError),
        ("x = 'x' * (1 << 30)\nreturn []", {"memory": "64MB"}, qn.OutOfMemoryError),
    ],
)
def test_the_rows_of_a_run_that_did_not_end_well_are_an_error_that_names_the_status(
    statement: str, arguments: Any, kind: Any
) -> None:
    result = processor(statement, **arguments).run(ids(1))
    takers: list[Any] = [
        result.to_polars,
        result.to_pyarrow,
        result.to_pandas,
        result.to_dicts,
        result.stream,
        result.raise_for_status,
        result.__arrow_c_stream__,
    ]
    for taker in takers:
        with pytest.raises(kind, match=f"the run ended as {result.status}"):
            taker()


@pytest.mark.trace("P11")
def test_a_failure_names_line_and_row_and_shows_no_frame_of_ours() -> None:
    result = processor("x = 1\nreturn [{'id': 1 // row['id']} for row in INPUT_DATA]").run(ids(1, 0))
    assert (result.status, result.line, result.row) == ("failed", 2, 1)
    assert result.message.splitlines()[-1].startswith("ZeroDivisionError: ")
    assert 'File "statement.py", line 2' in result.message
    assert "worker" not in result.message


@pytest.mark.trace("P10")
def test_log_levels_lines_and_rows() -> None:
    levels = ["trace", "debug", "info", "warn"]
    statement = "".join(f"log.{level}('say {level}')\n" for level in levels) + "print('printed', 1)\nreturn INPUT_DATA"
    result = processor(statement).run(ids(1, 2))
    assert result.status == "ok", result.message
    said = [(f"say {level}", level, line) for line, level in enumerate(levels, 1)] + [("printed 1", "info", 5)]
    expected = [(level, message, line, row) for row in (0, 1) for message, level, line in said]
    assert [tuple(entry) for entry in result.logs] == expected
    assert result.logs[0].level == "trace"


@pytest.mark.trace("P10")
def test_log_error_goes_on_to_the_end_and_keeps_nothing() -> None:
    result = processor("log.error('bad')\nlog.info('went on')\nreturn INPUT_DATA", checkpoint="id").run(ids(1))
    assert (result.status, result.checkpoint) == ("failed", None)
    assert [entry.message for entry in result.logs] == ["bad", "went on"]


@pytest.mark.trace("P13")
def test_coroutines_that_nobody_awaited_are_reported() -> None:
    result = processor("x = 1\nsleep(0)\nreturn INPUT_DATA").run(ids(1))
    assert result.status == "ok"
    warnings = [entry for entry in result.logs if entry.level == "warn"]
    assert [(entry.line, "await" in entry.message) for entry in warnings] == [(2, True)]


@pytest.mark.trace("P7")
def test_sleep_is_a_coroutine_and_rows_overlap_in_it() -> None:
    waiting = processor("await sleep(0.2)\nreturn INPUT_DATA", concurrency=50)
    waiting.run(ids(0))
    start = time.monotonic()
    result = waiting.run(ids(*range(50)))
    assert result.to_dicts() == ids(*range(50))
    assert time.monotonic() - start < 5  # one after the other it would be 10


# ---- results ---------------------------------------------------------------------------------------------------------


def test_result_in_every_form() -> None:
    result = processor("return [{'id': r['id'], 'name': str(r['id'])} for r in INPUT_DATA]",
                       {"id": "Int64", "name": "Utf8"}).run(ids(1, 2))  # fmt: skip
    expected = pl.DataFrame({"id": [1, 2], "name": ["1", "2"]})
    assert result.ok
    assert_frame_equal(result.to_polars(), expected)
    assert_frame_equal(result.to_polars(), expected)  # again, from the same rows
    assert_frame_equal(pl.DataFrame(result), expected)
    assert result.to_pyarrow().to_pylist() == expected.to_dicts()
    assert result.to_pandas().to_dict("records") == expected.to_dicts()
    assert result.to_dicts() == expected.to_dicts()
    assert result.stream().schema.names == result.schema.names == ["id", "name"]
    assert repr(result) == "<qanat.Result: ok, 2 rows>"


def test_no_data_is_an_empty_frame_with_the_schema() -> None:
    result = processor("return []").run(ids(1))
    assert (result.status, result.ok) == ("no_data", True)
    assert result.to_polars().schema == {"id": pl.Int64}
    assert result.to_dicts() == []


def test_stats() -> None:
    result = processor("return INPUT_DATA + INPUT_DATA").run(ids(1, 2, 3))
    stats = result.stats
    assert (stats["rows_in"], stats["rows_out"], stats["logs_dropped"]) == (3, 6, 0)
    assert stats["tier"] in ("full", "reduced")
    assert 1 << 20 < stats["peak_memory"] < 1 << 30
    seconds = stats["seconds"]
    assert set(seconds) == {"start", "compile", "read", "run", "write", "total"}
    assert all(value >= 0 for value in seconds.values())
    assert 0 < seconds["compile"] + seconds["read"] + seconds["run"] + seconds["write"] < seconds["total"]
    assert "seconds_killed" not in stats


def test_stats_of_a_kill() -> None:
    stats = processor("while True: pass\nreturn []", timeout=0.2).run(ids(1)).stats
    assert 0 < stats["seconds_killed"] < 1
    assert stats["seconds"]["total"] >= 0.2


def test_a_value_that_python_cannot_hold_is_an_error_and_not_another_value() -> None:
    frame = pl.DataFrame({"t": pl.Series([1], dtype=pl.Datetime("ns"))})
    arriving = processor(ECHO, {"t": "Timestamp[ns]"}).run(frame)
    assert (arriving.status, 'row 0, column "t"' in arriving.message) == ("failed", True), arriving.message
    made = processor(
        "import polars\nreturn polars.DataFrame({'t': [1]}).cast(polars.Datetime('ns'))",
        {"t": "Timestamp[ns]"},
        mode="bulk",
        allow=["polars"],
    ).run(ids(1))
    assert made.status == "ok", made.message
    assert made.to_polars()["t"].cast(pl.Int64).to_list() == [1]
    with pytest.raises(qn.DataError, match='row 0, field "t"|column "t"'):
        made.to_dicts()


# ---- the checkpoint --------------------------------------------------------------------------------------------------


@pytest.mark.trace("P9", "P14")
@pytest.mark.parametrize(("kind", "value"), VALUES.values(), ids=VALUES.keys())
def test_checkpoint_is_the_last_rows_value_and_comes_back(kind: str, value: Any) -> None:
    made = processor("return [{'v': None}, {'v': DATA_CHECKPOINT}]", {"v": kind}, mode="bulk", checkpoint="v")
    result = made.run(ids(1), checkpoint=value)
    assert result.status == "ok", result.message
    assert result.checkpoint == value
    assert type(result.checkpoint) is type(value)
    assert made.run(ids(1)).checkpoint is None


@pytest.mark.trace("P9")
def test_without_a_checkpoint_it_is_none() -> None:
    assert run_ok("return [{'id': 1 if DATA_CHECKPOINT is None else 0}]", ids(7)) == ids(1)


def test_a_checkpoint_may_be_an_arrow_row_and_must_fit() -> None:
    assert run_ok("return [{'id': DATA_CHECKPOINT}]", ids(1), checkpoint=pl.DataFrame({"x": [9]})) == ids(9)
    with pytest.raises(qn.ArgumentError, match="checkpoint is an integer of 65 bits"):
        processor().run(ids(1), checkpoint=2**64)
    with pytest.raises(TypeError, match="checkpoint"):
        processor().run(ids(1), checkpoint=object())


@pytest.mark.trace("P15")
def test_processing_in_cycles_by_the_checkpoint() -> None:
    new = processor(
        "last = DATA_CHECKPOINT or 0\nreturn [r for r in INPUT_DATA if r['id'] > last][:3]",
        mode="bulk",
        checkpoint="id",
    )
    seen: list[int] = []
    checkpoint = None
    for _ in range(5):
        result = new.run(ids(*range(1, 8)), checkpoint)
        if result.status == "no_data":
            break
        seen += result.to_polars()["id"].to_list()
        checkpoint = result.checkpoint
    assert (seen, checkpoint) == (list(range(1, 8)), 7)


# ---- streams ---------------------------------------------------------------------------------------------------------


def batches(count: int, rows: int, made: list[int]) -> Iterator[pa.RecordBatch]:
    for number in range(count):
        made.append(number)
        yield pa.record_batch({"id": pa.array(range(number * rows, (number + 1) * rows), pa.int64())})


def reader(count: int, rows: int, made: list[int]) -> pa.RecordBatchReader:
    return pa.RecordBatchReader.from_batches(pa.schema({"id": pa.int64()}), batches(count, rows, made))


@pytest.mark.parametrize("mode", ["row", "bulk"])
def test_a_stream_reads_as_it_is_read(mode: str) -> None:
    made: list[int] = []
    through = processor(mode=mode, batch_rows=10_000 if mode == "bulk" else None)
    with through.stream(reader(200, 10_000, made)) as stream:
        total = next(stream).num_rows
        assert len(made) < 200  # the rest of the input has not been asked for
        total += sum(batch.num_rows for batch in stream)
    assert total == 2_000_000
    assert len(made) == 200


def test_the_timeout_of_a_stream_is_for_each_batch() -> None:
    slow = processor("import time\ntime.sleep(0.25)\nreturn INPUT_DATA", timeout=1, mode="bulk", batch_rows=10)
    with slow.stream(reader(8, 10, [])) as stream:
        assert sum(batch.num_rows for batch in stream) == 80  # 2 s in all
    assert slow.run(reader(8, 10, [])).status == "timed_out"
    stuck = processor(
        "while INPUT_DATA[0]['id'] == 30:\n    pass\nreturn INPUT_DATA", timeout=0.5, mode="bulk", batch_rows=10
    )
    with stuck.stream(reader(8, 10, [])) as stream, pytest.raises(qn.QanatError, match=r"longer than 0\.5 s"):
        list(stream)


def test_a_stream_goes_to_polars_and_into_another_processor() -> None:
    double = processor("return [{'id': 2 * r['id']} for r in INPUT_DATA]", mode="bulk", batch_rows=1000)
    with double.stream(double.stream(pl.DataFrame({"id": range(10_000)}))) as stream:
        frame = stream.to_polars()
    assert frame["id"].to_list() == [4 * i for i in range(10_000)]


def test_from_a_database_through_a_statement_into_a_database() -> None:
    with qn.connect("sqlite://:memory:") as source, qn.connect("sqlite://:memory:") as sink:
        source.insert("t", pl.DataFrame({"id": range(5000)}), mode="create")
        double = processor("return [{'id': 2 * r['id']} for r in INPUT_DATA]", mode="bulk", batch_rows=1000)
        sink.insert("t", double.stream(source.stream("select id from t order by id")), mode="create")
        assert sink.execute("select count(*) as n, sum(id) as s from t").row(0) == (5000, 4999 * 5000)
        sink.insert("t", double.run(source.stream("select id from t where id < 3")), mode="append")
        assert sink.execute("select count(*) as n from t").item() == 5003
        with pytest.raises(qn.QanatError, match="no such table"):
            double.run(source.stream("select id from absent"))
        assert source.execute("select 1 as a").item() == 1  # and is free again


def test_a_stream_that_fails_raises_before_its_end() -> None:
    failing = processor("return [{'id': 1 // (9000 - r['id'])} for r in INPUT_DATA]", mode="bulk", batch_rows=1000)
    with failing.stream(pl.DataFrame({"id": range(10_000)})) as stream:
        with pytest.raises(qn.QueryExecutionError, match="ZeroDivisionError"):
            for _ in stream:
                pass
    with failing.stream(pl.DataFrame({"id": range(10_000)})) as stream:
        with pytest.raises(qn.QueryExecutionError, match="ZeroDivisionError"):
            stream.to_polars()
    with processor("await sleep(60)\nreturn []", timeout=0.2).stream(ids(1)) as stream:
        with pytest.raises(qn.QueryTimeoutError):
            next(stream)


def test_the_error_of_a_stream_names_place_and_failure_in_one_line() -> None:
    statement = "def f(n):\n    return f(n - 1) if n else 1 // n\n\nreturn f(30)"
    with processor(statement).stream(ids(1)) as stream, pytest.raises(qn.QueryExecutionError) as caught:
        next(stream)
    last = "ZeroDivisionError: integer division or modulo by zero"
    assert str(caught.value) == f"statement.py, line 2, row 0: failed: {last}"
    assert (caught.value.row, (caught.value.detail or "")[:9]) == (0, "Traceback")
    flood = "while True:\n    log.info('x' * 1000)\nreturn []"
    with processor(flood).stream(ids(1)) as stream, pytest.raises(qn.DataError, match="output_limit: .* it logged"):
        next(stream)


@pytest.mark.trace("P10", "P13")
def test_what_a_statement_says_in_a_stream_goes_to_the_log(caplog: pytest.LogCaptureFixture) -> None:
    saying = processor("log.trace('a')\nlog.warn('b')\n\nsleep(1)\nreturn INPUT_DATA")
    with caplog.at_level(logging.DEBUG, logger="qanat"):
        with saying.stream(ids(5)) as stream:
            assert [batch.num_rows for batch in stream] == [1]
    assert [
        (entry.levelno, entry.getMessage()) for entry in caplog.records if "statement.py" in entry.getMessage()
    ] == [
        (logging.DEBUG, "statement.py, line 1, row 0: a"),
        (logging.WARNING, "statement.py, line 2, row 0: b"),
        (logging.WARNING, "statement.py, line 4, row 0: coroutine 'sleep' was never awaited: write 'await sleep(...)'"),
    ]


def test_an_input_stream_that_fails_is_raised() -> None:
    def broken() -> Iterator[pa.RecordBatch]:
        yield pa.record_batch({"id": [1]})
        raise ValueError("the well is dry")

    for use in ("run", "stream"):
        given = pa.RecordBatchReader.from_batches(pa.schema({"id": pa.int64()}), broken())
        with pytest.raises(qn.QanatError, match="the well is dry"):
            if use == "run":
                processor().run(given)
            else:
                list(processor().stream(given))


def test_a_stream_that_is_closed_early_ends_the_run() -> None:
    stream = processor().stream(reader(1000, 1000, []))
    next(stream)
    stream.close()
    assert stream.closed
    with pytest.raises(qn.ConnectionClosedError):
        next(stream)


# ---- debugging -------------------------------------------------------------------------------------------------------


@pytest.mark.trace("P3")
def test_debug_shows_rows_log_time_memory_and_checkpoint() -> None:
    made = processor("log.info('row of %s' % INPUT_DATA[0]['id'])\nreturn INPUT_DATA", checkpoint="id")
    text = str(made.debug(ids(5, 6)))
    for part in ("status: ok", "line 1, row 0", "row of 5", "row of 6", "2 rows, 1 column", "6 would be stored"):
        assert part in text
    for part in ("until the process was ready", "check and compile", "the statement", "at the peak", "2 in, 2 out"):
        assert part in text


@pytest.mark.trace("P3")
@pytest.mark.parametrize("data", [ids(5, 6, 7), pl.DataFrame({"id": [5, 6, 7]})], ids=["list", "frame"])
def test_debug_of_one_row(data: Any) -> None:
    made = processor(checkpoint="id")
    result = made.debug(data, row=1)
    assert (result.to_dicts(), result.checkpoint) == (ids(6), 6)
    for wrong in (3, -1):
        with pytest.raises(qn.ArgumentError, match="rows 0 to 2"):
            made.debug(data, row=wrong)
    with pytest.raises(qn.ArgumentError, match="no data"):
        made.debug(row=0)


@pytest.mark.trace("P3")
def test_debug_of_a_failure_shows_where() -> None:
    text = str(processor("x = INPUT_DATA[0]['id']\nreturn [{'id': 1 // x}]").debug(ids(5, 0)))
    assert text.startswith("status: failed in line 2, row 1\n")
    assert 'File "statement.py", line 2, in <statement>' in text
    assert "ZeroDivisionError" in text
    assert "would stay as it was" in text


# ---- threads, processes, signals -------------------------------------------------------------------------------------


def test_one_processor_serves_many_threads() -> None:
    double = processor("return [{'id': 2 * r['id']} for r in INPUT_DATA]")
    seen: dict[int, Any] = {}

    def use(number: int) -> None:
        seen[number] = double.run(ids(number)).to_dicts()

    threads = [threading.Thread(target=use, args=(number,)) for number in range(16)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert seen == {number: ids(2 * number) for number in range(16)}


def test_the_gil_is_free_while_a_statement_runs() -> None:
    waiting = processor("await sleep(0.5)\nreturn []")
    counted = 0
    thread = threading.Thread(target=waiting.run, args=(ids(1),))
    thread.start()
    while thread.is_alive():
        counted += 1
        thread.join(0.001)
    assert counted > 50


def test_ctrl_c_ends_a_run() -> None:
    waiting = processor("await sleep(30)\nreturn []")
    timer = threading.Timer(0.3, os.kill, (os.getpid(), signal.SIGINT))
    start = time.monotonic()
    timer.start()
    with pytest.raises(KeyboardInterrupt):
        waiting.run(ids(1))
    assert time.monotonic() - start < 10
    assert processor().run(ids(1)).status == "ok"


def test_what_a_run_changes_is_gone_in_the_next() -> None:
    first = processor("import json\njson.loads = None\nreturn [{'id': 1}]")
    second = processor("import json\nreturn [{'id': json.loads('5')}]")
    assert first.run(ids(1)).status in ("ok", "failed")
    assert second.run(ids(1)).to_dicts() == ids(5)
