"""The database document: every name in it exists, with its signature, and its samples run word for word."""

from __future__ import annotations

import ast
import inspect
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

import qanat as qn
import qanat.compat

FENCE = re.compile(r"```(\w*)\n(.*?)```", re.DOTALL)


@pytest.fixture
def industrydb() -> Iterator[ModuleType]:
    before = {name: module for name, module in sys.modules.items() if name.partition(".")[0] == "industrydb"}
    assert not before, "nothing is aliased unless asked"
    qanat.compat.install_as("industrydb")
    import industrydb  # type: ignore[import-not-found]

    yield industrydb
    for name in [name for name in sys.modules if name.partition(".")[0] == "industrydb"]:
        del sys.modules[name]


@pytest.fixture(scope="module")
def document(seeds: Path) -> str:
    (file,) = seeds.glob("002_*.txt")
    return file.read_text(encoding="utf-8")


def python_blocks(document: str) -> list[str]:
    return [text for language, text in FENCE.findall(document) if language == "python"]


def classes(document: str) -> Iterator[ast.ClassDef]:
    """The class stubs. `...` among parameters is the document's "and so on", which no parser takes."""
    for block in python_blocks(document):
        source = re.sub(r",\s*\.\.\.\)", ", *args, **kwargs)", block)
        for node in ast.parse(source).body:
            if isinstance(node, ast.ClassDef):
                yield node


@pytest.mark.trace("D1", "D2", "D11")
def test_document_has_what_these_tests_look_for(document: str) -> None:
    names = [node.name for node in classes(document)]
    assert {"DatabaseConfig", "Connection", "IndustryDbError", "ConstraintViolationError"} <= set(names)
    assert any("logging.basicConfig" in block for block in python_blocks(document))


@pytest.mark.trace("D1", "D2", "D3", "D4", "D5", "D6", "D15")
def test_every_method_exists_with_its_parameters(document: str, industrydb: ModuleType) -> None:
    compared = 0
    for node in classes(document):
        ours = getattr(industrydb, node.name)
        for method in node.body:
            if not isinstance(method, ast.FunctionDef):
                continue
            theirs = [argument.arg for argument in method.args.args if argument.arg != "self"]
            static = any(ast.unparse(decorator) == "staticmethod" for decorator in method.decorator_list)
            if static:
                assert isinstance(inspect.getattr_static(ours, method.name), staticmethod), method.name
            function = getattr(ours, method.name)
            parameters = list(inspect.signature(function).parameters.values())
            positional = [p.name for p in parameters if p.name != "self" and p.kind is not p.KEYWORD_ONLY]
            assert positional[: len(theirs)] == theirs, f"{node.name}.{method.name}"
            defaults = len(method.args.defaults)
            for name in theirs[len(theirs) - defaults :] if defaults else []:
                default = inspect.signature(function).parameters[name].default
                assert default is not inspect.Parameter.empty, f"{node.name}.{method.name}({name})"
            compared += 1
    assert compared >= 16


@pytest.mark.trace("D11")
def test_exceptions_have_the_bases_of_the_document(document: str, industrydb: ModuleType) -> None:
    checked = 0
    for node in classes(document):
        for base in node.bases:
            expected: Any = getattr(industrydb, ast.unparse(base), None) or getattr(
                __builtins__, ast.unparse(base), Exception
            )
            assert issubclass(getattr(industrydb, node.name), expected)
            checked += 1
    assert checked == 6
    assert industrydb.IndustryDbError is qn.QanatError


@pytest.mark.trace("D18")
def test_logging_sample_runs(document: str, sqlite_uri: str, tmp_path: Path) -> None:
    (sample,) = [block for block in python_blocks(document) if "logging.basicConfig" in block]
    script = tmp_path / "script.py"
    script.write_text(
        f"{sample}\nimport industrydb\n"
        f"with industrydb.Connection.from_uri({sqlite_uri!r}) as c:\n    c.execute('select 1 as marker')\n"
    )
    done = subprocess.run(
        [sys.executable, "-m", "qanat.compat", str(script)], capture_output=True, text=True, timeout=60, check=True
    )
    assert "select 1 as marker" in done.stderr


@pytest.mark.trace("D3", "D12")
def test_query_flow_sample_runs(document: str, industrydb: ModuleType, db_uri: str) -> None:
    sample = re.search(r'Python: (conn\.execute\("SELECT \* FROM users"\))', document)
    assert sample is not None
    with industrydb.Connection.from_uri(db_uri) as conn:
        conn.insert("users", {"name": ["a", "b"]}, mode="create")
        frame = eval(sample[1], {"conn": conn})
    assert frame["name"].to_list() == ["a", "b"]


@pytest.mark.trace("D14")
def test_answer_about_several_databases(industrydb: ModuleType, sqlite_uri: str, postgres_uri: str) -> None:
    configs = [industrydb.DatabaseConfig.from_uri(uri) for uri in (sqlite_uri, postgres_uri)]
    connections = [industrydb.Connection(config) for config in configs]
    assert [c.execute("SELECT 1 AS one").item() for c in connections] == [1, 1]
    for connection in connections:
        connection.close()


def test_inner_module_has_the_same_contents(industrydb: ModuleType) -> None:
    from industrydb.industrydb import Connection  # type: ignore[import-not-found]

    assert Connection is industrydb.Connection is qn.Connection


def test_install_twice_and_unknown_names(industrydb: ModuleType) -> None:
    qanat.compat.install_as("industrydb")
    assert sys.modules["industrydb"] is industrydb
    with pytest.raises(qn.ArgumentError, match="industrydb"):
        qanat.compat.install_as("pandas")


def test_another_package_of_that_name_is_left_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    theirs = ModuleType("industrydb")
    monkeypatch.setitem(sys.modules, "industrydb", theirs)
    with pytest.raises(qn.ArgumentError, match="another package"):
        qanat.compat.install_as("industrydb")
    assert sys.modules["industrydb"] is theirs


def test_script_gets_its_arguments_and_folder(tmp_path: Path) -> None:
    (tmp_path / "beside.py").write_text("name = 'beside'\n")
    script = tmp_path / "script.py"
    script.write_text("import sys, beside, industrydb\nprint(sys.argv[1:], beside.name, __name__)\n")
    done = subprocess.run(
        [sys.executable, "-m", "qanat.compat", str(script), "a", "--b"],
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )
    assert done.stdout.strip() == "['a', '--b'] beside __main__"
    done = subprocess.run(
        [sys.executable, "-m", "qanat.compat", "absent.py"], capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode == 1
    assert "absent.py" in done.stderr
