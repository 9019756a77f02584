"""The mutants of a file: its syntax tree with one small thing changed.

The operators are those of cosmic-ray, but one other operator for each and not all eleven, and a deleted statement and
a changed key besides.  Texts are no code: what is raised, f-strings, strings with a space, doc strings, annotations
and `__all__` stay as they are.  So do assertions, `strict=` and `isinstance` among them, and the functions `work`,
which estimate seconds from constants that were measured: no test depends on the speed of the machine.
"""

from __future__ import annotations

import ast
import contextlib
import copy
import re
from collections import Counter
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from types import CodeType
from typing import Any, NamedTuple

SOURCE = Path(__file__).parents[2] / "src" / "xegrad"

_OTHERS: dict[type[ast.AST], tuple[type[ast.AST], ...]] = {
    ast.Add: (ast.Sub,),
    ast.Sub: (ast.Add,),
    ast.Mult: (ast.Div,),
    ast.Div: (ast.Mult,),
    ast.FloorDiv: (ast.Div,),
    ast.Mod: (ast.Mult,),
    ast.Pow: (ast.Mult,),
    ast.LShift: (ast.RShift,),
    ast.RShift: (ast.LShift,),
    ast.BitAnd: (ast.BitOr,),
    ast.BitOr: (ast.BitAnd,),
    ast.BitXor: (ast.BitOr,),
    ast.Lt: (ast.LtE, ast.GtE),
    ast.LtE: (ast.Lt, ast.Gt),
    ast.Gt: (ast.GtE, ast.LtE),
    ast.GtE: (ast.Gt, ast.Lt),
    ast.Eq: (ast.NotEq,),
    ast.NotEq: (ast.Eq,),
    ast.Is: (ast.IsNot,),
    ast.IsNot: (ast.Is,),
    ast.In: (ast.NotIn,),
    ast.NotIn: (ast.In,),
    ast.And: (ast.Or,),
    ast.Or: (ast.And,),
}


BLOCKS = ("body", "orelse", "finalbody")


class Mutant(NamedTuple):
    """One change of one file."""

    room: str  # a file or a folder of src/xegrad
    file: str  # below src/xegrad
    line: int
    block: int  # line of the first statement beside or above it: see `with_marks`
    function: str  # the outermost function that holds it, as `co_qualname` has it; "" outside of all
    first_line: int  # `co_firstlineno` of that
    number: int  # among the mutants of its file
    key: str  # what says which it is, also after lines above it have moved


class _Site(NamedTuple):
    """A place in a tree, and what may stand there instead."""

    parent: ast.AST
    field: str
    place: int | None  # in a list
    change: str
    other: ast.AST
    line: int
    block: int
    function: str
    first_line: int

    def replace(self) -> None:
        if self.place is None:
            setattr(self.parent, self.field, self.other)
        else:
            getattr(self.parent, self.field)[self.place] = self.other


def mutants(room: str) -> list[Mutant]:
    """All of a room: a file, or a folder with all that is below it."""
    place = SOURCE / room
    files = sorted(place.rglob("*.py")) if place.is_dir() else [place]
    return [mutant for file in files for mutant in _of_file(room, str(file.relative_to(SOURCE)))]


@cache
def _source(file: str) -> str:
    """As it is at first: someone may edit it meanwhile."""
    return (SOURCE / file).read_text(encoding="utf-8")


def _of_file(room: str, name: str) -> Iterator[Mutant]:
    lines = _source(name).splitlines()
    alike: Counter[str] = Counter()
    for number, site in enumerate(_sites(ast.parse(_source(name)))):
        key = f"{name} | {lines[site.line - 1].strip()} | {site.change}"
        alike[key] += 1
        key += f" ({alike[key]})" if alike[key] > 1 else ""
        yield Mutant(room, name, site.line, site.block, site.function, site.first_line, number, key)


def module_code(mutant: Mutant) -> CodeType:
    """The whole module with that change."""
    tree = ast.parse(_source(mutant.file))
    list(_sites(tree))[mutant.number].replace()
    return compile(ast.fix_missing_locations(tree), str(SOURCE / mutant.file), "exec")


def with_marks(file: str) -> CodeType:
    """The module of a file in which each block of statements first calls `reached` with the file and its own line."""
    tree = ast.parse(_source(file))
    functions = [node for node in ast.walk(tree) if isinstance(node, ast.FunctionDef)]
    for node in {id(below): below for function in functions for below in ast.walk(function)}.values():
        for block in (getattr(node, name, None) for name in BLOCKS):
            if isinstance(block, list) and block:
                mark = ast.parse(f"reached(({file!r}, {block[0].lineno}))").body[0]
                block.insert(0, ast.copy_location(mark, block[0]))
    return compile(ast.fix_missing_locations(tree), str(SOURCE / file), "exec")


