"""The machines' names in /etc/hosts, here and on each machine: no name server knows a test domain.

Here they stand between two marks, so that they can be replaced and removed without a trace.
"""

from __future__ import annotations

import re
from pathlib import Path

from lab.machines import Machine

HOSTS = Path("/etc/hosts")


def begin(lab: str) -> str:
    """The mark before a lab's lines."""
    return f"# portside {lab}: begin (python3 -m lab down removes this)"


def end(lab: str) -> str:
    """The mark behind them."""
    return f"# portside {lab}: end"


def write(lab: str, addresses: dict[Machine, str]) -> None:
    _replace(with_block(HOSTS.read_text(), lab, addresses))


def remove(lab: str) -> None:
    _replace(without_block(HOSTS.read_text(), lab))


def with_block(text: str, lab: str, addresses: dict[Machine, str]) -> str:
    kept = without_block(text, lab)
    if kept and not kept.endswith("\n"):
        kept += "\n"
    return f"{kept}{begin(lab)}\n{lines(addresses)}{end(lab)}\n"


def without_block(text: str, lab: str) -> str:
    first, last = re.escape(begin(lab)), re.escape(end(lab))
    block = re.compile(rf"^{first}\n.*?^{last}\n", re.MULTILINE | re.DOTALL)
    return block.sub("", text)


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
