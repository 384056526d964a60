"""Which faults could be put into a file: operators, constants, conditions and statements that could be others."""

from __future__ import annotations

import ast
import hashlib
import random
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

_COMPARISONS: dict[type[ast.cmpop], type[ast.cmpop]] = {
    ast.Lt: ast.LtE,
    ast.LtE: ast.Lt,
    ast.Gt: ast.GtE,
    ast.GtE: ast.Gt,
    ast.Eq: ast.NotEq,
    ast.NotEq: ast.Eq,
    ast.Is: ast.IsNot,
    ast.IsNot: ast.Is,
    ast.In: ast.NotIn,
    ast.NotIn: ast.In,
}
_OPERATORS: dict[type[ast.operator], type[ast.operator]] = {
    ast.Add: ast.Sub,
    ast.Sub: ast.Add,
    ast.Mult: ast.Div,
    ast.Div: ast.Mult,
    ast.FloorDiv: ast.Div,
    ast.Mod: ast.FloorDiv,
    ast.Pow: ast.Mult,
    ast.BitAnd: ast.BitOr,
    ast.BitOr: ast.BitAnd,
}
_NAMES = {"min": "max", "max": "min", "any": "all", "all": "any", "sum": "max", "ceil": "floor", "floor": "ceil"}

Change = tuple[ast.expr | ast.stmt, str, str]
"""A node, the text that replaces it, and the kind of the change."""


@dataclass(frozen=True, slots=True)
class Fault:
    """One change of one file.

    Attributes:
        file: path from the root of the repository.
        start: place of the changed text, in characters.
        old: text that stood there.
        new: text that stands there now.
        kind: what sort of change it is.
    """

    file: str
    start: int
    old: str
    new: str
    kind: str

    def key(self, source: str) -> str:
        """Return the fault's name in the log; it is another one as soon as the file or the change is another."""
        return hashlib.sha256(f"{self.file}\0{source}\0{self.start}\0{self.new}".encode()).hexdigest()[:16]

    def apply(self, source: str) -> str:
        """Return the source with the fault in it."""
        return source[: self.start] + self.new + source[self.start + len(self.old) :]

    def line(self, source: str) -> int:
        """Return the number of the first changed line."""
        return source.count("\n", 0, self.start) + 1


def possible_faults(file: str, source: str) -> list[Fault]:
    """Return every fault of the known kinds that leaves the file valid Python, in the order of the text."""
    unchanged = ast.dump(ast.parse(source))
    return [fault for fault in _candidates(file, source) if _is_fault(fault, source, unchanged)]


def shuffled_faults(sources: Mapping[str, str], seed: int) -> Iterator[Fault]:
    """Yield the possible faults of texts by file, each place and change as likely as any other to come next."""
    unchanged = {file: ast.dump(ast.parse(source)) for file, source in sources.items()}
    shuffled = [fault for file, source in sources.items() for fault in _candidates(file, source)]
    random.Random(seed).shuffle(shuffled)
    return (fault for fault in shuffled if _is_fault(fault, sources[fault.file], unchanged[fault.file]))


def _candidates(file: str, source: str) -> list[Fault]:
    starts = [0]
    for line in source.splitlines(keepends=True):
        starts.append(starts[-1] + len(line))

    def place(line: int, column: int) -> int:
        text = source[starts[line - 1] : starts[line] if line < len(starts) else None]
        return starts[line - 1] + len(text.encode()[:column].decode())

    found = {}
    for node, new, kind in _changes(ast.parse(source)):
        start = place(node.lineno, node.col_offset)
        old = source[start : place(node.end_lineno or node.lineno, node.end_col_offset or node.col_offset)]
        found[start, old, new] = Fault(file, start, old, new, kind)
    return [found[key] for key in sorted(found)]


def _is_fault(fault: Fault, source: str, unchanged: str) -> bool:
    try:
        return ast.dump(ast.parse(fault.apply(source))) != unchanged
    except SyntaxError:
        return False


def _changes(tree: ast.Module) -> Iterator[Change]:
    """Yield changes of what is executed; docstrings, annotations and texts are left alone, also what texts embed."""
    stack: list[ast.AST] = [tree]
    while stack:
        node = stack.pop()
        if isinstance(node, ast.JoinedStr) or (isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING"):
            continue
        if isinstance(node, ast.expr):
            yield from _of_expression(node)
        elif isinstance(node, ast.stmt):
            yield from _of_statement(node)
        for name, value in ast.iter_fields(node):
            if name not in ("annotation", "returns", "type_params"):
                children = value if isinstance(value, list) else [value]
                stack += [child for child in children if isinstance(child, ast.AST)]


def _of_expression(node: ast.expr) -> Iterator[Change]:
    match node:
        case ast.Compare(left=left, ops=[operator, *rest], comparators=comparators) if type(operator) in _COMPARISONS:
            changed = ast.Compare(left, [_COMPARISONS[type(operator)](), *rest], comparators)
            yield node, f"({ast.unparse(changed)})", "comparison"
        case ast.BinOp(left=left, op=operator, right=right) if type(operator) in _OPERATORS:
            yield node, f"({ast.unparse(ast.BinOp(left, _OPERATORS[type(operator)](), right))})", "operator"
        case ast.BoolOp(op=operator, values=values):
            other = ast.Or() if isinstance(operator, ast.And) else ast.And()
            yield node, f"({ast.unparse(ast.BoolOp(other, values))})", "and, or"
            yield node, f"({ast.unparse(values[0])})", "condition left out"
        case ast.UnaryOp(op=ast.Not() | ast.USub(), operand=operand):
            yield node, f"({ast.unparse(operand)})", "sign or not left out"
        case ast.IfExp(test=test, body=body, orelse=orelse):
            yield node, f"({ast.unparse(ast.IfExp(test, orelse, body))})", "branches exchanged"
        case ast.Constant(value=bool(value)):
            yield node, repr(not value), "constant"
        case ast.Constant(value=int(value)):
            yield node, repr(value + 1), "constant"
            yield node, repr(value - 1) if value else "(-1)", "constant"
        case ast.Constant(value=float(value)):
            yield node, repr(value * 1.5 if value else 0.5), "constant"
        case ast.Name(id=name, ctx=ast.Load()) if name in _NAMES:
            yield node, _NAMES[name], "another function"
        case ast.Call():
            yield from _of_call(node)


def _of_call(node: ast.Call) -> Iterator[Change]:
    for position, keyword in enumerate(node.keywords):
        if keyword.arg is not None:
            rest = [each for place, each in enumerate(node.keywords) if place != position]
            yield node, ast.unparse(ast.Call(node.func, node.args, rest)), "keyword left out"
    if len(node.args) > 1 and not any(isinstance(each, ast.Starred) for each in node.args):
        first, second, *rest = node.args
        yield node, ast.unparse(ast.Call(node.func, [second, first, *rest], node.keywords)), "arguments exchanged"


def _of_statement(node: ast.stmt) -> Iterator[Change]:
    match node:
        case ast.If(test=test) | ast.While(test=test):
            yield test, f"(not ({ast.unparse(test)}))", "condition reversed"
        case ast.Expr(value=ast.Constant()):
            return  # a docstring
        case ast.Expr() | ast.AugAssign() | ast.Raise() | ast.Assert() | ast.Delete():
            yield node, "pass", "statement left out"
        case ast.Return(value=ast.expr() as value) if not isinstance(value, ast.Constant):
            yield node, "return None", "nothing returned"
        case ast.Break():
            yield node, "continue", "loop"
        case ast.Continue():
            yield node, "break", "loop"
