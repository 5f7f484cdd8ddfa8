"""What is built: a release wheel (stripped), the editable development build that these tests use, a debug build."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tarfile
import venv
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
BUILD = [sys.executable, "-m", "build", "--no-isolation"]


def clean_environment() -> dict[str, str]:
    """Without what `make` or a developer's shell sets; with the build programs of this environment first on PATH."""
    kept = {key: value for key, value in os.environ.items() if not key.startswith(("MESONPY_", "PYTHON", "LD_PRELOAD"))}
    return kept | {"PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"}


def run(*command: str | Path, cwd: Path | None = None) -> str:
    parts = [str(part) for part in command]
    parts[0] = shutil.which(parts[0], path=clean_environment()["PATH"]) or parts[0]
    done = subprocess.run(parts, cwd=cwd, env=clean_environment(), capture_output=True, text=True, check=False)
    assert done.returncode == 0, f"{command} failed:\n{done.stdout[-4000:]}{done.stderr[-4000:]}"
    return done.stdout


@pytest.fixture(scope="module")
def repository(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """This tree as a repository, which the build of a source distribution asks for: itself, or, where it is an export
    without history or another user's clone, a copy."""
    known = subprocess.run(["git", "rev-parse", "--verify", "HEAD"], cwd=ROOT, capture_output=True, check=False)
    if known.returncode == 0:
        return ROOT
    copy = tmp_path_factory.mktemp("repository") / "qanat"
    ignored = shutil.ignore_patterns(".git", ".venv", "build", "dist", ".*_cache", ".hypothesis")
    shutil.copytree(ROOT, copy, symlinks=True, ignore=ignored)
    run("git", "init", "--quiet", copy)
    run("git", "-C", copy, "add", "--all")
    author = ["-c", "user.name=tests", "-c", "user.email=tests@localhost"]
    run("git", "-C", copy, *author, "commit", "--quiet", "-m", "tree")
    return copy


@pytest.fixture(scope="module")
def distributions(repository: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A source distribution of this tree, and a wheel built from it: as `pip install .` from an sdist does."""
    folder = tmp_path_factory.mktemp("dist")
    options = ["-Csetup-args=-Dbuildtype=release", "-Cinstall-args=--strip"]
    run(*BUILD, "--outdir", folder, *options, repository)  # sdist first, then the wheel out of the sdist
    return folder


def sections(library: Path) -> str:
    return run("readelf", "--section-headers", "--wide", library)


@pytest.mark.trace("D19")
def test_release_wheel_is_stripped_and_complete(distributions: Path, tmp_path: Path) -> None:
    (wheel,) = distributions.glob("*.whl")
    with zipfile.ZipFile(wheel) as archive:
        names = archive.namelist()
        archive.extractall(tmp_path)
    assert "qanat/py.typed" in names
    assert any(name.endswith("include/qanat/qanat.h") for name in names)
    for file in ("qanat/worker/zygote.py", "qanat/_rows.pyi", "qanat/runtimes/standard.txt"):
        assert file in names
    worker = [name for name in names if name.startswith("qanat/worker/")]
    assert {"zygote.py", "child.py", "statement.py", "rules.py"} <= {Path(name).name for name in worker}
    assert any("libqanat-worker.a" in name for name in worker), "what other versions of Python are linked with"
    binaries = [tmp_path / name for name in names if ".so" in Path(name).name or name.endswith("/qanat-launcher")]
    kinds = {binary.name.partition(".")[0] for binary in binaries}
    assert {"libqanat", "_native", "_rows", "_worker", "qanat-launcher"} <= kinds
    for binary in binaries:
        assert ".debug_info" not in sections(binary)
        assert ".symtab" not in sections(binary)


@pytest.mark.trace("D19")
def test_wheel_works_in_a_fresh_environment(distributions: Path, tmp_path: Path) -> None:
    (wheel,) = distributions.glob("*.whl")
    venv.create(tmp_path / "venv", with_pip=True)
    python = tmp_path / "venv" / "bin" / "python"
    # Its Python dependencies are those of this environment, so that the test needs no index.
    (site,) = (tmp_path / "venv" / "lib").glob("python*/site-packages")
    run(python, "-m", "pip", "install", "--quiet", "--no-deps", "--no-index", wheel)
    here = next(path for path in sys.path if path.endswith("site-packages"))
    program = (
        f"import sys; sys.path.append({here!r})\n"
        "import qanat as qn, os\n"
        f"assert qn.__file__.startswith({str(site)!r}), qn.__file__\n"
        "c = qn.connect('sqlite://:memory:')\n"
        "assert c.execute('select ? as a', [41]).item() == 41\n"
        "assert os.path.exists(os.path.join(qn.get_include(), 'qanat', 'database.h'))\n"
        "assert os.path.exists(qn.get_library())\n"
        "print('works')\n"
    )
    assert run(python, "-c", program, cwd=tmp_path).strip() == "works"
    run_a_statement(python, site, here, tmp_path)


def run_a_statement(python: Path, site: Path, here: str, folder: Path) -> None:
    """An installed wheel has all that a sandbox needs, and takes nothing from this tree."""
    program = (
        f"import sys; sys.path.append({here!r})\n"
        "import qanat as qn\n"
        "from qanat import _runtime, _worker_build\n"
        "description = _runtime.describe('default')\n"
        f"assert all(description[key].startswith({str(site)!r}) for key in ('worker', 'extension', 'launcher'))\n"
        f"assert not any(path.startswith({str(ROOT)!r}) for path in description['readable']), description\n"
        "double = qn.Processor('return [{\"id\": row[\"id\"] * 2} for row in INPUT_DATA]', output={'id': 'Int64'})\n"
        "result = double.run([{'id': 21}])\n"
        "assert result.to_dicts() == [{'id': 42}], result.message\n"
        "from pathlib import Path\n"
        "Path('built').mkdir()\n"
        "built = _worker_build.build_extension(_runtime.own_python(), Path('built'))\n"
        "assert built.is_file()\n"
        "print('works')\n"
    )
    assert run(python, "-c", program, cwd=folder).strip() == "works"


def test_source_distribution_builds_without_a_fetch(distributions: Path) -> None:
    (source,) = distributions.glob("*.tar.gz")
    with tarfile.open(source) as archive:
        names = archive.getnames()
    assert any("third_party/nanoarrow" in name and name.endswith("common/array.c") for name in names)
    assert source.stat().st_size < 8 * 1024 * 1024


@pytest.mark.trace("D19")
def test_development_build_has_symbols_and_fault_points() -> None:
    """The build that `make build` installs editable and these tests import."""
    library = ROOT / "build" / "dev" / "src" / "libqanat.so"
    assert ".debug_info" in sections(library.resolve())
    static = ROOT / "build" / "dev" / "src" / "libqanat.a"
    assert " T qn_fault_hit" in run("nm", static)


@pytest.mark.trace("D19")
def test_debug_build_configures_and_compiles(tmp_path: Path) -> None:
    folder = tmp_path / "debug"
    run("meson", "setup", folder, "-Dbuildtype=debug", "-Dtests=false", "-Dpython=disabled", cwd=ROOT)
    run("ninja", "-C", folder)
    assert ".debug_info" in sections(folder / "src" / "libqanat.so")


def test_only_public_symbols_are_exported() -> None:
    library = ROOT / "build" / "dev" / "src" / "libqanat.so"
    lines = run("nm", "--dynamic", "--defined-only", library).splitlines()
    exported = {line.split()[-1].partition("@")[0] for line in lines if line.split()[-2] in "TDBR"}
    assert exported, "the library exports something"
    headers = "".join(path.read_text("utf-8") for path in (ROOT / "include").rglob("*.h"))
    undeclared = {name for name in exported if f"{name}(" not in headers}
    assert not undeclared, f"exported but in no public header: {sorted(undeclared)}"
