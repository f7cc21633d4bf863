"""A stream on its way to a real node: its length unknown, the node killed in between."""

from __future__ import annotations

import hashlib
import os
import threading
from collections.abc import Callable
from pathlib import Path

import pytest

from portside.client import UploadClient, Watcher
from portside.client.http import retry
from portside.client.upload.stream import Stream
from portside.client.upload.streamed import StreamUpload
from portside.quantities import MIB
from tests.support.agent.process import Agent

WINDOW = 1 * MIB


class Restarting(Watcher):
    """Kills the node once, when `at` bytes were sent, and starts it again."""

    def __init__(self, node: Agent, at: int) -> None:
        self.restarted = False
        self._node = node
        self._at = at

    def sent(self, count: int) -> None:
        if not self.restarted and count >= self._at:
            self.restarted = True
            self._node.kill()
            self._node.start()


def test_a_stream_is_stored_whole_also_by_a_node_that_is_killed_in_between(
    make_agent: Callable[..., Agent], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(retry, "SHORTEST_PAUSE", 0.01)
    node = make_agent()
    settings = node.home / "agent.toml"
    settings.write_text(settings.read_text().replace("https://s01.portside.test", node.url))
    node.start()
    client = UploadClient(node.url)
    watcher = Restarting(node, 2 * WINDOW + 1)
    # None, less than a window, exactly two, and what is killed in between.
    for number, size in enumerate((0, 5, 2 * WINDOW, 3 * WINDOW + 4099)):
        content = os.urandom(size)
        read, write = os.pipe()

        def fill(write: int = write, content: bytes = content) -> None:
            with os.fdopen(write, "wb") as pipe:
                pipe.write(content)

        writer = threading.Thread(target=fill)
        writer.start()
        with Stream(Path(f"/dev/fd/{read}"), WINDOW) as stream:
            os.close(read)
            upload = StreamUpload(stream, f"{number}.bin", watcher)
            known = upload.size()
            token = node.mint(max_size=64 * MIB) if known is None else node.mint(size=known)
            stored = upload.put(client, token)
        writer.join()
        assert stored.sha256 == hashlib.sha256(content).hexdigest()
        assert (node.root / "uploads" / stored.path).read_bytes() == content
    assert watcher.restarted
    assert len(node.visible_files()) == 4
    assert node.leftovers() == []
    client.close()
