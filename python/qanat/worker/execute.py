"""Running a statement: compile it, give it its rows in its mode, put out what it returns, say how it ended.

Modes: row by row, driven from C where the statement does not await, on an event loop where it does (with as many rows
in flight as was asked for, output in the order of the input); bulk, for each batch or for all of the input. What a
statement does never gets past here: it becomes a DONE frame. Thread rule: the main thread.
"""

from __future__ import annotations

import asyncio
import contextlib
import contextvars
import time
from collections.abc import Callable, Coroutine, Iterator
from typing import Any, NoReturn, Protocol

from . import results, statement
from .statement import Statement, StatementProblem

# struct qn_run_options_part.flags
BULK, CHECK_ONLY, RULES_OFF, INPUT_WHOLE = 1, 2, 4, 8
# enum qn_done_kind
OK, FAILED, REJECTED, MEMORY, CHECKED = range(5)
AWAITS = 1  # QN_STATEMENT_AWAITS

SLICE = 256  # rows that are made into dicts at once where rows are in flight
AHEAD = 1024  # rows, or so many times the concurrency, that may have ended before one that still awaits
MEMORY_TEXT = "the statement needs more memory than it may use"


class Loop(Protocol):
    """The run's event loop, made when it is asked for."""

    def get(self) -> asyncio.AbstractEventLoop: ...


Function = Callable[[Any, Any], Coroutine[Any, Any, Any]]


class Run:
    """A run as its modes see it."""

    def __init__(self, child: Any, loop: Loop) -> None:
        self.child = child
        self.loop = loop
        self.flags = 0
        self.concurrency = 1
        self.batch_rows = 0
        self.checkpoint: Any = None
        self.has_input = False
        self.statement: Statement | None = None
        self.errors = 0
        self.first_error: tuple[str, int, int] = ("", 0, -1)  # message, line, row
        self.in_flight: contextvars.ContextVar[int] | None = None  # the row of a task, where rows are in flight
        self.failed_row: int | None = None
        self.rows_in = 0  # rows that were not driven from C
        self.compile_nanos = 0
        self.run_nanos = 0

    def take(self, todo: dict[str, Any]) -> None:
        """What START said."""
        self.flags = todo["flags"]
        self.concurrency = max(1, todo["concurrency"])
        self.batch_rows = todo["batch_rows"]
        self.checkpoint = todo["checkpoint"]
        self.has_input = todo["has_input"]

    def row(self) -> int:
        """The row that runs now, or that failed."""
        if self.failed_row is not None:
            return self.failed_row
        return int(self.child.row) if self.in_flight is None else self.in_flight.get(-1)

    def log(self, level: int, text: str, line: int) -> None:
        if level >= statement.ERROR:
            self.errors += 1
            if self.errors == 1:
                self.first_error = (text, line, self.row())
        if self.in_flight is None:
            self.child.log(level, text, line)
        else:
            self.child.log(level, text, line, self.in_flight.get(-1))

    @contextlib.contextmanager
    def timed(self) -> Iterator[None]:
        """Count the time inside as the statement's, but for what goes into reading and putting rows."""
        start = time.monotonic_ns() - self.child.data_nanos
        try:
            yield
        finally:
            self.run_nanos += time.monotonic_ns() - self.child.data_nanos - start

    def done(
        self, kind: int, text: str = "", line: int = 0, column: int = 0, row: int = -1, flags: int = 0
    ) -> NoReturn:
        self.child.done(kind, text, line, column, row, flags, self.rows_in, self.compile_nanos, self.run_nanos)
        raise AssertionError("done ends the process")


WARM_UP = """
try:
    text = [f"{row}" for row in INPUT_DATA if row["number"] != 1.5]
except ValueError:
    log.info("x")
return INPUT_DATA
"""
SMALL = "return [row for row in INPUT_DATA]\n"


