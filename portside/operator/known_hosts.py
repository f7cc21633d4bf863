"""The file of host keys that are agreed to: `secrets/<cluster>/known_hosts`, as sshd(8) has it.

Each line's comment is the node's id: by it a node is forgotten, whatever its address was.
"""

from __future__ import annotations

import base64
import hashlib
from dataclasses import dataclass
from pathlib import Path

from portside import durable_file
from portside.operator.keystore import Keystore


@dataclass(frozen=True, slots=True)
class HostKey:
    """A host's public key: its type and its blob in base64 (RFC 4253, section 6.6)."""

    kind: str
    blob: str

    @property
    def fingerprint(self) -> str:
        """As `ssh-keygen -l` shows it."""
        digest = hashlib.sha256(base64.b64decode(self.blob)).digest()
        return "SHA256:" + base64.b64encode(digest).decode().rstrip("=")

    def __str__(self) -> str:
        name = self.kind.removeprefix("ssh-").removeprefix("ecdsa-sha2-").upper()
        return f"{name} {self.fingerprint}"


def entries(path: Path) -> list[tuple[str, HostKey]]:
    """Names and keys of a file that OpenSSH or we wrote; none where there is no file."""
    rows = [line.split() for line in _lines(path) if not line.startswith(("#", "@"))]
    return [(row[0], HostKey(row[1], row[2])) for row in rows if len(row) > 2]


def names(path: Path) -> set[str]:
    """The hosts that have keys in a file."""
    return {name for name, _ in entries(path)}


def pin(keystore: Keystore, keys: list[tuple[str, str, HostKey]]) -> None:
    """Keep host keys: of a node's id, under a name, each. Those that are kept already stay."""
    if not keys:
        return
    with keystore.locked():
        lines = _lines(keystore.known_hosts)
        there = set(entries(keystore.known_hosts))
        lines += [
            f"{name} {key.kind} {key.blob} {node_id}"
            for node_id, name, key in keys
            if (name, key) not in there
        ]
        _write(keystore.known_hosts, lines)


def keeps(keystore: Keystore, name: str, key: HostKey) -> bool:
    """Whether a host's key is kept under this name."""
    return (name, key) in entries(keystore.known_hosts)


def owners(keystore: Keystore, name: str) -> set[str]:
    """The ids of the nodes whose keys are kept under a name: another's once it has that address."""
    rows = (line.split() for line in _lines(keystore.known_hosts))
    return {row[3] for row in rows if row[0] == name and len(row) > 3}


def forget(keystore: Keystore, node_id: str) -> bool:
    """Forget a node's host keys. Returns whether there were any."""
    if not keystore.known_hosts.exists():
        return False
    with keystore.locked():
        lines = _lines(keystore.known_hosts)
        left = [line for line in lines if line.split()[3:] != [node_id]]
        _write(keystore.known_hosts, left)
    return left != lines


def _lines(path: Path) -> list[str]:
    try:
        return [line for line in path.read_text(encoding="utf-8").splitlines() if line.strip()]
    except FileNotFoundError:
        return []


def _write(path: Path, lines: list[str]) -> None:
    durable_file.replace(path, "".join(f"{line}\n" for line in lines).encode(), 0o600)
