"""Runs: modes, order, logs, failures and what is told of them. The zygote is spoken to by a client of its own."""

from __future__ import annotations

import datetime
import decimal
import socket
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

sys.path.insert(0, str(Path(__file__).parent))

from harness import (
    BULK,
    CHECK_ONLY,
    DONE_CHECKED,
    DONE_FAILED,
    DONE_MEMORY,
    DONE_OK,
    DONE_REJECTED,
    FRAME,
    INPUT_WHOLE,
    RULES_OFF,
    START,
    Result,
    Zygote,
)

IDS = pa.schema([("id", pa.int64())])
TEXTS = pa.schema([("text", pa.string())])


@pytest.fixture(scope="module", params=["full", "reduced"])
def zygote(request: pytest.FixtureRequest) -> Iterator[Zygote]:
    with Zygote(tier=request.param) as one:
        yield one


def ids(*numbers: int) -> pa.RecordBatch:
    return pa.record_batch({"id": pa.array(numbers, pa.int64())})


def values(result: Result) -> list[Any]:
    assert result.kind == DONE_OK, result.text
    return [next(iter(row.values())) for row in result.rows]


# ---- modes -----------------------------------------------------------------------------------------------------------

AWAIT = "await sleep(0)\n"


@pytest.mark.trace("P2")
@pytest.mark.parametrize("concurrency", [1, 3])
@pytest.mark.parametrize("first", ["", AWAIT], ids=["straight", "awaits"])
def test_row_mode_is_once_a_row_in_order(zygote: Zygote, first: str, concurrency: int) -> None:
    statement = f"{first}assert len(INPUT_DATA) == 1\nlog.info(INPUT_DATA[0]['id'])\nreturn INPUT_DATA + INPUT_DATA"
    batches = [ids(7, 5), ids(), ids(9)]
    result = zygote.run(statement, IDS, batches[:2], feed=batches[2:], concurrency=concurrency)
    assert values(result) == [7, 7, 5, 5, 9, 9]
    assert [(text, row) for _, text, _, row in result.logs] == [("7", 0), ("5", 1), ("9", 2)]
    assert (result.done.rows_in, result.done.rows_out) == (3, 6)
    assert result.needs == 2  # one for the batch that the memfd did not have, one to hear that there is no more


@pytest.mark.parametrize("first", ["", AWAIT], ids=["straight", "awaits"])
def test_rows_may_return_nothing(zygote: Zygote, first: str) -> None:
    result = zygote.run(first + "return [] if INPUT_DATA[0]['id'] % 2 else INPUT_DATA", IDS, [ids(1, 2, 3, 4)])
    assert values(result) == [2, 4]
    assert values(zygote.run(first + "return []", IDS, [ids(1, 2)])) == []


@pytest.mark.parametrize("first", ["", AWAIT], ids=["straight", "awaits"])
def test_no_rows_are_no_calls_and_no_input_is_one(zygote: Zygote, first: str) -> None:
    statement = first + "log.info(len(INPUT_DATA))\nreturn [{'id': 1}]"
    empty = zygote.run(statement, IDS, [], input_schema=IDS)
    assert (values(empty), empty.logs) == ([], [])
    none = zygote.run(statement, IDS)
    assert (values(none), [log[1] for log in none.logs]) == ([1], ["0"])


@pytest.mark.trace("P2")
@pytest.mark.parametrize("first", ["", AWAIT], ids=["straight", "awaits"])
def test_bulk_whole_is_one_call(zygote: Zygote, first: str) -> None:
    statement = first + "log.info(len(INPUT_DATA))\nreturn INPUT_DATA[::-1]"
    result = zygote.run(statement, IDS, [ids(1, 2)], feed=[ids(3), ids(4)], flags=BULK | INPUT_WHOLE)
    assert values(result) == [4, 3, 2, 1]
    assert [(text, row) for _, text, _, row in result.logs] == [("4", -1)]
    assert (result.done.rows_in, result.done.rows_out) == (4, 4)
    empty = zygote.run(statement, IDS, [], input_schema=IDS, flags=BULK | INPUT_WHOLE)
    assert [text for _, text, _, _ in empty.logs] == ["0"]


