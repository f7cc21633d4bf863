"""Which machines a lab has: read from lab/machines.json, or from another file of its kind."""

from __future__ import annotations

import hashlib
import json
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lab.commands import Problem

CLONE = Path(__file__).resolve().parent.parent
MACHINES_FILE = Path(__file__).with_name("machines.json")
RELEASES = ("bookworm", "trixie")
MAIN = "lab"
"""The name of the lab in machines.json, and of its cluster."""
_LABEL = re.compile(r"[a-z]([a-z0-9-]*[a-z0-9])?")


@dataclass(frozen=True)
class Machine:
    """One machine of a lab. `memory_mib` is None for as much as the computer has."""

    lab: str
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
        return f"portside-{self.name}" if self.lab == MAIN else f"portside-{self.lab}-{self.name}"

    @property
    def hardware_address(self) -> str:
        """A fixed one keeps its network address through every restart. Its prefix is Xen's, free
        for every use of this kind."""
        digest = hashlib.sha256(self.host.encode()).hexdigest()
        return ":".join(("00:16:3e", digest[0:2], digest[2:4], digest[4:6]))


@dataclass(frozen=True)
class Lab:
    """Machines that go up and down together. The name is that of their cluster too."""

    name: str
    machines: tuple[Machine, ...]

    @property
    def releases(self) -> list[str]:
        """Debian's releases among them."""
        return sorted({machine.release for machine in self.machines})


def load(path: Path = MACHINES_FILE) -> Lab:
    """Raises Problem for a file that isn't there, or has a slip in it."""
    try:
        return parse(json.loads(path.read_text(encoding="utf-8")), str(path.name))
    except (OSError, ValueError) as error:
        raise Problem(f"{path} can't be read: {error}") from None


def parse(document: dict[str, Any], file: str = MACHINES_FILE.name) -> Lab:
    if document.keys() != {"lab", "domain", "machines"}:
        raise Problem(f"{file}: expected exactly the keys 'lab', 'domain' and 'machines'")
    lab = _label(document["lab"], f"{file}: lab")
    machines = tuple(
        _parse_machine(f"{file}: {name}", lab, name, document["domain"], entry)
        for name, entry in document["machines"].items()
    )
    return Lab(lab, machines)


def _parse_machine(where: str, lab: str, name: str, domain: str, entry: dict[str, Any]) -> Machine:
    _label(name, where)
    if entry.keys() != {"release", "memory_mib"}:
        raise Problem(f"{where}: expected exactly the keys 'release' and 'memory_mib'")
    if entry["release"] not in RELEASES:
        raise Problem(f"{where}: release is one of {', '.join(RELEASES)}")
    memory = entry["memory_mib"]
    if memory is not None and (not isinstance(memory, int) or memory < 128):
        raise Problem(f"{where}: memory_mib is null or a number of at least 128")
    return Machine(lab, name, domain, entry["release"], memory)


def _label(name: str, where: str) -> str:
    if not _LABEL.fullmatch(name):
        raise Problem(f"{where}: a name is lower-case letters, digits and hyphens")
    return name
