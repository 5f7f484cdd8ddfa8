"""Arguments of a bundle's calls, as the library takes them: JSON texts, versions, names of runtimes."""

from __future__ import annotations

import datetime
import json
import os
from collections.abc import Iterable, Mapping
from typing import Literal

from qanat.errors import ArgumentError

Config = Mapping[str, Mapping[str, str | bool | int]]
Version = int | str | datetime.datetime
Mode = Literal["add", "update", "sync"]

RUNTIMES = ("python", "ipc", "ffi", "java", "docker", "cassette")
_MODES = {"add": 1, "update": 2, "sync": 3}
_ON_ERROR = ("raise", "quarantine")


def _choice(value: object, what: str, known: Iterable[str]) -> str:
    names = list(known)
    if value not in names:
        raise ArgumentError(f"{what} must be one of {', '.join(names)}, not {value!r}")
    return str(value)


def path_text(path: str | os.PathLike[str]) -> str:
    text = os.fspath(path)
    if not isinstance(text, str):
        raise TypeError(f"a path must be a str, not {type(text).__name__}")
    return text


def config_text(config: Config | None) -> str | None:
    """`{"section": {"key": value}}` as JSON of texts: True is "true", 5 is "5"."""
    if config is None:
        return None
    if not isinstance(config, Mapping):
        raise TypeError(f"config must be a dict of sections, not {type(config).__name__}")
    texts: dict[str, dict[str, str]] = {}
    for section, values in config.items():
        if not isinstance(section, str) or not isinstance(values, Mapping):
            raise TypeError(f'config must be {{"section": {{"key": "value"}}}}; {section!r} has {values!r}')
        texts[section] = {key: value_text(f"{section}.{key}", value) for key, value in values.items()}
    return json.dumps(texts, ensure_ascii=False)


def value_text(key: str, value: object) -> str:
    """A value of the configuration as the text that the library keeps."""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, str | int):
        return str(value)
    raise TypeError(f"the configuration {key} must be a str, a bool or an int, not {type(value).__name__}")


def version_text(version: Version) -> str:
    """A number, the beginning of a hash, or a time, as a text."""
    if isinstance(version, datetime.datetime):
        if version.tzinfo is None:
            raise ArgumentError("a version as a time needs a time zone: datetime(..., tzinfo=datetime.UTC)")
        return version.astimezone(datetime.UTC).isoformat(timespec="microseconds").replace("+00:00", "Z")
    if isinstance(version, bool) or not isinstance(version, int | str):
        raise TypeError(f"a version is a number, a hash or a time, not {type(version).__name__}")
    return str(version)


def mode_number(mode: str) -> int:
    return _MODES[_choice(mode, "mode", _MODES)]


def quarantines(on_error: str) -> bool:
    return _choice(on_error, "on_error", _ON_ERROR) == "quarantine"


def connector_uri(uri: str, runtime: str | None) -> str:
    """The URI of a connector, where the runtime may have been named apart: ("m:C", "python") is "python::m:C"."""
    if not isinstance(uri, str):
        raise TypeError(f"a connector's URI must be a str, not {type(uri).__name__}")
    if runtime is None:
        return uri
    _choice(runtime, "runtime", RUNTIMES)
    before, separator, _ = uri.partition("::")
    if not separator or before not in RUNTIMES:
        return f"{runtime}::{uri}"
    if before != runtime:
        raise ArgumentError(f"the runtime is {runtime!r}, and the URI {uri!r} names {before!r}")
    return uri


def columns_tuple(columns: Iterable[str] | None) -> tuple[str, ...] | None:
    if isinstance(columns, str):
        raise TypeError(f'columns must be a list of names: ["{columns}"]')
    return None if columns is None else tuple(columns)
