"""Making, checking and removing runtimes: a pinned environment in a folder of its own.

A runtime is made beside its place and renamed when it is complete, so that what fails leaves nothing. The folder holds
    venv/            the packages, installed by pip with the runtime's own interpreter
    matplotlib/      matplotlib's list of fonts, where it is installed: nothing can be written in the sandbox
    worker/          the worker's extension, where the interpreter is of another version than qanat's
    runtime.json     which interpreter, which packages, which release of qanat; written last
"""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from importlib import metadata
from importlib.machinery import PathFinder
from pathlib import Path
from typing import Any

from qanat import _native, _runtime
from qanat.errors import ConfigurationError, FileError, QanatError

STANDARD = "standard"
STANDARD_PYTHON = "3.11"
_MAX_REQUIREMENTS = 1 << 20
_MINIMUM = (3, 11)  # what the worker is written for
_TOOLS = ("pip", "setuptools", "wheel")

Say = Callable[[str], None]

# Fonts of the system are not in the sandbox: only those that matplotlib brings along are listed.
_LIST_FONTS = """
import matplotlib, os
from matplotlib import font_manager as f
own = matplotlib.get_data_path() + os.sep
f.fontManager.ttflist = [e for e in f.fontManager.ttflist if e.fname.startswith(own)]
f.fontManager.afmlist = [e for e in f.fontManager.afmlist if e.fname.startswith(own)]
f.json_dump(f.fontManager, os.path.join(matplotlib.get_cachedir(), f"fontlist-v{f.FontManager.__version__}.json"))
"""


# ---- finding an interpreter ------------------------------------------------------------------------------------------


def _candidates(version: str) -> Iterator[str]:
    name = f"python{version}"
    yield _runtime.own_python()
    found = shutil.which(name)
    if found:
        yield found
    pyenv = Path(os.environ.get("PYENV_ROOT") or Path.home() / ".pyenv")
    uv = Path(os.environ.get("UV_PYTHON_INSTALL_DIR") or Path.home() / ".local" / "share" / "uv" / "python")
    for folder in (pyenv / "versions", uv):
        for pattern in (f"{version}.*", f"cpython-{version}.*"):
            yield from sorted((str(path) for path in folder.glob(f"{pattern}/bin/{name}")), reverse=True)
    for place in ("/usr/local/bin", "/usr/bin", "/opt/homebrew/bin"):
        yield f"{place}/{name}"


def find_python(version: str) -> str:
    """An interpreter of a version ("3.11"). Raises ConfigurationError that says how to get one."""
    tried: dict[str, None] = {}
    for candidate in _candidates(version):
        real = os.path.realpath(candidate)
        if real in tried or not os.access(candidate, os.X_OK):
            continue
        tried[real] = None
        try:
            facts = _runtime.interpreter_facts(candidate)
        except ConfigurationError:
            continue  # a shim of a version that is not there, or no interpreter at all
        if facts["version"] == version:
            return str(facts["executable"])
    raise ConfigurationError(
        f"CPython {version} was not found on this machine",
        hint=f"get it with one of: apt install python{version} python{version}-venv; pyenv install {version}; "
        f"uv python install {version}; or name one with --python PATH",
    )


def _chosen_python(name: str, version: str | None, python: str | None) -> dict[str, Any]:
    if python is None:
        return _runtime.interpreter_facts(find_python(version) if version else _runtime.own_python())
    found = shutil.which(python)
    if found is None:
        raise ConfigurationError(f"there is no interpreter {python!r}")
    facts = _runtime.interpreter_facts(found)
    if version and facts["version"] != version:
        raise ConfigurationError(
            f"the runtime {name!r} is CPython {version}; {python} is {facts['version']}",
            hint="give another name and --requirements FILE for packages of your choice",
        )
    return facts


# ---- making one ------------------------------------------------------------------------------------------------------


def standard_requirements() -> Path:
    """The pinned packages of the runtime `standard`."""
    return Path(__file__).resolve().parent / "runtimes" / "standard.txt"


@contextmanager
def _making(name: str) -> Iterator[Path]:
    """A folder beside the runtime's place, which nobody else works in; gone afterwards unless it was renamed."""
    folder = _runtime.runtimes_folder()
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / f".{name}.lock").open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise ConfigurationError(f"the runtime {name!r} is being made by another process") from None
        making = folder / f".{name}.making"
        shutil.rmtree(making, ignore_errors=True)  # what a process that was killed has left
        making.mkdir()
        try:
            yield making
        finally:
            shutil.rmtree(making, ignore_errors=True)
            (folder / f".{name}.lock").unlink(missing_ok=True)