def prepare(extension: Any) -> None:
    """In the zygote: use everything once, so that what is built lazily is there in every child."""
    compiled = warm_up(extension, WARM_UP)
    try:
        raise ValueError("warm-up")
    except ValueError as failure:
        statement.format_failure(failure, compiled)


def warm_up(extension: Any, text: str = SMALL) -> Statement:
    """Compile and run a statement. In a child, before it is ready: the pages that this touches are mapped and copied
    then, not while somebody waits. A small one touches nearly all of them, in much less time than one that uses
    everything."""
    compiled = statement.compile_statement(text, "warm-up", frozenset(), True)
    extension.warm_up(compiled.function(statement.make_namespace(compiled, lambda *_: None)))
    return compiled


def execute(child: Any, loop: Loop) -> NoReturn:
    """Wait for START and do what it says. Does not return."""
    run = Run(child, loop)
    try:
        todo = child.start()
        run.take(todo)
        compiled = compile_it(run, todo)
        if run.flags & CHECK_ONLY:
            run.done(CHECKED, "\n".join(compiled.imports), flags=AWAITS if compiled.awaits else 0)
        run_it(run, compiled)
    except StatementProblem as problem:
        run.done(REJECTED, str(problem), problem.line, problem.column)
    except BaseException as failure:  # noqa: BLE001  (whatever a statement raises is its failure)
        fail(run, failure)
    if run.errors:
        text, line, row = run.first_error
        times = "" if run.errors == 1 else f" {run.errors} times, first"
        run.done(FAILED, f"the statement called log.error{times}: {text}", line, row=row)
    run.done(OK)


def compile_it(run: Run, todo: dict[str, Any]) -> Statement:
    start = time.monotonic_ns()
    allow = frozenset(todo["allow"].splitlines())
    run.statement = statement.compile_statement(todo["statement"], todo["name"], allow, not run.flags & RULES_OFF)
    run.compile_nanos = time.monotonic_ns() - start
    return run.statement


def run_it(run: Run, compiled: Statement) -> None:
    """The statement over its input, and everything that it returned put out."""
    output = statement.Output(compiled, run.log)
    watch = statement.CoroutineWatch(compiled, run.log) if compiled.coroutines else None
    function = compiled.function(statement.make_namespace(compiled, run.log, output))
    if compiled.awaits or compiled.imports or watch is not None:
        run.loop.get()  # for what is imported too: it may ask for the loop of its thread
    output.start()
    if watch is not None:
        watch.start()
    try:
        if not run.has_input:
            put_bulk(run, call(run, compiled, function, []))
        elif run.flags & BULK:
            run_bulk(run, compiled, function)
        elif not compiled.awaits:
            if not run.child.run_rows(function, run.checkpoint):
                raise RuntimeError("the statement awaits, where no 'await' is written")
        else:
            run_awaiting_rows(run, function)
        run.child.flush()
        if watch is not None:
            run.child.row = -1  # which row left them behind is not known any more
            watch.finish(run.loop.get())
    finally:
        output.finish()


def fail(run: Run, failure: BaseException) -> NoReturn:
    """Say that the statement failed. Its exception may be hostile: looking at it may raise again."""
    row = run.row()
    if isinstance(failure, MemoryError) and was_refused_memory(failure, run):
        run.done(MEMORY, MEMORY_TEXT, line_of(failure, run), row=row)
    text = "the statement failed with an exception that cannot be shown"
    line = 0
    try:
        if run.statement is not None:
            text, line = statement.format_failure(failure, run.statement)
        else:
            text = f"{type(failure).__name__}: {failure}"
    except MemoryError:
        run.done(MEMORY, MEMORY_TEXT, row=row)
    except BaseException as second:  # noqa: BLE001  (__str__ of a statement's own exception)
        text = f"{text} ({type(second).__name__})"
    run.done(FAILED, text, line, row=row)


