"""A real PostgreSQL for tests and benches: its own folder, a unix socket, ended by process id.

Debian's binaries as they are; no cluster of the system is used or touched.
"""

from __future__ import annotations

import os
import pwd
import shutil
import signal
import subprocess
import tempfile
import time
from pathlib import Path
from typing import Any

import psycopg

from tests.support.logs import text_of

PATIENCE = 60.0
"""Seconds for a server to start or to end."""


class PostgresqlServer:
    """One server with a folder of its own below the system's temporary one.

    With `durable` its commits wait for the disk, as outside of tests.
    """

    def __init__(self, *, durable: bool = False) -> None:
        self._durable = durable
        # Not pytest's own folder: that is closed to the user that the server runs as.
        self.home = Path(tempfile.mkdtemp(prefix="portside-pg-"))
        self._as_user: dict[str, Any] = {}
        if os.geteuid() == 0:
            # PostgreSQL refuses to run as root.
            user = pwd.getpwnam("postgres")
            os.chown(self.home, user.pw_uid, user.pw_gid)
            self._as_user = {"user": user.pw_uid, "group": user.pw_gid, "extra_groups": []}
        self._process: subprocess.Popen[bytes] | None = None
        subprocess.run(
            [
                *(_program("initdb"), "--pgdata", str(self.home / "data"), "--no-sync"),
                *("--username", "postgres", "--auth", "trust", "--encoding", "UTF8"),
                *("--locale", "C.UTF-8"),
            ],
            check=True,
            capture_output=True,
            cwd=self.home,
            **self._as_user,
        )

    def start(self) -> None:
        """Start it and wait until it takes connections."""
        settings = {
            "listen_addresses": "",
            "unix_socket_directories": str(self.home),
            # Tests never cut the power; a real disk's syncs would only take time.
            "fsync": "on" if self._durable else "off",
            "max_connections": "100",
            "log_lock_waits": "on",
        }
        arguments = [_program("postgres"), "-D", str(self.home / "data")]
        for name, value in settings.items():
            arguments += ["-c", f"{name}={value}"]
        with (self.home / "log").open("ab") as log:
            self._process = subprocess.Popen(
                arguments, stdout=log, stderr=log, cwd=self.home, **self._as_user
            )
        deadline = time.monotonic() + PATIENCE
        while True:
            try:
                psycopg.connect(self.dsn("postgres")).close()
                return
            except psycopg.OperationalError:
                assert self._process.poll() is None, text_of(self.home / "log")
                assert time.monotonic() < deadline, text_of(self.home / "log")
                time.sleep(0.05)

    def stop(self) -> None:
        """End it at once: connections are cut, nothing committed is lost (SIGINT: fast)."""
        if self._process is not None:
            self._process.send_signal(signal.SIGINT)
            self._process.wait(timeout=PATIENCE)
            self._process = None

    def remove(self) -> None:
        """End it and remove its folder."""
        self.stop()
        shutil.rmtree(self.home)

    @property
    def pid(self) -> int:
        """The running server; its children are one for each connection, and a few more."""
        assert self._process is not None, "it isn't started"
        return self._process.pid

    def dsn(self, database: str) -> str:
        """The database's URL."""
        return f"postgresql://postgres@/{database}?host={self.home}"

    def execute(self, statement: str, database: str = "postgres") -> None:
        """Carry out a statement outside of any transaction."""
        with psycopg.connect(self.dsn(database), autocommit=True) as connection:
            connection.execute(statement.encode())


def _program(name: str) -> str:
    """Debian keeps the server's programs out of PATH, one folder for each version."""
    found = sorted(
        Path("/usr/lib/postgresql").glob(f"*/bin/{name}"), key=lambda path: float(path.parts[4])
    )
    assert found, f"{name} is missing: `make packages` installs Debian's postgresql"
    return str(found[-1])
