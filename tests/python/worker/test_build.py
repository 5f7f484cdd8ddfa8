"""The worker in another version of Python: its extension built from what a package carries, and runs in it."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pyarrow as pa
import pytest

sys.path.insert(0, str(Path(__file__).parent))

from harness import BULK, INPUT_WHOLE, Zygote, default_runtime

from qanat import _runtime, _worker_build
from qanat.errors import ConfigurationError

SCHEMA = pa.schema([("id", pa.int64()), ("at", pa.timestamp("us", "UTC"))])
VERSIONS = ((3, 12), (3, 13))


def interpreter(version: tuple[int, int]) -> str:
    """An interpreter of that version with its headers, on PATH or beside the one that runs this."""
    name = f"python{version[0]}.{version[1]}"
    beside = sorted(Path(sys.base_prefix).parent.glob(f"{version[0]}.{version[1]}.*/bin/{name}"))
    for candidate in [shutil.which(name), *map(str, beside)]:
        if candidate is None:
            continue
        code = "import os, sysconfig; print(os.path.isfile(sysconfig.get_path('include') + '/Python.h'))"
        done = subprocess.run([candidate, "-I", "-c", code], capture_output=True, text=True, check=False)
        if done.stdout.strip() == "True":
            return os.path.realpath(candidate)
    pytest.skip(f"there is no {name} with headers on this machine")


@pytest.mark.parametrize("version", VERSIONS)
def test_runs_in_another_version(tmp_path: Path, version: tuple[int, int], monkeypatch: pytest.MonkeyPatch) -> None:
    python = interpreter(version)
    tmp_path.chmod(0o755)
    extension = _worker_build.build_extension(python, tmp_path)
    assert extension.parent == tmp_path
    assert f"cpython-{version[0]}{version[1]}" in extension.name
    monkeypatch.setattr(_runtime, "_extension_of", lambda *_: extension)
    with Zygote(["json", "ssl"], runtime=_runtime._describe("other", python, [], [], {})) as zygote:
        assert zygote.python == version[0] << 8 | version[1]
        rows = [pa.record_batch({"id": [1, 2], "at": pa.array([0, None], pa.timestamp("us", "UTC"))})]
        for first in ("", "await sleep(0)\n"):
            for flags, concurrency in ((0, 1), (0, 4), (BULK | INPUT_WHOLE, 1)):
                statement = f"{first}log.info('on')\nreturn INPUT_DATA"
                result = zygote.run(statement, SCHEMA, rows, flags=flags, concurrency=concurrency)
                assert result.rows == pa.Table.from_batches(rows).to_pylist(), result.text
        result = zygote.run("x = {}\nreturn x['a']", SCHEMA, rows)
        assert (result.kind, result.done.line) == (1, 2)
        assert 'File "statement.py", line 2' in result.text
        result = zygote.run("import os\nreturn []", SCHEMA, rows)
        assert (result.kind, result.done.line) == (2, 1)


def test_an_interpreter_that_will_not_do_is_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match="/nowhere/python"):
        _worker_build.build_extension("/nowhere/python", tmp_path)
    with pytest.raises(ConfigurationError, match="is no interpreter"):
        _worker_build.build_extension("/bin/cat", tmp_path)


def test_a_missing_compiler_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.delenv("CC", raising=False)
    with pytest.raises(ConfigurationError, match="needs a C compiler"):
        _worker_build.build_extension(sys.executable, tmp_path)


def test_missing_headers_are_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    facts = _worker_build._facts(sys.executable) | {"include": "/nowhere", "platinclude": "/nowhere"}
    monkeypatch.setattr(_worker_build, "_facts", lambda _: facts)
    with pytest.raises(ConfigurationError, match=r"the headers of Python 3\.\d+ are not there"):
        _worker_build.build_extension(sys.executable, tmp_path)


def test_an_extension_of_another_version_is_refused_by_the_zygote() -> None:
    runtime = default_runtime()
    with Zygote(runtime=runtime, expect=False, version="3.10") as zygote:
        assert "the runtime is of Python 3.10" in zygote.text
