"""The connector document: its samples run word for word, under its own names, through qanat.compat."""

from __future__ import annotations

import io
import json
import re
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import pyarrow as pa
import pytest

import qanat as qn
import qanat.compat

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "sdk" / "python" / "tests"))

from client import Process, Talk, table  # noqa: E402  (found through the path set above)

DATABASE_CALL = {"location": {"location": "users.parquet"}, "db_host": "prod.example.com"}


@pytest.fixture(scope="module")
def document(seeds: Path) -> str:
    (file,) = seeds.glob("000_*.txt")
    return file.read_text(encoding="utf-8")


@pytest.fixture
def bundlebase_sdk() -> Iterator[ModuleType]:
    assert not [name for name in sys.modules if name.partition(".")[0] == "bundlebase_sdk"], "aliased on request only"
    qanat.compat.install_as("bundlebase_sdk")
    import bundlebase_sdk  # type: ignore[import-not-found]

    yield bundlebase_sdk
    for name in [name for name in sys.modules if name.partition(".")[0] == "bundlebase_sdk"]:
        del sys.modules[name]


def sample(document: str, first: str, last: str, after: str = "") -> str:
    """The lines of a sample, from the one that begins with `first` to the first one that is `last`."""
    begin = document.index(f"\n{first}", document.index(after)) + 1
    end = document.index(f"\n{last}\n", begin) + len(last) + 1
    return document[begin:end] + "\n"


def quick_start(document: str) -> str:
    return sample(document, "# example_connector.py", "    serve(ExampleConnector())")


def full_schema(document: str) -> str:
    return sample(document, "from bundlebase_sdk", "    serve(SensorConnector())", "Full Schema Example")


def complete(document: str) -> str:
    return sample(document, "import pyarrow", "    serve(DatabaseSource())", "Complete Example")


def names_of(source: str, **given: Any) -> dict[str, Any]:
    """What a sample defines; it is imported, not run as a program."""
    namespace: dict[str, Any] = {"__name__": "sample", **given}
    exec(compile(source, "sample", "exec"), namespace)  # the document's own code
    return namespace


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Callable[[str], Process]]:
    """A sample as a script in a process of its own, with the document's names."""
    started: list[Process] = []

    def begin(source: str) -> Process:
        script = tmp_path / f"script_{len(started)}.py"
        script.write_text(source, encoding="utf-8")
        command = [sys.executable, "-m", "qanat.compat", str(script)]
        started.append(Process(command, tmp_path / f"stderr_{len(started)}.txt"))
        return started[-1]

    yield begin
    for process in started:
        process.kill()


@pytest.mark.trace("C10", "C11")
def test_quick_start_runs_as_a_script(document: str, start: Callable[[str], Process]) -> None:
    process = start(quick_start(document))
    process.ask("handshake", {"protocol_version": "1"})
    assert process.ask("discover", {"attached_locations": []})["result"]["locations"] == [
        {"location": "data.parquet", "must_copy": True, "format": "parquet", "version": "v1", "num_rows": None}
    ]
    process.ask("data", {"location": {"location": "data.parquet"}})
    assert table(process.frame()).to_pydict() == {"id": [1, 2, 3], "value": ["a", "b", "c"]}
    assert process.ask("shutdown")["result"] == {"ok": True}
    assert process.wait() == 0


@pytest.mark.trace("C4")
def test_methods_and_their_parameters_are_those_of_the_document(document: str, bundlebase_sdk: ModuleType) -> None:
    headings = re.findall(r"^(discover|data|stable_url)\((\w+), \*\*kwargs\) -> ", document, re.MULTILINE)
    assert [method for method, _ in headings] == ["discover", "data", "stable_url"]
    for method, first in headings:
        code = getattr(bundlebase_sdk.Connector, method).__code__
        assert code.co_varnames[: code.co_argcount] == ("self", first)
        assert "kwargs" in code.co_varnames
    assert bundlebase_sdk.Connector.__abstractmethods__ == {"discover", "data"}
    assert re.search(r"^serve\(source: Connector\) -> None$", document, re.MULTILINE)
    assert bundlebase_sdk.serve.__code__.co_varnames[:1] == ("source",)


