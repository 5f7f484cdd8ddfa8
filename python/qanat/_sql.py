"""The SQL that Connection.select, update and delete write. Values are always bound; names come in quoted."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

from qanat.errors import ArgumentError

Params = Sequence[Any] | Mapping[str, Any]

# Literals, quoted names and comments, which hold no placeholders; good enough to tell the spelling, which the library
# checks again: what is told apart wrongly here becomes its error "mixed placeholders", never another statement.
_NO_PLACEHOLDERS = re.compile(r"'(?:[^']|'')*'|\"(?:[^\"]|\"\")*\"|--[^\n]*|/\*.*?\*/", re.DOTALL)
_NUMBERED = re.compile(r"(?<![\w$])(?:\$|\?|@p)(\d+)")


def where_clause(where: str | None) -> str:
    if where is None:
        return ""
    if not isinstance(where, str):
        raise TypeError(f"where must be a str of SQL, not {type(where).__name__}")
    if not where.strip():
        raise ArgumentError("where is empty; leave it out to act on all rows")
    return f" where {where}"


def limit_clause(db_type: str, limit: int | None, offset: int | None) -> str:
    for name, number in (("limit", limit), ("offset", offset)):
        if number is not None and (not isinstance(number, int) or isinstance(number, bool)):
            raise TypeError(f"{name} must be an int, not {type(number).__name__}")
        if number is not None and not 0 <= number < 2**63:
            raise ArgumentError(f"{name} must be between 0 and 2**63 - 1, not {number}")
    clause = f" limit {limit}" if limit is not None else ""
    if offset is not None:
        if limit is None and db_type == "sqlite":
            clause = " limit -1"
        clause += f" offset {offset}"
    return clause


def assignments(
    columns: Sequence[str], values: Sequence[Any], where: str | None, params: Params | None
) -> tuple[str, Params]:
    """The SET list and all parameters of an UPDATE, in the spelling that `where` uses.

    A statement has one spelling of placeholders. With `:name` in where the values get names of their own, with the
    database's numbers they are numbered behind those of where, and otherwise they are `?`, which come first.
    """
    if isinstance(params, Mapping):
        named: dict[str, Any] = dict(params)
        spelled: list[str] = []
        for value in values:
            name = _free_name(named, len(spelled))
            named[name] = value
            spelled.append(f":{name}")
        return _set_list(columns, spelled), named
    bound = list(params) if params is not None else []
    native = _NUMBERED.search(_NO_PLACEHOLDERS.sub(" ", where)) if where is not None else None
    if native is None:
        return _set_list(columns, ["?"] * len(values)), [*values, *bound]
    prefix = native.group(0)[: -len(native.group(1))]
    numbers = [f"{prefix}{len(bound) + i + 1}" for i in range(len(values))]
    return _set_list(columns, numbers), [*bound, *values]


def _free_name(taken: Mapping[str, Any], number: int) -> str:
    name = f"set_{number + 1}"
    while name in taken:
        name += "_"
    return name


def _set_list(columns: Sequence[str], placeholders: Sequence[str]) -> str:
    return ", ".join(f"{column} = {place}" for column, place in zip(columns, placeholders, strict=True))
