"""Python values to polars frames, exactly or with a DataError that names row and column.

polars' own constructors let some values change (an int among floats, a naive time among aware ones), so the types in a
column are looked at first. Everything is a column at a time; nothing here knows about databases.
"""

from __future__ import annotations

import datetime
import decimal
import json
import sys
import uuid
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from qanat.errors import ArgumentError, DataError

if TYPE_CHECKING:
    import polars as pl
    import pyarrow as pa

_INT64_LOW, _INT64_HIGH, _UINT64_HIGH = -(2**63), 2**63 - 1, 2**64 - 1
_DECIMAL_DIGITS = 38


def has_arrow(data: object) -> bool:
    """Whether `data` speaks the Arrow PyCapsule protocol."""
    return hasattr(data, "__arrow_c_stream__") or hasattr(data, "__arrow_c_array__")


def rows_of(data: object) -> Any:
    """Anything that insert takes, as an object with an Arrow interface."""
    if has_arrow(data):
        return arrow_rows(data)
    if isinstance(data, Mapping):
        return frame_of_columns({_name(name): values for name, values in data.items()})
    if isinstance(data, list | tuple):
        return frame_of_columns(_columns_of_dicts(data))
    if type(data).__name__ == "LazyFrame" and hasattr(data, "collect"):
        return arrow_rows(data.collect())
    raise TypeError(
        "data must have __arrow_c_stream__ or __arrow_c_array__, or be a dict of columns or a list of dicts, "
        f"not {type(data).__name__}"
    )


def arrow_rows(data: Any) -> Any:
    """What has an Arrow interface, without what pandas and polars would hand over beside the data.

    polars: columns of Python objects, as their addresses; they are refused. pandas: an index that has no name, what
    is left of the rows' numbers where some were taken out; with a name it is a column.
    """
    pandas = sys.modules.get("pandas")
    if pandas is not None and isinstance(data, pandas.DataFrame):
        index = data.index
        if not isinstance(index, pandas.RangeIndex) and all(name is None for name in index.names):
            data = data.copy(deep=False)
            data.index = pandas.RangeIndex(len(data))
    polars = sys.modules.get("polars")
    if polars is not None and isinstance(data, polars.DataFrame):
        for name, dtype in data.schema.items():
            if dtype == polars.Object:
                raise TypeError(f'column "{name}" has Python objects, which no database takes (its type is Object)')
    return data


def frame_of_params(rows: Iterable[Any]) -> pl.DataFrame | None:
    """The rows of execute_many as a frame: columns by position, or by name for dicts; None where there are no rows.

    A list or dict in a row is bound as JSON text, as execute binds it.
    """
    given = list(rows)
    if not given:
        return None
    first = given[0]
    if isinstance(first, Mapping):
        names = [_name(name) for name in first]
        for number, row in enumerate(given):
            if not isinstance(row, Mapping) or row.keys() != first.keys():
                raise ArgumentError(f"row {number} of params_list does not have the names of row 0", row=number)
        columns = {name: [row[name] for row in given] for name in names}
    else:
        for number, row in enumerate(given):
            if not isinstance(row, list | tuple):
                raise TypeError(f"row {number} of params_list is a {type(row).__name__}, not a list, a tuple or a dict")
            if len(row) != len(first):
                raise ArgumentError(
                    f"row {number} of params_list has {len(row)} values, row 0 has {len(first)}", row=number
                )
        columns = {str(i + 1): [row[i] for row in given] for i in range(len(first))}
    if not columns:
        raise ArgumentError("the rows of params_list have no values")
    return frame_of_columns({name: _flat(name, values) for name, values in columns.items()})


def frame_of_columns(columns: Mapping[str, Any]) -> pl.DataFrame:
    """A frame of named columns of equal length."""
    import polars as pl

    made = [series_of(name, values) for name, values in columns.items()]
    for series in made[1:]:
        if len(series) != len(made[0]):
            raise ArgumentError(
                f'column "{series.name}" has {len(series)} values, column "{made[0].name}" has {len(made[0])}',
                column=series.name,
            )
    frame = pl.DataFrame(made)
    arrow_rows(frame)  # a Series may have objects in it
    return frame


