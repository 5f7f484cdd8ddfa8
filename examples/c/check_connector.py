"""Run the host of connectors, and compare what it prints: `check_connector.py EXPECTED PROGRAM URI [ARGUMENTS]`."""

from __future__ import annotations

import importlib.util
import os
import subprocess
import sys
from pathlib import Path

SKIPPED = 77  # what meson takes for a skip
SDK = Path(__file__).resolve().parents[2] / "sdk" / "python"


def main(expected: str, *command: str) -> int:
    if command[1].endswith(".py") and importlib.util.find_spec("pyarrow") is None:
        print("skipped: the connector's SDK needs pyarrow, which this Python does not have")
        return SKIPPED
    environment = {**os.environ, "PYTHON": sys.executable, "PYTHONPATH": str(SDK)}
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=100, env=environment)
    if done.returncode != 0 or done.stdout != Path(expected).read_text("utf-8"):
        print(f"{command} ended with {done.returncode} and printed\n{done.stdout}{done.stderr}")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
