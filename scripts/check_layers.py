"""Check who includes whom: the include table of ARCHITECTURE.md over the C sources.

Prints every include that the table does not allow, as file:line, and exits non-zero where there is one.
usage: check_layers.py [ROOT]
"""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator
from pathlib import Path

# What each folder of src/ may use besides itself, the C library and include/qanat.
LAYERS: dict[str, set[str]] = {
    "base": set(),
    "os": {"base"},
    "arrow": {"base", "os"},
    "wire": {"base", "os", "arrow"},
    "sandbox": {"base", "os"},
    "format": {"base", "os", "arrow"},
    "db": {"base", "os", "arrow", "wire"},
    "connector": {"base", "os", "arrow", "wire", "format", "db"},
    "processor": {"base", "os", "arrow", "wire", "sandbox"},
    "bundle": {"base", "os", "arrow", "wire", "format", "connector"},
    "task": {"base", "os", "arrow", "wire", "format", "sandbox", "db", "connector", "processor", "bundle"},
}
DRIVER_MAY_USE = LAYERS["db"] | {"db"}  # src/db/NAME: the core and below, never another driver

# Libraries, by the beginning of the include, and the only folders that may use them.
LIBRARIES: dict[str, set[str]] = {
    "libpq": {"db/postgres"},
    "pg_config": {"db/postgres"},
    "postgres_ext": {"db/postgres"},
    "openssl/": {"db/postgres", "bundle", "connector"},
    "sqlite3": {"db/sqlite"},
    "jansson": {"wire", "task", "db", "processor", "bundle", "connector"},
    "nanoarrow": {"arrow"},
    "Python.h": {"python/ext"},
    "seccomp.h": {"sandbox"},
    "curl/": {"connector"},
    "lz4": {"format"},
    "zstd": {"format"},
}

# The extension of the sandbox's worker: the one part outside of src/ that is built of these folders' sources.
WORKER = "python/ext/worker"
WORKER_MAY_USE = {"base", "arrow", "sandbox", "processor/protocol.h"}

# Programs that use nothing of ours, public headers included, but any library that they like.
STANDALONE = "examples/connector"

INCLUDE = re.compile(r'^\s*#\s*include\s*(?P<kind>[<"])(?P<path>[^>"]+)[>"]')
SUFFIXES = {".c", ".h"}


def folder_of(path: Path) -> str:
    """The layer of a file below src/: its first folder, or db/NAME for a driver."""
    parts = path.parts[:-1]
    if parts[:1] == ("db",) and len(parts) > 1:
        return "db/" + parts[1]
    return parts[0] if parts else ""


def allowed(folder: str) -> set[str] | None:
    """What a layer may use, itself included; None for a folder that the table does not have."""
    if folder.startswith("db/"):
        return DRIVER_MAY_USE | {folder}
    return LAYERS[folder] | {folder} if folder in LAYERS else None


def includes(path: Path) -> Iterator[tuple[int, str, str]]:
    """Line number, kind of bracket and path of each include."""
    for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), start=1):
        found = INCLUDE.match(line)
        if found:
            yield number, found["kind"], found["path"]


def library_complaint(folder: str, path: str) -> str | None:
    for beginning, folders in LIBRARIES.items():
        if path.startswith(beginning) and folder not in folders:
            return f"only {', '.join(sorted(folders))} may include <{path}>"
    return None


def source_complaint(root: Path, folder: str, kind: str, path: str) -> str | None:
    """What is wrong with an include of a file in src/; None where nothing is."""
    may = allowed(folder)
    if may is None:
        return f'folder "{folder}" has no row in the include table'
    target = folder_of(Path(path))
    if kind == "<" and target.partition("/")[0] not in LAYERS:
        return library_complaint(folder, path)
    if path.startswith("qanat/"):
        return "public headers are included with <>"
    if not (root / "src" / path).is_file():
        return f'"{path}" is not a file of src/ (includes name the folder)'
    return None if target in may else f'{folder} may not include "{path}"'


def outside_complaint(root: Path, file: Path, folder: str, kind: str, path: str) -> str | None:
    """The same for what may use include/qanat only, and for the worker's extension."""
    if folder == "python/ext" and file.is_relative_to(root / WORKER) and (root / "src" / path).is_file():
        return None if {folder_of(Path(path)), path} & WORKER_MAY_USE else f"{WORKER} may not include {path}"
    if kind == '"' and (file.parent / path).resolve().is_relative_to((root / folder).resolve()):
        return None if (file.parent / path).is_file() else f'"{path}" is not beside the file'
    if kind == '"' or path.partition("/")[0] in LAYERS:
        return f"{folder} may include <qanat/...> only, not {path}"
    return library_complaint(folder, path)


def check(root: Path) -> list[str]:
    """Every wrong include below `root`, as lines to print."""
    wrong: list[str] = []

    def files(folder: str) -> list[Path]:
        below = root / folder
        return sorted(f for f in below.rglob("*") if f.suffix in SUFFIXES) if below.is_dir() else []

    def report(file: Path, number: int, complaint: str | None) -> None:
        if complaint:
            wrong.append(f"{file.relative_to(root)}:{number}: {complaint}")

    for file in files("src"):
        folder = folder_of(file.relative_to(root / "src"))
        for number, kind, path in includes(file):
            report(file, number, source_complaint(root, folder, kind, path))
    for folder in ("include", "python/ext", "examples", "sdk/c"):
        for file in files(folder):
            for number, kind, path in includes(file):
                if file.is_relative_to(root / STANDALONE) and kind == "<" and path.partition("/")[0] != "qanat":
                    continue
                report(file, number, outside_complaint(root, file, folder, kind, path))
    return wrong


def main(arguments: list[str]) -> int:
    root = Path(arguments[0]) if arguments else Path(__file__).parent.parent
    if not (root / "src").is_dir():
        print(f"{root}: has no folder src", file=sys.stderr)
        return 2
    wrong = check(root)
    for line in wrong:
        print(line)
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