def _run(command: list[str], what: str, environment: dict[str, str] | None = None) -> str:
    kept = {key: value for key, value in os.environ.items() if not key.startswith("PYTHON") and key != "PIP_TARGET"}
    done = subprocess.run(
        command, capture_output=True, text=True, errors="replace", check=False, env={**kept, **(environment or {})}
    )
    if done.returncode != 0:
        lines = [line for line in (done.stderr or done.stdout).splitlines() if line.strip()]
        errors = [line for line in lines if line.lower().startswith("error")] or lines[-1:]
        raise QanatError(f"{what} failed: {errors[0] if errors else done.returncode}", detail="\n".join(lines[-20:]))
    return done.stdout


def _own_pip() -> list[str] | None:
    """The pip that is installed beside qanat, where it can work for another environment."""
    try:
        version = metadata.version("pip")
    except metadata.PackageNotFoundError:
        return None
    numbers = re.match(r"(\d+)\.(\d+)", version)
    if numbers is None or (int(numbers.group(1)), int(numbers.group(2))) < (22, 3):
        return None
    return [sys.executable, "-I", "-m", "pip"]


def _make_venv(python: str, version: str, folder: Path) -> list[str]:
    """Make an environment without packages; returns the command that is pip for it."""
    own = _own_pip()
    try:
        bare = ["--without-pip"] if own is not None else []
        _run([python, "-I", "-m", "venv", *bare, str(folder)], "making the environment")
    except QanatError as error:
        error.hint = f"on Debian and Ubuntu: apt install python{version}-venv"
        raise
    inside = str(folder / "bin" / "python")
    return [*own, "--python", inside] if own is not None else [inside, "-I", "-m", "pip"]


def _install(pip: list[str], venv: Path, requirements: Path) -> dict[str, str]:
    """Install, and take an installer that came with the environment away. Returns the versions of what is there."""
    pip = [*pip, "--disable-pip-version-check", "--no-input"]
    _run([*pip, "install", "--no-warn-script-location", "-r", str(requirements)], "installing the packages")
    site_packages = next((venv / "lib").glob("python*/site-packages"))
    wanted = {_normal(re.split(r"[\s\[<>=!~;@]", line)[0]) for line in requirements.read_text("utf-8").splitlines()}
    tools = [tool for tool in _TOOLS if tool in _versions(site_packages) and tool not in wanted]
    if tools:
        _run([*pip, "uninstall", "--yes", *tools], "taking the installer away")
    return _versions(site_packages)


