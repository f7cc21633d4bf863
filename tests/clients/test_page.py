"""docs/clients.md says of every client what is run: each ✓ is a test, all else has a reason."""

from __future__ import annotations

import ast
import re
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "clients.md").read_text("utf-8")

_PROMISES = re.findall(r"^\| (\w+) \| .* \| `(test_\w+)` \|$", PAGE, re.MULTILINE)
_ROWS = re.findall(
    r"^\| ([^|]+) \| `(tests/clients/[\w/.]+)` \| (?:`([^`]+)` )?\|(.*)\|$", PAGE, re.MULTILINE
)
_REMARKS = set(re.findall(r"^(\d+)\. ", PAGE, re.MULTILINE))


@cache
def defined_in(path: str, which: str) -> frozenset[str]:
    """The tests of a client in a file: those of its class, or those that are run with its name."""
    module = ast.parse((ROOT / path).read_text("utf-8"))
    classes = {node.name: node for node in module.body if isinstance(node, ast.ClassDef)}
    names = {node.value for node in ast.walk(module) if isinstance(node, ast.Constant)}
    assert not which or which in classes or which in names, f"{path} has no {which}"
    body = classes[which].body if which in classes else module.body
    return frozenset(node.name for node in body if isinstance(node, ast.FunctionDef))


def test_the_page_is_read_as_it_is_written() -> None:
    assert len(_PROMISES) == 5
    assert len(_ROWS) == PAGE.count("| `tests/clients/")


@pytest.mark.parametrize("row", _ROWS, ids=lambda row: row[0])
def test_every_cell_is_a_test_or_has_a_reason(row: tuple[str, str, str, str]) -> None:
    client, path, which, told = row
    cells = [cell.strip() for cell in told.split("|")]
    assert len(cells) == len(_PROMISES), client
    for cell, (column, test) in zip(cells, _PROMISES, strict=True):
        found = re.fullmatch(r"([✓-])(?: (\d+))?", cell)
        assert found, f"{client}, {column}: {cell!r} is neither ✓ nor - with a remark"
        mark, remark = found.groups()
        assert mark == "✓" or remark, f"{client}, {column}: why is it not run?"
        assert remark is None or remark in _REMARKS, f"{client}, {column}: no remark {remark}"
        assert mark != "✓" or test in defined_in(path, which), f"{client}, {column}: no {test}"


def test_every_file_of_clients_is_in_the_table() -> None:
    files = {
        str(path.relative_to(ROOT))
        for folder in ("browsers", "programs")
        for path in (ROOT / "tests" / "clients" / folder).glob("test_*.py")
    }
    assert files == {path for _, path, _, _ in _ROWS}
