"""The class Bundle."""

from __future__ import annotations

import json
import os
import threading
from collections.abc import Iterable, Mapping
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, Literal

from qanat import _formats, _native
from qanat._connector import arguments_json, default_interpreter
from qanat.bundle import _options as options
from qanat.bundle import _results as results
from qanat.bundle._needs import need
from qanat.bundle._progress import Listener, shown
from qanat.bundle._results import (
    Block,
    Collected,
    Description,
    Failure,
    FetchProgress,
    FetchResults,
    History,
    Problem,
    Status,
)
from qanat.errors import (
    ArgumentError,
    ConfigurationError,
    ConnectorError,
    DataError,
    QanatError,
    QueryCancelledError,
)

if TYPE_CHECKING:
    import pandas as pd
    import polars as pl
    import pyarrow as pa

    from qanat._stream import Schema, Stream
    from qanat.bundle._delta import DeltaMirror

SECONDS_TO_WAIT_FOR_WRITERS = 60.0
DAY = 86400


def create(path: str | os.PathLike[str], config: options.Config | None = None) -> Bundle:
    """Make a bundle in a folder that is not there, or that has none.

    `config` is `{"section": {"key": "value"}}`: `{"system": {"allow_external_code": "true"}}` allows connectors that
    are code from outside. What is passed here counts for this object and is not stored.
    """
    _formats.register()
    text = options.path_text(path)
    return Bundle(_native.Bundle.create(text, options.config_text(config), default_interpreter()), text, config)


def open(  # noqa: A001  (the name that the documents give it)
    path: str | os.PathLike[str], version: options.Version | None = None, config: options.Config | None = None
) -> Bundle:
    """Open a bundle, at its newest version or at another: a number, the beginning of a hash, or a time.

    What was opened at an older version cannot be changed.
    """
    _formats.register()
    text = options.path_text(path)
    at = None if version is None else options.version_text(version)
    try:
        native = _native.Bundle.open(text, at, options.config_text(config), default_interpreter())
    except DataError as error:
        if error.hint is None:
            error.hint = "qn.verify(path) lists all that is wrong with the bundle"
            error.add_note(f"hint: {error.hint}")
        raise
    return Bundle(native, text, config)


def verify(path: str | os.PathLike[str]) -> list[Problem]:
    """Read everything of a bundle and say what is wrong: nothing, where the list is empty.

    It needs no Bundle: it works where `open` does not, because the log is damaged.
    """
    _formats.register()
    return results.problems(_native.Bundle.verify(options.path_text(path)))