def _normal(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


def _versions(site_packages: Path) -> dict[str, str]:
    found = metadata.distributions(path=[str(site_packages)])
    return {_normal(item.metadata["Name"]): item.version for item in found if item.metadata["Name"]}


def _worker_digest() -> str:
    """Which worker this release has: that of a runtime must be the same."""
    digest = hashlib.sha256(_runtime.own_extension(_runtime.own_suffix()).read_bytes())
    return digest.hexdigest()


def _put_extension(facts: dict[str, Any], folder: Path) -> None:
    """The worker's extension for an interpreter of another version than ours."""
    if facts["extension_suffix"] == _runtime.own_suffix():
        return
    from qanat._worker_build import build_extension

    folder.mkdir()
    build_extension(facts["executable"], folder)


def create(name: str, requirements: Path | None = None, python: str | None = None, say: Say = lambda _: None) -> Path:
    """Make a runtime and return its folder. `say` hears what is being done.

    Raises ConfigurationError where the name, the file or the interpreter will not do, QanatError where installing
    fails. Whatever fails leaves nothing behind.
    """
    if _runtime.checked_name(name) == _runtime.DEFAULT:
        raise ConfigurationError(f"{name!r} is the environment that qanat itself runs in; give another name")
    place = _runtime.runtimes_folder() / name
    if place.exists():
        raise ConfigurationError(f"the runtime {name!r} is there already", hint=f"`qanat runtime remove {name}` first")
    is_standard = name == STANDARD
    if is_standard and requirements is not None:
        raise ConfigurationError(f"the runtime {name!r} has its own packages", hint="give another name")
    if requirements is None and not is_standard:
        raise ConfigurationError(
            f"what the runtime {name!r} is to hold is not said",
            hint=f"--requirements FILE, or the name {STANDARD!r} for the standard packages",
        )
    file = standard_requirements() if requirements is None else requirements
    _check_requirements(file)
    facts = _chosen_python(name, STANDARD_PYTHON if is_standard else None, python)
    if tuple(map(int, facts["version"].split("."))) < _MINIMUM:
        raise ConfigurationError(f"{facts['executable']} is Python {facts['version']}; 3.11 or later is needed")
    old = os.umask(0o022)  # statements run as nobody, who must be able to read it
    try:
        with _making(name) as making:
            _fill(making, facts, file, say)
            making.rename(place)
    except OSError as error:
        raise FileError(f"cannot make {str(place)!r}: {error.strerror or error}") from None
    finally:
        os.umask(old)
    return place


def _check_requirements(file: Path) -> None:
    try:
        with file.open("rb") as stream:
            data = stream.read(_MAX_REQUIREMENTS + 1)
        if len(data) > _MAX_REQUIREMENTS:
            raise ValueError("it has more than 1 MiB")
        data.decode("utf-8")
    except (OSError, ValueError) as error:
        raise ConfigurationError(f"cannot read the requirements {str(file)!r}: {error}") from None


def _fill(making: Path, facts: dict[str, Any], requirements: Path, say: Say) -> None:
    making.chmod(0o755)
    venv = making / "venv"
    say(f"CPython {facts['full_version']} ({facts['executable']})")
    pip = _make_venv(facts["executable"], facts["version"], venv)
    say(f"installing {requirements}")
    packages = _install(pip, venv, requirements)
    if "matplotlib" in packages:
        fonts = making / "matplotlib"
        fonts.mkdir()
        environment = {"MPLCONFIGDIR": str(fonts), "MPLBACKEND": "agg"}
        _run([str(venv / "bin" / "python"), "-I", "-c", _LIST_FONTS], "listing the fonts", environment)
    _put_extension(facts, making / "worker")
    record = {
        "python": facts["executable"],
        "version": facts["version"],
        "full_version": facts["full_version"],
        "packages": packages,
        "qanat": _native.version(),
        "worker": _worker_digest(),
    }
    text = json.dumps(record, indent=2, sort_keys=True)
    (making / _runtime.RECORD).write_text(text + "\n", encoding="utf-8")
    say(f"packages: {len(packages)}")


def remove(name: str) -> None:
    """Remove a runtime. Runs that are under way in it may fail."""
    if _runtime.checked_name(name) == _runtime.DEFAULT:
        raise ConfigurationError(f"{name!r} is the environment that qanat itself runs in; it cannot be removed")
    place = _runtime.runtimes_folder() / name
    if not place.is_dir():
        _runtime.record_of(name)  # says which there are
    with _making(name) as making:
        try:
            place.rename(making / "removed")
        except OSError as error:
            raise FileError(f"cannot remove {str(place)!r}: {error.strerror}") from None


# ---- checking one ----------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Check:
    """What was found out about a runtime."""

    name: str
    version: str
    packages: dict[str, str]
    imports: list[str]
    """The modules that statements could import, in the sandbox."""
    problems: list[str]


def check(name: str) -> Check:
    """Whether a runtime works: its interpreter, packages, the worker's extension, and imports in the sandbox."""
    problems: list[str] = []
    if _runtime.checked_name(name) == _runtime.DEFAULT:
        packages: dict[str, str] = {}
        version = _runtime.describe(name)["version"]
    else:
        record = _runtime.record_of(name)
        packages, version = record["packages"], record["version"]
        problems += _compare(name, record)
    imports: list[str] = []
    if not problems:
        try:
            imports = _try_imports(name)
        except QanatError as error:
            problems.append(str(error))
    return Check(name, version, packages, imports, problems)


def _compare(name: str, record: dict[str, Any]) -> list[str]:
    """How a runtime differs from what was written down when it was made."""
    try:
        facts = _runtime.interpreter_facts(record["python"])
    except ConfigurationError as error:
        return [str(error)]
    problems = []
    if facts["full_version"] != record["full_version"]:
        problems.append(f"the interpreter is {facts['full_version']} now, it was made with {record['full_version']}")
    if facts["extension_suffix"] != _runtime.own_suffix() and record["worker"] != _worker_digest():
        problems.append(
            f"its worker is of qanat {record['qanat']}, which does not match this installation ({_native.version()})"
        )
    site_packages = next((_runtime.runtimes_folder() / name / "venv" / "lib").glob("python*/site-packages"), None)
    there = _versions(site_packages) if site_packages is not None else {}
    for package, version in record["packages"].items():
        if there.get(package) != version:
            problems.append(f"{package} is {there.get(package, 'missing')}, it was made with {version}")
    return problems


def _try_imports(name: str) -> list[str]:
    """Import what the standard list allows and the runtime has, in the sandbox."""
    from qanat.processor import Processor
    from qanat.worker.rules import DEFAULT_ALLOW

    paths = _runtime.describe(name)["paths"]
    modules = sorted(module for module in DEFAULT_ALLOW if PathFinder.find_spec(module.partition(".")[0], paths))
    modules += [module for module in ("itertools", "math", "time") if module not in modules]  # may be built in
    lines = [f"import {module}" for module in sorted(modules)]
    statement = "\n".join([*lines, f"return [{{'module': name}} for name in {sorted(modules)!r}]"])
    result = Processor(statement, {"module": "Utf8!"}, mode="bulk", runtime=name, timeout=120).run([{"row": 0}])
    if result.status != "ok":
        raise QanatError(result.message or f"the run of the check was {result.status}")
    return [row["module"] for row in result.to_dicts()]
