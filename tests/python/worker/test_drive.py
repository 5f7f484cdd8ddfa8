"""Driving a statement: a row at a time, flushed in batches, and what it has to return."""

from __future__ import annotations

import sys
from collections.abc import Generator
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

sys.path.insert(0, str(Path(__file__).parent))

from rows import TWO, Batch, _worker, writer


def batches(told: dict[str, Any]) -> list[list[dict[str, Any]]]:
    return [pa.record_batch(Batch(capsules)).to_pylist() for capsules in told["batches"]]


def test_drives_a_row_at_a_time() -> None:
    seen: list[Any] = []

    async def statement(rows: list[Any], checkpoint: Any) -> Any:
        seen.append((rows, checkpoint))
        (row,) = rows
        return [{"id": row["id"] * 2, "name": None}] * (row["id"] % 3)

    schema, array = pa.record_batch({"id": pa.array(range(1000))}).__arrow_c_array__()
    out = writer(TWO)
    told = _worker.drive(statement, (_worker.RowsIn(schema), array), "mark", out, 100)
    assert seen == [([{"id": i}], "mark") for i in range(1000)]
    expected = [{"id": i * 2, "name": None} for i in range(1000) for _ in range(i % 3)]
    rest = pa.record_batch(Batch(out.finish())).to_pylist()
    flushed = batches(told)
    assert [len(batch) for batch in flushed] == [100] * (len(expected) // 100)
    assert [row for batch in flushed for row in batch] + rest == expected
    assert (told["row"], told["rows_in"], told["rows_out"], told["awaits"]) == (999, 1000, len(expected), False)


def test_drives_a_list_and_flushes_by_bytes() -> None:
    async def statement(rows: list[Any], checkpoint: Any) -> Any:
        return rows

    out = writer(TWO)
    rows = [{"id": i, "name": "x" * 1000} for i in range(50)]
    told = _worker.drive(statement, rows, None, out, 0, 10000)
    assert batches(told) == [rows[at : at + 10] for at in range(0, 50, 10)]
    assert out.length() == 0


RETURNS = [
    (
        None,
        "the statement must return a list of dicts, and returned None: its last line has to be `return` and the list",
    ),
    (
        {"id": 1, "name": "a"},
        "the statement must return a list of dicts, and returned a dict; for one row return a list of it: [row]",
    ),
    (5, "the statement must return a list of dicts, and returned int"),
    ("rows", "the statement must return a list of dicts, and returned str"),
    (({"id": 1} for _ in range(2)), "the statement must return a list of dicts, and returned generator; use list(x)"),
    (
        type("DataFrame", (), {})(),
        "the statement must return a list of dicts, and returned DataFrame; a frame may be returned in mode bulk",
    ),
    ([None], 'row 0: expected a dict with "id", "name", found None'),
]


@pytest.mark.trace("P12")
@pytest.mark.parametrize(("returned", "text"), RETURNS, ids=[text for _, text in RETURNS])
def test_says_what_a_statement_has_to_return(returned: Any, text: str) -> None:
    async def statement(rows: list[Any], checkpoint: Any) -> Any:
        return returned

    with pytest.raises(TypeError) as caught:
        _worker.drive(statement, [{}], None, writer(TWO))
    assert str(caught.value) == text


def test_the_row_counts_what_has_been_returned() -> None:
    async def statement(rows: list[Any], checkpoint: Any) -> Any:
        return [{"id": 1, "name": None}] * 3 if rows[0] < 5 else [{"id": "x", "name": None}]

    with pytest.raises(TypeError, match=r'^row 15, field "id": expected Int64, found str'):
        _worker.drive(statement, list(range(10)), None, writer(TWO))


def test_an_exception_is_the_statements_own() -> None:
    async def statement(rows: list[Any], checkpoint: Any) -> Any:
        return [{"id": 1 // rows[0], "name": None}]

    out = writer(TWO)
    with pytest.raises(ZeroDivisionError):
        _worker.drive(statement, [1, 0, 1], None, out)
    assert out.length() == 1


def test_one_that_awaits_is_handed_back_closed() -> None:
    ended: list[str] = []

    class Wait:
        def __await__(self) -> Generator[None, None, None]:
            yield

    async def statement(rows: list[Any], checkpoint: Any) -> Any:
        try:
            if rows[0] == 2:
                await Wait()
        finally:
            ended.append(str(rows[0]))
        return []

    told = _worker.drive(statement, [1, 2, 3], None, writer(TWO))
    assert told["awaits"] is True and told["row"] == 1 and told["rows_in"] == 1
    assert ended == ["1", "2"]


def test_only_coroutine_functions_are_driven() -> None:
    with pytest.raises(TypeError, match="^a statement is a coroutine function; calling it gave list$"):
        _worker.drive(lambda rows, checkpoint: [], [{}], None, writer(TWO))
    with pytest.raises(TypeError, match=r"^drive\(\) takes a RowsOut"):
        _worker.drive(lambda rows, checkpoint: [], [{}], None, object())


def test_rows_may_change_the_list_that_is_driven() -> None:
    rows: list[int] = [1, 2, 3, 4]

    async def statement(given_rows: list[Any], checkpoint: Any) -> Any:
        rows.clear()
        return [{"id": given_rows[0], "name": None}]

    out = writer(TWO)
    assert _worker.drive(statement, rows, None, out)["rows_out"] == 1
    assert pa.record_batch(Batch(out.finish())).to_pylist() == [{"id": 1, "name": None}]
