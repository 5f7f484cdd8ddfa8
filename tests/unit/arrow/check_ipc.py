"""Arrow IPC against pyarrow, an implementation that is not ours: each reads what the other writes.

    python check_ipc.py ipc_bridge.so

pyarrow verifies the metadata and, by validate(full=True), every array that comes out of our decoder. Exits with 77
(skipped) where there is no pyarrow.
"""

from __future__ import annotations

import ctypes
import datetime as dt
import decimal
import sys

try:
    import pyarrow as pa
    import pyarrow.ipc
except ImportError:
    print("skipped: pyarrow is not installed")
    sys.exit(77)

bridge = ctypes.CDLL(sys.argv[1])
bridge.bridge_error.restype = ctypes.c_char_p
MOST = 16
SCHEMA_SIZE, ARRAY_SIZE = 72, 80  # bytes of struct ArrowSchema and struct ArrowArray


class BridgeError(Exception):
    pass


def encode(schema: pa.Schema, batches: list[pa.RecordBatch], head: int = 0) -> bytes:
    c_schema = ctypes.create_string_buffer(SCHEMA_SIZE)
    arrays = [ctypes.create_string_buffer(ARRAY_SIZE) for _ in batches]
    schema._export_to_c(ctypes.addressof(c_schema))
    for batch, array in zip(batches, arrays, strict=True):
        batch._export_to_c(ctypes.addressof(array))
    pointers = (ctypes.c_void_p * max(len(arrays), 1))(*[ctypes.addressof(array) for array in arrays])
    out, size = ctypes.c_void_p(), ctypes.c_size_t()
    status = bridge.bridge_encode(
        c_schema, pointers, ctypes.c_int64(len(arrays)), ctypes.c_int64(head), ctypes.byref(out), ctypes.byref(size)
    )
    # Importing gives the exported structs back.
    for array in arrays:
        pa.RecordBatch._import_from_c(ctypes.addressof(array), schema)
    pa.Schema._import_from_c(ctypes.addressof(c_schema))
    if status != 0:
        raise BridgeError(bridge.bridge_error().decode())
    encoded = ctypes.string_at(out, size.value)
    bridge.bridge_free(out)
    return encoded[head:]


def decode(stream: bytes, in_place: bool = True) -> tuple[pa.Schema, list[pa.RecordBatch]]:
    c_schema = ctypes.create_string_buffer(SCHEMA_SIZE)
    arrays = ctypes.create_string_buffer(ARRAY_SIZE * MOST)
    count = ctypes.c_int64()
    status = bridge.bridge_decode(
        stream,
        ctypes.c_size_t(len(stream)),
        ctypes.c_int(in_place),
        c_schema,
        arrays,
        ctypes.c_int64(MOST),
        ctypes.byref(count),
    )
    if status != 0:
        raise BridgeError(bridge.bridge_error().decode())
    schema = pa.Schema._import_from_c(ctypes.addressof(c_schema))
    batches = [
        pa.RecordBatch._import_from_c(ctypes.addressof(arrays) + i * ARRAY_SIZE, schema) for i in range(count.value)
    ]
    for batch in batches:
        batch.validate(full=True)
    return schema, batches


def write(schema: pa.Schema, batches: list[pa.RecordBatch]) -> bytes:
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, schema) as writer:
        for batch in batches:
            writer.write_batch(batch)
    return sink.getvalue().to_pybytes()


def wire_type(kind: pa.DataType) -> pa.DataType:
    """The type that a column of `kind` has once written: views as offsets, dictionaries as their values."""
    if pa.types.is_dictionary(kind):
        return wire_type(kind.value_type)
    if kind == pa.string_view():
        return pa.string()
    if kind == pa.binary_view():
        return pa.binary()
    if pa.types.is_map(kind):
        return pa.map_(wire_type(kind.key_type), wire_type(kind.item_type), keys_sorted=kind.keys_sorted)
    if pa.types.is_struct(kind):
        return pa.struct([wire_field(kind.field(i)) for i in range(kind.num_fields)])
    if pa.types.is_fixed_size_list(kind):
        return pa.list_(wire_field(kind.value_field), kind.list_size)
    if pa.types.is_large_list(kind):
        return pa.large_list(wire_field(kind.value_field))
    if pa.types.is_list(kind):
        return pa.list_(wire_field(kind.value_field))
    return kind


