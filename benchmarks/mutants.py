"""Small faults that can be put into a module, one at a time: what a test suite is there to find.

Boundaries and signs, constants off by one, ``and`` for ``or``, negated conditions, statements left out, arguments
swapped. Annotations, decorators, docstrings and the texts of errors stay; so do ``strict`` of `zip`, a check that
cannot fail where the code is right, and what is ten apart only so that something fits between.
"""

from __future__ import annotations

import ast
import difflib
from collections.abc import Iterator
from dataclasses import dataclass

COMPARISONS: dict[type[ast.cmpop], tuple[type[ast.cmpop], ...]] = {
    ast.Lt: (ast.LtE, ast.GtE),
    ast.LtE: (ast.Lt, ast.Gt),
    ast.Gt: (ast.GtE, ast.LtE),
    ast.GtE: (ast.Gt, ast.Lt),
    ast.Eq: (ast.NotEq,),
    ast.NotEq: (ast.Eq,),
    ast.In: (ast.NotIn,),
    ast.NotIn: (ast.In,),
    ast.Is: (ast.IsNot,),
    ast.IsNot: (ast.Is,),
}
OPERATORS: dict[type[ast.operator], type[ast.operator]] = {
    ast.Add: ast.Sub,
    ast.Sub: ast.Add,
    ast.Mult: ast.Div,
    ast.Div: ast.Mult,
    ast.FloorDiv: ast.Mult,
    ast.Mod: ast.Mult,
    ast.Pow: ast.Mult,
    ast.BitAnd: ast.BitOr,
    ast.BitOr: ast.BitAnd,
    ast.BitXor: ast.BitAnd,
    ast.LShift: ast.RShift,
    ast.RShift: ast.LShift,
}
SYMMETRIC = ("min", "max", "np.minimum", "np.maximum")
LARGE = 1e3  # a float: one more or less is no other
LONG = 120  # of a longer line only what differs is shown, and a little around it
LEFT_OUT = (ast.Raise, ast.Delete, ast.Continue, ast.Break, ast.AugAssign)


@dataclass(frozen=True)
class Mutant:
    """A module with one fault.

    Parameters
    ----------
    line
        Of the module as it is written.
    before, after
        The lines that differ, as `ast.unparse` writes them.
    source
        The whole module.
    """

    line: int
    before: str
    after: str
    source: str


def mutants(source: str) -> list[Mutant]:
    """Every fault that can be put into a module, in the order of its lines."""
    tree = ast.parse(source)
    plain = ast.unparse(tree)
    found: dict[str, Mutant] = {}
    for owner, field, index, node in _places(tree):
        for fault in _faults(node):
            _put(owner, field, index, fault)
            changed = ast.unparse(tree)
            _put(owner, field, index, node)
            if changed != plain:
                before, after = _difference(plain, changed)
                found.setdefault(changed, Mutant(_line(node), before, after, changed))
    return sorted(found.values(), key=lambda mutant: mutant.line)


def _places(node: ast.AST) -> Iterator[tuple[ast.AST, str, int | None, ast.AST]]:
    """Every node that may change, and where it hangs: its owner, the field, and the place in a list."""
    for field, value in ast.iter_fields(node):
        if field in ("annotation", "returns", "decorator_list", "ops", "op", "ctx"):
            continue
        for index, child in enumerate(value) if isinstance(value, list) else [(None, value)]:
            if not isinstance(child, ast.AST) or isinstance(child, ast.JoinedStr) or _is_beside_the_point(node, child):
                continue
            yield node, field, index, child
            yield from _places(child)


def _is_beside_the_point(node: ast.AST, child: ast.AST) -> bool:
    """``strict`` of `zip`, and ``place`` of a metric: places are ten apart."""
    if not isinstance(node, ast.Call) or not isinstance(child, ast.keyword):
        return False
    return (ast.unparse(node.func), child.arg) in {("zip", "strict"), ("Metric", "place")}


def _put(owner: ast.AST, field: str, index: int | None, node: ast.AST) -> None:
    if index is None:
        setattr(owner, field, node)
    else:
        getattr(owner, field)[index] = node


