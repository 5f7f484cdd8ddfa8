"""The history of a pack as a Delta table, for engines that read Delta.

Each version of the bundle that touched the pack is a version of the table. The files of `_delta_log` are made of our
log alone, byte for byte the same each time, so that mirroring again only adds what is new. The pack "base" is a table
in the bundle's own folder, which names the blocks where they are; any other is a table in `_mirror/PACK`, of hard links
to them, since Delta names files below its table's folder only.
"""

from __future__ import annotations

import json
import os
import shutil
import uuid
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from qanat.bundle._needs import need
from qanat.errors import ConfigurationError, ConflictError, FileError, NotSupportedError

if TYPE_CHECKING:
    from qanat.bundle._bundle import Bundle
    from qanat.bundle._results import Commit

_ENGINE = "qanat"
_NAMESPACE = uuid.UUID("6f0d4bb2-5c0c-4f3c-9d5e-2f4a3a1d7c55")
_NOT_IN_NAMES = set(" ,;{}()\n\t=")
_NTZ = "timestampNtz"

Json = dict[str, Any]


@dataclass(frozen=True)
class DeltaMirror:
    """A Delta table that mirrors a pack."""

    path: Path
    """The table's folder."""
    pack: str
    versions: list[int]
    """The version of the bundle that each version of the table is, from 0."""

    @property
    def version(self) -> int:
        """The newest version of the table."""
        return len(self.versions) - 1


def mirror(bundle: Bundle, pack: str) -> DeltaMirror:
    """See Bundle.mirror."""
    from qanat.bundle._bundle import open as open_bundle

    need("pyarrow", 'mirror("delta")')
    with open_bundle(bundle.path, None, bundle._config) as newest:
        commits = newest.history()
    table = _Table(bundle.path, pack)
    versions = [entry for entry in commits if any(_is_block(change, pack) for change in entry.changes)]
    if not versions:
        raise ConfigurationError(
            f'pack "{pack}" has no committed blocks to mirror', hint="fetch or put something, and commit it"
        )
    log = _Log(table.root / "_delta_log", str(uuid.uuid5(_NAMESPACE, f"{commits[0].hash}:{pack}")))
    files = [(commit, log.actions(table, commit)) for commit in versions]
    for number, (commit, actions) in enumerate(files):
        log.write(number, commit, actions)
    log.end(len(files))
    table.sweep()
    return DeltaMirror(table.root, pack, [commit.version for commit in versions])


def _is_block(change: Json, pack: str) -> bool:
    return change.get("pack") == pack and change["op"] in ("add", "replace", "remove")


# ---- the table: which files it consists of ----


@dataclass(frozen=True)
class _File:
    """A block as a file of the table. The same bytes at two locations are two files: one has to be a link."""

    location: str
    sha256: str
    copy: int
    rows: int | None
    bytes: int | None