def wire_field(field: pa.Field) -> pa.Field:
    return field.with_type(wire_type(field.type))


D = decimal.Decimal
TEXTS = ["", "a", None, "twelve bytes", "thirteen bytes", "Zürich", None, "日本語のテキスト", "x" * 400, "end"]
BYTES = [None if text is None else text.encode() + b"\xff\x00" for text in TEXTS]


def column(kind: pa.DataType, values: list[object]) -> pa.Array:
    return pa.array(values, type=kind)


def numbers(low: int, high: int) -> list[int | None]:
    return [low, high, None, 0, 1, 2, None, 3, 4, high - 1]


def columns() -> dict[str, pa.Array]:
    made: dict[str, pa.Array] = {}
    for bits in (8, 16, 32, 64):
        made[f"int{bits}"] = column(getattr(pa, f"int{bits}")(), numbers(-(2 ** (bits - 1)), 2 ** (bits - 1) - 1))
        made[f"uint{bits}"] = column(getattr(pa, f"uint{bits}")(), numbers(0, 2**bits - 1))
    floats = [0.5, -1.25, None, float("inf"), -0.0, 65504.0, None, 1.0, 2.0, -float("inf")]
    for kind in (pa.float32(), pa.float64()):
        made[str(kind)] = column(kind, floats)
    made["half"] = made["float"].cast(pa.float16())
    made["bool"] = column(pa.bool_(), [True, False, None, True, True, False, None, False, True, True])
    made["null"] = pa.nulls(10)
    nine = [D("1.5"), D("-2.25"), None, D(0), D("99.99"), D("-99.99"), None, D(1), D(2), D(3)]
    made["decimal32"] = column(pa.decimal32(4, 2), nine)
    made["decimal64"] = column(pa.decimal64(18, 2), nine)
    made["decimal128"] = column(pa.decimal128(38, 2), [*nine[:9], D("9" * 36 + ".99")])
    made["decimal256"] = column(pa.decimal256(76, 2), [*nine[:9], D("-" + "9" * 74 + ".99")])
    made["negative_scale"] = column(pa.decimal128(5, -2), [None if v is None else D(100) * int(v) for v in nine])
    for kind in (pa.string(), pa.large_string(), pa.string_view()):
        made[str(kind)] = column(kind, TEXTS)
    for kind in (pa.binary(), pa.large_binary(), pa.binary_view()):
        made[str(kind)] = column(kind, BYTES)
    made["fixed"] = column(
        pa.binary(3), [b"abc", b"\x00\x01\x02", None, b"xyz", b"...", b"123", None, b"a\xffb"] + [b"end"] * 2
    )
    made["fixed0"] = column(pa.binary(0), [b"", b"", None, b"", b"", b"", None, b"", b"", b""])
    day = dt.date(2024, 2, 29)
    dates = [day, dt.date(1, 1, 1), None, dt.date(9999, 12, 31), day, day, None, day, day, day]
    made["date32"] = column(pa.date32(), dates)
    made["date64"] = column(pa.date64(), dates)
    for unit in ("s", "ms", "us", "ns"):
        counts = [0, 1, None, 86399, 5, 6, None, 7, 8, 9]
        made[f"time_{unit}"] = column(pa.int32() if unit in ("s", "ms") else pa.int64(), counts).cast(
            pa.time32(unit) if unit in ("s", "ms") else pa.time64(unit)
        )
        wide = column(pa.int64(), numbers(-(2**60), 2**60))
        made[f"timestamp_{unit}"] = wide.cast(pa.timestamp(unit))
        made[f"timestamp_{unit}_zone"] = wide.cast(pa.timestamp(unit, "Europe/Zurich"))
        made[f"duration_{unit}"] = wide.cast(pa.duration(unit))
    made["interval"] = column(
        pa.month_day_nano_interval(), [(1, 2, 3), (-1, -2, -3), None, (0, 0, 2**62)] + [(0, 0, 0)] * 6
    )
    lists = [[1, 2], [], None, [3], [None, 4], [], None, [5] * 20, [6], [7]]
    made["list"] = column(pa.list_(pa.int64()), lists)
    made["large_list"] = column(
        pa.large_list(pa.string_view()), [None if v is None else [str(x) * 7 for x in v] for v in lists]
    )
    made["fixed_list"] = column(pa.list_(pa.int16(), 2), [[1, 2], [3, None], None, [5, 6]] + [[7, 8]] * 6)
    made["list_of_list"] = column(
        pa.list_(pa.list_(pa.string())), [None if v is None else [[str(x)] for x in v] for v in lists]
    )
    structs = [{"a": 1, "b": "x"}, {"a": None, "b": "y" * 20}, None, {"a": 3, "b": None}] + [{"a": 9, "b": "z"}] * 6
    struct = pa.struct([pa.field("a", pa.int32()), pa.field("b", pa.string_view(), metadata={"k": "v"})])
    made["struct"] = column(struct, structs)
    required = pa.struct([pa.field("a", pa.int32(), nullable=False)])
    made["struct_required"] = column(required, [{"a": 1}, {"a": 2}, None, {"a": 4}] + [{"a": 5}] * 6)
    made["empty_struct"] = column(pa.struct([]), [{}, {}, None, {}] + [{}] * 6)
    made["list_of_struct"] = column(pa.list_(struct), [[s, s] if s else None for s in structs])
    made["map"] = column(
        pa.map_(pa.string(), pa.int64()), [[("a", 1)], [], None, [("b", None), ("c", 3)]] + [[("d", 4)]] * 6
    )
    made["map_sorted"] = column(pa.map_(pa.string(), pa.int64(), keys_sorted=True), [[("a", 1)]] * 10)
    made["dictionary"] = column(pa.string(), TEXTS).dictionary_encode()
    for name in ("int64", "bool", "decimal128", "fixed", "timestamp_us", "large_string", "binary_view"):
        index = column(pa.uint8(), [0, 1, 2, 3, 4, None, 6, 7, 8, 9])
        made[f"dictionary_{name}"] = pa.DictionaryArray.from_arrays(index, made[name])
    made["list_of_dictionary"] = pa.ListArray.from_arrays([0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10], made["dictionary"])
    return made