@pytest.mark.trace("P2")
@pytest.mark.parametrize("first", ["", AWAIT], ids=["straight", "awaits"])
def test_bulk_by_batch_is_one_call_for_so_many_rows(zygote: Zygote, first: str) -> None:
    statement = first + "log.info(len(INPUT_DATA))\nreturn INPUT_DATA"
    result = zygote.run(statement, IDS, [ids(1), ids(2), ids(3, 4)], feed=[ids(5)], flags=BULK, batch_rows=2)
    assert values(result) == [1, 2, 3, 4, 5]
    assert [text for _, text, _, _ in result.logs] == ["2", "2", "1"]


def test_rows_in_flight_wait_for_one_another_and_not_in_turn(zygote: Zygote) -> None:
    # Each row hands the next one a value, which could not be there were they run one by one from the first to the last.
    statement = """
import asyncio
box = asyncio.box = getattr(asyncio, "box", {})
number = INPUT_DATA[0]["id"]
while number < 99 and number + 1 not in box:
    await sleep(0)
box[number] = number
return INPUT_DATA
"""
    result = zygote.run(statement, IDS, [ids(*range(100))], concurrency=100, flags=RULES_OFF)
    assert values(result) == list(range(100))


def test_rows_that_have_ended_wait_for_the_first_within_bounds(zygote: Zygote) -> None:
    statement = """
import asyncio
seen = asyncio.seen = getattr(asyncio, "seen", set())
seen.add(INPUT_DATA[0]["id"])
if INPUT_DATA[0]["id"] == 0:
    for _ in range(5000):
        await sleep(0)
    return [{"id": len(seen)}]
await sleep(0)
return []
"""
    result = zygote.run(statement, IDS, [ids(*range(20000))], concurrency=10, flags=RULES_OFF)
    (seen,) = values(result)
    assert 1000 <= seen <= 1100, "as many as may be kept, and those that wait to begin"


def test_output_comes_in_frames_of_bounded_size(zygote: Zygote) -> None:
    statement = "return [{'text': 'x' * 1000000} for _ in range(20)]"
    result = zygote.run(statement, TEXTS)
    assert result.done.rows_out == 20
    assert max(batch.nbytes for batch in result.batches) < 6 << 20
    many = zygote.run("return [{'id': n} for n in range(200000)]", IDS)
    assert max(batch.num_rows for batch in many.batches) <= 65536
    assert values(many) == list(range(200000))


def test_row_mode_keeps_the_batch_size_that_was_asked_for(zygote: Zygote) -> None:
    result = zygote.run("return INPUT_DATA", IDS, [ids(*range(10))], batch_rows=3)
    assert [batch.num_rows for batch in result.batches] == [3, 3, 3, 1]


# ---- checking --------------------------------------------------------------------------------------------------------


def test_checking_tells_the_imports_and_runs_nothing(zygote: Zygote) -> None:
    statement = "import json\nfrom string import Template\nawait sleep(0)\nreturn 1 / 0"
    result = zygote.run(statement, IDS, flags=CHECK_ONLY, allow=["json", "string"])
    assert (result.kind, result.text.splitlines(), result.done.flags) == (DONE_CHECKED, ["json", "string"], 1)
    assert zygote.run("return INPUT_DATA", IDS, flags=CHECK_ONLY).done.flags == 0


@pytest.mark.parametrize("flags", [0, CHECK_ONLY])
@pytest.mark.parametrize(
    ("statement", "line", "column", "words"),
    [
        ("x = 1\nimport os\nreturn []", 2, 8, "import of 'os' is not allowed"),
        ("return [", 1, 8, "'[' was never closed"),
        (b"return '\xff'", 1, 9, "not UTF-8"),
        ("", 1, 1, "empty"),
        ("x = 1", 1, 1, "no 'return'"),
    ],
)
def test_a_statement_that_breaks_a_rule_is_rejected(
    zygote: Zygote, statement: str | bytes, line: int, column: int, words: str, flags: int
) -> None:
    result = zygote.run(statement, IDS, [ids(1)], flags=flags)
    assert (result.kind, result.done.line, result.done.column) == (DONE_REJECTED, line, column)
    assert words in result.text