def series_of(name: str, values: Any) -> pl.Series:
    """A column of Python values, or of anything that polars takes as one."""
    import polars as pl

    if isinstance(values, pl.Series):
        return values.alias(name)
    if hasattr(values, "__arrow_c_stream__") or hasattr(values, "__arrow_c_array__"):
        return pl.Series(name, values)
    if hasattr(values, "dtype") and hasattr(values, "tolist"):  # numpy, pandas
        if getattr(values.dtype, "kind", "O") != "O":
            return _strict(name, values, None)
        values = values.tolist()
    if isinstance(values, str | bytes | Mapping) or not isinstance(values, Iterable):
        raise TypeError(f'column "{name}" must be a list of values, not {type(values).__name__}')
    return _series_of_list(name, list(values))


def _name(name: object) -> str:
    if not isinstance(name, str):
        raise TypeError(f"a column's name must be a str, not {type(name).__name__}")
    return name


def _columns_of_dicts(rows: Sequence[Any]) -> dict[str, list[Any]]:
    names: dict[str, None] = {}
    for number, row in enumerate(rows):
        if not isinstance(row, Mapping):
            raise TypeError(f"row {number} of data is a {type(row).__name__}, not a dict")
        names.update(dict.fromkeys(row))
    return {_name(name): [row.get(name) for row in rows] for name in names}


def _flat(name: str, values: list[Any]) -> list[Any]:
    if not any(isinstance(value, list | tuple | dict) for value in values):
        return values
    return [
        _json(name, row, value) if isinstance(value, list | tuple | dict) else value for row, value in enumerate(values)
    ]


def _json(name: str, row: int, value: object) -> str:
    try:
        return json.dumps(value, ensure_ascii=False, allow_nan=False, separators=(",", ":"))
    except (TypeError, ValueError) as error:
        raise _misfit(name, row, f"cannot be written as JSON: {error}") from None


def _misfit(name: str, row: int | None, what: str) -> DataError:
    where = f'column "{name}", row {row}' if row is not None else f'column "{name}"'
    return DataError(f"{where}: {what}", row=row, column=name)


def _series_of_list(name: str, values: list[Any]) -> pl.Series:
    kinds = set(map(type, values))
    kinds.discard(type(None))
    if len(kinds) > 1:
        return _series_of_mixed(name, values, kinds)
    kind = next(iter(kinds), None)
    if kind is int:
        return _series_of_ints(name, values)
    if kind is decimal.Decimal:
        return _series_of_decimals(name, values)
    if kind is datetime.datetime:
        _same_awareness(name, values)
    if kind is datetime.time:
        _naive_times(name, values)
    if kind is not None and issubclass(kind, uuid.UUID):
        return _strict(name, [None if value is None else str(value) for value in values], None)
    if kind is dict:
        keys = dict.fromkeys(key for value in values if value is not None for key in value)
        return _series_of_nested(name, [None if v is None else {key: v.get(key) for key in keys} for v in values])
    if kind in (list, tuple):
        return _series_of_nested(name, values)
    return _strict(name, values, None)


def _series_of_mixed(name: str, values: list[Any], kinds: set[type]) -> pl.Series:
    import polars as pl

    if kinds == {int, float}:
        for row, value in enumerate(values):
            if type(value) is int and not _is_exact_float(value):
                raise _misfit(name, row, f"the integer {_short(value)} among floats has no exact float")
        return _strict(name, [None if value is None else float(value) for value in values], pl.Float64())
    if kinds == {int, decimal.Decimal}:
        exact = [decimal.Decimal(value) if type(value) is int else value for value in values]
        return _series_of_decimals(name, exact)
    if all(issubclass(kind, str) for kind in kinds):
        return _strict(name, [None if value is None else str.__str__(value) for value in values], None)
    if kinds <= {bytes, bytearray, memoryview}:
        return _strict(name, [None if value is None else bytes(value) for value in values], None)
    first = next(value for value in values if value is not None)
    row = next(row for row, value in enumerate(values) if value is not None and type(value) is not type(first))
    raise _misfit(name, row, f"a {type(values[row]).__name__} in a column of {type(first).__name__}")


def _is_exact_float(value: int) -> bool:
    try:
        return float(value) == value
    except OverflowError:
        return False


def _short(value: int) -> str:
    return str(value) if value.bit_length() < 256 else f"of {value.bit_length()} bits"


