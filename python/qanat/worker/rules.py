"""The rules of the language that statements are written in: one pass over the syntax tree, before anything runs.

Owns: which imports, names, attributes and constructs a statement may have, and the message for each that it may not.
The rules exist so that the author of a statement gets a clear answer at the right line. They are not the wall: a
statement that talks its way around them (a name made at run time, a library that looks attributes up for it) still
stands in a process that the kernel holds. So a rule is here because its message helps, or because it closes a way that
is short and well known; SECURITY.md has the walls.

Invariants: never raises anything but StatementProblem for a tree that ast.parse made, walks without recursion, and has
no state. Standard library only; any thread.
"""

from __future__ import annotations

import ast
import re
import string
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

MAX_SOURCE = 1 << 20  # bytes
MAX_NODES = 250_000  # of the syntax tree
MAX_MESSAGE = 900  # characters


def words(text: str) -> frozenset[str]:
    return frozenset(text.split())


# What may be imported where nothing else is configured: the standard library first, then the third parties.
DEFAULT_ALLOW = frozenset(
    {
        "string",
        "math",
        "itertools",
        "random",
        "warnings",
        "base64",
        "io",
        "json",
        "xml",
        "ssl",
        "time",
        "datetime",
        "yaml",
        "httpx",
        "pandas",
        "numpy",
        "deepdiff",
        "passlib.hash",
        "jose",
        "jose.backends",
        "jose.constants",
        "jose.utils",
        "openai",
        "matplotlib",
        "matplotlib.pyplot",
    }
)

# Methods with two underscores that a class of the statement's own may have.
USUAL_METHODS = frozenset(
    f"__{name}__"
    for name in words("""
        init new post_init init_subclass repr str bytes format hash bool call missing getattr
        eq ne lt le gt ge len length_hint iter next reversed contains getitem setitem delitem
        enter exit aenter aexit aiter anext await get set set_name delete copy deepcopy
        add sub mul matmul truediv floordiv mod divmod pow lshift rshift and xor or
        radd rsub rmul rmatmul rtruediv rfloordiv rmod rdivmod rpow rlshift rrshift rand rxor ror
        iadd isub imul imatmul itruediv ifloordiv imod ipow ilshift irshift iand ixor ior
        neg pos abs invert int float complex index round trunc floor ceil
    """)
)
# What a class may be told by assignment in its body, besides the methods.
CLASS_SETTINGS = USUAL_METHODS | {"__slots__", "__match_args__", "__doc__"}

# Attributes without an underscore that lead to frames, code objects and the insides of generators.
FRAME_ATTRIBUTES = words("""
    gi_frame gi_code gi_yieldfrom gi_suspended cr_frame cr_code cr_await cr_origin cr_suspended
    ag_frame ag_code ag_await
    f_back f_builtins f_code f_generator f_globals f_lasti f_lineno f_locals f_trace f_trace_lines f_trace_opcodes
    tb_frame tb_lasti tb_lineno tb_next
    co_argcount co_branches co_cellvars co_code co_consts co_exceptiontable co_filename co_firstlineno co_flags
    co_freevars co_kwonlyargcount co_lines co_linetable co_lnotab co_name co_names co_nlocals co_positions
    co_posonlyargcount co_qualname co_stacksize co_varnames
    func_closure func_code func_defaults func_dict func_globals im_class im_func im_self
""")
# Those that look up any attribute by a text, or climb to `object`, and what to do instead.
LOOKUP_ATTRIBUTES = {
    "Formatter": "write an f-string",
    "attrgetter": "write a lambda",
    "get_field": "write an f-string",
    "methodcaller": "write a lambda",
    "mro": "use isinstance(x, ...)",
    "vformat": "write an f-string",
}

# Modules that are reached through the attributes of allowed ones (`ssl.os`, `from datetime import sys`). Names that the
# allowed ones use for something else (numpy.select, pandas.api.types) are not among them.
HOST_MODULES = words("""
    os posix sys ctypes subprocess importlib imp builtins socket signal shutil pathlib inspect gc codeop threading
    multiprocessing asyncio pickle marshal shelve tempfile fcntl mmap pty pwd grp runpy pkgutil zipimport sysconfig
    faulthandler linecache tracemalloc
""")

