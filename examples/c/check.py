"""Run an example against a fresh SQLite file, and compare what it prints: `check.py PROGRAM EXPECTED`."""

from __future__ import annotations

import subprocess
import sys
import tempfile
from pathlib import Path


def main(program: str, expected: str) -> int:
    with tempfile.TemporaryDirectory() as folder:
        uri = f"sqlite:///{Path(folder) / 'example.db'}"
        for _ in range(2):  # the second time the table is there
            done = subprocess.run([program, uri], capture_output=True, text=True, check=False, timeout=60)
            if done.returncode != 0 or done.stdout != Path(expected).read_text("utf-8"):
                print(f"{program} ended with {done.returncode} and printed\n{done.stdout}{done.stderr}")
                return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1], sys.argv[2]))
