"""python -m qanat_sdk MODULE:CLASS [FOLDER]: serve a class of a module, looked for in the folder first."""

from __future__ import annotations

import importlib
import sys
from typing import Any

from qanat_sdk.serve import serve


def main() -> None:
    module_name, colon, path = (sys.argv[1] if len(sys.argv) in (2, 3) else "").partition(":")
    if not colon or not module_name or not path:
        sys.exit("usage: python -m qanat_sdk MODULE:CLASS [FOLDER]")
    if len(sys.argv) == 3:
        sys.path[0] = sys.argv[2]  # in place of the current folder, which `-m` has put there
    found: Any = importlib.import_module(module_name)
    for part in path.split("."):
        found = getattr(found, part)
    serve(found() if callable(found) and not hasattr(type(found), "discover") else found)


if __name__ == "__main__":
    main()
