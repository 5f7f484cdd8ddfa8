"""Warming a zygote up: import what runs will import, and use it once, so that no child has to.

What libraries load and build at their first use (extension modules, caches, parsers, tables, fonts) every child would
load and build again, behind walls that let nothing be written. A module that is not there, or does not import, is left
alone: the statement that imports it gets the exception, with its line. Thread rule: the zygote's only thread.
"""

from __future__ import annotations

import contextlib
import importlib
import importlib.util
import io
import os
import sys
import traceback
from collections.abc import Callable, Iterable, Iterator
from typing import Any

# Cheap, and what nearly every statement uses.
ALWAYS = ("base64", "datetime", "decimal", "io", "itertools", "json", "math", "random", "string", "time", "warnings")

# Their import starts threads, which a process that forks must not have: each run imports them for itself.
THREADED = frozenset({"polars"})


def up(modules: Iterable[str]) -> None:
    """Import ALWAYS and `modules`, run the warm-ups of the packages among them, and see to it that no child has the
    chance of another."""
    names = [*ALWAYS, *(name for name in modules if name not in ALWAYS and name.partition(".")[0] not in THREADED)]
    loaded: set[str] = set()
    for name in names:
        if import_one(name):
            loaded.add(name.partition(".")[0])
    for package, warm in WARM.items():
        if package in loaded:
            attempt(package, warm)
    numpy_random = sys.modules.get("numpy.random")  # also where only pandas or another package brought it along
    if numpy_random is not None:
        # Unlike `random`, it would go on in all children from the state of their zygote.
        os.register_at_fork(after_in_child=numpy_random.seed)


def import_one(name: str) -> bool:
    try:
        with importing(name.partition(".")[0]):
            importlib.import_module(name)
    except ModuleNotFoundError:
        return False
    except Exception:  # noqa: BLE001  (a broken package is told to the statement that imports it)
        print(f"importing {name} failed:", file=sys.stderr)
        traceback.print_exc()
        return False
    return True


def attempt(package: str, warm: Callable[[], None]) -> None:
    """A warm-up that fails costs time, not results: the statement that needs the same meets the failure itself."""
    try:
        warm()
    except Exception:  # noqa: BLE001
        print(f"warming up {package} failed:", file=sys.stderr)
        traceback.print_exc()


@contextlib.contextmanager
def importing(package: str) -> Iterator[None]:
    """What the import of a package needs around it."""
    if package == "matplotlib" and importlib.util.find_spec(package) is not None:
        with nothing_to_write():
            yield
    else:
        yield


@contextlib.contextmanager
def nothing_to_write() -> Iterator[None]:
    """matplotlib makes a folder for itself and writes its list of fonts there. Here nothing can be written: it gets a
    folder to read from, which may hold that list, and what it writes goes nowhere; the list stays in memory."""
    import builtins
    import logging
    import tempfile

    folder = os.environ.get("MPLCONFIGDIR", "/")
    logger = logging.getLogger("matplotlib")
    before = (tempfile.mkdtemp, builtins.open, logger.level)

    def open_to_read(file: Any, mode: str = "r", *arguments: Any, **keywords: Any) -> Any:
        return io.StringIO() if "w" in mode else before[1](file, mode, *arguments, **keywords)

    logger.setLevel(logging.ERROR)
    for target, name, value in (
        (tempfile, "mkdtemp", lambda *_, **__: folder),
        (builtins, "open", open_to_read),
    ):
        setattr(target, name, value)
    try:
        from matplotlib import cbook

        setattr(cbook, "_lock_path", contextlib.nullcontext)  # noqa: B010  (no stubs)
        yield
    finally:
        tempfile.mkdtemp, builtins.open = before[:2]
        logger.setLevel(before[2])


# ---- warm-ups --------------------------------------------------------------------------------------------------------


def warm_json() -> None:
    import json

    json.dumps(json.loads('{"a": [1, 2.5, "\\u00e9", null]}'), indent=1, ensure_ascii=False)


def warm_datetime() -> None:
    import datetime

    datetime.datetime.strptime("2024-01-02 03:04:05.6+0000", "%Y-%m-%d %H:%M:%S.%f%z").isoformat()