@dataclass
class _Table:
    bundle: Path
    pack: str
    present: dict[str, _File] = field(default_factory=dict)
    """By location, in the order in which the pack is read."""
    linked: set[str] = field(default_factory=set)
    columns: dict[str, list[Json] | None] = field(default_factory=dict)
    """The columns of a block in Delta's types, by its digest; None where its file is gone."""

    @property
    def links(self) -> Path:
        return self.bundle / "_mirror" / self.pack

    @property
    def root(self) -> Path:
        return self.bundle if self.pack == "base" else self.links

    def apply(self, commit: Commit) -> tuple[list[_File], list[_File]]:
        """Take the changes of a version in; returns the files that it removed and those that it added."""
        before = set(self.present.values())
        for change in commit.changes:
            if _is_block(change, self.pack):
                self.present.pop(change["location"], None)
                if change["op"] != "remove":
                    file = self._file(change)
                    self.present[file.location] = file
        after = self.present.values()
        return sorted(before - set(after), key=lambda file: file.location), [f for f in after if f not in before]

    def _file(self, change: Json) -> _File:
        what = f'pack "{self.pack}", location "{change["location"]}"'
        if change.get("url") is not None:
            raise NotSupportedError(
                f"{what}: the rows are not in the bundle but referenced, which Delta cannot be told"
            )
        if change["format"] != "parquet":
            raise NotSupportedError(
                f'{what}: the block is kept as "{change["format"]}", and a Delta table consists of Parquet',
                hint='create the source with save_as="parquet"',
            )
        taken = {file.copy for file in self.present.values() if file.sha256 == change["sha256"]}
        copy = next(number for number in range(1, len(taken) + 2) if number not in taken)
        return _File(change["location"], change["sha256"], copy, change.get("rows"), change.get("bytes"))

    def block(self, file: _File) -> Path:
        return self.bundle / "data" / file.sha256[:2] / f"{file.sha256}.parquet"

    def name(self, file: _File) -> str:
        """The file's path below the table's folder; it is linked there where the block itself is not."""
        if self.pack == "base" and file.copy == 1:
            return f"data/{file.sha256[:2]}/{file.sha256}.parquet"
        link = f"{file.sha256}-{file.copy}.parquet"
        target = self.links / link
        if self.block(file).exists():
            self.linked.add(link)
            if not target.exists():
                self.links.mkdir(parents=True, exist_ok=True)
                _link(self.block(file), target)
        return f"_mirror/base/{link}" if self.pack == "base" else link

    def size(self, file: _File) -> int:
        if file.bytes is not None:
            return file.bytes
        try:
            return self.block(file).stat().st_size
        except OSError as error:
            raise FileError(f"cannot look at {self.block(file)}: {error.strerror or error}") from error

    def sweep(self) -> None:
        """Remove links to blocks that are gone, as gc has removed them."""
        if self.links.is_dir():
            for entry in self.links.glob("*.parquet"):
                if entry.name not in self.linked:
                    entry.unlink(missing_ok=True)

    def schema(self) -> list[Json]:
        """The columns of all files that are present, by name, in the order in which they first come."""
        found: dict[str, tuple[Json, _File]] = {}
        folded: dict[str, str] = {}
        for file in self.present.values():
            for column in self._columns(file):
                name = column["name"]
                other = folded.setdefault(name.casefold(), name)
                if other != name:
                    raise NotSupportedError(
                        f'pack "{self.pack}": the columns "{other}" and "{name}" are one in Delta, which has no cases'
                    )
                first, where = found.setdefault(name, (column, file))
                if first["type"] != column["type"]:
                    raise NotSupportedError(
                        f'pack "{self.pack}", column "{name}": it is {_said(first["type"])} in "{where.location}" and '
                        f'{_said(column["type"])} in "{file.location}", and a Delta table has one type'
                    )
        return [column for column, _ in found.values()]

    def _columns(self, file: _File) -> list[Json]:
        if file.sha256 not in self.columns:
            import pyarrow.parquet as pq

            try:
                schema = pq.read_schema(self.block(file))
            except FileNotFoundError:
                self.columns[file.sha256] = None
            else:
                where = f'pack "{self.pack}", location "{file.location}"'
                self.columns[file.sha256] = [_field(column, where) for column in schema]
        return self.columns[file.sha256] or []


def _link(block: Path, target: Path) -> None:
    part = target.with_name(f".{target.name}.{os.getpid()}.part")
    try:
        try:
            os.link(block, part)
        except OSError:  # a file system without links
            shutil.copyfile(block, part)
        part.replace(target)
    except OSError as error:
        raise FileError(f"cannot write {target}: {error.strerror or error}") from error
    finally:
        part.unlink(missing_ok=True)


# ---- columns ----


def _said(kind: Any) -> str:
    return kind if isinstance(kind, str) else json.dumps(kind)


def _field(column: Any, where: str) -> Json:
    """A column in Delta's words. All may be null: a file without it has it so."""
    what = f'{where}, column "{column.name}"'
    wrong = sorted(_NOT_IN_NAMES & set(column.name))
    if wrong:
        raise NotSupportedError(f"{what}: Delta has no columns whose names have {wrong[0]!r}")
    if not column.name:
        raise NotSupportedError(f"{what}: Delta has no columns without a name")
    return {"name": column.name, "type": _type(column.type, what), "nullable": True, "metadata": {}}


def _simple(kind: Any) -> str | None:
    import pyarrow as pa
    from pyarrow import types

    names = {
        pa.bool_(): "boolean",
        pa.int8(): "byte",
        pa.int16(): "short",
        pa.int32(): "integer",
        pa.int64(): "long",
        pa.float32(): "float",
        pa.float64(): "double",
        pa.date32(): "date",
    }
    if kind in names:
        return names[kind]
    if types.is_string(kind) or types.is_large_string(kind) or types.is_string_view(kind):
        return "string"
    if types.is_binary(kind) or types.is_large_binary(kind) or types.is_binary_view(kind):
        return "binary"
    if types.is_decimal(kind) and kind.precision <= 38 and 0 <= kind.scale <= kind.precision:
        return f"decimal({kind.precision},{kind.scale})"
    if types.is_timestamp(kind) and kind.unit != "ns":
        return "timestamp" if kind.tz is not None else "timestamp_ntz"
    return None


def _type(kind: Any, what: str) -> Any:
    from pyarrow import types

    if types.is_dictionary(kind):
        return _type(kind.value_type, what)
    if types.is_list(kind) or types.is_large_list(kind):
        return {"type": "array", "elementType": _type(kind.value_type, what), "containsNull": True}
    if types.is_map(kind):
        key, value = _type(kind.key_type, what), _type(kind.item_type, what)
        return {"type": "map", "keyType": key, "valueType": value, "valueContainsNull": True}
    if types.is_struct(kind):
        return {"type": "struct", "fields": [_field(kind.field(i), what) for i in range(kind.num_fields)]}
    simple = _simple(kind)
    if simple is None:
        raise NotSupportedError(f"{what}: Delta has no type for {kind}")
    return simple


