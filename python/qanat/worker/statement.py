"""A statement: from text to one compiled coroutine function, and from its failures to text for its author.

Owns: decoding, parsing, the rules (rules.py), compiling the body of an `async def` with its line numbers kept, the
names that a statement finds, what it prints and logs, and the tracebacks, which show lines of the statement and none of
ours. Does not own: rows, the channel, the event loop. A statement is compiled inside the sandbox only: its text may
make the interpreter's own parser run out of memory or stack. Standard library only. Thread rule: the run's main thread.
"""

from __future__ import annotations

import ast
import asyncio
import builtins
import errno
import gc
import io
import linecache
import sys
import traceback
import types
import warnings
from collections.abc import Callable, Coroutine, Iterator
from typing import Any

from .rules import MAX_SOURCE, WITHHELD, StatementProblem, attribute_problem, check, import_problem, words

__all__ = [
    "DEBUG",
    "ERROR",
    "INFO",
    "TRACE",
    "WARN",
    "CoroutineWatch",
    "Log",
    "Output",
    "Statement",
    "StatementProblem",
    "compile_statement",
    "format_failure",
    "make_namespace",
    "sleep",
]

# As QN_RUN_TRACE ... QN_RUN_ERROR of the protocol.
TRACE, DEBUG, INFO, WARN, ERROR = range(5)

# level, message, line of the statement (0: unknown). Who sends it knows the row.
Sink = Callable[[int, str, int], None]

FUNCTION_NAME = "<statement>"
PARAMETERS = ("INPUT_DATA", "DATA_CHECKPOINT")
OWN_MODULES = ("qanat_worker", "qanat.worker", "_worker")
HOW_TO_RETURN = "its last line must return a list, for example 'return INPUT_DATA'"

CAUSED = "\nThe above exception was the direct cause of the following exception:\n"
HANDLED = "\nDuring handling of the above exception, another exception occurred:\n"

MAX_FRAMES = 12  # of one traceback; of more the first and the last are shown
MAX_CHAIN = 10  # exceptions that led to one another
MAX_FAILURE = 64 << 10  # characters
MAX_PENDING = 64 << 10  # characters of a line that print has not ended


class Statement:
    """A compiled statement. `imports`: modules that it names, sorted. `awaits`: it needs an event loop. `coroutines`:
    it may make coroutines that nobody awaits (see CoroutineWatch). `warnings`: (line, message) of the compiler."""

    __slots__ = ("allow", "awaits", "code", "coroutines", "imports", "lines", "name", "rules", "warnings")

    def __init__(self, name: str, lines: list[str], allow: frozenset[str], rules: bool) -> None:
        self.name = name
        self.lines = lines
        self.allow = allow
        self.rules = rules
        self.imports: tuple[str, ...] = ()
        self.awaits = False
        self.coroutines = False
        self.warnings: tuple[tuple[int, str], ...] = ()
        self.code: types.CodeType

    def function(self, namespace: dict[str, Any]) -> Callable[[Any, Any], Coroutine[Any, Any, Any]]:
        """The coroutine function of (INPUT_DATA, DATA_CHECKPOINT) over these globals."""
        return types.FunctionType(self.code, namespace, FUNCTION_NAME)

    def line(self, frame: types.FrameType | None = None) -> int:
        """The line of the statement that is running: of its innermost frame. 0: none of its code is."""
        if frame is None:
            frame = sys._getframe(1)
        while frame is not None:
            if frame.f_code.co_filename == self.name:
                return frame.f_lineno
            frame = frame.f_back
        return 0


# ---- from text to code ----