# Built-in functions that a statement does not get, and what it does instead.
WITHHELD = {
    "open": "a statement has no files: rows come in INPUT_DATA, io.BytesIO and io.StringIO are files in memory",
    "exec": "code that is made at run time cannot be checked",
    "eval": "code that is made at run time cannot be checked; json.loads reads values",
    "compile": "code that is made at run time cannot be checked",
    "input": "nobody is there to type: rows come in INPUT_DATA",
    "breakpoint": "a statement has no debugger: use log.debug",
    "globals": "use names, or a dict of your own",
    "locals": "use names, or a dict of your own",
    "vars": "use getattr with a name, or a dict of your own",
    "help": "a statement has no terminal",
    "exit": "use 'return'",
    "quit": "use 'return'",
}

FUNCTIONS = (ast.FunctionDef, ast.AsyncFunctionDef, ast.Lambda)


class StatementProblem(Exception):
    """Where and why a statement is refused. `message` is one line, without the line's number; str() has it in front."""

    def __init__(self, line: int, column: int, message: str) -> None:
        self.line = max(line, 1)
        self.column = max(column, 1)
        text = " ".join(message.split())
        self.message = text if len(text) <= MAX_MESSAGE else text[: MAX_MESSAGE - 3] + "..."
        super().__init__(self.line, self.column, self.message)

    def __str__(self) -> str:
        return f"line {self.line}: {self.message}"


def is_dunder(name: str) -> bool:
    return len(name) > 4 and name.startswith("__") and name.endswith("__")


def attribute_problem(name: str) -> str | None:
    """Why nobody may look up this attribute; None where everybody may. Also asked at run time, by getattr."""
    if name.startswith("_"):
        ways = {
            "__class__": "use type(x) or isinstance(x, ...)",
            "__name__": "use str(type(x))",
            "__dict__": "use getattr with a name, or a dict of your own",
            "__doc__": "it has no use in a statement",
            "__version__": "it has no use in a statement",
        }
        way = ways.get(name, "use what the object offers without it; in a class of your own, self._x is fine")
        return f"attribute {name!r} is not allowed: names that begin with an underscore are private; {way}"
    if name in FRAME_ATTRIBUTES:
        way = f"for data of that name write x[{name!r}]"
        return (
            f"attribute {name!r} is not allowed: frames, code objects and the insides of generators are private; {way}"
        )
    if name in LOOKUP_ATTRIBUTES:
        way = LOOKUP_ATTRIBUTES[name]
        return f"attribute {name!r} is not allowed: it looks up attributes that the rules cannot see; {way}"
    return None


def import_problem(name: str, allow: frozenset[str]) -> str | None:
    """Why `import name` and `from name import ...` are not allowed; None where they are."""
    if name in allow:
        return None
    parent, _, last = name.rpartition(".")
    if parent in allow:
        way = f"{parent!r} is, so write 'from {parent} import {last}'"
    elif (inner := sorted(module for module in allow if module.startswith(name + "."))) != []:
        way = f"allowed of it: {', '.join(inner[:20])}"
    elif allow:
        shown = sorted(allow)
        way = f"allowed: {', '.join(shown[:40])}{', ...' if len(shown) > 40 else ''}; `allow` sets another list"
    else:
        way = "no module is allowed here"
    return f"import of {shorten(name)!r} is not allowed; {way}"


def shorten(name: str) -> str:
    return name if len(name) <= 80 else name[:77] + "..."


def format_fields(text: str) -> Iterator[str]:
    """The attributes that a format string looks up: "{0.a.b[c]}" has a and b. What is no format string has none."""
    pending = [text]
    for _depth in range(3):  # a specification has fields of its own, one level deep
        specifications: list[str] = []
        for part in pending:
            try:
                for _literal, name, specification, _conversion in string.Formatter().parse(part):
                    if name:
                        yield from re.sub(r"\[[^\]]*\]", "", name).split(".")[1:]
                    if specification:
                        specifications.append(specification)
            except ValueError:
                continue
        pending = specifications


