"""The YAML of a cluster file, with the line and the very words of each value.

PyYAML reads YAML 1.1, in which `no` is false, `010` is 8 and a key that is there twice is the later
one, all in silence. Here keys are what is written, and what would be read otherwise than it looks
is a mistake.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import Any

import yaml

from portside.cluster.reading.mistake import Mistake, dotted

Path = tuple[str | int, ...]

_MOST_VALUES = 100_000
"""Of a whole file: a thousand nodes have a tenth. Aliases of aliases could make any number."""

_TAGS = "tag:yaml.org,2002:"
_MERGE = f"{_TAGS}merge"

_OCTAL = re.compile(r"[-+]?0[0-7_]+")


class NoDocument(Exception):
    """Text that is no YAML; `mistake` says where and why."""

    def __init__(self, mistake: Mistake) -> None:
        super().__init__(str(mistake))
        self.mistake = mistake


@dataclass(frozen=True, slots=True)
class Place:
    """Where a value is, and how it is written there if it is one without quotes."""

    line: int
    written: str | None = None


@dataclass(slots=True)
class Document:
    """What a file says. `places` has every value by its path."""

    data: Any = None
    places: dict[Path, Place] = field(default_factory=dict)
    mistakes: list[Mistake] = field(default_factory=list)

    def line(self, path: Path) -> int | None:
        """The line of a value, or of the nearest above it that is there."""
        within = self.within(path)
        return self.places[within].line if within in self.places else None

    def within(self, path: Path) -> Path:
        """As much of a path as the file has; all of it where it has nothing."""
        for end in range(len(path), 0, -1):
            if path[:end] in self.places:
                return path[:end]
        return path


def read(text: str) -> Document:
    """Read a file's text. Raises NoDocument where no data can be had from it at all."""
    loader = None
    try:
        loader = yaml.SafeLoader(text)
        root = loader.get_single_node()
        document = Document()
        if root is not None:
            document.data = _Walk(loader, document).value(root, ())
    except yaml.YAMLError as error:
        raise NoDocument(_broken(error)) from None
    except RecursionError:
        raise NoDocument(Mistake("not a cluster file: it is nested too deeply")) from None
    finally:
        if loader is not None:
            loader.dispose()
    return document


class _Walk:
    """Makes data of nodes, and remembers where each was."""

    def __init__(self, loader: yaml.SafeLoader, document: Document) -> None:
        self._loader = loader
        self._document = document
        self._seen = 0
        self._merged: set[int] = set()
        """Mappings whose `<<` is resolved in them: an alias comes by the same node again."""

    def value(self, node: yaml.Node, path: Path) -> Any:
        self._seen += 1
        if self._seen > _MOST_VALUES:
            raise NoDocument(Mistake(f"not a cluster file: it has more than {_MOST_VALUES} values"))
        line = node.start_mark.line + 1
        self._document.places.setdefault(path, Place(line, _written(node)))
        if isinstance(node, yaml.MappingNode) and node.tag == f"{_TAGS}map":
            return self._mapping(node, path)
        if isinstance(node, yaml.SequenceNode) and node.tag == f"{_TAGS}seq":
            return [self.value(each, (*path, at)) for at, each in enumerate(node.value)]
        if isinstance(node, yaml.ScalarNode):
            return self._scalar(node, path)
        raise NoDocument(Mistake(f"not valid YAML here: {node.tag} is of other programs", "", line))

    def _mapping(self, node: yaml.MappingNode, path: Path) -> dict[str, Any]:
        if id(node) not in self._merged:
            self._merged.add(id(node))
            self._look_for_twice(node, path)
            self._loader.flatten_mapping(node)
        made = {}
        for key, each in node.value:
            if isinstance(key, yaml.ScalarNode):
                below = (*path, key.value)
                # A key's line, not that of what follows it, is where people look.
                written = (
                    each.value if isinstance(each, yaml.ScalarNode) and not each.style else None
                )
                self._document.places[below] = Place(key.start_mark.line + 1, written)
                made[key.value] = self.value(each, below)
        return made

    def _look_for_twice(self, node: yaml.MappingNode, path: Path) -> None:
        first: dict[str, int] = {}
        for key, _ in node.value:
            line = key.start_mark.line + 1
            if not isinstance(key, yaml.ScalarNode):
                self._wrong("a key must be a plain word", path, line)
            elif key.tag != _MERGE and key.value in first:
                before = first[key.value]
                where = f"first in line {before}" if before != line else "both in this line"
                self._wrong(f"the key {key.value!r} is there twice, {where}: leave one", path, line)
            else:
                first[key.value] = line

    def _scalar(self, node: yaml.ScalarNode, path: Path) -> Any:
        line, written = self._document.places[path].line, node.value
        try:
            value = self._loader.construct_object(node)
        except ValueError:
            self._wrong(
                f"YAML takes {written!r} for a date or number: put it in quotes", path, line
            )
            return written
        is_number = isinstance(value, int | float) and not isinstance(value, bool)
        if is_number and node.style is None and (_OCTAL.fullmatch(written) or ":" in written):
            plain = written.lstrip("+0").replace("_", "") or "0"
            otherwise = "" if ":" in written else f"{plain} if that number is meant, else "
            self._wrong(
                f"YAML reads {written} as the number {value}: write {otherwise}"
                f"'{written}' in quotes",
                path,
                line,
            )
        return value

    def _wrong(self, what: str, path: Path, line: int) -> None:
        self._document.mistakes.append(Mistake(what, dotted(path), line))