def decode_source(source: bytes | str) -> str:
    """The text with \\n for every end of a line and without a byte order mark."""
    if isinstance(source, bytes):
        check_size(len(source))
        try:
            text = source.decode("utf-8")
        except UnicodeDecodeError as failure:
            before = source[: failure.start].replace(b"\r\n", b"\n").replace(b"\r", b"\n")
            line_start = before.rfind(b"\n") + 1
            column = len(before[line_start:].decode("utf-8")) + 1
            problem = (
                f"the statement is not UTF-8: byte 0x{source[failure.start]:02x} in column {column}; save it as UTF-8"
            )
            raise StatementProblem(before.count(b"\n") + 1, column, problem) from None
    else:
        text = source
    text = text.removeprefix("\ufeff").replace("\r\n", "\n").replace("\r", "\n")
    if isinstance(source, str):
        try:
            check_size(len(text.encode("utf-8")))
        except UnicodeEncodeError as failure:
            line, column = place(text, failure.start)
            character = f"U+{ord(text[failure.start]):04X}"
            raise StatementProblem(line, column, f"the statement has {character}, half of a character") from None
    nul = text.find("\0")
    if nul >= 0:
        raise StatementProblem(*place(text, nul), "the statement has a NUL byte: is it a text file?")
    return text


def check_size(size: int) -> None:
    if size > MAX_SOURCE:
        raise StatementProblem(1, 1, f"the statement has {size} bytes, {MAX_SOURCE} are allowed: give data as input")


def place(text: str, offset: int) -> tuple[int, int]:
    """Line and column, both from 1."""
    return text.count("\n", 0, offset) + 1, offset - (text.rfind("\n", 0, offset) + 1) + 1


def character_column(lines: list[str], line: int, byte_column: int) -> int:
    """The syntax tree counts bytes from 0, people count characters from 1."""
    if not 1 <= line <= len(lines):
        return 1
    return len(lines[line - 1].encode("utf-8")[:byte_column].decode("utf-8", "ignore")) + 1


def compile_statement(source: bytes | str, name: str, allow: frozenset[str], rules: bool = True) -> Statement:
    """Check and compile. StatementProblem says where and why not. Without `rules` (builds for tests only) everything
    that is Python and has the structure of a statement will do."""
    text = decode_source(source)
    lines = text.split("\n")
    statement = Statement(name, lines, allow, rules)
    try:
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            tree = ast.parse(text, name)
            found = check(tree, allow, rules)
            if found.problem is not None:
                line, column, message = found.problem
                raise StatementProblem(line, character_column(lines, line, column), message)
            if not tree.body:
                raise StatementProblem(1, 1, f"the statement is empty: {HOW_TO_RETURN}")
            if not found.returns:
                raise StatementProblem(
                    len(text.rstrip().split("\n")), 1, f"the statement has no 'return': {HOW_TO_RETURN}"
                )
            statement.code = compile_body(tree, name)
    except SyntaxError as failure:
        raise syntax_problem(failure, lines) from None
    except (RecursionError, MemoryError):
        raise StatementProblem(
            1, 1, "the statement is nested too deeply: take it apart into smaller expressions"
        ) from None
    except (ValueError, OverflowError) as failure:
        raise StatementProblem(1, 1, f"the statement cannot be compiled: {failure}") from None
    statement.imports = tuple(sorted(found.imports))
    statement.awaits = found.awaits
    statement.coroutines = found.coroutines
    statement.warnings = tuple((warning.lineno, first_line(str(warning.message))) for warning in caught)
    # Entries without a time of change are taken as they are: tracebacks find the lines here.
    linecache.cache[name] = (len(text), None, [line + "\n" for line in lines], name)
    return statement


def compile_body(tree: ast.Module, name: str) -> types.CodeType:
    """Move the body into an `async def` and compile that; every node keeps its place."""
    end = max(getattr(node, "end_lineno", None) or node.lineno for node in tree.body)
    arguments = ast.arguments(
        posonlyargs=[],
        args=[ast.arg(arg=parameter, annotation=None, type_comment=None) for parameter in PARAMETERS],
        vararg=None,
        kwonlyargs=[],
        kw_defaults=[],
        kwarg=None,
        defaults=[],
    )
    definition = ast.AsyncFunctionDef(
        name=FUNCTION_NAME, args=arguments, body=tree.body, decorator_list=[], returns=None, type_comment=None
    )
    definition.lineno, definition.col_offset = 1, 0
    definition.end_lineno, definition.end_col_offset = end, 0
    for argument in arguments.args:
        argument.lineno, argument.col_offset = 1, 0
        argument.end_lineno, argument.end_col_offset = 1, 0
    if sys.version_info >= (3, 12):
        definition.type_params = []
    module = compile(ast.Module([definition], []), name, "exec", dont_inherit=True, optimize=0)
    for constant in module.co_consts:
        if isinstance(constant, types.CodeType):
            return plain_names(constant)
    raise AssertionError("a module with one definition has its code")


