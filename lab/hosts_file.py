"""The machines' names in /etc/hosts, here and on each machine: no name server knows a test domain.

Here they stand between two marks, so that they can be replaced and removed without a trace.
"""

from __future__ import annotations

import re
from pathlib import Path

from lab.machines import Machine

HOSTS = Path("/etc/hosts")
BEGIN = "# portside lab: begin (python3 -m lab down removes this)"
END = "# portside lab: end"
_BLOCK = re.compile(rf"^{re.escape(BEGIN)}\n.*?^{re.escape(END)}\n", re.MULTILINE | re.DOTALL)


def write(addresses: dict[Machine, str]) -> None:
    _replace(with_block(HOSTS.read_text(), addresses))


def remove() -> None:
    _replace(without_block(HOSTS.read_text()))


def with_block(text: str, addresses: dict[Machine, str]) -> str:
    kept = without_block(text)
    if kept and not kept.endswith("\n"):
        kept += "\n"
    return f"{kept}{BEGIN}\n{lines(addresses)}{END}\n"


def without_block(text: str) -> str:
    return _BLOCK.sub("", text)


def lines(addresses: dict[Machine, str]) -> str:
    return "".join(
        f"{address} {machine.host} {machine.name}\n" for machine, address in addresses.items()
    )


def for_machine(addresses: dict[Machine, str]) -> str:
    """A machine's whole file. Its own name leads to its real address, as the others see it."""
    return f"127.0.0.1 localhost\n::1 localhost ip6-localhost\n{lines(addresses)}"


def _replace(text: str) -> None:
    # In place: in a container the file may be a mount, which no other file can take the place of.
    if text != HOSTS.read_text():
        HOSTS.write_text(text)
