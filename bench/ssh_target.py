"""A private sshd on loopback, where rsync and rclone copy to, with keys and settings of its own."""

from __future__ import annotations

import getpass
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from bench import processes
from bench.processes import ServerFailed, accepts, reserved_port

_CONFIGURATION = """\
ListenAddress 127.0.0.1:{port}
HostKey {directory}/host_key
AuthorizedKeysFile {directory}/user_key.pub
StrictModes no
UsePAM no
PasswordAuthentication no
PermitRootLogin prohibit-password
PidFile none
Subsystem sftp internal-sftp
"""

_PRIVILEGE_SEPARATION = Path("/run/sshd")
"""sshd wants this empty folder; Debian's unit makes it at each start of the service."""


@dataclass(frozen=True, slots=True)
class SshTarget:
    """A folder that is reached over SSH."""

    port: int
    folder: Path
    key: Path
    known_hosts: Path

    @property
    def user(self) -> str:
        """Who logs in: whoever runs the bench."""
        return getpass.getuser()

    def rsync(self, source: Path, *options: str) -> list[str]:
        """The command that copies a file here with rsync."""
        shell = (
            f"ssh -p {self.port} -i {self.key} -o UserKnownHostsFile={self.known_hosts} "
            "-o IdentitiesOnly=yes -o BatchMode=yes -F none"
        )
        target = f"{self.user}@127.0.0.1:{self.folder}/{source.name}"
        return ["rsync", *options, "-e", shell, str(source), target]

    def rclone(self, source: Path) -> list[str]:
        """The command that copies a file here with rclone's sftp backend."""
        remote = (
            f":sftp,host=127.0.0.1,port={self.port},user={self.user},shell_type=unix,"
            f"key_file={self.key},known_hosts_file={self.known_hosts}:{self.folder}/{source.name}"
        )
        return ["rclone", "--config", "", "copyto", str(source), remote]


@contextmanager
def serving(directory: Path) -> Iterator[SshTarget]:
    """sshd until the context ends. Raises ServerFailed."""
    for name in ("host_key", "user_key"):
        subprocess.run(
            ["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(directory / name)],
            check=True,
        )
    port = reserved_port()
    folder = directory / "files"
    folder.mkdir()
    host_key = (directory / "host_key.pub").read_text(encoding="ascii")
    known_hosts = directory / "known_hosts"
    known_hosts.write_text(f"[127.0.0.1]:{port} {host_key}", encoding="ascii")
    configuration = directory / "sshd_config"
    configuration.write_text(_CONFIGURATION.format(port=port, directory=directory))
    try:
        _PRIVILEGE_SEPARATION.mkdir(mode=0o755, exist_ok=True)
    except OSError as error:
        raise ServerFailed(f"{_PRIVILEGE_SEPARATION} can't be made: {error.strerror}") from None
    command = ["/usr/sbin/sshd", "-D", "-e", "-f", str(configuration)]
    with processes.running("sshd", command, directory) as server:
        server.wait_until(accepts(port))
        yield SshTarget(port, folder, directory / "user_key", known_hosts)
