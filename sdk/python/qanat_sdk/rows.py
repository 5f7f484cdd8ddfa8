"""Dicts to record batches, exactly by a schema: nothing is converted that would change a value, and whatever does not
fit is an error that names row, field, what was expected and what was found.

Rows: a missing key is null; a key that the schema does not have is an error. Columns: each column of the schema must be
there, all equally long. Accepted are the Python values that hold a type's values exactly (and numpy's scalars of the
same kind): int for integers, float or an int that a float holds for floats, datetime with a zone for Timestamp with a
zone and without one for others. Float32 and Float16 take the nearest value, and refuse what they could only hold as
infinity.
"""

from __future__ import annotations

import datetime as dt
import math
import operator
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from decimal import Decimal
from typing import Any

import pyarrow as pa

from qanat_sdk.types import text_of

TARGET = 1 << 20  # bytes of a batch, about
MAX_ROWS = 1 << 16  # rows of a batch
_FIRST_ROWS = 1024  # of columns, until their size is known
_SHOWN = 60  # characters of a value in a message
_FLOAT_LIMITS = {"float": (2 - 2**-24) * 2.0**127, "halffloat": 65520.0}  # what rounds to infinity
_UNIT_MICROSECONDS = {"s": 1_000_000, "ms": 1000, "us": 1, "ns": 1}

_END = object()

_Fix = Callable[[Any], Any]  # a value made ready for pyarrow; _MismatchError where it does not fit


class _MismatchError(Exception):
    """A value does not fit: what was found instead, and where inside of a nested value."""

    def __init__(self, found: str, expected: str, path: str = "") -> None:
        super().__init__(found)
        self.found = found
        self.expected = expected
        self.path = path


def _show(value: Any) -> str:
    if value is None:
        return "None"
    try:
        text = repr(value)
    except Exception as error:  # noqa: BLE001 - a value whose __repr__ fails is still named by its class
        text = f"(its repr fails: {type(error).__name__})"
    return f"{type(value).__name__} {text if len(text) <= _SHOWN else text[:_SHOWN] + '...'}"


def _is_numpy(value: Any) -> bool:
    return type(value).__module__ == "numpy" and hasattr(value, "item")


def _fix_int(value: Any) -> Any:
    if isinstance(value, bool) or not hasattr(value, "__index__"):
        raise TypeError
    return operator.index(value)


def _fix_float(limit: float | None) -> _Fix:
    def fix(value: Any) -> Any:
        if _is_numpy(value) and not isinstance(value, float):
            value = value.item()
        if isinstance(value, bool) or not isinstance(value, (int, float)):
            raise TypeError
        if limit is not None and not -limit < value < limit and math.isfinite(value):
            raise TypeError
        return value if isinstance(value, int) else float(value)

    return fix


def _fix_bool(value: Any) -> Any:
    if _is_numpy(value):
        value = value.item()
    if not isinstance(value, bool):
        raise TypeError
    return value


def _fix_text(value: Any) -> Any:
    if not isinstance(value, str):
        raise TypeError
    return str.__str__(value)


def _fix_bytes(value: Any) -> Any:
    if not isinstance(value, (bytes, bytearray, memoryview)):
        raise TypeError
    return bytes(value)


def _fix_decimal(value: Any) -> Any:
    if isinstance(value, bool) or not isinstance(value, (int, Decimal)):
        raise TypeError
    return value


def _fix_date(value: Any) -> Any:
    if not isinstance(value, dt.date) or isinstance(value, dt.datetime):
        raise TypeError
    return value


def _fix_timestamp(kind: Any) -> _Fix:
    step = _UNIT_MICROSECONDS[kind.unit]

    def fix(value: Any) -> Any:
        if not isinstance(value, dt.datetime) or (value.utcoffset() is None) == bool(kind.tz):
            raise TypeError
        if value.microsecond % step or (getattr(value, "nanosecond", 0) and kind.unit != "ns"):
            raise TypeError
        return value

    return fix


def _fix_time(kind: Any) -> _Fix:
    step = _UNIT_MICROSECONDS[kind.unit]

    def fix(value: Any) -> Any:
        if not isinstance(value, dt.time) or value.tzinfo is not None or value.microsecond % step:
            raise TypeError
        return value

    return fix


def _fix_duration(kind: Any) -> _Fix:
    step = _UNIT_MICROSECONDS[kind.unit]

    def fix(value: Any) -> Any:
        if not isinstance(value, dt.timedelta) or value.microseconds % step:
            raise TypeError
        if getattr(value, "nanoseconds", 0) and kind.unit != "ns":
            raise TypeError
        return value

    return fix


def _fix_null(value: Any) -> Any:
    raise TypeError


