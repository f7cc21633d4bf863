"""A real OpenSSH server on the loopback, for whoever runs the tests; it takes one key."""

from __future__ import annotations

import getpass
import os
import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from tests.support.loopback import reserved_port

SSHD = "/usr/sbin/sshd"


@dataclass(frozen=True, slots=True)
class SshServer:
    """Where it listens, its public host key's line, and the private key that logs in."""

    port: int
    host_key: str
    key: Path
    user: str


def generate(path: Path) -> str:
    """A new Ed25519 key; returns the public half: type and blob."""
    subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(path)], check=True)
    return " ".join(path.with_name(f"{path.name}.pub").read_text().split()[:2])


@contextmanager
def ssh_server(folder: Path, name: str, key: Path, *settings: str) -> Iterator[SshServer]:
    """One that runs for as long as the block lasts, with its files in `folder`."""
    host_key = folder / f"{name}.host"
    public = generate(host_key)
    port = reserved_port()
    config = folder / f"{name}.sshd_config"
    lines = (
        *(f"ListenAddress 127.0.0.1:{port}", f"HostKey {host_key}", "PidFile none"),
        *(f"AuthorizedKeysFile {key}.pub", "StrictModes no", "UsePAM no"),
        *("PasswordAuthentication no", "KbdInteractiveAuthentication no", "PermitRootLogin yes"),
        *settings,
    )
    config.write_text("".join(f"{line}\n" for line in lines))
    if os.geteuid() == 0:
        Path("/run/sshd").mkdir(exist_ok=True)
    log = folder / f"{name}.log"
    with subprocess.Popen([SSHD, "-D", "-f", str(config), "-E", str(log)]) as process:
        try:
            _wait_for(port, process, log)
            yield SshServer(port, public, key, getpass.getuser())
        finally:
            process.terminate()


def _wait_for(port: int, process: subprocess.Popen[bytes], log: Path) -> None:
    deadline = time.monotonic() + 30
    while True:
        try:
            socket.create_connection(("127.0.0.1", port), timeout=5).close()
            return
        except OSError:
            assert process.poll() is None and time.monotonic() < deadline, log.read_text()
            time.sleep(0.02)
