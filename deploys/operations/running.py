"""One command on a host, outside of an operation: for what is decided while a run is under way."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from pyinfra.api.arguments import CONNECTOR_ARGUMENT_KEYS, pop_global_arguments
from pyinfra.api.command import StringCommand
from pyinfra.api.host import Host
from pyinfra.api.state import State


@dataclass(frozen=True, slots=True)
class Ran:
    """A command that has ended: whether it succeeded, and what it said."""

    succeeded: bool
    stdout: str
    stderr: str


def run(state: State, host: Host, command: str, stdin: str = "", seconds: int = 120) -> Ran:
    """Run one line of shell as root. A connection that breaks counts as a failure.

    What is sent on standard input is in no argument list and in no log.
    """
    found, _ = pop_global_arguments(state, host, {"_timeout": seconds})
    arguments: Any = {key: found[key] for key in CONNECTOR_ARGUMENT_KEYS if key in found}  # type: ignore[literal-required]
    if stdin:
        arguments["_stdin"] = stdin
    try:
        succeeded, said = StringCommand(command).execute(state, host, arguments)
    except Exception as error:
        # paramiko, sockets and timeouts have their own exceptions; none is to end the run.
        return Ran(False, "", str(error) or repr(error))
    return Ran(succeeded, said.stdout, said.stderr)
