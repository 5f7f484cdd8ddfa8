"""`qanat doctor`: what is there, what is missing, and how to get it."""

from __future__ import annotations

import json
import platform
import re
import sys
from importlib import metadata
from typing import Any

import click

OPTIONAL = {
    "pandas": "to_pandas() of a stream",
    "pyarrow": "to_pyarrow() of a stream",
    "duckdb": "SQL over frames and streams",
}
NATIVE = ("libqanat", "libpq", "libsqlite3", "libjansson", "libcurl", "libssl", "libcrypto")


def _version(distribution: str) -> str | None:
    try:
        return metadata.version(distribution)
    except metadata.PackageNotFoundError:
        return None


def _native_libraries() -> dict[str, str]:
    """The shared libraries of this process by name: the files that were found."""
    found: dict[str, str] = {}
    try:
        with open("/proc/self/maps", encoding="utf-8", errors="replace") as maps:
            paths = {line.rsplit(" ", 1)[-1].strip() for line in maps if "/" in line}
    except OSError:
        return found
    for path in sorted(paths):
        match = re.search(r"/(lib[a-z0-9_]+?)(?:-[0-9a-f]{8})?\.so", path)
        if match and match.group(1) in NATIVE:
            found[match.group(1)] = path
    return found


def _drivers() -> dict[str, str]:
    """Each driver and whether it works: SQLite is tried in memory, a server's cannot be without a server."""
    import qanat
    from qanat.errors import QanatError

    drivers: dict[str, str] = {}
    for name in ("sqlite", "postgres"):
        try:
            if name == "sqlite":
                with qanat.connect("sqlite://:memory:") as connection:
                    drivers[name] = "SQLite " + str(connection.execute("select sqlite_version() as v")["v"][0])
            else:
                drivers[name] = qanat.DatabaseConfig(name).db_type + " driver, needs a server"
        except QanatError as error:
            drivers[name] = f"not working: {error}"
    return drivers


_LAYERS = (
    "user_namespaces",
    "mount_namespaces",
    "pid_namespaces",
    "network_namespaces",
    "landlock",
    "seccomp",
)


def _sandbox() -> dict[str, Any]:
    """Which tier statements run in, found out by trying, and what is missing."""
    from qanat import _native, _runtime, _settings
    from qanat.errors import QanatError

    try:
        _settings.apply()
        asked, file = _settings.sandbox_tier()
        report: dict[str, Any] = _native._sandbox_report(str(_runtime.launcher()))
    except QanatError as error:
        return {"tier": None, "message": f"{error}" + (f"; {error.hint}" if error.hint else "")}
    return report | {"asked": asked, "asked_in": str(file) if file is not None else None}


def _runtimes() -> dict[str, str]:
    """The environments of statements and their versions of Python."""
    from qanat import _runtime
    from qanat.errors import QanatError

    found = {_runtime.DEFAULT: f"CPython {_runtime.own_version()}, what qanat itself runs with"}
    try:
        for name in _runtime.created():
            record = _runtime.record_of(name)
            found[name] = f"CPython {record['full_version']}, {len(record['packages'])} packages"
    except QanatError as error:
        found["not readable"] = str(error)
    return found


def _sandbox_lines(sandbox: dict[str, Any]) -> list[str]:
    lines = [f"sandbox    {sandbox['tier'] or 'none: statements cannot be run'}"]
    if sandbox["message"]:
        lines.append(f"sandbox    {sandbox['message']}")
    if "landlock_abi" in sandbox:
        missing = [name.replace("_", " ") for name in _LAYERS if not sandbox[name]]
        lines.append(f"sandbox    Landlock ABI {sandbox['landlock_abi']}; missing: {', '.join(missing) or 'nothing'}")
    if sandbox.get("asked_in"):
        lines.append(f"sandbox    {sandbox['asked_in']} asks for {sandbox['asked']}")
    return lines


def examine() -> dict[str, Any]:
    """Everything that is shown, as plain values."""
    report: dict[str, Any] = {
        "qanat": _version("qanat"),
        "python": platform.python_version(),
        "executable": sys.executable,
        "system": f"{platform.system()} {platform.release()} {platform.machine()}",
        "packages": {name: _version(name) for name in ("polars", "click", "rich", *OPTIONAL)},
        "drivers": _drivers(),
        "sandbox": _sandbox(),
        "runtimes": _runtimes(),
    }
    report["libraries"] = _native_libraries()
    missing = [
        f"{name} ({use}): pip install {name}" for name, use in OPTIONAL.items() if report["packages"][name] is None
    ]
    report["missing"] = [name for name in ("polars",) if report["packages"][name] is None]
    report["optional_missing"] = missing
    report["ok"] = not report["missing"] and not any(
        text.startswith("not working") for text in report["drivers"].values()
    )
    return report


@click.command("doctor")
@click.option("--json", "as_json", is_flag=True, help="The same as one JSON object.")
def command(as_json: bool) -> None:
    """Show versions, libraries, drivers and the sandbox, and what is missing. Exit code 1 where something needed is.

    Without a sandbox everything works but the statements of processors.
    """
    report = examine()
    if as_json:
        click.echo(json.dumps(report))
    else:
        click.echo(f"qanat {report['qanat']}, Python {report['python']} ({report['executable']})")
        click.echo(f"system     {report['system']}")
        for name, text in report["drivers"].items():
            click.echo(f"driver     {name:10} {text}")
        for line in _sandbox_lines(report["sandbox"]):
            click.echo(line)
        for name, text in report["runtimes"].items():
            click.echo(f"runtime    {name:10} {text}")
        for name, version in report["packages"].items():
            click.echo(f"package    {name:10} {version or 'not installed'}")
        for name, path in report["libraries"].items():
            click.echo(f"library    {name:10} {path}")
        for name in report["missing"]:
            click.echo(f"missing    {name}: pip install {name}")
        for text in report["optional_missing"]:
            click.echo(f"optional   {text}")
        click.echo(
            "all that is needed is there" if report["ok"] else "something that is needed is missing or does not work"
        )
    sys.exit(0 if report["ok"] else 1)
