"""Locations on the wire: read out of requests, told in replies, whole or page by page."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Mapping
from typing import Any

from qanat_sdk.call import ParameterError
from qanat_sdk.connector import Location

MAX_NAME = 64 << 10
PAGE = 4096  # locations of a page
PAGE_SIZE = 1 << 20  # characters of a page, about: a line has a limit, and so has a host's patience
_PATIENCE = 1.0  # seconds that a location waits for others of its page
_LISTEN_EVERY = 1024  # locations between two looks at what the host says


def check_text(text: str, what: str) -> None:
    """That a text which means something can be told as it is."""
    if "\0" in text or not _is_unicode(text):
        raise ValueError(
            f"{what} has a character that no host can hold (a NUL or half of a surrogate pair): {text[:60]!a}"
        )


def _is_unicode(text: str) -> bool:
    try:
        text.encode("utf-8")
    except UnicodeEncodeError:
        return False
    return True


def count_of(params: Mapping[str, Any], name: str) -> int | None:
    value = params.get(name)
    if value is not None and (isinstance(value, bool) or not isinstance(value, int) or value < 0):
        raise ParameterError(f'"{name}" is a number of rows, not {value!r}')
    return value


def location_of(params: Mapping[str, Any]) -> Location:
    """The location of a request; what is missing has its default."""
    given = params.get("location")
    if not isinstance(given, Mapping):
        raise ParameterError('"location" is an object with a member "location"')
    name = given.get("location")
    must_copy = given.get("must_copy", True)
    form = given.get("format", "parquet")
    version = given.get("version", "")
    if not isinstance(name, str):
        raise ParameterError('"location.location" is a text')
    if not isinstance(must_copy, bool):
        raise ParameterError('"location.must_copy" is true or false')
    if not isinstance(form, str) or not isinstance(version, str):
        raise ParameterError('"location.format" and "location.version" are texts')
    return Location(name, must_copy, form, version, count_of(given, "num_rows"))


def told_location(location: Any) -> dict[str, Any]:
    """A location that discover() returned, as the wire has it."""
    if not isinstance(location, Location):
        raise TypeError(f"discover() returns a list of Location, this one has a {type(location).__name__}")
    name = location.location
    if not isinstance(name, str):
        raise TypeError(f"Location.location is a text, not {name!r}")
    check_text(name, "Location.location")
    if len(name.encode("utf-8")) > MAX_NAME:
        raise ValueError(f"Location.location has more than {MAX_NAME} bytes: {name[:60]}...")
    for field, kind in (("must_copy", bool), ("format", str), ("version", str)):
        value = getattr(location, field)
        if not isinstance(value, kind):
            raise TypeError(f'location "{name}": {field} is a {kind.__name__}, not {value!r}')
        if isinstance(value, str):
            check_text(value, f'location "{name}": {field}')
    rows = location.num_rows
    if rows is not None and (isinstance(rows, bool) or not isinstance(rows, int) or rows < 0):
        raise TypeError(f'location "{name}": num_rows is a number or None, not {rows!r}')
    return {
        "location": name,
        "must_copy": location.must_copy,
        "format": location.format,
        "version": location.version,
        "num_rows": rows,
    }


class Pages:
    """Locations that are told a page at a time, as they come: their number is not bounded by what memory holds."""

    def __init__(self, locations: Iterable[Any], first: int, listen: Callable[[], None]) -> None:
        self._locations = iter(locations)
        self._listen = listen
        self._number = first
        self.next: str | None = None  # the name of the page that comes next; None after the last

    def page(self) -> dict[str, Any]:
        """The next page, as the result of a reply. What the connector raises ends the pages."""
        self._number += 1
        self.next = None
        page: list[dict[str, Any]] = []
        size = 0
        begin = time.monotonic()
        for location in self._locations:
            told = told_location(location)
            page.append(told)
            size += len(told["location"]) + len(told["version"]) + len(told["format"])
            if len(page) % _LISTEN_EVERY == 0:
                self._listen()
            if len(page) >= PAGE or size >= PAGE_SIZE or time.monotonic() - begin > _PATIENCE:
                self.next = str(self._number)
                return {"locations": page, "next": self.next}
        return {"locations": page}

    @property
    def number(self) -> int:
        """How many pages there have been."""
        return self._number

    def close(self) -> None:
        """Close the connector's generator, where it is one."""
        self.next = None
        close = getattr(self._locations, "close", None)
        if close is not None:
            close()


def whole(locations: Iterable[Any], listen: Callable[[], None], limit: int) -> dict[str, Any]:
    """All locations at once, as the result of a reply of at most `limit` bytes."""
    found: list[dict[str, Any]] = []
    size = 0
    for location in locations:
        told = told_location(location)
        found.append(told)
        size += len(told["location"]) + len(told["version"]) + len(told["format"])
        if len(found) % _LISTEN_EVERY == 0:
            listen()
        if size > limit:
            raise ValueError(
                f"{len(found)} locations take more than the {limit} bytes of a line; "
                "a host that speaks version 2 gets them in pages"
            )
    return {"locations": found}
