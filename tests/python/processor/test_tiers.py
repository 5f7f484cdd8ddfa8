"""A machine that denies user namespaces: nothing runs, the error says what to do; what an administrator may say."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

# In a user namespace of its own, where the kernel's own limit says that there shall be no more of them.
DENIED = [
    "unshare",
    "--user",
    "--map-root-user",
    "sh",
    "-c",
    'echo 0 >/proc/sys/user/max_user_namespaces; exec "$@"',
    "-",
]
RUN = (
    "import qanat as qn\n"
    "result = qn.Processor('return [{\"id\": 42}]', {'id': 'Int64'}).run()\n"
    "print(result.stats['tier'], result.to_dicts())\n"
)


@pytest.fixture
def denied(tmp_path: Path) -> Path:
    """A folder for settings; skips where such a machine cannot be had."""
    if shutil.which("unshare") is None:
        pytest.skip("this machine has no program unshare")
    tried = subprocess.run([*DENIED, "true"], capture_output=True, text=True, check=False)
    if tried.returncode != 0 or tried.stderr:
        pytest.skip(f"user namespaces cannot be had here: {tried.stderr.strip()}")
    (tmp_path / "qanat").mkdir()
    return tmp_path


def run(folder: Path, *arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    kept = {key: value for key, value in os.environ.items() if key != "QANAT_SANDBOX"}
    return subprocess.run(
        [*DENIED, sys.executable, *arguments],
        env={**kept, "XDG_CONFIG_HOME": str(folder), **environment},
        capture_output=True,
        text=True,
        check=False,
    )


def test_without_a_layer_nothing_runs_and_the_error_says_what_to_do(denied: Path) -> None:
    done = run(denied, "-c", RUN)
    assert done.returncode == 1
    error = done.stderr.splitlines()
    (line,) = [line for line in error if line.startswith("qanat.errors.NotSupportedError: ")]
    assert "user namespaces" in line
    (hint,) = [line for line in error if line.startswith("hint: ")]
    for remedy in ("user.max_user_namespaces", "QANAT_SANDBOX=reduced", "/etc/qanat/qanat.toml"):
        assert remedy in hint
        assert done.stderr.count(remedy) == 1, done.stderr


def test_an_administrators_word_lets_the_reduced_tier_in(denied: Path) -> None:
    expected = "reduced [{'id': 42}]\n"
    assert run(denied, "-c", RUN, QANAT_SANDBOX="reduced").stdout == expected
    (denied / "qanat" / "qanat.toml").write_text('[sandbox]\ntier = "reduced"\n', encoding="utf-8")
    assert run(denied, "-c", RUN).stdout == expected
    assert run(denied, "-c", RUN, QANAT_SANDBOX="full").returncode == 1


def test_doctor_names_layer_and_remedies(denied: Path) -> None:
    text = run(denied, "-m", "qanat", "doctor").stdout
    assert "sandbox    none: statements cannot be run" in text
    assert "user.max_user_namespaces" in text
    assert text.count("/etc/qanat/qanat.toml") == 1
    assert "missing: user namespaces" in text
    assert "sandbox    reduced" in run(denied, "-m", "qanat", "doctor", QANAT_SANDBOX="reduced").stdout