def values(array: pa.Array) -> list[object]:
    """The values, whatever the layout; times as their numbers, which may be past what Python's types hold."""
    if pa.types.is_dictionary(array.type):
        known = values(array.dictionary)
        return [None if i is None else known[i] for i in array.indices.to_pylist()]
    if pa.types.is_timestamp(array.type) or pa.types.is_duration(array.type):
        array = array.cast(pa.int64())
    return [repr(value) for value in array.to_pylist()]  # NaN and -0.0 too


def same(name: str, got: pa.Array, wanted: pa.Array) -> None:
    assert got.type == wire_type(wanted.type), (name, got.type, wanted.type)
    assert values(got) == [repr(None) if value is None else value for value in values(wanted)], (name, got, wanted)


def check_columns() -> int:
    checked = 0
    for name, array in columns().items():
        assert len(array) == 10, name
        for start, length in ((0, 10), (1, 9), (3, 4), (9, 1), (5, 0)):
            schema = pa.schema([pa.field(name, array.type, metadata={b"key": b"value", b"": b""})], metadata={"m": "x"})
            batch = pa.RecordBatch.from_arrays([array], schema=schema)
            for part in (
                batch.slice(start, length),
                pa.RecordBatch.from_arrays([array.slice(start, length)], schema=schema),
            ):
                for head in (0, 5):
                    encoded = encode(schema, [part, part], head)
                    with pa.ipc.open_stream(encoded) as reader:
                        theirs = reader.read_all()
                    theirs.validate(full=True)
                    assert theirs.schema.equals(pa.schema([wire_field(schema.field(0))], metadata={"m": "x"}), True)
                    same(name, theirs.combine_chunks().slice(0, length).column(0).combine_chunks(), part.column(0))
                    got_schema, (first, second) = decode(encoded)
                    assert got_schema.equals(theirs.schema, True)
                    same(name, first.column(0), part.column(0))
                    assert repr(first) == repr(second)
                if wire_type(array.type) == array.type:
                    for in_place in (True, False):
                        got_schema, got = decode(write(schema, [part]), in_place)
                        assert got_schema.equals(schema, True), (got_schema, schema)
                        same(name, got[0].column(0), part.column(0))
                checked += 1
    return checked


