"""An `ssh` that connects nowhere, for tests of what is run on which node.

It reads its configuration as OpenSSH does; whatever else it is to do is up to `body`, shell.
"""

from __future__ import annotations

import shutil
from pathlib import Path

_HOST_KEY = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIEMzsOtkJhIbMWlNLTw1lkxZUcPJHr0qkMhbZIjxxNg4"


def write(folder: Path, body: str) -> None:
    """Make the program in a folder that is first in PATH."""
    real = shutil.which("ssh", path="/usr/bin:/usr/local/bin:/opt/homebrew/bin")
    program = folder / "ssh"
    program.write_text(f'#!/bin/sh\ncase " $* " in *" -G "*) exec {real} "$@";; esac\n{body}\n')
    program.chmod(0o755)


def met(secrets: Path, *hosts: str) -> None:
    """Have the keystore in this folder know these hosts' keys already."""
    secrets.mkdir(parents=True, exist_ok=True)
    (secrets / "known_hosts").write_text("".join(f"{host} {_HOST_KEY} {host}\n" for host in hosts))
