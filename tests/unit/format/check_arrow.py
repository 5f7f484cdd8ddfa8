"""The format "arrow" against pyarrow and polars: each reads what the other writes.

    python check_arrow.py format_bridge.so FOLDER_OF_CHECK_IPC

Exits with 77 (skipped) where there is no pyarrow.
"""

from __future__ import annotations

import ctypes
import sys
import tempfile
from pathlib import Path

try:
    import pyarrow as pa
    import pyarrow.ipc
except ImportError:
    print("skipped: pyarrow is not installed")
    sys.exit(77)

sys.path.insert(0, sys.argv[2])
sys.argv[1:] = [sys.argv[1]]
from check_ipc import columns, values  # noqa: E402  (found through the path set above)

bridge = ctypes.CDLL(sys.argv[1])
bridge.bridge_error.restype = ctypes.c_char_p
STREAM_SIZE = 40  # bytes of struct ArrowArrayStream


class BridgeError(Exception):
    pass


def write(path: Path, reader: pa.RecordBatchReader) -> None:
    stream = ctypes.create_string_buffer(STREAM_SIZE)
    reader._export_to_c(ctypes.addressof(stream))
    if bridge.bridge_write(b"arrow", bytes(path), stream) != 0:
        raise BridgeError(bridge.bridge_error().decode())


def read(path: Path, columns: list[str] | None = None) -> tuple[int, pa.Table]:
    """The rows that are counted, and the table."""
    stream = ctypes.create_string_buffer(STREAM_SIZE)
    rows = ctypes.c_int64()
    names = None if columns is None else (ctypes.c_char_p * (len(columns) + 1))(*[c.encode() for c in columns])
    n = ctypes.c_size_t(0 if columns is None else len(columns))
    if bridge.bridge_read(b"arrow", bytes(path), names, n, stream, ctypes.byref(rows)) != 0:
        raise BridgeError(bridge.bridge_error().decode())
    table = pa.RecordBatchReader._import_from_c(ctypes.addressof(stream)).read_all()
    table.validate(full=True)
    return rows.value, table


def check_round_trip(folder: Path) -> None:
    table = pa.table({"id": pa.array(range(100_000)), "name": [f"row {i}" for i in range(100_000)]})
    path = folder / "ours.arrow"
    write(path, table.to_reader(max_chunksize=30_000))
    rows, got = read(path)
    assert rows == 100_000
    assert got.equals(table)
    theirs = pa.ipc.open_file(path)
    assert theirs.read_all().equals(table)
    assert theirs.num_record_batches == 4
    rows, got = read(path, ["name"])
    assert got.equals(table.select(["name"]))
    for maker in (pa.ipc.new_file, pa.ipc.new_stream):
        with maker(path, table.schema) as writer:
            writer.write_table(table, max_chunksize=30_000)
        rows, got = read(path, ["name", "id"])
        assert rows == 100_000
        assert got.equals(table.select(["name", "id"]))


def read_type(kind: pa.DataType) -> pa.DataType:
    """The type that a column comes as: dictionaries as their values, texts of these as views."""
    if not pa.types.is_dictionary(kind):
        return pa.list_(read_type(kind.value_type)) if pa.types.is_list(kind) else kind
    if kind.value_type in (pa.string(), pa.large_string()):
        return pa.string_view()
    return pa.binary_view() if kind.value_type in (pa.binary(), pa.large_binary()) else kind.value_type


def check_every_type(folder: Path) -> int:
    path = folder / "theirs.arrow"
    checked = 0
    for name, array in columns().items():
        table = pa.table({name: array, "other": list(range(len(array)))})
        table = pa.concat_tables([table, table.slice(3), table.slice(0, 0)])
        for maker in (pa.ipc.new_file, pa.ipc.new_stream):
            for compression in (None, "lz4", "zstd"):
                options = pa.ipc.IpcWriteOptions(compression=compression)
                with maker(path, table.schema, options=options) as writer:
                    writer.write_table(table)
                rows, got = read(path)
                assert rows == table.num_rows
                if "list" not in name:
                    assert got.schema.field(0).type == read_type(array.type), (name, got.schema)
                assert values(got.column(0).combine_chunks()) == plain(table.column(0)), name
                assert got["other"].equals(table["other"])
                checked += 1
        write(path, table.to_reader())
        rows, got = read(path)
        assert rows == table.num_rows
        assert values(got.column(0).combine_chunks()) == plain(table.column(0)), name
        assert pa.ipc.open_file(path).read_all().equals(got)
    return checked


def plain(column: pa.ChunkedArray) -> list[object]:
    """As values(), of chunks with a dictionary each."""
    return [repr(None) if value is None else value for chunk in column.chunks for value in values(chunk)]


