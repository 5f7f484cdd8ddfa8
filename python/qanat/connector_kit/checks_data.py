"""Checks of what the connector delivers: locations, data, schemas, stable URLs, arguments."""

from __future__ import annotations

import base64
import binascii
from collections import Counter
from typing import Any

import pyarrow as pa

from qanat.connector_kit.kit import Check, Skipped, Warned
from qanat.connector_kit.subject import Sample, Subject
from qanat.connector_kit.talk import Fault, ReplyFault

_UNKNOWN = "qanat_connector_test"  # an argument that no connector has


def _counted(number: int, noun: str) -> str:
    return f"{number:,} {noun}" if number == 1 else f"{number:,} {noun}s"


def _short(names: list[str]) -> str:
    shown = ", ".join(repr(name[:40]) for name in names[:3])
    return shown if len(names) <= 3 else f"{shown} and {len(names) - 3} more"


def _name(location: dict[str, Any]) -> str:
    return f'location "{location["location"][:60]}"'


# ---- discover -------------------------------------------------------------------------------------------------------


def discover(subject: Subject) -> str:
    subject.locations = subject.discover([])
    if not subject.locations:
        raise Warned("it has no locations: what follows has nothing to look at")
    return f"{_counted(len(subject.locations), 'location')}: {_short([x['location'] for x in subject.locations])}"


def unique(subject: Subject) -> str:
    counts = Counter(location["location"] for location in subject.locations)
    twice = [name for name, count in counts.items() if count > 1]
    if twice:
        raise Fault(f"more than once: {_short(twice)}")
    return "no name comes twice"


def stable(subject: Subject) -> str:
    again = subject.discover([])
    before = {location["location"]: location for location in subject.locations}
    after = {location["location"]: location for location in again}
    if before.keys() != after.keys():
        gone = sorted(before.keys() ^ after.keys())
        raise Fault(f"the second time other locations: {_short(gone)} came or went")
    for name, location in before.items():
        for field, value in location.items():
            if after[name][field] != value:
                raise Fault(f"{_name(location)}: {field} was {value!r}, then {after[name][field]!r}")
    return "twice the same"


def attached(subject: Subject) -> str:
    names = [location["location"] for location in subject.locations]
    found = subject.discover(names)
    return f"all of them given, {_counted(len(found), 'location')} told"


# ---- data -----------------------------------------------------------------------------------------------------------


def answers(subject: Subject) -> str:
    total = Sample(None)
    faults = []
    for location in subject.chosen():
        try:
            sample = subject.read(location)
            _check_names(sample)
        except Fault as fault:
            faults.append(f"{_name(location)}: {fault}")
            subject.drop()  # nobody knows what the process will say next
            continue
        subject.samples[location["location"]] = sample
        total.rows += sample.rows
        total.batches += sample.batches
        total.size += sample.size
        total.seconds += sample.seconds
    if not subject.chosen():
        raise Skipped("there are no locations")
    if faults:
        good = len(subject.chosen()) - len(faults)
        raise Fault("; ".join(faults) + (f"; {_counted(good, 'other location')} can be read" if good else ""))
    read, rows = _counted(len(subject.chosen()), "location"), _counted(total.rows, "row")
    batches = "1 batch" if total.batches == 1 else f"{total.batches:,} batches"
    return f"{read} read: {rows} in {batches}, {total.size / 1e6:.1f} MB, {total.seconds:.2f} s"


def _check_names(sample: Sample) -> None:
    names = [] if sample.table is None else sample.table.schema.names
    if len(set(names)) != len(names):
        raise Fault(f"two columns have the same name: {', '.join(names)}")


def num_rows(subject: Subject) -> str:
    told = [location for location in subject.chosen() if location["num_rows"] is not None]
    if not told:
        raise Skipped("no location says how many rows it has")
    for location in told:
        rows = subject.samples[location["location"]].rows
        if rows != location["num_rows"]:
            raise Fault(f"{_name(location)} says {location['num_rows']:,} rows and has {rows:,}")
    return f"right for {_counted(len(told), 'location')}"


def _row_texts(table: Any) -> list[str]:
    return [repr(row) for row in table.to_pylist()]


