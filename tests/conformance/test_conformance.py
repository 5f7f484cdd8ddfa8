"""The conformance suite: every case of cases/*.toml, run against every driver of drivers/*.toml.

A case is data. Its statements are written once, with {type} names that each driver's file translates; where a database
truly differs, the driver's file says so under [quirks."case name"], with the reason. README.md describes both files.
"""

from __future__ import annotations

import datetime
import decimal
import tomllib
from pathlib import Path
from typing import Any

import polars as pl
import pytest

import qanat as qn

HERE = Path(__file__).resolve().parent
DRIVERS = {
    path.stem: tomllib.loads(path.read_text(encoding="utf-8")) for path in sorted((HERE / "drivers").glob("*.toml"))
}


def load_cases() -> list[dict[str, Any]]:
    cases: list[dict[str, Any]] = []
    for path in sorted((HERE / "cases").glob("*.toml")):
        for case in tomllib.loads(path.read_text(encoding="utf-8"))["case"]:
            cases.append({**case, "file": path.stem})
    names = [case["name"] for case in cases]
    assert len(names) == len(set(names)), "two conformance cases have one name"
    return cases


CASES = load_cases()


def value(written: Any) -> Any:
    """What a value of a case stands for: `@null`, `@decimal:1.50`, `@hex:00ff`, `@repeat:ab*3`; all else is itself."""
    if isinstance(written, list):
        return [value(item) for item in written]
    if not isinstance(written, str) or not written.startswith("@"):
        return written
    kind, _, rest = written[1:].partition(":")
    if kind == "null":
        return None
    if kind == "decimal":
        return decimal.Decimal(rest)
    if kind == "hex":
        return bytes.fromhex(rest)
    if kind == "nan":
        return float("nan")
    if kind == "repeat":
        text, _, times = rest.rpartition("*")
        return text * int(times)
    raise AssertionError(f"unknown value form {written!r}")


def polars_type(name: str) -> pl.DataType:
    """`Int64`, `Decimal(10, 2)`, `Datetime(us)`, `Datetime(us, UTC)`."""
    base, _, arguments = name.rstrip(")").partition("(")
    parts = [part.strip() for part in arguments.split(",")] if arguments else []
    if base == "Decimal":
        return pl.Decimal(int(parts[0]), int(parts[1]))
    if base == "Datetime":
        return pl.Datetime(parts[0], parts[1] if len(parts) > 1 else None)  # type: ignore[arg-type]
    return getattr(pl, base)()  # type: ignore[no-any-return]


def frame(data: dict[str, Any]) -> pl.DataFrame:
    """A frame from `columns` (name to list of values) and optional `types`."""
    types = data.get("types", {})
    columns = [
        pl.Series(name, value(values), dtype=polars_type(types[name]) if name in types else None)
        for name, values in data["columns"].items()
    ]
    return pl.DataFrame(columns)


def comparable(item: Any) -> Any:
    """Aware datetimes compare as instants; decimals with their scale; everything else as it is, with its type."""
    if isinstance(item, datetime.datetime) and item.tzinfo is not None:
        return ("instant", item.astimezone(datetime.UTC))
    if isinstance(item, decimal.Decimal):
        return ("decimal", str(item))
    return (type(item).__name__, item)


class Runner:
    def __init__(self, driver: dict[str, Any], uri: str, case: dict[str, Any], tmp_path: Path) -> None:
        self.driver, self.case, self.uri = driver, case, uri
        self.names = {**driver["types"], **driver.get("words", {})}
        self.connection = qn.connect(uri)

    def sql(self, text: str) -> str:
        for name, word in self.names.items():
            text = text.replace("{" + name + "}", word)
        return text

    def word(self, item: Any) -> Any:
        """An expected value that is a word of the driver's file and nothing else: `{default_schema}`."""
        whole = isinstance(item, str) and item.startswith("{") and item.endswith("}")
        return self.names.get(item[1:-1], item) if whole else item

    def do(self, step: dict[str, Any]) -> pl.DataFrame | None:
        """One step: a statement, an insert, or a call by name."""
        c = self.connection
        if "insert" in step:
            count = c.insert(step["insert"], frame(step), mode=step.get("mode", "append"), key=step.get("key"))
            if "count" in step:
                assert count == step["count"]
            return None
        if "call" in step:
            result = getattr(c, step["call"])(*value(step.get("args", [])), **step.get("named", {}))
            if "returns" in step:
                assert result == step["returns"]
            return result if isinstance(result, pl.DataFrame) else None
        params = step.get("params")
        bound = {k: value(v) for k, v in params.items()} if isinstance(params, dict) else value(params)
        got = c.execute(self.sql(step["sql"]), bound, **step.get("options", {}))
        if "rowcount" in step:
            assert c.rowcount == step["rowcount"]
        return got

    def expect(self, got: pl.DataFrame | None, expected: dict[str, Any]) -> None:
        assert got is not None
        if "names" in expected:
            assert got.columns == expected["names"]
        if "types" in expected:
            assert [str(t) for t in got.dtypes] == [str(polars_type(name)) for name in expected["types"]]
        if "rows" in expected:
            rows = [tuple(self.word(value(item)) for item in row) for row in expected["rows"]]
            assert [tuple(map(comparable, row)) for row in got.rows()] == [tuple(map(comparable, row)) for row in rows]
        if "height" in expected:
            assert got.height == expected["height"]

    def expect_error(self, step: dict[str, Any], expected: dict[str, Any]) -> None:
        with pytest.raises(getattr(qn, expected["kind"])) as caught:
            self.do(step)
        error = caught.value
        assert type(error) is getattr(qn, expected["kind"])
        for attribute in ("sqlstate", "retryable", "constraint", "table", "column", "row", "position"):
            if attribute in expected:
                assert getattr(error, attribute) == expected[attribute], attribute
        for part in expected.get("says", []):
            assert part in str(error) + (error.hint or "") + (error.detail or "")

    def run(self) -> None:
        for step in self.case.get("setup", []):
            self.do(step if isinstance(step, dict) else {"sql": step})
        for step in self.case["steps"]:
            if "error" in step:
                self.expect_error(step, step["error"])
            else:
                got = self.do(step)
                if "expect" in step:
                    self.expect(got, step["expect"])


def merged(case: dict[str, Any], quirks: dict[str, Any]) -> dict[str, Any]:
    """The case as this driver runs it: the quirks file replaces whole steps by their number, and says why."""
    quirk = quirks.get(case["name"])
    if quirk is None:
        return case
    assert quirk["reason"], "a quirk has a reason"
    steps = [dict(step) for step in case["steps"]]
    for number, changed in quirk.get("steps", {}).items():
        replaced = {key: item for key, item in steps[int(number)].items() if key not in ("error", "expect")}
        steps[int(number)] = {**replaced, **changed}
    return {**case, "steps": steps, "setup": quirk.get("setup", case.get("setup", []))}


@pytest.mark.parametrize("driver_name", DRIVERS)
@pytest.mark.parametrize("case", CASES, ids=[f"{case['file']}-{case['name']}" for case in CASES])
def test_case(case: dict[str, Any], driver_name: str, request: pytest.FixtureRequest, tmp_path: Path) -> None:
    driver = DRIVERS[driver_name]
    uri = request.getfixturevalue(driver["uri_fixture"])
    runner = Runner(driver, uri, merged(case, driver.get("quirks", {})), tmp_path)
    try:
        runner.run()
    finally:
        runner.connection.close()


def test_every_quirk_names_a_case() -> None:
    names = {case["name"] for case in CASES}
    for driver in DRIVERS.values():
        assert set(driver.get("quirks", {})) <= names
