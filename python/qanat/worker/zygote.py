"""The zygote's program: `python -I -S -B zygote.py CONFIG_JSON`, started by the launcher inside the read-only root.

CONFIG_JSON is an object of
  tier       "full" or "reduced"
  paths      the import paths of the runtime, in order
  readable   what runs may read: files and folders
  worker     the folder of this file
  extension  the file of the extension `_worker`
  version    of the interpreter that the extension is for: "3.11"
  modules    to import before forking: those of the allow list that the statement imports
  idle       seconds without a request after which it ends where nothing runs; 0: never
It imports, warms up, freezes the heap, says hello and forks a child for each request. It never runs a statement and
stays single-threaded. What fails before the hello is said in its place: its first message is always a hello.
"""

from __future__ import annotations

import gc
import importlib
import importlib.util
import json
import os
import struct
import sys
import threading
import time
import traceback
from types import ModuleType
from typing import Any

CONTROL = 3
HELLO = struct.Struct("=4I1024s")  # struct qn_zygote_hello
VERSION = 1
PACKAGE = "qanat_worker"

# Libraries that would start threads of their own: a process that forks must not have any.
SINGLE_THREADED = {
    "OPENBLAS_NUM_THREADS": "1",
    "OMP_NUM_THREADS": "1",
    "MKL_NUM_THREADS": "1",
    "NUMEXPR_NUM_THREADS": "1",
    "ARROW_DEFAULT_MEMORY_POOL": "system",
    "JE_ARROW_MALLOC_CONF": "background_thread:false",
    "MPLBACKEND": "agg",
}


def say_failure(text: str) -> None:
    """The hello of a zygote that cannot serve. One write is one message."""
    python = sys.version_info[0] << 8 | sys.version_info[1]
    os.write(CONTROL, HELLO.pack(VERSION, 1, python, 0, text.encode("utf-8", "replace")[:1023]))


def load_module(name: str, file: str, folder: str | None = None) -> ModuleType:
    spec = importlib.util.spec_from_file_location(name, file, submodule_search_locations=[folder] if folder else None)
    if spec is None or spec.loader is None:
        raise ImportError(f"{file} is not a module")
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    spec.loader.exec_module(module)
    return module


def part(name: str) -> ModuleType:
    """A module of the worker's package."""
    return importlib.import_module(f"{PACKAGE}.{name}")


def threads_left(extension: Any) -> int:
    """How many threads there are once those that are ending have ended (matplotlib has one while it seeks fonts)."""
    deadline = time.monotonic() + 2
    for thread in threading.enumerate():
        if thread is not threading.main_thread():
            thread.join(1)
    while (count := int(extension.threads())) != 1 and time.monotonic() < deadline:
        time.sleep(0.001)
    return count


def prepare(config: dict[str, Any]) -> Any:
    """Import everything; returns the extension."""
    sys.path[:] = config["paths"]
    for name, value in SINGLE_THREADED.items():
        os.environ.setdefault(name, value)
    version = ".".join(map(str, sys.version_info[:2]))
    if config["version"] != version:
        raise ImportError(
            f"the runtime is of Python {config['version']}, its interpreter {sys.executable} is {version}"
        )
    folder = config["worker"]
    load_module(PACKAGE, f"{folder}/__init__.py", folder)
    extension = load_module(f"{PACKAGE}._worker", config["extension"])
    if extension.VERSION != VERSION:
        raise ImportError(f"{config['extension']} is of another release than {folder}")
    part("warm").up(config["modules"])
    part("child").prepare(extension)
    threads = threads_left(extension)
    if threads != 1:
        names = ", ".join(config["modules"])
        raise RuntimeError(f"importing {names} started {threads - 1} threads: such modules cannot be preloaded")
    return extension


def main() -> None:
    try:
        config = json.loads(sys.argv[1])
        extension = prepare(config)
    except BaseException as failure:  # noqa: BLE001  (also what a module that exits raises)
        traceback.print_exc()
        say_failure(f"{type(failure).__name__}: {failure}")
        raise SystemExit(1) from None
    sys.argv[:] = [""]
    gc.collect()
    gc.freeze()
    run = extension.serve(config["readable"], config["tier"] == "reduced", config["idle"])
    part("child").main(run, extension)


if __name__ == "__main__":
    main()