def _compare(before: Sample, after: Sample) -> str:
    """ "same", "order", or what differs."""
    if (before.table is None) != (after.table is None):
        return "there was data, and then none" if after.table is None else "there was no data, and then some"
    if before.table is None:
        return "same"
    if not before.table.schema.equals(after.table.schema):
        return f"the columns were {before.table.schema.names}, then {after.table.schema.names}, or their types differ"
    if before.rows != after.rows:
        return f"{before.rows:,} rows, then {after.rows:,}"
    if before.table.equals(after.table):
        return "same"
    one, other = _row_texts(before.table), _row_texts(after.table)
    if one == other:  # NaN is no value that equals itself
        return "same"
    if before.rows > before.table.num_rows or sorted(one) == sorted(other):
        return "order"
    row = next(number for number, pair in enumerate(zip(one, other, strict=True)) if pair[0] != pair[1])
    return f"row {row} was {one[row][:80]}, then {other[row][:80]}"


def repeatable(subject: Subject) -> str:
    for location in subject.chosen():
        difference = _compare(subject.samples[location["location"]], subject.read(location))
        if difference not in ("same", "order"):
            raise Fault(f"{_name(location)}: {difference}")
    return "read twice, the same rows"


def order(subject: Subject) -> str:
    if "stable_order" not in subject.capabilities:
        raise Skipped("it does not promise an order (capability stable_order)")
    for location in subject.with_data():
        for _ in range(2):
            if _compare(subject.samples[location["location"]], subject.read(location)) == "order":
                raise Fault(f"{_name(location)}: the rows came in another order")
    return "the same order each time"


def columns(subject: Subject) -> str:
    wide = [x for x in subject.with_data() if subject.samples[x["location"]].table.num_columns]
    if not wide:
        raise Skipped("no location has columns")
    for location in wide:
        before = subject.samples[location["location"]]
        name = before.table.schema.names[-1]
        after = subject.read(location, _columns=[name])
        if after.table is None or name not in after.table.schema.names:
            raise Fault(f"{_name(location)}: column {name!r} was asked for and has not come")
        if "projection" in after.applied and after.table.schema.names != [name]:
            raise Fault(f"{_name(location)}: it says that it applied the projection; {after.table.schema.names} came")
        one = Sample(before.table.select([name]), before.rows)
        two = Sample(after.table.select([name]), after.rows)
        difference = _compare(one, two)
        if difference not in ("same", "order"):
            raise Fault(f"{_name(location)}: with column {name!r} alone, {difference}")
    return "with one column asked for, the same values"


def _asked_2(subject: Subject, capability: str) -> list[dict[str, Any]]:
    if subject.command is not None and subject.version == 1:
        raise Skipped("version 1 does not ask for it")
    if subject.command is not None and capability not in subject.capabilities:
        raise Skipped(f"it does not offer it (capability {capability})")
    found = [x for x in subject.with_data() if subject.samples[x["location"]].rows]
    if not found:
        raise Skipped("no location has rows")
    return found


