"""Public files may be read by any web server, private ones by nobody else; whatever the umask."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from agent.integrity.diagnosis import Finding, Kind
from agent.integrity.fsck import Fsck
from agent.integrity.fsck_areas import Orders
from tests.support.agent.damage import Node
from tests.support.agent.process import Agent


@pytest.fixture(params=[0o022, 0o077])
def umask(request: pytest.FixtureRequest) -> Iterator[None]:
    before = os.umask(request.param)
    yield
    os.umask(before)


def _modes(node: Node, namespace: str) -> tuple[set[int], set[int]]:
    """Of folders and of data; attributes are for no one else in either."""
    top = node.settings.uploads / namespace
    below = list(top.rglob("*"))
    files = [each for each in below if each.is_file()]
    described = [each for each in files if each.name.endswith(".attr.json")]
    assert not any(each.stat().st_mode & 0o007 for each in described)
    return (
        {each.stat().st_mode & 0o777 for each in (top, *below) if each.is_dir()},
        {each.stat().st_mode & 0o777 for each in files if each not in described},
    )


OPEN, CLOSED = ({0o755}, {0o644}), ({0o750}, {0o640})


@pytest.mark.usefixtures("umask")
def test_a_namespace_is_open_or_closed_on_disk(tmp_path: Path) -> None:
    node = Node(Agent(tmp_path))
    # What is made in it gets the group that nginx reads by.
    node.settings.uploads.chmod(0o2755)
    node.commit("a.bin", b"1")
    node.commit("a.bin", b"2", namespace="private")
    assert _modes(node, "isos") == OPEN
    assert _modes(node, "private") == CLOSED
    for folder in node.settings.uploads.rglob("*/"):
        assert folder.stat().st_mode & 0o2000 or not folder.is_dir()


def test_fsck_gives_what_was_stored_before_the_mode_of_its_namespace(tmp_path: Path) -> None:
    node = Node(Agent(tmp_path))
    node.commit("a.bin", b"1")
    for place in (node.settings.uploads / "isos").rglob("*"):
        place.chmod(0o750 if place.is_dir() else 0o640)

    def run(repair: bool) -> list[Finding]:
        committer = node.committer if repair else None
        orders = Orders(minimum_age=0)
        return list(Fsck(node.settings, node.database, orders, committer).run())

    (found,) = run(repair=False)
    # The file, and the folders of its year, month, day and hour.
    assert (found.kind, found.path, found.detail[:1]) == (Kind.MODES, "uploads/isos", "5")
    assert [each.done for each in run(repair=True)] == ["given to them"]
    assert _modes(node, "isos") == OPEN
    assert run(repair=False) == []
