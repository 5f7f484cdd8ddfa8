"""What calls of a bundle return: small frozen objects, made of the library's JSON documents.

Members that a document has and that are not known here are left out, so that a newer library can say more.
"""

from __future__ import annotations

import datetime
import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field, fields
from typing import Any, SupportsIndex, TypeVar, overload

from qanat.bundle import _tables

_T = TypeVar("_T")
_EPOCH = datetime.datetime(1970, 1, 1, tzinfo=datetime.UTC)


@dataclass(frozen=True)
class FailedLocation:
    """A location that a fetch has set aside: `location, error = failed`."""

    location: str
    error: str
    retryable: bool = False
    detail: str | None = None
    """The last lines of standard error of the connector's process, or of its traceback, where there are any."""

    def __iter__(self) -> Iterator[str]:
        return iter((self.location, self.error))


@dataclass(frozen=True)
class FetchResult:
    """What a fetch did with one source; in a dry run, what it would have done."""

    connector: str
    source_id: str
    pack: str
    added: list[str] = field(default_factory=list)
    """Locations, as are `replaced` and `removed`."""
    replaced: list[str] = field(default_factory=list)
    removed: list[str] = field(default_factory=list)
    failed: list[FailedLocation] = field(default_factory=list)
    rows: int = 0
    bytes: int = 0
    """Of the files with the rows."""
    seconds: float = 0.0
    dry_run: bool = False
    rows_after: int | None = None
    """Rows of the pack afterwards; None where nobody knows."""
    vanished: list[str] = field(default_factory=list)
    """Locations that were on the retry list, are reported no more, and so are off it."""

    def total_count(self) -> int:
        """How many locations changed."""
        return len(self.added) + len(self.replaced) + len(self.removed)

    def is_empty(self) -> bool:
        """Whether no location changed."""
        return self.total_count() == 0


class FetchResults(list[FetchResult]):
    """One result a source, in a list that has the sums of them all, too."""

    @property
    def added(self) -> list[str]:
        return [location for result in self for location in result.added]

    @property
    def replaced(self) -> list[str]:
        return [location for result in self for location in result.replaced]

    @property
    def removed(self) -> list[str]:
        return [location for result in self for location in result.removed]

    @property
    def failed(self) -> list[FailedLocation]:
        return [failure for result in self for failure in result.failed]

    @property
    def vanished(self) -> list[str]:
        return [location for result in self for location in result.vanished]

    @property
    def rows(self) -> int:
        return sum(result.rows for result in self)

    @property
    def bytes(self) -> int:
        return sum(result.bytes for result in self)

    @property
    def seconds(self) -> float:
        return sum(result.seconds for result in self)

    @property
    def dry_run(self) -> bool:
        return any(result.dry_run for result in self)

    @property
    def rows_after(self) -> int | None:
        """Rows of the packs afterwards; None where nobody knows, or where there was no source."""
        packs = {result.pack: result.rows_after for result in self}
        known = [rows for rows in packs.values() if rows is not None]
        return sum(known) if known and len(known) == len(packs) else None

    @property
    def connector(self) -> str | None:
        """The connector of all sources; None where they differ."""
        return _the_one(result.connector for result in self)

    @property
    def source_id(self) -> str | None:
        return _the_one(result.source_id for result in self)

    @property
    def pack(self) -> str | None:
        return _the_one(result.pack for result in self)

    def total_count(self) -> int:
        """How many locations changed."""
        return sum(result.total_count() for result in self)

    def is_empty(self) -> bool:
        """Whether no location changed."""
        return self.total_count() == 0

    def __repr__(self) -> str:
        return f"FetchResults({list.__repr__(self)})"


@dataclass(frozen=True)
class FetchProgress:
    """How a fetch stands: given to a `progress` callback about ten times a second and at the end."""

    source: str
    """The connector that is being asked."""
    locations: int
    """Done, those set aside included."""
    locations_total: int
    """Known so far."""
    rows: int
    bytes: int
    """Of the rows, as Arrow."""
    seconds: float


@dataclass(frozen=True)
class Commit:
    """An entry of the history."""

    version: int
    hash: str
    previous: str
    timestamp: datetime.datetime
    message: str
    changes: list[dict[str, Any]] = field(default_factory=list, repr=False)


class History(list[Commit]):
    """Commits, newest last. As a text, a table of the newest."""

    @overload
    def __getitem__(self, index: SupportsIndex) -> Commit: ...
    @overload
    def __getitem__(self, index: slice) -> History: ...
    def __getitem__(self, index: SupportsIndex | slice) -> Commit | History:
        return History(super().__getitem__(index)) if isinstance(index, slice) else super().__getitem__(index)

    def __repr__(self) -> str:
        return _tables.history(list(self))


