"""A statement from its text to its result: what it finds, what it prints, how its failures read."""

from __future__ import annotations

import asyncio
import builtins
import contextlib
import importlib.util
import inspect
import linecache
import sys
import warnings
from collections.abc import Iterator
from typing import Any

import pytest

from qanat.worker import rules
from qanat.worker import statement as subject
from qanat.worker.rules import DEFAULT_ALLOW, MAX_SOURCE, StatementProblem
from qanat.worker.statement import (
    DEBUG,
    ERROR,
    INFO,
    TRACE,
    WARN,
    CoroutineWatch,
    Output,
    Statement,
    compile_statement,
    format_failure,
    make_namespace,
)

NAME = "statement.py"


class FunctionText:
    """Equal to the text of a function of that name, wherever it lies in memory."""

    def __init__(self, name: str) -> None:
        self.start = f"<function {name} at 0x"

    def __eq__(self, other: object) -> bool:
        return isinstance(other, str) and other.startswith(self.start)

    __hash__ = None  # type: ignore[assignment]


class Run:
    """A statement driven as a run drives it, without a sandbox."""

    def __init__(self, source: bytes | str, rules: bool = True, allow: frozenset[str] = DEFAULT_ALLOW) -> None:
        self.statement = compile_statement(source, NAME, allow, rules)
        self.logs: list[tuple[int, str, int]] = []
        self.failure: tuple[str, int] | None = None

    def sink(self, level: int, message: str, line: int) -> None:
        self.logs.append((level, message, line))

    @contextlib.contextmanager
    def surroundings(self) -> Iterator[dict[str, Any]]:
        output = Output(self.statement, self.sink)
        watch = CoroutineWatch(self.statement, self.sink)
        output.start()
        watch.start()
        try:
            yield make_namespace(self.statement, self.sink, output)
        finally:
            watch.finish()
            output.finish()

    def __call__(self, rows: Any = None, checkpoint: Any = None) -> Any:
        with self.surroundings() as namespace:
            coroutine = self.statement.function(namespace)(rows, checkpoint)
            try:
                if self.statement.awaits:
                    return asyncio.run(coroutine)
                with pytest.raises(StopIteration) as end:
                    coroutine.send(None)
                return end.value.value
            except Exception as failure:
                self.failure = format_failure(failure, self.statement)
            finally:
                coroutine.close()
        return None


def run(source: bytes | str, rows: Any = None, checkpoint: Any = None) -> Any:
    return Run(source)(rows, checkpoint)


def fail(source: str, rows: Any = None) -> tuple[str, int]:
    """The text and the line of a failure."""
    execution = Run(source)
    with execution.surroundings() as namespace:
        coroutine = execution.statement.function(namespace)(rows, None)
        try:
            coroutine.send(None)
        except StopIteration:
            raise AssertionError("the statement did not fail") from None
        except BaseException as failure:
            return format_failure(failure, execution.statement)
    raise AssertionError("the statement waits")


# ---- what a statement is ----


@pytest.mark.trace("P11")
def test_body_of_an_async_function() -> None:
    assert run('users = [\n    { "name": "Alice" },\n    { "name": "Bob" },\n]\nreturn users') == [
        {"name": "Alice"},
        {"name": "Bob"},
    ]
    statement = compile_statement("await sleep(0)\nreturn []", NAME, DEFAULT_ALLOW)
    assert inspect.iscoroutinefunction(statement.function({}))


@pytest.mark.trace("P8", "P9")
def test_input_data_and_data_checkpoint() -> None:
    source = "return [row for row in INPUT_DATA if DATA_CHECKPOINT is None or row['id'] > DATA_CHECKPOINT]"
    rows = [{"id": 1}, {"id": 2}]
    assert run(source, rows) == rows
    assert run(source, rows, 1) == [{"id": 2}]


