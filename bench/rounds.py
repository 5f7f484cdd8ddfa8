"""rounds.py: what the benches whose arms stand in their own file share: the arms, their rounds, the command line.

Every arm of a table is measured once a round, in turn, each in a process of its own, which is the bench's file again
with `--arm TABLE ARM SCALE` and prints a line of JSON.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

Figures = dict[str, float]  # "value", and whatever else the table shows
Arm = Callable[[float], Figures]
Results = dict[str, list[Figures]]  # of each arm, those of its rounds
ARMS: dict[tuple[str, str], Arm] = {}


def arm(table: str, name: str) -> Callable[[Arm], Arm]:
    def register(measure: Arm) -> Arm:
        ARMS[table, name] = measure
        return measure

    return register


def measure(bench: Path, table: str, name: str, scale: float) -> Figures:
    command = [sys.executable, str(bench), "--arm", table, name, str(scale)]
    done = subprocess.run(command, capture_output=True, text=True, check=False, cwd=bench.parent)
    if done.returncode != 0:
        raise SystemExit(f"{table}, {name}: {done.stderr[-2000:]}")
    return dict(json.loads(done.stdout.splitlines()[-1]))


def main(
    bench: Path, description: str | None, titles: dict[str, str], columns: Callable[[str, Results], list[str]]
) -> None:
    """Run the tables named, or all of `titles`; `columns` gives the lines of a table below its title."""
    if sys.argv[1:2] == ["--arm"]:
        print(json.dumps(ARMS[sys.argv[2], sys.argv[3]](float(sys.argv[4]))))
        return
    parser = argparse.ArgumentParser(description=description)
    parser.add_argument("tables", nargs="*")
    parser.add_argument("--scale", type=float, default=1.0)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--markdown", type=Path)
    arguments = parser.parse_args()
    output: list[str] = []
    for table in arguments.tables or titles:
        results: Results = {name: [] for known, name in ARMS if known == table}
        for _ in range(arguments.rounds):
            for name, runs in results.items():
                runs.append(measure(bench, table, name, arguments.scale))
        lines = [f"### {titles[table]}", "", f"`{table}`", "", *columns(table, results), ""]
        print("\n".join(lines), flush=True)
        output += lines
    if arguments.markdown:
        arguments.markdown.write_text("\n".join(output), encoding="utf-8")
