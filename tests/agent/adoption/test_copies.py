"""Without a control plane the nodes copy adopted files among themselves, by the issuer's order."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

from tests.support.agent.adoption import adopt
from tests.support.agent.node_pairs import introduce, rows, wait_until
from tests.support.agent.process import Agent
from tests.support.agent.worker_process import Worker


def test_an_adopted_file_is_copied_to_as_many_nodes_as_the_factor_wants(
    make_agent: Callable[..., Agent], tmp_path: Path
) -> None:
    first, second = make_agent(), make_agent(node_id="s02")
    introduce(first, second, factor=2)
    second.start()
    folder = tmp_path / "old"
    folder.mkdir()
    (folder / "a.bin").write_bytes(content := os.urandom(100_000))
    assert adopt(first, folder).summary["adopted"] == 1
    # Its own is noted down with the commit: whoever is cut short makes it all the same.
    assert rows(first, "SELECT target, own FROM pushes") == [("s02", 1)]
    worker = Worker(first)
    worker.start()
    try:
        wait_until(lambda: second.visible_files(), first, second)
        (copy,) = second.visible_files()
        assert copy.read_bytes() == content
        wait_until(lambda: not rows(first, "SELECT 1 FROM pushes"), first)
    finally:
        worker.kill()
