"""A connector whose locations are JSON files in a folder, so that a test says what there is by writing files."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import qanat as qn

SHOP = '''\
import json
import time
from pathlib import Path

import pyarrow as pa
from qanat_sdk import Connector, Location, StableUrl, serve


class Shop(Connector):
    """Each NAME.json of the folder `root` is a location: {"version", "rows" or "error", "url", "must_copy"}."""

    def said(self, what, kwargs, **more):
        with (Path(kwargs["root"]) / "said").open("a") as file:
            file.write(json.dumps({"call": what, "kwargs": kwargs, **more}) + "\\n")

    def read(self, location, kwargs):
        return json.loads((Path(kwargs["root"]) / f"{location}.json").read_text())

    def discover(self, attached_locations, **kwargs):
        self.said("discover", kwargs, attached=sorted(attached_locations))
        found = []
        for file in sorted(Path(kwargs["root"]).glob("*.json")):
            one = self.read(file.stem, kwargs)
            if "discover_error" in one:
                raise ValueError(one["discover_error"])
            found.append(Location(file.stem, version=one.get("version", ""), must_copy=one.get("must_copy", True)))
        return found

    def data(self, location, **kwargs):
        self.said("data", kwargs, location=location.location)
        one = self.read(location.location, kwargs)
        if "error" in one:
            raise ValueError(one["error"])
        if "sleep" in one:
            return self.slow(one["sleep"])
        if one["rows"] is None:
            return None
        return pa.table(one["rows"])

    def slow(self, seconds):
        while not self.cancelled():
            yield pa.record_batch({"id": [1]})
            time.sleep(seconds)

    def stable_url(self, location, **kwargs):
        self.said("stable_url", kwargs, location=location.location)
        url = self.read(location.location, kwargs).get("url")
        return StableUrl(url) if url else None


if __name__ == "__main__":
    serve(Shop())
'''

URIS = {"python": "python::shop:Shop", "ipc": "ipc::shop.py"}


class Shelf:
    """The folder that the connector of the tests delivers."""

    def __init__(self, root: Path) -> None:
        self.root = root
        root.mkdir()

    def put(self, location: str, rows: Any = None, version: str = "v1", **more: Any) -> None:
        (self.root / f"{location}.json").write_text(json.dumps({"version": version, "rows": rows, **more}))

    def drop(self, location: str) -> None:
        (self.root / f"{location}.json").unlink()

    @property
    def arguments(self) -> dict[str, str]:
        return {"root": str(self.root)}

    def said(self, call: str) -> list[dict[str, Any]]:
        """What the connector was asked, in turn."""
        lines = [json.loads(line) for line in (self.root / "said").read_text().splitlines()]
        return [line for line in lines if line["call"] == call]


@pytest.fixture
def shelf(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Shelf]:
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    (tmp_path / "shop.py").write_text(SHOP)
    yield Shelf(tmp_path / "shelf")
    sys.modules.pop("shop", None)


@pytest.fixture
def empty(tmp_path: Path) -> Iterator[qn.Bundle]:
    """A bundle without anything."""
    with qn.create(tmp_path / "data", config={"system": {"allow_external_code": "true"}}) as bundle:
        yield bundle


@pytest.fixture(params=["python", "ipc"])
def bundle(request: pytest.FixtureRequest, empty: qn.Bundle, shelf: Shelf) -> qn.Bundle:
    """A bundle with a source of the shelf, in this process and in one of its own."""
    empty.import_temp_connector("test.shop", URIS[request.param])
    empty.create_source("test.shop", shelf.arguments)
    return empty


@pytest.fixture
def native(empty: qn.Bundle, shelf: Shelf) -> qn.Bundle:
    """The same in this process only."""
    empty.import_temp_connector("test.shop", URIS["python"])
    empty.create_source("test.shop", shelf.arguments)
    return empty
