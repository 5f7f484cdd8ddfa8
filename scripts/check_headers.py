"""Check that every header compiles alone, without warnings.

Public headers as C11 and as C++17, with nothing but include/ on the path, that of sdk/c likewise; headers of src/ as
GNU C11, as the build has them. Prints what the compiler says and exits non-zero where a header fails.
usage: check_headers.py [--nanoarrow FOLDER]... [ROOT]   (FOLDER: its include folders; found in build/ by default)
"""

from __future__ import annotations

import argparse
import os
import shlex
import subprocess
import sys
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

WARNINGS = ["-Wall", "-Wextra", "-Werror"]
PACKAGES = ["jansson", "libcurl", "libpq", "openssl", "sqlite3"]


def compiler(variable: str, default: str) -> list[str]:
    return shlex.split(os.environ.get(variable, default))


def package_flags() -> list[str]:
    """Include folders of the libraries that headers of src/ use."""
    flags: list[str] = []
    for package in PACKAGES:
        found = subprocess.run(["pkg-config", "--cflags", package], capture_output=True, text=True, check=False)
        flags += shlex.split(found.stdout) if found.returncode == 0 else []
    return flags


def nanoarrow_folders(root: Path) -> list[Path]:
    """The include folders of the unpacked nanoarrow: its sources, and what the build has configured."""
    sources = sorted((root / "third_party").glob("nanoarrow-*/**/nanoarrow/nanoarrow.h"))
    configured = sorted((root / "build").glob("*/third_party/**/nanoarrow_config.h"))
    folders = [header.parent.parent for header in sources]
    folders += [folder for header in configured for folder in (header.parent, header.parent.parent)]
    return list(dict.fromkeys(folders))


def compile_alone(command: list[str], include: str) -> str | None:
    """None where a file of that one include compiles, or what the compiler says."""
    text = f"#include {include}\n#include {include}\n"  # twice: the guard has to hold
    ran = subprocess.run(
        [*command, "-S", "-o", os.devnull, "-"], input=text, capture_output=True, text=True, check=False
    )
    return None if ran.returncode == 0 else ran.stdout + ran.stderr


def checks(root: Path, nanoarrow: Iterable[Path]) -> list[tuple[str, list[str], str]]:
    """What to compile: a name to print, the command, the include."""
    public = [f"-I{root / 'include'}"]
    c11 = [*compiler("CC", "cc"), "-x", "c", "-std=c11", "-pedantic", *WARNINGS, *public]
    cxx = [*compiler("CXX", "c++"), "-x", "c++", "-std=c++17", "-pedantic", *WARNINGS, *public]
    inside = [*compiler("CC", "cc"), "-x", "c", "-std=gnu11", "-D_GNU_SOURCE", *WARNINGS, *public, f"-I{root / 'src'}"]
    inside += [f"-isystem{folder}" for folder in nanoarrow] + package_flags()
    todo = []
    for header in sorted((root / "include").rglob("*.h")):
        name = header.relative_to(root / "include")
        todo.append((f"{header.relative_to(root)} (C11)", c11, f"<{name}>"))
        todo.append((f"{header.relative_to(root)} (C++17)", cxx, f"<{name}>"))
    for header in sorted((root / "sdk" / "c").rglob("*.h")):
        alone = f"-I{root / 'sdk' / 'c'}"
        for standard, usual in (("C11", c11), ("C++17", cxx)):
            command = [alone if word == public[0] else word for word in usual]
            todo.append((f"{header.relative_to(root)} ({standard})", command, f"<{header.name}>"))
    for header in sorted((root / "src").rglob("*.h")):
        todo.append((f"{header.relative_to(root)} (GNU C11)", inside, f'"{header.relative_to(root / "src")}"'))
    return todo


def main(arguments: list[str]) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--nanoarrow", type=Path, action="append", metavar="FOLDER")
    parser.add_argument("root", type=Path, nargs="?", default=Path(__file__).parent.parent)
    options = parser.parse_args(arguments)
    root = options.root.resolve()
    todo = checks(root, options.nanoarrow or nanoarrow_folders(root))
    if not todo:
        print(f"{root}: has no headers", file=sys.stderr)
        return 2
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        results = list(pool.map(lambda check: compile_alone(check[1], check[2]), todo))
    failed = 0
    for (name, _, _), complaint in zip(todo, results, strict=True):
        if complaint is not None:
            failed += 1
            print(f"{name}: does not compile alone\n{complaint}")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