def limit(subject: Subject) -> str:
    for location in _asked_2(subject, "limit"):
        rows = subject.samples[location["location"]].rows
        wanted = max(1, rows // 2)
        after = subject.read(location, _limit=wanted)
        done = subject.command is None or "limit" in after.applied
        if (after.rows != wanted) if done else (after.rows < wanted):
            raise Fault(f"{_name(location)}: of {rows:,} rows {wanted:,} were asked for, {after.rows:,} came")
    return "half of the rows asked for, and got"


def _value(table: Any) -> tuple[str, Any] | None:
    """A column and a value of it that JSON can hold and that a comparison finds again."""
    for field in table.schema:
        kinds = (pa.types.is_integer, pa.types.is_string, pa.types.is_large_string, pa.types.is_boolean)
        if any(kind(field.type) for kind in kinds):
            value = next((x for x in table.column(field.name).to_pylist() if x is not None), None)
            if value is not None:
                return field.name, value
    return None


def filtered(subject: Subject) -> str:
    tried = 0
    for location in _asked_2(subject, "filter"):
        before = subject.samples[location["location"]]
        found = _value(before.table)
        if found is None or before.rows > before.table.num_rows:
            continue
        name, value = found
        expected = [row for row in before.table.to_pylist() if row[name] == value]
        after = subject.read(location, _filter=["=", name, value])
        if subject.command is not None and "filter" not in after.applied:
            continue  # left to the host
        came = [] if after.table is None else after.table.to_pylist()
        if Counter(map(repr, came)) != Counter(map(repr, expected)):
            raise Fault(
                f"{_name(location)}: {len(expected):,} rows have {name!r} = {value!r}, "
                f"{len(came):,} came with that filter"
            )
        tried += 1
    if not tried:
        raise Skipped("no location has a column to filter by, or it was left to the host")
    return f"rows of one value asked for, and got, of {_counted(tried, 'location')}"


def skip_rows(subject: Subject) -> str:
    if subject.command is None and not subject.handle().can_resume():
        raise Skipped("its order is not stable (capability stable_order): a host does not ask it")
    for location in _asked_2(subject, "stable_order"):
        before = subject.samples[location["location"]]
        skipped = before.rows // 2
        after = subject.read(location, _skip_rows=skipped)
        if "skip_rows" not in after.applied and subject.command is not None:
            continue
        if after.rows != before.rows - skipped:
            raise Fault(f"{_name(location)}: without the first {skipped:,} of {before.rows:,} rows {after.rows:,} came")
        if before.rows == before.table.num_rows:
            rest = Sample(before.table.slice(skipped), after.rows)
            if _compare(rest, after) != "same":
                raise Fault(f"{_name(location)}: after the first {skipped:,} rows others came than before")
    return "half of the rows left out, the others come"


def version_1(subject: Subject) -> str:
    if subject.version == 1:
        raise Skipped("it speaks no other version")
    talk = subject.talk(1, beside=True)
    try:
        for location in subject.chosen():
            difference = _compare(subject.samples[location["location"]], subject.read(location, talk=talk))
            if difference not in ("same", "order"):
                raise Fault(f"{_name(location)}: version 2, then version 1: {difference}")
    finally:
        subject.end(talk)
    return "the same data for hosts of version 1"


def errors_survive(subject: Subject) -> str:
    talk = subject.shared()
    name = "qanat-connector-test: there is no such location"
    try:
        subject.read({"location": name}, talk=talk)
        answered = "it is answered with data"
    except ReplyFault as fault:
        if fault.code not in (-32000, -32602):
            raise Fault(f"data of a location that is not there has the error code {fault.code}; it is -32000") from None
        answered = f"error {fault.code}"
    if talk.ask("ping", {}) != "pong":
        raise Fault("it does not answer ping after that")
    return f"{answered}, and it goes on"


# ---- schema, URLs, arguments ----------------------------------------------------------------------------------------


def schema(subject: Subject) -> str:
    if subject.version == 1:
        raise Skipped("version 1 has no schema before data")
    told = 0
    for location in subject.chosen():
        result = subject.shared().ask("schema", {"location": location, **subject.options.arguments})
        text: Any = result.get("schema") if isinstance(result, dict) else 0
        if text is None:
            continue
        try:
            found = pa.ipc.read_schema(pa.py_buffer(base64.b64decode(text, validate=True)))
        except (TypeError, ValueError, binascii.Error, pa.ArrowException):
            raise Fault(f'{_name(location)}: "schema" is the base64 of an Arrow schema, or null') from None
        table = subject.samples[location["location"]].table
        told += 1
        if table is not None and not found.equals(table.schema):
            raise Fault(f"{_name(location)}: schema says {_types(found)}, the data has {_types(table.schema)}")
    if not told:
        raise Skipped("it does not say before the data")
    return f"as the data of {_counted(told, 'location')}"


def _types(found: Any) -> str:
    return ", ".join(f"{field.name}: {field.type}{'' if field.nullable else ' not null'}" for field in found)


def stable_url(subject: Subject) -> str:
    urls = 0
    for location in subject.chosen():
        try:
            url = _url(subject, location)
        except ReplyFault as fault:
            if fault.code == -32601:
                raise Skipped("it does not have the method") from None
            raise Fault(f"{_name(location)}: {fault}") from None
        if url is None:
            continue
        if not isinstance(url, str) or ":" not in url:
            raise Fault(f"{_name(location)}: {url!r} is no URL")
        urls += 1
    return f"{urls} of {_counted(len(subject.chosen()), 'location')} with a URL"


def _url(subject: Subject, location: dict[str, Any]) -> Any:
    if subject.command is None:
        from qanat._connector import Location

        return subject.handle().stable_url(Location(**location))
    result = subject.shared().ask("stable_url", {"location": location, **subject.options.arguments})
    if result is None:
        return None
    if not isinstance(result, dict) or "url" not in result:
        raise Fault(f'the result of stable_url is {{"url": text}} or null, not {result!r}')
    return result["url"]


def arguments(subject: Subject) -> str:
    properties = (subject.described or {}).get("arguments", {}).get("properties", {})
    given = dict(subject.options.arguments)
    tried = []
    for name, described in properties.items():
        value = given.get(name, described.get("default") if isinstance(described, dict) else None)
        if not isinstance(value, str):
            continue
        tried.append(name)
        params = {**given, name: value}
        calls: list[tuple[str, dict[str, Any]]] = [("discover", {"attached_locations": []})]
        for location in subject.chosen()[:1]:
            calls += [("data", {"location": location}), ("stable_url", {"location": location})]
        for method, fixed in calls:
            _takes(subject, method, {**fixed, **params}, name)
    return f"{', '.join(tried)}: taken by every method" if tried else "no argument has a value to try: --arg gives one"


def _takes(subject: Subject, method: str, params: dict[str, Any], name: str) -> None:
    talk = subject.shared()
    try:
        if method == "data":
            reading, _, _ = talk.data(params.pop("location"), params)
            reading.drain()
        else:
            talk.ask(method, params)
    except ReplyFault as fault:
        if fault.code == -32602:
            raise Fault(f"{method} refuses the argument {name!r}, which describe tells of: {fault}") from None
        if fault.code != -32601:
            raise Fault(f"{method} with the argument {name!r}: {fault}") from None


def unknown_argument(subject: Subject) -> str:
    try:
        subject.discover([], **{_UNKNOWN: "1"})
    except ReplyFault as fault:
        if fault.code != -32602 or _UNKNOWN not in str(fault):
            raise Fault(
                f"an argument that it does not have is refused with code {fault.code}, {str(fault)[:100]!r}: "
                "it is -32602, and names the argument"
            ) from None
        return "refused by its name"
    return "ignored: a misspelt argument is not found"


_DISCOVER, _DATA = ("discover.answers",), ("data.answers",)

CHECKS = (
    Check(
        "discover.answers",
        "tells its locations",
        "a name of any text, must_copy, format, version and num_rows, each of its type",
        discover,
        ("protocol.starts",),
    ),
    Check(
        "discover.unique",
        "tells each location once",
        "a host keeps data by the name of its location",
        unique,
        _DISCOVER,
    ),
    Check(
        "discover.stable",
        "tells the same twice",
        "a location that comes and goes, or a version that changes by itself, is fetched again and again",
        stable,
        _DISCOVER,
    ),
    Check(
        "discover.attached",
        "takes the locations that a host has",
        "a host gives them with every discovery but the first",
        attached,
        _DISCOVER,
    ),
    Check(
        "data.answers",
        "gives the data of its locations",
        "a valid Arrow stream, or none: every value is looked at",
        answers,
        _DISCOVER,
    ),
    Check("data.num_rows", "has as many rows as it says", "progress is told by it", num_rows, _DATA),
    Check(
        "data.repeatable",
        "gives the same data twice",
        "a fetch that was interrupted begins again",
        repeatable,
        _DATA,
    ),
    Check(
        "data.order",
        "keeps the order that it promises",
        "an interrupted fetch goes on in the middle: in another order it would lose rows and double others",
        order,
        ("data.repeatable",),
    ),
    Check(
        "data.columns",
        "survives a choice of columns",
        "hosts of both versions say which columns they need",
        columns,
        ("data.repeatable",),
    ),
    Check("data.limit", "keeps to a limit that it applies", "too few rows are lost rows", limit, _DATA),
    Check(
        "data.filter",
        "applies the filters that it offers",
        "the host does not look again",
        filtered,
        ("data.repeatable",),
    ),
    Check(
        "data.skip_rows",
        "leaves out the rows that a host has",
        "an interrupted fetch goes on in the middle",
        skip_rows,
        ("data.repeatable",),
    ),
    Check(
        "data.unknown_location",
        "survives a location that is not there",
        "locations go away between discovery and fetch: that one fails, and no other",
        errors_survive,
        ("discover.answers", "protocol.ping"),
        True,
    ),
    Check(
        "data.version_1",
        "serves hosts of version 1",
        "an older host has to find the same data",
        version_1,
        ("data.repeatable", "protocol.version_2"),
        True,
    ),
    Check(
        "schema.agrees",
        "says the schema that the data has",
        "a host may make a table of it before the data comes",
        schema,
        _DATA,
        True,
    ),
    Check(
        "stable_url.answers",
        "tells stable URLs, or none",
        "a host may keep the URL in place of the data",
        stable_url,
        _DATA,
    ),
    Check(
        "arguments.everywhere",
        "takes its arguments in every method",
        "a host gives all of them to each method",
        arguments,
        _DATA,
        True,
    ),
    Check(
        "arguments.unknown",
        "refuses an argument that it does not have by name, or ignores it",
        "a misspelt argument is the most common mistake of users",
        unknown_argument,
        _DISCOVER,
        True,
    ),
)
