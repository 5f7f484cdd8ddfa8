"""Frames that bulk statements return: pandas, polars and pyarrow, each value exactly or refused with its place."""

from __future__ import annotations

import datetime
import decimal
import math
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

sys.path.insert(0, str(Path(__file__).parent))

from harness import BULK, DONE_FAILED, DONE_OK, INPUT_WHOLE, Result, Zygote

WHOLE = BULK | INPUT_WHOLE
ALLOW = ("pandas", "numpy", "polars", "pyarrow", "datetime", "decimal")
IMPORTS = {
    "pandas": "import pandas as pd\nimport numpy as np\n",
    "polars": "import polars as pl\n",
    "pyarrow": "import pyarrow as pa\n",
}


@pytest.fixture(scope="module")
def zygote() -> Iterator[Zygote]:
    with Zygote(["pandas", "numpy", "pyarrow"]) as one:
        yield one


def run(zygote: Zygote, library: str, statement: str, schema: pa.Schema, **options: Any) -> Result:
    text = f"import datetime\nimport decimal\n{IMPORTS[library]}{statement}"
    return zygote.run(text, schema, [pa.record_batch({"n": [1]})], flags=WHOLE, allow=ALLOW, **options)


def values(result: Result) -> list[Any]:
    assert result.kind == DONE_OK, result.text
    return [row["v"] for row in result.rows]


def one(kind: pa.DataType, nullable: bool = True) -> pa.Schema:
    return pa.schema([pa.field("v", kind, nullable)])


DAY = datetime.date(2024, 2, 29)
NOON = datetime.datetime(2024, 2, 29, 12, 30, 15, 123456)
UTC = NOON.replace(tzinfo=datetime.UTC)
D = decimal.Decimal

# ---- Arrow types into one another: source type, values, output type, what comes out -------------------------------

EXACT = [
    ("pa.int64()", [1, None, -5], pa.int8(), [1, None, -5]),
    ("pa.uint64()", [0, (1 << 63) - 1], pa.int64(), [0, (1 << 63) - 1]),
    ("pa.uint64()", [(1 << 64) - 1], pa.uint64(), [(1 << 64) - 1]),
    ("pa.int8()", [-128], pa.int64(), [-128]),
    ("pa.float64()", [1.0, -0.0, float(1 << 62)], pa.int64(), [1, 0, 1 << 62]),
    ("pa.decimal128(10, 2)", [D("3.00")], pa.int32(), [3]),
    ("pa.int64()", [1 << 53], pa.float64(), [float(1 << 53)]),
    ("pa.int32()", [1 << 24], pa.float32(), [float(1 << 24)]),
    ("pa.float32()", [0.5], pa.float64(), [0.5]),
    ("pa.float64()", [0.5, math.inf], pa.float32(), [0.5, math.inf]),
    ("pa.int64()", [12], pa.decimal128(4, 2), [D("12.00")]),
    ("pa.decimal128(20, 4)", [D("1.2300")], pa.decimal128(5, 2), [D("1.23")]),
    ("pa.decimal256(50, 4)", [D("1.2300")], pa.decimal128(5, 2), [D("1.23")]),
    (
        "pa.large_string()",
        ["a", "", None, "long enough for a block"],
        pa.string(),
        ["a", "", None, "long enough for a block"],
    ),
    ("pa.string_view()", ["a", "long enough for a block"], pa.string(), ["a", "long enough for a block"]),
    ("pa.dictionary(pa.int8(), pa.string())", ["a", "b", "a", None], pa.string(), ["a", "b", "a", None]),
    ("pa.large_binary()", [b"\x00\xff"], pa.binary(), [b"\x00\xff"]),
    ("pa.binary(2)", [b"ab"], pa.binary(), [b"ab"]),
    ("pa.binary()", [b"ab"], pa.binary(2), [b"ab"]),
    ("pa.bool_()", [True, False, None], pa.bool_(), [True, False, None]),
    ("pa.date64()", [DAY], pa.date32(), [DAY]),
    ("pa.timestamp('ns')", [datetime.datetime(2024, 2, 29)], pa.date32(), [DAY]),
    ("pa.timestamp('us')", [NOON], pa.timestamp("ns"), [NOON]),
    ("pa.timestamp('ns')", [NOON, None], pa.timestamp("us"), [NOON, None]),
    ("pa.timestamp('us', 'Europe/Berlin')", [UTC], pa.timestamp("us", "UTC"), [UTC]),
    ("pa.time64('ns')", [NOON.time()], pa.time64("us"), [NOON.time()]),
    ("pa.duration('s')", [datetime.timedelta(days=1)], pa.duration("us"), [datetime.timedelta(days=1)]),
    ("pa.null()", [None, None], pa.int64(), [None, None]),
    ("pa.large_list(pa.int64())", [[1, 2], [], None], pa.list_(pa.int32()), [[1, 2], [], None]),
    ("pa.list_(pa.int64(), 2)", [[1, 2]], pa.list_(pa.int32()), [[1, 2]]),
    (
        "pa.struct([('b', pa.large_string()), ('a', pa.int64())])",
        [{"a": 1, "b": "x"}, None],
        pa.struct([("a", pa.int32()), ("b", pa.string())]),
        [{"a": 1, "b": "x"}, None],
    ),
]