class _Column:
    """How the values of one field become an array."""

    def __init__(self, field: Any) -> None:
        self.name = field.name
        self.type = field.type
        self.expected = text_of(field.type) + ("" if field.nullable else "!")
        self.nullable = field.nullable
        self._float_limit = _FLOAT_LIMITS.get(str(field.type))
        # Values of exactly these classes need no look at each.
        self._plain: frozenset[type] = frozenset()
        self._fix = self._choose(field.type)
        if self.nullable and self._plain:
            self._plain |= {type(None)}

    def _choose(self, kind: Any) -> _Fix | None:
        types = pa.types
        if types.is_integer(kind):
            self._plain = frozenset({int})
            return _fix_int
        if types.is_floating(kind):
            self._plain = frozenset({float, int}) if self._float_limit is None else frozenset()
            return _fix_float(self._float_limit)
        if types.is_boolean(kind):
            self._plain = frozenset({bool})
            return _fix_bool
        if types.is_string(kind) or types.is_large_string(kind) or types.is_string_view(kind):
            self._plain = frozenset({str})
            return _fix_text
        if types.is_binary(kind) or types.is_large_binary(kind) or types.is_binary_view(kind):
            self._plain = frozenset({bytes})
            return _fix_bytes
        if types.is_fixed_size_binary(kind):
            self._plain = frozenset({bytes})
            return _fix_bytes
        if types.is_decimal(kind):
            self._plain = frozenset({Decimal, int})
            return _fix_decimal
        if types.is_date(kind):
            self._plain = frozenset({dt.date})
            return _fix_date
        if types.is_timestamp(kind):
            return _fix_timestamp(kind)
        if types.is_time(kind):
            return _fix_time(kind)
        if types.is_duration(kind):
            return _fix_duration(kind)
        if types.is_null(kind):
            return _fix_null
        if types.is_list(kind) or types.is_large_list(kind) or types.is_fixed_size_list(kind):
            return _fix_list(_Column(kind.value_field))
        if types.is_struct(kind):
            return _fix_struct([_Column(field) for field in kind])
        return None  # only a schema of pyarrow's own has others: pyarrow decides what they take

    def fix(self, value: Any) -> Any:
        """The value as pyarrow is to get it. _MismatchError where it does not fit."""
        if value is None:
            if not self.nullable:
                raise _MismatchError("None", self.expected)
            return None
        if self._fix is None:
            return value
        try:
            return self._fix(value)
        except (TypeError, ValueError, OverflowError):
            raise _MismatchError(_show(value), self.expected) from None

    def array(self, values: Sequence[Any], first_row: int) -> Any:
        if not set(map(type, values)) <= self._plain:
            values = [self._fixed(value, first_row + i) for i, value in enumerate(values)]
        try:
            return pa.array(values, self.type)
        except (pa.ArrowException, TypeError, ValueError, OverflowError) as error:
            for i, value in enumerate(values):
                if not self._holds(value):
                    raise self._error(first_row + i, "", self.expected, _show(value)) from None
            raise ValueError(f'field "{self.name}": expected {self.expected}: {error}') from error

    def _fixed(self, value: Any, row: int) -> Any:
        try:
            return self.fix(value)
        except _MismatchError as found:
            raise self._error(row, found.path, found.expected, found.found) from None

    def _holds(self, value: Any) -> bool:
        try:
            pa.array([value], self.type)
        except (pa.ArrowException, TypeError, ValueError, OverflowError):
            return False
        return True

    def _error(self, row: int, path: str, expected: str, found: str) -> ValueError:
        return ValueError(f'row {row}, field "{self.name}{path}": expected {expected}, found {found}')


def _fix_list(item: _Column) -> _Fix:
    def fix(value: Any) -> Any:
        if _is_numpy(value):
            value = value.tolist()
        if not isinstance(value, (list, tuple)):
            raise TypeError
        fixed = []
        for i, inner in enumerate(value):
            try:
                fixed.append(item.fix(inner))
            except _MismatchError as found:
                raise _MismatchError(found.found, found.expected, f"[{i}]{found.path}") from None
        return fixed

    return fix


def _fix_struct(columns: list[_Column]) -> _Fix:
    names = {column.name for column in columns}

    def fix(value: Any) -> Any:
        if not isinstance(value, Mapping):
            raise TypeError
        fixed = {}
        for column in columns:
            try:
                fixed[column.name] = column.fix(value.get(column.name))
            except _MismatchError as found:
                raise _MismatchError(found.found, found.expected, f".{column.name}{found.path}") from None
        for name in value:
            if name not in names:
                raise _MismatchError(_show(value[name]), "no such field", f".{name}")
        return fixed

    return fix