def constant_text(node: ast.expr) -> str | None:
    """The text of a literal, also of literals that are added up."""
    parts: list[str] = []
    pending = [node]
    while pending:
        current = pending.pop()
        if isinstance(current, ast.Constant) and isinstance(current.value, str):
            parts.append(current.value)
        elif isinstance(current, ast.BinOp) and isinstance(current.op, ast.Add):
            pending += [current.right, current.left]
        else:
            return None
    return "".join(parts)


@dataclass(frozen=True, slots=True)
class Scope:
    """Where a node stands."""

    kind: str  # "statement", "function" or "class"
    has_self: bool = False  # inside of a method whose first parameter is `self`


@dataclass(slots=True)
class Findings:
    """What one pass found."""

    problem: tuple[int, int, str] | None = None  # the first in the source: line, column in bytes from 0, message
    imports: set[str] = field(default_factory=set)
    awaits: bool = False  # the statement itself awaits, not only functions in it
    coroutines: bool = False  # it may make coroutines that nobody awaits
    returns: bool = False


class Pass:
    """One walk over the tree of a statement."""

    def __init__(self, tree: ast.Module, allow: frozenset[str], rules: bool) -> None:
        self.allow = allow
        self.rules = rules
        self.found = Findings()
        self.imported: set[str] = set()  # names that imports bind
        self.bound: set[str] = set()  # names that the statement binds itself
        self.withheld: list[ast.Name] = []
        self.failures: set[str] = set()  # names that `except ... as` binds
        self.objects: list[tuple[ast.Attribute, str]] = []
        self.formats = False  # formats texts that are not literals
        self.texts: list[ast.Constant] = []
        self.chains: list[tuple[ast.Attribute, str, str]] = []
        self.walk(tree)
        if rules:
            self.finish()

    def add(self, node: ast.AST, message: str) -> None:
        self.add_at(getattr(node, "lineno", 1), getattr(node, "col_offset", 0), message)

    def add_at(self, line: int, column: int, message: str) -> None:
        first = self.found.problem
        if first is None or (line, column) < first[:2]:
            self.found.problem = (line, column, message)

    def walk(self, tree: ast.Module) -> None:
        """Call what is interested in each node, in any order: the first problem is found by its place."""
        pending: list[tuple[ast.AST, Scope]] = [(node, Scope("statement")) for node in tree.body]
        rules = RULES if self.rules else {}
        count = 0
        while pending:
            node, scope = pending.pop()
            count += 1
            if count > MAX_NODES:
                line = getattr(node, "lineno", 1)
                raise StatementProblem(line, 1, f"the statement is too large: more than {MAX_NODES} parts")
            kind = type(node)
            if (look := STRUCTURE.get(kind)) is not None:
                look(self, node, scope)
            if (look := rules.get(kind)) is not None:
                look(self, node, scope)
            inner = self.inner_scope(node, scope)
            for name in FIELDS.get(kind, kind._fields):
                value = getattr(node, name, None)
                of_value = inner if name == "body" else scope
                if isinstance(value, list):
                    pending += [(child, of_value) for child in value if isinstance(child, ast.AST)]
                elif isinstance(value, ast.AST):
                    pending.append((value, of_value))

    @staticmethod
    def inner_scope(node: ast.AST, scope: Scope) -> Scope:
        """The scope of a node's body; defaults, bases and decorators belong to the scope around."""
        if isinstance(node, FUNCTIONS):
            first = [argument.arg for argument in [*node.args.posonlyargs, *node.args.args][:1]]
            return Scope("function", scope.has_self or (scope.kind == "class" and first == ["self"]))
        if isinstance(node, ast.ClassDef):
            return Scope("class", scope.has_self)
        return scope

    # ---- what is so with and without the rules ----

    def see_import(self, node: ast.Import, scope: Scope) -> None:
        self.found.imports.update(alias.name for alias in node.names)
        self.found.coroutines = True

    def see_import_from(self, node: ast.ImportFrom, scope: Scope) -> None:
        module = node.module or ""
        self.found.imports.add(module)
        self.found.imports.update(inner for alias in node.names if (inner := f"{module}.{alias.name}") in self.allow)
        self.found.coroutines = True

    def see_name(self, node: ast.Name, scope: Scope) -> None:
        self.found.coroutines |= node.id == "sleep"

    def see_coroutine(self, node: ast.AST, scope: Scope) -> None:
        self.found.coroutines = True

    def see_return(self, node: ast.AST, scope: Scope) -> None:
        self.found.returns |= scope.kind == "statement"

    def see_yield(self, node: ast.AST, scope: Scope) -> None:
        if scope.kind == "statement":
            self.add(node, "'yield' is not allowed here: a statement ends with 'return' and a list of all its rows")

    def see_await(self, node: ast.AST, scope: Scope) -> None:
        self.found.awaits |= scope.kind == "statement"

    def see_comprehension(self, node: ast.comprehension, scope: Scope) -> None:
        self.found.awaits |= scope.kind == "statement" and bool(node.is_async)

    # ---- the rules ----

    def check_constant(self, node: ast.Constant, scope: Scope) -> None:
        if isinstance(node.value, str) and "{" in node.value:
            self.texts.append(node)

    def check_keyword(self, node: ast.keyword, scope: Scope) -> None:
        if node.arg is not None and is_dunder(node.arg):
            self.add(node, f"argument {shorten(node.arg)!r} is not allowed: {DUNDER}")

    def check_parameter(self, node: ast.arg, scope: Scope) -> None:
        self.bind(node, node.arg)
        if node.annotation is not None:
            self.add(node, hint(f"parameter {shorten(node.arg)!r}", f"only {shorten(node.arg)!r}"))

    def check_annotation(self, node: ast.AnnAssign, scope: Scope) -> None:
        name = f" {shorten(node.target.id)!r}" if isinstance(node.target, ast.Name) else ""
        target = shorten(node.target.id) if isinstance(node.target, ast.Name) else "..."
        self.add(node, hint(f"variable{name}", f"'{target} = ...'"))

    def check_declaration(self, node: ast.Global | ast.Nonlocal, scope: Scope) -> None:
        for name in node.names:
            self.bind(node, name)

    def check_capture(self, node: ast.ExceptHandler | ast.MatchAs | ast.MatchStar, scope: Scope) -> None:
        self.bind(node, node.name)
        if isinstance(node, ast.ExceptHandler) and node.name is not None:
            self.failures.add(node.name)

    def check_mapping(self, node: ast.MatchMapping, scope: Scope) -> None:
        self.bind(node, node.rest)

    def check_pattern(self, node: ast.MatchClass, scope: Scope) -> None:
        for name in node.kwd_attrs:
            self.check_attribute_name(node, name)

    def check_except_star(self, node: ast.AST, scope: Scope) -> None:
        self.add(node, "'except*' is not allowed: write 'except'")

    def check_type_alias(self, node: ast.AST, scope: Scope) -> None:
        self.add(node, "'type' statements are not allowed: type hints have no use here, remove it")

    def check_type_parameter(self, node: ast.AST, scope: Scope) -> None:
        self.add(node, "type parameters are not allowed: type hints have no use here, remove '[...]'")

    def bind(self, node: ast.AST, name: str | None) -> None:
        if name is not None:
            self.bound.add(name)
            if is_dunder(name):
                self.add(node, f"name {shorten(name)!r} is not allowed: {DUNDER}")

    def check_name(self, node: ast.Name, scope: Scope) -> None:
        if is_dunder(node.id):
            if scope.kind != "class" or node.id not in CLASS_SETTINGS:
                self.add(node, f"name {node.id!r} is not allowed: {DUNDER}")
        elif not isinstance(node.ctx, ast.Load):
            self.bound.add(node.id)
        elif node.id in WITHHELD:
            self.withheld.append(node)

    def check_attribute(self, node: ast.Attribute, scope: Scope) -> None:
        value, name = node.value, node.attr
        if name in HOST_MODULES and isinstance(root := self.root(value), ast.Name):
            self.chains.append((node, root.id, name))
        if name == "obj" and isinstance(value, ast.Name):
            self.objects.append((node, value.id))
        if name in {"format", "format_map"}:
            self.check_format(node)
        own = isinstance(value, ast.Name) and value.id == "self" and scope.has_self and not is_dunder(name)
        parent = (
            isinstance(value, ast.Call)
            and isinstance(value.func, ast.Name)
            and value.func.id == "super"
            and name in USUAL_METHODS
        )
        if not (name.startswith("_") and (own or parent)):
            self.check_attribute_name(node, name)

    @staticmethod
    def root(node: ast.expr) -> ast.expr:
        while isinstance(node, ast.Attribute):
            node = node.value
        return node

    def check_attribute_name(self, node: ast.AST, name: str) -> None:
        problem = attribute_problem(name)
        if problem is not None:
            # A long chain begins where its first link does: what is to blame is its last.
            if isinstance(node, ast.Attribute) and node.end_lineno is not None and node.end_col_offset is not None:
                column = max(node.end_col_offset - len(name.encode()), 0)
                self.add_at(node.end_lineno, column, problem)
            else:
                self.add(node, problem)

    def check_format(self, node: ast.Attribute) -> None:
        text = constant_text(node.value)
        if text is not None:
            attributes = list(format_fields(text))
            if attributes:
                field_name = shorten(attributes[0])
                self.add(
                    node,
                    f"attribute {field_name!r} in a format string is not allowed: give the value itself, "
                    f"as in '{{}}'.format(x.{field_name})",
                )
        elif isinstance(node.value, ast.JoinedStr):
            self.add(node, "'.format' of an f-string is not allowed: write the value into the f-string's braces")
        else:
            self.formats = True

    def check_call(self, node: ast.Call, scope: Scope) -> None:
        """A text that names an attribute is checked where it can be seen."""
        if (
            isinstance(node.func, ast.Name)
            and node.func.id in {"getattr", "setattr", "hasattr", "delattr"}
            and len(node.args) > 1
            and (name := constant_text(node.args[1])) is not None
            and name.isidentifier()
        ):
            problem = attribute_problem(name)
            if problem is not None:
                self.add(node.args[1], problem)

    def check_import(self, node: ast.Import | ast.ImportFrom, scope: Scope) -> None:
        for alias in node.names:
            self.bind(alias, alias.asname)
        if isinstance(node, ast.Import):
            for alias in node.names:
                self.imported.add(alias.asname or alias.name.partition(".")[0])
                problem = import_problem(alias.name, self.allow)
                if problem is not None:
                    self.add(alias, problem)
            return
        if node.level:
            self.add(
                node, "relative imports are not allowed: a statement is in no package; write the module's full name"
            )
            return
        module = node.module or ""
        problem = import_problem(module, self.allow)
        if problem is not None:
            self.add(node, problem)
            return
        for alias in node.names:
            self.imported.add(alias.asname or alias.name)
            if alias.name == "*":
                self.add(node, f"star imports are not allowed: name what you use, or write 'import {module}'")
            elif alias.name.startswith("_"):
                self.add(alias, f"import of {shorten(alias.name)!r} is not allowed: it is private to {module!r}")
            elif alias.name in HOST_MODULES and f"{module}.{alias.name}" not in self.allow:
                if alias.name not in self.allow:
                    self.add(alias, f"import of {alias.name!r} is not allowed, nor is it reached by way of {module!r}")
            else:
                self.check_attribute_name(alias, alias.name)

    def check_definition(self, node: ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef, scope: Scope) -> None:
        name = shorten(node.name)
        self.bound.add(node.name)
        if is_dunder(node.name) and (
            isinstance(node, ast.ClassDef) or scope.kind != "class" or node.name not in USUAL_METHODS
        ):
            what = "class" if isinstance(node, ast.ClassDef) else "method" if scope.kind == "class" else "function"
            self.add(node, f"{what} {name!r} is not allowed: {DUNDER}, but for the usual methods of a class")
        if not isinstance(node, ast.ClassDef) and node.returns is not None:
            self.add(node.returns, hint(f"the result of {name!r}", "the function without '-> ...'"))

    def finish(self) -> None:
        """What can only be judged once all names are known."""
        for use in self.withheld:
            if use.id not in self.bound:
                self.add(use, f"{use.id!r} is not allowed: {WITHHELD[use.id]}")
        for node, root, module in self.chains:
            if root in self.imported and module not in self.allow:
                self.add(node, f"import of {module!r} is not allowed, nor is it reached by way of {root!r}")
        for node, root in self.objects:
            if root in self.failures:
                self.add(node, f"attribute 'obj' of the exception {shorten(root)!r} is not allowed: use str({root})")
        if self.formats:
            for constant in self.texts:
                name = next((name for name in format_fields(str(constant.value)) if attribute_problem(name)), None)
                if name is not None:
                    self.add(constant, f"attribute {shorten(name)!r} in a format string is not allowed")


