"""qn.aio: the same names, awaitable; cancelling ends what runs."""

from __future__ import annotations

import asyncio
import inspect
from pathlib import Path
from typing import Any

import pytest

import qanat as qn
import qanat.aio
from qanat.bundle import FetchProgress


def public(kind: type) -> set[str]:
    return {name for name in vars(kind) if not name.startswith("_")}


def test_the_names_and_parameters_are_the_same() -> None:
    assert public(qn.aio.Bundle) == public(qn.Bundle)
    for name in public(qn.Bundle):
        sync, aio = vars(qn.Bundle)[name], vars(qn.aio.Bundle)[name]
        assert isinstance(sync, property) == isinstance(aio, property), name
        if not isinstance(sync, property):
            assert inspect.signature(sync).parameters == inspect.signature(aio).parameters, name
            assert inspect.iscoroutinefunction(aio) or name == "stream", name
    for name in ("create", "open"):
        assert inspect.signature(getattr(qn, name)).parameters == inspect.signature(getattr(qn.aio, name)).parameters


def test_a_whole_life(tmp_path: Path) -> None:
    async def life() -> None:
        async with await qn.aio.create(tmp_path / "data") as b:
            assert await b.put("one", {"id": [1, 2]}) == 2
            assert await b.put("two", {"id": [3]}, pack="other") == 1
            assert not (await b.status()).is_empty()
            assert await b.commit("first") == 1
            assert [entry.message for entry in await b.history(1)] == ["first"]
            assert await b.num_rows == 2 and await b.count_rows("other") == 1
            assert (await b.schema()).names == ["id"]
            assert (await b.to_polars())["id"].to_list() == [1, 2]
            assert (await b.to_pyarrow(["id"]))["id"].to_pylist() == [1, 2]
            assert (await b.to_pandas())["id"].tolist() == [1, 2]
            assert [batch.num_rows async for batch in b.stream()] == [2]
            async with await b.stream(pack="other") as stream:
                assert (await stream.schema()).names == ["id"]
                assert (await stream.to_polars())["id"].to_list() == [3]
            assert (await b.sql("select sum(id) as s from base")).item() == 3
            assert (await b.scan()).collect().height == 2
            assert (await b.mirror("delta")).version == 0
            assert await b.verify() == []
        assert b.closed
        async with await qn.aio.open(tmp_path / "data", 0) as b:
            assert (b.version, await b.packs()) == (0, [])
            with pytest.raises(qn.ConfigurationError):
                await b.put("more", {"id": [1]})

    asyncio.run(life())


def test_calls_of_one_bundle_wait_for_each_other(tmp_path: Path) -> None:
    async def together() -> None:
        async with await qn.aio.create(tmp_path / "data") as b:
            await asyncio.gather(*(b.put(f"n{i}", {"id": [i]}) for i in range(8)))
            assert await b.num_rows == 8

    asyncio.run(together())


def test_errors_come_through(tmp_path: Path) -> None:
    async def wrong() -> None:
        async with await qn.aio.create(tmp_path / "data") as b:
            with pytest.raises(qn.QanatError, match="moons"):
                await b.to_polars(["moons"])
            with pytest.raises(qn.ConfigurationError):
                await qn.aio.create(tmp_path / "data")

    asyncio.run(wrong())


def test_fetch_and_its_failures(empty: qn.Bundle, shelf: Any) -> None:
    shelf.put("one", {"id": [1]})
    shelf.put("two", error="no")
    heard: list[FetchProgress] = []

    async def fetch() -> None:
        b = qn.aio.Bundle(empty)
        await b.import_temp_connector("test.shop", "shop:Shop", runtime="python")
        await b.create_source("test.shop", shelf.arguments)
        with pytest.raises(qn.ConnectorError) as raised:
            await b.fetch("base", "add", progress=heard.append)
        assert raised.value.results is not None and raised.value.results.added == ["one"]
        shelf.put("two", {"id": [2]})
        assert (await b.retry()).added == ["two"]
        assert await b.failures() == []

    asyncio.run(fetch())
    assert heard and heard[-1].locations == 2


def test_cancelling_ends_a_fetch(bundle: qn.Bundle, shelf: Any) -> None:
    shelf.put("endless", sleep=0.01)

    async def cancelled() -> None:
        b = qn.aio.Bundle(bundle)
        running = asyncio.Event()
        loop = asyncio.get_running_loop()
        task = asyncio.create_task(
            b.fetch(progress=lambda now: loop.call_soon_threadsafe(running.set) if now.rows else None)
        )
        await asyncio.wait_for(running.wait(), 30)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await asyncio.wait_for(task, 30)
        made = [operation.operation for operation in (await b.status()).operations]
        assert made == ["create_source"], "the bundle is free again, and half a location is none"

    asyncio.run(cancelled())


def test_cancelling_ends_a_query(tmp_path: Path) -> None:
    async def cancelled() -> None:
        async with await qn.aio.create(tmp_path / "data") as b:
            await b.put("one", {"id": list(range(2000))})
            endless = "select count(*) from base a, base b, base c, base d where a.id + b.id + c.id + d.id = -1"
            task = asyncio.create_task(b.sql(endless))
            while not b._turn.locked():
                await asyncio.sleep(0)
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await asyncio.wait_for(task, 60)
            assert await b.num_rows == 2000

    asyncio.run(cancelled())
