"""One host's trouble is that host's: it ends this host's part of a run, and the others go on.

pyinfra does so by itself for a command that fails. What Python raises ends its whole run, though,
whichever host it was about: a refused certificate while a deploy is prepared, a connection that is
lost while a fact is read. `contained` holds the first, and makes `_Watch` hold the second.
"""

from __future__ import annotations

import shlex
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from paramiko import SSHException
from pyinfra import logger
from pyinfra.api.command import PyinfraCommand, StringCommand
from pyinfra.api.exceptions import PyinfraError
from pyinfra.api.host import Host
from pyinfra.api.state import BaseStateCallback, State
from pyinfra.context import ctx_host, ctx_state

from deploys.runs.complaints import complaints
from deploys.runs.questions import foreseen
from deploys.runs.remedies import explain
from portside.operator.keystore import KeystoreError

PREPARING = "before anything was changed"
"""Where trouble is that comes up while a run is still being prepared."""

_EXPECTED = (PyinfraError, KeystoreError, OSError, SSHException, EOFError)
"""What tells of a host, of its connection or of the operator's files. All else is a fault of the
deploy itself: it ends the run, with its traceback."""

_NOT_READ = "what is on it couldn't be read"


class RunRefused(PyinfraError):
    """The whole run must not go on, whichever host this was found on."""


@dataclass(frozen=True, slots=True)
class Trouble:
    """What ended a host's part: where in the run, why, and what to do if that isn't in it."""

    host: str
    where: str
    said: str
    remedy: str | None = None


troubles: dict[str, Trouble] = {}
"""By host: the first of each in this process's run."""


@contextmanager
def contained() -> Iterator[None]:
    """A host's part of a deploy: what it is refused for ends this part alone.

    The last host's trouble is raised: with none left, nothing is prepared or summed up any more.
    """
    state, here = ctx_state.get(), ctx_host.get()  # type: ignore[no-untyped-call]
    _watch(state)
    try:
        with foreseen(state, here):
            yield
    except RunRefused:
        raise
    except _EXPECTED as error:
        # Some name the node themselves, for whoever reads one line alone.
        said = (str(error) or type(error).__name__).removeprefix(f"{here.name}: ")
        troubles.setdefault(here.name, Trouble(here.name, PREPARING, said))
        # It will be given no operation, so it is in nobody's count either.
        state.ops[here].clear()
        if not state.active_hosts - {here}:
            raise
        logger.error(f"{here.print_prefix}{said}")
        state.fail_hosts({here})


def _watch(state: State) -> None:
    if not any(isinstance(each, _Watch) for each in state.callback_handlers):
        state.add_callback_handler(_Watch())  # type: ignore[no-untyped-call]


class _Watch(BaseStateCallback):
    """Told by pyinfra before and after each operation on each host."""

    @staticmethod
    def operation_host_start(state: State, host: Host, op_hash: str) -> None:
        """Let nothing out of the operation that would end the run."""
        complaints.by_host[host.name].clear()
        data = state.ops[host].get(op_hash)
        if data is not None:
            where = _name(state, op_hash)
            data.command_generator = _guarded(data.command_generator, state, host, where)

    @staticmethod
    def operation_host_error(
        state: State, host: Host, op_hash: str, retry_count: int = 0, max_retries: int = 0
    ) -> None:
        """Note why it failed. What it would have come to after that is no failure of its own."""
        said, remedy = explain(_told(host))
        trouble = Trouble(host.name, _name(state, op_hash), said, remedy)
        troubles.setdefault(host.name, trouble)
        for other, data in list(state.ops[host].items()):
            if other != op_hash and not data.operation_meta.is_complete():
                del state.ops[host][other]


def _told(host: Host) -> list[str]:
    """What was heard of it during this operation; else that its connection is gone, if it is."""
    told = complaints.by_host[host.name]
    client = getattr(host.connector, "client", None)
    transport = client.get_transport() if client is not None else None
    if client is not None and (transport is None or not transport.is_active()):
        return [*told, "connection lost"]
    return told


def _name(state: State, op_hash: str) -> str:
    return ", ".join(sorted(state.get_op_meta(op_hash).names))


def _guarded(
    commands: Callable[[], Iterator[PyinfraCommand]], state: State, host: Host, where: str
) -> Callable[[], Iterator[PyinfraCommand]]:
    """The operation's commands; what it raises becomes a command that fails with those words."""

    def guarded() -> Iterator[PyinfraCommand]:
        try:
            for command in commands():
                # Of a fact that couldn't be read pyinfra returns the default and goes on: what was
                # made of that could be anything but what the host needs.
                if host in state.failed_hosts:
                    break
                yield command
        except _EXPECTED as error:
            said = str(error) or type(error).__name__
            troubles.setdefault(host.name, Trouble(host.name, where, said, explain([said])[1]))
            yield _failing(said)
            return
        if host in state.failed_hosts:
            yield _failing(_NOT_READ)

    return guarded


def _failing(said: str) -> StringCommand:
    return StringCommand(f"echo {shlex.quote(said)} >&2; exit 1")
