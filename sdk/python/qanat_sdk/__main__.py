"""python -m qanat_sdk MODULE:CLASS: serve a class that is no script of its own, found in the current folder first."""

from __future__ import annotations

import importlib
import sys
from typing import Any

from qanat_sdk.serve import serve


def main() -> None:
    module_name, colon, path = (sys.argv[1] if len(sys.argv) == 2 else "").partition(":")
    if not colon or not module_name or not path:
        sys.exit("usage: python -m qanat_sdk MODULE:CLASS")
    found: Any = importlib.import_module(module_name)  # `-m` has put the current folder first on the path
    for part in path.split("."):
        found = getattr(found, part)
    serve(found() if callable(found) and not hasattr(type(found), "discover") else found)


if __name__ == "__main__":
    main()