def plain_names(code: types.CodeType) -> types.CodeType:
    """Classes and functions of a statement are called `Name`, not `<statement>.<locals>.Name`."""
    name = code.co_qualname.removeprefix(f"{FUNCTION_NAME}.<locals>.")
    constants = tuple(
        plain_names(constant)
        if isinstance(constant, types.CodeType)
        else name  # the body of a class sets __qualname__
        if constant == code.co_qualname and type(constant) is str
        else constant
        for constant in code.co_consts
    )
    return code.replace(co_qualname=name, co_consts=constants)


def syntax_problem(failure: SyntaxError, lines: list[str]) -> StatementProblem:
    message = first_line(failure.msg or "invalid syntax")
    if message[:1].isupper() and message[1:2].islower():
        message = message[0].lower() + message[1:]
    line = min(max(failure.lineno or 1, 1), max(len(lines), 1))
    if message == "unexpected indent" and not any(
        text.strip() and not text.lstrip().startswith("#") for text in lines[: line - 1]
    ):
        message += ": the first line of a statement begins at the left margin; textwrap.dedent(text) moves a text there"
    return StatementProblem(line, failure.offset or 1, message)


def first_line(text: str) -> str:
    return text.strip().partition("\n")[0]


# ---- the names that a statement finds ----


class Log:
    """`log` of a statement. Each method takes one message, of any type, and adds the line that it was called from."""

    __slots__ = ("_sink", "_statement")

    def __init__(self, statement: Statement, sink: Sink) -> None:
        self._statement = statement
        self._sink = sink

    def trace(self, message: object) -> None:
        self._sink(TRACE, str(message), self._statement.line(sys._getframe(1)))

    def debug(self, message: object) -> None:
        self._sink(DEBUG, str(message), self._statement.line(sys._getframe(1)))

    def info(self, message: object) -> None:
        self._sink(INFO, str(message), self._statement.line(sys._getframe(1)))

    def warn(self, message: object) -> None:
        self._sink(WARN, str(message), self._statement.line(sys._getframe(1)))

    def error(self, message: object) -> None:
        """Also marks the execution failed."""
        self._sink(ERROR, str(message), self._statement.line(sys._getframe(1)))


async def sleep(seconds: float) -> None:
    """`sleep` of a statement: let others run for so long."""
    if isinstance(seconds, bool) or not isinstance(seconds, int | float):
        raise TypeError(f"sleep takes a number of seconds, not {type(seconds).__name__}")
    if seconds != seconds:
        raise ValueError("sleep takes a number of seconds, not nan")
    await asyncio.sleep(seconds)


def checked(name: object) -> str:
    """The name of an attribute as getattr and the like take it. A subclass of str could change its mind later."""
    if type(name) is not str:
        raise TypeError(f"attribute name must be string, not {type(name).__name__!r}")
    problem = attribute_problem(name)
    if problem is not None:
        raise AttributeError(problem)
    return name


def guarded_getattr(target: Any, name: str, *default: Any) -> Any:
    return getattr(target, checked(name), *default)


def guarded_hasattr(target: Any, name: str) -> bool:
    return hasattr(target, checked(name))


def guarded_setattr(target: Any, name: str, value: Any) -> None:
    setattr(target, checked(name), value)


def guarded_delattr(target: Any, name: str) -> None:
    delattr(target, checked(name))


def guarded_dir(target: Any) -> list[str]:
    return [name for name in dir(target) if attribute_problem(name) is None]


for _function, _name in (
    (guarded_getattr, "getattr"),
    (guarded_hasattr, "hasattr"),
    (guarded_setattr, "setattr"),
    (guarded_delattr, "delattr"),
    (guarded_dir, "dir"),
):
    _function.__name__ = _function.__qualname__ = _name

