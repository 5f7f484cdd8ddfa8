"""JSON: an array of objects, or objects one after the other. Each object is a row.

Options (a JSON object): `types` {"name": "Int64", ...} for columns whose type is known; `records`, the names that lead
to the array in a larger document, with dots between ("data.items").

The parser is Python's, since those that are quicker round: numbers are exact here. Types are inferred from the first
8 MiB: Boolean, Int64, Float64 (only for numbers that it holds digit for digit), Utf8, lists and structs; texts stay
texts, whatever they look like. A later value that does not fit, a name that was not there before, a name twice in an
object, a number that would be rounded: each is a DataError with row and column; `types` is the way out. A name that an
object lacks is null in its row. The array is read as it comes; with `records` the document is held as a whole (256 MiB
at most).
"""

from __future__ import annotations

import io
import json
from collections.abc import Callable, Iterator
from decimal import Decimal
from typing import Any, BinaryIO, NoReturn

import pyarrow as pa

from qanat._format_arrays import cast_texts
from qanat._formats import Reading, check_options, native_file, text_option, types_option
from qanat.errors import DataError

Row = dict[str, Any]

CHUNK_BYTES = 8 << 20
CHUNK_ROWS = 65536
MOST_DOCUMENT = 256 << 20
MOST_VALUE = 64 << 20  # characters of one object
_EXACT = 15
_PIECE = 1 << 20


# ---- objects out of bytes ----


def _pairs(pairs: list[tuple[str, Any]]) -> Row:
    made = dict(pairs)
    if len(made) != len(pairs):
        names = [name for name, _ in pairs]
        double = next(name for name in names if names.count(name) > 1)
        raise DataError(f'an object has the name "{double}" twice')
    return made


def _exact_float(text: str) -> float:
    value = float(text)
    if (len(text) > _EXACT or "e" in text.lower()) and (
        value in (float("inf"), float("-inf")) or Decimal(repr(value)) != Decimal(text)
    ):
        raise DataError(
            f"the number {text} is more than a Float64 holds exactly",
            hint='give the type of its column: types {"name": "Decimal(38,10)"}',
        )
    return value


def _no_constant(text: str) -> NoReturn:
    raise DataError(f"{text} is no JSON")


def decoder_of(types: dict[str, Any]) -> json.JSONDecoder:
    """Decimals are kept as such where a column of them is asked for: they are made what the column is later."""
    exact = any(pa.types.is_decimal(kind) for kind in types.values())
    return json.JSONDecoder(
        parse_float=Decimal if exact else _exact_float, parse_constant=_no_constant, object_pairs_hook=_pairs
    )


def values_of(file: BinaryIO, decoder: json.JSONDecoder) -> Iterator[tuple[Any, int]]:
    """Each value of an array, or of a file of values, with its length; as they come."""
    source = io.TextIOWrapper(file, encoding="utf-8-sig", errors="strict", newline="")
    text = ""
    at = 0
    ended = in_array = first = False

    def more(size: int) -> None:
        nonlocal text, at, ended
        piece = source.read(size)
        ended = piece == ""
        text = text[at:] + piece
        at = 0

    def skip(characters: str) -> str:
        """The next character that is not among these; "" at the end."""
        nonlocal at
        while True:
            while at < len(text) and text[at] in characters:
                at += 1
            if at < len(text) or ended:
                return text[at : at + 1]
            more(_PIECE)

    more(_PIECE)
    if skip(" \t\r\n") == "[":
        in_array = first = True
        at += 1
    while True:
        found = skip(" \t\r\n")
        if found == "" and not in_array:
            return
        if in_array and found == "]":
            at += 1
            if skip(" \t\r\n") != "":
                raise DataError("something follows the array")
            return
        if in_array and not first:
            if found != ",":
                raise DataError("a comma or the end of the array is missing" if found else "the array has no end")
            at += 1
            found = skip(" \t\r\n")
        first = False
        size = _PIECE
        while True:
            try:
                value, end = decoder.raw_decode(text, at)
                if end < len(text) or ended:
                    break
            except json.JSONDecodeError as error:
                if ended or len(text) - at > MOST_VALUE:
                    raise DataError(f"it is no JSON: {error.msg}") from None
            more(size)
            size *= 2
        yield value, end - at
        at = end


def document_of(file: BinaryIO, decoder: json.JSONDecoder, path: str) -> Iterator[tuple[Any, int]]:
    """The values of the array that `path` leads to."""
    data = file.read(MOST_DOCUMENT + 1)
    if len(data) > MOST_DOCUMENT:
        raise DataError(f"the document has more than {MOST_DOCUMENT >> 20} MiB")
    try:
        found = decoder.decode(data.decode("utf-8-sig"))
    except json.JSONDecodeError as error:
        raise DataError(f"it is no JSON: {error}") from None
    for name in path.split("."):
        if not isinstance(found, dict) or name not in found:
            raise DataError(f'the document has no "{path}"')
        found = found[name]
    if not isinstance(found, list):
        raise DataError(f'"{path}" is no array')
    each = len(data) // max(1, len(found))
    for value in found:
        yield value, each


# ---- columns out of objects ----


def chunks_of(values: Iterator[tuple[Any, int]]) -> Iterator[list[Row]]:
    rows: list[Row] = []
    size = 0
    for n, (value, length) in enumerate(values):
        if not isinstance(value, dict):
            raise DataError(f"row {n}: a row is an object, not {_kind_of(value)}", row=n)
        rows.append(value)
        size += length
        if size >= CHUNK_BYTES or len(rows) >= CHUNK_ROWS:
            yield rows
            rows, size = [], 0
    if rows:
        yield rows


