"""What the lab keeps on a computer between runs: its SSH key, its lock, and whose lab is up.

One lab per computer: every clone would claim the same names in /etc/hosts.
"""

from __future__ import annotations

import fcntl
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from lab.commands import Problem, run
from lab.machines import Machine
from lab.terminal import say

FOLDER = Path("/var/lib/portside-lab")
KEY = FOLDER / "id_ed25519"
OWNER = FOLDER / "clone"
LOCK = FOLDER / "lock"
SCRATCH = FOLDER / "boxes.partial"
FORWARDING_BEFORE = FOLDER / "ip_forward.before"


@contextmanager
def locked() -> Iterator[None]:
    """Two lab commands at once would trip over each other's machines."""
    FOLDER.mkdir(exist_ok=True)
    with LOCK.open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            say("  another lab command is at work: waiting for it")
            fcntl.flock(lock, fcntl.LOCK_EX)
        # The command before us may have been the one that tidies everything away.
        FOLDER.mkdir(exist_ok=True)
        yield


def refuse_if_taken(clone: Path) -> None:
    owner = other_owner(clone)
    if owner is None:
        return
    if owner.is_dir():
        raise Problem(
            f"the lab of another clone is up on this computer: {owner}\n"
            f"Use that one, or take it down first:\n  cd {owner} && python3 -m lab down"
        )
    raise Problem(
        f"a lab is up whose clone is gone: {owner}\n"
        "Remove what it left, then try again:\n  python3 -m lab down"
    )


def other_owner(clone: Path) -> Path | None:
    if not OWNER.exists():
        return None
    owner = Path(OWNER.read_text().strip())
    return None if owner == clone else owner


def claim(clone: Path) -> None:
    OWNER.write_text(f"{clone}\n")


def forget_node_keys(clone: Path, machines: list[Machine]) -> None:
    """Forget the public keys that deploys gathered from machines of these names (portside keys)."""
    folder = Path(os.environ.get("PORTSIDE_SECRETS", clone / "secrets"), "lab", "nodes")
    for machine in machines:
        (folder / f"{machine.name}.json").unlink(missing_ok=True)


def public_key() -> str:
    """The lab's own key: Vagrant's well-known one is RSA, which today's sshd turns away."""
    if not KEY.exists():
        comment = "portside-lab"
        run("ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", comment, "-f", str(KEY))
    return KEY.with_suffix(".pub").read_text().strip()


def forget() -> None:
    shutil.rmtree(FOLDER)