# ---- the checkpoint --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("value", "kind", "shown"),
    [
        (5, pa.int64(), "5"),
        ("é", pa.string(), "'é'"),
        (None, pa.int64(), "None"),
        (decimal.Decimal("1.50"), pa.decimal128(10, 2), "Decimal('1.50')"),
        (datetime.datetime(2024, 1, 2, 3, 4, 5, 6), pa.timestamp("us"), "datetime.datetime(2024, 1, 2, 3, 4, 5, 6)"),
    ],
)
def test_the_checkpoint_is_the_value(zygote: Zygote, value: object, kind: pa.DataType, shown: str) -> None:
    batch = pa.record_batch({"c": pa.array([value], kind)})
    assert values(zygote.run("return [{'text': repr(DATA_CHECKPOINT)}]", TEXTS, checkpoint=batch)) == [shown]


def test_without_a_checkpoint_it_is_none(zygote: Zygote) -> None:
    assert values(zygote.run("return [{'text': repr(DATA_CHECKPOINT)}]", TEXTS)) == ["None"]


# ---- logs ------------------------------------------------------------------------------------------------------------


def test_levels_lines_and_rows(zygote: Zygote) -> None:
    statement = "log.trace('a')\nlog.debug('b')\n\nlog.info('c')\nlog.warn('d')\nprint('e', 1)\nreturn INPUT_DATA"
    result = zygote.run(statement, IDS, [ids(1)])
    assert result.logs == [
        ("trace", "a", 1, 0),
        ("debug", "b", 2, 0),
        ("info", "c", 4, 0),
        ("warn", "d", 5, 0),
        ("info", "e 1", 6, 0),
    ]


@pytest.mark.trace("P10")
@pytest.mark.parametrize(("flags", "concurrency"), [(0, 1), (0, 2), (BULK | INPUT_WHOLE, 1)])
@pytest.mark.parametrize("first", ["", AWAIT], ids=["straight", "awaits"])
def test_log_error_fails_the_run_at_its_end(zygote: Zygote, first: str, flags: int, concurrency: int) -> None:
    statement = f"{first}log.error(f'no {{INPUT_DATA[0][\"id\"]}}')\nlog.info('on')\nreturn INPUT_DATA"
    result = zygote.run(statement, IDS, [ids(3)], flags=flags, concurrency=concurrency)
    assert result.kind == DONE_FAILED
    assert result.text == "the statement called log.error: no 3"
    assert (result.done.line, result.done.row) == (2 if first else 1, -1 if flags else 0)
    assert [text for _, text, _, _ in result.logs] == ["no 3", "on"], "it runs to its end"


