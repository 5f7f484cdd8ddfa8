"""planets.py: a connector with the SDK. A host runs it as `ipc::planets.py`, or as a class in its own process."""

from __future__ import annotations

import os
from collections.abc import Iterator
from typing import Any

from qanat_sdk import Connector, Location, serve

MOONS = {"inner": [("Earth", 1), ("Mars", 2)], "outer": [("Jupiter", 95), ("Saturn", 146), ("Uranus", 28)]}


class Planets(Connector):
    def schema(self) -> dict[str, str]:
        return {"name": "Utf8", "moons": "Int32"}

    def discover(self, attached_locations: list[str], system: str = "solar", **kwargs: Any) -> list[Location]:
        known = [Location(name, version="v1", num_rows=len(rows)) for name, rows in MOONS.items()]
        return [*known, Location("comets"), Location("black hole")]

    def data(self, location: Location, system: str = "solar", **kwargs: Any) -> Iterator[dict[str, Any]] | None:
        if location.location == "comets":
            return None  # there is no data
        if location.location == "black hole":
            os._exit(3)  # a crash harms nothing but this location
        self.log(f"{location.location} planets of the {system} system")
        return ({"name": name, "moons": moons} for name, moons in MOONS[location.location])


if __name__ == "__main__":
    serve(Planets())
