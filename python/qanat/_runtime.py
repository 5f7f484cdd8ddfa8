"""Runtimes: the interpreters and packages that statements run with, and what of this machine they may see.

A runtime's description is a plain dict (`qanat runtime describe NAME` prints it): the interpreter, its import paths,
and the files and folders that the sandbox's read-only root holds. What is not named there is not there for a statement.
`default` is the interpreter and the packages that qanat itself runs with; the others are pinned environments under
QANAT_RUNTIMES (by default qanat/runtimes in the user's data folder), made by _runtime_create.py.
Links are followed by hand: the root holds real files at their real places and, beside them, the links that lead there.
"""

from __future__ import annotations

import glob
import json
import os
import re
import site
import subprocess
import sys
from functools import lru_cache
from pathlib import Path
from typing import Any

from qanat import _native
from qanat.errors import ConfigurationError, InternalError

DEFAULT = "default"
RECORD = "runtime.json"  # in the folder of a runtime; its presence says that the runtime is complete
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}\Z")
_SYSTEM_FOLDER = re.compile(r"/(usr/)?lib(64|32)?(/[\w.]+-linux-[\w.]+)?\Z")
_AUTHORITIES = (
    "/etc/ssl/certs/ca-certificates.crt",
    "/etc/pki/tls/certs/ca-bundle.crt",
    "/etc/ssl/ca-bundle.pem",
    "/etc/ssl/cert.pem",
)
# The zygote stays single-threaded, whatever it imports. A statement sees nothing of the engine's environment.
_ENVIRONMENT = {
    "HOME": "/",
    "LC_ALL": "C.UTF-8",
    "TZ": "UTC",
    "OPENBLAS_NUM_THREADS": "1",
    "OMP_NUM_THREADS": "1",
    "MKL_NUM_THREADS": "1",
    "NUMEXPR_NUM_THREADS": "1",
    "ARROW_DEFAULT_MEMORY_POOL": "system",
    "JE_ARROW_MALLOC_CONF": "background_thread:false",
    "MPLBACKEND": "agg",
    # polars: looks at the processor with memory that it executes, and has a thread for freeing memory
    "POLARS_SKIP_CPU_CHECK": "1",
    # It would start a thread for each processor, and a run may have 64: on large machines no query would work.
    "POLARS_MAX_THREADS": str(min(os.cpu_count() or 1, 8)),
    "_RJEM_MALLOC_CONF": "background_thread:false",
}

Description = dict[str, Any]


# ---- which there are -------------------------------------------------------------------------------------------------


def runtimes_folder() -> Path:
    """Where created runtimes are."""
    given = os.environ.get("QANAT_RUNTIMES")
    if given:
        return Path(given).absolute()
    data = os.environ.get("XDG_DATA_HOME")
    base = Path(data) if data and os.path.isabs(data) else Path.home() / ".local" / "share"
    return base / "qanat" / "runtimes"


def checked_name(name: object) -> str:
    """A runtime's name, or an error that says what it must be."""
    if not isinstance(name, str):
        raise TypeError(f"runtime must be a str, not {type(name).__name__}")
    if not _NAME.match(name):
        raise ConfigurationError(f"runtime {name!r} is no name: letters, digits, '.', '_' and '-', at most 64")
    return name


def created() -> list[str]:
    """The names of the created runtimes."""
    try:
        entries = sorted(os.listdir(runtimes_folder()))
    except FileNotFoundError:
        return []
    except OSError as error:
        raise ConfigurationError(f"cannot read the runtimes in {runtimes_folder()}: {error.strerror}") from None
    return [name for name in entries if _NAME.match(name) and (runtimes_folder() / name / RECORD).is_file()]


def record_of(name: str) -> dict[str, Any]:
    """What `runtime create` wrote down."""
    file = runtimes_folder() / checked_name(name) / RECORD
    try:
        record = json.loads(file.read_bytes())
    except FileNotFoundError:
        known = ", ".join([DEFAULT, *created()])
        raise ConfigurationError(
            f"there is no runtime {name!r} (there are: {known})", hint=f"`qanat runtime create {name}` makes it"
        ) from None
    except (OSError, ValueError) as error:
        raise _broken(name, f"its {RECORD} cannot be read: {error}") from None
    if not isinstance(record, dict) or not isinstance(record.get("python"), str):
        raise _broken(name, f"its {RECORD} does not say which interpreter it is for")
    return record