@dataclass(frozen=True)
class Operation:
    """A call that changed something and is not committed yet."""

    operation: str
    changes: list[dict[str, Any]] = field(default_factory=list, repr=False)


@dataclass(frozen=True, repr=False)
class Status:
    """What is pending on top of `version`. As a text, a table of the changes."""

    version: int
    operations: list[Operation] = field(default_factory=list)

    @property
    def changes(self) -> list[dict[str, Any]]:
        return [change for operation in self.operations for change in operation.changes]

    def is_empty(self) -> bool:
        """Whether there is nothing to commit."""
        return not self.operations

    def __repr__(self) -> str:
        return _tables.status(self.version, self.operations)


@dataclass(frozen=True)
class Problem:
    """Something that `verify` found wrong."""

    object: str
    expected: str
    found: str
    version: int | None = None
    """The commit that is to blame, where one is."""


@dataclass(frozen=True)
class Block:
    """A location of a pack and the file that has its rows: `path`, or `url` where it is only referenced.

    `origin` is the stable URL that the connector gave for what was copied, where it did.
    """

    location: str
    version: str
    source: str
    format: str
    sha256: str
    rows: int | None
    bytes: int | None
    commit: int | None
    """The version that it came with; None while it is pending."""
    path: str | None = None
    url: str | None = None
    origin: str | None = None


@dataclass(frozen=True)
class Failure:
    """A location on the retry list."""

    source: str
    pack: str
    location: str
    version: str
    error: str
    attempts: int
    first: datetime.datetime
    last: datetime.datetime


@dataclass(frozen=True)
class Collected:
    """What `gc` removed."""

    removed: int
    bytes: int
    temporary: int


@dataclass(frozen=True)
class Pack:
    name: str
    blocks: int
    rows: int | None
    bytes: int | None


@dataclass(frozen=True)
class Description:
    """What a bundle consists of. What may have secrets in it is there, but not in the text of the object."""

    packs: list[Pack]
    connectors: list[dict[str, Any]]
    sources: list[dict[str, Any]] = field(repr=False)
    config: dict[str, Any] = field(repr=False)
    checkpoints: dict[str, Any]
    failures: list[Failure]


def _the_one(values: Iterable[str]) -> str | None:
    found = set(values)
    return found.pop() if len(found) == 1 else None


def _made(kind: type[_T], document: Mapping[str, Any], **changed: Any) -> _T:
    known = {f.name for f in fields(kind)}  # type: ignore[arg-type]
    return kind(**({name: value for name, value in document.items() if name in known} | changed))


def _count(value: int | None) -> int | None:
    """A number that may be unknown, which the library writes as -1 or null."""
    return None if value is None or value < 0 else value


def time_of(microseconds: int) -> datetime.datetime:
    return _EPOCH + datetime.timedelta(microseconds=microseconds)


def fetch_results(text: str) -> FetchResults:
    made = []
    for document in json.loads(text):
        failed = [_made(FailedLocation, failure) for failure in document.get("failed", [])]
        made.append(_made(FetchResult, document, failed=failed, rows_after=_count(document.get("rows_after"))))
    return FetchResults(made)


def history(text: str) -> History:
    return History(_made(Commit, entry, timestamp=time_of(entry["timestamp"])) for entry in json.loads(text))


def status(text: str) -> Status:
    document = json.loads(text)
    return Status(document["version"], [_made(Operation, operation) for operation in document["operations"]])


def problems(text: str) -> list[Problem]:
    return [_made(Problem, entry, version=_count(entry.get("version"))) for entry in json.loads(text)]


def blocks(text: str) -> list[Block]:
    return [
        _made(Block, entry, **{name: _count(entry.get(name)) for name in ("rows", "bytes", "commit")})
        for entry in json.loads(text)
    ]


def failures(documents: Iterable[Mapping[str, Any]]) -> list[Failure]:
    return [_made(Failure, one, first=time_of(one["first"]), last=time_of(one["last"])) for one in documents]


def collected(text: str) -> Collected:
    return _made(Collected, json.loads(text))


def description(text: str) -> Description:
    document = json.loads(text)
    packs = [_made(Pack, p, rows=_count(p.get("rows")), bytes=_count(p.get("bytes"))) for p in document["packs"]]
    return _made(Description, document, packs=packs, failures=failures(document["failures"]))