def function_code(code: CodeType, name: str, first_line: int) -> CodeType:
    """The code of a function, by its `co_qualname` and `co_firstlineno`, in that of its module."""
    for constant in code.co_consts:
        if isinstance(constant, CodeType):
            if (constant.co_qualname, constant.co_firstlineno) == (name, first_line):
                return constant
            if name.startswith(f"{constant.co_qualname}."):
                with contextlib.suppress(LookupError):
                    return function_code(constant, name, first_line)
    raise LookupError(name)


def _sites(
    node: ast.AST, classes: str = "", function: str = "", first_line: int = 0, block: int = 0
) -> Iterator[_Site]:
    for field, index, child in _children(node):
        if field in BLOCKS and index is not None:
            block = getattr(node, field)[0].lineno
        inner, outermost, start = classes, function, first_line
        if not function and isinstance(node, ast.FunctionDef) and field == "body":
            outermost = f"{classes}{node.name}"
            start = min([node.lineno, *(one.lineno for one in node.decorator_list)])
        if isinstance(child, ast.ClassDef):
            inner = f"{classes}{child.name}."
        for change, other in _replacements(child):
            line = child.lineno  # type: ignore[attr-defined]
            yield _Site(node, field, index, change, other, line, block, outermost, start)
        yield from _sites(child, inner, outermost, start, block)


def _children(node: ast.AST) -> Iterator[tuple[str, int | None, ast.AST]]:
    """What may be changed below a node, and where it is."""
    match node:
        case ast.Raise() | ast.Assert() | ast.JoinedStr() | ast.Import() | ast.ImportFrom():
            return
        case ast.If(test=ast.Name(id="TYPE_CHECKING")) | ast.FunctionDef(name="work"):
            return
        case ast.Assign(targets=[ast.Name(id="__all__" | "__slots__")]):
            return
        case ast.Expr(value=ast.Constant()):
            return  # a doc string
        case ast.keyword(arg="strict"):
            return
        case ast.Call(func=ast.Name(id="isinstance" | "cast" | "TypeVar")):
            return
    for field, value in ast.iter_fields(node):
        if field in ("annotation", "returns"):
            continue
        if isinstance(value, ast.AST):
            yield field, None, value
        elif isinstance(value, list):
            yield from ((field, index, one) for index, one in enumerate(value) if isinstance(one, ast.AST))


def _with(node: ast.AST, **changes: object) -> ast.AST:
    other = copy.copy(node)
    for name, value in changes.items():
        setattr(other, name, value)
    return other


def _replacements(node: Any) -> Iterator[tuple[str, ast.AST]]:
    match node:
        case ast.BinOp(op=op) | ast.BoolOp(op=op) | ast.AugAssign(op=op):
            for another in _OTHERS.get(type(op), ()):
                yield _becomes(op, another()), _with(node, op=another())
        case ast.Compare(ops=ops):
            for index, sign in enumerate(ops):
                for new in _OTHERS[type(sign)]:
                    yield _becomes(sign, new()), _with(node, ops=[*ops[:index], new(), *ops[index + 1 :]])
        case ast.UnaryOp(op=ast.USub() | ast.Not() | ast.Invert(), operand=operand):
            yield f"{ast.unparse(node)} becomes {ast.unparse(operand)}", operand
        case ast.Constant(value=bool() as value):
            yield f"{value} becomes {not value}", _with(node, value=not value)
        case ast.Constant(value=int() | float() as value):
            for step in (1, -1):
                yield f"{value} becomes {value + step}", _with(node, value=value + step)
        case ast.Constant(value=str() as value) if re.fullmatch(r"\S*\w\S*", value):
            yield f"{value} becomes XX{value}", _with(node, value=f"XX{value}")
        case ast.Break():
            yield "break becomes continue", ast.copy_location(ast.Continue(), node)
        case ast.Continue():
            yield "continue becomes break", ast.copy_location(ast.Break(), node)
        case ast.ExceptHandler(type=ast.AST()):
            yield "nothing is caught", _with(node, type=ast.Name("StopAsyncIteration", ast.Load()))
        case ast.For():
            yield "the loop is not run", _with(node, iter=ast.List([], ast.Load()))
        case ast.If(test=test) | ast.While(test=test) | ast.IfExp(test=test):
            if not _has_own_negation(test):
                yield f"not ({ast.unparse(test)})", _with(node, test=ast.UnaryOp(ast.Not(), test))
    if isinstance(node, ast.AugAssign | ast.Raise) or (
        isinstance(node, ast.Expr) and not isinstance(node.value, ast.Constant)
    ):
        # Under a condition, so that a function that yields still does.
        yield "deleted", ast.copy_location(ast.If(ast.Constant(0), [node], []), node)


def _becomes(op: ast.AST, other: ast.AST) -> str:
    return f"{type(op).__name__} becomes {type(other).__name__}"


def _has_own_negation(test: ast.AST) -> bool:
    """Whether an operator's own mutant negates the condition."""
    return (
        isinstance(test, ast.UnaryOp | ast.Compare)
        or (isinstance(test, ast.Name) and test.id == "TYPE_CHECKING")
        or (isinstance(test, ast.Constant))
    )