def test_a_message_is_cut_at_its_limit_between_characters(zygote: Zygote) -> None:
    result = zygote.run("log.info('é' * 1000000)\nreturn []", IDS)
    ((_, text, _, _),) = result.logs
    assert text == "é" * ((1 << 20) // 2 - 8)  # 16 bytes are the head's
    result = zygote.run("log.info('é' + chr(0xd800) + chr(0))\nreturn []", IDS)
    assert result.logs[0][1] == "é\\ud800\0"


@pytest.mark.trace("P13")
def test_coroutines_that_nobody_awaits_are_told(zygote: Zygote) -> None:
    result = zygote.run("x = 1\nsleep(1)\nreturn []", IDS)
    assert [(level, line) for level, _, line, _ in result.logs] == [("warn", 2)]
    assert "never awaited" in result.logs[0][1]


@pytest.mark.trace("P13")
def test_tasks_that_are_left_at_the_end_are_blamed_on_no_row(zygote: Zygote) -> None:
    text = "import asyncio\nasync def f():\n    await sleep(60)\nasyncio.create_task(f())\nawait sleep(0)\nreturn []"
    result = zygote.run(text, IDS, [ids(1, 2)], allow=["asyncio"])
    assert [(level, line, row) for level, _, line, row in result.logs] == [("warn", 4, -1)] * 2


# ---- failures --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("statement", "words"),
    [
        ("raise ValueError('bad')", "ValueError: bad"),
        ("raise SystemExit(3)", "SystemExit: 3"),
        ("raise KeyboardInterrupt", "KeyboardInterrupt"),
        ("raise GeneratorExit", "GeneratorExit"),
        ("raise BaseException('b')", "BaseException: b"),
        ("raise StopIteration(1)", "RuntimeError: coroutine raised StopIteration"),
        ("raise BaseExceptionGroup('g', [KeyboardInterrupt()])", "BaseExceptionGroup: g"),
        ("raise 1", "exceptions must derive from BaseException"),
        ("def f():\n    return f()\nf()", "RecursionError"),
        ("class E(Exception):\n    def __str__(self):\n        raise SystemExit\nraise E", ""),
        ("class E(Exception):\n    def __str__(self):\n        return 1\nraise E", ""),
    ],
)
@pytest.mark.parametrize(("flags", "concurrency"), [(0, 1), (0, 4), (BULK | INPUT_WHOLE, 1)])
@pytest.mark.parametrize("first", ["", AWAIT], ids=["straight", "awaits"])
def test_whatever_a_statement_raises_is_its_failure(
    zygote: Zygote, first: str, statement: str, words: str, flags: int, concurrency: int
) -> None:
    text = (
        f"{first}if INPUT_DATA[-1]['id'] == 2:\n    {statement.replace(chr(10), chr(10) + '    ')}\nreturn INPUT_DATA"
    )
    result = zygote.run(text, IDS, [ids(1, 2)], flags=flags, concurrency=concurrency)
    assert result.kind == DONE_FAILED
    assert words in result.text
    assert result.done.row == (-1 if flags else 1)
    assert result.code == 0
    assert "qanat" not in result.text, "no frame of ours"


RETURNS = [
    ("None", "None"),
    ("{'id': 1}", "dict"),
    ("[1]", "int"),
    ("'text'", "str"),
    ("(x for x in [])", "generator"),
    ("{1}", "set"),
    ("[[1]]", "list"),
    ("[None]", "None"),
    ("[{'id': 'a'}]", "str 'a'"),
    ("[{'id': 1.5}]", "1.5"),
    ("[{'id': 1 << 70}]", "Int64"),
    ("[{}]", "id"),
    ("[{'id': 1, 'x': 2}]", "x"),
]


@pytest.mark.trace("P12")
@pytest.mark.parametrize(("returned", "words"), RETURNS)
@pytest.mark.parametrize(("flags", "concurrency"), [(0, 1), (0, 4), (BULK | INPUT_WHOLE, 1)])
@pytest.mark.parametrize("first", ["", AWAIT], ids=["straight", "awaits"])
def test_what_it_returns_is_checked(
    zygote: Zygote, first: str, returned: str, words: str, flags: int, concurrency: int
) -> None:
    result = zygote.run(f"{first}return {returned}", IDS, [ids(1)], flags=flags, concurrency=concurrency)
    assert result.kind == DONE_FAILED
    assert words in result.text, result.text


@pytest.mark.parametrize("first", ["", AWAIT], ids=["straight", "awaits"])
def test_too_much_memory_is_told_as_such(zygote: Zygote, first: str) -> None:
    text = first + "x = []\nwhile True:\n    x.append(bytearray(1 << 20))\nreturn []"
    result = zygote.run(text, IDS, [ids(1)], memory=64 << 20)
    assert result.kind == DONE_MEMORY
    assert "memory" in result.text
    assert result.done is not None
    assert (result.done.line, result.done.row) == (text.count("\n", 0, text.index("x.append")) + 1, 0)
    assert result.peak_memory < 256 << 20


