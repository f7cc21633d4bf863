"""One idea is written down in one place: no function twice, and no retry of one's own.

What several rooms need lies in the kernel, `portside/`, from where each may import it.
"""

from __future__ import annotations

import ast
from collections import defaultdict
from collections.abc import Iterator
from functools import cache
from pathlib import Path

ROOT = Path(__file__).parents[2]
SOURCES = ("agent", "control", "portside", "operate", "deploys", "lab", "fabfile.py")
BACKOFF = "portside/backoff.py"

LARGE = 32
"""Nodes of the syntax tree: below that two functions look the same by chance."""


def test_no_function_is_written_twice() -> None:
    assert twice(sources()) == [], "keep one, in a module that both places may import"


def test_pauses_that_grow_with_failures_come_from_backoff_alone() -> None:
    assert own_backoffs(sources()) == [], (
        f"take the pause from `Backoff.pause`, or a share of it from `spread` ({BACKOFF}): "
        "a retry of its own soon differs from the others"
    )


def test_a_copied_function_is_found_under_other_names() -> None:
    first = "def once(of, most):\n    for each in of:\n        if each.size > most:\n"
    first += "            raise ValueError(each.name, most)\n    return sorted(of)[:most]\n"
    second = first.replace("of", "files").replace("most", "limit").replace("once", "again")
    assert twice({"a.py": first, "b.py": second}) == ["a.py:1 once, b.py:1 again"]
    assert twice({"a.py": first, "b.py": second.replace("name", "path")}) == []


def test_a_retry_of_ones_own_is_found() -> None:
    for line in (
        "pause = first * 2 ** attempt",
        "pause = first * 2.0 ** (attempt - 1)",
        "pause = first << attempt",
        "pause *= 2",
        "self.pause = min(self.pause * 1.5, 60)",
        "pause = min(longest, 2 * pause)",
        "time.sleep(random.uniform(0, 5))",
    ):
        program = {"a.py": f"def wait():\n    {line}\n"}
        assert own_backoffs(program) == [f"a.py:2 {line}"], line
    assert own_backoffs({"a.py": "size = 2**40\nleft = left - 1\nwide = height * 2\n"}) == []


def sources() -> dict[str, str]:
    """The text of each module, by its path in the project."""
    paths = [
        path
        for name in SOURCES
        for path in ([ROOT / name] if name.endswith(".py") else sorted((ROOT / name).rglob("*.py")))
    ]
    assert len(paths) > 200
    return {str(path.relative_to(ROOT)): path.read_text(encoding="utf-8") for path in paths}


@cache
def _tree(text: str) -> ast.Module:
    return ast.parse(text)


# -- functions -------------------------------------------------------------------------------------


def twice(programs: dict[str, str]) -> list[str]:
    """Functions that are the same in several modules but for the names of what is local to them."""
    alike: dict[tuple[type[ast.AST], ...], list[tuple[str, ast.FunctionDef]]] = defaultdict(list)
    for path, text in programs.items():
        for node in ast.walk(_tree(text)):
            if isinstance(node, ast.FunctionDef):
                kinds = tuple(
                    type(each) for statement in _body(node) for each in ast.walk(statement)
                )
                if len(kinds) >= LARGE:
                    alike[kinds].append((path, node))
    return [
        ", ".join(found.values())
        for candidates in alike.values()
        if len({path for path, _ in candidates}) > 1
        for found in _same(candidates)
    ]


def _same(candidates: list[tuple[str, ast.FunctionDef]]) -> Iterator[dict[str, str]]:
    places: dict[str, dict[str, str]] = defaultdict(dict)
    for path, function in candidates:
        numbers: dict[str, int] = {}
        for argument in function.args.args:
            numbers.setdefault(argument.arg, len(numbers))
        words = [word for statement in _body(function) for word in _words(statement, numbers)]
        places[" ".join(words)][path] = f"{path}:{function.lineno} {function.name}"
    return (found for found in places.values() if len(found) > 1)


def _body(function: ast.FunctionDef) -> list[ast.stmt]:
    return function.body[1:] if ast.get_docstring(function) else function.body


def _words(node: ast.AST, numbers: dict[str, int]) -> Iterator[str]:
    yield "("
    yield type(node).__name__
    for name, value in ast.iter_fields(node):
        if name in ("annotation", "returns"):
            continue
        if isinstance(node, ast.Name | ast.arg) and isinstance(value, str):
            yield str(numbers.setdefault(value, len(numbers)))
        elif isinstance(value, ast.AST):
            yield from _words(value, numbers)
        elif isinstance(value, list):
            for each in value:
                yield from _words(each, numbers) if isinstance(each, ast.AST) else (repr(each),)
        else:
            yield repr(value)
    yield ")"


# -- pauses ----------------------------------------------------------------------------------------


def own_backoffs(programs: dict[str, str]) -> list[str]:
    """Lines in which a number doubles by attempts, grows by itself, or is left to chance."""
    return [
        f"{path}:{node.lineno} {text.splitlines()[node.lineno - 1].strip()}"
        for path, text in programs.items()
        if path != BACKOFF
        for node in ast.walk(_tree(text))
        if isinstance(node, ast.stmt | ast.expr) and _is_own_backoff(node)
    ]


def _is_own_backoff(node: ast.stmt | ast.expr) -> bool:
    match node:
        case ast.BinOp(op=ast.Pow(), left=ast.Constant(), right=exponent):
            return not isinstance(exponent, ast.Constant)
        case ast.BinOp(op=ast.LShift(), right=exponent):
            return not isinstance(exponent, ast.Constant)
        case ast.AugAssign(op=ast.Mult(), value=ast.Constant()):
            return True
        case ast.Assign(targets=[target], value=value):
            return any(_multiplies(each, ast.unparse(target)) for each in ast.walk(value))
        case ast.Call(func=ast.Attribute(value=ast.Name("random"), attr="uniform")):
            return True
    return False


def _multiplies(node: ast.AST, name: str) -> bool:
    """Whether it is that variable times a constant."""
    if not (isinstance(node, ast.BinOp) and isinstance(node.op, ast.Mult)):
        return False
    sides = (node.left, node.right)
    return any(isinstance(side, ast.Constant) for side in sides) and any(
        ast.unparse(side) == name for side in sides
    )
