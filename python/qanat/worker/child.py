"""One run, in the process that was forked for it: locked down first, then told what to do.

The process serves one run and ends by `done`, which leaves without finalising anything. Thread rule: the main thread.
"""

from __future__ import annotations

import asyncio
import gc
import select
import selectors
import socket
import sys
from typing import Any

from . import execute, network

# Young objects before a collection. A statement makes many dicts and throws few cycles away; measured on row mode.
YOUNG = 50_000


def prepare(extension: Any) -> None:
    """In the zygote, before the heap is frozen: what every run would do otherwise."""
    loop = asyncio.new_event_loop()
    loop.run_until_complete(asyncio.sleep(0))
    loop.close()
    asyncio.set_event_loop(None)
    execute.prepare(extension)
    network.install(-1)
    gc.disable()


class Loop:
    """An event loop, made when it is asked for: most statements need none, and it takes longer than they do. What it
    lives on is made at once, for after the lock-down no socket can be made."""

    def __init__(self) -> None:
        self._epoll = select.epoll()
        self._ends = socket.socketpair()
        self._loop: asyncio.AbstractEventLoop | None = None
        self.descriptors = [self._epoll.fileno(), *(end.fileno() for end in self._ends)]

    def get(self) -> asyncio.AbstractEventLoop:
        if self._loop is None:
            selector = type("Selector", (selectors.EpollSelector,), {"_selector_cls": lambda _: self._epoll})()
            plain = socket.socketpair
            socket.socketpair = lambda *_: self._ends
            try:
                self._loop = asyncio.SelectorEventLoop(selector)
            finally:
                socket.socketpair = plain
            asyncio.set_event_loop(self._loop)
        return self._loop


def main(run: Any, extension: Any) -> None:
    """Does not return."""
    loop = Loop()
    if run.names_fd >= 0:
        network.install(run.names_fd)
    execute.warm_up(extension)
    run.lock_down(loop.descriptors)
    sys.stdin = None
    gc.set_threshold(YOUNG, 20, 20)
    gc.enable()
    execute.execute(run, loop)
