"""What the operator asked of this run, and whether pyinfra will be able to ask anything back.

pyinfra asks before it changes something, and reads the answer from standard input: without a
terminal that is an EOFError in the middle of a run. So it is looked at here, before any connection.
"""

from __future__ import annotations

import signal
import sys
from dataclasses import dataclass
from types import FrameType
from typing import NoReturn

import click

INTERRUPTED = 130
"""Exit code of a program that Ctrl+C ended, as shells have it: 128 and SIGINT's number."""

NO_TERMINAL = (
    "There is no terminal to ask on whether to go on. Add --dry to see what would change, or -y to "
    "change it."
)


@dataclass(frozen=True, slots=True)
class Request:
    """`dry`: look only. `full`: show the whole text of new files too. `most_failures`: the share of
    hosts, in per cent, whose trouble ends the whole run; None: none does."""

    dry: bool = False
    full: bool = False
    most_failures: int | None = None


_request = Request()
_interrupted_by: list[int] = []
"""The signals that ended this run."""


def current() -> Request:
    """Of this process's run. Before `read`, and in tests: what changes things and says little."""
    return _request


def read() -> Request:
    """Take it from pyinfra's command line. Exits when pyinfra would ask and nobody could answer."""
    global _request
    context = click.get_current_context(silent=True)
    asked = context.params if context is not None else {}
    if _asks(asked) and not sys.stdin.isatty():
        sys.exit(NO_TERMINAL)
    _request = Request(
        dry=bool(asked.get("dry")),
        full=bool(asked.get("diff")),
        most_failures=asked.get("fail_percent"),
    )
    return _request


def _asks(asked: dict[str, object]) -> bool:
    """Whether pyinfra will ask `Press enter to execute`: of a deploy that may change something."""
    operations = asked.get("operations") or ()
    changes = isinstance(operations, tuple) and not {"fact", "exec", "debug-inventory"} & set(
        operations[:1]
    )
    answered = ("yes", "dry", "json_output", "debug_facts", "debug_operations")
    return bool(operations) and changes and not any(asked.get(each) for each in answered)


def end_when_interrupted() -> None:
    """Let Ctrl+C end a run with an exit code that isn't success's, as pyinfra's own would be."""
    signal.signal(signal.SIGINT, _interrupted)


def was_interrupted() -> bool:
    """Whether Ctrl+C is what ends this run."""
    return bool(_interrupted_by)


def _interrupted(number: int, frame: FrameType | None) -> NoReturn:
    _interrupted_by.append(number)
    print("Interrupted: the next run goes on where this one ended.", file=sys.stderr)
    sys.exit(INTERRUPTED)
