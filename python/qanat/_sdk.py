"""What to do where the SDK of connectors cannot be imported: it is a distribution of its own, in the same tree."""

from __future__ import annotations

INSTALL = "pip install ./sdk/python"  # in a clone; as README.md says


def missing(error: ImportError) -> tuple[str, str]:
    """The package that could not be imported, and how to install it: the SDK's, or what the SDK needs."""
    package = (error.name or "").partition(".")[0]
    return package, f"pip install {package}" if package == "pyarrow" else f"in a clone of qanat: {INSTALL}"
