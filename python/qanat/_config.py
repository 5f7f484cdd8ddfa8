"""Configurations of databases: DatabaseConfig and load_config."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from qanat._native import Config as NativeConfig
from qanat.errors import ConfigurationError, QanatError

if TYPE_CHECKING:
    from pathlib import Path

    from qanat._connection import Connection

_FIELDS = ("host", "port", "database", "username", "password", "path")


class DatabaseConfig:
    """A database's type, address, credentials and options.

    `db_type` is "postgres" (or "postgresql") or "sqlite". Everything else that is given by name is an option of the
    driver, such as `sslmode`, `timeout` (seconds to connect), `statement_timeout`, `application_name` or `read_only`.
    `user` is accepted for `username`, `server` for `host`, `dbname` for `database`. Options are kept as texts.
    Raises ConfigurationError for an unknown type or an unknown option's value.
    """

    __slots__ = ("_native",)
    _native: NativeConfig

    def __init__(
        self,
        db_type: str,
        *,
        host: str | None = None,
        port: int | str | None = None,
        database: str | None = None,
        username: str | None = None,
        password: str | None = None,
        path: str | os.PathLike[str] | None = None,
        **options: object,
    ) -> None:
        self._native = NativeConfig.new(db_type)
        given = {"host": host, "port": port, "database": database, "username": username}
        for key, value in {**given, "password": password, "path": path, **options}.items():
            if value is not None:
                self._native.set(key, _text(key, value))

    @classmethod
    def _of(cls, native: NativeConfig) -> DatabaseConfig:
        config = cls.__new__(cls)
        config._native = native
        return config

    @staticmethod
    def from_dict(config: Mapping[str, Any]) -> DatabaseConfig:
        """The configuration in a dict: `type` or `db_type` names the database; or a `uri`, with other keys over it."""
        values = {key: value for key, value in config.items() if value is not None}
        types = [values.pop(key) for key in ("db_type", "type") if key in values]
        uri = values.pop("uri", None)
        if len(types) == 2 and types[0] != types[1]:
            raise ConfigurationError(f"type is {types[1]!r} but db_type is {types[0]!r}: give one of them")
        if uri is None and not types:
            raise ConfigurationError("a configuration needs a type (type or db_type), or a uri")
        if uri is None:
            return DatabaseConfig(_type_text(types[0]), **_options(values))
        made = DatabaseConfig.from_uri(_type_text(uri))
        if types and DatabaseConfig(_type_text(types[0])).db_type != made.db_type:
            raise ConfigurationError(f"type is {types[0]!r} but the uri is one of {made.db_type!r}")
        for key, value in values.items():
            made._native.set(key, _text(key, value))
        return made

    @staticmethod
    def from_uri(uri: str) -> DatabaseConfig:
        """The configuration that a URI names: `postgresql://u:p@h:5432/db?sslmode=require`, `sqlite:///file.db`."""
        return DatabaseConfig._of(NativeConfig.from_uri(uri))

    def to_dict(self) -> dict[str, Any]:
        """Keys and values, with the password. `from_dict` turns them into an equal configuration."""
        values: dict[str, Any] = dict(self._native.items())
        found = {"db_type": values.pop("type", self.db_type)}
        for key, value in values.items():
            found[key] = int(value) if key == "port" and value.isascii() and value.isdigit() else value
        return found

    def to_uri(self) -> str:
        """The URI, with the password in it: do not log it. `from_uri` turns it into an equal configuration."""
        return self._native.to_uri(True)

    def connect(self) -> Connection:
        """Open a connection."""
        from qanat._connection import Connection

        return Connection(self)

    @property
    def db_type(self) -> str:
        return self._native.get("type") or ""

    @property
    def host(self) -> str | None:
        return self._native.get("host")

    @property
    def port(self) -> int | None:
        """The port; None where there is none, or several (one for each of several hosts: see to_dict)."""
        port = self._native.get("port")
        return int(port) if port is not None and port.isascii() and port.isdigit() else None

    @property
    def database(self) -> str | None:
        return self._native.get("database")

    @property
    def username(self) -> str | None:
        return self._native.get("username")

    @property
    def password(self) -> str | None:
        return self._native.get("password")

    @property
    def path(self) -> str | None:
        return self._native.get("path")

    @property
    def options(self) -> dict[str, str]:
        """Everything that is not the type, an address or a credential."""
        return {key: value for key, value in self._native.items() if key != "type" and key not in _FIELDS}

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, DatabaseConfig):
            return NotImplemented
        return self.to_dict() == other.to_dict()

    __hash__ = None  # type: ignore[assignment]  # equal by value, and the value holds a password

    def __reduce__(self) -> tuple[Any, ...]:
        return DatabaseConfig.from_dict, (self.to_dict(),)

    def __repr__(self) -> str:
        return f"DatabaseConfig({self._native.to_uri(False)!r})"


def _type_text(value: object) -> str:
    if not isinstance(value, str):
        raise ConfigurationError(f"the type of a database is a text, not {type(value).__name__}")
    return value


def _options(values: Mapping[str, Any]) -> dict[str, Any]:
    for key in values:
        if not isinstance(key, str):
            raise ConfigurationError(f"the key {key!r} is not a text")
    return dict(values)


def _text(key: str, value: object) -> str:
    """How a value stands in a URI."""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, str):
        return value
    if isinstance(value, int | float):
        return str(value)
    if isinstance(value, os.PathLike):
        path = os.fspath(value)
        if isinstance(path, str):
            return path
    raise ConfigurationError(f"{key} must be a text, a number or a bool, not {type(value).__name__}")


_VARIABLE = re.compile(r"\$\{([A-Za-z_][A-Za-z0-9_]*)\}")
_TABLE = re.compile(r"\s*\[\s*connections\s*\.\s*(?:\"([^\"]*)\"|'([^']*)'|([A-Za-z0-9_-]+))\s*\]")


def _line_of(text: str, name: str, key: str | None) -> int | None:
    """Where a connection's table, or a key of it, stands: the header's line if the key has none of its own."""
    header: int | None = None
    for number, line in enumerate(text.split("\n"), start=1):
        table = _TABLE.match(line)
        if table is not None:
            inside = next(part for part in table.groups() if part is not None) == name
            if inside:
                header = number
            elif header is not None:
                break
        elif line.lstrip().startswith("["):
            if header is not None:
                break
        elif header is not None and key is not None and re.match(rf"\s*[\"']?{re.escape(key)}[\"']?\s*=", line):
            return number
    return header


def _expanded(value: Any) -> Any:
    if not isinstance(value, str):
        return value

    def environment(match: re.Match[str]) -> str:
        found = os.environ.get(match[1])
        if found is None:
            raise ConfigurationError(
                f"the environment variable {match[1]} is not set",
                hint=f"set it, or write the value in place of {match[0]}",
            )
        return found

    return _VARIABLE.sub(environment, value)


def _placed(error: QanatError, path: Path, text: str, name: str, key: str | None) -> ConfigurationError:
    line = _line_of(text, name, key)
    place = f"{path}:{line}" if line is not None else str(path)
    key_path = f"connections.{name}" + (f".{key}" if key is not None else "")
    return ConfigurationError(f"{place}: {key_path}: {error}", hint=error.hint)


def _connection(path: Path, text: str, name: str, table: Any) -> DatabaseConfig:
    if not isinstance(table, dict):
        raise _placed(ConfigurationError("must be a table of keys and values"), path, text, name, None)
    values: dict[str, Any] = {}
    for key, value in table.items():
        try:
            values[key] = _expanded(value)
            if key not in ("type", "db_type", "uri"):
                _text(key, value)
        except QanatError as error:
            raise _placed(error, path, text, name, key) from None
    first: dict[str, Any] = {key: values[key] for key in ("type", "db_type", "uri") if key in values}
    guilty: str | None = next(iter(first), None)
    try:
        config = DatabaseConfig.from_dict(first)
        for key, value in values.items():
            if key not in first:
                guilty = key
                config._native.set(key, _text(key, value))
    except QanatError as error:
        raise _placed(error, path, text, name, guilty) from None
    return config


def load_config(path: str | os.PathLike[str]) -> dict[str, DatabaseConfig]:
    """The configurations in the [connections.NAME] tables of a TOML file, by name.

    A table has the keys of DatabaseConfig (`type`, `host`, `password`, ...), or a `uri`, with other keys over it.
    `${NAME}` in a text is replaced by the environment variable of that name. Other tables of the file are left alone.
    Raises ConfigurationError naming the file, the line where it can be found, and the key.
    """
    import tomllib  # here, so that `import qanat` stays quick
    from pathlib import Path

    file = Path(path)
    try:
        text = file.read_bytes().decode("utf-8")
        document = tomllib.loads(text)
    except OSError as error:
        raise ConfigurationError(f"{file}: {error.strerror or error}") from None
    except UnicodeDecodeError as error:
        raise ConfigurationError(f"{file}: not UTF-8 text: byte {error.start}") from None
    except (tomllib.TOMLDecodeError, RecursionError) as error:
        raise ConfigurationError(f"{file}: {error}") from None
    tables = document.get("connections", {})
    if not isinstance(tables, dict):
        raise ConfigurationError(f"{file}: connections: must be tables: [connections.NAME]")
    if not tables:
        raise ConfigurationError(
            f"{file}: no [connections.NAME] table", hint='write [connections.main] and type = "sqlite"'
        )
    return {name: _connection(file, text, name, table) for name, table in tables.items()}