def check_dictionaries(folder: Path) -> None:
    path = folder / "dictionaries.arrow"
    long = "a text of more than twelve bytes, "
    kind = pa.dictionary(pa.int8(), pa.string())

    def words(*known: str | None) -> pa.Array:
        indices = [*range(len(known)), None]
        return pa.DictionaryArray.from_arrays(pa.array(indices, pa.int8()), pa.array(known, pa.string()))

    first, more, other = ["a", long + "1"], ["a", long + "1", long + "2", None], ["x", long + "3"]
    schema = pa.schema([pa.field("w", kind)])
    batches = [pa.record_batch([words(*known)], schema=schema) for known in (first, more, first, other)]
    expected = [*first, None, *more, None, *first, None, *other, None]
    for deltas in (False, True):
        options = pa.ipc.IpcWriteOptions(emit_dictionary_deltas=deltas)
        with pa.ipc.new_stream(path, schema, options=options) as writer:
            for batch in batches:
                writer.write_batch(batch)
        rows, got = read(path)
        assert rows == len(expected)
        assert got["w"].to_pylist() == expected, deltas
        before = got["w"].chunk(0)
        assert before.to_pylist() == [*first, None]  # what came later left the earlier ones alone
    options = pa.ipc.IpcWriteOptions(emit_dictionary_deltas=True)
    with pa.ipc.new_file(path, schema, options=options) as writer:
        for batch in batches[:2]:
            writer.write_batch(batch)
    assert read(path)[1]["w"].to_pylist() == [*first, None, *more, None]
    # Thousands of deltas, past a chunk of their bytes.
    with pa.ipc.new_stream(
        path, schema := pa.schema([pa.field("w", pa.dictionary(pa.int32(), pa.string()))]), options=options
    ) as writer:
        known: list[str] = []
        for i in range(300):
            known += [f"{long}{i} {j} " + "x" * 200 for j in range(20)]
            indices = pa.array(range(len(known) - 20, len(known)), pa.int32())
            writer.write_batch(
                pa.record_batch([pa.DictionaryArray.from_arrays(indices, pa.array(known))], schema=schema)
            )
    assert read(path)[1]["w"].to_pylist() == known
    nothing = pa.table({"w": pa.DictionaryArray.from_arrays(pa.array([None, None], pa.int8()), pa.nulls(0))})
    with pa.ipc.new_file(path, nothing.schema) as writer:
        writer.write_table(nothing)
    assert read(path)[1]["w"].to_pylist() == [None, None]


def check_hostile_dictionaries(folder: Path) -> None:
    path = folder / "hostile.arrow"
    for index in (pa.int8(), pa.uint8(), pa.int64(), pa.uint64()):
        for bad in (2, -1) if pa.types.is_signed_integer(index) else (2, 255):
            indices = pa.array([0, 1, bad], index)
            data = pa.DictionaryArray.from_arrays(indices, pa.array(["x", "y"]), safe=False)
            with pa.ipc.new_stream(path, pa.schema([pa.field("w", data.type)])) as writer:
                writer.write_batch(pa.record_batch([data], names=["w"]))
            refused(path, "an index lies outside of its dictionary")
    nested = pa.DictionaryArray.from_arrays(pa.array([0], pa.int8()), pa.array([[1]]))
    with pa.ipc.new_stream(path, pa.schema([pa.field("w", nested.type)])) as writer:
        writer.write_batch(pa.record_batch([nested], names=["w"]))
    refused(path, "a dictionary of nested values is not read")
    # Two long texts and 40 million indices: views, not gigabytes of text.
    wide = pa.DictionaryArray.from_arrays(
        pa.array([0, 1] * 20_000_000, pa.int8()), pa.array([b"x" * 2000, b"y" * 2000], pa.binary(2000))
    )
    with pa.ipc.new_stream(path, pa.schema([pa.field("w", wide.type)])) as writer:
        writer.write_batch(pa.record_batch([wide], names=["w"]))
    refused(path, "too many bytes in one batch")


def refused(path: Path, words: str) -> str:
    try:
        read(path)
    except (BridgeError, OSError, pa.ArrowInvalid) as error:
        assert words in str(error), str(error)
        assert f'"{path}": ' in str(error), str(error)
        return str(error)
    raise AssertionError(f"not refused: {words}")