DUNDER = "names with two underscores on both sides belong to the interpreter"


def hint(what: str, instead: str) -> str:
    return f"{what} has a type hint: type hints are not allowed, write {instead}"


# Who is interested in which nodes.
Look = Callable[[Pass, Any, Scope], None]
STRUCTURE: dict[type[ast.AST], Look] = {
    ast.AsyncFor: Pass.see_await,
    ast.AsyncFunctionDef: Pass.see_coroutine,
    ast.AsyncWith: Pass.see_await,
    ast.Await: Pass.see_await,
    ast.Import: Pass.see_import,
    ast.ImportFrom: Pass.see_import_from,
    ast.Name: Pass.see_name,
    ast.Return: Pass.see_return,
    ast.Yield: Pass.see_yield,
    ast.YieldFrom: Pass.see_yield,
    ast.comprehension: Pass.see_comprehension,
}
RULES: dict[type[ast.AST], Look] = {
    ast.AnnAssign: Pass.check_annotation,
    ast.AsyncFunctionDef: Pass.check_definition,
    ast.Attribute: Pass.check_attribute,
    ast.Call: Pass.check_call,
    ast.ClassDef: Pass.check_definition,
    ast.Constant: Pass.check_constant,
    ast.ExceptHandler: Pass.check_capture,
    ast.FunctionDef: Pass.check_definition,
    ast.Global: Pass.check_declaration,
    ast.Import: Pass.check_import,
    ast.ImportFrom: Pass.check_import,
    ast.MatchAs: Pass.check_capture,
    ast.MatchClass: Pass.check_pattern,
    ast.MatchMapping: Pass.check_mapping,
    ast.MatchStar: Pass.check_capture,
    ast.Name: Pass.check_name,
    ast.Nonlocal: Pass.check_declaration,
    ast.TryStar: Pass.check_except_star,
    ast.arg: Pass.check_parameter,
    ast.keyword: Pass.check_keyword,
}
if sys.version_info >= (3, 12):
    RULES[ast.TypeAlias] = Pass.check_type_alias
    RULES |= dict.fromkeys((ast.TypeVar, ast.ParamSpec, ast.TypeVarTuple), Pass.check_type_parameter)
# Fields that may hold nodes worth a look: no contexts and operators.
FIELDS: dict[type[ast.AST], tuple[str, ...]] = {
    ast.Attribute: ("value",),
    ast.BinOp: ("left", "right"),
    ast.BoolOp: ("values",),
    ast.Call: ("func", "args", "keywords"),
    ast.Compare: ("left", "comparators"),
    ast.Constant: (),
    ast.Name: (),
    ast.Subscript: ("value", "slice"),
    ast.UnaryOp: ("operand",),
}


def check(tree: ast.Module, allow: frozenset[str], rules: bool = True) -> Findings:
    """Look at a statement's tree; the first problem of the source is the caller's to raise."""
    return Pass(tree, allow, rules).found
