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


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as made:
        check_round_trip(Path(made))
