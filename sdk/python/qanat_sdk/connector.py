"""What an author of a connector uses: Connector, Location, StableUrl."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from qanat_sdk.errors import CancelledError, complain

LEVELS = ("debug", "info", "warning", "error")


@dataclass
class Location:
    """One piece of data that a connector has.

    location   its identifier, any text
    must_copy  whether the data has to be copied; otherwise a reference may do
    format     of the file behind it, where there is one
    version    changes when the data changes; "" is unknown
    num_rows   None is unknown
    """

    location: str
    must_copy: bool = True
    format: str = "parquet"
    version: str = ""
    num_rows: int | None = None


@dataclass
class StableUrl:
    """A URL under which the data of a location can be had without the connector."""

    url: str


class Host(Protocol):
    """What a connector may say to its host, and ask it, while it works."""

    def log(self, level: str, message: str) -> None: ...

    def progress(self, rows: int, total: int | None, text: str) -> None: ...

    def cancelled(self) -> bool: ...


class Connector(ABC):
    """Subclass it; implement discover() and data(). The same class runs in a process of its own and inside the host's.

    Class attributes that a connector may set, for hosts that speak version 2 of the protocol:

    capabilities  which of these data() does itself, told by the keyword arguments that it then gets:
                  "projection" (`_columns`, a list of names), "filter" (`_filter`, an expression: see the protocol),
                  "limit" (`_limit`, a number of rows). "stable_order" promises that the rows of an unchanged
                  location come in the same order each time, so that an interrupted fetch can go on in the middle.
    arguments     a JSON Schema of the extra arguments, in place of the one made from the methods' parameters.
    """

    capabilities: Sequence[str] = ()
    arguments: Mapping[str, Any] | None = None

    _qanat_host: Host | None = None  # set by whoever runs the connector

    @abstractmethod
    def discover(self, attached_locations: list[str], **kwargs: Any) -> Any:
        """The locations that there are: a list of Location, or a generator of them, which is told as it comes and never
        held whole. `attached_locations` are those that the host has."""

    @abstractmethod
    def data(self, location: Location, **kwargs: Any) -> Any:
        """The data of a location.

        A pyarrow Table or RecordBatch, a list or an iterator of RecordBatches, any object with `__arrow_c_stream__`, or
        None: no data. With schema() also a list or an iterator of dicts (rows), or a dict of lists (columns). Iterators
        are sent as they come and are never held whole.
        """

    def stable_url(self, location: Location, **kwargs: Any) -> StableUrl | None:
        """The stable URL of a location, where it has one."""
        return None

    def schema(self) -> Any:
        """Names and type strings of the columns, `{"id": "Int64", "name": "Utf8"}`, or a pyarrow Schema. Needed by
        connectors that return dicts. May be defined as schema(self, location, **kwargs) where locations differ."""
        return None

    # ---- to be called by the connector ----

    def log(self, message: str, level: str = "info") -> None:
        """Tell the host something: a line in its log, or on standard error where the host knows no better."""
        if level not in LEVELS:
            raise ValueError(f"level {level!r} is not known; known are {', '.join(LEVELS)}")
        if self._qanat_host is None:
            complain(f"{level}: {message}")
        else:
            self._qanat_host.log(level, str(message))

    def progress(self, rows: int, total: int | None = None, text: str = "") -> None:
        """Tell the host how far the work is. Lost where the host does not ask for it (version 1)."""
        if self._qanat_host is not None:
            self._qanat_host.progress(rows, total, text)

    def cancelled(self) -> bool:
        """If the host wants the present request no more. Worth asking in a long wait: iterators are ended anyway."""
        return self._qanat_host is not None and self._qanat_host.cancelled()

    def check_cancelled(self) -> None:
        """Raise CancelledError where cancelled()."""
        if self.cancelled():
            raise CancelledError
