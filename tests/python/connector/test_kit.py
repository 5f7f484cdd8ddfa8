"""`qanat connector test`: a good connector passes, and one with a fault is found with exactly that fault."""

from __future__ import annotations

import base64
import json
import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pyarrow as pa
import pytest
from click.testing import CliRunner

import qanat as qn
from qanat.cli.command_connector import command
from qanat.connector_kit.kit import Options, Result, Subject, examine

FOLDER = Path(__file__).resolve().parent
TORTURE = os.environ.get("QANAT_TORTURE") == "1"
pytestmark = pytest.mark.trace("B8")

# fault of raw_connector.py: the check that finds it, part of what it says
FAULTS = {
    "handshake": ("protocol.starts", "the handshake was refused: it said: no handshake today"),
    "exit": ("protocol.starts", "it ended in place of a reply to handshake; exit code 1; .*I cannot work like this"),
    "ping": ("protocol.ping", "answered with 'ping'"),
    "version": ("protocol.version_2", '"version": 3'),
    "unknown method": ("protocol.unknown_method", "was answered with a result"),
    "not JSON": ("protocol.not_json", "it ended in place of a reply.*JSONDecodeError"),
    "parameters": ("protocol.parameters", "code -32000, it is -32602"),
    "notification": ("protocol.notification", "the reply to ping has the id None"),
    "describe": ("describe.answers", '"capabilities" .* is a list'),
    "location": ("discover.answers", "num_rows is a number or null, not '10'"),
    "twice": ("discover.unique", "more than once: 'a'"),
    "version of a location": ("discover.stable", 'location "a": version was'),
    "attached": ("discover.attached", "it said: I did not expect any"),
    "cut off": ("data.answers", 'location "a": what it sends is no Arrow stream'),
    "end": ("data.answers", "the end says 11 rows in 2 batches; 10 in 2 have come"),
    "rows": ("data.num_rows", "says 11 rows and has 10"),
    "repeated": ("data.repeatable", "row 0 was .*, then"),
    "order": ("data.order", "in another order"),
    "projection": ("data.columns", "column 'name' was asked for and has not come"),
    "limit": ("data.limit", "of 10 rows 5 were asked for, 10 came"),
    "filter": ("data.filter", "1 rows have 'id' = 0, 10 came"),
    "skip_rows": ("data.skip_rows", "without the first 5 of 10 rows 10 came"),
    "version 1": ("data.version_1", "version 2, then version 1: row 0"),
    "schema": ("schema.agrees", "schema says other: int64, the data has id: int64, name: string"),
    "url": ("stable_url.answers", "the result of stable_url is"),
    "argument": ("arguments.everywhere", "data refuses the argument 'planet'"),
    "unknown argument": ("arguments.unknown", "refused with code -32000"),
    "one at a time": ("process.several", "another one runs"),
    "descriptors": ("process.descriptors", "files or connections more are open"),
    "cancel": ("cancel.ends", "it went on for 1.. s after it was cancelled"),
    "end of input": ("ending.eof", "after its standard input had ended"),
    "shutdown": ("ending.shutdown", "after shutdown"),
    "SIGTERM": ("ending.sigterm", "after SIGTERM"),
    "child": ("ending.children", "1 processes that it has started still run, first: sleep 60"),
    "ring": ("host.process", "slot"),
    "unknown location": ("data.unknown_location", "it ended in place of a reply to data; exit code 3"),
    "noise": ("protocol.stdout", "'looking for locations'"),
}
PATIENT = {"cancel", "end of input", "shutdown", "SIGTERM"}  # these are waited for
QUICK = {"exit", "not JSON", "twice", "cut off", "order", "child", "ring", "unknown location", "noise"}


