"""Blocks that stay where they are, behind an HTTP server and in files: read there, and known to be the same."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

import qanat as qn


class Quiet(SimpleHTTPRequestHandler):
    """Files of a folder, without a word."""

    def log_message(self, *_arguments: Any) -> None:
        pass


@pytest.fixture
def site(tmp_path: Path) -> Iterator[tuple[Path, str]]:
    """A folder and the URL that it is served under."""
    root = tmp_path / "site"
    root.mkdir()
    server = ThreadingHTTPServer(("127.0.0.1", 0), partial(Quiet, directory=str(root)))
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield root, f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    thread.join()
    server.server_close()


def write(path: Path, numbers: list[int]) -> None:
    pq.write_table(pa.table({"id": numbers, "text": [str(number) for number in numbers]}), path)


def test_a_reference_over_http_is_read_there(native: qn.Bundle, shelf: Any, site: tuple[Path, str]) -> None:
    root, url = site
    write(root / "one.parquet", [1, 2, 3])
    shelf.put("one", url=f"{url}/one.parquet", must_copy=False)
    (result,) = native.fetch("base", "add")
    assert (result.added, result.rows) == (["one"], 3)
    assert shelf.said("data") == []
    native.commit("a reference")
    (block,) = native.files()
    assert (block.url, block.path, block.rows) == (f"{url}/one.parquet", None, 3)
    assert native.num_rows == 3
    assert native.to_pyarrow(columns=["id", "_location"]).to_pydict() == {"id": [1, 2, 3], "_location": ["one"] * 3}


def test_what_changed_behind_a_url_is_told_until_it_is_updated(
    native: qn.Bundle, shelf: Any, site: tuple[Path, str]
) -> None:
    root, url = site
    write(root / "one.parquet", [1, 2, 3])
    shelf.put("one", version="", url=f"{url}/one.parquet", must_copy=False)
    native.fetch("base", "add")
    native.commit("a reference")
    (result,) = native.fetch("base", "update")
    assert result.is_empty()  # no version, and the same bytes
    write(root / "one.parquet", [4, 5, 6])
    with pytest.raises(
        qn.DataError, match=r'location "one": "http://.*one.parquet" is not what was attached'
    ) as caught:
        native.to_pyarrow()
    assert "fetch its source with update" in (caught.value.hint or "")
    (result,) = native.fetch("base", "update")
    assert result.replaced == ["one"]
    assert native.to_pyarrow()["id"].to_pylist() == [4, 5, 6]


def test_a_reference_that_is_gone_fails_alone(native: qn.Bundle, shelf: Any, site: tuple[Path, str]) -> None:
    root, url = site
    write(root / "one.parquet", [1])
    shelf.put("one", url=f"{url}/one.parquet", must_copy=False)
    shelf.put("two", url=f"{url}/two.parquet", must_copy=False)
    results = native.fetch("base", "add", on_error="quarantine")
    assert results.added == ["one"]
    (failed,) = results.failed
    assert failed.location == "two"
    assert "two.parquet" in failed.error and "404" in failed.error
