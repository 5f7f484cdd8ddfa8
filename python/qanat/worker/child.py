"""One run, in the process that was forked for it: locked down first, then told what to do.

The process serves one run and ends by `done`, which leaves without finalising anything. Thread rule: the main thread.
"""

from __future__ import annotations

import asyncio
import gc
import sys
from typing import Any

from . import execute, network

# Young objects before a collection. A statement makes many dicts and throws few cycles away; measured on row mode.
YOUNG = 50_000


def prepare() -> None:
    """In the zygote, before the heap is frozen: what every run would do otherwise."""
    loop = asyncio.new_event_loop()
    loop.run_until_complete(asyncio.sleep(0))
    loop.close()
    asyncio.set_event_loop(None)
    execute.prepare()
    gc.disable()


def new_loop() -> tuple[asyncio.AbstractEventLoop, list[int]]:
    """An event loop and the descriptors that it lives on: after the lock-down no socket can be made."""
    loop = asyncio.SelectorEventLoop()
    asyncio.set_event_loop(loop)
    selector: Any = loop._selector  # type: ignore[attr-defined]
    ends = (loop._ssock, loop._csock)  # type: ignore[attr-defined]
    return loop, [selector.fileno(), *(end.fileno() for end in ends)]


def main(run: Any) -> None:
    """Does not return."""
    loop, kept = new_loop()
    network.install(run.names_fd)
    execute.warm_up()
    run.lock_down(kept)
    sys.stdin = None
    gc.set_threshold(YOUNG, 20, 20)
    gc.enable()
    execute.execute(run, loop)
