"""No process stays: not where statements try to, not when the engine ends, not when it is killed during runs."""

from __future__ import annotations

import subprocess
import sys

import pytest

# Runs as the parent of all that loses its own (PR_SET_CHILD_SUBREAPER): starts an engine, ends it or lets it end, and
# waits for every descendant. What does not end makes it time out.
REAPER = """
import ctypes, os, signal, subprocess, sys
ctypes.CDLL(None).prctl(36, 1, 0, 0, 0)
engine = subprocess.Popen([sys.executable, "-c", sys.argv[1]], stdout=subprocess.PIPE)
line = engine.stdout.readline()
if sys.argv[2] == "kill":
    engine.send_signal(signal.SIGKILL)
engine.stdout.read()  # all that had its end of the pipe are gone, or have closed it
ended = 0
while True:
    try:
        pid, status = os.wait()
    except ChildProcessError:
        break
    ended += 1
print(line.decode().strip(), ended)
"""
ENGINE = """
import os, sys, threading
os.environ["QANAT_TEST_LANGUAGE_RULES"] = "off"
import qanat as qn
def run(statement):
    return qn.Processor(statement, output={"got": "Utf8?"}, mode="bulk", timeout=600).run()
"""
STAYING = """
for statement in (
    "import threading, time\\nthreading.Thread(target=time.sleep, args=(600,)).start()\\nreturn []",
    "import atexit, time\\natexit.register(time.sleep, 600)\\nreturn []",
    "import signal\\nfor s in range(1, 32):\\n    try:\\n        signal.signal(s, signal.SIG_IGN)\\n"
    "    except (OSError, ValueError):\\n        pass\\nreturn []",
    "import os\\nos.closerange(0, 1000)\\nimport time\\ntime.sleep(600)\\nreturn []",
):
    run(statement)
print("ran", flush=True)
"""
IN_THE_MIDDLE = """
stubborn = (
    "import signal, os\\nfor s in range(1, 32):\\n    try:\\n        signal.signal(s, signal.SIG_IGN)\\n"
    "    except (OSError, ValueError):\\n        pass\\nlog.info('on')\\nwhile True:\\n    pass\\nreturn []"
)
for _ in range(4):
    threading.Thread(target=run, args=(stubborn,), daemon=True).start()
run("return []")
print("ran", flush=True)
threading.Event().wait()
"""


def descendants_end(engine: str, how: str) -> int:
    """How many processes there were, all of which have ended."""
    command = [sys.executable, "-c", REAPER, ENGINE + engine, how]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=120)
    assert done.returncode == 0, done.stderr
    word, count = done.stdout.split()
    assert word == "ran", done.stderr
    return int(count)


@pytest.mark.trace("B7")
@pytest.mark.parametrize("tier", ["full", "reduced"])
@pytest.mark.parametrize(("engine", "how"), [(STAYING, "wait"), (IN_THE_MIDDLE, "kill")], ids=["ends", "is killed"])
def test_no_process_is_left(tier: str, engine: str, how: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("QANAT_SANDBOX", tier)
    assert descendants_end(engine, how) >= 2  # the engine and at least one interpreter