def check_damage(folder: Path) -> None:
    """Files that are cut short or altered anywhere: a typed error with the name, or the same values, never a crash."""
    path = folder / "damaged.arrow"
    table = pa.table(
        {
            "i": [1, None, 3],
            "w": pa.array(["a", "b", None]).dictionary_encode(),
            "v": pa.array(["x" * 20, "", None], pa.string_view()),
        }
    )
    for maker, compression in ((pa.ipc.new_file, None), (pa.ipc.new_stream, "lz4"), (pa.ipc.new_file, "zstd")):
        with maker(path, table.schema, options=pa.ipc.IpcWriteOptions(compression=compression)) as writer:
            writer.write_table(table)
        whole = path.read_bytes()
        for size in range(0, len(whole), 7):
            path.write_bytes(whole[:size])
            try:
                read(path)
            except BridgeError as error:
                assert f'"{path}": ' in str(error)
            except (OSError, pa.ArrowInvalid) as error:
                assert f'"{path}": ' in str(error)
            else:
                assert maker is pa.ipc.new_stream, size  # a stream may end after any message
        for at in range(0, len(whole), 5):
            for change in (0xFF, 1):
                path.write_bytes(whole[:at] + bytes([whole[at] ^ change]) + whole[at + 1 :])
                try:
                    read(path)
                except (BridgeError, OSError, pa.ArrowInvalid) as error:
                    assert f'"{path}": ' in str(error), str(error)
                except pa.ArrowNotImplementedError as error:
                    assert f'"{path}": ' in str(error), str(error)
    for data, words in (
        (b"", "is empty"),
        (b"FEA1 and so on", "version 1"),
        (b"PAR1 not ours", "neither"),
        (b"ARROW1\0\0", "no footer"),
        (b"ARROW1\0\0" + b"\xff\xff\xff\x7fARROW1", "no footer"),
        (whole + b"x", "no footer"),
    ):
        path.write_bytes(data)
        refused(path, words)


def check_feather_and_polars(folder: Path) -> None:
    import polars as pl
    from pyarrow import feather

    path = folder / "others.arrow"
    frame = pl.DataFrame(
        {
            "i": [1, None, 3],
            "t": ["short", "a text of more than twelve bytes", None],
            "c": ["x", "y", "x"],
            "l": [["a"], [], None],
        },
        schema_overrides={"c": pl.Categorical},
    )
    for compression in ("uncompressed", "lz4", "zstd"):
        frame.write_ipc(path, compression=compression)
        rows, got = read(path)
        assert rows == 3
        assert got.to_pydict() == frame.to_dict(as_series=False)
        frame.write_ipc_stream(path, compression=compression)
        assert read(path)[1].to_pydict() == frame.to_dict(as_series=False)
    for chunk in (None, 2):
        feather.write_feather(frame.to_pandas(), path, chunksize=chunk)  # LZ4, unless it is told otherwise
        assert read(path)[1].to_pydict() == frame.to_dict(as_series=False)
    write(path, pa.table(frame).to_reader())
    assert pl.read_ipc(path).to_dict(as_series=False) == frame.to_dict(as_series=False)
    assert pl.scan_ipc(path).select("t").collect().to_dict(as_series=False) == {"t": frame["t"].to_list()}
    assert feather.read_table(path).to_pydict() == frame.to_dict(as_series=False)


def check_pieces(folder: Path) -> None:
    """Large batches are cut, small ones gathered; a batch without rows leaves none."""
    path = folder / "pieces.arrow"
    large = pa.table({"i": pa.array(range(3_000_000)), "t": pa.array(["x" * 9] * 3_000_000)})
    write(path, large.to_reader())
    made = pa.ipc.open_file(path)
    assert made.read_all().equals(large)
    sizes = [made.get_batch(i).nbytes for i in range(made.num_record_batches)]
    assert 7 <= len(sizes) <= 9, sizes
    assert max(sizes) < 9 << 20, sizes
    assert read(path)[1].equals(large)
    small = large.slice(0, 500)
    write(path, small.to_reader(max_chunksize=1))
    assert pa.ipc.open_file(path).num_record_batches == 500
    assert read(path)[1].equals(small)
    write(path, large.slice(0, 0).to_reader())
    assert read(path) == (0, large.slice(0, 0))
    no_columns = pa.RecordBatch.from_struct_array(pa.array([{}] * 7, type=pa.struct([])))
    write(path, pa.RecordBatchReader.from_batches(no_columns.schema, [no_columns]))
    assert read(path)[0] == 7
    # Every body begins at a multiple of 64 in the file.
    write(path, small.to_reader(max_chunksize=100))
    mapped = pa.memory_map(str(path))
    base = mapped.read_buffer(8).address
    for i in range(5):
        for column in pa.ipc.open_file(mapped).get_batch(i).columns:
            assert all((buffer.address - base) % 64 == 0 for buffer in column.buffers() if buffer is not None)


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as made:
        check_round_trip(Path(made))
        print(f"{check_every_type(Path(made))} files of every type")
        check_dictionaries(Path(made))
        check_hostile_dictionaries(Path(made))
        check_damage(Path(made))
        check_feather_and_polars(Path(made))
        check_pieces(Path(made))