def _fixed_width(kind: Any) -> int | None:
    """Bytes of a value; None where values differ in size."""
    if pa.types.is_null(kind):
        return 0
    try:
        return -(-int(kind.bit_width) // 8)
    except ValueError:
        return None


def _size_of(value: Any) -> int:
    """About the bytes that a value takes in Arrow."""
    if isinstance(value, (str, bytes, bytearray)):
        return len(value) + 4
    if isinstance(value, (list, tuple)):
        return sum(map(_size_of, value)) + 4
    if isinstance(value, Mapping):
        return sum(map(_size_of, value.values()))
    return int(getattr(value, "nbytes", 8))


def _rows_that_fit(schema: Any) -> int:
    """Rows of a batch whose fixed-width columns alone take TARGET bytes."""
    width = sum(_fixed_width(kind) or 0 for kind in schema.types)
    return max(1, min(MAX_ROWS, TARGET // max(width, 1)))


def _check_names(schema: Any) -> None:
    if len(set(schema.names)) != len(schema.names):
        raise ValueError("the schema has two columns of one name, which dicts cannot fill")


def batches_of_rows(rows: Iterable[Any], schema: Any, patience: float | None = None) -> Iterator[Any]:
    """Batches of about TARGET bytes of an iterable of dicts, each made as soon as it is full, or `patience` seconds old
    when a row comes. Where the iterable fails, the rows before it are handed out first."""
    _check_names(schema)
    columns = [_Column(field) for field in schema]
    names = frozenset(schema.names)
    variable = [field.name for field in schema if _fixed_width(field.type) is None]
    most = _rows_that_fit(schema)
    pending: list[Mapping[str, Any]] = []
    size = done = 0
    begun = time.monotonic()

    def batch() -> Any:
        arrays = [column.array([row.get(column.name) for row in pending], done) for column in columns]
        return _batch(arrays, schema, len(pending))

    iterator = iter(rows)
    while True:
        failure: Exception | None = None
        try:
            row: Any = next(iterator, _END)
        except Exception as error:  # noqa: BLE001 - raised again below, after the rows before it
            row, failure = _END, error
        if row is _END:
            if pending:
                yield batch()
            if failure is not None:
                raise failure
            return
        _check_row(row, names, done + len(pending))
        pending.append(row)
        for name in variable:
            size += _size_of(row.get(name))
        full = len(pending) >= most or size >= TARGET
        if full or (patience is not None and time.monotonic() - begun > patience):
            yield batch()
            done += len(pending)
            pending = []
            size = 0
            begun = time.monotonic()


def _check_row(row: Any, names: frozenset[str], number: int) -> None:
    if not isinstance(row, Mapping):
        raise TypeError(f"row {number}: expected a dict, found {_show(row)}")
    if not row.keys() <= names:
        extra = next(name for name in row if name not in names)
        raise ValueError(
            f'row {number}, field "{extra}": expected no such field, found {_show(row[extra])}; '
            f"schema() has {', '.join(sorted(names))}"
        )


def _batch(arrays: list[Any], schema: Any, rows: int) -> Any:
    if arrays:
        return pa.RecordBatch.from_arrays(arrays, schema=schema)
    return pa.RecordBatch.from_struct_array(pa.array([{}] * rows, pa.struct([])))


def batches_of_columns(columns: Mapping[str, Any], schema: Any) -> Iterator[Any]:
    """Batches of a dict of columns."""
    _check_names(schema)
    count = _check_columns(columns, schema)
    fields = [_Column(field) for field in schema]
    measured = any(_fixed_width(field.type) is None for field in schema)
    most = _rows_that_fit(schema)
    step = min(most, _FIRST_ROWS) if measured else most
    done = 0
    while done < count:
        stop = min(count, done + step)
        arrays = [field.array(_slice(columns[field.name], done, stop), done) for field in fields]
        batch = _batch(arrays, schema, stop - done)
        yield batch
        if measured:
            step = max(1, min(most, 4 * step, step * TARGET // max(batch.nbytes, 1)))
        done = stop


def _check_columns(columns: Mapping[str, Any], schema: Any) -> int:
    """That the columns are those of the schema; how many rows they have."""
    for name in columns:
        if name not in schema.names:
            raise ValueError(f'column "{name}" is not in schema(), which has {", ".join(schema.names)}')
    lengths = {}
    for name in schema.names:
        if name not in columns:
            raise ValueError(f'column "{name}" of schema() is missing in the dict that data() returned')
        column = columns[name]
        if isinstance(column, (str, bytes, Mapping)) or not hasattr(column, "__len__"):
            raise TypeError(f'column "{name}": expected a list of values, found {_show(column)}')
        lengths[name] = len(column)
    if len(set(lengths.values())) > 1:
        told = ", ".join(f'"{name}" has {length}' for name, length in lengths.items())
        raise ValueError(f"the columns differ in length: {told}")
    return next(iter(lengths.values()), 0)


def _slice(column: Any, start: int, stop: int) -> list[Any]:
    """Values of a list, a tuple, a range, an array of numpy, pandas or pyarrow."""
    if isinstance(column, (pa.Array, pa.ChunkedArray)):
        return list(column.slice(start, stop - start).to_pylist())
    part = column[start:stop]
    return list(part.tolist() if hasattr(part, "tolist") else part)
