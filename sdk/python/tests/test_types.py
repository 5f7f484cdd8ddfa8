"""Type strings: the table, parameters, children, and clear words on others."""

from __future__ import annotations

import pyarrow as pa
import pytest

from qanat_sdk.types import field_of, schema_of, text_of

# The table of the document, in its words.
TABLE = {
    "Utf8": pa.string(),
    "string": pa.string(),
    "Int64": pa.int64(),
    "int": pa.int64(),
    "Int8": pa.int8(),
    "Int16": pa.int16(),
    "Int32": pa.int32(),
    "UInt8": pa.uint8(),
    "UInt16": pa.uint16(),
    "UInt32": pa.uint32(),
    "UInt64": pa.uint64(),
    "Float64": pa.float64(),
    "float": pa.float64(),
    "double": pa.float64(),
    "Float16": pa.float16(),
    "Float32": pa.float32(),
    "Boolean": pa.bool_(),
    "bool": pa.bool_(),
    "Date32": pa.date32(),
    "date": pa.date32(),
    "Date64": pa.date64(),
    "Timestamp": pa.timestamp("us"),
    "Binary": pa.binary(),
    "bytes": pa.binary(),
}
MORE = {
    "Decimal(10,2)": pa.decimal128(10, 2),
    "Decimal( 38 , 38 )": pa.decimal128(38, 38),
    "Timestamp[ns]": pa.timestamp("ns"),
    "Timestamp[ms, Europe/Berlin]": pa.timestamp("ms", "Europe/Berlin"),
    "Time": pa.time64("us"),
    "Time[ms]": pa.time32("ms"),
    "Time[ns]": pa.time64("ns"),
    "Duration": pa.duration("us"),
    "Duration[s]": pa.duration("s"),
    "Null": pa.null(),
    "List<Int8>": pa.list_(pa.int8()),
    "List< List<Utf8> >": pa.list_(pa.list_(pa.string())),
    "Struct<>": pa.struct([]),
    "Struct<a: Int64, b: List<Decimal(4,1)>>": pa.struct(
        [("a", pa.int64()), ("b", pa.list_(pa.decimal128(4, 1)))],
    ),
    'Struct<"a, ""b""": Timestamp[us, UTC]>': pa.struct([('a, "b"', pa.timestamp("us", "UTC"))]),
}


@pytest.mark.trace("C18")
@pytest.mark.parametrize(("text", "expected"), {**TABLE, **MORE}.items())
def test_type_strings(text: str, expected: pa.DataType) -> None:
    assert field_of("x", text) == pa.field("x", expected)
    assert field_of("x", text + "?") == pa.field("x", expected)
    if text != "Null":
        assert field_of("x", text + "!") == pa.field("x", expected, nullable=False)


def test_marks_inside_of_children() -> None:
    expected = pa.list_(pa.field("item", pa.struct([pa.field("a", pa.int64(), nullable=False)]), nullable=False))
    assert field_of("x", "List<Struct<a: Int64!>!>").type == expected


@pytest.mark.trace("C18")
@pytest.mark.parametrize(
    "text", ["utf8", "INT64", "Integer", "", "str", "Timestamp[us", "Time[us, UTC]", "Int64 Int64"]
)
def test_unknown_type_lists_the_known_ones(text: str) -> None:
    with pytest.raises(ValueError, match="known") as caught:
        field_of("x", text)
    for name in TABLE:
        assert name in str(caught.value)


@pytest.mark.parametrize(
    "text",
    [
        "Decimal(39,0)",
        "Decimal(0,0)",
        "Decimal(3,4)",
        "List<Int64",
        "List<>",
        "Struct<a Int64>",
        "Struct<a: Int64, a: Utf8>",
        "Struct<a: Int64 b: Int64>",
        "Struct<: Int64>",
        "Int64!?",
        "Null!",
        "List<" * 20 + "Int64" + ">" * 20,
    ],
)
def test_wrong_types_are_errors(text: str) -> None:
    with pytest.raises(ValueError, match=r"type|precision|nests"):
        field_of("x", text)


def test_schema_of_what_schema_returned() -> None:
    assert schema_of({"a": "int", "b": "Utf8!"}) == pa.schema(
        [pa.field("a", pa.int64()), pa.field("b", pa.string(), nullable=False)]
    )
    ours = pa.schema([("a", pa.large_string())])
    assert schema_of(ours) is ours
    assert schema_of(None) is None
    with pytest.raises(ValueError, match='column "a": type "Interger" is not known'):
        schema_of({"a": "Interger"})
    with pytest.raises(TypeError, match='column "a": a type is a text'):
        schema_of({"a": int})
    with pytest.raises(TypeError, match="a dict of names and types"):
        schema_of([("a", "int")])


@pytest.mark.parametrize("text", ["Utf8", "Int64", "Float64", "Boolean", "Decimal(10,2)", "List<Struct<a: Date32>>"])
def test_text_of_is_the_way_back(text: str) -> None:
    assert text_of(field_of("x", text).type) == text
