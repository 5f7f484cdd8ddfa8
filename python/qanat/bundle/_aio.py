"""Bundles for asyncio: every call of Bundle, awaitable, in a thread.

Calls of one bundle wait for each other. Cancelling one that fetches, reads or queries ends it; any other is waited for,
so that the bundle is free again when CancelledError comes. Progress callbacks are called in the thread.
"""

from __future__ import annotations

import asyncio
import inspect
import os
import threading
from collections.abc import Awaitable, Callable, Coroutine, Generator, Iterable, Mapping
from functools import partial, wraps
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, Concatenate, ParamSpec, TypeVar

from qanat.bundle import _bundle
from qanat.bundle import _options as options
from qanat.bundle._needs import need
from qanat.bundle._progress import shown
from qanat.bundle._results import FetchProgress, FetchResults
from qanat.errors import QueryCancelledError

if TYPE_CHECKING:
    import pandas as pd
    import polars as pl
    import pyarrow as pa

    from qanat._stream import Batch, Schema
    from qanat._stream import Stream as SyncStream

_P = ParamSpec("_P")
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


def _awaited(
    method: Callable[Concatenate[_bundle.Bundle, _P], _T],
) -> Callable[Concatenate[Bundle, _P], Coroutine[Any, Any, _T]]:
    """The method of qanat.Bundle, awaitable: its name, arguments and description stay."""

    @wraps(method)
    async def call(self: Bundle, /, *args: _P.args, **kwargs: _P.kwargs) -> _T:
        return await self._call(lambda: method(self._bundle, *args, **kwargs))

    return call


def _fetching(
    method: Callable[Concatenate[_bundle.Bundle, _P], FetchResults],
) -> Callable[Concatenate[Bundle, _P], Coroutine[Any, Any, FetchResults]]:
    """As _awaited, of a method that fetches: cancelling the task ends it, out of its progress."""
    signature = inspect.signature(method)

    @wraps(method)
    async def call(self: Bundle, /, *args: _P.args, **kwargs: _P.kwargs) -> FetchResults:
        given = signature.bind(self._bundle, *args, **kwargs)
        stop = threading.Event()

        def work() -> FetchResults:
            with shown(given.arguments.get("progress", False)) as listener:

                def watch(now: FetchProgress) -> None:
                    if stop.is_set():
                        raise QueryCancelledError("the fetch was cancelled")
                    if listener is not None:
                        listener(now)

                given.arguments["progress"] = watch
                return method(*given.args, **given.kwargs)

        return await self._call(work, stop.set)

    return call


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

    config = _awaited(_bundle.Bundle.config)
    set_config = _awaited(_bundle.Bundle.set_config)
    import_connector = _awaited(_bundle.Bundle.import_connector)
    import_temp_connector = _awaited(_bundle.Bundle.import_temp_connector)
    drop_connector = _awaited(_bundle.Bundle.drop_connector)
    drop_temp_connector = _awaited(_bundle.Bundle.drop_temp_connector)
    rename_connector = _awaited(_bundle.Bundle.rename_connector)
    rename_temp_connector = _awaited(_bundle.Bundle.rename_temp_connector)
    drop_source = _awaited(_bundle.Bundle.drop_source)

    async def create_source(
        self,
        name: str,
        arguments: Mapping[str, Any] | None = None,
        pack: str = "base",
        fetch: bool = False,
        save_as: str = "parquet",
    ) -> str:
        """As that of qanat.Bundle."""
        source = await self._call(partial(self._bundle.create_source, name, arguments, pack, False, save_as))
        if fetch:
            await self.fetch(pack, "add", source=source)
        return source

    # ---- fetch ----

    fetch = _fetching(_bundle.Bundle.fetch)
    fetch_all = _fetching(_bundle.Bundle.fetch_all)
    retry = _fetching(_bundle.Bundle.retry)
    failures = _awaited(_bundle.Bundle.failures)
    put = _awaited(_bundle.Bundle.put)
    remove = _awaited(_bundle.Bundle.remove)

    # ---- history ----

    commit = _awaited(_bundle.Bundle.commit)
    history = _awaited(_bundle.Bundle.history)
    status = _awaited(_bundle.Bundle.status)
    undo = _awaited(_bundle.Bundle.undo)
    reset = _awaited(_bundle.Bundle.reset)
    revert = _awaited(_bundle.Bundle.revert)
    refresh = _awaited(_bundle.Bundle.refresh)
    describe = _awaited(_bundle.Bundle.describe)
    verify = _awaited(_bundle.Bundle.verify)
    gc = _awaited(_bundle.Bundle.gc)

    # ---- reading ----

    schema = _awaited(_bundle.Bundle.schema)
    count_rows = _awaited(_bundle.Bundle.count_rows)
    packs = _awaited(_bundle.Bundle.packs)
    scan = _awaited(_bundle.Bundle.scan)
    files = _awaited(_bundle.Bundle.files)
    mirror = _awaited(_bundle.Bundle.mirror)

    @property
    def num_rows(self) -> Awaitable[int]:
        """The rows of the pack "base": `await b.num_rows`."""
        return self.count_rows()

    def stream(self, columns: Iterable[str] | None = None, pack: str = "base") -> Stream:
        names = options.columns_tuple(columns)
        return Stream(lambda: self._call(partial(self._bundle.stream, names, pack)))

    async def to_polars(self, columns: Iterable[str] | None = None, pack: str = "base") -> pl.DataFrame:
        return await self.stream(columns, pack).to_polars()

    async def to_pyarrow(self, columns: Iterable[str] | None = None, pack: str = "base") -> pa.Table:
        return await self.stream(columns, pack).to_pyarrow()

    async def to_pandas(self, columns: Iterable[str] | None = None, pack: str = "base") -> pd.DataFrame:
        return await self.stream(columns, pack).to_pandas()

    async def sql(
        self, query: str, params: Iterable[Any] | Mapping[str, Any] | None = None, provenance: bool = False
    ) -> pl.DataFrame:
        from qanat.bundle._sql import Query

        running = Query(self._bundle, query, params, provenance)
        return await self._call(running.run, running.cancel)

    # ---- the object ----

    close = _awaited(_bundle.Bundle.close)

    async def __aenter__(self) -> Bundle:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        await self.close()

    def __repr__(self) -> str:
        return repr(self._bundle).replace("qanat.Bundle", "qanat.aio.Bundle", 1)
