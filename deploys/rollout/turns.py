"""Nodes changed one after the other: a part of the deploy that runs on a node when it is its turn.

pyinfra runs an operation on all hosts before the next one begins, in no order that could be relied
on. What may take a cluster down when it is wrong must not come to all nodes at once: the operations
inside of `in_turn` are prepared as any others, but run by the first of two operations that pyinfra
reaches before them, node by node and in the order of the cluster file. When pyinfra comes to them
in its own order they are done.

The first node is alone: the canary. After one that fails nobody's turn comes any more in this run.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any
from weakref import WeakKeyDictionary

import gevent
from gevent.lock import RLock
from pyinfra import logger
from pyinfra.api.command import FunctionCommand
from pyinfra.api.host import Host
from pyinfra.api.operation import OperationMeta, operation
from pyinfra.api.operations import run_host_op
from pyinfra.api.state import State
from pyinfra.api.util import log_operation_start
from pyinfra.context import ctx_host, host, state


class TurnFailed(Exception):
    """A node's turn failed; the message says what to do, for people."""


@dataclass(frozen=True, slots=True)
class Held:
    """The operations of one host that wait for its turn."""

    state: State
    host: Host
    hashes: Sequence[str]

    def change_anything(self) -> bool:
        """Whether any of them has something to do. Those that have nothing are done with it."""
        if any(self._has_work(each) for each in self.hashes):
            return True
        for each in self.hashes:
            self._leave_nothing(each)
        return False

    def run(self) -> str | None:
        """Run them in their order; returns the name of the one that failed, if one did."""
        for each in self.hashes:
            meta = self.state.get_op_meta(each)
            log_operation_start(meta)
            succeeded = run_host_op(self.state, self.host, each)
            self._leave_nothing(each)
            if not succeeded:
                return ", ".join(sorted(meta.names))
        return None

    def _has_work(self, op_hash: str) -> bool:
        commands = self.state.get_op_data_for_host(self.host, op_hash).command_generator()
        try:
            return next(commands, None) is not None
        finally:
            # Its end is what tells pyinfra that no operation is being looked at.
            commands.close()  # type: ignore[attr-defined]

    def _leave_nothing(self, op_hash: str) -> None:
        """When pyinfra comes to it there is nothing to do; what was done stays in the results."""
        data = self.state.get_op_data_for_host(self.host, op_hash)
        data.command_generator = lambda: iter(())
        if data.operation_meta.is_complete():
            data.operation_meta = _Done.like(data.operation_meta)


class _Done(OperationMeta):
    """The result of an operation that has run; running out of commands doesn't change it."""

    @classmethod
    def like(cls, meta: OperationMeta) -> _Done:
        done = cls(meta._hash, meta._maybe_is_change)
        done.__dict__.update(meta.__dict__)
        return done

    def set_complete(self, *_: Any, **__: Any) -> None:
        """It is complete already."""


@dataclass(frozen=True, slots=True)
class Turn:
    """What is to be done on a host when it is its turn.

    `action` raises TurnFailed. A host that is `alone` waits for its turn; the others, on which
    nothing runs yet that could be broken, begin at once.
    """

    action: Callable[[], None]
    alone: bool
    batch: int


