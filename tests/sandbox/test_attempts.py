"""Attempts to get out, on every tier: with the language rules on (what an author sees) and off (what the kernel stops).

Whether an attempt achieved anything is seen from the outside (Surroundings.achieved), and by the next run, which must
find everything as it should be. The pattern that the outcome must have shows that an attempt got as far as it meant to.
"""

from __future__ import annotations

import ast
import importlib.util
import platform
import re
import time
from typing import Any

import pytest
from attempts_table import note
from sandbox_attempts import RAW, Attempt, Surroundings, load

import qanat as qn

ATTEMPTS = load()
SLACK = 5.0  # seconds beside the time limit that a run may take on a busy machine, its interpreter being warm
OUTPUT = {"got": "Utf8?"}
WITNESS = """
import datetime, decimal, json, math, random, string, warnings
assert json.dumps({'a': [1, 2.5, None]}) == '{"a": [1, 2.5, null]}'
assert json.loads('[5]') == [5] and len('ab') == 2 and sorted([2, 1]) == [1, 2] and (5).bit_length() == 3
assert datetime.datetime(2024, 2, 3).isoformat() == '2024-02-03T00:00:00' and 0.1 + 0.2 == 0.30000000000000004
assert decimal.Decimal(1) / 3 == decimal.Decimal('0.3333333333333333333333333333')
assert math.sqrt(2) == 1.4142135623730951 and string.digits == '0123456789' and random.random() != 0.5
warnings.warn('heard')
print('said')
return [{'got': 'as it should be'}]
"""
WITNESS_ALLOW = ["datetime", "decimal", "json", "math", "random", "string", "warnings"]


@pytest.fixture(scope="session", params=["full", "reduced"])
def tier(request: pytest.FixtureRequest) -> str:
    """Each tier that this machine can have."""
    with pytest.MonkeyPatch.context() as patch:
        if request.param == "reduced":
            patch.setenv("QANAT_SANDBOX", "reduced")
        result = qn.Processor(WITNESS, output=OUTPUT, allow=WITNESS_ALLOW).run()
    if result.stats["tier"] != request.param:
        pytest.skip(f"this machine gives no sandbox of the {request.param} tier")
    return str(request.param)


@pytest.fixture(scope="session")
def witness(tier: str) -> qn.Processor:
    """The run after an attempt, which has to find everything as if there had been none."""
    return qn.Processor(WITNESS, output=OUTPUT, allow=WITNESS_ALLOW)


@pytest.fixture(autouse=True)
def chosen_tier(tier: str, monkeypatch: pytest.MonkeyPatch) -> None:
    if tier == "reduced":
        monkeypatch.setenv("QANAT_SANDBOX", "reduced")


def outcome_of(result: Any) -> tuple[str, str]:
    """The outcome in a line, and all that the run gave out."""
    rows = [row["got"] for row in result.to_dicts()] if result.status == "ok" else []
    lines = result.message.strip().splitlines()
    named = [line for line in lines if re.match(r"[A-Za-z_][\w.]*(: |$)", line)]  # the exception, not its further lines
    last = (named or lines or [""])[-1]
    text = f"{result.status}: {' '.join(map(str, rows[:20])) if result.status == 'ok' else last}"
    return text[:200_000], f"{text} {result.message} {rows!r} {[tuple(entry) for entry in result.logs]!r}"


def carry_out(attempt: Attempt, surroundings: Surroundings, rules: bool, runtime: str) -> tuple[str, str]:
    """The outcome of one run of the attempt, and all that it gave out; a refusal is an outcome, too."""
    arguments: dict[str, Any] = {"output": OUTPUT, "mode": "bulk", "timeout": 10, "memory": "256MB", "runtime": runtime}
    arguments |= attempt.arguments
    if isinstance(arguments.get("network"), list):
        arguments["network"] = [surroundings.fill(place) for place in arguments["network"]]
    text = surroundings.fill(attempt.statement if rules else attempt.off_prelude + attempt.statement)
    begun = time.monotonic()
    try:
        result = qn.Processor(text, **arguments).run([{"a": 1}])
    except qn.StatementError as refusal:
        assert refusal.lineno is not None and refusal.lineno >= 1
        return f"refused: {refusal}", str(refusal)
    taken = time.monotonic() - begun
    assert taken < arguments["timeout"] + SLACK, f"the run took {taken:.1f} s"
    return outcome_of(result)


