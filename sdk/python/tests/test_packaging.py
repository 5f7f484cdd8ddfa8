"""The SDK is a distribution of its own: installed by itself, pyarrow its only need, typed, without qanat."""

from __future__ import annotations

import email
import subprocess
import sys
import venv
import zipfile
from importlib.util import find_spec
from pathlib import Path

import pytest
from client import SDK

if find_spec("flit_core") is None:
    pytest.skip("flit_core, which builds the SDK, is not installed", allow_module_level=True)


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("wheel")
    command = [sys.executable, "-m", "pip", "wheel", "--quiet", "--disable-pip-version-check", "--no-build-isolation"]
    subprocess.run([*command, "--no-deps", "--no-index", "--wheel-dir", str(folder), str(SDK)], check=True)
    (made,) = folder.glob("*.whl")
    return made


@pytest.mark.trace("C1")
def test_wheel_is_pure_and_needs_pyarrow_only(wheel: Path) -> None:
    assert wheel.name.startswith("qanat_sdk-")
    assert wheel.name.endswith("-none-any.whl")
    with zipfile.ZipFile(wheel) as archive:
        names = archive.namelist()
        (metadata,) = [name for name in names if name.endswith("/METADATA")]
        described = email.message_from_bytes(archive.read(metadata))
    assert described["Name"] == "qanat-sdk"
    assert [need.partition(">")[0] for need in described.get_all("Requires-Dist", [])] == ["pyarrow"]
    assert {"qanat_sdk/__init__.py", "qanat_sdk/py.typed", "qanat_sdk/serve.py"} <= set(names)
    assert {name.partition("/")[0].partition("-")[0] for name in names} == {"qanat_sdk"}


@pytest.mark.trace("C1")
def test_wheel_works_by_itself(wheel: Path, tmp_path: Path) -> None:
    """In an environment that has pyarrow and the SDK, and nothing else: not even numpy."""
    pyarrow = Path(find_spec("pyarrow").origin).parent  # type: ignore[union-attr, arg-type]
    venv.create(tmp_path / "venv", with_pip=False)
    (site,) = (tmp_path / "venv" / "lib").glob("python*/site-packages")
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(site)
    (site / "pyarrow").symlink_to(pyarrow)
    program = """
import io, json, sys
from qanat_sdk import Connector, Location, serve
from qanat_sdk.serve import _serve
class Mine(Connector):
    def schema(self): return {"a": "Int64"}
    def discover(self, attached_locations, **kwargs): return [Location("x")]
    def data(self, location, **kwargs): return [{"a": 1}]
stdout = io.BytesIO()
request = {"jsonrpc": "2.0", "id": 1, "method": "data", "params": {"location": {"location": "x"}}}
_serve(Mine(), io.BytesIO(json.dumps(request).encode()), stdout)
import pyarrow as pa
print(pa.ipc.open_stream(stdout.getvalue().partition(b"\\n")[2][4:]).read_all().to_pydict())
print(sorted({"numpy", "pandas", "polars", "qanat"} & set(sys.modules)))
"""
    command = [str(tmp_path / "venv" / "bin" / "python"), "-I", "-c", program]
    done = subprocess.run(command, capture_output=True, text=True, check=False, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines() == ["{'a': [1]}", "[]"]
