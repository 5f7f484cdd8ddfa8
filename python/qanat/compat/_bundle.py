"""`bundlebase`: the bundle calls of the connector document, `import bundlebase.sync as bb`."""

from __future__ import annotations

from collections.abc import Callable
from importlib import import_module
from types import ModuleType

_NAMES = ("Bundle", "create", "open")


def modules() -> dict[str, ModuleType]:
    """The package, whose calls are awaitable, and its module `sync`. What they are is imported when it is asked for."""
    package = ModuleType("bundlebase", "qanat's bundles under the names of bundlebase: awaitable, as qanat.aio.")
    sync = ModuleType("bundlebase.sync", "qanat's bundles under the names of bundlebase.")
    package.__dict__.update(__path__=[], sync=sync)
    for module, ours in ((package, "qanat.aio"), (sync, "qanat.bundle")):
        module.__dict__.update(__qanat_compat__=True, __all__=list(_NAMES), __getattr__=_from(module, ours))
    return {"bundlebase": package, "bundlebase.sync": sync}


def _from(module: ModuleType, ours: str) -> Callable[[str], object]:
    def get(name: str) -> object:
        if name not in _NAMES:
            raise AttributeError(f"module {module.__name__!r} has no attribute {name!r}")
        return getattr(import_module(ours), name)

    return get
