"""What stands beside the flights in the archive, as a connector: airlines, airports, planes and the weather.

A location is a CSV file of the archive; its version is the time that the archive has for it. `archive` is the path of
the archive, `table` chooses one of the files: without it all of them are there.
"""

from __future__ import annotations

import io
import tarfile
from pathlib import PurePosixPath

import pyarrow as pa
from pyarrow import csv

from qanat_sdk import Connector, Location, serve


class Beside(Connector):
    def discover(self, attached_locations: list[str], **kwargs: str) -> list[Location]:
        wanted = f"data/{kwargs.get('table', '*')}.csv"
        with tarfile.open(kwargs["archive"]) as files:
            found = [member for member in files if PurePosixPath(member.name).match(wanted)]
        return [Location(PurePosixPath(one.name).name, format="csv", version=str(one.mtime)) for one in found]

    def data(self, location: Location, **kwargs: str) -> pa.Table:
        with tarfile.open(kwargs["archive"]) as files:
            member = next(one for one in files if one.name.endswith(f"/{location.location}"))
            file = files.extractfile(member)
            assert file is not None
            convert = csv.ConvertOptions(null_values=["NA", ""], strings_can_be_null=True)
            return csv.read_csv(io.BytesIO(file.read()), convert_options=convert)


if __name__ == "__main__":
    serve(Beside())
