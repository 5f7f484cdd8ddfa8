"""`qanat connector new`: a connector to begin with, its test, and what to do with both."""

from __future__ import annotations

import keyword
import re
from pathlib import Path
from string import Template

from qanat.errors import ConfigurationError, FileError

CONNECTOR = '''"""The connector $name: replace what discover() and data() return by what you have."""

from collections.abc import Iterator
from decimal import Decimal
from typing import Any

from qanat_sdk import Connector, Location, serve


class $class_name(Connector):
    """Tables of $name, one a year."""

    def schema(self) -> dict[str, str]:
        return {"id": "Int64!", "name": "Utf8", "amount": "Decimal(10,2)"}

    def discover(self, attached_locations: list[str], first_year: str = "2024") -> list[Location]:
        # A version changes when the data does: then it is fetched again.
        return [Location(str(year), version="v1") for year in range(int(first_year), int(first_year) + 2)]

    def data(self, location: Location, first_year: str = "2024") -> Iterator[dict[str, Any]]:
        # An iterator is sent as it comes, and is never held whole.
        for number in range(3):
            yield {"id": number, "name": f"row {number} of {location.location}", "amount": Decimal("19.90")}


if __name__ == "__main__":
    serve($class_name())
'''

TEST = '''"""Run it with: python -m pytest"""

from pathlib import Path

import pytest
import qanat as qn

FOLDER = Path(__file__).parent
MODES = ["python::$name:$class_name", "ipc::$name.py"]


@pytest.mark.parametrize("uri", MODES)
def test_locations(uri):
    with qn.open_connector(uri, {"first_year": 2020}, folder=FOLDER, allow_external_code=True) as connector:
        assert [location.location for location in connector.discover()] == ["2020", "2021"]


@pytest.mark.parametrize("uri", MODES)
def test_data(uri):
    with qn.open_connector(uri, folder=FOLDER, allow_external_code=True) as connector:
        frame = connector.data("2024").to_polars()
    assert frame.columns == ["id", "name", "amount"]
    assert frame["name"].to_list() == ["row 0 of 2024", "row 1 of 2024", "row 2 of 2024"]
'''

README = """# $name

A connector for qanat and other hosts of the same protocol.

    pip install . ./sdk/python pytest             # in a clone of qanat
    python -m pytest                              # its own test
    qanat connector test $name:$class_name        # everything that a host may ask of it
    qanat connector test ipc::$name.py --record $name.cassette

The cassette replays the connector without its source: `qn.open_connector("cassette::$name.cassette")`.
"""


def names_of(given: str) -> tuple[str, str]:
    """The names of the module and of the class."""
    name = re.sub(r"[-. ]", "_", given).lower()
    if not re.fullmatch(r"[a-z][a-z0-9_]*", name) or keyword.iskeyword(name):
        raise ConfigurationError(
            f'"{given}" cannot be the name of a module', hint="letters, digits and _, a letter first: my_source"
        )
    return name, "".join(part.capitalize() for part in name.split("_"))


def create(given: str, parent: Path) -> Path:
    """Write the files into a new folder and return it. What is there already is left alone."""
    name, class_name = names_of(given)
    folder = parent / name
    files = {f"{name}.py": CONNECTOR, f"test_{name}.py": TEST, "README.md": README}
    try:
        folder.mkdir(parents=True)
        for file, text in files.items():
            (folder / file).write_text(Template(text).substitute(name=name, class_name=class_name), encoding="utf-8")
    except FileExistsError:
        raise ConfigurationError(f"{folder} is there already", hint="choose another name, or remove it") from None
    except OSError as error:
        raise FileError(f"{folder} cannot be written: {error.strerror}") from None
    return folder