def _series_of_ints(name: str, values: list[Any]) -> pl.Series:
    import polars as pl

    present = [value for value in values if value is not None]
    low, high = min(present), max(present)
    if low >= _INT64_LOW and high <= _INT64_HIGH:
        return _strict(name, values, pl.Int64())
    if low >= 0 and high <= _UINT64_HIGH:
        return _strict(name, values, pl.UInt64())
    limit = 10**_DECIMAL_DIGITS
    for row, value in enumerate(values):
        if value is not None and not -limit < value < limit:
            raise _misfit(name, row, f"the integer {_short(value)} has more than {_DECIMAL_DIGITS} digits")
    exact = [None if value is None else decimal.Decimal(value) for value in values]
    return _strict(name, exact, pl.Decimal(_DECIMAL_DIGITS, 0))


def _series_of_decimals(name: str, values: list[Any]) -> pl.Series:
    import polars as pl

    scale = 0
    whole = 1
    for row, value in enumerate(values):
        if value is None:
            continue
        if not value.is_finite():
            raise _misfit(name, row, f"{value} has no exact decimal value")
        digits, exponent = len(value.as_tuple().digits), int(value.as_tuple().exponent)
        scale = max(scale, -exponent)
        whole = max(whole, digits + exponent)
        if scale + whole > _DECIMAL_DIGITS:
            raise _misfit(name, row, f"the decimals of the column need more than {_DECIMAL_DIGITS} digits")
    return _strict(name, values, pl.Decimal(_DECIMAL_DIGITS, scale))


def _same_awareness(name: str, values: list[Any]) -> None:
    aware: bool | None = None
    for row, value in enumerate(values):
        if value is None:
            continue
        if aware is None:
            aware = value.tzinfo is not None
        elif aware != (value.tzinfo is not None):
            raise _misfit(name, row, "datetimes with and without a time zone in one column")


def _naive_times(name: str, values: list[Any]) -> None:
    for row, value in enumerate(values):
        if value is not None and value.tzinfo is not None:
            raise _misfit(name, row, "a time with a time zone has no counterpart; use a datetime or a text")


def _series_of_nested(name: str, values: list[Any]) -> pl.Series:
    series = _strict(name, values, None)
    for row, (given, kept) in enumerate(zip(values, series.to_list(), strict=True)):
        if not _same(given, kept):
            raise _misfit(name, row, "the nested values cannot be kept exactly: their types differ from row to row")
    return series


def _same(given: Any, kept: Any) -> bool:
    """Whether polars kept a nested value; a key that a dict does not have is null."""
    if isinstance(given, Mapping) and isinstance(kept, Mapping):
        return all(_same(given.get(key), kept.get(key)) for key in given.keys() | kept.keys())
    if isinstance(given, list | tuple) and isinstance(kept, list):
        return len(given) == len(kept) and all(map(_same, given, kept))
    if isinstance(given, bool) != isinstance(kept, bool):
        return False
    return bool(given == kept) or (given != given and kept != kept)


def _strict(name: str, values: Any, dtype: pl.DataType | None) -> pl.Series:
    import polars as pl

    try:
        series = pl.Series(name, values, dtype=dtype, strict=True)
    except UnicodeEncodeError:
        row = next((row for row, value in enumerate(values) if isinstance(value, str) and not _is_utf8(value)), None)
        raise _misfit(name, row, "the text has a lone surrogate, which no UTF-8 text can hold") from None
    except (TypeError, ValueError, OverflowError, pl.exceptions.PolarsError) as error:
        raise _misfit(name, None, str(error).partition("\n")[0]) from error
    if series.dtype == pl.Object:
        kind = next(type(value).__name__ for value in values if value is not None)
        raise TypeError(f'column "{name}" has values of type {kind}, which no database takes')
    return series


def _is_utf8(text: str) -> bool:
    try:
        text.encode("utf-8")
    except UnicodeEncodeError:
        return False
    return True


def pandas_types(table: pa.Table) -> Callable[[pa.DataType], Any]:
    """For pyarrow's `to_pandas`: nullable types for the integers and booleans of a table that has nulls in them."""
    import pandas as pd
    import pyarrow as pa

    nullable = {
        pa.int8(): pd.Int8Dtype(),
        pa.int16(): pd.Int16Dtype(),
        pa.int32(): pd.Int32Dtype(),
        pa.int64(): pd.Int64Dtype(),
        pa.uint8(): pd.UInt8Dtype(),
        pa.uint16(): pd.UInt16Dtype(),
        pa.uint32(): pd.UInt32Dtype(),
        pa.uint64(): pd.UInt64Dtype(),
        pa.bool_(): pd.BooleanDtype(),
    }
    with_nulls = {column.type for column in table.columns if column.null_count > 0}
    chosen = {kind: dtype for kind, dtype in nullable.items() if kind in with_nulls}
    return chosen.get