@pytest.mark.trace("P8")
def test_input_data_belongs_to_each_call() -> None:
    """Rows that are in flight at once do not see one another's data."""
    execution = Run("mine = INPUT_DATA\nawait sleep(0)\nreturn [mine is INPUT_DATA, INPUT_DATA]")

    async def both(function: Any) -> list[Any]:
        return await asyncio.gather(function([1], None), function([2], None))

    with execution.surroundings() as namespace:
        assert asyncio.run(both(execution.statement.function(namespace))) == [[True, [1]], [True, [2]]]


@pytest.mark.trace("P7")
def test_sleep_is_a_coroutine() -> None:
    assert run("x = await sleep(0.001)\nreturn [x]") == [None]
    assert inspect.iscoroutinefunction(subject.sleep)


@pytest.mark.trace("P7")
@pytest.mark.parametrize(
    ("seconds", "message"),
    [
        ("'1'", "TypeError: sleep takes a number of seconds, not str"),
        ("None", "TypeError: sleep takes a number of seconds, not NoneType"),
        ("True", "TypeError: sleep takes a number of seconds, not bool"),
        ("float('nan')", "ValueError: sleep takes a number of seconds, not nan"),
    ],
)
def test_sleep_refuses_what_is_no_time(seconds: str, message: str) -> None:
    text, line = fail(f"x = 1\nawait sleep({seconds})\nreturn []")
    assert text.endswith(message)
    assert line == 2


@pytest.mark.trace("P10")
def test_log_levels_with_lines() -> None:
    execution = Run("log.trace('a')\nlog.debug('b')\nlog.info('c')\nlog.warn('d')\nlog.error('e')\nreturn []")
    assert execution() == []
    assert execution.logs == [(TRACE, "a", 1), (DEBUG, "b", 2), (INFO, "c", 3), (WARN, "d", 4), (ERROR, "e", 5)]


def test_log_takes_any_object_and_the_innermost_line() -> None:
    execution = Run("def f(x):\n    log.info(x)\nf({'a': 1})\nlist(map(f, [None]))\nreturn []")
    execution()
    assert execution.logs == [(INFO, "{'a': 1}", 2), (INFO, "None", 2)]


def test_protocol_numbers_of_the_levels() -> None:
    assert (TRACE, DEBUG, INFO, WARN, ERROR) == (0, 1, 2, 3, 4)


def test_print_is_log_info() -> None:
    execution = Run(
        "print('a', 1, sep='-')\nprint('x', end='')\nprint('y\\nz')\nprint()\nprint('tail', end='')\nreturn []"
    )
    assert execution() == []
    assert execution.logs == [(INFO, "a-1", 1), (INFO, "xy\nz", 3), (INFO, "", 4), (INFO, "tail", 0)]


def test_print_into_a_file_in_memory() -> None:
    execution = Run("import io\nf = io.StringIO()\nprint('a', file=f)\nreturn [f.getvalue()]")
    assert execution() == ["a\n"]
    assert execution.logs == []


def test_print_without_end_is_bounded() -> None:
    execution = Run("for i in range(100):\n    print('x' * 10000, end='')\nreturn []")
    execution()
    assert sum(len(message) for _, message, _ in execution.logs) == 1_000_000
    assert max(len(message) for _, message, _ in execution.logs) <= subject.MAX_PENDING + 10_000


def test_print_refuses_what_python_refuses() -> None:
    assert fail("print('a', sep=1)\nreturn []")[0].endswith("TypeError: sep must be None or a string, not int")
    assert fail("print('a', end=b'')\nreturn []")[0].endswith("TypeError: end must be None or a string, not bytes")


def test_writing_to_stdout_and_stderr_of_libraries() -> None:
    execution = Run("import sys\nsys.stdout.write('a\\nb')\nsys.stderr.write('c\\n')\nreturn []", rules=False)
    assert execution() == []
    assert execution.logs == [(INFO, "a", 2), (WARN, "c", 3), (INFO, "b", 0)]


def test_warnings_are_log_entries() -> None:
    execution = Run("import warnings\nwarnings.simplefilter('always')\nx = 1\nwarnings.warn('old')\nreturn []")
    with warnings.catch_warnings():
        execution()
    assert execution.logs == [(WARN, "UserWarning: old", 4)]


