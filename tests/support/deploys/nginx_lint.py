"""`python -m tests.support.deploys.nginx_lint NAME=PROGRAM ...`: linters on every nginx.conf.

Neither gixy-ng nor gixy-next can be told in the configuration what to let pass. That stands here,
with its reason, and is as narrow as can be: of a check it lets pass the named directives alone. A
waiver that nothing needs any more is a mistake as well.
"""

from __future__ import annotations

import json
import re
import subprocess
import sys
import tempfile
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.support.deploys.nginx_variants import variants

_TO_THE_AGENT = frozenset(
    {"proxy_pass http://agent$target;", "proxy_pass http://agent_uploads$target;"}
)
_BLOCK_ENDS = ("{", "}")
_UNREAD = re.compile(r"\b(ERROR|CRITICAL)\b|could not")


@dataclass(frozen=True, slots=True)
class Waiver:
    """What a linter's check may find, and why."""

    linter: str
    check: str
    directives: frozenset[str]
    why: str


_HOST = frozenset({"proxy_set_header Host $http_host;"})
_HOST_IS_CHECKED = (
    "$host has no port, and answers lead back to the port that a client came by. The agent takes "
    "no more of it than a host and a port, and only for the client's own answer "
    "(agent/incoming/origin.py); the control plane doesn't read it."
)
_ANY_HOST_BELOW = (
    "An origin is a browser's word, and browsers go to hosts with underscores: every host below "
    "the named one is meant. What is no host's name is below it as well, and so nobody else's."
)
_ORIGIN = frozenset({r"~^https://[a-z0-9._-]+\.preview\.test$ $http_origin;"})

WAIVERS = (
    Waiver("gixy-ng", "host_spoofing", _HOST, _HOST_IS_CHECKED),
    Waiver("gixy-next", "host_spoofing", _HOST, _HOST_IS_CHECKED),
    Waiver("gixy-ng", "origins", _ORIGIN, _ANY_HOST_BELOW),
    Waiver(
        "gixy-next",
        "origins",
        _ORIGIN | {"add_header Access-Control-Allow-Origin $cors_origin always;"},
        _ANY_HOST_BELOW,
    ),
    Waiver(
        "gixy-ng",
        "ssrf",
        _TO_THE_AGENT,
        "$target is the path of the request, which begins with a slash: both are upstreams of this "
        "configuration, and no path makes another host of them.",
    ),
    Waiver(
        "gixy-ng",
        "http_splitting",
        _TO_THE_AGENT,
        "$target is $request_uri, as the client sent it: a line's end would have ended it.",
    ),
    Waiver(
        "gixy-ng",
        "missing_resolver",
        _TO_THE_AGENT,
        "Both are upstreams of this configuration, with sockets: there is no name to resolve.",
    ),
)


@dataclass(frozen=True, slots=True)
class Finding:
    """What a linter says of one nginx.conf, and the directives that it means."""

    linter: str
    check: str
    directives: frozenset[str]
    told: str


def findings(linter: str, report: Iterable[Mapping[str, Any]]) -> Iterator[Finding]:
    """What a linter's JSON holds."""
    for found in report:
        lines = (line.strip() for line in found["config"].splitlines())
        # Where it stands is told by blocks and by the name of their server.
        directives = frozenset(
            line
            for line in lines
            if line and not line.endswith(_BLOCK_ENDS) and not line.startswith("server_name ")
        )
        where = f"{linter}: {Path(found['path']).stem}: {found['plugin']}"
        told = f"{where}: {found['reason'] or found['summary']}"
        yield Finding(linter, found["plugin"], directives, told)


def mistakes(found: Sequence[Finding], waivers: Sequence[Waiver] = WAIVERS) -> list[str]:
    """A line for each finding that no waiver is for, and for each waiver that is for nothing."""
    seen: dict[tuple[str, str], set[str]] = {}
    lines = []
    for each in found:
        waived = frozenset[str]().union(
            *(w.directives for w in waivers if (w.linter, w.check) == (each.linter, each.check))
        )
        seen.setdefault((each.linter, each.check), set()).update(each.directives)
        left = each.directives - waived
        if left or not each.directives:
            lines.append(f"{each.told}: {' '.join(sorted(left))}".rstrip(": "))
    for waiver in waivers:
        unused = waiver.directives - seen.get((waiver.linter, waiver.check), set())
        if unused:
            lines.append(
                f"{waiver.linter}: nothing needs the waiver of {waiver.check} for "
                f"{' '.join(sorted(unused))}: take it out"
            )
    return lines


def report_of(linter: str, program: str, paths: Sequence[Path]) -> Iterator[Finding]:
    """What the linter says of these files. Raises SystemExit if that can't be read."""
    command = [program, "-f", "json", *map(str, paths)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    # gixy-next passes over what it can't read, and says so in its log alone.
    unread = [line for line in done.stderr.splitlines() if _UNREAD.search(line)]
    try:
        if unread:
            raise ValueError
        report = json.loads(done.stdout)
    except ValueError:
        raise SystemExit(f"{linter}: {'; '.join(unread) or done.stderr}") from None
    yield from findings(linter, report)


def main(arguments: Sequence[str]) -> int:
    """Lint every variant with every linter; the number of mistakes, 0 for none."""
    with tempfile.TemporaryDirectory() as folder:
        paths = [Path(folder, f"{name}.conf") for name, _ in variants()]
        for path, (_, text) in zip(paths, variants(), strict=True):
            path.write_text(text)
        programs = [argument.split("=", 1) for argument in arguments]
        found = [each for linter, program in programs for each in report_of(linter, program, paths)]
    asked = {linter for linter, _ in programs}
    lines = mistakes(found, [waiver for waiver in WAIVERS if waiver.linter in asked])
    print("\n".join(dict.fromkeys(lines)) or f"{len(paths)} configurations, nothing to mend")
    return min(len(lines), 1)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