@pytest.mark.parametrize(("source", "given", "output", "wanted"), EXACT)
def test_values_are_cast_where_that_is_exact(
    zygote: Zygote, source: str, given: list[Any], output: pa.DataType, wanted: list[Any]
) -> None:
    text = f"return pa.table({{'v': pa.array({given!r}, {source})}})".replace("Decimal(", "decimal.Decimal(")
    text = text.replace(", inf]", ", float('inf')]")
    assert values(run(zygote, "pyarrow", text, one(output))) == wanted


REFUSED = [
    ("pa.int64()", [1, 300], pa.int8(), 'row 1, field "v": expected Int8, found 300 of type Int64'),
    ("pa.uint64()", [1 << 63], pa.int64(), "found 9223372036854775808"),
    ("pa.int64()", [-1], pa.uint8(), "found -1"),
    ("pa.float64()", [1.5], pa.int64(), "found 1.5 of type Float64"),
    ("pa.float64()", [float(1 << 63)], pa.int64(), "row 0"),
    ("pa.int64()", [(1 << 53) + 1], pa.float64(), "found 9007199254740993"),
    ("pa.float64()", [1e300], pa.float32(), "found 1e+300"),
    ("pa.decimal128(10, 2)", [D("1.25")], pa.decimal128(10, 1), "found 1.25"),
    ("pa.int64()", [1000], pa.decimal128(4, 2), "found 1000"),
    ("pa.float64()", [1.0], pa.decimal128(4, 2), "found a column of type Float64"),
    ("pa.string()", ["1"], pa.int64(), "found a column of type Utf8"),
    ("pa.int64()", [1], pa.string(), "found a column of type Int64"),
    ("pa.int64()", [1], pa.bool_(), "found a column of type Int64"),
    ("pa.binary()", [b"abc"], pa.binary(2), "row 0"),
    ("pa.timestamp('us')", [NOON], pa.date32(), "row 0"),
    ("pa.timestamp('us')", [NOON], pa.timestamp("s"), "row 0"),
    ("pa.timestamp('us')", [NOON], pa.timestamp("us", "UTC"), "the values have none"),
    ("pa.timestamp('us', 'UTC')", [UTC], pa.timestamp("us"), "the values have one"),
    ("pa.timestamp('s')", [datetime.datetime(3000, 1, 1)], pa.timestamp("ns"), "row 0"),
    (
        "pa.list_(pa.int64())",
        [[1], [2, 300]],
        pa.list_(pa.int8()),
        'row 1, field "v": expected List, found 300 of type Int64 in it',
    ),
    ("pa.struct([('a', pa.int64())])", [{"a": 1}], pa.struct([("b", pa.int64())]), "found a column of type Struct"),
    ("pa.map_(pa.string(), pa.int64())", [[("a", 1)]], pa.string(), "found a column of type"),
]


@pytest.mark.parametrize(("source", "given", "output", "words"), REFUSED)
def test_values_that_would_change_are_refused(
    zygote: Zygote, source: str, given: list[Any], output: pa.DataType, words: str
) -> None:
    text = f"return pa.table({{'v': pa.array({given!r}, {source})}})".replace("Decimal(", "decimal.Decimal(")
    result = run(zygote, "pyarrow", text, one(output))
    assert result.kind == DONE_FAILED
    assert words in result.text
    assert '"v"' in result.text


def test_the_type_is_told_as_the_author_wrote_it(zygote: Zygote) -> None:
    text = "return pa.table({'v': ['a']})"
    result = run(zygote, "pyarrow", text, one(pa.int64()), types={"v": "int"})
    assert 'field "v": expected int, found a column of type Utf8' in result.text


# ---- the shape of a frame ---------------------------------------------------------------------------------------

PAIR = pa.schema([("a", pa.int64()), pa.field("b", pa.string(), nullable=False)])
FRAMES = {
    "pandas": "return pd.DataFrame({columns})",
    "polars": "return pl.DataFrame({columns})",
    "pyarrow": "return pa.table({columns})",
}