def test_rows_that_are_given_one_by_one_do_not_count_as_memory_together(zygote: Zygote) -> None:
    batch = pa.record_batch({"id": pa.array(range(2 << 20), pa.int64())})  # 16 MiB
    assert zygote.run("return []", IDS, [batch], memory=8 << 20).kind == DONE_OK
    assert zygote.run("return []", IDS, [batch], memory=8 << 20, flags=BULK | INPUT_WHOLE).kind == DONE_MEMORY


def test_an_output_larger_than_the_memory_is_told_as_such(zygote: Zygote) -> None:
    statement = "text = 'x' * (20 << 20)\nreturn [{'text': text}]"
    assert zygote.run(statement, TEXTS, memory=32 << 20).kind == DONE_MEMORY
    assert zygote.run(statement, TEXTS, memory=128 << 20).kind == DONE_OK


def test_a_memory_error_far_from_the_limit_is_a_failure_with_its_traceback(zygote: Zygote) -> None:
    """The sandbox gives no memory for machine code, which ctypes says as if there were none at all."""
    statement = "x = 1\nimport ctypes\nctypes.CFUNCTYPE(ctypes.c_int)(lambda: 1)\nreturn []"
    result = zygote.run(statement, IDS, [ids(1)], memory=512 << 20, flags=RULES_OFF)
    assert (result.kind, result.done.line) == (DONE_FAILED, 3)
    assert result.text.endswith("MemoryError")
    result = zygote.run("x = 1\nx = bytearray(1 << 40)\nreturn []", IDS, [ids(1)], memory=512 << 20)
    assert (result.kind, result.done.line) == (DONE_MEMORY, 2)  # as far from it, but refused


def test_too_much_memory_in_small_objects(zygote: Zygote) -> None:
    result = zygote.run("x = []\nwhile True:\n    x = [x, x]\nreturn []", IDS, [ids(1)], memory=64 << 20)
    assert result.kind == DONE_MEMORY


def test_times_and_counts_are_told(zygote: Zygote) -> None:
    result = zygote.run("return INPUT_DATA", IDS, [ids(*range(100000))])
    done = result.done
    assert (done.rows_in, done.rows_out) == (100000, 100000)
    assert min(done.compile_nanos, done.read_nanos, done.run_nanos, done.write_nanos) > 0


# ---- the channel -----------------------------------------------------------------------------------------------------


def test_start_may_come_in_pieces(zygote: Zygote) -> None:
    run = zygote.fork()
    send, sent = run.send, bytearray()
    run.send = lambda kind, payload=b"", fd=-1: sent.extend(FRAME.pack(kind, 0, len(payload)) + payload)  # type: ignore[method-assign]
    run.start("return [{'id': 1}]", IDS)
    run.send = send  # type: ignore[method-assign]
    run.channel.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 1)
    for byte in sent:
        run.channel.send(bytes([byte]))
    assert run.finish().rows == [{"id": 1}]


@pytest.mark.parametrize(
    "data",
    [
        FRAME.pack(99, 0, 0),
        FRAME.pack(START, 0, 0),
        FRAME.pack(START, 0, 24) + bytes(24),
        FRAME.pack(START, 0, 16) + b"\x01\0\0\0\0\0\0\0" + b"\xff" * 8,
        FRAME.pack(START, 0, 1000),
    ],
    ids=["unknown", "empty", "no parts", "too long a part", "cut"],
)
def test_a_broken_start_ends_the_run(zygote: Zygote, data: bytes) -> None:
    run = zygote.fork()
    run.channel.sendall(data)
    run.channel.shutdown(socket.SHUT_WR)
    code, number, *_ = run.wait_ended()
    assert (code, number) == (71, 0)
    run.close()


def test_an_input_that_breaks_off_ends_the_run(zygote: Zygote) -> None:
    run = zygote.fork()
    run.start("return INPUT_DATA", IDS, [ids(1)], more=True)
    run.channel.shutdown(socket.SHUT_WR)
    code, number, *_ = run.wait_ended()
    assert (code, number) == (71, 0)
    run.close()
