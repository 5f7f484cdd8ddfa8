"""A connector in the process of its host: a Session without a wire.

For hosts, not for authors. Arguments are checked, and what the methods return is judged and converted, as for a
connector in a process of its own, so that the same class does the same in both. Record batches are passed on where they
lie.
Threads: one call at a time per Direct; batches of several streams may be taken in turn.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from qanat_sdk.call import Method, ParameterError, describe
from qanat_sdk.connector import Host, Location, StableUrl
from qanat_sdk.data import Stream, stream_of
from qanat_sdk.locations import check_text, told_location
from qanat_sdk.session import CAPABILITIES, _DataRequest
from qanat_sdk.types import schema_of

__all__ = ["Data", "Direct", "ParameterError"]

_METHODS = ("discover", "data")


class Data:
    """The data of a location: a schema and an iterator of batches. `applied` names what was done of what was asked."""

    def __init__(self, stream: Stream, request: _DataRequest) -> None:
        self.schema = request.schema(stream.schema)
        self.applied = list(request.applied)
        self._stream = stream
        self._batches = request.batches(stream.batches())

    def __iter__(self) -> Iterator[Any]:
        return self._batches

    def close(self) -> None:
        """End the connector's iterator, where it made one: its `finally` blocks run."""
        self._stream.close()


class Direct:
    """A connector that is called directly. `arguments` go to every method, as keyword arguments."""

    def __init__(self, connector: Any, arguments: Mapping[str, Any] | None = None, host: Host | None = None) -> None:
        for name in _METHODS:
            if not callable(getattr(connector, name, None)):
                raise TypeError(f"{type(connector).__name__} is no connector: it has no method {name}()")
        declared = tuple(getattr(connector, "capabilities", ()))
        unknown = [name for name in declared if name not in CAPABILITIES]
        if unknown:
            raise ValueError(f"capability {unknown[0]!r} is not known; known are {', '.join(CAPABILITIES)}")
        self.capabilities = frozenset(declared)
        self._connector = connector
        self._arguments = dict(arguments or {})
        if host is not None:
            connector._qanat_host = host

    def discover(self, attached: Sequence[str] = ()) -> Iterator[dict[str, Any]]:
        """The members of each location, as they come. The call itself is made at once."""
        found = Method(self._connector.discover)(list(attached), self._arguments)
        if isinstance(found, (str, bytes, Mapping)) or not hasattr(found, "__iter__"):
            raise TypeError(f"discover() returns a list of Location, not {type(found).__name__}")
        return (told_location(_own(location)) for location in found)

    def data(
        self,
        location: Location,
        columns: list[str] | None = None,
        filter: list[Any] | None = None,  # noqa: A002 - the word of the protocol
        limit: int | None = None,
        skip_rows: int = 0,
    ) -> Data | None:
        """The data of a location; None where there is none."""
        asked: dict[str, Any] = {"_columns": columns, "_filter": filter, "_limit": limit, "_skip_rows": skip_rows}
        request = _DataRequest(asked)
        method = Method(self._connector.data)
        request.plan(method, self.capabilities)
        data = method(location, self._arguments, request.reserved)
        stream = stream_of(data, lambda: self._schema(location))
        if stream is None:
            return None
        try:
            return Data(stream, request)
        except BaseException:
            stream.close()
            raise

    def stable_url(self, location: Location) -> str | None:
        """The stable URL of a location, or None."""
        method = getattr(self._connector, "stable_url", None)
        found = None if method is None else Method(method)(location, self._arguments)
        if found is None:
            return None
        url = getattr(found, "url", None)
        if not isinstance(url, str):
            raise TypeError(f"stable_url() returns a {StableUrl.__name__} or None, not {found!r}")
        check_text(url, "StableUrl.url")
        return url

    def describe(self) -> dict[str, Any]:
        """Name, arguments as JSON Schema, and capabilities."""
        return describe(self._connector, self.capabilities)

    def _schema(self, location: Location) -> Any:
        method = getattr(self._connector, "schema", None)
        if method is None:
            return None
        call = Method(method)
        return schema_of(call(location, {name: value for name, value in self._arguments.items() if call.takes(name)}))


def _own(location: Any) -> Any:
    """A location of another SDK's class, which has the same members, as one of ours."""
    if isinstance(location, Location) or not hasattr(location, "location"):
        return location
    names = ("location", "must_copy", "format", "version", "num_rows")
    return Location(**{name: getattr(location, name) for name in names if hasattr(location, name)})
