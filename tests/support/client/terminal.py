"""The command on a terminal of its own, as a person would use it."""

from __future__ import annotations

import os
import pty
import select
import subprocess
import sys
import termios
import time

SECONDS = 60.0
"""After so long without what was waited for, a test fails."""


class Terminal:
    """A running `portside` whose terminal's output is gathered in `shown`."""

    def __init__(self, *arguments: str, **environment: str) -> None:
        self.shown = b""
        self._master, slave = pty.openpty()
        command = [sys.executable, "-c", "from portside.cli import main; main()", *arguments]
        # Of a session of its own, so that it doesn't find the terminal of who runs the tests.
        self._process = subprocess.Popen(
            command,
            stdin=slave,
            stdout=slave,
            stderr=slave,
            env={**os.environ, **environment},
            start_new_session=True,
        )
        os.close(slave)

    def wait_for(self, text: str) -> None:
        """Wait until this is shown."""
        gives_up = time.monotonic() + SECONDS
        while text.encode() not in self.shown:
            assert time.monotonic() < gives_up, self.shown
            assert self._read(), self.shown

    def wait_until_silent(self) -> None:
        """Wait until what is typed isn't shown; what was typed before is thrown away by then."""
        gives_up = time.monotonic() + SECONDS
        while termios.tcgetattr(self._master)[3] & termios.ECHO:
            assert time.monotonic() < gives_up, self.shown
            time.sleep(0.01)

    def enter(self, line: str) -> None:
        """Type a line."""
        os.write(self._master, f"{line}\n".encode())

    def end(self) -> int:
        """The command's exit code once it has ended."""
        try:
            while self._read():
                pass
            return self._process.wait(SECONDS)
        finally:
            self._process.kill()
            self._process.wait()
            os.close(self._master)

    def _read(self) -> bool:
        """Take what is shown next; False once the command has ended."""
        # Not select: it knows no descriptor above 1023.
        poll = select.poll()
        poll.register(self._master, select.POLLIN)
        assert poll.poll(SECONDS * 1000), self.shown
        try:
            chunk = os.read(self._master, 4096)
        except OSError:
            # EIO: the other side has closed the terminal.
            return False
        self.shown += chunk
        return bool(chunk)
