"""Commands that messages and pages name are there, and take what they are said to be given.

What code says to people (strings) must be a whole command, which the program's own parser takes;
docstrings and pages may name the beginning of one (`portside-agent restore`). Stand-ins (ID, URL,
`<file>`, `...`) are given a value. What is meant: words in backticks that begin with one of our
programs, and lines of a page that are indented and do.
"""

from __future__ import annotations

import argparse
import ast
import re
import shlex
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

import fabric.main
import pytest
import typer
from invoke.collection import Collection
from invoke.exceptions import ParseError
from invoke.parser.context import ParserContext
from invoke.parser.parser import Parser

import fabfile
from agent.commands import cli as agent_cli
from control import cli as control_cli
from portside import cli as portside_cli
from portside.operator.programs import PROGRAMS

ROOT = Path(__file__).parents[2]

SOURCES = ("agent", "control", "portside", "operate", "deploys", "fabfile.py")
PAGES = ("README.md", "ARCHITECTURE.md", "CHANGELOG.md", "CONTRIBUTING.md", "docs", "clusters")

_PROGRAM = r"(?:portside-agent|portside-control|portside|fab|systemctl)"
_NAMED = re.compile(rf"`({_PROGRAM}(?: [^`]*)?)`")
_LINE = re.compile(r"^    ((?:portside|fab) [^#>|\n]*)", re.MULTILINE)
"""Without what a shell makes of its output."""

_FILE_ID = "0" * 32
_STAND_INS = {
    "NODE": "s01",
    "URL": "https://c01.example.net",
    "create|list|revoke": "list",
    "...": "x",
}


_UsageError: Any = typer.BadParameter.__base__
"""Of the click that typer brings along."""


class NoSuchCommand(Exception):
    """The program doesn't take it."""


class Unfinished(Exception):
    """It takes more than this."""


def spoken(path: Path) -> Iterator[tuple[str, bool]]:
    """The strings of a module, and whether each is said to people. Values are stand-ins."""
    text = path.read_text("utf-8")
    if re.search(f"`{_PROGRAM}", text) is None:
        # Most modules: taking them apart takes the longest.
        return
    tree = ast.parse(text, str(path))
    within = {
        id(part) for node in ast.walk(tree) if isinstance(node, ast.JoinedStr)
        for part in node.values
    }  # fmt: skip
    documentation = {
        id(node.value) for node in ast.walk(tree) if isinstance(node, ast.Expr)
    }  # fmt: skip
    for node in ast.walk(tree):
        if isinstance(node, ast.JoinedStr):
            yield (
                "".join(
                    str(part.value) if isinstance(part, ast.Constant) else _FILE_ID
                    for part in node.values
                ),
                True,
            )
        elif (
            isinstance(node, ast.Constant)
            and isinstance(node.value, str)
            and id(node) not in within
        ):
            yield node.value, id(node) not in documentation


def named(text: str, lines: bool = False) -> list[str]:
    """The commands that a text names."""
    found = [" ".join(each.split()) for each in _NAMED.findall(text)]
    return [*found, *(each.strip() for each in _LINE.findall(text) if lines)]


@cache
def commands() -> list[tuple[str, str, bool]]:
    """Every command that is named: where, its words, whether it must be whole."""
    found = []
    for source in SOURCES:
        place = ROOT / source
        for path in sorted(place.rglob("*.py")) if place.is_dir() else [place]:
            for text, is_said in spoken(path):
                found += [(str(path.relative_to(ROOT)), each, is_said) for each in named(text)]
    for page in PAGES:
        place = ROOT / page
        for path in sorted(place.rglob("*.*")) if place.is_dir() else [place]:
            text = path.read_text("utf-8")
            lines = path.suffix == ".md"
            found += [(str(path.relative_to(ROOT)), each, False) for each in named(text, lines)]
    return found


