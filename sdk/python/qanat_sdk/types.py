"""Type strings as people write them ("Int64", "Decimal(10,2)", "List<Utf8>") to pyarrow types.

    type   = (plain | "List<" type ">" | "Struct<" [ name ":" type { "," name ":" type } ] ">") [ "?" | "!" ]
    plain  = a name or alias of NAMES | Decimal(p,s) | Timestamp[unit, tz] | Time[unit] | Duration[unit]
    name   = characters other than , : < > " and spaces around it, or in double quotes, where "" is one quote

"?" says that a value may be null, which is so without it too; "!" says that it may not.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

import pyarrow as pa

#: Every name and alias without parameters, case as given.
NAMES: dict[str, Any] = {
    "Utf8": pa.string(),
    "string": pa.string(),
    "Int8": pa.int8(),
    "Int16": pa.int16(),
    "Int32": pa.int32(),
    "Int64": pa.int64(),
    "int": pa.int64(),
    "UInt8": pa.uint8(),
    "UInt16": pa.uint16(),
    "UInt32": pa.uint32(),
    "UInt64": pa.uint64(),
    "Float16": pa.float16(),
    "Float32": pa.float32(),
    "Float64": pa.float64(),
    "float": pa.float64(),
    "double": pa.float64(),
    "Boolean": pa.bool_(),
    "bool": pa.bool_(),
    "Date32": pa.date32(),
    "date": pa.date32(),
    "Date64": pa.date64(),
    "Timestamp": pa.timestamp("us"),
    "Time": pa.time64("us"),
    "Duration": pa.duration("us"),
    "Binary": pa.binary(),
    "bytes": pa.binary(),
    "Null": pa.null(),
}

KNOWN = (
    "Utf8 (string), Int8, Int16, Int32, Int64 (int), UInt8, UInt16, UInt32, UInt64, Float16, Float32, "
    "Float64 (float, double), Boolean (bool), Decimal(p,s), Date32 (date), Date64, Time[unit], Timestamp[unit, tz], "
    "Duration[unit], Binary (bytes), Null, List<type>, Struct<name: type, ...>; units are s, ms, us, ns"
)

MAX_DEPTH = 16
MAX_DIGITS = 38

_DECIMAL = re.compile(r"Decimal\( *(\d{1,3}) *, *(\d{1,3}) *\)")
_TEMPORAL = re.compile(r'(Timestamp|Time|Duration)\[ *(s|ms|us|ns) *(?:, *([^\s\],"]+) *)?\]')
_NAME = re.compile(r'[^,:<>"]+')
_QUOTED = re.compile(r'"((?:[^"]|"")*)"')
_PLAIN = re.compile(r"(?:\([^)]*\)|\[[^\]]*\]|[^,<>?!:])*")


def _unknown(text: str) -> ValueError:
    return ValueError(f'type "{text}" is not known; known are {KNOWN}')


def plain_type(text: str) -> Any:
    """The pyarrow type of a type string without children."""
    if text in NAMES:
        return NAMES[text]
    if (found := _DECIMAL.fullmatch(text)) is not None:
        precision, scale = int(found[1]), int(found[2])
        if not 1 <= precision <= MAX_DIGITS or scale > precision:
            raise ValueError(f'type "{text}": the precision is 1 to {MAX_DIGITS}, the scale 0 to the precision')
        return pa.decimal128(precision, scale)
    found = _TEMPORAL.fullmatch(text)
    if found is None:
        raise _unknown(text)
    kind, unit, zone = found.groups()
    if kind == "Timestamp":
        return pa.timestamp(unit, tz=zone)
    if zone is not None:
        raise _unknown(text)
    if kind == "Duration":
        return pa.duration(unit)
    return pa.time32(unit) if unit in ("s", "ms") else pa.time64(unit)


class _Scan:
    """A place in a type string."""

    def __init__(self, text: str) -> None:
        self.text = text
        self.at = 0

    def skip(self) -> None:
        while self.text[self.at : self.at + 1] in (" ", "\t"):
            self.at += 1

    def take(self, wanted: str) -> bool:
        self.skip()
        if not self.text.startswith(wanted, self.at):
            return False
        self.at += len(wanted)
        return True

    def take_open(self, word: str) -> bool:
        begin = self.at
        if self.take(word) and self.take("<"):
            return True
        self.at = begin
        return False

    def expected(self, what: str) -> ValueError:
        return ValueError(f'type "{self.text}": {what} is expected at character {self.at + 1}')

    def name(self) -> str:
        self.skip()
        if (quoted := _QUOTED.match(self.text, self.at)) is not None:
            self.at = quoted.end()
            return quoted[1].replace('""', '"')
        found = _NAME.match(self.text, self.at)
        if found is None or not found[0].strip():
            raise self.expected("the name of a field")
        self.at = found.end()
        return found[0].strip()

    def field(self, name: str, depth: int) -> Any:
        """A type with its mark, as a pyarrow Field of that name."""
        if depth > MAX_DEPTH:
            raise ValueError(f"a type nests deeper than {MAX_DEPTH} levels")
        self.skip()
        if self.take_open("List"):
            kind = pa.list_(self.field("item", depth + 1))
            if not self.take(">"):
                raise self.expected('the ">" of a list')
        elif self.take_open("Struct"):
            kind = self.struct(depth)
        else:
            found = _PLAIN.match(self.text, self.at)
            assert found is not None  # the pattern matches the empty text
            self.at = found.end()
            kind = plain_type(found[0].strip())
        nullable = not self.take("!")
        if nullable:
            self.take("?")
        elif pa.types.is_null(kind):
            raise ValueError(f'type "{self.text}": Null holds nothing else than null')
        return pa.field(name, kind, nullable=nullable)

    def struct(self, depth: int) -> Any:
        fields: list[Any] = []
        while not self.take(">"):
            if fields and not self.take(","):
                raise self.expected('a comma, or the ">" of a struct,')
            name = self.name()
            if any(field.name == name for field in fields):
                raise ValueError(f'type "{self.text}": a struct has two fields of the name "{name}"')
            if not self.take(":"):
                raise self.expected("a colon after the name of a field")
            fields.append(self.field(name, depth + 1))
        return pa.struct(fields)


def field_of(name: str, text: Any) -> Any:
    """The pyarrow Field of a name and a type string. ValueError says what is wrong with it."""
    if not isinstance(text, str):
        raise TypeError(f'column "{name}": a type is a text such as "Int64", not {text!r}')
    scan = _Scan(text)
    field = scan.field(name, 0)
    scan.skip()
    if scan.at != len(text):
        raise scan.expected("the end")
    return field


def schema_of(described: Any) -> Any:
    """What schema() returned, as a pyarrow Schema; None where it returned None."""
    if described is None or isinstance(described, pa.Schema):
        return described
    if not isinstance(described, Mapping):
        raise TypeError(
            f'schema() returns a dict of names and types such as {{"id": "Int64"}}, not {type(described).__name__}'
        )
    fields = []
    for name, text in described.items():
        if not isinstance(name, str):
            raise TypeError(f"schema(): the name of a column is a text, not {name!r}")
        try:
            fields.append(field_of(name, text))
        except ValueError as error:
            raise ValueError(f'schema(), column "{name}": {error}') from None
    return pa.schema(fields)


def text_of(kind: Any) -> str:
    """The type string of a pyarrow type, for messages; pyarrow's own where there is none."""
    if pa.types.is_list(kind):
        return f"List<{text_of(kind.value_type)}>"
    if pa.types.is_struct(kind):
        return f"Struct<{', '.join(f'{field.name}: {text_of(field.type)}' for field in kind)}>"
    if pa.types.is_decimal128(kind):
        return f"Decimal({kind.precision},{kind.scale})"
    if pa.types.is_timestamp(kind):
        return f"Timestamp[{kind.unit}, {kind.tz}]" if kind.tz else f"Timestamp[{kind.unit}]"
    if pa.types.is_time(kind):
        return f"Time[{kind.unit}]"
    if pa.types.is_duration(kind):
        return f"Duration[{kind.unit}]"
    return next((name for name, known in NAMES.items() if known == kind), str(kind))