def test_warnings_of_the_compiler_are_log_entries() -> None:
    execution = Run("x = 1\ny = '\\d'\nreturn [y]")
    assert execution() == ["\\d"]
    ((level, message, line),) = execution.logs
    assert (level, line) == (WARN, 2) and "invalid escape sequence" in message


def test_output_is_given_back() -> None:
    before = (sys.stdout, sys.stderr, warnings.showwarning, warnings._warn_unawaited_coroutine)
    run("return []")
    assert before == (sys.stdout, sys.stderr, warnings.showwarning, warnings._warn_unawaited_coroutine)
    assert sys.get_coroutine_origin_tracking_depth() == 0


def test_names_live_as_long_as_the_namespace() -> None:
    execution = Run("global count\ntry:\n    count += 1\nexcept NameError:\n    count = 1\nreturn [count]")
    with execution.surroundings() as namespace:
        function = execution.statement.function(namespace)
        for expected in ([1], [2]):
            with pytest.raises(StopIteration) as end:
                function(None, None).send(None)
            assert end.value.value == expected
    assert execution() == [1]


@pytest.mark.parametrize(
    ("source", "awaits", "coroutines"),
    [
        ("return []", False, False),
        ("await sleep(1)\nreturn []", True, True),
        ("x = sleep\nreturn []", False, True),
        ("async def f(): await sleep(1)\nreturn []", False, True),
        ("def f(): return 1\nreturn [f()]", False, False),
        ("import json\nreturn []", False, True),
        ("async with x: pass\nreturn []", True, False),
        ("async for x in y: pass\nreturn []", True, False),
        ("return [x async for x in y]", True, False),
        ("return [await x for x in y]", True, False),
        ("f = lambda: (yield)\nreturn []", False, False),
    ],
)
def test_what_the_driver_has_to_know(source: str, awaits: bool, coroutines: bool) -> None:
    statement = compile_statement(source, NAME, DEFAULT_ALLOW)
    assert (statement.awaits, statement.coroutines) == (awaits, coroutines)


# ---- built-ins, at run time ----

WITHOUT_UNDERSCORE = [
    ("getattr(1, '_' * 2 + 'class__')", "AttributeError: attribute '__class__' is not allowed"),
    ("getattr(1, '_' * 2 + 'class__', None)", "AttributeError: attribute '__class__' is not allowed"),
    ("hasattr(1, '_' * 1 + 'x')", "AttributeError: attribute '_x' is not allowed"),
    ("setattr(log, '_' * 1 + 'sink', 1)", "AttributeError: attribute '_sink' is not allowed"),
    ("delattr(log, '_' * 1 + 'sink')", "AttributeError: attribute '_sink' is not allowed"),
    ("getattr((i for i in []), 'gi_' * 1 + 'frame')", "AttributeError: attribute 'gi_frame' is not allowed"),
    ("list(map(getattr, [1], ['_' * 1 + '_class__']))", "AttributeError: attribute '__class__' is not allowed"),
    ("getattr(1, 1)", "TypeError: attribute name must be string, not 'int'"),
    ("getattr(1, b'_')", "TypeError: attribute name must be string, not 'bytes'"),
]


@pytest.mark.parametrize(("expression", "message"), WITHOUT_UNDERSCORE)
def test_guarded_lookups(expression: str, message: str) -> None:
    text, line = fail(f"x = 1\nreturn [{expression}]")
    assert text.splitlines()[-1].startswith(message)
    assert line == 2


def test_a_text_that_changes_its_mind_is_no_name() -> None:
    source = (
        "class S(str):\n    def startswith(self, x): return False\n    def __eq__(self, o): return False\n"
        "    __hash__ = None\nreturn [getattr(1, S('__cl' 'ass__'))]"
    )
    assert fail(source)[0].endswith("TypeError: attribute name must be string, not 'S'")