def check(command: str) -> None:
    """Raises NoSuchCommand, or Unfinished for the beginning of one."""
    program, *words = (_given(each) for each in shlex.split(command))
    match program:
        case "portside-agent":
            _by_argparse(agent_cli._parser(), words)
        case "portside-control":
            _by_argparse(control_cli._parser(), words)
        case "portside":
            _by_click(_portside(), words)
        case "fab":
            _by_invoke(words)
        case "systemctl":
            units = {"nginx", *(name for each in PROGRAMS.values() for name in each.services)}
            named = [each for each in words[1:] if not each.startswith("-")]
            # What is to be switched off is somebody else's.
            if named and words[0] != "disable" and named[0].removesuffix(".service") not in units:
                raise NoSuchCommand(f"no unit of ours: {words}")


def _given(word: str) -> str:
    if word in _STAND_INS:
        return _STAND_INS[word]
    return _FILE_ID if re.fullmatch(r"<[^>]*>|[A-Z]{2,}", word) else word


def _by_argparse(parser: argparse.ArgumentParser, words: list[str]) -> None:
    def refuse(message: str) -> None:
        kind = (
            Unfinished if "are required" in message or "is required" in message else NoSuchCommand
        )
        raise kind(message)

    for each in _with_subparsers(parser):
        each.error = refuse  # type: ignore[assignment, method-assign]
    parser.parse_args(words)


def _with_subparsers(parser: argparse.ArgumentParser) -> Iterator[argparse.ArgumentParser]:
    yield parser
    for action in parser._actions:
        if isinstance(action, argparse._SubParsersAction):
            for each in action.choices.values():
                yield from _with_subparsers(each)


@cache
def _portside() -> Any:
    return typer.main.get_command(portside_cli.app)


def _by_click(command: Any, words: list[str]) -> None:
    try:
        context = command.make_context(command.name or "portside", list(words))
    except _UsageError as error:
        missing = type(error).__name__ in ("MissingParameter", "NoArgsIsHelpError")
        raise (Unfinished if missing else NoSuchCommand)(str(error)) from None
    if hasattr(command, "resolve_command"):
        left = [*context._protected_args, *context.args]
        if not left and command.invoke_without_command:
            return
        try:
            _, found, rest = command.resolve_command(context, left)
        except _UsageError as error:
            raise NoSuchCommand(str(error)) from None
        _by_click(found, rest)


@cache
def _tasks() -> Parser:
    core = ParserContext(args=fabric.main.program.core_args())
    return Parser(initial=core, contexts=Collection.from_module(fabfile).to_contexts())


def _by_invoke(words: list[str]) -> None:
    try:
        parsed = _tasks().parse_argv(words)
    except ParseError as error:
        if "required" in str(error) or "did not receive" in str(error):
            raise Unfinished(str(error)) from None
        raise NoSuchCommand(str(error)) from None
    if len(parsed) == 1 and parsed.unparsed:
        raise NoSuchCommand(str(parsed.unparsed))


def test_every_command_that_is_named_is_there() -> None:
    wrong = []
    for place, command, must_be_whole in commands():
        try:
            check(command)
        except Unfinished as error:
            if must_be_whole:
                wrong.append(f"{place}: `{command}` is only the beginning of one: {error}")
        except NoSuchCommand as error:
            wrong.append(f"{place}: `{command}`: {error}")
    assert wrong == [], "name commands that are there, with all that they need"


def test_they_are_found_in_strings_and_on_pages() -> None:
    found = {command for _, command, _ in commands()}
    assert "portside-agent quarantine" in found
    assert f"portside-agent quarantine settle {_FILE_ID}" in found
    assert any(each.startswith("fab drain") for each in found)
    assert len(found) > 30


@pytest.mark.parametrize(
    "command",
    [
        *("portside-agent mend", "portside-agent fsck --all", "portside-control app rename x"),
        *("portside fetch x", "portside put --nowhere x", "fab drian s01", "systemctl stop x"),
    ],
)
def test_what_is_not_there_is_told(command: str) -> None:
    with pytest.raises(NoSuchCommand):
        check(command)


@pytest.mark.parametrize(
    "command", ["portside-agent restore", "portside get", "portside keys", "fab drain"]
)
def test_the_beginning_of_a_command_is_told_from_one(command: str) -> None:
    with pytest.raises(Unfinished):
        check(command)