@pytest.mark.trace("C8", "C9")
def test_location_and_stable_url_are_those_of_the_document(document: str, bundlebase_sdk: ModuleType) -> None:
    names = {"Location": bundlebase_sdk.Location, "StableUrl": bundlebase_sdk.StableUrl}
    location = eval(sample(document, "Location(\n", ")"), names)
    assert location == bundlebase_sdk.Location("path/to/file.parquet", version="v1")
    rows = re.findall(r"^(\w+) (str|bool) (\S+) ", sample(document, "Field Type Default", "StableUrl"), re.MULTILINE)
    assert [row[0] for row in rows] == ["location", "must_copy", "format", "version"]
    for name, _, default in rows[1:]:
        assert getattr(bundlebase_sdk.Location("x"), name) == eval(default)
    url = eval(re.search(r"^StableUrl\(url=.*\)$", document, re.MULTILINE)[0], names)  # type: ignore[index]
    assert url.url == "https://example.com/data.parquet"


@pytest.mark.trace("C18")
def test_every_type_string_of_the_table(document: str) -> None:
    from qanat_sdk.types import field_of

    lines = sample(document, "Type String Arrow Type Aliases", "Returning Column-Oriented Dicts").splitlines()[1:-2]
    compared = 0
    for line in filter(None, lines):
        texts, arrow, aliases = re.fullmatch(r"([\w, ]+?) (pa\..+?\))(?:, etc\.)?(?: ([a-z, ]+))?", line).groups()  # type: ignore[union-attr]
        first = eval(arrow, {"pa": pa})
        for text in texts.split(", "):
            expected = first if text == texts else getattr(pa, text.lower())()
            assert field_of("x", text).type == expected, text
            compared += 1
        for alias in (aliases or "").split(", ") if aliases else []:
            assert field_of("x", alias).type == first, alias
            compared += 1
    assert compared == 24


@pytest.mark.trace("C14", "C15")
def test_dict_samples(document: str, bundlebase_sdk: ModuleType) -> None:
    given = {"Connector": bundlebase_sdk.Connector, "Location": bundlebase_sdk.Location}
    columns = sample(
        document, "class MyConnector", '        return {"name": ["alice", "bob"], "age": [30, 25]}', "Returning Column"
    )
    rows = sample(
        document, "def data(", '    return [{"name": "alice", "age": 30}, {"name": "bob", "age": 25}]', "Returning Row"
    )
    connector = names_of(columns, **given)["MyConnector"]
    by_rows = type("ByRows", (connector,), {"data": names_of(rows)["data"]})
    for kind in (connector, by_rows):
        for version in (1, 2):
            found = Talk(kind(), version).data("people")
            assert found.schema == pa.schema([("name", pa.string()), ("age", pa.int32())])
            assert found.to_pylist() == [{"name": "alice", "age": 30}, {"name": "bob", "age": 25}]


def test_schema_sample(document: str, bundlebase_sdk: ModuleType) -> None:
    last = '        return {"name": "Utf8", "age": "Int32", "score": "Float64", "active": "Boolean"}'
    names = names_of(sample(document, "class MyConnector", last), Connector=bundlebase_sdk.Connector)
    assert list(names["MyConnector"].schema(None)) == ["name", "age", "score", "active"]


@pytest.mark.trace("C20")
def test_full_schema_sample(document: str, start: Callable[[str], Process]) -> None:
    process = start(full_schema(document))
    assert process.ask("discover", {"attached_locations": []})["result"]["locations"][0]["location"] == "readings"
    process.ask("data", {"location": {"location": "readings"}})
    found = table(process.frame())
    assert found is not None
    assert found.schema == pa.schema(
        [("sensor_id", pa.string()), ("temperature", pa.float32()), ("reading_count", pa.int32())]
    )
    temperatures = pa.array([22.5, 19.8, 25.1], pa.float32()).to_pylist()
    assert found.to_pydict() == {
        "sensor_id": ["s1", "s2", "s3"],
        "temperature": temperatures,
        "reading_count": [100, 85, 120],
    }
    assert process.end_input() == 0


