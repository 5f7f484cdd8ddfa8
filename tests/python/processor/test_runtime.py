"""Runtimes: what a description holds, making and removing them, and the packages of the standard one in the sandbox."""

from __future__ import annotations

import json
import os
import signal
import stat
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

import qanat as qn
from qanat import _native, _runtime, _runtime_create, _settings
from qanat.worker.rules import DEFAULT_ALLOW

ROOT = Path(__file__).resolve().parents[3]
PACKAGES = {
    "pandas": "2.0.3",
    "numpy": "1.25.2",
    "pyyaml": "6.0.1",
    "openai": "0.28.0",
    "deepdiff": "6.3.1",
    "python-jose": "3.3.0",
    "passlib": "1.7.4",
    "httpx": "0.25.0",
    "matplotlib": "3.8.2",
}


@pytest.fixture
def runtimes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty folder of runtimes of the test's own."""
    folder = tmp_path / "runtimes"
    monkeypatch.setenv("QANAT_RUNTIMES", str(folder))
    return folder


@pytest.fixture
def package(tmp_path: Path) -> Path:
    """Requirements that need no index: a package of the test's own, as a wheel that is made by hand."""
    import zipfile

    wheel = tmp_path / "qnprobe-1.5-py3-none-any.whl"
    info = "qnprobe-1.5.dist-info"
    with zipfile.ZipFile(wheel, "w") as archive:
        archive.writestr("qnprobe/__init__.py", "ANSWER = 42\n")
        archive.writestr(f"{info}/METADATA", "Metadata-Version: 2.1\nName: qnprobe\nVersion: 1.5\n")
        archive.writestr(
            f"{info}/WHEEL", "Wheel-Version: 1.0\nGenerator: x\nRoot-Is-Purelib: true\nTag: py3-none-any\n"
        )
        archive.writestr(
            f"{info}/RECORD", f"qnprobe/__init__.py,,\n{info}/METADATA,,\n{info}/WHEEL,,\n{info}/RECORD,,\n"
        )
    file = tmp_path / "requirements.txt"
    file.write_text(f"{wheel}\n", encoding="utf-8")
    return file


def values(statement: str, runtime: str, output: dict[str, str], **arguments: Any) -> list[dict[str, Any]]:
    result = qn.Processor(statement, output, mode="bulk", runtime=runtime, **arguments).run()
    assert result.status == "ok", (result.status, result.message)
    return result.to_dicts()


# ---- descriptions ----------------------------------------------------------------------------------------------------


def test_description_of_the_default_runtime() -> None:
    description = _runtime.describe("default")
    assert set(description) == {
        "name", "python", "version", "paths", "readable", "links", "worker", "extension", "launcher", "environment"
    }  # fmt: skip
    assert description["version"] == "{}.{}".format(*sys.version_info[:2])
    assert os.path.realpath(description["python"]) == description["python"]
    for key in ("python", "worker", "extension", "launcher"):
        assert Path(description[key]).exists()
    for path in description["readable"]:
        assert os.path.realpath(path) == path, "the root holds real files at their real places"
    assert json.loads(json.dumps(description)) == description


def test_readable_is_little_and_enough() -> None:
    readable = _runtime.describe("default")["readable"]
    for folder in ("/", "/usr", "/etc", "/home", "/root", "/var", "/tmp", "/usr/lib", "/usr/local", str(Path.home())):
        assert folder not in readable
    etc = [path for path in readable if path.startswith("/etc/")]
    assert all(path == "/etc/ld.so.cache" or path.endswith((".crt", ".pem")) for path in etc), etc
    inside = [a for a in readable for b in readable if a != b and a.startswith(b + "/")]
    assert inside == [], "what a folder holds anyway is not named again"