def test_dir_names_what_may_be_looked_up() -> None:
    (names,) = run("return [dir(1)]")
    assert "real" in names and not [name for name in names if name.startswith("_")]


@pytest.mark.parametrize("name", sorted(subject.GIVEN - {"__build_class__", "__debug__"}))
def test_given_built_ins_are_there(name: str) -> None:
    assert run(f"return [{name}]")[0] is getattr(builtins, name)


def test_withheld_built_ins_say_so() -> None:
    execution = Run("return []")
    with execution.surroundings() as namespace:
        given = namespace["__builtins__"]
    guarded = {"__import__", "getattr", "hasattr", "setattr", "delattr", "dir", "print"}
    assert set(given) - subject.GIVEN - guarded == set(rules.WITHHELD)
    for name in ("open", "exec", "eval", "compile", "input", "globals", "locals", "vars", "breakpoint", "help", "exit"):
        with pytest.raises(PermissionError, match=f"^'{name}' is not allowed: "):
            given[name]("x")


@pytest.mark.skipif(importlib.util.find_spec("numpy") is None, reason="numpy is not installed")
def test_c_code_finds_no_hole_where_a_built_in_is_withheld() -> None:
    text, line = fail("import numpy as np\nreturn [np.fromfile('/nowhere')]")
    assert text.endswith("PermissionError: 'open' is not allowed: " + rules.WITHHELD["open"])
    assert line == 2


@pytest.mark.trace("P5")
def test_imports_are_checked_again_at_run_time() -> None:
    """By code that the rules did not see: made at run time, by whatever means."""
    execution = Run("return []")
    with execution.surroundings() as namespace:
        for source in ("import os", "import xml.etree", "from xml.etree import ElementTree", "from . import x"):
            with pytest.raises(ImportError, match=r"not allowed"):
                exec(compile(source, NAME, "exec"), namespace)
        exec(compile("import json, xml\nfrom xml import etree", NAME, "exec"), namespace)
        assert namespace["etree"].__name__ == "xml.etree"


@pytest.mark.trace("P5")
def test_imports_inside_of_libraries_go_through() -> None:
    assert "_strptime" not in DEFAULT_ALLOW
    assert run("import datetime\nreturn [datetime.datetime.strptime('2024-02-03', '%Y-%m-%d').day]") == [3]
    assert run("import time\nreturn [time.strptime('2024', '%Y').tm_year]") == [2024]
    assert run("import json\nclass A: pass\nreturn [json.dumps([1])]") == ["[1]"]


def test_without_rules_everything_is_there() -> None:
    execution = Run("import os\nx: int = ().__class__\nreturn [os.getpid(), eval('1'), x]", rules=False)
    assert execution()[1] == 1


# ---- texts that are no statements, and odd ones that are ----


def problem(source: bytes | str, allow: frozenset[str] = DEFAULT_ALLOW) -> tuple[int, int, str]:
    with pytest.raises(StatementProblem) as caught:
        compile_statement(source, NAME, allow)
    return caught.value.line, caught.value.column, caught.value.message


EMPTY = "the statement is empty: its last line must return a list, for example 'return INPUT_DATA'"
NO_RETURN = "the statement has no 'return': its last line must return a list, for example 'return INPUT_DATA'"

