"""The documents are right: Python prints what its comments say, TOML loads, commands work, links lead somewhere."""

from __future__ import annotations

import ast
import contextlib
import fnmatch
import io
import re
import shlex
import subprocess
import sys
import tomllib
from pathlib import Path
from typing import Any

import pytest

import qanat as qn
from qanat._schemas import schema_fields

ROOT = Path(__file__).resolve().parents[2]
FENCE = re.compile(r"^```([^\n]*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
LINK = re.compile(r"\]\(([^)\s]+)\)")
LANGUAGES = {"python", "toml", "sh", "text"}
ALL_DOCUMENTS = sorted(
    [
        *ROOT.glob("*.md"),
        *(
            path
            for folder in ("bench", "docs", "examples", "python", "sdk", "src", "tests")
            for path in ROOT.glob(f"{folder}/**/*.md")
        ),
    ]
)
DOCUMENTS = [path for path in ALL_DOCUMENTS if "```" in path.read_text("utf-8")]


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


def check_toml(source: str, file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A task must load, connections must be configurations; either is saved for the samples that follow."""
    document = tomllib.loads(source)
    for variable in re.findall(r"\$\{(\w+)\}", source):
        monkeypatch.setenv(variable, "from the environment")
    if "task" in document:
        file.write_text(source, encoding="utf-8")
        assert qn.Task.load(file).name == document["task"]["name"]
    elif "connections" in document:
        file.write_text(source, encoding="utf-8")
        assert qn.load_config(file).keys() == document["connections"].keys()
    elif "fields" in document:
        file.parent.mkdir(exist_ok=True)
        file.write_text(source, encoding="utf-8")
        assert schema_fields(file.stem, "output", file.parent.parent)
    else:
        assert document.keys() <= {"include", "source", "sink", "checkpoint"}, f"a part of no known file: {source}"


def run_shell(line: str, folder: Path) -> None:
    """A make target must be there; a qanat command must succeed, on what the samples before it have made."""
    words = shlex.split(line, comments=True)
    if words[:1] == ["make"]:
        makefile = (ROOT / "Makefile").read_text("utf-8")
        assert all(re.search(rf"^{re.escape(word)}:", makefile, re.MULTILINE) for word in words[1:2]), line
    elif words and Path(words[0]).name == "qanat":
        command = [sys.executable, "-m", "qanat", *words[1:]]
        done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
        assert done.returncode == 0, f"{line}:\n{done.stdout}{done.stderr}"


def saved_name(before: str) -> str:
    """The name that the line before a TOML sample gives it: `move.toml`."""
    named = re.search(r"`([\w./-]+\.toml)`", before)
    return named.group(1) if named else "sample.toml"


def statement_name(before: str) -> str | None:
    """The name that the line before a Python sample gives it, where it is a statement and no program: `late.py`."""
    named = re.search(r"`([\w./-]+\.py)`", before)
    return named.group(1) if named else None


def name_of(path: Path) -> str:
    return str(path.relative_to(ROOT))


@pytest.mark.parametrize("document", DOCUMENTS, ids=name_of)
def test_samples_run(document: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)  # a sample that was saved can be imported by those after it
    namespace: dict[str, Any] = {}
    text = document.read_text(encoding="utf-8")
    for match in FENCE.finditer(text):
        language, source = match.groups()
        assert language in LANGUAGES, f"{name_of(document)}: a block of {language or 'no language'}: one of {LANGUAGES}"
        before = text[: match.start()].rstrip().splitlines()[-1] if match.start() else ""
        if language == "python" and (saved := statement_name(before)) is not None:
            (tmp_path / saved).write_text(source, encoding="utf-8")
        elif language == "python":
            run_python(source, namespace, name_of(document))
        elif language == "toml":
            check_toml(source, tmp_path / saved_name(before), monkeypatch)
        elif language == "sh":
            for line in source.splitlines():
                run_shell(line, tmp_path)


@pytest.mark.parametrize("document", ALL_DOCUMENTS, ids=name_of)
def test_links_lead_somewhere(document: Path) -> None:
    targets = [link.partition("#")[0] for link in LINK.findall(document.read_text("utf-8"))]
    relative = [target for target in targets if target and not re.match(r"[a-z]+:", target)]
    assert [target for target in relative if not (document.parent / target).exists()] == []


def test_some_commands_are_run() -> None:
    """The commands of the guide to the command line are among what runs."""
    blocks = FENCE.findall((ROOT / "docs" / "guides" / "cli.md").read_text("utf-8"))
    lines = [line for language, source in blocks if language == "sh" for line in source.splitlines()]
    assert sum(line.startswith("qanat ") for line in lines) >= 4


def test_readme_tour_promises_output() -> None:
    """The tour is only worth running where its comments are compared."""
    sources = [
        source for language, source in FENCE.findall((ROOT / "README.md").read_text("utf-8")) if language == "python"
    ]
    promises = [expected_output(line) for source in sources for line in source.splitlines() if "print(" in line]
    assert sum(promise is not None for promise in promises) >= 4