def check_witness(witness: qn.Processor, tier: str) -> None:
    result = witness.run()
    assert (result.status, result.message, result.stats["tier"]) == ("ok", "", tier)
    assert result.to_dicts() == [{"got": "as it should be"}]
    assert [(entry.level, entry.message) for entry in result.logs] == [("warn", "UserWarning: heard"), ("info", "said")]


@pytest.mark.trace("B7", "P18")
@pytest.mark.parametrize("attempt", ATTEMPTS, ids=str)
def test_attempt(
    attempt: Attempt,
    tier: str,
    surroundings: Surroundings,
    witness: qn.Processor,
    monkeypatch: pytest.MonkeyPatch,
    request: pytest.FixtureRequest,
) -> None:
    if attempt.machine not in (None, platform.machine()):
        pytest.skip(f"its system calls have the numbers of {attempt.machine}")
    runtime = "default"
    if attempt.needs is not None and importlib.util.find_spec(attempt.needs) is None:
        runtime = request.getfixturevalue("standard_runtime")

    outcome, shown = carry_out(attempt, surroundings, rules=True, runtime=runtime)
    assert surroundings.achieved(shown) == [] and "ESCAPED" not in outcome, outcome
    rule = "-"
    if attempt.rules is not None:
        assert outcome.startswith("refused: line ") and attempt.rules in outcome, outcome
        rule = outcome.removeprefix("refused: ")
    else:
        assert re.search(attempt.kernel, outcome), outcome
        check_witness(witness, tier)

    monkeypatch.setenv("QANAT_TEST_LANGUAGE_RULES", "off")
    outcome, shown = carry_out(attempt, surroundings, rules=False, runtime=runtime)
    assert surroundings.achieved(shown) == [] and "ESCAPED" not in outcome, outcome
    assert re.search(attempt.kernel, outcome), outcome
    monkeypatch.delenv("QANAT_TEST_LANGUAGE_RULES")
    check_witness(witness, tier)
    note(request, (str(attempt), rule, attempt.layer), tier, outcome)


# ---- the surface: every system call that a run can make ----

BLOCKING = {15, 34, 60, 219, 231, 3, 23, 270, 271}  # they end the process, wait without end, or close what we need
ANSWERED_BY_THE_KERNEL = {335, 336}  # uretprobe, uprobe: seccomp never sees them; SIGILL where no probe is
SURFACE = {
    "off": {
        *(0, 1, 2, 4, 5, 6, 7, 8, 10, 11, 12, 13, 14, 17, 19, 20, 21, 22, 24, 25, 28, 32, 33, 35, 39, 44, 45, 46, 47),
        *(63, 72, 79, 89, 96, 97, 98, 100, 102, 104, 107, 108, 110, 111, 115, 118, 120, 121, 124, 127, 128, 130, 131),
        *(186, 201, 202, 204, 217, 228, 229, 230, 232, 233, 257, 262, 267, 269, 273, 281, 290, 291, 292, 293, 295),
        *(302, 309, 318, 324, 332, 334, 436, 439, 441),
    }
}
SURFACE["public"] = SURFACE["off"] | {42, 48, 51, 52}  # connect, shutdown, getsockname, getpeername


@pytest.mark.trace("B7")
@pytest.mark.skipif(platform.machine() != "x86_64", reason="the numbers of system calls are those of x86-64")
@pytest.mark.parametrize("network", ["off", "public"])
def test_surface(tier: str, network: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of all calls that there are, made with nothing but zeros: those that something else than the filter answers."""
    monkeypatch.setenv("QANAT_TEST_LANGUAGE_RULES", "off")
    statement = f"""{RAW}
skipped = {BLOCKING | ANSWERED_BY_THE_KERNEL}
answers = [n for n in range(512) if n not in skipped and call(n, 0, 0, 0, 0, 0, 0) not in ('EPERM', 'ENOSYS')]
return [{{'got': repr(answers)}}]
"""
    result = qn.Processor(statement, output=OUTPUT, mode="bulk", network=network, timeout=10).run()
    (row,) = result.to_dicts()
    assert set(ast.literal_eval(row["got"])) == SURFACE[network]