BAD_TEXTS: list[tuple[bytes | str, int, int, str]] = [
    ("", 1, 1, EMPTY),
    (b"", 1, 1, EMPTY),
    (" \n\t\n", 1, 1, EMPTY),
    ("# nothing\n# at all", 1, 1, EMPTY),
    (b"\xef\xbb\xbf", 1, 1, EMPTY),
    ("x = 1", 1, 1, NO_RETURN),
    ("x = 1\n\ny = 2\n\n", 3, 1, NO_RETURN),
    ("def f():\n    return 1", 2, 1, NO_RETURN),
    ("f = lambda: 1", 1, 1, NO_RETURN),
    (b"x = '\xff'\nreturn []", 1, 6, "the statement is not UTF-8: byte 0xff in column 6; save it as UTF-8"),
    (b"x = 1\r\ny = '\xc3\xa4\xe4'", 2, 7, "the statement is not UTF-8: byte 0xe4 in column 7; save it as UTF-8"),
    (b"\xff\xfer\x00e\x00", 1, 1, "the statement is not UTF-8: byte 0xff in column 1; save it as UTF-8"),
    (b"return []\n\xc3", 2, 1, "the statement is not UTF-8: byte 0xc3 in column 1; save it as UTF-8"),
    ("x = 1\ny\0 = 2\nreturn []", 2, 2, "the statement has a NUL byte: is it a text file?"),
    (b"\0", 1, 1, "the statement has a NUL byte: is it a text file?"),
    ("return ['\ud800']", 1, 10, "the statement has U+D800, half of a character"),
    ("x = (\nreturn []", 1, 5, "'(' was never closed"),
    ("x = 'a\nreturn []", 1, 5, "unterminated string literal (detected at line 1)"),
    (
        "  return []",
        1,
        3,
        "unexpected indent: the first line of a statement begins at the left margin; "
        "textwrap.dedent(text) moves a text there",
    ),
    ("print 'x'\nreturn []", 1, 1, "missing parentheses in call to 'print'. Did you mean print(...)?"),
    ("global INPUT_DATA\nreturn []", 1, 1, "name 'INPUT_DATA' is parameter and global"),
]


@pytest.mark.parametrize(("source", "line", "column", "message"), BAD_TEXTS)
def test_what_is_no_statement(source: bytes | str, line: int, column: int, message: str) -> None:
    found = problem(source)
    assert (found[0], found[2]) == (line, message)
    if "indent" not in message:  # where the parser points to is its own
        assert found[1] == column