def _faults(node: ast.AST) -> Iterator[ast.AST]:
    """What can stand in the place of a node."""
    match node:
        case ast.Compare(left, ops, comparators):
            for place, kind in enumerate(ops):
                for other in COMPARISONS[type(kind)]:
                    yield ast.Compare(left, [*ops[:place], other(), *ops[place + 1 :]], comparators)
        case ast.BinOp(left, kind, right) if type(kind) in OPERATORS and not _is_union(node):
            yield ast.BinOp(left, OPERATORS[type(kind)](), right)
        case ast.BoolOp(kind, values):
            yield ast.BoolOp(ast.Or() if isinstance(kind, ast.And) else ast.And(), values)
        case ast.UnaryOp(_, operand):
            yield operand
        case ast.Constant(bool() as value):
            yield ast.Constant(not value)
        case ast.Constant(float() as value) if value >= LARGE:
            yield ast.Constant(value * 2)
            yield ast.Constant(value / 2)
        case ast.Constant(int() | float() as value):
            yield ast.Constant(value + 1)
            yield ast.Constant(value - 1)
        case ast.If(test, body, orelse) if not _is_comparison(test):
            yield ast.If(_not(test), body, orelse)
        case ast.While(test, body, orelse) if not _is_comparison(test):
            yield ast.While(_not(test), body, orelse)
        case ast.IfExp(test, body, orelse) if not _is_comparison(test):
            yield ast.IfExp(_not(test), body, orelse)
        case ast.comprehension(target, of, ifs, is_async) if ifs:
            for place, test in enumerate(ifs):
                if _is_comparison(test):
                    continue
                yield ast.comprehension(target, of, [*ifs[:place], _not(test), *ifs[place + 1 :]], is_async)
        case ast.Call(func, args, keywords) if ast.unparse(func) not in SYMMETRIC and not _starred(args):
            for place in range(len(args) - 1):
                swapped = [*args[:place], args[place + 1], args[place], *args[place + 2 :]]
                yield ast.Call(func, swapped, keywords)
    if isinstance(node, ast.AugAssign) and type(node.op) in OPERATORS:
        yield ast.AugAssign(node.target, OPERATORS[type(node.op)](), node.value)
    if _may_be_left_out(node):
        yield ast.Pass()


def _is_comparison(test: ast.expr) -> bool:
    """One that is negated as a comparison."""
    return isinstance(test, ast.Compare) and len(test.ops) == 1


def _starred(arguments: list[ast.expr]) -> bool:
    return any(isinstance(argument, ast.Starred) for argument in arguments)


def _not(test: ast.expr) -> ast.expr:
    match test:
        case ast.UnaryOp(ast.Not(), operand):
            return operand
    return ast.UnaryOp(ast.Not(), test)


def _may_be_left_out(node: ast.AST) -> bool:
    """A statement without which the module still has all its names."""
    if isinstance(node, ast.Assign):
        return not any(isinstance(target, ast.Name | ast.Tuple) for target in node.targets)
    return isinstance(node, LEFT_OUT) or (isinstance(node, ast.Expr) and isinstance(node.value, ast.Call))


def _is_union(node: ast.BinOp) -> bool:
    """Of types, which Python cannot put together in any other way."""
    leaves = [leaf for leaf in ast.walk(node) if isinstance(leaf, ast.expr) and not isinstance(leaf, ast.BinOp)]
    return isinstance(node.op, ast.BitOr) and all(isinstance(n, ast.Name) and n.id[:1].isupper() for n in leaves)


def _line(node: ast.AST) -> int:
    """Where a node begins; a comprehension itself has no place."""
    return next(part.lineno for part in ast.walk(node) if isinstance(part, ast.expr | ast.stmt | ast.keyword))


def _difference(before: str, after: str) -> tuple[str, str]:
    lines = list(difflib.unified_diff(before.splitlines(), after.splitlines(), n=0, lineterm=""))[3:]
    gone, come = (" ".join(line[1:].strip() for line in lines if line[0] == sign) for sign in "-+")
    if max(len(gone), len(come)) <= LONG:
        return gone, come
    begin = max(_shared(gone, come) - LONG // 4, 0)
    end = max(_shared(gone[::-1], come[::-1]) - LONG // 4, 0)
    return gone[begin : len(gone) - end], come[begin : len(come) - end]


def _shared(one: str, other: str) -> int:
    """With how many characters both begin."""
    pairs = zip(one, other, strict=False)
    return next((place for place, (a, b) in enumerate(pairs) if a != b), min(len(one), len(other)))
