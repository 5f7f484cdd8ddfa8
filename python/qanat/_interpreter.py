"""What an interpreter needs: a program for that interpreter, `python -I -S -B _interpreter.py`, which prints JSON.

Standard library only and no more than Python 3.9 has, because it is run by the interpreter of a runtime, not by the one
that qanat runs in. It reports facts; what becomes of them is _runtime.py's.
"""

from __future__ import annotations

import json
import os
import sys
import sysconfig

# Extension modules of the standard library whose shared libraries may lie anywhere.
_LINKED = ("_bz2", "_ctypes", "_decimal", "_hashlib", "_lzma", "_ssl", "_sqlite3", "_uuid", "pyexpat", "zlib")


def _libraries() -> list[str]:
    """The shared libraries that are mapped once the standard library's extension modules are loaded."""
    for name in _LINKED:
        try:
            __import__(name)
        except ImportError:
            continue  # built without it: nothing of it is needed
    with open("/proc/self/maps", encoding="utf-8", errors="surrogateescape") as maps:
        lines = [line.rstrip("\n").split(" ", 5) for line in maps]
    paths = {parts[5].strip() for parts in lines if len(parts) == 6}
    return sorted(path for path in paths if path.startswith("/") and ".so" in os.path.basename(path))


def _zone_folders() -> tuple[str, ...]:
    try:
        import zoneinfo
    except ImportError:
        return ()
    return zoneinfo.TZPATH


def facts() -> dict[str, object]:
    """Everything about this interpreter, as plain values."""
    standard = sysconfig.get_path("stdlib")
    dynamic = sysconfig.get_config_var("DESTSHARED") or os.path.join(standard, "lib-dynload")
    return {
        "implementation": sys.implementation.name,
        "version": ".".join(map(str, sys.version_info[:2])),
        "full_version": ".".join(map(str, sys.version_info[:3])),
        "extension_suffix": sysconfig.get_config_var("EXT_SUFFIX"),
        "executable": os.path.realpath(sys.executable),
        "prefix": os.path.realpath(sys.base_prefix),
        "standard": standard,
        "paths": [path for path in sys.path if os.path.exists(path)] or [standard, dynamic],
        "purelib": sysconfig.get_path("purelib"),
        "platlib": sysconfig.get_path("platlib"),
        "libraries": _libraries(),
        "multiarch": sysconfig.get_config_var("MULTIARCH") or "",
        "zones": _zone_folders(),
    }


if __name__ == "__main__":
    print(json.dumps(facts()))