def test_links_lead_to_what_is_readable_and_stand_outside_of_it() -> None:
    description = _runtime.describe("default")
    readable = description["readable"]
    for link in description["links"]:
        path, _, target = link.partition("=")
        assert str(Path(path).readlink()) == target
        assert not any(path.startswith(f"{folder}/") for folder in readable)
        real = os.path.realpath(path)
        held = [*readable, *(other.partition("=")[0] for other in description["links"] if other != link)]
        assert any(f"{real}/".startswith(f"{other}/") or other.startswith(f"{real}/") for other in held), link


def test_links_on_the_way_are_followed(tmp_path: Path) -> None:
    (tmp_path / "real" / "deep").mkdir(parents=True)
    (tmp_path / "real" / "deep" / "file").touch()
    (tmp_path / "first").symlink_to("real")
    (tmp_path / "second").symlink_to(tmp_path / "first" / "deep")
    root = _runtime._Root()
    real = os.path.realpath(tmp_path)
    assert root.add(f"{real}/second/../deep/file") == f"{real}/real/deep/file"
    assert root.links() == [f"{real}/first=real", f"{real}/second={tmp_path}/first/deep"]
    root.add(f"{real}/real")
    assert root.readable() == [f"{real}/real"]
    (tmp_path / "loop").symlink_to("loop")
    assert root.add(f"{real}/loop/x") == os.path.realpath(f"{real}/loop/x")