@pytest.mark.trace("C7", "C13", "C17", "C21", "C25")
def test_complete_sample(document: str, start: Callable[[str], Process]) -> None:
    process = start(complete(document))
    found = process.ask("discover", {"attached_locations": ["users.parquet"], "db_host": "prod.example.com"})
    locations = [(at["location"], at["must_copy"], at["format"], at["version"]) for at in found["result"]["locations"]]
    assert locations == [("users.parquet", True, "parquet", "v2"), ("orders.parquet", True, "parquet", "v1")]
    process.ask("data", DATABASE_CALL)
    users = table(process.frame())
    assert users is not None
    assert [batch.to_pydict() for batch in users.to_batches()] == [
        {"id": [1, 2], "name": ["alice", "bob"]},
        {"id": [3], "name": ["charlie"]},
    ]
    process.ask("data", {"location": {"location": "orders.parquet"}})
    assert table(process.frame()).to_pydict() == {  # type: ignore[union-attr]
        "order_id": [101, 102],
        "user_id": [1, 2],
        "amount": [29.99, 49.99],
    }
    assert process.ask("data", {"location": {"location": "absent"}})["result"] == {"ok": True}
    assert process.frame() is None
    assert process.ask("stable_url", DATABASE_CALL)["result"] == {
        "url": "https://db.example.com/exports/users-v2.parquet"
    }
    assert process.ask("stable_url", {"location": {"location": "orders.parquet"}})["result"] is None
    assert process.end_input() == 0


@pytest.mark.trace("C22")
def test_testing_sample(document: str, bundlebase_sdk: ModuleType) -> None:
    source = sample(document, "import io", "    assert table.num_rows == 3", "\nTesting\n")
    names = names_of(source)
    tests = [name for name in names if name.startswith("test_")]
    assert tests == ["test_discover", "test_data"]
    for name in tests:
        names[name]()


@pytest.mark.trace("C28")
def test_error_sample(document: str, bundlebase_sdk: ModuleType) -> None:
    last = '        # Bundlebase receives: {"error": {"code": -32000, "message": "Database connection failed"}}'
    source = sample(document, "class ExampleConnector", last, "Error Handling")
    expected = json.loads(last.partition("receives: ")[2])
    kind = names_of(source, Connector=bundlebase_sdk.Connector)["ExampleConnector"]
    connector = type("Whole", (kind,), {"discover": lambda self, attached_locations, **kwargs: []})()
    reply = Talk(connector).call("data", {"location": {"location": "x"}})
    assert {"error": reply["error"]} == expected


def test_names_are_those_of_the_sdk(bundlebase_sdk: ModuleType) -> None:
    from bundlebase_sdk.serve import _serve  # type: ignore[import-not-found]

    import qanat_sdk

    for name in ("Connector", "Location", "StableUrl", "serve"):
        assert getattr(bundlebase_sdk, name) is getattr(qanat_sdk, name)
    stdout = io.BytesIO()
    _serve(object.__new__(type("Mine", (qanat_sdk.Connector,), {"discover": None, "data": None})), io.BytesIO(), stdout)
    assert stdout.getvalue() == b""


def test_without_the_sdk_only_its_own_names_are_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "qanat_sdk", None)
    with pytest.raises(qn.ArgumentError, match="needs qanat-sdk: qanat_sdk is not installed") as caught:
        qanat.compat.install_as("bundlebase_sdk")
    assert caught.value.hint == "in a clone of qanat: pip install ./sdk/python"
    before = set(sys.modules)
    qanat.compat.install_as()
    made = set(sys.modules) - before
    try:
        assert made == {"bundlebase", "bundlebase.sync", "industrydb", "industrydb.industrydb"}
    finally:
        for name in made:
            del sys.modules[name]
