"""Cassettes: a connector recorded by the engine and by `qanat connector test`, replayed without the source."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import polars as pl
import pytest

import qanat as qn

ROOT = Path(__file__).resolve().parents[3]
PLANETS = ROOT / "examples" / "connector" / "planets.py"


def rows(handle: qn.ConnectorHandle, location: Any, **request: Any) -> list[dict[str, Any]] | None:
    stream = handle.data(location, **request)
    return None if stream is None else pl.DataFrame(stream).to_dicts()


@pytest.mark.trace("B8")
def test_replay_needs_no_source(tmp_path: Path) -> None:
    script = tmp_path / "planets.py"
    script.write_text(PLANETS.read_text("utf-8"), encoding="utf-8")
    arguments = {"system": "solar", "api_token": "very-secret-token"}
    with qn.open_connector("ipc::planets.py", arguments, allow_external_code=True, folder=tmp_path,
                           record=tmp_path / "sky.cassette") as source:  # fmt: skip
        locations = source.discover()
        inner, outer = rows(source, locations[0]), rows(source, locations[1])
        assert rows(source, "comets") is None
        with pytest.raises(qn.ConnectorError, match="the process ended with status 3"):
            source.data("black hole")
        described = source.describe()
    script.unlink()
    assert b"very-secret-token" not in (tmp_path / "sky.cassette").read_bytes()

    with qn.open_connector(
        "cassette::sky.cassette", folder=tmp_path
    ) as replay:  # no permission is needed: no code runs
        assert replay.discover() == locations
        assert rows(replay, locations[1]) == outer
        assert rows(replay, locations[0]) == inner == [{"name": "Earth", "moons": 1}, {"name": "Mars", "moons": 2}]
        assert rows(replay, "comets") is None
        with pytest.raises(qn.ConnectorError, match='location "black hole": the process ended with status 3'):
            replay.data("black hole")
        assert rows(replay, "outer", columns=["moons"], filter=[">", "moons", 30], limit=1) == [{"moons": 95}]
        assert replay.can_resume() and rows(replay, "outer", skip_rows=2) == [{"name": "Uranus", "moons": 28}]
        assert replay.describe() == described
        with pytest.raises(qn.ConnectorError, match='no answer to data of "moon"; recorded are: data of "inner"'):
            replay.data("moon")
        with pytest.raises(
            qn.ConnectorError, match=r'no answer to discover, attached \["inner"\]; recorded are: discover'
        ):
            replay.discover(["inner"])
    with pytest.raises(qn.ConfigurationError, match='nothing was recorded with the argument system = "other"'):
        qn.open_connector("cassette::sky.cassette", {"system": "other"}, folder=tmp_path)


@pytest.mark.trace("B8")
def test_kit_records_a_cassette(tmp_path: Path) -> None:
    (tmp_path / "stars.py").write_text(
        "import pyarrow as pa\n"
        "from qanat_sdk import Connector, Location\n\n"
        "class Stars(Connector):\n"
        "    def discover(self, attached_locations, hemisphere='north'):\n"
        "        return [Location(hemisphere, version='v1')]\n\n"
        "    def data(self, location, hemisphere='north'):\n"
        "        return pa.table({'star': ['Sirius', 'Canopus'], 'magnitude': [-1.46, -0.74]})\n",
        encoding="utf-8",
    )
    command = [sys.executable, "-m", "qanat", "connector", "test", "stars:Stars"]
    command += ["--arg", "hemisphere=south", "--record", str(tmp_path / "stars.cassette")]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "stars.cassette replays" in done.stdout
    with qn.open_connector("cassette::stars.cassette", folder=tmp_path) as replay:
        (found,) = replay.discover()
        assert (found.location, found.version) == ("south", "v1")
        assert rows(replay, found) == [{"star": "Sirius", "magnitude": -1.46}, {"star": "Canopus", "magnitude": -0.74}]


def test_damaged_cassette_is_a_typed_error(tmp_path: Path) -> None:
    file = tmp_path / "bad.cassette"
    for content, message in (
        (b"", "no cassette"),
        (b"PAR1", "no cassette"),
        (b"qanat cassette 2\n", "no cassette"),
        (b"qanat cassette 1\n" + bytes(32), "the record at byte 17 is damaged"),
    ):
        file.write_bytes(content)
        with pytest.raises(qn.DataError, match=message):
            qn.open_connector(f"cassette::{file}")
    with pytest.raises(qn.ConfigurationError, match="No such file"):
        qn.open_connector(f"cassette::{tmp_path}/none")