def check_shapes() -> None:
    nothing = pa.schema([])
    with_rows = pa.RecordBatch.from_struct_array(pa.array([{}] * 7, type=pa.struct([])))
    _, (got,) = decode(encode(nothing, [with_rows]))
    assert got.num_columns == 0
    assert got.num_rows == 7
    everything = pa.RecordBatch.from_pydict(columns())
    assert decode(encode(everything.schema, []))[1] == []
    _, (got,) = decode(encode(everything.schema, [everything.slice(3, 5)]))
    with pa.ipc.open_stream(encode(everything.schema, [everything.slice(3, 5)])) as reader:
        table = reader.read_all()
    for name in everything.schema.names:
        same(name, got.column(name), everything.slice(3, 5).column(name))
        same(name, table.column(name).combine_chunks(), everything.slice(3, 5).column(name))


def refused(schema: pa.Schema, batch: pa.RecordBatch, words: str) -> None:
    try:
        encode(schema, [batch])
    except BridgeError as error:
        assert words in str(error), str(error)
    else:
        raise AssertionError(f"not refused: {words}")
    try:
        decode(write(schema, [batch]))
    except BridgeError as error:
        assert "Arrow IPC: " in str(error), str(error)
        assert "x" in str(error), str(error)
    else:
        raise AssertionError(f"not refused by the decoder: {words}")


def check_refusals() -> None:
    bad_text = pa.Array.from_buffers(pa.string(), 2, [None, *column(pa.binary(), [b"a", b"\xff"]).buffers()[1:]])
    cut_text = pa.Array.from_buffers(
        pa.string(), 2, [None, pa.py_buffer(b"\0\0\0\0\1\0\0\0\2\0\0\0"), pa.py_buffer("ü".encode())]
    )
    required = pa.schema([pa.field("x", pa.int64(), nullable=False)])
    plain_text = pa.schema([pa.field("x", pa.string())])
    refused(plain_text, pa.RecordBatch.from_arrays([bad_text], schema=plain_text), "not UTF-8")
    refused(plain_text, pa.RecordBatch.from_arrays([cut_text], schema=plain_text), "not UTF-8")
    refused(
        required,
        pa.RecordBatch.from_arrays([column(pa.int64(), [1, None])], schema=required),
        "a null where none may be",
    )
    for make, width in ((pa.decimal32, 4), (pa.decimal64, 8), (pa.decimal128, 16), (pa.decimal256, 32)):
        for number in (99, -99, 100, -100, -(1 << (8 * width - 1)), (1 << (8 * width - 1)) - 1):
            values = pa.py_buffer(number.to_bytes(width, "little", signed=True))
            digits = pa.schema([pa.field("x", make(2, 0))])
            batch = pa.RecordBatch.from_arrays([pa.Array.from_buffers(make(2, 0), 1, [None, values])], schema=digits)
            try:
                decode(write(digits, [batch]))
            except BridgeError as error:
                assert "more digits" in str(error), str(error)
                assert abs(number) > 99, number
            else:
                assert abs(number) == 99, number
    most = pa.schema([pa.field("x", pa.decimal256(76, 0))])
    for number in (10**76 - 1, 1 - 10**76, 10**76, -(10**76)):
        values = pa.py_buffer(number.to_bytes(32, "little", signed=True))
        batch = pa.RecordBatch.from_arrays(
            [pa.Array.from_buffers(pa.decimal256(76, 0), 1, [None, values])], schema=most
        )
        try:
            decode(write(most, [batch]))
        except BridgeError:
            assert abs(number) == 10**76, number
        else:
            assert abs(number) < 10**76, number
    union = pa.schema([pa.field("x", pa.sparse_union([pa.field("a", pa.int8())]))])
    views = pa.schema([pa.field("x", pa.run_end_encoded(pa.int32(), pa.int8()))])
    for schema in (union, views):
        for act in (lambda s: encode(s, []), lambda s: decode(write(s, []))):
            try:
                act(schema)
            except BridgeError as error:
                assert '"x"' in str(error), str(error)
            else:
                raise AssertionError(f"not refused: {schema}")


if __name__ == "__main__":
    print(f"{check_columns()} columns and slices, both ways")
    check_shapes()
    check_refusals()
