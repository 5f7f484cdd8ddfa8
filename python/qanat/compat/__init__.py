"""The names under which the systems before this one were imported, on request only.

    import qanat.compat
    qanat.compat.install_as("industrydb")
    import industrydb

`python -m qanat.compat SCRIPT` runs a script with all of them. Nothing is aliased unless asked.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from types import ModuleType

from qanat import _sdk
from qanat.compat import _bundle, _connector, _database
from qanat.errors import ArgumentError

__all__ = ["install_as", "installed", "names"]

_MAKERS: dict[str, Callable[[], dict[str, ModuleType]]] = {
    "bundlebase": _bundle.modules,
    "bundlebase_sdk": _connector.modules,
    "industrydb": _database.modules,
}


def names() -> list[str]:
    """The names that can be installed."""
    return sorted(_MAKERS)


def installed() -> list[str]:
    """The names that stand for qanat in this process."""
    return [name for name in names() if getattr(sys.modules.get(name), "__qanat_compat__", False)]


def install_as(*wanted: str) -> None:
    """Make `import NAME` give qanat under the names of that system; without names, all of them that can be had.

    Installing twice is allowed. A module of that name that is not ours, imported already, is left alone and an
    ArgumentError says so.
    """
    for name in wanted or names():
        maker = _MAKERS.get(name)
        if maker is None:
            raise ArgumentError(f"{name!r} is not a name that qanat can stand in for; known are {', '.join(names())}")
        try:
            made = maker()
        except ImportError as error:
            if not wanted:
                continue  # a script that needs it says so itself
            package, install = _sdk.missing(error)
            raise ArgumentError(f"{name} needs qanat-sdk: {package} is not installed", hint=install) from error
        for module_name in made:
            present = sys.modules.get(module_name)
            if present is not None and not getattr(present, "__qanat_compat__", False):
                raise ArgumentError(f"{module_name} has been imported already and is another package")
        for module_name, module in made.items():
            sys.modules.setdefault(module_name, module)
