"""`bundlebase_sdk`: the names of the connector document, which qanat-sdk has."""

from __future__ import annotations

from importlib import import_module
from types import ModuleType

_NAMES = ("Connector", "Location", "StableUrl", "serve")


def modules() -> dict[str, ModuleType]:
    """The package and its module `serve`. ImportError where qanat-sdk is not installed."""
    sdk = import_module("qanat_sdk")
    inner = import_module("qanat_sdk.serve")
    package = ModuleType("bundlebase_sdk", "qanat_sdk under the names of bundlebase_sdk.")
    serving = ModuleType("bundlebase_sdk.serve", inner.__doc__)
    package.__dict__.update({name: getattr(sdk, name) for name in _NAMES}, __path__=[], __all__=list(_NAMES))
    serving.__dict__.update(serve=inner.serve, _serve=inner._serve, __all__=["serve"])
    for module in (package, serving):
        module.__dict__.update(__qanat_compat__=True, __version__=sdk.__version__)
    return {"bundlebase_sdk": package, "bundlebase_sdk.serve": serving}
