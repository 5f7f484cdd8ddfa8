"""The worker's extension for an interpreter of another version than the one that qanat was built for.

A wheel carries the part of the extension that does not know Python as an archive (libqanat-worker.a), and the sources
of the part that does: a handful of files, which any C compiler makes into the extension for any CPython from 3.11 on
that has its headers. In a development tree the sources are the tree's, the archive is that of the build folder.
"""

from __future__ import annotations

import json
import os
import shlex
import shutil
import subprocess
from pathlib import Path
from typing import Any, NamedTuple

from qanat import _native
from qanat.errors import ConfigurationError, InternalError

ARCHIVE = "libqanat-worker.a"
MINIMUM = (3, 11)
FLAGS = ("-std=gnu11", "-O2", "-fPIC", "-shared", "-fvisibility=hidden", "-fno-math-errno", "-fstack-protector-strong")
SECONDS = 600  # that a compiler may take
FACTS = """
import json, sys, sysconfig
print(json.dumps({
    "implementation": sys.implementation.name,
    "version": list(sys.version_info[:2]),
    "include": sysconfig.get_path("include"),
    "platinclude": sysconfig.get_path("platinclude"),
    "suffix": sysconfig.get_config_var("EXT_SUFFIX"),
    "free_threaded": bool(sysconfig.get_config_var("Py_GIL_DISABLED")),
}))
"""
LOAD = """
import importlib.util, sys
spec = importlib.util.spec_from_file_location("_worker", sys.argv[1])
spec.loader.exec_module(importlib.util.module_from_spec(spec))
"""


class Sources(NamedTuple):
    """What the extension is made of."""

    archive: Path
    files: list[Path]
    includes: list[Path]


def build_extension(python: str, folder: Path) -> Path:
    """Build `_worker` for the interpreter `python` into `folder` and return the file. Raises ConfigurationError, naming
    what is missing."""
    facts = _facts(python)
    version = ".".join(map(str, facts["version"]))
    if facts["implementation"] != "cpython" or tuple(facts["version"]) < MINIMUM or facts["free_threaded"]:
        kind = f"{facts['implementation']} {version}{', free-threaded' if facts['free_threaded'] else ''}"
        raise ConfigurationError(f"{python} is {kind}: statements run with CPython 3.11 or later, with its lock")
    includes = [Path(facts[key]) for key in ("include", "platinclude")]
    if not any((include / "Python.h").is_file() for include in includes):
        raise ConfigurationError(
            f"the headers of Python {version} are not there ({includes[0]}/Python.h)",
            hint=f"install the package python{version}-dev, or the like of your system",
        )
    sources = _sources()
    file = folder / f"_worker{facts['suffix']}"
    command = [*_compiler(), *FLAGS, "-D_GNU_SOURCE"]
    command += [f"-I{include}" for include in [*sources.includes, *dict.fromkeys(includes)]]
    command += [*map(str, sources.files), str(sources.archive), "-o", str(file), "-Wl,--exclude-libs,ALL", "-lm", "-s"]
    done = _run(command)
    if done.returncode != 0:
        first = next((line for line in done.stderr.splitlines() if "error" in line), done.stderr.strip()[-300:])
        raise InternalError(f"the worker's extension cannot be compiled for Python {version}: {first}")
    loaded = _run([python, "-I", "-S", "-B", "-c", LOAD, str(file)])
    if loaded.returncode != 0:
        why = loaded.stderr.strip().rpartition("\n")[2]
        file.unlink()
        raise InternalError(f"the worker's extension for Python {version} does not load: {why}")
    return file


def _run(command: list[str]) -> subprocess.CompletedProcess[str]:
    try:
        return subprocess.run(command, capture_output=True, text=True, check=False, timeout=SECONDS)
    except (OSError, subprocess.TimeoutExpired) as error:
        raise ConfigurationError(f"{command[0]} does not run: {error}") from None


def _facts(python: str) -> dict[str, Any]:
    done = _run([python, "-I", "-S", "-B", "-c", FACTS])
    try:
        facts: dict[str, Any] = json.loads(done.stdout)
    except ValueError:
        said = done.stderr.strip().rpartition("\n")[2]
        raise ConfigurationError(f"{python} is no interpreter that can be used: {said or done.returncode}") from None
    return facts


def _compiler() -> list[str]:
    asked = shlex.split(os.environ.get("CC", ""))
    for command in ([asked] if asked else []) + [["cc"], ["gcc"], ["clang"]]:
        if shutil.which(command[0]):
            return command
    raise ConfigurationError(
        "a runtime of another Python version needs a C compiler, and there is none",
        hint="install gcc or clang, or give --python an interpreter of the version that qanat runs in",
    )


def _sources() -> Sources:
    package = Path(__file__).resolve().parent
    installed = package / "worker" / "source"
    if (installed / ARCHIVE).is_file():
        files = sorted((installed / "worker").glob("*.c"))
        return Sources(installed / ARCHIVE, files, [installed / "src", package / "include", installed / "worker"])
    tree = package.parents[1]
    archive = Path(_native.__file__).resolve().parent / ARCHIVE
    files = sorted((tree / "python" / "ext" / "worker").glob("*.c"))
    if not archive.is_file() or not files:
        raise InternalError(
            "this installation has no sources of the worker's extension",
            hint="install qanat again from a wheel or a source distribution of this release",
        )
    return Sources(archive, files, [tree / "src", tree / "include", tree / "python" / "ext" / "worker"])