class Bundle:
    """A bundle: tables with a history. Made by `qn.create` and `qn.open`.

    Calls that change something are pending until `commit()` makes them a version; reads see them before that. One
    thread at a time; streams are independent of the bundle and of each other. A pack is one table: "base" where no
    other is named.
    """

    def __init__(self, native: _native.Bundle, path: str, config: options.Config | None) -> None:
        self._native = native
        self._path = Path(path).absolute()
        self._config = config
        self._reading = threading.Lock()  # polars and DuckDB open streams on threads of theirs, several at a time

    @property
    def path(self) -> Path:
        return self._path

    @property
    def version(self) -> int:
        """The version that this object shows, without what is pending."""
        return self._native.version

    @property
    def closed(self) -> bool:
        return self._native.closed

    # ---- configuration ----

    def config(self, key: str) -> str | None:
        """The value of "section.key" that counts, or None: set on the object > passed > environment > stored."""
        return self._native.config(key)

    def set_config(self, key: str, value: str | bool | int | None, store: bool = False) -> None:
        """Set "section.key" (None: unset) on this object; with `store` in the bundle too, as a pending change.

        Keys of the section "system" are never stored: whoever runs the engine decides about them.
        """
        self._native.set_config(key, None if value is None else options.value_text(key, value), store)

    # ---- connectors ----

    def import_connector(self, name: str, uri: str, platform: str | None = None) -> None:
        """Name a connector, kept in the bundle: "acme.weather", "ffi::./weather.so", for "linux/amd64" or any."""
        self._native.import_connector(name, uri, platform, False)

    def import_temp_connector(
        self, name: str, uri: str, runtime: str | None = None, platform: str | None = None
    ) -> None:
        """Name a connector for this object only: `"ipc::script.py"`, or `("module:Class", runtime="python")`."""
        self._native.import_connector(name, options.connector_uri(uri, runtime), platform, True)

    def drop_connector(self, name: str, platform: str | None = None) -> None:
        self._native.drop_connector(name, platform, False)

    def drop_temp_connector(self, name: str, platform: str | None = None) -> None:
        self._native.drop_connector(name, platform, True)

    def rename_connector(self, name: str, new_name: str) -> None:
        self._native.rename_connector(name, new_name, False)

    def rename_temp_connector(self, name: str, new_name: str) -> None:
        self._native.rename_connector(name, new_name, True)

    def create_source(
        self,
        name: str,
        arguments: Mapping[str, Any] | None = None,
        pack: str = "base",
        fetch: bool = False,
        save_as: str = "parquet",
    ) -> str:
        """Have a connector, with these arguments, feed a pack. Returns the source's id.

        The methods of the connector get the arguments as texts: True is "true", 5 is "5".
        `name` is an imported connector's, or "files", "http" or "database". With `fetch` its new locations are fetched
        at once. `save_as` is "parquet" or "arrow".
        """
        source = self._native.create_source(name, arguments_json(arguments), pack, save_as)
        if fetch:
            self.fetch(pack, "add", source=source)
        return source

    def drop_source(self, source_id: str) -> None:
        """Forget a source. What it delivered stays."""
        self._native.drop_source(source_id)

    # ---- fetch ----

    def fetch(
        self,
        pack: str = "base",
        mode: options.Mode = "add",
        dry_run: bool = False,
        progress: bool | Listener = False,
        on_error: Literal["raise", "quarantine"] = "raise",
        *,
        source: str | None = None,
        parallel: int | None = None,
    ) -> FetchResults:
        """Have the sources of a pack deliver: "add" what is new, "update" also what changed, "sync" also what is gone.

        A location is taken whole or not at all. One that fails is set aside and listed by `failures()`; the others are
        attached, and then ConnectorError is raised, whose `results` has what was done, unless `on_error` is
        "quarantine". With `dry_run` nothing changes. `progress` is True for a bar on standard error, or is called with
        a FetchProgress about ten times a second; what it raises ends the fetch. `source` is the id of the only source
        to ask, `parallel` how many locations are fetched at a time.
        """
        return self._fetch(pack, mode, dry_run, progress, on_error, source, parallel, retry=False)

    def fetch_all(
        self,
        mode: options.Mode = "add",
        dry_run: bool = False,
        progress: bool | Listener = False,
        on_error: Literal["raise", "quarantine"] = "raise",
        *,
        parallel: int | None = None,
    ) -> FetchResults:
        """As `fetch`, for all packs."""
        return self._fetch(None, mode, dry_run, progress, on_error, None, parallel, retry=False)

    def retry(
        self,
        pack: str | None = None,
        progress: bool | Listener = False,
        on_error: Literal["raise", "quarantine"] = "raise",
        *,
        parallel: int | None = None,
    ) -> FetchResults:
        """Fetch what `failures()` lists again, of a pack or of all."""
        return self._fetch(pack, "update", False, progress, on_error, None, parallel, retry=True)

    def _fetch(
        self,
        pack: str | None,
        mode: str,
        dry_run: bool,
        progress: bool | Listener,
        on_error: str,
        source: str | None,
        parallel: int | None,
        retry: bool,
    ) -> FetchResults:
        number = options.mode_number(mode)
        quarantine = options.quarantines(on_error)
        if parallel is not None and parallel < 1:
            raise ArgumentError(f"parallel must be at least 1, not {parallel}")
        with shown(progress) as listener:
            report = None
            if listener is not None:

                def report(name: str, done: int, total: int, rows: int, size: int, seconds: float) -> None:
                    listener(FetchProgress(name, done, total, rows, size, seconds))

            try:
                text = self._native.fetch(pack, number, dry_run, quarantine, retry, parallel or 0, source, report)
            except QanatError as error:
                failure = self._with_results(error)
                if failure is error:
                    raise
                raise failure from error
        return results.fetch_results(text)

    def _with_results(self, error: QanatError) -> QanatError:
        """The error of a fetch, with what was done: of locations a ConnectorError, whatever they failed of.

        What the caller has to put right (a configuration) and what the caller has ended stay what they are.
        """
        found = self._last_results()
        if found is None:
            return error
        if found.failed and not isinstance(error, ConfigurationError | ConnectorError | QueryCancelledError):
            attributes = {name: value for name, value in vars(error).items() if name != "__notes__"}
            error = ConnectorError(str(error), **attributes)
        if isinstance(error, ConnectorError):
            error.results = found
        return error

    def _last_results(self) -> FetchResults | None:
        """What the last fetch did, also where it failed or was interrupted; None where it did nothing."""
        text = self._native.results
        return None if text is None else results.fetch_results(text)

    def failures(self) -> list[Failure]:
        """Locations that a fetch has set aside, with their errors: the retry list."""
        return results.failures(json.loads(self._native.describe())["failures"])

    def put(
        self,
        location: str,
        data: Any,
        pack: str = "base",
        version: str = "",
        save_as: str = "parquet",
        replace: bool = False,
    ) -> int:
        """Put a table into a pack by hand; returns its rows.

        `data` is anything with an Arrow interface (a frame, a table, a Stream), a dict of columns or a list of dicts.
        A location that is there is only replaced where `replace` says so.
        """
        from qanat._frames import rows_of

        return self._native.put(pack, location, version, save_as, replace, rows_of(data))

    def remove(self, location: str, pack: str = "base") -> None:
        """Take a location out of a pack. Older versions still have it."""
        self._native.remove(pack, location)

    # ---- history ----

    def commit(self, message: str = "") -> int:
        """Make what is pending the next version, and return its number; the version that is there where nothing is.

        Others may have committed meanwhile: what they did is kept. ConflictError names the locations that both
        changed; nothing is written then, and the changes stay pending.
        """
        return self._native.commit(message)

    def history(self, first: int = 0, last: int | None = None) -> History:
        """The commits, newest last: of all versions, or of those from `first` to `last`."""
        return results.history(self._native.history(first, -1 if last is None else last))

    def status(self) -> Status:
        """What is pending."""
        return results.status(self._native.status())

    def undo(self) -> int:
        """Drop the last pending operation; returns how many were dropped: 1, or 0 where there is none."""
        return self._native.undo(False)

    def reset(self) -> int:
        """Drop all that is pending; returns how many operations that were."""
        return self._native.undo(True)

    def revert(self, version: options.Version, message: str | None = None) -> int:
        """Commit a new version that holds what `version` held, and return its number."""
        return self._native.revert(options.version_text(version), message)

    def refresh(self) -> int:
        """Take in what others committed; returns the version. What is pending stays so."""
        self._native.refresh()
        return self._native.version

    def describe(self) -> Description:
        """Packs, connectors, sources, configuration, checkpoints and failures."""
        return results.description(self._native.describe())

    def verify(self) -> list[Problem]:
        """Read everything again and say what is wrong: nothing, where the list is empty. See `qn.verify`."""
        return verify(self._path)

    def gc(
        self,
        min_age: float = DAY,
        keep_versions: int | None = None,
        timeout: float = SECONDS_TO_WAIT_FOR_WRITERS,
    ) -> Collected:
        """Remove blocks that no version names, or that none of the newest `keep_versions` names.

        What is younger than `min_age` seconds stays in any case: another writer may be about to commit it.
        """
        keep = -1 if keep_versions is None else keep_versions
        return results.collected(self._native.gc(int(min_age), keep, timeout))

    # ---- reading ----

    def schema(self, pack: str = "base") -> Schema:
        """The columns of a pack: those of its blocks, by name, in the order in which they first come."""
        return self._native.schema(pack)

    @property
    def num_rows(self) -> int:
        """The rows of the pack "base"."""
        return self._native.rows("base")

    def count_rows(self, pack: str = "base") -> int:
        """The rows of a pack."""
        return self._native.rows(pack)

    def packs(self) -> list[str]:
        """The names of the packs."""
        return [pack["name"] for pack in json.loads(self._native.describe())["packs"]]

    def stream(self, columns: Iterable[str] | None = None, pack: str = "base") -> Stream:
        """The rows of a pack, batch by batch, with bounded memory.

        `columns` may name "_location", "_version" and "_commit": where a row came from, and with which version of the
        bundle (null while it is pending).
        """
        return self._native.stream(pack, options.columns_tuple(columns))

    def to_polars(self, columns: Iterable[str] | None = None, pack: str = "base") -> pl.DataFrame:
        """The rows as a polars frame."""
        return self.stream(columns, pack).to_polars()

    def to_pyarrow(self, columns: Iterable[str] | None = None, pack: str = "base") -> pa.Table:
        """The rows as a pyarrow table."""
        need("pyarrow", "to_pyarrow()")
        return self.stream(columns, pack).to_pyarrow()

    def to_pandas(self, columns: Iterable[str] | None = None, pack: str = "base") -> pd.DataFrame:
        """The rows as a pandas frame."""
        need("pandas", "to_pandas()")
        need("pyarrow", "to_pandas()")
        return self.stream(columns, pack).to_pandas()

    def scan(self, columns: Iterable[str] | None = None, pack: str = "base") -> pl.LazyFrame:
        """The rows as a polars lazy frame, read when it is collected: only the columns that it needs.

        It reads what the bundle holds then. Memory is bounded as far as polars' streaming engine bounds it.
        """
        from qanat.bundle._scan import scan

        return scan(self, options.columns_tuple(columns), pack)

    def sql(
        self, query: str, params: Iterable[Any] | Mapping[str, Any] | None = None, provenance: bool = False
    ) -> pl.DataFrame:
        """Run a query in DuckDB, with the packs as tables, and return its rows as a polars frame.

        Packs are read as the query needs them, only the columns that it uses. With `provenance` the tables have the
        columns _location, _version and _commit too.
        """
        from qanat.bundle._sql import Query

        return Query(self, query, params, provenance).run()

    def files(self, version: options.Version | None = None, pack: str = "base") -> list[Block]:
        """The files of a pack, at this version or another, for any engine that reads them."""
        if version is None:
            return results.blocks(self._native.files(pack))
        with open(self._path, version, self._config) as then:
            return results.blocks(then._native.files(pack))

    def mirror(self, kind: Literal["delta"], pack: str = "base") -> DeltaMirror:
        """Write the committed history of a pack as a Delta table, beside the blocks: other engines open the bundle's
        folder. It can be written again at any time; what is there already is not.

        Refused where a block is a reference, is not Parquet, or has a column that Delta cannot hold.
        """
        from qanat.bundle._delta import mirror

        if kind != "delta":
            raise ArgumentError(f'a mirror is "delta", not {kind!r}')
        return mirror(self, pack)

    # ---- the object ----

    def close(self) -> None:
        """Close; what is pending is dropped. Streams that are open go on."""
        self._native.close()

    def __enter__(self) -> Bundle:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()

    def __repr__(self) -> str:
        where = "closed" if self.closed else f"at version {self.version}"
        return f"<qanat.Bundle {str(self._path)!r} {where}>"