GIVEN = words("""
    None True False NotImplemented Ellipsis __build_class__ __debug__
    abs aiter all anext any ascii bin bool bytearray bytes callable chr classmethod complex dict divmod enumerate
    filter float format frozenset hash hex id int isinstance issubclass iter len list map max memoryview min next object
    oct ord pow property range repr reversed round set slice sorted staticmethod str sum super tuple type zip
""") | {
    name
    for name, value in vars(builtins).items()
    if isinstance(value, type) and issubclass(value, BaseException) and not name.startswith("_")
}


def withheld(name: str) -> Callable[..., Any]:
    """What stands where a built-in function is not given. Not nothing: code in C looks such names up among the
    built-ins of the statement that calls it (numpy's does for `open`) and takes it ill where there is none."""

    def refuse(*_: Any, **__: Any) -> Any:
        raise PermissionError(f"{name!r} is not allowed: {WITHHELD[name]}")

    refuse.__name__ = refuse.__qualname__ = name
    return refuse


def guarded_import(allow: frozenset[str]) -> Callable[..., Any]:
    """`__import__` for the code of a statement. What allowed modules import themselves does not come here, but for one
    case: C code that a statement calls imports with the globals of the statement (datetime.strptime does). It is told
    by its list of no names, where an import statement has a tuple or None."""

    def import_module(name: str, given: Any = None, local: Any = None, names: Any = (), level: int = 0) -> Any:
        if not (type(names) is list and given is not None and local is given):
            problem = import_problem(str(name), allow) if level == 0 else "relative imports are not allowed"
            if problem is not None:
                raise ImportError(problem)
        return builtins.__import__(name, given, local, names, level)

    return import_module


def make_namespace(statement: Statement, sink: Sink, output: Output | None = None) -> dict[str, Any]:
    """Fresh globals for a run of the statement. `output`: where print goes; one over `sink` by default."""
    if statement.rules:
        given = {name: getattr(builtins, name) for name in GIVEN if hasattr(builtins, name)}
        given |= {name: withheld(name) for name in WITHHELD}
        given |= {
            "__import__": guarded_import(statement.allow),
            "getattr": guarded_getattr,
            "hasattr": guarded_hasattr,
            "setattr": guarded_setattr,
            "delattr": guarded_delattr,
            "dir": guarded_dir,
        }
    else:
        given = dict(vars(builtins))
    given["print"] = (output or Output(statement, sink)).print
    # "__main__" is the module whose classes and exceptions Python shows by their names alone.
    return {"__builtins__": given, "__name__": "__main__", "log": Log(statement, sink), "sleep": sleep}


# ---- what a statement prints ----


class Writer(io.TextIOBase):
    """sys.stdout or sys.stderr of a run: whole lines become log entries."""

    def __init__(self, statement: Statement, sink: Sink, level: int) -> None:
        super().__init__()
        self._statement = statement
        self._sink = sink
        self._level = level
        self._pending = ""

    @property
    def encoding(self) -> str:  # type: ignore[override]
        return "utf-8"

    @property
    def errors(self) -> str:  # type: ignore[override]
        return "strict"

    def writable(self) -> bool:
        return True

    def write(self, text: str, /) -> int:
        if not isinstance(text, str):
            raise TypeError(f"write() argument must be str, not {type(text).__name__}")
        line = self._statement.line(sys._getframe(1))
        *whole, self._pending = (self._pending + text).split("\n")
        for entry in whole:
            self._sink(self._level, entry, line)
        if len(self._pending) > MAX_PENDING:
            self.finish(line)
        return len(text)

    def put(self, text: str, line: int) -> None:
        """One call of print: one entry, also of many lines, where it ends its line."""
        text = self._pending + text
        if text.endswith("\n"):
            self._pending = ""
            self._sink(self._level, text[:-1], line)
        else:
            self._pending = text
            if len(text) > MAX_PENDING:
                self.finish(line)

    def finish(self, line: int = 0) -> None:
        """Let out a line that was begun."""
        if self._pending:
            pending, self._pending = self._pending, ""
            self._sink(self._level, pending, line)


