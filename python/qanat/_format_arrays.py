"""Arrow columns in the layouts that files hold: no views, no dictionaries."""

from __future__ import annotations

from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from qanat import _native
from qanat.errors import NotSupportedError

_VIEWS = {"string_view": pa.string(), "binary_view": pa.binary()}


def plain_type(kind: Any) -> Any:
    """The type with views as offsets and dictionaries as their values, at every level."""
    if pa.types.is_dictionary(kind):
        return plain_type(kind.value_type)
    if pa.types.is_map(kind):
        return pa.map_(plain_field(kind.key_field), plain_field(kind.item_field), keys_sorted=kind.keys_sorted)
    if pa.types.is_struct(kind):
        return pa.struct([plain_field(kind.field(i)) for i in range(kind.num_fields)])
    if pa.types.is_fixed_size_list(kind):
        return pa.list_(plain_field(kind.value_field), kind.list_size)
    if pa.types.is_large_list(kind):
        return pa.large_list(plain_field(kind.value_field))
    if pa.types.is_list(kind):
        return pa.list_(plain_field(kind.value_field))
    return _VIEWS.get(str(kind), kind)


def plain_field(field: Any) -> Any:
    return field.with_type(plain_type(field.type))


def plain_schema(schema: Any) -> Any:
    return pa.schema([plain_field(field) for field in schema], metadata=schema.metadata)


def plain_column(array: Any, wanted: Any, name: str) -> Any:
    """The same values as the type that plain_type gives for the array's."""
    if array.type.equals(wanted):
        return array
    if pa.types.is_dictionary(array.type):
        return plain_column(array.dictionary.take(array.indices), wanted, name)
    try:
        return array.cast(wanted)
    except pa.ArrowNotImplementedError as error:
        raise NotSupportedError(f'column "{name}": {array.type} is not turned into {wanted}: {error}') from error


def cast_texts(texts: Any, kind: Any) -> Any:
    """Texts as values of a type. ArrowInvalid where one is none."""
    if pa.types.is_time(kind):  # for which pyarrow has no way: as a time of the first day
        moments = pc.binary_join_element_wise("1970-01-01 ", texts, "").cast(pa.timestamp(kind.unit))
        return moments.cast(kind)
    return texts.cast(kind)


class _Asked:
    """A batch of ours that gives itself in the layouts of a schema: views as offsets, at every level, in C."""

    def __init__(self, batch: _native.Batch, schema: Any) -> None:
        self._batch = batch
        self._schema = schema

    def __arrow_c_array__(self, requested_schema: object = None) -> tuple[Any, Any]:
        return self._batch.__arrow_c_array__(self._schema.__arrow_c_schema__())


def plain_rows(batch: _native.Batch, schema: Any) -> Any:
    """A batch of ours as pyarrow's, in the layouts of `schema`, which plain_schema gave for its own."""
    return plain_batch(pa.record_batch(_Asked(batch, schema)), schema)


def plain_batch(batch: Any, schema: Any) -> Any:
    """The batch in the layouts of `schema`, which plain_schema gave for its own."""
    if batch.schema.equals(schema):
        return batch
    columns = [plain_column(batch.column(i), field.type, field.name) for i, field in enumerate(schema)]
    return pa.RecordBatch.from_arrays(columns, schema=schema) if columns else batch
