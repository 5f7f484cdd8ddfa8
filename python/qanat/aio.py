"""Bundles for asyncio: the names of qanat.create, qanat.open and qanat.Bundle, awaitable.

import qanat as qn
async with await qn.aio.create("my/data") as b:
    await b.put("planets", {"name": ["Earth"]})
    await b.commit("first")
"""

from __future__ import annotations

from qanat.bundle._aio import Bundle, Stream, create, open  # noqa: A004  (its documented name)

__all__ = ["Bundle", "Stream", "create", "open"]