def _written(node: yaml.Node) -> str | None:
    return node.value if isinstance(node, yaml.ScalarNode) and node.style is None else None


def _broken(error: yaml.YAMLError) -> Mistake:
    """Words for what PyYAML doesn't get past. No line is quoted, for it may hold a secret."""
    if not isinstance(error, yaml.MarkedYAMLError):
        return Mistake(f"not valid YAML: {str(error).splitlines()[0]}")
    mark = error.problem_mark or error.context_mark
    problem, context = error.problem or "", error.context or ""
    said = next(
        (words for begin, words in _SAID if begin in f"{context} {problem}"),
        f"{problem} {context}".strip(),
    )
    return Mistake(f"not valid YAML: {said}", "", None if mark is None else mark.line + 1)


_SAID = (
    (r"'\t'", "a tab: indent with spaces"),
    ("unknown escape character", "in double quotes a backslash is YAML's own: write a regular "
     "expression in single quotes, as '^s\\d+$'"),
    ("scanning an alias", "a text that begins with * goes in quotes: '*'"),
    ("scanning an anchor", "a text that begins with & goes in quotes"),
    ("undefined alias", "a text that begins with * goes in quotes"),
    ("mapping values are not allowed", "a ': ' too many: put text that has one in quotes, or see "
     "whether the line is indented as those above it"),
    ("could not find expected ':'", "a key without a ':' and a space behind it"),
    ("found character '@'", "a text that begins with @ goes in quotes"),
    ("found character '`'", "a text that begins with ` goes in quotes"),
    ("found character '%'", "a text that begins with % goes in quotes"),
    ("while scanning a quoted scalar", "a quote that is opened here is never closed"),
    ("expected ',' or ']'", "a list that is opened with [ isn't closed with ], or misses a comma; "
     "a text that begins with [ goes in quotes"),
    ("expected ',' or '}'", "a mapping that is opened with { isn't closed with }, or misses a "
     "comma; a text that has [ or { in it goes in quotes"),
    ("expected <block end>", "something stands where a new key should: see whether the line is "
     "indented as those above it; a text that begins with [ or { goes in quotes whole"),
    ("expected a single document", "a second document (---): a cluster file is one"),
)  # fmt: skip
"""What of PyYAML's words is found, and what is said for it."""