@dataclass(slots=True)
class Turns:
    """The turns of one run of pyinfra."""

    waiting: dict[Host, Turn] = field(default_factory=dict)
    outcomes: dict[Host, bool] = field(default_factory=dict)
    stopped_by: str | None = None
    """The host whose turn failed: no other's comes any more."""
    _one: RLock = field(default_factory=RLock)

    def take(self, of: Host) -> bool:
        """Whether the host's turn succeeded. Whoever asks first sees to all that wait."""
        with self._one:
            if of not in self.outcomes:
                self._see_to_all(of.state)
        return self.outcomes[of]

    def _see_to_all(self, run: State) -> None:
        # In the inventory's order, which is that of the cluster file.
        hosts = [
            each
            for each in run.inventory
            if each in self.waiting and each not in self.outcomes and each in run.active_hosts
        ]
        self._all_at_once([each for each in hosts if not self.waiting[each].alone])
        queue = [each for each in hosts if self.waiting[each].alone]
        size = 1
        while queue:
            batch, queue = queue[:size], queue[size:]
            if self.stopped_by is not None:
                self.outcomes |= {each: self.leave_as_it_is(each) for each in batch}
                continue
            self._all_at_once(batch)
            # The canary was alone.
            size = self.waiting[batch[0]].batch
            failed = [each.name for each in batch if not self.outcomes[each]]
            self.stopped_by = failed[0] if failed else None

    def _all_at_once(self, hosts: list[Host]) -> None:
        greenlets = [gevent.spawn(self._one_turn, each) for each in hosts]
        gevent.joinall(greenlets, raise_error=True)

    def _one_turn(self, of: Host) -> None:
        with ctx_host.use(of):
            try:
                self.waiting[of].action()
            except TurnFailed as failed:
                complain(of, str(failed))
                self.outcomes[of] = False
            except Exception as error:
                # Whatever it is: no other node is to have it too.
                complain(of, f"this node's turn broke off: {error!r}")
                self.outcomes[of] = False
            else:
                self.outcomes[of] = True

    def leave_as_it_is(self, of: Host) -> bool:
        """Say why nothing is done on a host: False, for it is no success."""
        complain(of, f"left as it was, for {self.stopped_by} failed: mend that and run again")
        return False


def complain(of: Host, message: str) -> None:
    """A line for people that stands out."""
    of.log_styled(message, fg="red", log_func=logger.error)


_all_turns: WeakKeyDictionary[State, Turns] = WeakKeyDictionary()


def turns_of(run: State) -> Turns:
    """The turns of a run of pyinfra."""
    return _all_turns.setdefault(run, Turns())


@operation()
def turn_wanted(find: Callable[[], Turn | None]) -> Generator[str]:
    """See whether there is anything to do on this host. Nothing is changed.

    + find: says what is to be done, now that everything before it has been
    """
    if state.is_executing:
        turn = find()
        if turn is not None:
            turns_of(host.state).waiting[_this_host()] = turn
    yield from ()


@operation(_set_in_op=False)
def turn_taken() -> Generator[FunctionCommand]:
    """Do it when it is this host's turn."""
    if state.is_executing and _this_host() in turns_of(host.state).waiting:
        yield FunctionCommand(_take, (), {})


def _take(state: State, host: Host) -> bool:
    return turns_of(state).take(host)


@operation(_set_in_op=False)
def nobody_failed() -> Generator[FunctionCommand]:
    """End this host's part of the run where a node's turn failed: it is left as it was."""
    if state.is_executing and turns_of(host.state).stopped_by is not None:
        yield FunctionCommand(_leave_as_it_is, (), {})


def _leave_as_it_is(state: State, host: Host) -> bool:
    return turns_of(state).leave_as_it_is(host)


def waits_for_its_turn(find: Callable[[], Turn | None], name: str) -> None:
    """Have something done on this host when it is its turn; `name` is what people read.

    `find` is asked when all that comes before has been done; without a turn there is none.
    """
    turn_wanted(name=f"{name}: what there is to do", find=find)
    turn_taken(name=name)


@contextmanager
def in_turn(make: Callable[[Held], Turn], name: str, anyway: bool = False) -> Iterator[None]:
    """Hold back the operations that are called inside until it is this host's turn.

    If none of them has anything to do there is no turn, unless there is to be one `anyway`; else
    `make` says what is done then.
    """
    own = _this_host()
    hashes: list[str] = []
    held = Held(own.state, own, hashes)
    waits_for_its_turn(lambda: make(held) if held.change_anything() or anyway else None, name)
    before = len(own.op_hash_order)
    yield
    hashes.extend(own.op_hash_order[before:])


def _this_host() -> Host:
    """The host itself, where `host` is whichever is worked on."""
    return host.state.inventory.get_host(host.name)