def was_refused_memory(failure: MemoryError, run: Run) -> bool:
    """Libraries raise MemoryError also where the sandbox refuses them something else, and so may a statement. What is
    derived from it comes from libraries that could not allocate."""
    return type(failure) is not MemoryError or bool(run.child.refused_memory)


def line_of(failure: MemoryError, run: Run) -> int:
    """The line that asked for too much, unless there is not even the memory to find it out."""
    try:
        return 0 if run.statement is None else statement.blamed_line(failure, run.statement)
    except MemoryError:
        return 0


# ---- bulk, and no input ----


def call(run: Run, compiled: Statement, function: Function, rows: list[Any]) -> Any:
    """One call with a list of rows."""
    run.child.row = -1
    if not compiled.awaits:
        returned = run.child.call(function, rows, run.checkpoint)
        if returned is None:
            raise RuntimeError("the statement awaits, where no 'await' is written")
        return returned[0]
    run.rows_in += len(rows)
    with run.timed():
        return run.loop.get().run_until_complete(function(rows, run.checkpoint))


def put_bulk(run: Run, returned: Any) -> None:
    if not results.put_frame(run.child, returned):
        run.child.put(returned)


def run_bulk(run: Run, compiled: Statement, function: Function) -> None:
    """Calls of `batch_rows` rows, or one. The engine has no message of the input cross from one call into the next."""
    limit = 0 if run.flags & INPUT_WHOLE else max(1, run.batch_rows)
    rows: list[Any] = []
    while (more := run.child.read()) is not None:
        if rows:
            rows.extend(more)
        else:
            rows = more
        if limit and len(rows) >= limit:
            put_bulk(run, call(run, compiled, function, rows))
            rows = []
    if rows or not limit:
        put_bulk(run, call(run, compiled, function, rows))


# ---- row by row on an event loop ----


class Rows:
    """The rows of the input one at a time, each with its number."""

    def __init__(self, child: Any) -> None:
        self._child = child
        self._slice: list[Any] = []
        self._at = 0
        self._next = 0

    def next(self) -> tuple[int, Any] | None:
        if self._at == len(self._slice):
            more = self._child.read(SLICE)
            if more is None:
                return None
            self._slice, self._at = more, 0
        row = self._slice[self._at]
        self._slice[self._at] = None
        self._at += 1
        self._next += 1
        return self._next - 1, row


def run_awaiting_rows(run: Run, function: Function) -> None:
    with run.timed():
        run.loop.get().run_until_complete((one_by_one if run.concurrency == 1 else many_at_once)(run, function))


async def one_by_one(run: Run, function: Function) -> None:
    rows = Rows(run.child)
    while (item := rows.next()) is not None:
        run.child.row, row = item
        run.rows_in += 1
        run.child.put(await function([row], run.checkpoint))


async def many_at_once(run: Run, function: Function) -> None:
    """Workers take rows as they come free; what ends out of order waits until those before it have been put out."""
    in_flight: contextvars.ContextVar[int] = contextvars.ContextVar("row")
    run.in_flight = in_flight
    rows = Rows(run.child)
    ahead = max(AHEAD, 4 * run.concurrency)
    ended: dict[int, Any] = {}
    next_out = 0
    room: asyncio.Event = asyncio.Event()

    def put_ended() -> None:
        nonlocal next_out
        while next_out in ended:
            run.failed_row = next_out
            run.child.put(ended.pop(next_out))
            run.failed_row = None
            next_out += 1
        room.set()

    async def work() -> None:
        while (item := rows.next()) is not None:
            number, row = item
            in_flight.set(number)
            run.rows_in += 1
            while number - next_out >= ahead:
                room.clear()
                await room.wait()
            try:
                ended[number] = await function([row], run.checkpoint)
            except BaseException:
                run.failed_row = number
                raise
            del row, item
            put_ended()

    # A task that fails ends the run; those that still go on end with the process.
    await asyncio.gather(*(run.loop.get().create_task(work()) for _ in range(run.concurrency)))
