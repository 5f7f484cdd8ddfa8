"""python -m qanat.compat SCRIPT [ARGUMENT ...]: run a script with the names of the systems before this one."""

from __future__ import annotations

import runpy
import sys
from pathlib import Path

from qanat.compat import install_as, names


def main() -> None:
    if len(sys.argv) < 2:
        sys.exit(f"usage: python -m qanat.compat SCRIPT [ARGUMENT ...]\nruns it with {', '.join(names())} importable")
    script = Path(sys.argv[1])
    if not script.is_file():
        sys.exit(f"python -m qanat.compat: there is no file {script}")
    install_as()
    sys.argv = sys.argv[1:]
    sys.path[0] = str(script.resolve().parent)
    runpy.run_path(str(script), run_name="__main__")


if __name__ == "__main__":
    main()
