"""Something else on the disk that takes what is free, bytes or inodes, now and from then on."""

from __future__ import annotations

import os
import shutil
import threading
from pathlib import Path
from typing import Literal

from agent.host import linux
from portside.durable_file import NO_ROOM
from portside.quantities import KIB, MIB

Resource = Literal["bytes", "inodes"]

_SMALLEST = 1 * KIB
"""Bytes of the smallest block that mkfs chooses."""

_LOOKS = 0.002
"""Seconds between two looks at what has become free."""


class Hog:
    """Fills the filesystem at `root`. Thread-safe."""

    def __init__(self, root: Path, resource: Resource) -> None:
        self.root = root
        self._folder = root / "hog"
        self._resource = resource
        self._taking = threading.Lock()
        self._number = 0
        self._resting = threading.Event()
        self._thread: threading.Thread | None = None

    def move_in(self) -> None:
        """Make its folder, while there is room for that."""
        self._folder.mkdir(exist_ok=True)

    def take(self) -> None:
        """Take everything that is free. Raises OSError, none that says that the disk is full."""
        with self._taking:
            if self._resource == "bytes":
                self._take_bytes()
            else:
                self._take_inodes()

    def run_after(self, seconds: float) -> None:
        """After a moment take everything, again and again, until it is told to rest."""
        self._resting.clear()
        self._thread = threading.Thread(target=self._run, args=(seconds,), daemon=True)
        self._thread.start()

    def rest(self) -> None:
        """Keep what it has and take no more. Nothing to do when it doesn't run."""
        self._resting.set()
        if self._thread is not None:
            self._thread.join()
            self._thread = None

    def move_out(self) -> None:
        """Give everything back."""
        self.rest()
        shutil.rmtree(self._folder, ignore_errors=True)

    def _run(self, seconds: float) -> None:
        pause = seconds
        while not self._resting.wait(pause):
            pause = _LOOKS
            try:
                self.take()
            except OSError:
                # The power was cut.
                return

    def _take_bytes(self) -> None:
        try:
            descriptor = os.open(self._folder / "bytes", os.O_RDWR | os.O_CREAT, 0o600)
        except OSError as error:
            if error.errno not in NO_ROOM:
                raise
            return
        try:
            offset = os.fstat(descriptor).st_size
            size = 64 * MIB
            while size >= _SMALLEST:
                try:
                    linux.allocate(descriptor, offset, size)
                except OSError as error:
                    if error.errno not in NO_ROOM:
                        raise
                    # What it got of that, if any, is behind the end: it is asked for once more.
                    size //= 2
                    continue
                offset += size
                os.ftruncate(descriptor, offset)
        finally:
            os.close(descriptor)

    def _take_inodes(self) -> None:
        try:
            while True:
                self._number += 1
                (self._folder / f"{self._number:07}").touch(exist_ok=False)
        except FileExistsError:
            return
        except OSError as error:
            if error.errno not in NO_ROOM:
                raise