def _broken(name: str, why: str) -> ConfigurationError:
    again = f"`qanat runtime remove {name}` and `qanat runtime create {name}` make it anew"
    return ConfigurationError(f"the runtime {name!r} is broken: {why}", hint=again)


# ---- the files of ours that run inside -------------------------------------------------------------------------------


def worker_folder() -> Path:
    """The Python files of the worker."""
    return Path(__file__).resolve().parent / "worker"


def _built(name: str) -> Path:
    """A built file of the worker: beside its Python files where it is installed, otherwise in the build folder."""
    for folder in (worker_folder(), Path(_native.__file__).resolve().parent):
        if (folder / name).is_file():
            return folder / name
    raise InternalError(f"this installation has no {name}", hint="install qanat again; nothing can be run without it")


def launcher() -> Path:
    """The program that builds the sandbox."""
    return _built("qanat-launcher")


def own_extension(suffix: str) -> Path:
    """The worker's extension for interpreters of the ABI of this one."""
    return _built(f"_worker{suffix}")


# ---- the interpreter -------------------------------------------------------------------------------------------------


def interpreter_facts(python: str) -> dict[str, Any]:
    """What _interpreter.py finds out about an interpreter. Raises ConfigurationError where it does not run."""
    program = str(Path(__file__).resolve().parent / "_interpreter.py")
    try:
        done = subprocess.run(
            [python, "-I", "-S", "-B", program], capture_output=True, text=True, timeout=60, check=False, env={}
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        raise ConfigurationError(f"the interpreter {python} does not run: {error}") from None
    try:
        facts: dict[str, Any] = json.loads(done.stdout)
    except ValueError:
        said = (done.stderr or done.stdout).strip().rpartition("\n")[2]
        raise ConfigurationError(f"{python} is no interpreter that can be used: {said or done.returncode}") from None
    if facts["implementation"] != "cpython":
        raise ConfigurationError(f"{python} is {facts['implementation']}; statements run with CPython")
    return facts


def own_version() -> str:
    """The version of the interpreter that qanat runs in."""
    return ".".join(map(str, sys.version_info[:3]))


def own_python() -> str:
    """The interpreter that qanat runs in, without its virtual environment."""
    return os.path.realpath(getattr(sys, "_base_executable", None) or sys.executable)


def _own_sites() -> list[str]:
    folders = site.getsitepackages()
    if site.ENABLE_USER_SITE:
        folders.append(site.getusersitepackages())
    return [folder for folder in dict.fromkeys(folders) if os.path.isdir(folder)]


# ---- what the root holds ---------------------------------------------------------------------------------------------


class _Root:
    """Files and folders at their real places, and the links that lead to them."""

    def __init__(self) -> None:
        self._readable: dict[str, None] = {}
        self._links: dict[str, str] = {}

    def add(self, path: str) -> str:
        """Have the root hold what `path` leads to; returns its real place. What does not exist is passed over."""
        real = self._follow(path)
        if os.path.exists(real):
            self._readable[real] = None
        return real

    def _follow(self, path: str) -> str:
        """Resolve a path a part at a time and keep every link on the way."""
        left = [part for part in reversed(path.split("/")) if part]
        at = ""
        for _ in range(4096):
            if not left:
                return at or "/"
            part = left.pop()
            if part == ".":
                continue
            if part == "..":
                at = at.rpartition("/")[0]
                continue
            step = f"{at}/{part}"
            try:
                target = os.readlink(step)
            except OSError:
                at = step
                continue
            self._links[step] = target
            if target.startswith("/"):
                at = ""
            left.extend(part for part in reversed(target.split("/")) if part)
        return os.path.realpath(path)

    def _is_inside(self, path: str) -> bool:
        folder = path.rpartition("/")[0]
        while folder:
            if folder in self._readable:
                return True
            folder = folder.rpartition("/")[0]
        return False

    def add_alternatives(self, folder: str) -> None:
        """Libraries that are links to Debian's alternatives have to lead somewhere inside too."""
        with os.scandir(folder) as entries:
            for entry in entries:
                if ".so" in entry.name and entry.is_symlink() and os.readlink(entry.path).startswith("/etc/"):
                    self.add(entry.path)

    def readable(self) -> list[str]:
        return sorted(path for path in self._readable if not self._is_inside(path))

    def links(self) -> list[str]:
        """Those that are not in a folder that the root holds anyway."""
        return [f"{path}={target}" for path, target in sorted(self._links.items()) if not self._is_inside(path)]


def _add_libraries(root: _Root, facts: dict[str, Any]) -> None:
    """The loader and the shared libraries: of the system the library folders, of other places the files alone."""
    for loader in sorted({*glob.glob("/lib64/ld-*.so*"), *glob.glob("/lib/ld-*.so*")}):
        if os.path.realpath(loader) in facts["libraries"]:
            root.add(loader)
    root.add("/etc/ld.so.cache")
    folders = {f"/usr/lib/{facts['multiarch']}", f"/lib/{facts['multiarch']}"} if facts["multiarch"] else set()
    for library in facts["libraries"]:
        folder = os.path.dirname(os.path.realpath(library))
        if _SYSTEM_FOLDER.match(folder):
            folders.add(folder)
        else:
            root.add(library)
    for folder in sorted(folders):
        if os.path.isdir(folder):
            root.add_alternatives(root.add(folder))


def _describe(name: str, python: str, sites: list[str], more: list[str], environment: dict[str, str]) -> Description:
    facts = interpreter_facts(python)
    root = _Root()
    executable = root.add(facts["executable"])
    prefix = facts["prefix"]
    if prefix not in ("/", "/usr", "/usr/local"):
        root.add(f"{prefix}/lib")  # an interpreter that has a folder of its own
    paths = [root.add(path) for path in (*facts["paths"], *sites) if os.path.exists(path)]
    _add_libraries(root, facts)
    for zones in facts["zones"]:
        if os.path.isdir(zones):
            root.add(zones)
    environment = {**_ENVIRONMENT, **environment}
    authorities = next((file for file in _AUTHORITIES if os.path.isfile(file)), None)
    if authorities is not None:
        environment["SSL_CERT_FILE"] = root.add(authorities)
    worker = root.add(str(worker_folder()))
    extension = root.add(str(_extension_of(name, facts)))
    for path in more:
        root.add(path)
    return {
        "name": name,
        "python": executable,
        "version": facts["version"],
        "paths": list(dict.fromkeys(paths)),
        "readable": root.readable(),
        "links": root.links(),
        "worker": worker,
        "extension": extension,
        "launcher": os.path.realpath(launcher()),
        "environment": [f"{key}={value}" for key, value in sorted(environment.items())],
    }


def own_suffix() -> str:
    """`.cpython-311-x86_64-linux-gnu.so` of the interpreter that qanat runs in."""
    import sysconfig

    return str(sysconfig.get_config_var("EXT_SUFFIX"))


def _extension_of(name: str, facts: dict[str, Any]) -> Path:
    """This release's own where the ABI is the same; otherwise the one that was put into the runtime."""
    suffix = facts["extension_suffix"]
    if suffix == own_suffix():
        return own_extension(suffix)
    file = runtimes_folder() / name / "worker" / f"_worker{suffix}"
    if not file.is_file():
        raise _broken(name, f"it has no worker extension for Python {facts['version']}")
    return file


# ---- descriptions ----------------------------------------------------------------------------------------------------


def describe(name: str) -> Description:
    """The description of a runtime, as `qn_processor_new` takes it. Cached until the runtime is made anew."""
    if checked_name(name) == DEFAULT:
        return _default(_native.__file__)
    file = runtimes_folder() / name / RECORD
    try:
        stamp = file.stat().st_mtime_ns
    except OSError:
        stamp = 0
    return _created(name, str(file), stamp)


@lru_cache(maxsize=1)
def _default(_extension: str) -> Description:
    return _describe(DEFAULT, own_python(), _own_sites(), [], {})


@lru_cache(maxsize=32)
def _created(name: str, _file: str, _stamp: int) -> Description:
    record = record_of(name)
    python = record["python"]
    if not os.access(python, os.X_OK):
        raise _broken(name, f"its interpreter {python} is not there any more")
    folder = runtimes_folder() / name
    (site_packages,) = sorted((folder / "venv" / "lib").glob("python*/site-packages"))[:1] or (None,)
    if site_packages is None:
        raise _broken(name, "its packages are not there any more")
    fonts = folder / "matplotlib"
    environment = {"MPLCONFIGDIR": str(fonts)} if fonts.is_dir() else {}
    return _describe(name, python, [str(site_packages)], [str(fonts)] if environment else [], environment)
