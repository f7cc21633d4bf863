"""Audit logs that tests made: append-only, as real ones are, until they are to go."""

from __future__ import annotations

import subprocess
from pathlib import Path


def let_go(folder: Path) -> None:
    """Let what is in the folder be removed. Filesystems without the flag have nothing to let go."""
    subprocess.run(["chattr", "-R", "-f", "-a", str(folder)], check=False)
