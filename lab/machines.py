"""Which machines the lab has: read from machines.json, which the Vagrantfile reads too."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lab.commands import Problem

CLONE = Path(__file__).resolve().parent.parent
MACHINES_FILE = Path(__file__).with_name("machines.json")
RELEASES = ("bookworm", "trixie")


@dataclass(frozen=True)
class Machine:
    name: str
    domain: str
    release: str
    memory_mib: int | None

    @property
    def host(self) -> str:
        return f"{self.name}.{self.domain}"

    @property
    def container(self) -> str:
        """Containers of all users of a computer share one list, hence the prefix."""
        return f"portside-{self.name}"


def load(path: Path = MACHINES_FILE) -> list[Machine]:
    return parse(json.loads(path.read_text()))


def parse(document: dict[str, Any]) -> list[Machine]:
    if document.keys() != {"domain", "machines"}:
        raise Problem("machines.json: expected exactly the keys 'domain' and 'machines'")
    return [
        _parse_machine(name, document["domain"], entry)
        for name, entry in document["machines"].items()
    ]


def releases(machines: list[Machine]) -> list[str]:
    return sorted({machine.release for machine in machines})


def _parse_machine(name: str, domain: str, entry: dict[str, Any]) -> Machine:
    where = f"machines.json: {name}"
    if not re.fullmatch(r"[a-z][a-z0-9]*", name):
        raise Problem(f"{where}: a name is lower-case letters and digits")
    if entry.keys() != {"release", "memory_mib"}:
        raise Problem(f"{where}: expected exactly the keys 'release' and 'memory_mib'")
    if entry["release"] not in RELEASES:
        raise Problem(f"{where}: release is one of {', '.join(RELEASES)}")
    memory = entry["memory_mib"]
    if memory is not None and (not isinstance(memory, int) or memory < 128):
        raise Problem(f"{where}: memory_mib is null or a number of at least 128")
    return Machine(name, domain, entry["release"], memory)
