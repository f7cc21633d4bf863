"""Root's rights for other people's files, and for nothing else.

What is stored belongs to the agent's user, so the command works as that user. A folder of another
system may be readable, and its files may be given away, by root alone: for these calls, one by one,
root's identity comes back. Not root, a command adopts what its own user may read and owns.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


class Privileges:
    """Who this process works as: the owner of `root`, with root in reserve if it came as that.

    Used by one thread: the identity is the whole process's.
    """

    def __init__(self, root: Path) -> None:
        """Raises OSError."""
        owner = root.stat()
        self.uid, self.gid = owner.st_uid, owner.st_gid
        self.has_root = os.geteuid() == 0
        if not self.has_root:
            self.uid, self.gid = os.geteuid(), os.getegid()
            return
        os.setgroups([])
        os.setegid(self.gid)
        os.seteuid(self.uid)

    @contextmanager
    def as_root(self) -> Iterator[None]:
        """In this context the process may do what root may, if it was started as root."""
        if not self.has_root:
            yield
            return
        os.seteuid(0)
        try:
            yield
        finally:
            os.seteuid(self.uid)
