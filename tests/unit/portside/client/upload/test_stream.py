"""A stream comes whole, in order and in windows, of which few are held at a time."""

from __future__ import annotations

import hashlib
import itertools
import os
import threading
from pathlib import Path

import pytest

from portside.client import LocalFileError
from portside.client.upload.stream import Stream

WINDOW = 1000


class Pipe:
    """What is written comes out of a stream of `WINDOW` bytes at a time."""

    def __init__(self) -> None:
        self.read, self.write = os.pipe()
        self.stream = Stream(Path(f"/dev/fd/{self.read}"), WINDOW)
        os.close(self.read)

    def write_all(self, content: bytes) -> None:
        def write() -> None:
            with os.fdopen(self.write, "wb") as file:
                file.write(content)

        threading.Thread(target=write).start()


@pytest.fixture
def pipe() -> Pipe:
    return Pipe()


@pytest.mark.parametrize("size", [0, 1, WINDOW - 1, WINDOW, WINDOW + 1, 3 * WINDOW, 70_001])
def test_every_byte_comes_once_and_the_last_window_is_known_to_be_it(size: int, pipe: Pipe) -> None:
    content = os.urandom(size)
    pipe.write_all(content)
    got, ends = b"", []
    with pipe.stream as stream:
        for window in stream.windows():
            assert window.start == len(got)
            got += b"".join(window.blocks(window.start, window.end))
            ends.append((window.end, window.is_last))
    assert got == content
    assert stream.sha256() == hashlib.sha256(content).hexdigest()
    wanted = [*range(WINDOW, size, WINDOW), size]
    assert ends == [(end, end == size) for end in wanted]


def test_a_window_can_be_gone_back_in(pipe: Pipe) -> None:
    pipe.write_all(bytes(range(256)) * 5)
    with pipe.stream as stream:
        _, last = stream.windows()
        assert b"".join(last.blocks(1100, 1103)) == bytes([76, 77, 78])
        assert b"".join(last.blocks(1100, 1103)) == bytes([76, 77, 78])


def test_no_more_is_held_than_two_windows(monkeypatch: pytest.MonkeyPatch) -> None:
    taken = 0

    def counting(descriptor: int, buffers: list[memoryview]) -> int:
        nonlocal taken
        taken += (count := readv(descriptor, buffers))
        return count

    readv = os.readv
    monkeypatch.setattr(os, "readv", counting)
    with Stream(Path("/dev/zero"), WINDOW) as stream:
        for window in itertools.islice(stream.windows(), 20):
            # One is being looked at, one is filled, and a byte tells that the stream goes on.
            assert taken <= window.end + WINDOW + 1


def test_a_stream_that_fails_is_told(tmp_path: Path) -> None:
    with pytest.raises(LocalFileError, match="No such file"):
        Stream(tmp_path / "gone")
    with Stream(tmp_path) as stream, pytest.raises(LocalFileError, match="Is a directory"):
        next(stream.windows())
