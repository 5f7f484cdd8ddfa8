"""Bundles for asyncio: every call of Bundle, awaitable, in a thread.

Calls of one bundle wait for each other. Cancelling one that fetches, reads or queries ends it; any other is waited for,
so that the bundle is free again when CancelledError comes. Progress callbacks are called in the thread.
"""

from __future__ import annotations

import asyncio
import os
import threading
from collections.abc import Awaitable, Callable, Generator, Iterable, Mapping
from functools import partial
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, Literal, TypeVar

from qanat.bundle import _bundle
from qanat.bundle import _options as options
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
from qanat.errors import QueryCancelledError

if TYPE_CHECKING:
    import pandas as pd
    import polars as pl
    import pyarrow as pa

    from qanat._stream import Batch, Schema
    from qanat._stream import Stream as SyncStream
    from qanat.bundle._delta import DeltaMirror

_T = TypeVar("_T")


async def create(path: str | os.PathLike[str], config: options.Config | None = None) -> Bundle:
    """As qanat.create."""
    return Bundle(await _in_thread(partial(_bundle.create, path, config)))


async def open(  # noqa: A001  (the name that the documents give it)
    path: str | os.PathLike[str], version: options.Version | None = None, config: options.Config | None = None
) -> Bundle:
    """As qanat.open."""
    return Bundle(await _in_thread(partial(_bundle.open, path, version, config)))


async def _in_thread(call: Callable[[], _T], cancel: Callable[[], object] | None = None) -> _T:
    """Run it in a thread. Where the task is cancelled, `cancel` is called, and the thread's end is awaited."""
    future = asyncio.get_running_loop().run_in_executor(None, call)
    try:
        return await asyncio.shield(future)
    except asyncio.CancelledError:
        if cancel is not None and not future.done():
            cancel()
        while not future.done():
            try:
                await asyncio.wait([future])
            except asyncio.CancelledError:
                continue
        if not future.cancelled():
            future.exception()  # asked for, so that asyncio does not report it as lost: the task was cancelled
        raise


class Stream:
    """The rows of a pack: `async for batch in b.stream()`, `await b.stream().to_polars()`. Opened when it is used."""

    def __init__(self, begin: Callable[[], Awaitable[SyncStream]]) -> None:
        self._begin = begin
        self._stream: SyncStream | None = None

    async def _opened(self) -> SyncStream:
        if self._stream is None:
            self._stream = await self._begin()
        return self._stream

    def __await__(self) -> Generator[Any, None, Stream]:
        """Open it: `stream = await b.stream()`."""
        yield from self._opened().__await__()
        return self

    async def schema(self) -> Schema:
        return (await self._opened()).schema

    def __aiter__(self) -> Stream:
        return self

    async def __anext__(self) -> Batch:
        stream = await self._opened()
        batch: Batch | None = await _in_thread(lambda: next(stream, None), stream.close)
        if batch is None:
            raise StopAsyncIteration
        return batch

    async def to_polars(self) -> pl.DataFrame:
        stream = await self._opened()
        return await _in_thread(stream.to_polars, stream.close)

    async def to_pyarrow(self) -> pa.Table:
        need("pyarrow", "to_pyarrow()")
        stream = await self._opened()
        return await _in_thread(stream.to_pyarrow, stream.close)

    async def to_pandas(self) -> pd.DataFrame:
        need("pandas", "to_pandas()")
        need("pyarrow", "to_pandas()")
        stream = await self._opened()
        return await _in_thread(stream.to_pandas, stream.close)

    async def close(self) -> None:
        if self._stream is not None:
            await _in_thread(self._stream.close)

    async def __aenter__(self) -> Stream:
        await self._opened()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        await self.close()


