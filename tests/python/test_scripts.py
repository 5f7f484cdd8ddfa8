"""The checks of scripts/ pass on the tree and catch what is planted."""

from __future__ import annotations

import importlib.util
import shutil
from pathlib import Path
from types import ModuleType

import pytest

ROOT = Path(__file__).parent.parent.parent


def load(name: str) -> ModuleType:
    spec = importlib.util.spec_from_file_location(name, ROOT / "scripts" / f"{name}.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def plant(root: Path, files: dict[str, str]) -> Path:
    for name, text in files.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
    return root


SOUND = {
    "include/qanat/a.h": "#include <stdint.h>\n",
    "src/base/a.h": "#include <qanat/a.h>\n",
    "src/arrow/a.h": '#include "base/a.h"\n#include <nanoarrow/nanoarrow.h>\n',
    "src/db/a.h": '#include "arrow/a.h"\n#include <jansson.h>\n',
    "src/db/postgres/a.c": '#include "db/postgres/a.h"\n#include "db/a.h"\n',
    "src/db/postgres/a.h": "#include <libpq-fe.h>\n#include <openssl/ssl.h>\n",
    "src/db/sqlite/a.h": "#include <sqlite3.h>\n",
    "src/task/a.c": '#include "db/a.h"\n',
    "python/ext/a.c": '#include "a.h"\n#include <qanat/a.h>\n#include <Python.h>\n',
    "python/ext/a.h": "",
    "examples/c/a.c": "#include <qanat/a.h>\n#include <stdio.h>\n",
}


def test_layers__the_tree_is_sound() -> None:
    assert load("check_layers").check(ROOT) == []


def test_layers__a_sound_tree_is_accepted(tmp_path: Path) -> None:
    assert load("check_layers").check(plant(tmp_path, SOUND)) == []


@pytest.mark.parametrize(
    ("file", "line"),
    [
        ("src/base/a.h", '#include "arrow/a.h"'),
        ("src/base/a.h", "#include <arrow/a.h>"),
        ("src/arrow/a.h", '#include "db/a.h"'),
        ("src/db/a.h", '#include "db/sqlite/a.h"'),
        ("src/db/sqlite/a.h", '#include "db/postgres/a.h"'),
        ("src/db/sqlite/a.h", '#include "task/a.c"'),
        ("src/db/a.h", "#include <libpq-fe.h>"),
        ("src/db/sqlite/a.h", "  #  include <openssl/ssl.h>"),
        ("src/db/postgres/a.c", "#include <sqlite3.h>"),
        ("src/db/sqlite/a.h", "#include <jansson.h>"),
        ("src/db/a.h", "#include <nanoarrow/nanoarrow.h>"),
        ("src/task/a.c", "#include <Python.h>"),
        ("src/arrow/a.h", '#include "a.h"'),
        ("src/arrow/a.h", '#include "qanat/a.h"'),
        ("src/misc/a.h", "#include <stdio.h>"),
        ("python/ext/a.c", '#include "db/a.h"'),
        ("python/ext/a.c", '#include "../../src/db/a.h"'),
        ("python/ext/a.c", "#include <db/a.h>"),
        ("python/ext/a.c", "#include <jansson.h>"),
        ("examples/c/a.c", '#include "base/a.h"'),
        ("include/qanat/a.h", '#include "base/a.h"'),
    ],
)
def test_layers__a_planted_include_is_caught(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], file: str, line: str
) -> None:
    files = {**SOUND, file: SOUND.get(file, "") + line + "\n"}
    assert load("check_layers").main([str(plant(tmp_path, files))]) == 1
    number = len(files[file].splitlines())
    printed = capsys.readouterr().out
    assert printed.startswith(f"{file}:{number}: ")
    assert len(printed.splitlines()) == 1


GUARD = "#ifndef {0}\n#define {0}\n{1}\n#endif\n"


@pytest.fixture
def compilers() -> None:
    for name in ("cc", "c++"):
        if shutil.which(name) is None:
            pytest.skip(f"there is no {name}")


@pytest.mark.usefixtures("compilers")
def test_headers__sound_ones_are_accepted(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    plant(
        tmp_path,
        {
            "include/qanat/a.h": GUARD.format("A", "#include <stddef.h>\nsize_t qn_a(void);"),
            "src/base/b.h": GUARD.format("B", "#include <qanat/a.h>\nsize_t qn_b(__typeof__(qn_a()) a);"),
        },
    )
    assert load("check_headers").main([str(tmp_path)]) == 0
    assert capsys.readouterr().out == ""


@pytest.mark.usefixtures("compilers")
@pytest.mark.parametrize(
    ("file", "text", "said"),
    [
        ("include/qanat/a.h", GUARD.format("A", "size_t qn_a(void);"), "a.h (C11)"),  # lacks an include
        ("include/qanat/a.h", GUARD.format("A", "struct qn_a { int new; };\nint qn_b(class);"), "a.h (C++17)"),
        ("include/qanat/a.h", "struct qn_a { int x; };\n", "a.h (C11)"),  # lacks a guard
        ("include/qanat/a.h", GUARD.format("A", "static int qn_a(void) { return 1; }"), "a.h (C11)"),  # warns
        ("src/base/b.h", GUARD.format("B", "uint8_t qn_b(void);"), "src/base/b.h (GNU C11)"),
    ],
)
def test_headers__a_planted_mistake_is_caught(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], file: str, text: str, said: str
) -> None:
    assert load("check_headers").main([str(plant(tmp_path, {file: text}))]) == 1
    assert f"{said}: does not compile alone" in capsys.readouterr().out


def test_checks__an_empty_folder_is_not_a_success(tmp_path: Path) -> None:
    assert load("check_layers").main([str(tmp_path)]) == 2
    assert load("check_headers").main([str(tmp_path)]) == 2
