"""Schemas: `{"id": "Int64!"}` in the order of its fields, or the name of a file schemas/NAME.toml that has them.

    [fields]
    id = "Int64!"
    carrier = "Utf8"

What the type texts mean is the library's to know; here the file is read and the shape is checked.
"""

from __future__ import annotations

import re
import tomllib
from collections.abc import Mapping
from pathlib import Path

from qanat.errors import ConfigurationError

Fields = list[dict[str, str]]
"""As the library's plans have a schema: `[{"name": "id", "type": "Int64!"}]`."""

FOLDER = "schemas"
_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]*\Z")
_ZONE = re.compile(r"Timestamp\[\s*\w+\s*,\s*([A-Za-z][\w+/-]*)\s*\]")
_MAX_FILE_BYTES = 1 << 20


def schema_fields(schema: object, what: str, folder: Path) -> Fields:
    """The fields of a schema that is a dict, or the name of a file in `folder`/schemas. `what` names it in errors."""
    if isinstance(schema, str):
        return _checked(read_schema(schema, what, folder), what)
    if not isinstance(schema, Mapping):
        raise TypeError(
            f"{what} must be a dict of names and types, or the name of a schema, not {type(schema).__name__}"
        )
    return _checked(schema, what)


def read_schema(name: str, what: str, folder: Path) -> Mapping[object, object]:
    """The fields in `folder`/schemas/NAME.toml as they are written there."""
    if not _NAME.match(name):
        raise ConfigurationError(f"{what} is {name!r}, which is no name of a schema; write a table of names and types")
    file = folder / FOLDER / f"{name}.toml"
    try:
        with file.open("rb") as stream:
            data = stream.read(_MAX_FILE_BYTES + 1)
    except FileNotFoundError:
        there = ", ".join(schema_names(folder)) or "none"
        raise ConfigurationError(
            f"{what} is the schema {name!r}, but there is no file {str(file)!r} (there are: {there})"
        ) from None
    except OSError as error:
        raise ConfigurationError(f"{what}: cannot read {str(file)!r}: {error.strerror}") from None
    if len(data) > _MAX_FILE_BYTES:
        raise ConfigurationError(f"{what}: {str(file)!r} is no schema (TOML, at most 1 MiB)")
    try:
        table = tomllib.loads(data.decode("utf-8").replace("\r\n", "\n"))
    except RecursionError:
        raise ConfigurationError(f"{what}: {str(file)!r} is nested too deeply") from None
    except ValueError as error:  # TOMLDecodeError and UnicodeDecodeError are ones
        raise ConfigurationError(f"{what}: {str(file)!r} is not valid TOML: {error}") from None
    fields = table.get("fields")
    if set(table) != {"fields"} or not isinstance(fields, dict):
        raise ConfigurationError(f"{what}: {str(file)!r} must hold one table [fields], with names and types")
    return fields


def schema_names(folder: Path) -> list[str]:
    """The schemas in `folder`/schemas."""
    return sorted(file.stem for file in (folder / FOLDER).glob("*.toml"))


def _checked(schema: Mapping[object, object], what: str) -> Fields:
    fields: Fields = []
    for name, kind in schema.items():
        if not isinstance(name, str):
            raise TypeError(f"{what} has the field {name!r}; names of fields are texts")
        if not isinstance(kind, str):
            raise TypeError(f'{what}: the type of "{name}" must be a text like "Int64", not {type(kind).__name__}')
        for zone in _ZONE.findall(kind):
            _check_zone(zone, f'{what}: the type of "{name}"')
        fields.append({"name": name, "type": kind})
    return fields


def _check_zone(zone: str, what: str) -> None:
    """A zone that is not known would be found out by who reads the rows. Where the machine has no zones all pass."""
    import difflib
    import zoneinfo

    if zone.upper() in ("UTC", "Z"):
        return
    try:
        zoneinfo.ZoneInfo(zone)
    except (zoneinfo.ZoneInfoNotFoundError, ValueError, OSError):
        there = zoneinfo.available_timezones()
        if there:
            near = difflib.get_close_matches(zone, there, 1)
            way_out = f"; did you mean {near[0]!r}?" if near else ""
            raise ConfigurationError(f"{what}: there is no time zone {zone!r}{way_out}") from None
