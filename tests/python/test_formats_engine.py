"""Formats in Python as the engine calls them: on its threads, with its errors, into its blocks."""

from __future__ import annotations

import gc
import os
import sys
import threading
from pathlib import Path

import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

import qanat as qn

ROWS = 50_000


def table(n: int = ROWS) -> pa.Table:
    return pa.table({"id": pa.array(range(n), pa.int64()), "text": [f"text number {i}" for i in range(n)]})


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    pq.write_table(table(), tmp_path / "good.parquet", row_group_size=10_000)
    (tmp_path / "bad.parquet").write_bytes(b"PAR1 and nothing more")
    (tmp_path / "late.csv").write_text("v\n" + "1000001\n" * 200_000 + "x\n")
    return tmp_path


def test_blocks_in_every_format_hold_the_same(tmp_path: Path) -> None:
    rows = table()
    with qn.create(tmp_path / "bundle") as bundle:
        for form in ("parquet", "arrow"):
            # views, which polars has, become what files hold
            bundle.put("all", pl.from_arrow(rows), pack=form, save_as=form)
        bundle.commit("both")
        for form in ("parquet", "arrow"):
            assert pa.table(bundle.stream(pack=form)).cast(rows.schema).equals(rows)
            (file,) = bundle.files(pack=form)
            assert Path(file.path).suffix == f".{form}"
    blocks = sorted((tmp_path / "bundle" / "data").rglob("*.parquet"))
    assert pq.read_table(blocks[0]).cast(rows.schema).equals(rows)


def test_errors_name_the_file_and_keep_row_and_column(folder: Path) -> None:
    with qn.open_connector("files", {"path": str(folder)}) as files:
        with pytest.raises(qn.DataError, match='"bad.parquet": .*arquet'):
            pa.table(files.data("bad.parquet"))
        with pytest.raises(qn.DataError, match='"late.csv": row 200000, column "v": "x" is no int64') as caught:
            for _ in files.data("late.csv"):
                pass
        assert (caught.value.row, caught.value.column) == (200_000, "v")
        assert "types" in str(caught.value.hint)
        assert pa.table(files.data("good.parquet", columns=["text"])).column_names == ["text"]


def test_streams_are_read_by_many_threads_at_once(folder: Path) -> None:
    failures: list[BaseException] = []

    def read(connector: qn.ConnectorHandle) -> None:
        try:
            for _ in range(3):
                assert pa.table(connector.data("good.parquet")).num_rows == ROWS
        except BaseException as error:
            failures.append(error)

    with qn.open_connector("files", {"path": str(folder)}) as files:
        threads = [threading.Thread(target=read, args=(files,)) for _ in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert not failures


def test_streams_that_are_dropped_close_their_file(folder: Path) -> None:
    with qn.open_connector("files", {"path": str(folder)}) as files:
        stream = files.data("good.parquet")
        assert stream is not None
        next(iter(stream))
        assert any("good.parquet" in name for name in descriptors())
        stream.close()
        del stream
        gc.collect()
    assert not any("good.parquet" in name for name in descriptors())


def descriptors() -> list[str]:
    found = []
    for one in Path("/proc/self/fd").iterdir():
        try:
            found.append(str(one.readlink()))
        except OSError:
            continue
    return found


def test_a_full_disk_is_the_sinks_own_error(tmp_path: Path) -> None:
    """What the sink says, not what pyarrow makes of it; and nothing is left behind."""
    import resource

    rows = pa.table({"noise": pa.array(os.urandom(16) for _ in range(100_000))})
    with qn.create(tmp_path / "bundle") as bundle:
        soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
        import signal

        before = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        try:
            resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, hard))
            with pytest.raises(qn.FileError, match="File too large"):
                bundle.put("all", rows)
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
            signal.signal(signal.SIGXFSZ, before)
        bundle.put("all", rows)
        assert bundle.num_rows == 100_000


def test_what_parquet_has_no_type_for_says_so(tmp_path: Path) -> None:
    rows = pa.table({"gap": pa.array([(1, 2, 3)], pa.month_day_nano_interval())})
    with qn.create(tmp_path / "bundle") as bundle:
        with pytest.raises(qn.NotSupportedError, match='column "gap": Parquet has no type for an interval') as caught:
            bundle.put("all", rows)
        assert "arrow" in str(caught.value.hint)
        bundle.put("all", rows, save_as="arrow")
        assert bundle.num_rows == 1


def test_batches_that_are_written_are_let_go(tmp_path: Path) -> None:
    """A row group shares its batches; nothing holds them once it is written."""
    rows = table(1000)
    with qn.create(tmp_path / "bundle") as bundle:
        before = pa.total_allocated_bytes()
        for i in range(20):
            bundle.put(f"place {i}", rows)
        gc.collect()
        assert pa.total_allocated_bytes() - before < rows.nbytes


def test_the_interpreter_ends_with_streams_open(folder: Path) -> None:
    import subprocess

    code = (
        "import qanat as qn, sys\n"
        f"files = qn.open_connector('files', {{'path': {str(folder)!r}}})\n"
        "stream = files.data('good.parquet'); batch = next(iter(stream)); print(batch.num_rows)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=False)
    assert (done.returncode, done.stderr) == (0, "")
    assert int(done.stdout) > 0
