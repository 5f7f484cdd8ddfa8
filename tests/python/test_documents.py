"""Every code sample of the documents runs, and prints what its comments say."""

from __future__ import annotations

import ast
import contextlib
import fnmatch
import io
import re
import shlex
import tomllib
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).resolve().parents[2]
FENCE = re.compile(r"^```(\w+)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
DOCUMENTS = sorted(
    path
    for path in [ROOT / "README.md", *ROOT.glob("docs/**/*.md"), *ROOT.glob("src/**/README.md")]
    if "```" in path.read_text("utf-8")
)


def expected_output(line: str) -> str | None:
    """What the comment behind a print call promises; `...` stands for anything."""
    match = re.search(r"\S\s+# (.+)$", line)
    return match.group(1).strip() if match else None


def run_python(source: str, namespace: dict[str, Any], where: str) -> int:
    """Run statement by statement; compare what prints with the comments. Returns how many comments were compared."""
    compared = 0
    lines = source.splitlines()
    for node in ast.parse(source).body:
        output = io.StringIO()
        with contextlib.redirect_stdout(output):
            exec(compile(ast.Module([node], []), where, "exec"), namespace)  # the document's own code
        printing = [n for n in ast.walk(node) if isinstance(n, ast.Call) and ast.unparse(n.func) == "print"]
        promised = [expected_output(lines[call.lineno - 1]) for call in printing]
        for promise in promised:
            if promise is not None:
                pattern = promise.replace("[", "[[]").replace("...", "*")
                assert any(fnmatch.fnmatchcase(line, pattern) for line in output.getvalue().splitlines()), (
                    f"{where}: {promise!r} was promised, this was printed:\n{output.getvalue()}"
                )
                compared += 1
    return compared


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: str(path.relative_to(ROOT)))
def test_samples_run(document: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    namespace: dict[str, Any] = {}
    ran = 0
    text = document.read_text(encoding="utf-8")
    for match in FENCE.finditer(text):
        language, source = match.groups()
        before = text[: match.start()].rstrip().splitlines()[-1] if match.start() else ""
        if language == "python":
            run_python(source, namespace, str(document.relative_to(ROOT)))
            ran += 1
        elif language == "toml":
            tomllib.loads(source)
            saved_as = re.search(r"`([\w./-]+\.toml)`", before)
            if saved_as:
                (tmp_path / saved_as.group(1)).write_text(source, encoding="utf-8")
            ran += 1
        elif language == "sh":
            for line in source.splitlines():
                assert shlex.split(line, comments=True) or not line.strip()
                target = re.match(r"make (\w+)", line)
                if target:
                    assert re.search(rf"^{target.group(1)}:", (ROOT / "Makefile").read_text("utf-8"), re.MULTILINE)
            ran += 1
    assert ran or not FENCE.search(text)


def test_readme_tour_promises_output() -> None:
    """The tour is only worth running where its comments are compared."""
    sources = [
        source for language, source in FENCE.findall((ROOT / "README.md").read_text("utf-8")) if language == "python"
    ]
    promises = [expected_output(line) for source in sources for line in source.splitlines() if "print(" in line]
    assert sum(promise is not None for promise in promises) >= 4