def test_size_is_limited() -> None:
    for source in (b"#" * (MAX_SOURCE + 1), "#" * (MAX_SOURCE + 1), "ä" * (MAX_SOURCE // 2 + 1)):
        line, column, message = problem(source)
        assert (line, column) == (1, 1)
        assert message.startswith("the statement has ") and message.endswith("are allowed: give data as input")
    longest = "return []#"
    assert run(longest + "x" * (MAX_SOURCE - len(longest))) == []


@pytest.mark.parametrize(
    "source",
    [
        "x = " + "(" * 5000 + "1" + ")" * 5000,
        "x = " + "[" * 150 + "]" * 150 + "\ny = " + "{1:" * 150 + "1" + "}" * 150,
        "x = " + "-" * 50_000 + "1",
        "x = " + "not " * 50_000 + "1",
        "x = " + "+".join(["1"] * 50_000),
        "x = 1" + ".real" * 50_000,
        "x = f" + "(0)" * 50_000,
        "x = " + "lambda: " * 50_000 + "1",
        "".join("    " * depth + "if x:\n" for depth in range(120)),
        "".join(f"{' ' * depth}def f():\n" for depth in range(99)) + " " * 99 + "pass",
        "for x in y:\n " * 30 + "pass",
        "if x: pass\n" + "elif x: pass\n" * 20_000,
        "x = " + "await " * 10_000 + "y",
        "x = '" + "{" * 50_000 + "'.format(1)",
        "x = f'" + "{" * 200 + "1" + "}" * 200 + "'",
        "match x:\n    case " + "[" * 2000 + "]" * 2000 + ": pass",
        "x = " + "9" * 100_000,
        "x = 0x" + "f" * 200_000,
        "x = " + "a if b else " * 20_000 + "c",
        "@f\n" * 20_000 + "def g(): pass",
        "x = " + "y[" * 150 + "0" + "]" * 150,
        "with " + ", ".join(["x"] * 5000) + ": pass",
    ],
    ids=range(22),
)
def test_deep_and_wide_texts_end_in_a_result_or_a_message(source: str) -> None:
    try:
        assert compile_statement(source + "\nreturn []", NAME, DEFAULT_ALLOW).code.co_argcount == 2
    except StatementProblem as refused:
        assert refused.message


ODD_TEXTS: list[tuple[bytes | str, Any]] = [
    ("\ufeffreturn [1]", [1]),
    (b"\xef\xbb\xbfreturn ['\xc3\xa4']", ["ä"]),
    ("x = 1\r\nreturn [x]\r\n", [1]),
    ("x = 1\rreturn [x]\r", [1]),
    ("x = '''a\r\nb'''\r\nreturn [x]", ["a\nb"]),
    ("# -*- coding: latin-1 -*-\nreturn ['ä']".encode(), ["ä"]),  # a statement is UTF-8, whatever it says
    ("# coding: no-such-coding\nreturn [1]", [1]),
    ("x = 1\n\x0creturn [x]", [1]),
    ("x = 'a\x0cb\x85c\u2028d'\nreturn [x]", ["a\x0cb\x85c\u2028d"]),
    ("'''A text that says what this does.'''\nreturn [1]", [1]),
    ("return [1]", [1]),
    ("return[1];x = 2", [1]),
    ("if INPUT_DATA:\n\treturn [1]\nreturn [2]", [2]),
    ("try:\n    return [1]\nfinally:\n    x = 1", [1]),
    ("return", None),
    ("größe = 2\nreturn [größe]", [2]),
]


@pytest.mark.parametrize(("source", "result"), ODD_TEXTS)
def test_odd_texts_that_are_statements(source: bytes | str, result: Any) -> None:
    assert run(source) == result


def test_a_text_that_is_indented_as_a_whole_is_told_the_way_out() -> None:
    for source in ("\n    x = 1\n    return [x]\n", "# why\n  return [1]"):
        with pytest.raises(StatementProblem, match=r"line 2: unexpected indent: .* textwrap\.dedent\(text\)"):
            compile_statement(source, NAME, DEFAULT_ALLOW)
    with pytest.raises(StatementProblem, match="line 2: unexpected indent$"):
        compile_statement("x = 1\n  return [x]", NAME, DEFAULT_ALLOW)


def test_lines_are_kept_whatever_ends_them() -> None:
    for source in ("x = 1\n\nreturn 1 / 0", "x = 1\r\n\r\nreturn 1 / 0", "x = 1\r\rreturn 1 / 0"):
        text, line = fail(source)
        assert line == 3
        assert '  File "statement.py", line 3, in <statement>\n    return 1 / 0\n' in text
    assert fail("x = 'a\x0cb\x85c\u2028d'\nreturn 1 / 0")[1] == 2


# ---- failures ----


def test_a_failure_shows_lines_of_the_statement_alone() -> None:
    text, line = fail("def half(x):\n    return 1 / x\n\ny = half(0)\nreturn [y]")
    assert text.startswith(
        'Traceback (most recent call last):\n  File "statement.py", line 4, in <statement>\n    y = half(0)\n'
    )
    assert '  File "statement.py", line 2, in half\n    return 1 / x\n' in text
    assert text.endswith("ZeroDivisionError: division by zero")
    assert line == 2
    assert __file__ not in text and "statement.py" in text


def test_frames_of_libraries_have_names_of_modules_and_no_paths() -> None:
    text, line = fail("import json\n\nreturn json.loads('{')")
    assert line == 3
    assert 'File "<json.decoder>", line ' in text
    assert "/" not in text


def test_frames_of_ours_are_left_out() -> None:
    text, line = fail("def name():\n    return '_x'\nreturn [getattr(1, name())]")
    assert line == 3
    assert text.count("File ") == 1
    text, line = fail("class A:\n    def __str__(self): return 1 / 0\nlog.info(A())\nreturn []")
    assert line == 2
    assert text.count("File ") == 2


def test_chains_of_failures() -> None:
    source = "try:\n    {}['a']\nexcept KeyError as e:\n    raise ValueError('no a') from e\nreturn []"
    text, line = fail(source)
    first, _, second = text.partition("\nThe above exception was the direct cause of the following exception:\n")
    assert first.rstrip().endswith("KeyError: 'a'") and second.endswith("ValueError: no a")
    assert line == 4
    text, _ = fail("try:\n    {}['a']\nexcept KeyError:\n    raise ValueError('no a')\nreturn []")
    assert "\nDuring handling of the above exception, another exception occurred:\n" in text
    text, _ = fail("try:\n    {}['a']\nexcept KeyError:\n    raise ValueError('no a') from None\nreturn []")
    assert "KeyError" not in text


MISTAKES = [
    ("log.warning('x')\nreturn []", "; log has trace, debug, info, warn and error"),
    ("log.info('%s', 1)\nreturn []", "; it takes one message: log.info(f'...')"),
    ("async def f(): pass\nx = f().text\nreturn []", "; write 'await' before the call that made it"),
    ("async def f(): pass\nx = f()[0]\nreturn []", "; write 'await' before the call that made it"),
    ("import absent\nreturn []", "; it is not installed in this runtime; `qanat runtime create` makes others"),
    (
        "import io\nio.FileIO('/absent')\nreturn []",
        "; a statement has no files: io.BytesIO and io.StringIO are files in memory",
    ),
    ("[].absent\nreturn []", "AttributeError: 'list' object has no attribute 'absent'"),
    ("raise PermissionError(13, 'refused')\nreturn []", "PermissionError: [Errno 13] refused"),
    ("class P(PermissionError):\n    filename = 'x'\nraise P(13, 'x')\nreturn []", "P: [Errno 13] x"),
    ("log.info()\nreturn []", "log.info(f'...')"),
]


@pytest.mark.parametrize(("source", "end"), MISTAKES)
def test_mistakes_that_are_typical_are_told_the_way_out(source: str, end: str) -> None:
    execution = Run(source, allow=frozenset({"io", "absent"}))
    execution()
    assert execution.failure is not None
    assert execution.failure[0].endswith(end)


def test_a_chain_in_a_circle_and_a_long_one_end() -> None:
    source = (
        "a = ValueError('a')\nb = ValueError('b')\ntry:\n    raise a from b\nexcept ValueError:\n    raise b from a\n"
    )
    text, _ = fail(source + "return []")
    assert text.count("ValueError: ") == 2
    source = (
        "e = None\nfor i in range(1000):\n    try:\n        raise ValueError(i) from e\n    except ValueError as x:\n"
    )
    text, _ = fail(source + "        e = x\nraise e\nreturn []")
    assert text.count("ValueError: ") == subject.MAX_CHAIN


def test_recursion_is_shown_in_part() -> None:
    text, line = fail("def f(n):\n    return f(n + 1)\nreturn f(0)")
    assert line == 2
    assert "RecursionError: maximum recursion depth exceeded" in text
    assert " frames ...\n" in text
    assert text.count("File ") <= subject.MAX_FRAMES


def test_a_giant_message_is_cut() -> None:
    text, _ = fail("raise ValueError('x' * 10_000_000)\nreturn []")
    assert len(text) < subject.MAX_FAILURE + 100
    assert " characters ...\n" in text


@pytest.mark.parametrize(
    "body",
    ["return 1 / 0", "raise KeyboardInterrupt", "raise SystemExit(3)", "return 1", "return E()", "raise BaseException"],
)
def test_an_exception_whose_text_fails(body: str) -> None:
    source = f"class E(Exception):\n    def __str__(self):\n        {body}\nraise E()\nreturn []"
    text, line = fail(source)
    assert text.endswith("E: <exception str() failed>")
    assert line == 4


def test_own_exceptions_have_their_plain_names() -> None:
    text, _ = fail("class NoUsers(Exception): pass\nraise NoUsers('none left')\nreturn []")
    assert text.endswith("\nNoUsers: none left")
    source = "class A:\n    class B: pass\n    def f(self): pass\nasync def g(): pass\ng().close()\n"
    assert run(source + "return [str(x) for x in (A, A.B, A.f, g)]") == [
        "<class '__main__.A'>",
        "<class '__main__.A.B'>",
        FunctionText("A.f"),
        FunctionText("g"),
    ]


def test_notes_groups_and_names() -> None:
    text, _ = fail("e = ValueError('a')\ne.add_note('while reading')\nraise e\nreturn []")
    assert text.endswith("ValueError: a\nwhile reading")
    text, _ = fail("raise ExceptionGroup('many', [ValueError('one'), KeyError('two')])\nreturn []")
    assert "ExceptionGroup: many (2 sub-exceptions)" in text
    text, line = fail("class A:\n    def f(self): return numbr\nreturn [A().f()]")
    assert "NameError: name 'numbr' is not defined" in text and line == 2


def test_a_failure_without_a_line_of_the_statement() -> None:
    statement = compile_statement("return []", NAME, DEFAULT_ALLOW)
    assert format_failure(ValueError("row 3: no"), statement) == ("ValueError: row 3: no", 0)


def test_source_lines_come_from_memory() -> None:
    compile_statement("x = 1\nreturn [x]", "another.py", DEFAULT_ALLOW)
    linecache.checkcache()
    assert linecache.getline("another.py", 2) == "return [x]\n"


def test_the_exception_of_a_syntax_error_at_run_time() -> None:
    text, line = fail("import json\nint('x')\nreturn []")
    assert line == 2 and text.endswith("ValueError: invalid literal for int() with base 10: 'x'")


# ---- coroutines that nobody awaits ----


@pytest.mark.trace("P13")
def test_coroutines_that_nobody_awaits_are_reported() -> None:
    execution = Run("x = 1\nsleep(1)\nasync def load(): return 1\n\nload()\nreturn []")
    assert execution() == []
    assert execution.logs == [
        (WARN, "coroutine 'sleep' was never awaited: write 'await sleep(...)'", 2),
        (WARN, "coroutine 'load' was never awaited: write 'await load(...)'", 5),
    ]


@pytest.mark.trace("P13")
def test_forgotten_coroutines_in_data_and_in_circles_are_reported() -> None:
    execution = Run("kept = [sleep(1)]\nkept.append(kept)\nreturn []")
    assert execution() == []
    assert [(level, line) for level, _, line in execution.logs] == [(WARN, 1)]


@pytest.mark.trace("P13")
def test_forgotten_coroutines_of_a_library_have_the_line_of_the_statement() -> None:
    execution = Run("import asyncio\nx = 1\nasyncio.wait_for(None, 1)\nreturn []", rules=False)
    assert execution() == []
    ((level, message, line),) = execution.logs
    assert (level, line) == (WARN, 3) and "'wait_for' was never awaited" in message


@pytest.mark.trace("P13")
def test_tasks_that_still_run_are_reported() -> None:
    execution = Run(
        "import asyncio\nasync def slow(): await sleep(60)\nt = asyncio.ensure_future(slow())\nreturn []", False
    )
    logs = execution.logs

    async def drive() -> Any:
        watch = CoroutineWatch(execution.statement, execution.sink)
        watch.start()
        try:
            namespace = make_namespace(execution.statement, execution.sink)
            await execution.statement.function(namespace)(None, None)
        finally:
            for task in asyncio.all_tasks() - {asyncio.current_task()}:
                task.get_loop().call_soon(task.cancel)
            watch.finish(asyncio.get_running_loop())

    asyncio.run(drive())
    assert (WARN, "task of coroutine 'slow' was still running when the statement returned: await it", 3) in logs


def test_awaited_coroutines_are_not_reported() -> None:
    execution = Run("await sleep(0)\nasync def f(): return 1\nreturn [await f()]")
    assert execution() == [1]
    assert execution.logs == []


# ---- one code object ----


def test_one_code_object() -> None:
    statement = compile_statement("return [1]", NAME, DEFAULT_ALLOW)
    assert isinstance(statement, Statement)
    first, second = statement.function({}), statement.function({})
    assert first.__code__ is second.__code__ is statement.code  # type: ignore[attr-defined]
    assert statement.code.co_filename == NAME
    assert statement.code.co_name == "<statement>"