class Bundle:
    """A bundle whose calls are awaited; each does what the call of that name of qanat.Bundle does."""

    def __init__(self, bundle: _bundle.Bundle) -> None:
        self._bundle = bundle
        self._turn = asyncio.Lock()

    async def _call(self, call: Callable[[], _T], cancel: Callable[[], object] | None = None) -> _T:
        async with self._turn:
            return await _in_thread(call, cancel)

    @property
    def path(self) -> Path:
        return self._bundle.path

    @property
    def version(self) -> int:
        return self._bundle.version

    @property
    def closed(self) -> bool:
        return self._bundle.closed

    # ---- configuration and connectors ----

    async def config(self, key: str) -> str | None:
        return await self._call(partial(self._bundle.config, key))

    async def set_config(self, key: str, value: str | bool | int | None, store: bool = False) -> None:
        await self._call(partial(self._bundle.set_config, key, value, store))

    async def import_connector(self, name: str, uri: str, platform: str | None = None) -> None:
        await self._call(partial(self._bundle.import_connector, name, uri, platform))

    async def import_temp_connector(
        self, name: str, uri: str, runtime: str | None = None, platform: str | None = None
    ) -> None:
        await self._call(partial(self._bundle.import_temp_connector, name, uri, runtime, platform))

    async def drop_connector(self, name: str, platform: str | None = None) -> None:
        await self._call(partial(self._bundle.drop_connector, name, platform))

    async def drop_temp_connector(self, name: str, platform: str | None = None) -> None:
        await self._call(partial(self._bundle.drop_temp_connector, name, platform))

    async def rename_connector(self, name: str, new_name: str) -> None:
        await self._call(partial(self._bundle.rename_connector, name, new_name))

    async def rename_temp_connector(self, name: str, new_name: str) -> None:
        await self._call(partial(self._bundle.rename_temp_connector, name, new_name))

    async def create_source(
        self,
        name: str,
        arguments: Mapping[str, Any] | None = None,
        pack: str = "base",
        fetch: bool = False,
        save_as: str = "parquet",
    ) -> str:
        source = await self._call(partial(self._bundle.create_source, name, arguments, pack, False, save_as))
        if fetch:
            await self.fetch(pack, "add", source=source)
        return source

    async def drop_source(self, source_id: str) -> None:
        await self._call(partial(self._bundle.drop_source, source_id))

    # ---- fetch ----

    async def _fetch(self, call: Callable[..., FetchResults], progress: bool | Listener) -> FetchResults:
        stop = threading.Event()

        def work() -> FetchResults:
            with shown(progress) as listener:

                def watch(now: FetchProgress) -> None:
                    if stop.is_set():
                        raise QueryCancelledError("the fetch was cancelled")
                    if listener is not None:
                        listener(now)

                return call(progress=watch)

        return await self._call(work, stop.set)

    async def fetch(
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
        call = partial(self._bundle.fetch, pack, mode, dry_run, on_error=on_error, source=source, parallel=parallel)
        return await self._fetch(call, progress)

    async def fetch_all(
        self,
        mode: options.Mode = "add",
        dry_run: bool = False,
        progress: bool | Listener = False,
        on_error: Literal["raise", "quarantine"] = "raise",
        *,
        parallel: int | None = None,
    ) -> FetchResults:
        call = partial(self._bundle.fetch_all, mode, dry_run, on_error=on_error, parallel=parallel)
        return await self._fetch(call, progress)

    async def retry(
        self,
        pack: str | None = None,
        progress: bool | Listener = False,
        on_error: Literal["raise", "quarantine"] = "raise",
        *,
        parallel: int | None = None,
    ) -> FetchResults:
        return await self._fetch(partial(self._bundle.retry, pack, on_error=on_error, parallel=parallel), progress)

    async def failures(self) -> list[Failure]:
        return await self._call(self._bundle.failures)

    async def put(
        self,
        location: str,
        data: Any,
        pack: str = "base",
        version: str = "",
        save_as: str = "parquet",
        replace: bool = False,
    ) -> int:
        return await self._call(partial(self._bundle.put, location, data, pack, version, save_as, replace))

    async def remove(self, location: str, pack: str = "base") -> None:
        await self._call(partial(self._bundle.remove, location, pack))

    # ---- history ----

    async def commit(self, message: str = "") -> int:
        return await self._call(partial(self._bundle.commit, message))

    async def history(self, first: int = 0, last: int | None = None) -> History:
        return await self._call(partial(self._bundle.history, first, last))

    async def status(self) -> Status:
        return await self._call(self._bundle.status)

    async def undo(self) -> int:
        return await self._call(self._bundle.undo)

    async def reset(self) -> int:
        return await self._call(self._bundle.reset)

    async def revert(self, version: options.Version, message: str | None = None) -> int:
        return await self._call(partial(self._bundle.revert, version, message))

    async def refresh(self) -> int:
        return await self._call(self._bundle.refresh)

    async def describe(self) -> Description:
        return await self._call(self._bundle.describe)

    async def verify(self) -> list[Problem]:
        return await self._call(self._bundle.verify)

    async def gc(
        self,
        min_age: float = _bundle.DAY,
        keep_versions: int | None = None,
        timeout: float = _bundle.SECONDS_TO_WAIT_FOR_WRITERS,
    ) -> Collected:
        return await self._call(partial(self._bundle.gc, min_age, keep_versions, timeout))

    # ---- reading ----

    async def schema(self, pack: str = "base") -> Schema:
        return await self._call(partial(self._bundle.schema, pack))

    @property
    def num_rows(self) -> Awaitable[int]:
        """The rows of the pack "base": `await b.num_rows`."""
        return self.count_rows()

    async def count_rows(self, pack: str = "base") -> int:
        return await self._call(partial(self._bundle.count_rows, pack))

    async def packs(self) -> list[str]:
        return await self._call(self._bundle.packs)

    def stream(self, columns: Iterable[str] | None = None, pack: str = "base") -> Stream:
        names = options.columns_tuple(columns)
        return Stream(lambda: self._call(partial(self._bundle.stream, names, pack)))

    async def to_polars(self, columns: Iterable[str] | None = None, pack: str = "base") -> pl.DataFrame:
        return await self.stream(columns, pack).to_polars()

    async def to_pyarrow(self, columns: Iterable[str] | None = None, pack: str = "base") -> pa.Table:
        return await self.stream(columns, pack).to_pyarrow()

    async def to_pandas(self, columns: Iterable[str] | None = None, pack: str = "base") -> pd.DataFrame:
        return await self.stream(columns, pack).to_pandas()

    async def scan(self, columns: Iterable[str] | None = None, pack: str = "base") -> pl.LazyFrame:
        return await self._call(partial(self._bundle.scan, columns, pack))

    async def sql(
        self, query: str, params: Iterable[Any] | Mapping[str, Any] | None = None, provenance: bool = False
    ) -> pl.DataFrame:
        from qanat.bundle._sql import Query

        running = Query(self._bundle, query, params, provenance)
        return await self._call(running.run, running.cancel)

    async def files(self, version: options.Version | None = None, pack: str = "base") -> list[Block]:
        return await self._call(partial(self._bundle.files, version, pack))

    async def mirror(self, kind: Literal["delta"], pack: str = "base") -> DeltaMirror:
        return await self._call(partial(self._bundle.mirror, kind, pack))

    # ---- the object ----

    async def close(self) -> None:
        await self._call(self._bundle.close)

    async def __aenter__(self) -> Bundle:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        await self.close()

    def __repr__(self) -> str:
        return repr(self._bundle).replace("qanat.Bundle", "qanat.aio.Bundle", 1)
