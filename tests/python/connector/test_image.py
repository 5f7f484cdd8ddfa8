"""docs/guides/connector_image.md with a stand-in for docker on PATH: its files, its commands, its program."""

from __future__ import annotations

import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

import qanat as qn

ROOT = Path(__file__).resolve().parents[3]
GUIDE = (ROOT / "docs" / "guides" / "connector_image.md").read_text("utf-8")

# Takes `build -t NAME FOLDER` and `run -i --rm NAME`. An image is a copy of the files that its Dockerfile copies;
# its entry point is run by this Python. Every call is written down.
DOCKER = """#!{python}
import glob, json, os, re, shutil, sys
store = {store!r}
with open(os.path.join(store, "calls"), "a") as calls:
    print(json.dumps(sys.argv[1:]), file=calls)
if sys.argv[1:3] == ["build", "-t"] and len(sys.argv) == 5:
    image, folder = os.path.join(store, sys.argv[3].replace("/", "_")), sys.argv[4]
    os.mkdir(image)
    lines = open(os.path.join(folder, "Dockerfile")).read().splitlines()
    for line in lines:
        if line.startswith("COPY "):
            for name in line.split()[1:-1]:
                for file in glob.glob(os.path.join(folder, name)):
                    shutil.copy(file, image)
    (entry,) = [line.partition(" ")[2] for line in lines if line.startswith("ENTRYPOINT ")]
    open(os.path.join(image, "entry"), "w").write(entry)
elif sys.argv[1:4] == ["run", "-i", "--rm"] and len(sys.argv) == 5:
    image = os.path.join(store, sys.argv[4].replace("/", "_"))
    if not os.path.isdir(image):
        sys.exit(f"Unable to find image '{{sys.argv[4]}}' locally")
    os.chdir(image)
    command = json.load(open("entry"))
    assert command[0] == "python"
    os.execv(sys.executable, [sys.executable, *command[1:]])
else:
    sys.exit("unknown command")
"""


@pytest.fixture
def docker(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder where the stand-in keeps images and calls; the present one has the guide's files."""
    store, programs, files = tmp_path / "store", tmp_path / "bin", tmp_path / "files"
    for folder in (store, programs, files):
        folder.mkdir()
    program = programs / "docker"
    program.write_text(DOCKER.format(python=sys.executable, store=str(store)), encoding="utf-8")
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{programs}:{os.environ['PATH']}")
    monkeypatch.chdir(files)
    for name, source in re.findall(r"`([\w.]+)`:\n\n```\w+\n(.*?)^```$", GUIDE, re.MULTILINE | re.DOTALL):
        (files / name).write_text(source, encoding="utf-8")
    assert {file.name for file in files.iterdir()} == {"planets.py", "requirements.txt", "Dockerfile", "use.py"}
    return store


def calls(docker: Path) -> list[str]:
    return (docker / "calls").read_text("utf-8").splitlines()


@pytest.mark.trace("C27")
def test_guide_packs_and_runs_an_image(docker: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (shell,) = re.findall(r"^```sh\n(.*?)^```$", GUIDE, re.MULTILINE | re.DOTALL)
    build, by_hand = shell.strip().splitlines()
    subprocess.run(shlex.split(build), check=True)
    done = subprocess.run(by_hand, shell=True, capture_output=True, text=True, check=True)
    assert done.stdout.startswith('{"jsonrpc":"2.0","id":1,"result":{"locations":[{"location":"inner"')
    program = Path("use.py").read_text("utf-8")
    capsys.readouterr()
    exec(compile(program, "use.py", "exec"), {})  # the guide's own code
    assert capsys.readouterr().out.splitlines() == re.findall(r"\)  # (.*)", program)
    assert set(calls(docker)) == {
        '["build", "-t", "acme/planets:1", "."]',
        '["run", "-i", "--rm", "acme/planets:1"]',
    }


@pytest.mark.trace("C27")
def test_image_that_is_not_there_is_a_failure_with_dockers_words(docker: Path) -> None:
    with (
        qn.open_connector("docker::acme/none", allow_external_code=True, retries=0) as connector,
        pytest.raises(qn.ConnectorError, match="the process ended with status 1") as caught,
    ):
        connector.discover()
    assert "Unable to find image 'acme/none' locally" in (caught.value.detail or "")
    with pytest.raises(qn.ForbiddenError, match="External code execution is disabled"):
        qn.open_connector("docker::acme/none")
