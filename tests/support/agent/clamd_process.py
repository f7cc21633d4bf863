"""A real clamd for tests, of the package clamav-daemon: with settings of its own and no updates.

It knows the EICAR test file alone (eicar.org), which is written in two halves here: in one piece
every scanner would take this module for it.
"""

from __future__ import annotations

import shutil
import subprocess
import tempfile
from pathlib import Path

from portside.cluster.clamd import ClamdAddress
from portside.quantities import MIB
from tests.support.loopback import wait_until

EICAR = rb"X5O!P%@AP[4\PZX54(P^)7CC)7}$EICAR" + rb"-STANDARD-ANTIVIRUS-TEST-FILE!$H+H*"
SIGNATURE = "Eicar-Test-Signature"

STREAM_MAX = 1 * MIB
FILE_MAX = 512 * 1024
"""Bytes: what is larger it takes, and doesn't look at."""

_PROGRAM = "/usr/sbin/clamd"


class Clamd:
    """It can be started, ended and started again at the same address."""

    def __init__(self, *settings: str) -> None:
        """`settings` are lines of its clamd.conf beside the usual ones."""
        # Not in a test's folder: a socket's path has at most 107 bytes (unix(7)).
        self._home = Path(tempfile.mkdtemp(prefix="portside-clamd-"))
        self.address = ClamdAddress(path=str(self._home / "socket"))
        self._process: subprocess.Popen[bytes] | None = None
        (self._home / "signatures").mkdir()
        database = f"{SIGNATURE}:0:0:{EICAR.hex()}\n"
        (self._home / "signatures" / "eicar.ndb").write_text(database)
        lines = [
            f"LocalSocket {self.address.path}",
            f"DatabaseDirectory {self._home / 'signatures'}",
            f"TemporaryDirectory {self._home}",
            f"StreamMaxLength {STREAM_MAX}",
            f"MaxFileSize {FILE_MAX}",
            "Foreground yes",
            *settings,
        ]
        (self._home / "clamd.conf").write_text("\n".join(lines) + "\n")

    def start(self) -> None:
        """Start it, and wait until it listens: some hundredths of a second."""
        Path(self.address.path).unlink(missing_ok=True)
        with (self._home / "log").open("ab") as log:
            self._process = subprocess.Popen(
                [_PROGRAM, f"--config-file={self._home / 'clamd.conf'}"], stdout=log, stderr=log
            )
        wait_until(Path(self.address.path).exists)

    def kill(self) -> None:
        """End it at once."""
        if self._process is not None:
            self._process.kill()
            self._process.wait(timeout=60)
            self._process = None

    def close(self) -> None:
        """End it, and leave nothing behind."""
        self.kill()
        shutil.rmtree(self._home)