@pytest.mark.parametrize("library", FRAMES)
def test_columns_go_by_name(zygote: Zygote, library: str) -> None:
    result = run(zygote, library, FRAMES[library].format(columns="{'b': ['x', 'y'], 'a': [1, 2]}"), PAIR)
    assert result.rows == [{"a": 1, "b": "x"}, {"a": 2, "b": "y"}]
    assert (result.done.rows_in, result.done.rows_out) == (1, 2)


@pytest.mark.parametrize("library", FRAMES)
@pytest.mark.parametrize(
    ("columns", "words"),
    [
        ("{'a': [1]}", 'field "b": missing'),
        ("{'a': [1], 'b': ['x'], 'c': [1]}", 'field "c": not in the output schema'),
        ("{'a': [1, 2], 'b': ['x', None]}", 'row 1, field "b"'),
        ("{'a': ['x'], 'b': ['x']}", 'field "a": expected Int64'),
    ],
)
def test_columns_that_do_not_match_are_named(zygote: Zygote, library: str, columns: str, words: str) -> None:
    result = run(zygote, library, FRAMES[library].format(columns=columns), PAIR)
    assert result.kind == DONE_FAILED
    assert words in result.text


@pytest.mark.parametrize("library", FRAMES)
def test_an_empty_frame_is_no_rows(zygote: Zygote, library: str) -> None:
    dtypes = {"pandas": "", "polars": ", schema={'a': pl.Int64, 'b': pl.String}", "pyarrow": ", pa.schema(schema)"}
    columns = "{'a': [], 'b': []}" + dtypes[library].replace("schema)", "{'a': pa.int64(), 'b': pa.string()})", 1)
    result = run(zygote, library, FRAMES[library].format(columns=columns), PAIR)
    assert (result.kind, result.rows) == (DONE_OK, []), result.text


@pytest.mark.parametrize("library", FRAMES)
def test_a_large_frame_comes_in_frames_of_bounded_size(zygote: Zygote, library: str) -> None:
    for kind in (pa.int64(), pa.int32()):  # as it is, and cast
        schema = pa.schema([("a", kind), ("b", pa.string())])
        columns = "{'a': list(range(150000)), 'b': ['x' * 50] * 150000}"
        result = run(zygote, library, FRAMES[library].format(columns=columns), schema)
        assert result.kind == DONE_OK, result.text
        table = pa.Table.from_batches(result.batches)
        assert table["a"].to_pylist() == list(range(150000))
        assert set(table["b"].to_pylist()) == {"x" * 50}
        assert max(batch.nbytes for batch in result.batches) < 6 << 20


@pytest.mark.parametrize(
    ("library", "statement", "words"),
    [
        ("polars", "return pl.DataFrame({'v': [1]}).lazy()", "frame.collect()"),
        ("polars", "return pl.Series([1])", "series.to_frame()"),
        ("polars", "return pl.DataFrame({'v': [object()]})", 'field "v": the column has Python objects'),
        ("pyarrow", "return pa.chunked_array([[1]])", "one column, not a frame"),
        ("pandas", "return pd.Series([1])", "series.to_frame()"),
        ("pandas", "return pd.DataFrame([[1]])", "the names of columns must be texts, and one is 0 (int)"),
        ("pandas", "return pd.DataFrame([[1, 2]], columns=['v', 'v'])", 'two columns named "v"'),
        ("pandas", "return pd.DataFrame({'v': [1], 'k': ['a']}).set_index('v')", "reset_index()"),
    ],
)
def test_what_is_no_frame_is_told(zygote: Zygote, library: str, statement: str, words: str) -> None:
    result = run(zygote, library, statement, one(pa.int64()))
    assert result.kind == DONE_FAILED
    assert words in result.text


def test_a_frame_in_row_mode_is_refused(zygote: Zygote) -> None:
    text = f"{IMPORTS['pandas']}return pd.DataFrame(INPUT_DATA)"
    result = zygote.run(text, one(pa.int64()), [pa.record_batch({"v": [1]})], allow=ALLOW)
    assert result.kind == DONE_FAILED
    assert "DataFrame" in result.text


def test_one_batch_after_the_other(zygote: Zygote) -> None:
    text = f"{IMPORTS['pandas']}return pd.DataFrame(INPUT_DATA)"
    batches = [pa.record_batch({"v": [1, 2]}), pa.record_batch({"v": [3]})]
    assert values(zygote.run(text, one(pa.int64()), batches, flags=BULK, batch_rows=2, allow=ALLOW)) == [1, 2, 3]