def _kind_of(value: Any) -> str:
    known = {bool: "a boolean", str: "a text", list: "an array", type(None): "null"}
    return known.get(type(value), "a number")


def table_of(
    values: Iterator[tuple[Any, int]], types: dict[str, Any], close: Callable[[], None]
) -> tuple[Any, Iterator[Any]]:
    chunks = chunks_of(values)
    head = next(chunks, [])
    names = list(types)
    known = set(types)
    for row in head:
        if not known.issuperset(row):
            new = [name for name in row if name not in known]
            names += new
            known.update(new)
    schema = pa.schema([pa.field(name, types.get(name) or _inferred(head, name)) for name in names])
    return schema, _batches(head, chunks, schema, close)


def _inferred(rows: list[Row], name: str) -> Any:
    values = [row.get(name) for row in rows]
    try:
        kind = pa.array(values, from_pandas=False).type
    except (pa.ArrowException, ValueError, OverflowError) as error:
        raise DataError(
            f'column "{name}": its values are of no one type: {error}',
            column=name,
            hint=f'give its type: types {{"{name}": "Decimal(38,0)"}}',
        ) from None
    return _settled(kind)


def _settled(kind: Any) -> Any:
    """A type for values of which so far only null was seen: texts."""
    if pa.types.is_null(kind):
        return pa.string()
    if pa.types.is_list(kind):
        return pa.list_(_settled(kind.value_type))
    if pa.types.is_struct(kind):
        return pa.struct([pa.field(kind.field(i).name, _settled(kind.field(i).type)) for i in range(kind.num_fields)])
    return kind


def _batches(head: list[Row], chunks: Iterator[list[Row]], schema: Any, close: Callable[[], None]) -> Iterator[Any]:
    known = set(schema.names)
    begin = 0
    rows = head
    try:
        while rows:
            for i, row in enumerate(rows):
                if not known.issuperset(row):
                    name = next(name for name in row if name not in known)
                    raise DataError(
                        f'row {begin + i}: the rows before it had no "{name}"',
                        row=begin + i,
                        column=name,
                        hint=f'give its type: types {{"{name}": "Utf8"}}',
                    )
            columns = [_column(rows, field, begin) for field in schema]
            yield pa.RecordBatch.from_arrays(columns, schema=schema) if columns else _nothing(len(rows))
            begin += len(rows)
            rows = next(chunks, [])
    finally:
        close()


def _nothing(rows: int) -> Any:
    return pa.RecordBatch.from_struct_array(pa.array([{}] * rows, pa.struct([])))


def _column(rows: list[Row], field: Any, begin: int) -> Any:
    values = [row.get(field.name) for row in rows]
    try:
        return _array(values, field.type)
    except (pa.ArrowException, DataError, ValueError, TypeError, OverflowError):
        for i, value in enumerate(values):
            try:
                _array([value], field.type)
            except (pa.ArrowException, DataError, ValueError, TypeError, OverflowError) as error:
                raise DataError(
                    f'row {begin + i}, column "{field.name}": the value is no {field.type}: {error}',
                    row=begin + i,
                    column=field.name,
                    hint=f'give the type of the column: types {{"{field.name}": "Utf8"}}',
                ) from None
        raise


def _array(values: list[Any], kind: Any) -> Any:
    """An array that holds exactly the values."""
    if pa.types.is_nested(kind):
        for value in values:
            _check_nested(value, kind)
    elif pa.types.is_string(kind):
        values = [value if value is None or isinstance(value, str) else _text(value) for value in values]
    elif pa.types.is_decimal(kind):
        values = [Decimal(value) if type(value) in (int, str) else value for value in values]
    elif pa.types.is_floating(kind):
        values = [_exact_float(str(value)) if isinstance(value, Decimal) else value for value in values]
    elif pa.types.is_temporal(kind):
        texts = pa.array(values, pa.string())
        return cast_texts(texts, kind)
    elif pa.types.is_integer(kind):
        for value in values:
            _check_integer(value)
    return pa.array(values, kind, from_pandas=False)


def _text(value: Any) -> str:
    raise DataError(f"{_kind_of(value)} is no text")


def _check_integer(value: Any) -> None:
    """pyarrow would cut off fractions."""
    if isinstance(value, (float, Decimal, bool)):
        raise DataError(f"{value} is no integer")


def _check_nested(value: Any, kind: Any) -> None:
    """A struct leaves out what it has no field for, and fractions are cut off: that is not to happen unseen."""
    if value is None:
        return
    if pa.types.is_integer(kind):
        _check_integer(value)
    if pa.types.is_struct(kind):
        if not isinstance(value, dict):
            raise DataError(f"{_kind_of(value)} is no object")
        for name, item in value.items():
            index = kind.get_field_index(name)
            if index < 0:
                raise DataError(f'there was no "{name}" before')
            _check_nested(item, kind.field(index).type)
    elif pa.types.is_list(kind):
        if not isinstance(value, list):
            raise DataError(f"{_kind_of(value)} is no array")
        for item in value:
            _check_nested(item, kind.value_type)


# ---- the format ----


def read(fd: int, _columns: list[str] | None, options: dict[str, Any], _name: str) -> Reading:
    check_options(options, "json")
    types = types_option(options)
    path = text_option(options, "records", "")
    file = io.BufferedReader(native_file(fd))
    decoder = decoder_of(types)
    values = document_of(file, decoder, path) if path else values_of(file, decoder)
    schema, batches = table_of(values, types, file.close)
    return schema, batches, True
