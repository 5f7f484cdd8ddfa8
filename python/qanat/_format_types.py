"""Type texts ("Int64", "Decimal(10,2)", "List<Utf8>") as pyarrow types, for the options of formats."""

from __future__ import annotations

import re
from typing import Any

import pyarrow as pa

from qanat.errors import ConfigurationError

_NAMES: dict[str, Any] = {
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
    "Float32": pa.float32(),
    "Float64": pa.float64(),
    "float": pa.float64(),
    "double": pa.float64(),
    "Boolean": pa.bool_(),
    "bool": pa.bool_(),
    "Date32": pa.date32(),
    "date": pa.date32(),
    "Timestamp": pa.timestamp("us"),
    "Time": pa.time64("us"),
}
_DECIMAL = re.compile(r"Decimal\( *(\d{1,2}) *, *(\d{1,2}) *\)")
_TEMPORAL = re.compile(r'(Timestamp|Time)\[ *(s|ms|us|ns) *(?:, *([^\s\],"]+) *)?\]')
_LIST = re.compile(r"List<(.*)>")
_MAX_DIGITS = 38


def type_of(text: str, what: str) -> Any:
    """The type of a text; ConfigurationError lists what there is."""
    text = text.strip()
    if text in _NAMES:
        return _NAMES[text]
    if (found := _LIST.fullmatch(text)) is not None:
        return pa.list_(type_of(found[1], what))
    if (found := _DECIMAL.fullmatch(text)) is not None:
        precision, scale = int(found[1]), int(found[2])
        if 1 <= precision <= _MAX_DIGITS and scale <= precision:
            return pa.decimal128(precision, scale)
    if (found := _TEMPORAL.fullmatch(text)) is not None:
        kind, unit, zone = found.groups()
        if kind == "Timestamp":
            return pa.timestamp(unit, tz=zone)
        if zone is None:
            return pa.time32(unit) if unit in ("s", "ms") else pa.time64(unit)
    known = ", ".join(_NAMES)
    raise ConfigurationError(
        f'{what}: "{text}" is not known; known are {known}, Decimal(p,s), Timestamp[unit, tz], Time[unit], List<type>'
    )
