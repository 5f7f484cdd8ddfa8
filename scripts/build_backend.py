"""The build backend of pyproject.toml: meson-python, after the sources of nanoarrow have been made sure of.

A source distribution carries them unpacked, a clone fetches them from the package index once, checked by hash
(fetch_source.py). Everything else is meson-python's.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import mesonpy

from fetch_source import SOURCES, fetch

ROOT = Path(__file__).resolve().parent.parent
Settings = dict[str, Any] | None


def _ensure_sources() -> None:
    unpacked = ROOT / "third_party" / f"nanoarrow-{SOURCES['nanoarrow'].version}"
    if not (unpacked / "meson.build").is_file():
        fetch("nanoarrow")


def get_requires_for_build_sdist(config_settings: Settings = None) -> list[str]:
    return list(mesonpy.get_requires_for_build_sdist(config_settings))


def get_requires_for_build_wheel(config_settings: Settings = None) -> list[str]:
    return list(mesonpy.get_requires_for_build_wheel(config_settings))


def get_requires_for_build_editable(config_settings: Settings = None) -> list[str]:
    return list(mesonpy.get_requires_for_build_editable(config_settings))


def build_sdist(sdist_directory: str, config_settings: Settings = None) -> str:
    _ensure_sources()
    return str(mesonpy.build_sdist(sdist_directory, config_settings))


def build_wheel(wheel_directory: str, config_settings: Settings = None, metadata_directory: str | None = None) -> str:
    _ensure_sources()
    return str(mesonpy.build_wheel(wheel_directory, config_settings, metadata_directory))


def build_editable(
    wheel_directory: str, config_settings: Settings = None, metadata_directory: str | None = None
) -> str:
    _ensure_sources()
    return str(mesonpy.build_editable(wheel_directory, config_settings, metadata_directory))
