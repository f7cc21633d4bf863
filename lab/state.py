"""What labs keep on a computer between runs: their SSH key, their lock, and whose lab is up.

One lab of a name per computer: every clone would claim the same containers and the same names in
/etc/hosts.
"""

from __future__ import annotations

import fcntl
import os
import shutil
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from lab.commands import Problem, run
from lab.machines import Machine
from lab.terminal import say

FOLDER = Path("/var/lib/portside-lab")
KEY = FOLDER / "id_ed25519"
OWNERS = FOLDER / "labs"
IMAGES = FOLDER / "images"
LOCK = FOLDER / "lock"
FORWARDING_BEFORE = FOLDER / "ip_forward.before"


@contextmanager
def locked() -> Iterator[None]:
    """Two lab commands at once would trip over each other's network and images."""
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


def refuse_if_taken(lab: str, clone: Path) -> None:
    """Raises Problem when the lab of this name is another clone's."""
    owner = other_owner(lab, clone)
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


def other_owner(lab: str, clone: Path) -> Path | None:
    """The clone whose lab of this name is up, unless it is this one."""
    try:
        owner = Path((OWNERS / lab).read_text(encoding="utf-8").strip())
    except FileNotFoundError:
        return None
    return None if owner == clone else owner


def claim(lab: str, clone: Path) -> None:
    OWNERS.mkdir(exist_ok=True)
    (OWNERS / lab).write_text(f"{clone}\n", encoding="utf-8")


def forget_node_keys(clone: Path, machines: Sequence[Machine]) -> None:
    """Forget the public keys that deploys gathered from machines of these names (portside keys)."""
    secrets = Path(os.environ.get("PORTSIDE_SECRETS", clone / "secrets"))
    for machine in machines:
        for folder in ("nodes", "other_keys"):
            (secrets / machine.lab / folder / f"{machine.name}.json").unlink(missing_ok=True)


def public_key() -> str:
    """The public half of the key that lets people into the machines, made when first asked for."""
    if not KEY.exists():
        comment = "portside-lab"
        run("ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", comment, "-f", str(KEY))
    return KEY.with_suffix(".pub").read_text(encoding="utf-8").strip()


def release(lab: str) -> bool:
    """Give the name back. Returns whether no lab is left on this computer."""
    (OWNERS / lab).unlink(missing_ok=True)
    return not (OWNERS.exists() and any(OWNERS.iterdir()))


def forget() -> None:
    """Remove what the labs kept, once the last of them is gone."""
    shutil.rmtree(FOLDER)
