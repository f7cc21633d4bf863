"""One run at a time on each node: whoever comes second hears who is at it, and since when.

The lock is that of everybody who changes something there: portside/operator/node_lock.py. It is
held for as long as this process runs, and not a moment longer.
"""

from __future__ import annotations

import shlex
import sys
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from paramiko import SSHException
from pyinfra.api.exceptions import PyinfraError
from pyinfra.api.host import Host
from pyinfra.context import ctx_host

from deploys.runs import request
from deploys.runs.trouble import RunRefused, troubles
from portside.operator import node_lock

PATIENCE = 30.0
"""Seconds for the answer, which needs nothing but a shell and sudo."""

_held: dict[str, Any] = {}
"""The channels by host: one that nothing refers to is closed."""


def hold() -> None:
    """Hold the lock of the host that is being prepared until this process ends.

    A run that only looks needs none, and a host that isn't reached by SSH is this computer or none.
    Raises RunRefused when somebody else's run holds it.
    """
    here = ctx_host.get()  # type: ignore[no-untyped-call]
    client = getattr(here.connector, "client", None)
    if client is None or request.current().dry or here.name in _held:
        return
    command = node_lock.script(node_lock.me(), _what(), datetime.now(UTC))
    if here.data.get("_sudo"):
        command = f"sudo -n sh -c {shlex.quote(command)}"
    try:
        channel = client.get_transport().open_session(timeout=PATIENCE)
        channel.settimeout(PATIENCE)
        channel.exec_command(command)
        answer = channel.makefile("r").readline().strip()
    except (SSHException, OSError, EOFError) as error:
        raise PyinfraError(f"its lock can't be taken: {error or type(error).__name__}") from None
    if answer != "held":
        raise refusal(here.name, answer)
    _held[here.name] = channel
    _say_how_it_ended(here, channel)


def _say_how_it_ended(here: Host, channel: Any) -> None:
    """Have the host's audit log told before its connection is closed. A run that is killed tells
    nothing, and the log says that."""
    disconnect = here.connector.disconnect

    def told_first() -> None:
        outcome = _outcome(here)
        try:
            channel.sendall(f"{outcome}\n".encode())
            channel.shutdown_write()
            # What is written down is on the host's disk when its process ends.
            channel.recv_exit_status()
        except (SSHException, OSError, EOFError) as error:
            here.log(f"its audit log may not say how this ended: {error or type(error).__name__}")
        disconnect()

    here.connector.disconnect = told_first  # type: ignore[method-assign]


def _outcome(here: Host) -> str:
    """How this run ended on the host. One that was refused before anything was changed has failed,
    and what Ctrl+C ended may be half done: neither is among pyinfra's failed hosts."""
    if request.was_interrupted():
        return "interrupted"
    failed = here in here.state.failed_hosts or here.name in troubles
    return "failed" if failed else "done"


def refusal(host: str, answer: str) -> PyinfraError:
    """What to raise for an answer that isn't `held`."""
    line = node_lock.refusal(host, answer)
    if line is not None:
        return RunRefused(line)
    return PyinfraError(f"its lock {node_lock.FILE} can't be taken: {answer or 'no answer'}")


def _what() -> str:
    """The deploy, as it is written in the audit log."""
    named = [Path(each).name for each in sys.argv[1:] if each.endswith(".py")]
    return f"deploy {' '.join(named) or 'by hand'}"
