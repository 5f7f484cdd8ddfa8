"""Stubs, types and the import itself."""

from __future__ import annotations

import ast
import inspect
import os
import runpy
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

import qanat as qn
from qanat import _native

ROOT = Path(__file__).resolve().parents[2]
pytestmark = pytest.mark.trace("D15")


def test_stub_of_the_extension_is_complete() -> None:
    """Every public and private name of the extension is in the stub, and the stub has no name that is not there."""
    tree = ast.parse((ROOT / "python" / "qanat" / "_native.pyi").read_text(encoding="utf-8"))
    stub: dict[str, set[str]] = {
        node.name: {item.name for item in node.body if isinstance(item, ast.FunctionDef)}
        for node in tree.body
        if isinstance(node, ast.ClassDef)
    }
    functions = {node.name for node in tree.body if isinstance(node, ast.FunctionDef)}
    present = {name: value for name, value in vars(_native).items() if not name.startswith("__")}
    assert {name for name, value in present.items() if inspect.isclass(value)} == set(stub)
    assert {name for name, value in present.items() if not inspect.isclass(value)} == functions
    implied = {"__doc__", "__module__", "__new__", "__weakref__"}
    for name, members in stub.items():
        assert set(vars(getattr(_native, name))) - implied == members - implied, name


def test_everything_public_has_a_docstring() -> None:
    for name in qn.__all__:
        value = getattr(qn, name)
        if inspect.isclass(value) or inspect.isfunction(value):
            assert value.__doc__, name
    for name, method in vars(qn.Connection).items():
        if inspect.isfunction(method) and not name.startswith("_"):
            assert method.__doc__, name


def test_mypy_passes_on_the_examples() -> None:
    settings = tomllib.loads((ROOT / "pyproject.toml").read_text())
    statements = settings["tool"]["mypy"]["exclude"]  # bodies of functions: no modules
    paths = [str(path.relative_to(ROOT)) for path in (ROOT / "examples").rglob("*.py")]
    examples = sorted(path for path in paths if path not in statements)
    assert examples
    assert set(statements) < set(paths)
    done = subprocess.run(
        [sys.executable, "-m", "mypy", "--strict", *examples], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr


def test_five_minutes_example_runs(tmp_path: Path) -> None:
    tour = runpy.run_path(str(ROOT / "examples" / "python" / "five_minutes.py"))["tour"]
    assert tour(tmp_path)[:4] == [
        "inserted 3 planes",
        "large ones: N102UW, N103US",
        "after the upsert: [55, 182, 190, 182]",
        "streamed 200000 rows into Parquet, a batch at a time",
    ]


def test_import_is_light() -> None:
    program = (
        "import sys, qanat; print([m for m in ('polars', 'pyarrow', 'json', 'tomllib', 'click') if m in sys.modules])"
    )
    # An editable installation's import hook brings modules of its own: the package is imported by its path.
    environment = {**os.environ, "PYTHONPATH": ""}
    done = subprocess.run(
        [sys.executable, "-c", program], env=environment, capture_output=True, text=True, check=True, timeout=60
    )
    loaded = ast.literal_eval(done.stdout)
    assert "polars" not in loaded
    assert "pyarrow" not in loaded
    assert "click" not in loaded


def test_versions_agree() -> None:
    from importlib.metadata import version

    assert qn.__version__ == version("qanat") == _native.version()


def test_headers_and_library() -> None:
    assert (Path(qn.get_include()) / "qanat" / "qanat.h").is_file()
    assert (Path(qn.get_include()) / "qanat" / "plugin" / "driver.h").is_file()
    library = Path(qn.get_library())
    assert library.is_file()
    loaded = Path("/proc/self/maps").read_text()
    assert str(library.resolve()) in loaded, "the library that this module uses is another one"


def test_program_in_c_builds_against_them(tmp_path: Path) -> None:
    source = tmp_path / "program.c"
    source.write_text(
        "#include <qanat/qanat.h>\n#include <stdio.h>\nint main(void)\n{\n    puts(qn_version());\n    return 0;\n}\n"
    )
    library = Path(qn.get_library())
    program = tmp_path / "program"
    subprocess.run(
        [
            "cc", "-std=c11", "-Wall", "-Werror", f"-I{qn.get_include()}", str(source), "-o", str(program),
            str(library), f"-Wl,-rpath,{library.parent}",
        ],
        check=True,
    )  # fmt: skip
    done = subprocess.run([str(program)], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == qn.__version__


def test_import_takes_little_time() -> None:
    """CPU time, which other programs on the machine do not change much; the target is 60 ms on an idle machine."""
    program = "import resource, sys\nimport qanat\nprint(sum(resource.getrusage(resource.RUSAGE_SELF)[:2]))"
    best = min(
        float(subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True).stdout)
        for _ in range(5)
    )
    assert best < 0.25