def _uses(kind: Any, name: str) -> bool:
    if isinstance(kind, str):
        return kind == name
    inside = [kind.get(key) for key in ("elementType", "keyType", "valueType")]
    return any(
        _uses(part, name) for part in [*inside, *(f["type"] for f in kind.get("fields", ()))] if part is not None
    )


# ---- the log ----


class _Log:
    """The files of `_delta_log`."""

    def __init__(self, folder: Path, table_id: str) -> None:
        self._folder = folder
        self._id = table_id
        self._schema: list[Json] | None = None
        self._ntz: bool | None = None
        self._created = 0

    def actions(self, table: _Table, commit: Commit) -> list[Json]:
        """What a version of the bundle did to the table."""
        milliseconds = int(commit.timestamp.timestamp() * 1000)
        removed, added = table.apply(commit)
        info: Json = {
            "timestamp": milliseconds,
            "operation": "WRITE",
            "engineInfo": _ENGINE,
            "userMetadata": commit.message,
            "qanatVersion": commit.version,
            "qanatHash": commit.hash,
        }
        return [
            {"commitInfo": info},
            *self._metadata(table, milliseconds),
            *({"remove": _removed(table, file, milliseconds)} for file in removed),
            *({"add": _added(table, file, milliseconds)} for file in added),
        ]

    def _metadata(self, table: _Table, milliseconds: int) -> Iterator[Json]:
        schema = table.schema()
        if self._schema is not None and not table.present:
            schema = self._schema  # an empty table keeps its columns
        ntz = bool(self._ntz) or any(_uses(column["type"], "timestamp_ntz") for column in schema)
        if ntz != self._ntz:
            self._ntz = ntz
            yield {"protocol": _protocol(ntz)}
        if schema != self._schema:
            self._created = self._created or milliseconds
            self._schema = schema
            yield {
                "metaData": {
                    "id": self._id,
                    "name": table.pack,
                    "format": {"provider": "parquet", "options": {}},
                    "schemaString": json.dumps({"type": "struct", "fields": schema}, ensure_ascii=False),
                    "partitionColumns": [],
                    "configuration": {},
                    "createdTime": self._created,
                }
            }

    def write(self, number: int, commit: Commit, actions: Sequence[Json]) -> None:
        """Write a version's file, where it is not there as it should be."""
        lines = (json.dumps(action, ensure_ascii=False, separators=(",", ":")) + "\n" for action in actions)
        data = "".join(lines).encode()
        target = self._folder / f"{number:020}.json"
        there = _read(target)
        if there == data:
            return
        if there is not None and f'"engineInfo":"{_ENGINE}"'.encode() not in there.partition(b"\n")[0]:
            raise self._conflict(number)
        if there is not None and number == 0 and self._id.encode() not in there:
            raise self._conflict(number)
        part = target.with_name(f".{target.name}.{os.getpid()}.part")
        try:
            self._folder.mkdir(parents=True, exist_ok=True)
            with part.open("wb") as file:
                file.write(data)
                file.flush()
                os.fsync(file.fileno())
            seconds = commit.timestamp.timestamp()
            os.utime(part, (seconds, seconds))  # engines go by it when they look for the version at a time
            part.replace(target)
        except OSError as error:
            raise FileError(f"cannot write {target}: {error.strerror or error}") from error
        finally:
            part.unlink(missing_ok=True)

    def end(self, count: int) -> None:
        """Whatever comes after our versions is somebody else's."""
        if (self._folder / f"{count:020}.json").exists():
            raise self._conflict(count)

    def _conflict(self, number: int) -> ConflictError:
        return ConflictError(
            f"{self._folder} has a version {number} that is not this pack's",
            hint="a mirror is written by the bundle alone; move that folder away, then mirror again",
        )


def _read(path: Path) -> bytes | None:
    try:
        return path.read_bytes()
    except FileNotFoundError:
        return None
    except OSError as error:
        raise FileError(f"cannot read {path}: {error.strerror or error}") from error


def _protocol(ntz: bool) -> Json:
    if not ntz:
        return {"minReaderVersion": 1, "minWriterVersion": 2}
    return {"minReaderVersion": 3, "minWriterVersion": 7, "readerFeatures": [_NTZ], "writerFeatures": [_NTZ]}


def _removed(table: _Table, file: _File, milliseconds: int) -> Json:
    return {"path": table.name(file), "deletionTimestamp": milliseconds, "dataChange": True}


def _added(table: _Table, file: _File, milliseconds: int) -> Json:
    return {
        "path": table.name(file),
        "partitionValues": {},
        "size": table.size(file),
        "modificationTime": milliseconds,
        "dataChange": True,
        **({} if file.rows is None else {"stats": json.dumps({"numRecords": file.rows})}),
    }
