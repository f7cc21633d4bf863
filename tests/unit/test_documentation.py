"""The pages stay true of the tree: what they name is there, the map is whole, and fits on screens.

What is checked in backticks are paths that begin with one of the repository's own folders,
`path::test_name`, and `name.py` and `name.md` at the top; in links, whatever is relative. Lines
that are indented or fenced are left alone: they are drawings and commands.
"""

from __future__ import annotations

import re
import subprocess
import tomllib
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]

PAGES = [
    *(ROOT / name for name in ("ARCHITECTURE.md", "README.md", "CONTRIBUTING.md")),
    *sorted((ROOT / "docs").rglob("*.md")),
]

MOST_LINES = {"ARCHITECTURE.md": 130, "README.md": 75}

MAPPED = ("agent", "control", "portside")
"""The parts of the house whose rooms ARCHITECTURE.md lists."""

_CODE = re.compile(r"`([^`\n]+)`")
_LINK = re.compile(r"\[[^\]]*\]\(([^)\s]+)\)")
_REFERENCE = re.compile(r"([\w./*-]+)(?:::(\w+))?")
_HEADING = re.compile(r"#+ (.+)")


@cache
def committed() -> frozenset[str]:
    """Every file in git, or that would be with the next `git add`, and every folder of one."""
    listed = subprocess.run(
        ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    ).stdout
    files = {name for name in listed.split("\0") if name and (ROOT / name).is_file()}
    return frozenset(files | {str(folder) for name in files for folder in Path(name).parents})


def prose(text: str) -> str:
    """A page without its drawings and commands."""
    kept, fenced = [], False
    for line in text.splitlines():
        if line.startswith("```"):
            fenced = not fenced
        elif not fenced and not line.startswith("    "):
            kept.append(line)
    return "\n".join(kept)


def dead_references(text: str) -> Iterator[str]:
    """What a page names in backticks and isn't there."""
    folders = {name.partition("/")[0] for name in committed() if "/" in name}
    for code in _CODE.findall(prose(text)):
        found = _REFERENCE.fullmatch(code)
        if found is None or not (
            code.partition("/")[0] in folders if "/" in code else code.endswith((".py", ".md"))
        ):
            continue
        path, test = found[1].rstrip("/"), found[2]
        if "*" in path:
            if not any(ROOT.glob(path)):
                yield code
        elif path not in committed() or (test and not has_test(ROOT / path, test)):
            yield code


def has_test(path: Path, name: str) -> bool:
    """Whether a file defines this test."""
    return (
        re.search(rf"^\s*(async )?def {name}\(", path.read_text("utf-8"), re.MULTILINE) is not None
    )


def dead_links(page: Path, text: str) -> Iterator[str]:
    """Relative links of a page to files or headings that aren't there."""
    for target in _LINK.findall(prose(text)):
        if re.match(r"[a-z]+:", target):
            continue
        name, _, anchor = target.partition("#")
        linked = (page.parent / name).resolve() if name else page
        is_there = linked.is_relative_to(ROOT) and str(linked.relative_to(ROOT)) in committed()
        if not is_there or (anchor and anchor not in anchors(linked.read_text("utf-8"))):
            yield target


def anchors(text: str) -> set[str]:
    """What a page's headings are linked by: lower-case, dashes for spaces, no punctuation."""
    headings = [found[1] for line in prose(text).splitlines() if (found := _HEADING.match(line))]
    return {re.sub(r"[^\w -]", "", heading).lower().replace(" ", "-") for heading in headings}


def rooms(part: str) -> list[str]:
    """The rooms of a part of the house from top to bottom, as its import contract has them."""
    contracts = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["tool"]["importlinter"][
        "contracts"
    ]
    layers: list[str] = next(
        (each["layers"] for each in contracts if each.get("containers") == [part]), []
    )
    names = [name.strip() for layer in layers for name in layer.split("|")]
    return [f"{part}/{name}/" for name in names if (ROOT / part / name / "__init__.py").is_file()]


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_what_a_page_names_is_there(page: Path) -> None:
    dead = list(dead_references(page.read_text("utf-8")))
    assert dead == [], (
        f"{page.relative_to(ROOT)} names what isn't there: write today's path or name"
    )


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_links_lead_somewhere(page: Path) -> None:
    dead = list(dead_links(page, page.read_text("utf-8")))
    assert dead == [], f"{page.relative_to(ROOT)} links to what isn't there: mend the links"


def test_each_line_of_what_a_stolen_key_can_do_names_its_test() -> None:
    """Or says that nothing holds it."""
    text = (ROOT / "docs" / "design" / "security.md").read_text("utf-8")
    lines = re.findall(r"^\| (?!what |---)(.+) \|$", text, re.MULTILINE)
    assert len(lines) > 20
    untested = [
        each
        for each in lines
        if not re.search(r"`tests/[\w/]+\.py::test_\w+`", each) and "nothing holds it" not in each
    ]
    assert untested == []


@pytest.mark.parametrize("part", MAPPED)
def test_the_map_has_every_room_in_the_order_of_the_arrows(part: str) -> None:
    text = (ROOT / "ARCHITECTURE.md").read_text("utf-8")
    mapped = re.findall(rf"^\| `({part}/\w+/)` \|", text, re.MULTILINE)
    assert mapped == rooms(part), (
        f"ARCHITECTURE.md lists the rooms of {part}/ in the order of their contract in "
        "pyproject.toml: one row each, the folder in backticks and its purpose"
    )


@pytest.mark.parametrize("name", MOST_LINES)
def test_a_page_that_is_to_be_read_at_a_glance_stays_short(name: str) -> None:
    lines = len((ROOT / name).read_text("utf-8").splitlines())
    assert lines <= MOST_LINES[name], (
        f"{name} has {lines} lines, {MOST_LINES[name]} at most: move depth to docs/ and link it"
    )


def test_every_page_is_in_the_index() -> None:
    folder = ROOT / "docs"
    linked = {
        (folder / target).resolve()
        for target in _LINK.findall((folder / "README.md").read_text("utf-8"))
    }
    missing = [
        str(page.relative_to(ROOT))
        for page in sorted(folder.rglob("*.md"))
        if page not in linked and page != folder / "README.md"
    ]
    assert missing == [], "give each of them a line in docs/README.md"


def test_what_is_not_there_is_found() -> None:
    page = (
        "`agent/no_such_room/`, `tests/unit/test_documentation.py::test_nothing`, `docs/*.pdf`, "
        "`no_such_module.py`"
    )
    assert len(list(dead_references(page))) == 4
    links = "[a](no-such-page.md), [b](docs/README.md#no-such-heading), [c](../outside.md)"
    assert len(list(dead_links(ROOT / "README.md", links))) == 3


def test_what_is_no_path_of_ours_is_left_alone() -> None:
    page = (
        "`agent.toml`, `/etc/portside/agent.toml`, `application/problem+json`, `uploads/`, "
        "`fabfile.py`, `agent/uploads/`, `docs/**/*.md`, "
        "`tests/unit/test_documentation.py::test_links_lead_somewhere`\n"
        "    `agent/drawn.py`\n[a](https://example.net/a), [b](docs/README.md#documentation)\n"
    )
    assert list(dead_references(page)) == []
    assert list(dead_links(ROOT / "README.md", page)) == []
