"""What a process of its own costs: processor time, which load changes little. Wall times are in bench/."""

from __future__ import annotations

import resource
from collections.abc import Callable
from typing import Any

import pytest

import qanat as qn

BATCHES = 300  # of 1.5 MB: the cost of starting varies, and has to be little beside them


def spent() -> float:
    """Seconds of the processor, of this process and of those that it has ended."""
    used = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return sum(one.ru_utime + one.ru_stime for one in used)


@pytest.mark.alone
@pytest.mark.trace("B1")
def test_a_process_of_its_own_costs_less_than_twice(opener: Callable[..., qn.ConnectorHandle]) -> None:
    def take(mode: str, batches: int) -> float:
        """Read a location whose numbers and texts are made as they are asked for, and look at each value."""
        before = spent()
        handle: Any = opener(mode, "Made", {"batches": str(batches)})
        total = sum(frame["id"].sum() + frame["text"].str.len_bytes().sum() for frame in frames(handle))
        handle.close()
        assert total > 0
        return spent() - before

    cost = {}
    for mode in ("python", "ipc"):
        begun = min(take(mode, 1) for _ in range(2))  # the process started and ended
        cost[mode] = min(take(mode, BATCHES) for _ in range(2)) - begun
    assert cost["ipc"] < 2 * cost["python"], cost


def frames(handle: qn.ConnectorHandle) -> Any:
    import polars as pl

    stream = handle.data("made")
    assert stream is not None
    return (pl.DataFrame(batch) for batch in stream)
