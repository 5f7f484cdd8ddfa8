"""Nothing is left behind by the calls of bundles: objects, references, memory, descriptors."""

from __future__ import annotations

import gc
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import polars as pl
import pytest

import qanat as qn

ROWS = pl.DataFrame({"id": range(500), "name": [f"a name of some length, {n}" for n in range(500)]})


def resident_kib() -> int:
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith("VmRSS:"):
            return int(line.split()[1])
    raise AssertionError("no VmRSS")


def descriptors() -> int:
    return len(list(Path("/proc/self/fd").iterdir()))


def put_and_undo(bundle: qn.Bundle) -> None:
    bundle.put("again", ROWS, save_as="arrow")
    bundle.undo()


def half_read(bundle: qn.Bundle) -> None:
    with bundle.stream(["name", "_location"]) as stream:
        next(stream)
    _ = bundle.stream().__arrow_c_stream__()


def opened(bundle: qn.Bundle) -> None:
    with qn.open(bundle.path, 1) as other:
        assert other.num_rows == 500


def refused(bundle: qn.Bundle) -> None:
    for call in (
        lambda: bundle.stream(["moons"]),
        lambda: bundle.stream(["id", 5]),  # type: ignore[list-item]
        lambda: bundle.put("rows", ROWS),
        lambda: bundle.put("x", object()),
        lambda: bundle.put("x\0", ROWS),
        lambda: bundle.remove("nothing"),
        lambda: bundle.create_source("no.such"),
        lambda: qn.open(bundle.path, 99),
        lambda: bundle.revert("nonsense"),
    ):
        with pytest.raises((qn.QanatError, TypeError)):
            call()


def fetched(bundle: qn.Bundle) -> None:
    heard: list[Any] = []
    assert len(bundle.fetch(on_error="quarantine", progress=heard.append).failed) == 1
    with pytest.raises(ZeroDivisionError):
        bundle.fetch(progress=lambda now: 1 / 0)
    bundle.undo()


def documents(bundle: qn.Bundle) -> None:
    _ = bundle.history(), bundle.status(), bundle.describe(), bundle.files(), bundle.schema(), bundle.config("a.b")
    assert bundle.verify() == [] and bundle.failures() == []


CALLS: dict[str, tuple[int, Callable[[qn.Bundle], object]]] = {
    "read": (100, lambda bundle: bundle.to_polars(["id", "_commit"])),
    "half_read": (100, half_read),
    "put_and_undo": (40, put_and_undo),
    "opened": (100, opened),
    "refused": (40, refused),
    "fetched": (20, fetched),
    "documents": (60, documents),
}


@pytest.mark.parametrize("name", CALLS)
def test_rounds_leave_nothing(native: qn.Bundle, shelf: Any, name: str) -> None:
    shelf.put("bad", error="as ever")
    native.put("rows", ROWS)
    native.commit("rows")
    rounds, call = CALLS[name]

    def turn(count: int) -> None:
        for _ in range(count):
            call(native)
        gc.collect()

    turn(rounds // 3)
    objects, memory, files, nothing = len(gc.get_objects()), resident_kib(), descriptors(), sys.getrefcount(None)
    turn(rounds)
    assert len(gc.get_objects()) - objects < rounds // 2
    assert resident_kib() - memory < 8 * 1024
    assert descriptors() == files
    assert sys.version_info >= (3, 12) or abs(sys.getrefcount(None) - nothing) < rounds // 2
