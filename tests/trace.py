"""Which tests show which row of the requirements.

    python tests/trace.py [--quiet]

A Python test names its rows with `@pytest.mark.trace("D1", "D2")`, a C test with a comment `trace: D1 D2`, a
conformance case with `trace = ["D1"]`. Prints a table of rows and the tests that name them; exits 1 when a row that is
due (tests/trace_due.txt) has none, or a test names a row that does not exist. The rows themselves are kept in
tests/trace_rows.tsv, so that the table needs nothing from outside of the project.
"""

from __future__ import annotations

import ast
import re
import sys
import tomllib
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path

TESTS = Path(__file__).resolve().parent
ROOT = TESTS.parent


def rows_of_decorators(decorators: list[ast.expr]) -> Iterator[str]:
    for decorator in decorators:
        if isinstance(decorator, ast.Call) and ast.unparse(decorator.func).endswith("mark.trace"):
            for argument in decorator.args:
                if isinstance(argument, ast.Constant) and isinstance(argument.value, str):
                    yield argument.value


def rows_of_module(tree: ast.Module) -> list[str]:
    """Rows of a module-wide `pytestmark`."""
    found: list[str] = []
    for node in tree.body:
        if isinstance(node, ast.Assign) and any(ast.unparse(target) == "pytestmark" for target in node.targets):
            values = node.value.elts if isinstance(node.value, ast.List | ast.Tuple) else [node.value]
            found += rows_of_decorators(values)
    return found


def python_tests(path: Path) -> Iterator[tuple[str, str]]:
    tree = ast.parse(path.read_text(encoding="utf-8"))
    whole_module = rows_of_module(tree)
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) and node.name.startswith("test"):
            for row in [*whole_module, *rows_of_decorators(node.decorator_list)]:
                yield row, f"{path.relative_to(ROOT)}::{node.name}"
        elif isinstance(node, ast.ClassDef):
            for row in rows_of_decorators(node.decorator_list):
                yield row, f"{path.relative_to(ROOT)}::{node.name}"


def c_tests(path: Path) -> Iterator[tuple[str, str]]:
    text = path.read_text(encoding="utf-8")
    for match in re.finditer(r"trace: ((?:[A-Z]\d+[ ,]*)+)", text):
        following = re.search(r"void (\w+)\(", text[match.end() :])
        name = following.group(1) if following else "(file)"
        for row in re.findall(r"[A-Z]\d+", match.group(1)):
            yield row, f"{path.relative_to(ROOT)}::{name}"


def conformance_cases(path: Path) -> Iterator[tuple[str, str]]:
    for case in tomllib.loads(path.read_text(encoding="utf-8")).get("case", []):
        for row in case.get("trace", []):
            yield row, f"{path.relative_to(ROOT)}::{case['name']}"


def all_tests() -> Iterator[tuple[str, str]]:
    folders = [TESTS, ROOT / "sdk"]
    for folder in folders:
        for path in sorted(folder.rglob("test_*.py")):
            yield from python_tests(path)
        for path in sorted(folder.rglob("test_*.c")):
            yield from c_tests(path)
        for path in sorted(folder.rglob("cases/*.toml")):
            yield from conformance_cases(path)


def main() -> int:
    rows = dict(line.split("\t", 1) for line in (TESTS / "trace_rows.tsv").read_text(encoding="utf-8").splitlines())
    due = (TESTS / "trace_due.txt").read_text(encoding="utf-8").split()
    shown: dict[str, list[str]] = defaultdict(list)
    for row, test in all_tests():
        if test not in shown[row]:
            shown[row].append(test)
    if "--quiet" not in sys.argv:
        for row, what in rows.items():
            mark = "ok " if shown.get(row) else ("DUE" if row in due else "-  ")
            print(f"{mark} {row:4} {what}")
            for test in shown.get(row, []):
                print(f"         {test}")
    missing = [row for row in due if not shown.get(row)]
    unknown = sorted(row for row in shown if row not in rows)
    for row in missing:
        print(f"tests/trace.py: row {row} is due and no test names it: {rows.get(row, 'unknown row')}", file=sys.stderr)
    for row in unknown:
        print(f"tests/trace.py: no such row {row}, named by {shown[row][0]}", file=sys.stderr)
    return 1 if missing or unknown else 0


if __name__ == "__main__":
    sys.exit(main())