# ---- pandas: what it is made of, output type, what comes out ------------------------------------------------------

PANDAS = [
    ("[1, 2]", pa.int64(), [1, 2]),
    ("np.array([1, 2], '>i4')", pa.int64(), [1, 2]),
    ("np.arange(6)[::2]", pa.int64(), [0, 2, 4]),
    ("np.array([True, False])", pa.bool_(), [True, False]),
    ("[1.0, None, 3.0]", pa.int64(), [1, None, 3]),
    ("[1.5, float('nan')]", pa.float64(), [1.5, None]),
    ("[float('nan')] * 2", pa.string(), [None, None]),
    ("np.array([1.5], 'float16')", pa.float64(), [1.5]),
    ("pd.array([1, None], dtype='Int64')", pa.int64(), [1, None]),
    ("pd.array([1, None], dtype='UInt8')", pa.int16(), [1, None]),
    ("pd.array([True, None], dtype='boolean')", pa.bool_(), [True, None]),
    ("pd.array([1.5, None], dtype='Float64')", pa.float64(), [1.5, None]),
    ("['a', None, 'c']", pa.string(), ["a", None, "c"]),
    ("pd.array(['a', None], dtype='string')", pa.string(), ["a", None]),
    ("pd.Categorical(['a', 'b', 'a', None])", pa.string(), ["a", "b", "a", None]),
    ("[b'ab', None]", pa.binary(), [b"ab", None]),
    ("pd.to_datetime(['2024-02-29T12:30:15.123456', None])", pa.timestamp("us"), [NOON, None]),
    ("pd.to_datetime(['2024-02-29', None])", pa.date32(), [DAY, None]),
    ("[datetime.date(2024, 2, 29), None]", pa.date32(), [DAY, None]),
    ("pd.to_datetime(['2024-02-29T12:30:15.123456Z', None])", pa.timestamp("us", "UTC"), [UTC, None]),
    (
        "pd.to_datetime(['2024-02-29T12:30:15.123456Z']).tz_convert('Europe/Berlin')",
        pa.timestamp("us", "UTC"),
        [UTC],
    ),
    ("pd.to_timedelta(['1 days', None])", pa.duration("us"), [datetime.timedelta(days=1), None]),
    ("[decimal.Decimal('1.5'), None, 2]", pa.decimal128(5, 2), [D("1.50"), None, D("2.00")]),
    ("[[1, 2], None, []]", pa.list_(pa.int64()), [[1, 2], None, []]),
    ("[{'a': 1}, None]", pa.struct([("a", pa.int64())]), [{"a": 1}, None]),
    ("[pd.NA, pd.NaT, None, float('nan'), 'a']", pa.string(), [None, None, None, None, "a"]),
    ("pd.array([1, None], dtype=pd.ArrowDtype(pa.int64()))", pa.int64(), [1, None]),
    ("pd.array(['a', None], dtype=pd.ArrowDtype(pa.string()))", pa.string(), ["a", None]),
]


@pytest.mark.parametrize(("made", "output", "wanted"), PANDAS)
def test_pandas_columns(zygote: Zygote, made: str, output: pa.DataType, wanted: list[Any]) -> None:
    text = f"import pyarrow as pa\nreturn pd.DataFrame({{'v': {made}}}, index=[7] * {len(wanted)})"
    if "pd." in made or "np." in made:
        text = f"import pyarrow as pa\nreturn pd.DataFrame({{'v': {made}}})"
    assert values(run(zygote, "pandas", text, one(output))) == wanted


@pytest.mark.parametrize(
    ("made", "output", "words"),
    [
        ("[1.5]", pa.int64(), 'row 0, field "v": expected Int64, found 1.5 of type Float64'),
        ("['1']", pa.int64(), "row 0, field \"v\": expected Int64, found str '1'"),
        ("[1, 'a']", pa.int64(), "row 1, field \"v\": expected Int64, found str 'a'"),
        ("[1]", pa.string(), "expected Utf8"),
        ("pd.to_datetime(['2024-02-29T12:30:15.123456789'])", pa.timestamp("us"), "row 0"),
        ("pd.to_datetime(['2024-02-29T12:30:15'])", pa.timestamp("us", "UTC"), "the values have none"),
        ("[complex(1, 2)]", pa.float64(), "row 0"),
    ],
)
def test_pandas_columns_that_do_not_fit(zygote: Zygote, made: str, output: pa.DataType, words: str) -> None:
    result = run(zygote, "pandas", f"return pd.DataFrame({{'v': {made}}})", one(output))
    assert result.kind == DONE_FAILED
    assert words in result.text