def write_streams(folder: Path, table: pa.Table) -> None:
    """What raw_connector.py sends."""

    def stream(made: pa.Table) -> bytes:
        sink = pa.BufferOutputStream()
        with pa.ipc.new_stream(sink, made.schema) as writer:
            writer.write_table(made, max_chunksize=max(1, table.num_rows // 2))
        return sink.getvalue().to_pybytes()

    other = pa.table({"id": [-1] * table.num_rows, "name": ["x"] * table.num_rows}).cast(table.schema)
    made = {
        "full": table,
        "other": other,
        "reversed": table.take(list(range(table.num_rows))[::-1]) if table.num_rows < 100 else table,
        "filter": table.slice(0, 1),
        "skip_rows": table.slice(table.num_rows // 2),
        "limit": table.slice(0, table.num_rows // 2),
        "projection": table.select(["name"]),
        "projection wrong": table.select(["id"]),
    }
    index: dict[str, object] = {}
    for name, rows in made.items():
        (folder / name).write_bytes(stream(rows))
        index[name] = [rows.num_rows, 1 if rows.num_rows <= max(1, table.num_rows // 2) else 2]
    index["schema"] = base64.b64encode(table.schema.serialize()).decode()
    index["schema of other"] = base64.b64encode(pa.schema({"other": pa.int64()}).serialize()).decode()
    (folder / "index.json").write_text(json.dumps(index))


@pytest.fixture(scope="module")
def streams(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("streams")
    write_streams(folder, pa.table({"id": pa.array(range(10), pa.int64()), "name": [f"row {n}" for n in range(10)]}))
    return folder


def raw(streams: Path, fault: str = "") -> str:
    quoted = " ".join(f"'{word}'" for word in (sys.executable, "-I", "-S", FOLDER / "raw_connector.py", streams, fault))
    return f"ipc::{quoted}"


def results(target: str, **options: object) -> dict[str, Result]:
    given = {"timeout": 60.0, "patience": 30.0, **options}
    return {result.name: result for result in examine(Subject(target, Options(**given)))}  # type: ignore[arg-type]


def statuses(found: dict[str, Result], status: str) -> set[str]:
    return {name for name, result in found.items() if result.status == status}


def test_a_good_connector_without_an_sdk_passes(streams: Path) -> None:
    found = results(raw(streams))
    assert not statuses(found, "failed") and not statuses(found, "warned"), found
    assert statuses(found, "skipped") == {"host.in_process", "memory.bounded"}
    assert all(result.found and result.why and result.title for result in found.values())


@pytest.mark.parametrize("fault", sorted(FAULTS) if TORTURE else sorted(QUICK))
def test_one_fault_is_found_and_no_other(streams: Path, fault: str) -> None:
    name, message = FAULTS[fault]
    found = results(raw(streams, fault), patience=0.9 if fault in PATIENT else 30.0)
    assert {check: found[check].found for check in statuses(found, "failed")}.keys() == {name}, found
    assert re.search(message, found[name].found), found[name].found
    assert not statuses(found, "warned")


def test_every_check_has_a_fault_that_it_finds(streams: Path) -> None:
    checks = set(results(raw(streams, "exit")))
    found = {name for name, _ in FAULTS.values()}
    assert checks - found == {"memory.bounded", "host.in_process"}  # the two tests below
    assert found <= checks


def test_memory_that_grows_with_the_data_is_told(tmp_path: Path) -> None:
    values = pa.Array.from_buffers(pa.int64(), 9_000_000, [None, pa.py_buffer(bytes(72_000_000))])
    table = pa.table({"id": values})
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, table.schema) as writer:
        writer.write_table(table, max_chunksize=1_000_000)
    (tmp_path / "full").write_bytes(sink.getvalue().to_pybytes())
    index = {"full": [9_000_000, 9], "schema": base64.b64encode(table.schema.serialize()).decode()}
    (tmp_path / "index.json").write_text(json.dumps(index))

    def memory(fault: str) -> Result:
        subject = Subject(raw(tmp_path, fault), Options(locations=1, rows=10))
        return next(result for result in examine(subject) if result.name == "memory.bounded")

    assert memory("").status == "passed"
    told = memory("memory")
    assert told.status == "warned"
    assert "MB more for 72 MB of data: return an iterator" in told.found


def test_a_class_is_tried_in_both_modes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(FOLDER)
    good = results("sample_connectors:Numbers", folder=str(FOLDER))
    assert not statuses(good, "failed"), good
    assert statuses(good, "skipped") == {"data.filter", "memory.bounded", "schema.agrees"}
    assert "in 100 batches" in good["data.answers"].found
    assert good["host.in_process"].found == "the same data as python::"


def test_rows_are_skipped_only_where_the_order_is_stable(tmp_path: Path) -> None:
    with qn.connect(f"sqlite:///{tmp_path}/a.db?create=true") as connection:
        connection.insert("t", pa.table({"id": [1, 2, 3]}), mode="create")
    found = results("database", arguments={"connection": "sqlite:///a.db", "table": "t"}, folder=str(tmp_path))
    assert not statuses(found, "failed"), found
    assert found["data.skip_rows"].status == "skipped"
    assert "stable_order" in found["data.skip_rows"].found
    (tmp_path / "a.csv").write_text("id\n1\n2\n")
    found = results("files", arguments={"path": "a.csv"}, folder=str(tmp_path))
    assert found["data.skip_rows"].status == "passed", "files can resume"


def test_every_bad_location_is_told(tmp_path: Path) -> None:
    for name in ("a", "c"):
        (tmp_path / f"{name}.parquet").write_bytes(b"PAR1 and no more")
    (tmp_path / "b.csv").write_text("id\n1\n")
    told = results("files", arguments={"path": "."}, folder=str(tmp_path))["data.answers"]
    assert told.status == "failed"
    assert re.search('^location "a.parquet": .*; location "c.parquet": .*; 1 other location can be read$', told.found)


def run(*arguments: str | Path) -> tuple[int, str]:
    done = CliRunner().invoke(command, [str(argument) for argument in arguments])
    assert done.exception is None or isinstance(done.exception, SystemExit), done.exception
    return done.exit_code, done.output


def test_the_report_says_what_and_why(streams: Path) -> None:
    code, text = run("test", raw(streams, "twice"))
    assert code == 1
    assert "FAILED discover.unique          tells each location once\n       found: more than once: 'a'\n" in text
    assert "         why: a host keeps data by the name of its location\n" in text
    assert re.search(r"^3\d passed, 1 failed, 2 skipped in \d+\.\d s$", text, re.MULTILINE), text


def test_a_command_is_a_connector_of_its_own_process(streams: Path) -> None:
    words = shlex.split(raw(streams).removeprefix("ipc::"))
    for target in (["--", *words], [shlex.join(words)]):
        code, text = run("test", "--locations", "1", *target)
        assert code == 0, text
        assert re.search("^ok +protocol.starts ", text, re.MULTILINE), text


PLANETS = """
from qanat_sdk import Connector, Location, serve

class Planets(Connector):
    def discover(self, attached_locations, **kwargs):
        return [Location("inner", version="v1")]

    def data(self, location, **kwargs):
        return [{"name": "Earth"}]

    def schema(self):
        return {"name": "Utf8"}

serve(Planets())
"""


def test_a_script_is_named_by_its_file(tmp_path: Path) -> None:
    (tmp_path / "planets.py").write_text(PLANETS)
    code, text = run("test", "planets.py", "--folder", tmp_path)
    assert code == 0, text
    with pytest.raises(qn.ConfigurationError, match="runtime::entrypoint") as caught:
        qn.open_connector("planets.py", allow_external_code=True)
    assert caught.value.hint == 'did you mean "ipc::planets.py"?'
    with pytest.raises(qn.ConfigurationError, match="runtime::entrypoint") as caught:
        qn.open_connector("planets:Planets", allow_external_code=True)
    assert caught.value.hint == 'did you mean "python::planets:Planets"?'


def test_without_pyarrow_the_error_says_what_to_install() -> None:
    program = "import sys; sys.modules['pyarrow'] = None; from qanat.cli.main import main; main()"
    arguments = ["connector", "test", "x:Y"]
    done = subprocess.run([sys.executable, "-c", program, *arguments], capture_output=True, text=True, check=False)
    assert done.stderr.splitlines() == [
        "error: qanat connector test needs pyarrow, which is not installed",
        "where: x:Y",
        "  fix: pip install 'qanat[bundles]'",
    ]
    assert done.returncode == 1


def test_the_report_as_json(streams: Path) -> None:
    code, text = run("test", raw(streams, "url"), "--json")
    report = json.loads(text)
    assert code == 1
    assert report["ok"] is False
    assert report["counts"]["failed"] == 1
    (failed,) = [check for check in report["checks"] if check["status"] == "failed"]
    assert failed["name"] == "stable_url.answers"
    assert set(failed) == {"name", "title", "why", "status", "found", "seconds"}


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (["ipc::"], 3, "has no command"),
        (["ipc::'open"], 3, "No closing quotation"),
        (["x", "--arg", "nothing"], 2, "is not NAME=VALUE"),
        (["nothing-of-the-kind"], 1, "nothing-of-the-kind cannot be started"),
        (["no_such_module:Class"], 1, "No module named 'no_such_module'"),
    ],
)
def test_targets_that_are_none(arguments: list[str], code: int, message: str) -> None:
    found, text = run("test", *arguments, "--timeout", "20")
    assert found == code, text
    assert message in text


def test_a_cassette_is_recorded_and_replays(streams: Path, tmp_path: Path) -> None:
    cassette = tmp_path / "raw.cassette"
    code, text = run("test", raw(streams), "--record", cassette)
    assert code == 0, text
    with qn.open_connector(f"cassette::{cassette}") as handle:
        assert [found.location for found in handle.discover()] == ["a", "none"]
        stream = handle.data("a")
        assert stream is not None
        assert stream.to_polars()["id"].to_list() == list(range(10))
    code, text = run("test", f"cassette::{cassette}")
    assert code == 0, text
    assert "2 locations: 'a', 'none'" in text


def test_new_makes_a_connector_that_passes_its_test_and_the_kit(tmp_path: Path) -> None:
    code, text = run("new", "my-source", "--folder", tmp_path)
    assert code == 0, text
    folder = tmp_path / "my_source"
    assert sorted(file.name for file in folder.iterdir()) == ["README.md", "my_source.py", "test_my_source.py"]
    assert "pip install . ./sdk/python pytest " in (folder / "README.md").read_text()
    tested = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "."],
        cwd=folder, capture_output=True, text=True, check=False, timeout=120,
    )  # fmt: skip
    assert tested.returncode == 0, tested.stdout
    assert "4 passed" in tested.stdout
    found = results("my_source:MySource", folder=str(folder), arguments={"first_year": "2020"})
    assert not statuses(found, "failed") | statuses(found, "warned"), found
    assert found["discover.answers"].found == "2 locations: '2020', '2021'"
    assert found["arguments.everywhere"].found == "first_year: taken by every method"
    assert found["arguments.unknown"].found == "refused by its name"
    code, text = run("new", "my_source", "--folder", tmp_path)
    assert code == 3
    assert "is there already" in text
    for name in ("1x", "class", "", "a/b"):
        code, text = run("new", name, "--folder", tmp_path)
        assert code == 3
        assert "cannot be the name of a module" in text