def test_the_environment_of_a_statement_is_none_of_ours(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MY_SECRET", "hunter2")
    names = {item.partition("=")[0] for item in _runtime.describe("default")["environment"]}
    assert "MY_SECRET" not in names
    assert "PATH" not in names
    assert "HOME=/" in _runtime.describe("default")["environment"]


def test_polars_does_not_start_more_threads_than_a_run_may_have() -> None:
    """As on a machine of 200 processors: what polars would do there is what its setting says, which is ours."""
    environment = dict(entry.split("=", 1) for entry in _runtime.describe("default")["environment"])
    assert 1 <= int(environment["POLARS_MAX_THREADS"]) <= 8
    statement = "import polars\nreturn polars.DataFrame(INPUT_DATA).group_by('id').len('n')"
    for threads, status in (("8", "ok"), ("200", "failed")):
        with pytest.MonkeyPatch.context() as patch:
            patch.setitem(_runtime._ENVIRONMENT, "POLARS_MAX_THREADS", threads)
            _runtime._default.cache_clear()
            made = qn.Processor(statement, {"id": "Int64", "n": "UInt32"}, mode="bulk", allow=["polars"], memory="1GB")
            result = made.run([{"id": 1}, {"id": 1}])
        _runtime._default.cache_clear()
        if threads == "8" or result.stats["tier"] == "full":  # elsewhere memory alone may bound threads
            assert result.status == status, result.message


def test_what_a_statement_sees_is_utc_and_the_zones_are_there() -> None:
    statement = (
        "import datetime, time\nmoment = INPUT_DATA[0]['t']\n"
        "return [{'zone': time.tzname[0], 'text': str(moment), 'hour': moment.hour}]"
    )
    import polars as pl

    frame = pl.DataFrame({"t": ["2024-07-01T10:00:00"]}).select(
        pl.col("t").str.to_datetime(time_unit="us").dt.replace_time_zone("Europe/Berlin")
    )
    output = {"zone": "Utf8", "text": "Utf8", "hour": "Int64"}
    result = qn.Processor(statement, output).run(frame)
    assert result.status == "ok", result.message
    assert result.to_dicts() == [{"zone": "UTC", "text": "2024-07-01 10:00:00+02:00", "hour": 10}]


@pytest.mark.skipif(not Path("/usr/bin/python3.11").exists(), reason="this machine has no /usr/bin/python3.11")
def test_a_system_interpreter_needs_no_folder_of_the_system_whole() -> None:
    extension = Path(_runtime.describe("default")["extension"])
    if "cpython-311-" not in extension.name:
        pytest.skip("qanat does not run with Python 3.11 here")
    description = _runtime._describe("default", "/usr/bin/python3.11", [], [], {})
    readable = description["readable"]
    assert {"/usr/bin/python3.11", "/usr/lib/python3.11"} <= set(readable)
    assert not {"/", "/usr", "/usr/lib", "/usr/bin", "/etc"} & set(readable)
    plan = {"statement": "return [{'id': 1}]", "output": [{"name": "id", "type": "Int64"}], "runtime": description}
    execution = _native.Processor(json.dumps(plan))._run(None, None)
    assert execution.result["status"] == "ok", execution.result


# ---- making one ------------------------------------------------------------------------------------------------------


def test_a_created_runtime_is_complete_pinned_and_runs(runtimes: Path, package: Path) -> None:
    said: list[str] = []
    place = _runtime_create.create("tiny", package, say=said.append)
    assert place == runtimes / "tiny"
    assert _runtime.created() == ["tiny"]
    assert _runtime.record_of("tiny")["packages"] == {"qnprobe": "1.5"}  # the installer itself is gone
    assert sorted(path.name for path in runtimes.iterdir()) == ["tiny"]
    assert said
    statement = "import qnprobe\nreturn [{'answer': qnprobe.ANSWER}]"
    assert values(statement, "tiny", {"answer": "Int64"}, allow=["qnprobe"]) == [{"answer": 42}]
    checked = _runtime_create.check("tiny")
    assert (checked.problems, "math" in checked.imports) == ([], True)
    with pytest.raises(qn.ConfigurationError, match="is there already"):
        _runtime_create.create("tiny", package)
    _runtime_create.remove("tiny")
    assert _runtime.created() == []
    assert list(runtimes.iterdir()) == []
    with pytest.raises(qn.ConfigurationError, match="there is no runtime 'tiny'"):
        qn.Processor("return []", {"id": "Int64"}, runtime="tiny")


def test_a_runtime_can_be_read_by_nobody_in_particular(runtimes: Path, package: Path) -> None:
    old = os.umask(0o077)
    try:
        place = _runtime_create.create("tiny", package)
    finally:
        os.umask(old)
    for path in [place, *place.rglob("*")]:
        mode = path.lstat().st_mode
        wanted = stat.S_IROTH | (stat.S_IXOTH if stat.S_ISDIR(mode) else 0)
        assert stat.S_ISLNK(mode) or mode & wanted == wanted, path


def test_a_failed_creation_leaves_nothing(runtimes: Path, tmp_path: Path) -> None:
    file = tmp_path / "requirements.txt"
    file.write_text(f"{tmp_path / 'absent-1.0-py3-none-any.whl'}\n", encoding="utf-8")
    with pytest.raises(qn.QanatError, match="installing the packages failed.*absent") as caught:
        _runtime_create.create("tiny", file)
    assert caught.value.detail
    assert list(runtimes.iterdir()) == []
    assert _runtime.created() == []


def test_a_creation_that_was_killed_leaves_nothing_that_counts(runtimes: Path, package: Path) -> None:
    program = (
        "import os, signal\nfrom pathlib import Path\nfrom qanat import _runtime_create as c\n"
        "c._install = lambda *_: os.kill(os.getpid(), signal.SIGKILL)\n"
        f"c.create('tiny', Path({str(package)!r}))\n"
    )
    done = subprocess.run([sys.executable, "-c", program], check=False)
    assert done.returncode == -signal.SIGKILL
    assert _runtime.created() == []
    _runtime_create.create("tiny", package)  # and is in nobody's way
    assert sorted(path.name for path in runtimes.iterdir()) == ["tiny"]


def test_two_at_once_are_told_apart(runtimes: Path, package: Path) -> None:
    with _runtime_create._making("tiny"):
        with pytest.raises(qn.ConfigurationError, match="is being made by another process"):
            _runtime_create.create("tiny", package)
    _runtime_create.create("tiny", package)


@pytest.mark.parametrize(
    ("name", "arguments", "message"),
    [
        ("default", {}, "is the environment that qanat itself runs in"),
        ("../up", {}, "is no name"),
        ("", {}, "is no name"),
        ("mine", {}, "what the runtime 'mine' is to hold is not said"),
        ("mine", {"requirements": Path("absent.txt")}, "cannot read the requirements 'absent.txt'"),
        ("standard", {"requirements": Path("mine.txt")}, "the runtime 'standard' has its own packages"),
        ("standard", {"python": "no-such-python"}, "there is no interpreter 'no-such-python'"),
        ("standard", {"python": "/bin/sh"}, "is no interpreter that can be used"),
    ],
)
def test_what_cannot_be_created_says_why(runtimes: Path, name: str, arguments: Any, message: str) -> None:
    with pytest.raises(qn.ConfigurationError, match=message):
        _runtime_create.create(name, **arguments)
    assert not runtimes.exists()


def test_where_no_interpreter_is_found_the_error_says_how_to_get_one() -> None:
    with pytest.raises(qn.ConfigurationError, match=r"CPython 3\.99 was not found") as caught:
        _runtime_create.find_python("3.99")
    for way in ("apt install python3.99", "pyenv install 3.99", "uv python install 3.99", "--python"):
        assert way in str(caught.value.hint)


# ---- broken ones -----------------------------------------------------------------------------------------------------


def test_broken_runtimes_say_what_is_wrong(runtimes: Path, package: Path) -> None:
    place = _runtime_create.create("tiny", package)
    record = place / _runtime.RECORD
    text = record.read_text("utf-8")
    known = json.loads(text)

    record.write_text("{", encoding="utf-8")
    with pytest.raises(qn.ConfigurationError, match=r"'tiny' is broken: its runtime\.json cannot be read"):
        _runtime.describe("tiny")
    record.write_text(json.dumps(known | {"python": "/absent/python3.11"}), encoding="utf-8")
    with pytest.raises(qn.ConfigurationError, match="its interpreter /absent/python3.11 is not there any more"):
        _runtime.describe("tiny")
    record.write_text(json.dumps(known | {"packages": {"qnprobe": "9.9", "more": "1.0"}}), encoding="utf-8")
    assert _runtime_create.check("tiny").problems == [
        "qnprobe is 1.5, it was made with 9.9",
        "more is missing, it was made with 1.0",
    ]
    record.write_text(json.dumps(known | {"full_version": "3.11.0"}), encoding="utf-8")
    assert "it was made with 3.11.0" in _runtime_create.check("tiny").problems[0]
    record.write_text(text, encoding="utf-8")
    (place / "venv").rename(place / "gone")
    with pytest.raises(qn.ConfigurationError, match="its packages are not there any more") as caught:
        qn.Processor("return []", {"id": "Int64"}, runtime="tiny")
    assert "qanat runtime create tiny" in str(caught.value.hint)


# ---- the standard runtime --------------------------------------------------------------------------------------------


@pytest.mark.trace("P1")
def test_standard_is_the_documents_environment(standard_runtime: str) -> None:
    record = _runtime.record_of(standard_runtime)
    assert record["version"] == "3.11"
    assert {name: record["packages"].get(name) for name in PACKAGES} == PACKAGES
    assert "cryptography" in record["packages"]
    pinned = _runtime_create.standard_requirements().read_text("utf-8").splitlines()
    assert all("==" in line for line in pinned if line and not line.startswith("#"))
    assert len([line for line in pinned if "==" in line]) == len(record["packages"]), "everything is pinned"


@pytest.mark.trace("P1", "P4")
def test_standard_check_imports_all_that_the_document_allows(standard_runtime: str) -> None:
    checked = _runtime_create.check(standard_runtime)
    assert checked.problems == []
    assert set(checked.imports) == DEFAULT_ALLOW
    assert len(checked.imports) == 25


@pytest.mark.trace("P4")
def test_the_allowed_imports_are_the_documents(seeds: Path) -> None:
    text = next(seeds.glob("001_*.txt")).read_text("utf-8")
    block = text.partition("Allowed imports are:")[2].partition("(")[2].partition("\n)")[0]
    import re

    assert set(re.findall(r'"([\w.]+)"', block)) == DEFAULT_ALLOW


@pytest.mark.trace("P4")
@pytest.mark.parametrize("module", sorted(DEFAULT_ALLOW))
def test_each_allowed_import_alone(standard_runtime: str, module: str) -> None:
    statement = f"import {module} as it\nreturn [{{'there': it is not None}}]"
    assert values(statement, standard_runtime, {"there": "Boolean"}) == [{"there": True}]


USES: dict[str, tuple[str, dict[str, str], list[dict[str, Any]]]] = {
    "pandas": (
        "import pandas as pd\n"
        "frame = pd.DataFrame({'k': ['a', 'b', 'a'], 'v': [1, 2, 3]})\n"
        "return frame.groupby('k', as_index=False)['v'].sum()\n",
        {"k": "Utf8", "v": "Int64"},
        [{"k": "a", "v": 4}, {"k": "b", "v": 2}],
    ),
    "numpy": (
        "import numpy as np\n"
        "return [{'x': float(x)} for x in np.linalg.solve(np.array([[2., 0.], [0., 4.]]), [2., 8.])]",
        {"x": "Float64"},
        [{"x": 1.0}, {"x": 2.0}],
    ),
    "yaml": (
        "import yaml\nread = yaml.safe_load('a: [1, 2]\\nb: text')\n"
        "return [{'a': read['a'], 'b': yaml.dump(read['b'])}]",
        {"a": "List<Int64>", "b": "Utf8"},
        [{"a": [1, 2], "b": "text\n...\n"}],
    ),
    "deepdiff": (
        "from deepdiff import DeepDiff\n"
        "found = DeepDiff({'a': 1, 'b': [1, 2]}, {'a': 2, 'b': [1, 2, 3]})\n"
        "return [{'changed': str(found['values_changed']), 'added': str(found['iterable_item_added'])}]",
        {"changed": "Utf8", "added": "Utf8"},
        [{"changed": "{\"root['a']\": {'new_value': 2, 'old_value': 1}}", "added": "{\"root['b'][2]\": 3}"}],
    ),
    "jose": (
        "from jose import jwt\n"
        "token = jwt.encode({'sub': 'x', 'n': 5}, 'key', algorithm='HS256')\n"
        "try:\n    jwt.decode(token, 'other', algorithms=['HS256'])\n    forged = True\n"
        "except Exception:\n    forged = False\n"
        "return [{'n': jwt.decode(token, 'key', algorithms=['HS256'])['n'], 'forged': forged}]",
        {"n": "Int64", "forged": "Boolean"},
        [{"n": 5, "forged": False}],
    ),
    "passlib": (
        "from passlib.hash import pbkdf2_sha256\n"
        "hashed = pbkdf2_sha256.hash('secret')\n"
        "return [{'right': pbkdf2_sha256.verify('secret', hashed), 'wrong': pbkdf2_sha256.verify('x', hashed)}]",
        {"right": "Boolean", "wrong": "Boolean"},
        [{"right": True, "wrong": False}],
    ),
    "matplotlib": (
        "import io\nimport matplotlib.pyplot as plt\n"
        "figure, axes = plt.subplots()\naxes.plot([1, 2, 3])\naxes.set_title('$x^2$ and text')\n"
        "file = io.BytesIO()\nfigure.savefig(file, format='png')\n"
        "return [{'head': file.getvalue()[:8], 'long': len(file.getvalue()) > 5000}]",
        {"head": "Binary", "long": "Boolean"},
        [{"head": b"\x89PNG\r\n\x1a\n", "long": True}],
    ),
}


@pytest.mark.trace("P1")
@pytest.mark.parametrize("package_name", USES)
def test_each_package_is_used_once_in_the_sandbox(standard_runtime: str, package_name: str) -> None:
    statement, output, expected = USES[package_name]
    assert values(statement, standard_runtime, output) == expected


@pytest.mark.trace("P1")
def test_a_figure_with_fonts_takes_no_time_to_look_for_them(standard_runtime: str) -> None:
    statement, output, _ = USES["matplotlib"]
    made = qn.Processor(statement, output, mode="bulk", runtime=standard_runtime)
    made.run()
    assert made.run().stats["seconds"]["run"] < 5


# ---- another version of Python ---------------------------------------------------------------------------------------


def other_python() -> str:
    for version in ("3.13", "3.12", "3.11", "3.14"):
        if version == "{}.{}".format(*sys.version_info[:2]):
            continue
        try:
            return _runtime_create.find_python(version)
        except qn.ConfigurationError:
            continue
    pytest.skip("this machine has no other CPython of 3.11 to 3.14")


def test_a_runtime_of_another_python(runtimes: Path, package: Path) -> None:
    python = other_python()
    _runtime_create.create("other", package, python)
    description = _runtime.describe("other")
    assert description["version"] != "{}.{}".format(*sys.version_info[:2])
    statement = "import qnprobe\nreturn [{'answer': qnprobe.ANSWER, 'row': row['id']} for row in INPUT_DATA]"
    made = qn.Processor(statement, {"answer": "Int64", "row": "Int64"}, allow=["qnprobe"], runtime="other")
    assert made.run([{"id": 7}]).to_dicts() == [{"answer": 42, "row": 7}]
    assert _runtime_create.check("other").problems == []
    record = runtimes / "other" / _runtime.RECORD
    record.write_text(json.dumps(json.loads(record.read_text("utf-8")) | {"worker": "of another release"}), "utf-8")
    assert "does not match this installation" in _runtime_create.check("other").problems[0]


# ---- the administrator's file ----------------------------------------------------------------------------------------


@pytest.fixture
def settings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> tuple[Path, Path]:
    """The machine's file and the user's, in places of the test's own."""
    monkeypatch.setattr(_settings, "SYSTEM_FILE", tmp_path / "etc.toml")
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    (tmp_path / "config" / "qanat").mkdir(parents=True)
    return tmp_path / "etc.toml", tmp_path / "config" / "qanat" / "qanat.toml"


def test_the_tier_is_the_machines_word_then_the_users(settings: tuple[Path, Path]) -> None:
    machine, user = settings
    assert _settings.sandbox_tier() == (None, None)
    user.write_text('[sandbox]\ntier = "reduced"\n', encoding="utf-8")
    assert _settings.sandbox_tier() == ("reduced", user)
    machine.write_text("[other]\n", encoding="utf-8")
    assert _settings.sandbox_tier() == ("reduced", user)
    machine.write_text('[sandbox]\ntier = "full"\n', encoding="utf-8")
    assert _settings.sandbox_tier() == ("full", machine)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("[sandbox", "is not valid TOML"),
        ("sandbox = 5", "sandbox must be a table"),
        ('[sandbox]\ntier = "none"', 'must be "full" or "reduced"'),
        ("[sandbox]\ntier = 1", 'must be "full" or "reduced"'),
    ],
)
def test_a_wrong_settings_file_is_named(settings: tuple[Path, Path], text: str, message: str) -> None:
    settings[0].write_text(text, encoding="utf-8")
    with pytest.raises(qn.ConfigurationError, match=message) as caught:
        qn.Processor("return []", {"id": "Int64"})
    assert str(settings[0]) in str(caught.value)


def test_the_reduced_tier_is_forced_by_the_environment() -> None:
    program = "import qanat as qn\nprint(qn.Processor('return []', {'id': 'Int64'}).run().stats['tier'])"
    done = subprocess.run(
        [sys.executable, "-c", program],
        env={**os.environ, "QANAT_SANDBOX": "reduced"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, done.stdout.strip()) == (0, "reduced"), done.stderr