class Output:
    """What a run prints, also from libraries: stdout to info, stderr and warnings to warn. start() once, in the child;
    finish() at the end of the run."""

    def __init__(self, statement: Statement, sink: Sink) -> None:
        self._statement = statement
        self._sink = sink
        self.stdout = Writer(statement, sink, INFO)
        self.stderr = Writer(statement, sink, WARN)
        self._before: tuple[Any, Any, Any] | None = None

    def start(self) -> None:
        self._before = (sys.stdout, sys.stderr, warnings.showwarning)
        sys.stdout, sys.stderr = self.stdout, self.stderr
        warnings.showwarning = self._show_warning
        for line, message in self._statement.warnings:
            self._sink(WARN, message, line)

    def finish(self) -> None:
        self.stdout.finish()
        self.stderr.finish()
        if self._before is not None:
            sys.stdout, sys.stderr, warnings.showwarning = self._before
            self._before = None

    def print(
        self, *values: object, sep: str | None = " ", end: str | None = "\n", file: Any = None, flush: bool = False
    ) -> None:
        if file is not None and file is not self.stdout:
            builtins.print(*values, sep=sep, end=end, file=file, flush=flush)
            return
        for name, value in (("sep", sep), ("end", end)):
            if value is not None and not isinstance(value, str):
                raise TypeError(f"{name} must be None or a string, not {type(value).__name__}")
        text = (" " if sep is None else sep).join(map(str, values)) + ("\n" if end is None else end)
        self.stdout.put(text, self._statement.line(sys._getframe(1)))

    def _show_warning(
        self,
        message: Warning | str,
        category: type[Warning],
        filename: str,
        lineno: int,
        file: Any = None,
        line: str | None = None,
    ) -> None:
        own = lineno if filename == self._statement.name else self._statement.line(sys._getframe(1))
        self._sink(WARN, f"{category.__name__}: {message}", own)


# ---- coroutines that nobody awaits ----


class CoroutineWatch:
    """Reports coroutines and tasks of a statement that were not awaited to their end, with the line that made them.
    start() before the statement where Statement.coroutines is set, finish() after it."""

    # Frames that each coroutine remembers: who called it, and who called that, where a decorator stands between. Every
    # one more costs a microsecond for each coroutine that is made.
    DEPTH = 2

    def __init__(self, statement: Statement, sink: Sink) -> None:
        self._statement = statement
        self._sink = sink
        self._before: Any = None

    def start(self) -> None:
        # The interpreter looks this function up when it frees a coroutine that was never started.
        self._before = warnings._warn_unawaited_coroutine  # type: ignore[attr-defined]
        warnings._warn_unawaited_coroutine = self._report  # type: ignore[attr-defined]
        sys.set_coroutine_origin_tracking_depth(self.DEPTH)

    def finish(self, loop: asyncio.AbstractEventLoop | None = None) -> None:
        """After the statement: tasks of `loop` that still go on are reported, and what is unreachable is freed."""
        for task in asyncio.all_tasks(loop) if loop is not None else ():
            self._report_task(task)
        gc.collect()
        sys.set_coroutine_origin_tracking_depth(0)
        warnings._warn_unawaited_coroutine = self._before  # type: ignore[attr-defined]

    def _report(self, coroutine: Any) -> None:
        name = coroutine.__qualname__.rpartition("<locals>.")[2]
        self._sink(WARN, f"coroutine {name!r} was never awaited: write 'await {name}(...)'", self._origin(coroutine))

    def _report_task(self, task: asyncio.Task[Any]) -> None:
        coroutine = task.get_coro()
        name = getattr(coroutine, "__qualname__", "task").rpartition("<locals>.")[2]
        if name != FUNCTION_NAME:
            message = f"task of coroutine {name!r} was still running when the statement returned: await it"
            self._sink(WARN, message, self._origin(coroutine))

    def _origin(self, coroutine: Any) -> int:
        for filename, line, _function in getattr(coroutine, "cr_origin", None) or ():
            if filename == self._statement.name:
                return int(line)
        return self._statement.line(sys._getframe(1))


# ---- failures ----

FILE_ERRORS = frozenset({errno.ENOENT, errno.EPERM, errno.EACCES, errno.EROFS})


