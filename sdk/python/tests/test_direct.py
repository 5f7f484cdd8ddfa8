"""A connector called directly does what it does in a conversation; `python -m qanat_sdk` serves a class."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from client import Process, Talk, table

from qanat_sdk import Connector, Location, StableUrl
from qanat_sdk.direct import Data, Direct, ParameterError


class Rows(Connector):
    capabilities = ("stable_order",)

    def __init__(self) -> None:
        self.closed = 0

    def schema(self) -> Any:
        return {"n": "Int64", "t": "Utf8"}

    def discover(self, attached_locations: list[str], many: str = "2") -> Iterator[Location]:
        return (Location(str(n), num_rows=n) for n in range(int(many)) if str(n) not in attached_locations)

    def data(self, location: Location, many: str = "2") -> Iterator[dict[str, Any]] | None:
        return None if location.location == "none" else self._rows()

    def stable_url(self, location: Location, many: str = "2") -> StableUrl | None:
        return StableUrl(f"x:{location.location}") if location.location == "0" else None

    def _rows(self) -> Iterator[dict[str, Any]]:
        try:
            for n in range(100):
                yield {"n": n, "t": str(n)}
        finally:
            self.closed += 1


def taken(data: Data | None) -> dict[str, list[Any]]:
    assert data is not None
    found: dict[str, list[Any]] = pa.Table.from_batches(list(data), data.schema).to_pydict()
    return found


def test_the_methods_answer_as_in_a_conversation() -> None:
    direct, talk = Direct(Rows(), {"many": "3"}), Talk(Rows(), 2)
    told = talk.call("discover", {"attached_locations": ["1"], "many": "3"})["result"]["locations"]
    assert list(direct.discover(["1"])) == told
    assert [found["location"] for found in told] == ["0", "2"]
    assert direct.describe() == talk.call("describe")["result"]
    assert direct.stable_url(Location("0")) == "x:0"
    assert direct.stable_url(Location("1")) is None
    assert direct.data(Location("none")) is None
    assert taken(direct.data(Location("0"))) == talk.data("0").to_pydict()


def test_what_is_asked_of_the_data_is_applied_or_left() -> None:
    rows = Rows()
    direct = Direct(rows)
    data = direct.data(Location("0"), columns=["n"], skip_rows=10, limit=3)
    assert data is not None
    assert sorted(data.applied) == ["limit", "projection", "skip_rows"]
    assert taken(data) == {"n": [10, 11, 12]}
    data.close()
    assert rows.closed == 1
    data = direct.data(Location("0"), filter=["=", "n", 5], limit=1)
    assert data is not None
    assert data.applied == []
    assert len(taken(data)["n"]) == 100
    with pytest.raises(ValueError, match='column "nonsense" is not in the data'):
        direct.data(Location("0"), columns=["nonsense"])
    assert rows.closed == 3  # the iterator that was begun has been ended


def test_what_does_not_fit_is_refused() -> None:
    with pytest.raises(ParameterError, match='takes no argument "other"; it takes many'):
        Direct(Rows(), {"other": "1"}).discover()
    with pytest.raises(TypeError, match=r"object is no connector: it has no method discover\(\)"):
        Direct(object())

    class Unknown(Rows):
        capabilities = ("flying",)

    with pytest.raises(ValueError, match="capability 'flying' is not known"):
        Direct(Unknown())


def test_a_class_is_served_as_a_program(tmp_path: Path) -> None:
    (tmp_path / "some_module.py").write_text(
        "import pyarrow as pa\nfrom qanat_sdk import Connector, Location\nprint('a print at import')\n"
        "class Outer:\n    class Inner(Connector):\n"
        "        def discover(self, attached_locations):\n            return [Location('x')]\n"
        "        def data(self, location):\n            return pa.table({'n': [1]})\n"
    )
    process = Process(
        [sys.executable, "-m", "qanat_sdk", "some_module:Outer.Inner", str(tmp_path)], tmp_path / "stderr.txt"
    )
    try:
        process.ask("handshake", {"protocol_version": "1"})
        process.ask("data", {"location": {"location": "x"}})
        assert table(process.frame()).to_pydict() == {"n": [1]}
        assert process.ask("shutdown")["result"] == {"ok": True}
        assert process.wait() == 0
    finally:
        process.kill()
    assert "a print at import" in (tmp_path / "stderr.txt").read_text()


@pytest.mark.parametrize("words", [[], ["module"], ["module:"], [":Class"], ["a:B", "folder", "more"]])
def test_wrong_usage_is_told(words: list[str], tmp_path: Path) -> None:
    process = Process([sys.executable, "-m", "qanat_sdk", *words], tmp_path / "stderr.txt")
    try:
        assert process.wait() == 1
    finally:
        process.kill()
    assert (tmp_path / "stderr.txt").read_text() == "usage: python -m qanat_sdk MODULE:CLASS [FOLDER]\n"
