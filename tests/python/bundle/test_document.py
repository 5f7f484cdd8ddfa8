"""The bundle calls of the connector document, its samples run word for word under its own names."""

from __future__ import annotations

import ast
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

import qanat as qn
import qanat.compat

NAMES = ("bundlebase", "bundlebase_sdk")


@pytest.fixture(scope="module")
def document(seeds: Path) -> str:
    (file,) = seeds.glob("000_*.txt")
    return file.read_text(encoding="utf-8")


@pytest.fixture
def bb(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[ModuleType]:
    """`import bundlebase.sync as bb`, in a folder of the test's own, where external code may run."""
    ours = [name for name in sys.modules if name.partition(".")[0] in NAMES]
    assert not ours, "aliased on request only"
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setenv("QANAT_SYSTEM_ALLOW_EXTERNAL_CODE", "true")
    qanat.compat.install_as(*NAMES)
    import bundlebase.sync  # type: ignore[import-not-found]

    yield bundlebase.sync
    for name in [name for name in sys.modules if name.partition(".")[0] in (*NAMES, "example_connector", "database")]:
        del sys.modules[name]


def sample(document: str, first: str, last: str, after: str = "") -> str:
    """The lines of a sample, from the one that begins with `first` to the first one that is `last`."""
    begin = document.index(f"\n{first}", document.index(after)) + 1
    end = document.index(f"\n{last}\n", begin) + len(last) + 1
    return document[begin:end] + "\n"


def save_quick_start(document: str) -> None:
    source = sample(document, "# example_connector.py", "    serve(ExampleConnector())")
    Path("example_connector.py").write_text(source, encoding="utf-8")


def save_complete(document: str) -> None:
    source = sample(document, "import pyarrow", "    serve(DatabaseSource())", "Complete Example")
    Path("database.py").write_text(source, encoding="utf-8")


def run(source: str, **names: Any) -> dict[str, Any]:
    exec(compile(source, "sample", "exec"), names)  # the document's own code
    return names


DATA = {"id": [1, 2, 3], "value": ["a", "b", "c"]}


@pytest.mark.trace("C3", "C10")
def test_quick_start(document: str, bb: ModuleType) -> None:
    save_quick_start(document)
    b = bb.create("my/data")
    run(sample(document, "b.import_temp_connector", "b.create_source('example.connector')", "Use with:"), b=b)
    assert b.fetch("base", "add").added == ["data.parquet"]
    assert b.to_polars().to_dict(as_series=False) == DATA
    assert [block.version for block in b.files()] == ["v1"]


@pytest.mark.trace("C23", "C24")
def test_native_mode(document: str, bb: ModuleType) -> None:
    save_quick_start(document)
    source = sample(document, "import bundlebase.sync as bb", 'bundle.fetch("base", "add")', "\nNative Mode\n")
    assert len(ast.parse(source).body) == 6
    bundle = run(source)["bundle"]
    assert isinstance(bundle, qn.Bundle)
    assert bundle.to_polars().to_dict(as_series=False) == DATA
    assert bundle.commit("first load") == 1
    assert qn.open("my/data").num_rows == 3


@pytest.mark.trace("C25")
def test_registration_forms_and_extra_arguments(document: str, bb: ModuleType) -> None:
    save_complete(document)
    line = "bundle.create_source('example.connector', {'db_host': 'prod.example.com'})"
    assert f"\n{line}\n" in document
    registrations = [
        ("python::database:DatabaseSource",),
        ("ipc::database.py",),
        ("database:DatabaseSource", "python"),
        ("database.py", "ipc"),
    ]
    for number, given in enumerate(registrations):
        with bb.create(f"data{number}") as bundle:
            bundle.import_temp_connector(
                "example.connector", given[0], **dict(zip(["runtime"], given[1:], strict=False))
            )
            run(line, bundle=bundle)
            assert bundle.describe().sources[0]["arguments"] == {"db_host": "prod.example.com"}
            assert bundle.fetch().added == ["users.parquet", "orders.parquet"], given


@pytest.mark.trace("C7", "C21", "C23")
@pytest.mark.parametrize("uri", ["python::database:DatabaseSource", "ipc::database.py"])
def test_complete_example(document: str, bb: ModuleType, uri: str) -> None:
    save_complete(document)
    with bb.create("data") as bundle:
        bundle.import_temp_connector("example.connector", uri)
        bundle.create_source("example.connector")
        results = bundle.fetch("base", "add")
        assert sorted(results.added) == ["orders.parquet", "users.parquet"] and results.rows == 5
        blocks = {block.location: block for block in bundle.files()}
        assert (blocks["users.parquet"].version, blocks["orders.parquet"].version) == ("v2", "v1")
        assert blocks["users.parquet"].origin == "https://db.example.com/exports/users-v2.parquet"
        assert blocks["orders.parquet"].origin is None
        rows = bundle.to_polars(["_location", "id", "name", "order_id", "user_id", "amount"]).rows()
        assert sorted(row[1:3] for row in rows if row[0] == "users.parquet") == [
            (1, "alice"),
            (2, "bob"),
            (3, "charlie"),
        ]
        assert sorted(row[3:] for row in rows if row[0] == "orders.parquet") == [(101, 1, 29.99), (102, 2, 49.99)]
        assert bundle.fetch("base", "update").is_empty()


@pytest.mark.trace("C28")
@pytest.mark.parametrize("runtime", ["python", "ipc"])
def test_error_handling(document: str, bb: ModuleType, runtime: str) -> None:
    last = '        # Bundlebase receives: {"error": {"code": -32000, "message": "Database connection failed"}}'
    failing = sample(document, "class ExampleConnector", last, "Error Handling")
    discover = "\n    def discover(self, attached_locations, **kwargs):\n        return [Location('data.parquet')]\n"
    main = "\n\nif __name__ == '__main__':\n    serve(ExampleConnector())\n"
    imports = "from bundlebase_sdk import Connector, Location, serve\n\n\n"
    Path("example_connector.py").write_text(imports + failing + discover + main, encoding="utf-8")
    uri = {"python": "python::example_connector:ExampleConnector", "ipc": "ipc::example_connector.py"}[runtime]
    with bb.create("data") as bundle:
        bundle.import_temp_connector("example.connector", uri)
        bundle.create_source("example.connector")
        with pytest.raises(qn.ConnectorError, match="Database connection failed") as raised:
            bundle.fetch("base", "add")
        assert 'connector "example.connector"' in str(raised.value) and '"data.parquet"' in str(raised.value)
        assert raised.value.results is not None
        assert [failure.location for failure in raised.value.results.failed] == ["data.parquet"]


def test_the_package_itself_is_awaitable(bb: ModuleType) -> None:
    import asyncio

    import bundlebase

    async def life() -> int:
        async with await bundlebase.create("data") as bundle:
            await bundle.put("one", {"id": [1]})
            return int(await bundle.commit("one"))

    assert asyncio.run(life()) == 1
    assert bundlebase.sync is bb and bb.Bundle is qn.Bundle
