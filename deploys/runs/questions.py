"""What a run asks of a host, in as few round trips as it takes.

pyinfra puts one question at a time, each on a channel of its own: of a host that is far away, that
is most of a run that changes nothing. Here the questions that will come are put by one command, and
each is answered from what that said when it comes. Which they are is told beforehand (`expect`), or
found out when all of a host's operations are known (`foresee`): each is begun, and stopped at the
first thing that it asks.

An answer counts while this run has changed nothing on the host, and for `FRESH` seconds. From the
first change on every question is put when it comes: an operation sees what those before it did.
"""

from __future__ import annotations

import secrets
import shlex
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import Any, cast
from weakref import WeakKeyDictionary

from pyinfra.api.command import StringCommand
from pyinfra.api.host import Host
from pyinfra.api.state import State, StateOperationHostData
from pyinfra.connectors.util import CommandOutput, OutputLine
from pyinfra.context import ctx_host

FRESH = 30.0
"""Seconds. Others may be at work on a host too; and a clock that was read so long ago has to be
within what is tolerated of one (`operations.clock`)."""

Question = tuple[str, str]
"""A line of shell, and how it is to be run: as whom, with what in its environment."""


class _Unanswered(BaseException):
    """Stops an operation that is only begun to hear what it asks; `put`: that will be put.

    No `except Exception` of an operation's holds it.
    """

    def __init__(self, put: bool) -> None:
        super().__init__()
        self.put = put


class Questions:
    """Those to one host. It stands between pyinfra and the host's connector."""

    def __init__(self, host: Host) -> None:
        self._host = host
        self._run: Callable[..., tuple[bool, CommandOutput]] = host.connector.run_shell_command
        self._put_file = host.connector.put_file
        self._expected: dict[Question, dict[str, Any]] = {}
        """With what pyinfra gave the connector for it."""
        self._answers: dict[Question, CommandOutput] = {}
        self._asked: set[Question] = set()
        self._asked_at = 0.0
        self._changed = self._listening = False
        host.connector.run_shell_command = self._run_shell_command  # type: ignore[method-assign]
        host.connector.put_file = self._put  # type: ignore[method-assign]

    def hear(self, ask: Callable[[], object]) -> bool:
        """Note the first thing that `ask` asks and has no answer yet. False where it is still to be
        put: after that there is more to hear."""
        self._listening = True
        try:
            ask()
        except _Unanswered as unanswered:
            return not unanswered.put
        finally:
            self._listening = False
        return True

    def put(self) -> None:
        """Ask all that is expected and hasn't been asked. Raises OSError, SSHException, EOFError
        when the connection breaks."""
        pending = [each for each in self._expected if each not in self._asked]
        for how in dict.fromkeys(how for _, how in pending):
            self._put_together([each for each in pending if each[1] == how])

    def _run_shell_command(
        self,
        command: StringCommand | str,
        print_output: bool = False,
        print_input: bool = False,
        **arguments: Any,
    ) -> tuple[bool, CommandOutput]:
        line = command if isinstance(command, str) else command.get_raw_value()
        question = line, repr(sorted(arguments.items()))
        if self._listening:
            if question not in self._asked:
                self._expected[question] = arguments
                raise _Unanswered(put=True)
        elif question in self._expected and not self._changed:
            if self._answers and time.monotonic() - self._asked_at > FRESH:
                self._asked.clear()
            if question not in self._asked:
                self.put()
        elif self._host.state.is_executing and question not in self._expected:
            self._has_changed()
        if question in self._answers:
            return True, self._answers[question]
        if self._listening and not _looks_first.get(self._host.state, False):
            raise _Unanswered(put=False)
        return self._run(command, print_output, print_input, **arguments)

    def _put(self, *arguments: Any, **named: Any) -> bool:
        self._has_changed()
        return self._put_file(*arguments, **named)

    def _has_changed(self) -> None:
        self._changed = True
        self._answers.clear()

    def _put_together(self, questions: list[Question]) -> None:
        """One that fails isn't answered: pyinfra asks it when it comes, and says what is wrong."""
        # What begins an answer's end: no host can know it beforehand.
        mark = secrets.token_hex(8)
        script = "".join(
            f"sh -c {shlex.quote(line)} </dev/null 2>/dev/null; printf '\\n{mark} %s\\n' $?\n"
            for line, _ in questions
        )
        if not self._asked:
            self._asked_at = time.monotonic()
        self._asked.update(questions)
        for each in questions:
            self._answers.pop(each, None)
        # By standard input: a command's length has a limit.
        arguments = {**self._expected[questions[0]], "_stdin": script}
        _, said = self._run(StringCommand("sh"), False, False, **arguments)
        for question, lines in zip(questions, answers(said.stdout_lines, mark), strict=False):
            if lines is not None:
                self._answers[question] = CommandOutput([OutputLine("stdout", e) for e in lines])


def answers(lines: Iterable[str], mark: str) -> Iterator[list[str] | None]:
    """What each of several commands said, in their order; None of one that failed.

    Each is followed by a line break, and by a line with the mark and its exit code.
    """
    said: list[str] = []
    for line in lines:
        first, _, code = line.partition(" ")
        if first != mark:
            said.append(line)
            continue
        # What ended with a line break of its own is followed by an empty line.
        yield (said[:-1] if said[-1:] == [""] else said) if code == "0" else None
        said = []


_all: dict[Host, Questions] = {}
"""Those of this process's run."""

_looks_first: WeakKeyDictionary[State, bool] = WeakKeyDictionary()
"""Whether a run is to find out what would change before anything does."""


def listen() -> None:
    """Stand between pyinfra and the host that is being prepared."""
    here: Host = ctx_host.get()  # type: ignore[no-untyped-call]
    if here not in _all:
        _all[here] = Questions(here)


def expect(*asks: Callable[[], object]) -> None:
    """What each asks first of the host that is being prepared will be asked: all of it comes with
    the first that is."""
    here: Host = ctx_host.get()  # type: ignore[no-untyped-call]
    if here in _all:
        for ask in asks:
            _all[here].hear(ask)


@contextmanager
def foreseen(state: State, host: Host) -> Iterator[None]:
    """The operations that are called inside are looked at together when it ends, not each when it
    is called: what they ask is asked at once, and whether they change anything is known then, if
    that is wanted."""
    looks_first = _looks_first.setdefault(state, state.check_for_changes)
    # All hosts of a run are prepared side by side; each has its own end.
    state.check_for_changes = False
    yield
    waiting = list(state.ops[host].values())
    while waiting:
        waiting = [each for each in waiting if not _looked_at(each, state, host, looks_first)]
        if waiting:
            _all[host].put()


def _looked_at(data: StateOperationHostData, state: State, host: Host, looks_first: bool) -> bool:
    """Whether an operation came to its first change, or to its end."""
    changes = False

    def begin() -> None:
        nonlocal changes
        commands = cast("Iterator[object]", data.command_generator())
        try:
            changes = next(commands, None) is not None
        finally:
            # Its end is what tells pyinfra that no operation is being looked at.
            commands.close()  # type: ignore[attr-defined]

    questions = _all.get(host)
    try:
        if questions is not None:
            if not questions.hear(begin):
                return False
        elif looks_first:
            begin()
    except Exception:
        # When it is its turn it may be otherwise, or fails by its own name.
        if looks_first:
            raise
    if looks_first:
        data.operation_meta._maybe_is_change = changes
        counts = state.get_meta_for_host(host)
        counts.ops_change += changes
        counts.ops_no_change -= changes
    return True
