"""The socket's name and its owner, whatever is done to its folder or to this process meanwhile."""

from __future__ import annotations

import contextlib
import os
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from portside.serving import listening


class Killed(Exception):
    """Stands for the end of a process at this point."""


@pytest.fixture
def systemd(tmp_path: Path) -> Iterator[socket.socket]:
    """Where systemd listens, and hears."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as made:
        made.bind(str(tmp_path / "notify"))
        yield made


def _kept(systemd: socket.socket) -> int:
    """The descriptor that systemd was told to keep."""
    while True:
        said, descriptors, _, _ = socket.recv_fds(systemd, 4096, 1)
        if said.startswith(b"FDSTORE=1"):
            return descriptors[0]


def _started_with(kept: int, path: Path, monkeypatch: pytest.MonkeyPatch) -> socket.socket:
    """What a process listens on that systemd starts with this descriptor."""
    monkeypatch.setattr(listening, "_FIRST_PASSED", kept)
    passed = {"LISTEN_PID": str(os.getpid()), "LISTEN_FDS": "1"}
    return listening.listening_socket(path, passed)


def _is_reached(listener: socket.socket, path: Path) -> bool:
    listener.settimeout(0)
    with socket.socket(socket.AF_UNIX) as client:
        client.connect(str(path))
        with contextlib.suppress(BlockingIOError):
            listener.accept()[0].close()
            return True
    return False


@pytest.mark.parametrize("kept_for_a_server", [True, False])
def test_whoever_is_killed_before_a_kept_socket_has_its_name_leaves_that_to_the_next(
    tmp_path: Path,
    systemd: socket.socket,
    monkeypatch: pytest.MonkeyPatch,
    kept_for_a_server: bool,
) -> None:
    path = tmp_path / "web.sock"
    with socket.socket(socket.AF_UNIX) as before:
        before.bind(str(path))
        before.listen()

        def killed(self: Path, target: Path) -> None:
            raise Killed

        with monkeypatch.context() as patched, pytest.raises(Killed):
            patched.setattr(Path, "replace", killed)
            if kept_for_a_server:
                listening.keep_for(os.getpid(), path, systemd.getsockname())
            else:
                listening.listening_socket(path, {"NOTIFY_SOCKET": systemd.getsockname()})
        with _started_with(_kept(systemd), path, monkeypatch) as listener:
            assert _is_reached(listener, path)


def test_whoever_is_killed_before_a_socket_is_kept_takes_no_name_from_the_kept_one(
    tmp_path: Path, systemd: socket.socket, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "web.sock"
    listening.listening_socket(path, {"NOTIFY_SOCKET": systemd.getsockname()}).close()
    left, candidate = listening._beside(path)
    with left, _started_with(_kept(systemd), path, monkeypatch) as listener:
        assert _is_reached(listener, path)
        # What is left goes with the next socket that is made.
        listening._beside(path)[0].close()
        assert not candidate.exists()


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