def warm_random() -> None:
    import random

    # Every child gets a state of its own: `random` sees to that after a fork.
    random.random()


def warm_xml() -> None:
    from xml.etree import ElementTree

    ElementTree.tostring(ElementTree.fromstring("<a b='c'>d</a>"))


def warm_ssl() -> None:
    import ssl

    ssl.create_default_context()


def warm_numpy() -> None:
    import numpy

    array = numpy.arange(12.0).reshape(3, 4)
    numpy.linalg.svd(array)
    numpy.linalg.inv(numpy.eye(2))
    numpy.random.default_rng(1).normal(size=4)
    numpy.sort(array, axis=None).mean()
    numpy.array2string(array)
    numpy.array(["2024-01-02"], dtype="datetime64[ns]").astype("int64")


def warm_pandas() -> None:
    import pandas

    frame = pandas.DataFrame({"k": ["a", "b", "a"], "n": [1, 2, 3], "x": [1.5, None, 2.5]})
    frame["t"] = pandas.to_datetime(["2024-01-02", "2024-01-03T04:05:06", "2024-01-04"], format="ISO8601", utc=True)
    frame.groupby("k").agg({"n": "sum", "x": "mean"}).reset_index()
    frame.merge(frame[["k", "n"]], on="k", how="left").drop_duplicates().sort_values("n_x")
    frame.pivot_table(index="k", values="n", aggfunc="max")
    pandas.read_csv(io.StringIO(frame.to_csv(index=False)))
    pandas.read_json(io.StringIO(frame.to_json(orient="records")), orient="records")
    frame.set_index("t").resample("D")["n"].sum().rolling(2).mean()
    frame["k"].astype("category").cat.codes.to_numpy()
    frame["k"].str.upper().str.contains("A", regex=True)
    pandas.concat([frame, frame]).fillna({"x": 0.0}).to_dict("records")
    frame.query("n > 1").describe()
    repr(frame)


def warm_matplotlib() -> None:
    import matplotlib

    matplotlib.use("agg")
    from matplotlib import pyplot

    figure, axes = pyplot.subplots()
    axes.plot([1, 2, 3], [1, 4, 9], label="a")
    axes.bar([1, 2], [3, 4])
    axes.set_title("title")
    axes.legend()
    figure.savefig(io.BytesIO(), format="png")
    figure.savefig(io.BytesIO(), format="svg")
    pyplot.close(figure)


def warm_yaml() -> None:
    import yaml

    yaml.safe_dump(yaml.safe_load("a: [1, 2.5, 2024-01-02, null, 'x']"))


def warm_deepdiff() -> None:
    import deepdiff

    deepdiff.DeepDiff({"a": [1, 2]}, {"a": [1, 3]}, ignore_order=True).to_json()


def warm_jose() -> None:
    from jose import jwt

    jwt.decode(jwt.encode({"a": 1}, "secret", algorithm="HS256"), "secret", algorithms=["HS256"])


def warm_passlib() -> None:
    from passlib.hash import pbkdf2_sha256, sha256_crypt

    pbkdf2_sha256.using(rounds=1).verify("a", pbkdf2_sha256.using(rounds=1).hash("a"))
    sha256_crypt.using(rounds=1000).hash("a")


def warm_httpx() -> None:
    import asyncio

    import httpx

    with httpx.Client() as client:
        client.build_request("GET", "https://localhost/")

    async def construct() -> None:
        async with httpx.AsyncClient():
            pass

    asyncio.run(construct())


def warm_openai() -> None:
    import openai

    openai.api_key = None
    for name in ("requests", "aiohttp"):
        with contextlib.suppress(ModuleNotFoundError):
            importlib.import_module(name)


WARM: dict[str, Callable[[], Any]] = {
    "json": warm_json,
    "datetime": warm_datetime,
    "random": warm_random,
    "xml": warm_xml,
    "ssl": warm_ssl,
    "numpy": warm_numpy,
    "pandas": warm_pandas,
    "matplotlib": warm_matplotlib,
    "yaml": warm_yaml,
    "deepdiff": warm_deepdiff,
    "jose": warm_jose,
    "passlib": warm_passlib,
    "httpx": warm_httpx,
    "openai": warm_openai,
}
