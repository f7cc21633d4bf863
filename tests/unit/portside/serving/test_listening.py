"""The socket's name and its owner, whatever is done to its folder or to this process meanwhile."""

from __future__ import annotations

import os
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from portside.serving import listening


@pytest.fixture
def systemd(tmp_path: Path) -> Iterator[socket.socket]:
    """Where systemd listens, and hears."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as made:
        made.bind(str(tmp_path / "notify"))
        yield made


@pytest.mark.skipif(os.geteuid() != 0, reason="only root may give files away")
def test_a_socket_that_is_kept_for_a_server_is_its_folders_owners_and_no_link_is_followed(
    tmp_path: Path, systemd: socket.socket, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder, roots = tmp_path / "run", tmp_path / "roots"
    folder.mkdir()
    roots.touch()
    os.chown(folder, 1234, 1235)
    path = folder / "web.sock"
    listening.keep_for(os.getpid(), path, systemd.getsockname())
    assert (path.stat().st_uid, path.stat().st_gid) == (1234, 1235)
    bound = listening._beside

    def replaced(path: Path) -> tuple[socket.socket, Path]:
        listener, candidate = bound(path)
        candidate.unlink()
        candidate.symlink_to(roots)
        return listener, candidate

    monkeypatch.setattr(listening, "_beside", replaced)
    listening.keep_for(os.getpid(), path, systemd.getsockname())
    assert (roots.stat().st_uid, roots.stat().st_gid) == (os.getuid(), os.getgid())
