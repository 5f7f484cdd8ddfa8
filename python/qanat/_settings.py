"""What the administrator of this machine has said: /etc/qanat/qanat.toml, then qanat/qanat.toml in the user's settings.

    [sandbox]
    tier = "reduced"      # or "full"

The reduced tier does without namespaces. Never a task or an argument lets it in: only these files and QANAT_SANDBOX.
What the file of the machine says counts for all its users; theirs is asked where it says nothing.
"""

from __future__ import annotations

import os
import tomllib
from pathlib import Path

from qanat import _native
from qanat.errors import ConfigurationError

SYSTEM_FILE = Path("/etc/qanat/qanat.toml")
TIERS = ("full", "reduced")


def files() -> list[Path]:
    """The files that count, the machine's first."""
    given = Path(os.environ.get("XDG_CONFIG_HOME", ""))
    base = given if given.is_absolute() else Path.home() / ".config"
    return [SYSTEM_FILE, base / "qanat" / "qanat.toml"]


def tier_in(file: Path) -> str | None:
    """The tier that a file names; None where there is no file, or where it does not say."""
    try:
        table = tomllib.loads(file.read_bytes().decode("utf-8"))
    except (FileNotFoundError, NotADirectoryError, PermissionError):
        return None
    except OSError as error:
        raise ConfigurationError(f"cannot read {file}: {error.strerror}") from None
    except (ValueError, RecursionError) as error:
        raise ConfigurationError(f"{file} is not valid TOML: {error}") from None
    sandbox = table.get("sandbox", {})
    if not isinstance(sandbox, dict):
        raise ConfigurationError(f"{file}: sandbox must be a table: [sandbox]")
    tier = sandbox.get("tier")
    if tier is not None and tier not in TIERS:
        raise ConfigurationError(f'{file}: sandbox.tier is {tier!r}; it must be "full" or "reduced"')
    return tier


def sandbox_tier() -> tuple[str | None, Path | None]:
    """The tier that the files ask for, and which file it was."""
    for file in files():
        tier = tier_in(file)
        if tier is not None:
            return tier, file
    return None, None


def apply() -> None:
    """Pass the administrator's word on. QANAT_SANDBOX in the environment is the library's to read."""
    _native._sandbox_allow_reduced(sandbox_tier()[0] == "reduced")