def format_failure(failure: BaseException, statement: Statement) -> tuple[str, int]:
    """A traceback for the author of the statement, and the line to blame (0: unknown). Frames of the statement stand
    with their source, frames of libraries with the names of their modules, frames of ours not at all."""
    chain = list(failure_chain(failure))
    blamed = next((line for exception, _ in chain if (line := blamed_line(exception, statement)) > 0), 0)
    parts: list[str] = []
    for exception, relation in reversed(chain):
        parts.append(format_one(exception, statement))
        if relation:
            parts.append(relation)
    text = "\n".join(parts)
    if len(text) > MAX_FAILURE:
        half = MAX_FAILURE // 2
        text = f"{text[:half]}\n... {len(text) - 2 * half} characters ...\n{text[-half:]}"
    return text, blamed


def failure_chain(failure: BaseException) -> Iterator[tuple[BaseException, str]]:
    """An exception, then what led to it, each with the words that stand between it and what it led to."""
    seen: set[int] = set()
    current: BaseException | None = failure
    relation = ""
    while current is not None and id(current) not in seen and len(seen) < MAX_CHAIN:
        seen.add(id(current))
        yield current, relation
        if current.__cause__ is not None:
            current, relation = current.__cause__, CAUSED
        elif current.__context__ is not None and not current.__suppress_context__:
            current, relation = current.__context__, HANDLED
        else:
            current = None


def is_own(frame: types.FrameType) -> bool:
    module = str(frame.f_globals.get("__name__", ""))
    return module in OWN_MODULES or module.startswith(tuple(f"{name}." for name in OWN_MODULES))


def blamed_line(exception: BaseException, statement: Statement) -> int:
    blamed = 0
    for frame, line in traceback.walk_tb(exception.__traceback__):
        if frame.f_code.co_filename == statement.name:
            blamed = line
    return blamed


def format_one(exception: BaseException, statement: Statement) -> str:
    """One exception with its frames. Frames that come before the statement's first are those of who called it."""
    entries: list[str] = []
    begun = False
    for frame, position in traceback._walk_tb_with_full_positions(exception.__traceback__):  # type: ignore[attr-defined]
        line, end_line, column, end_column = position
        if frame.f_code.co_filename == statement.name:
            begun = True
            summary = traceback.FrameSummary(
                statement.name,
                line,
                frame.f_code.co_name,
                end_lineno=end_line,
                colno=column,
                end_colno=end_column,
            )
            entries += traceback.StackSummary.from_list([summary]).format()
        elif begun and not is_own(frame):
            module = frame.f_globals.get("__name__", "?")
            entries.append(f'  File "<{module}>", line {line}, in {frame.f_code.co_name}\n')
    if len(entries) > MAX_FRAMES:
        half = MAX_FRAMES // 2
        between = f"  ... {len(entries) - 2 * half} frames ...\n"
        entries = [*entries[:half], between, *entries[-half:]]
    last = "".join(
        traceback.TracebackException(
            type(exception), exception, exception.__traceback__, limit=0, compact=True
        ).format_exception_only()
    )
    head = "Traceback (most recent call last):\n" if entries else ""
    way_out = advice(exception)
    return (head + "".join(entries) + last).rstrip("\n") + (f"; {way_out}" if way_out else "")


def advice(exception: BaseException) -> str:
    """What to do about a mistake whose own message does not say it to who writes statements; "" for all others. Types
    are compared exactly: classes of the statement's own would run their code here."""
    kind = type(exception)
    if kind in (FileNotFoundError, PermissionError, OSError):
        failed: Any = exception
        named = type(failed.filename) is str and failed.errno in FILE_ERRORS
        return "a statement has no files: io.BytesIO and io.StringIO are files in memory" if named else ""
    if kind not in (ModuleNotFoundError, AttributeError, TypeError):
        return ""
    target: Any = type(getattr(exception, "obj", None))
    text = exception.args[0] if exception.args and type(exception.args[0]) is str else ""
    if kind is ModuleNotFoundError:
        missing = text.startswith("No module named ")
        return "it is not installed in this runtime; `qanat runtime create` makes others" if missing else ""
    if target is types.CoroutineType or "'coroutine' object" in text:
        return "write 'await' before the call that made it"
    if target is Log:
        return "log has trace, debug, info, warn and error"
    if text.startswith("Log.") and "positional argument" in text:
        return "it takes one message: log.info(f'...')"
    return ""
