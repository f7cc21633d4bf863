"""One run at a time on each node: whoever comes second hears who is at it, and since when.

The lock is flock(2)'s, held on the node by a process that lives as long as the SSH channel it was
started on: no run that is killed leaves it behind. Its file is in /run, so that looking at a
pristine node changes nothing on its disk.
"""

from __future__ import annotations

import getpass
import shlex
import socket
from datetime import UTC, datetime
from typing import Any

from paramiko import SSHException
from pyinfra.api.exceptions import PyinfraError
from pyinfra.context import ctx_host

from deploys.runs import request
from deploys.runs.trouble import RunRefused

FILE = "/run/portside-deploy.lock"
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
    command = script(FILE, me(), datetime.now(UTC))
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


def script(file: str, who: str, now: datetime) -> str:
    """Shell: `held`, and hold it while standard input is open; else `taken` and by whom.

    Who holds it writes down its process, its beginning and its name, in this order.
    """
    since = f"{now:%Y-%m-%dT%H:%MZ}"
    return (
        f"umask 077; exec 9>>{file}; if flock --nonblock 9; then "
        f"echo $$ {since} {shlex.quote(who)} > {file}; echo held; exec cat >/dev/null; "
        f"else echo taken $(cat {file}); fi"
    )


def refusal(host: str, answer: str) -> PyinfraError:
    """What to raise for an answer that isn't `held`."""
    words = answer.split(" ", 3)
    if words[0] != "taken" or len(words) != 4:
        return PyinfraError(f"its lock {FILE} can't be taken: {answer or 'no answer'}")
    _, process, since, who = words
    return RunRefused(
        f"{host} is being deployed by {who} since {since}: let that run end; this one has changed "
        f"nothing. If it is gone and its connection hangs: `kill {process}` on {host}"
    )


def me() -> str:
    """Whose run this is, for others to read."""
    try:
        user = getpass.getuser()
    except (KeyError, OSError):
        user = "somebody"
    return f"{user}@{socket.gethostname()}"
