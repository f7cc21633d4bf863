"""Files that end by themselves: gone at every URL at once, back on demand, removed in the end."""

from __future__ import annotations

import secrets
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import requests

from agent.host.filesystem import Filesystem
from agent.host.supervised_thread import Pulse
from agent.index.database import Database
from agent.integrity.lifetimes import LIVED, LifetimeRounds
from agent.integrity.recovery import recover
from agent.integrity.reindex import reindex
from agent.settings import Settings, load
from agent.storage import deletion, ending, tombstones
from agent.storage.attributes import Attributes
from agent.storage.opening import open_index
from agent.storage.quarantine import ended
from agent.telemetry.clock import NodeClock
from portside.clock import SETTLED, ClockWatch
from portside.cluster.lifetimes import Lifetimes
from portside.tokens import verify_receipt
from portside.wire.files import StoredFile
from tests.support.agent import damage
from tests.support.agent.process import Agent, slug_of
from tests.support.agent.stored_files import FILES, access, ask, attributes_of, data_of, stored

GRACE = 7 * 86400


class Node:
    """A running agent, and its worker's part in lifetimes to be called by hand."""

    def __init__(self, agent: Agent, **changed: Any) -> None:
        self.agent = agent
        self.settings: Settings = load(agent.home / "agent.toml").model_copy(update=changed)
        self.database: Database = open_index(self.settings)
        self.pulse = Pulse(threading.Event())

    def rounds(self, *, believed: bool = True) -> None:
        """One look of the worker's."""
        watch = ClockWatch(steady=lambda: 2 * SETTLED, set_at=0.0 if believed else 2 * SETTLED)
        LifetimeRounds(self.settings, self.database, NodeClock(watch)).look(self.pulse)

    def lives(self, seconds: int) -> None:
        """So many seconds more go by in which its clock is believed."""
        lived = int(self.database.note(LIVED) or 0)
        self.database.take_note(LIVED, str(lived + seconds))

    def ends(self, file: StoredFile, ago: int = 10) -> None:
        """The file's moment was so many seconds ago."""
        moment = int(time.time()) - ago
        assert ending.change(self.settings, self.database, file.file_id, moment) is not None

    def state(self, file: StoredFile) -> str:
        row = self.database.row("SELECT state FROM files WHERE file_id = ?", (file.file_id,))
        return "" if row is None else str(row[0])


@pytest.fixture
def node(shared_agent: Agent) -> Node:
    return Node(shared_agent)


def put(node: Node, data: bytes = b"x", **claims: Any) -> StoredFile:
    return stored(node.agent, f"{secrets.token_hex(4)}.bin", data, **{"expires_in": 3600, **claims})


def asked(node: Node, file: StoredFile) -> dict[str, tuple[int, str]]:
    """What each URL of a file's answers."""
    agent, path = node.agent, f"/uploads/{file.path}"
    headers = {**access(agent), "X-Original-URI": path}
    answers = {
        url: requests.get(agent.url + url, headers=headers, timeout=60, allow_redirects=False)
        for url in (
            f"{FILES}/{file.file_id}",
            f"{FILES}/{file.file_id}/content",
            f"/f/{file.file_id}/{file.name}",
            "/internal/missing",
            "/internal/download",
        )
    }
    return {
        url.replace(file.file_id, "ID").replace(file.name, "NAME"): (
            int(answer.headers.get("X-Refusal-Status", answer.status_code)),
            "" if answer.ok else slug_of(answer) if answer.text else "refused",
        )
        for url, answer in answers.items()
    }


def changes(node: Node, file: StoredFile, sent: object) -> requests.Response:
    url = f"{node.agent.url}{FILES}/{file.file_id}"
    headers = access(node.agent, rights=("delete",))
    return requests.patch(url, json=sent, headers=headers, timeout=60)


def test_the_moment_counts_from_the_commit_and_is_told_signed_and_kept(node: Node) -> None:
    file = put(node, expires_in=3600)
    assert file.expires_at == int(file.committed_at.timestamp()) + 3600
    receipt = verify_receipt(file.receipt, node.agent.node_keys)
    kept = Attributes.model_validate_json(attributes_of(node.agent, file).read_bytes())
    assert (receipt.expires_at, kept.expires_at) == (file.expires_at, file.expires_at)
    assert ask(node.agent, "GET", f"/{file.file_id}").json()["expires_at"] == file.expires_at
    assert put(node, expires_in=None).expires_at is None


def test_a_file_whose_time_is_over_is_gone_at_every_url_before_and_after_it_is_moved(
    node: Node,
) -> None:
    file = put(node, namespace="private")
    assert asked(node, file)["/f/ID/NAME"] == (200, "")
    node.ends(file)
    by_the_clock = asked(node, file)
    node.rounds()
    assert node.state(file) == "ENDED"
    assert not data_of(node.agent, file).exists()
    assert ended(node.settings, file.file_id).data.read_bytes() == b"x"
    moved = asked(node, file)
    gone = (410, "file-expired")
    for url in (f"{FILES}/ID", f"{FILES}/ID/content", "/f/ID/NAME", "/internal/missing"):
        assert moved[url] == gone, url
        assert by_the_clock[url] == gone, url
    assert by_the_clock["/internal/download"][0] == 410
    listed = ask(node.agent, "GET", "?namespace=private", access(node.agent)).json()["files"]
    assert file.file_id not in [each["file_id"] for each in listed]
    again = node.agent.put(file.name, b"x", node.agent.mint(file_id=file.file_id))
    assert (again.status_code, slug_of(again)) == (409, "token-used")


def test_an_end_is_taken_back_prolonged_and_brought_forward(node: Node) -> None:
    file = put(node, data=b"precious")
    node.ends(file)
    node.rounds()
    back = changes(node, file, {"expires_at": None})
    assert (back.status_code, back.json()["expires_at"]) == (200, None)
    assert data_of(node.agent, file).read_bytes() == b"precious"
    node.rounds()
    assert node.state(file) == "COMMITTED"
    prolonged = changes(node, file, {"expires_in": "30d"}).json()["expires_at"]
    assert abs(prolonged - time.time() - 30 * 86400) < 60
    kept = Attributes.model_validate_json(attributes_of(node.agent, file).read_bytes())
    assert (kept.expires_at, kept.stored().file_id) == (prolonged, file.file_id)
    now = changes(node, file, {"expires_in": 0})
    assert now.json()["expires_at"] <= time.time()
    assert ask(node.agent, "GET", f"/{file.file_id}").status_code == 410


@pytest.mark.parametrize(
    "sent",
    [
        {},
        [],
        "30d",
        {"expires_in": 5, "expires_at": None},
        {"expires_in": None},
        {"expires_in": -1},
        {"expires_in": 1e99},
        {"expires_in": "a month"},
        {"expires_in": True},
        {"expires_at": "tomorrow"},
        {"expires_at": "2026-01-01T00:00:00"},
        {"expires_at": "9999-01-01T00:00:00Z"},
        {"expires": 5},
    ],
)
def test_what_is_no_lifetime_is_refused_and_changes_nothing(node: Node, sent: object) -> None:
    file = put(node)
    answer = changes(node, file, sent)
    assert (answer.status_code, slug_of(answer)) == (400, "malformed-request")
    assert ask(node.agent, "GET", f"/{file.file_id}").json()["expires_at"] == file.expires_at


def test_only_who_may_delete_a_file_says_when_it_ends(node: Node) -> None:
    file = put(node)
    url = f"{node.agent.url}{FILES}/{file.file_id}"
    for headers in ({}, access(node.agent, rights=("read", "list", "verify"))):
        refused = requests.patch(url, json={"expires_in": 0}, headers=headers, timeout=60)
        assert refused.status_code in (401, 403)
    assert ask(node.agent, "GET", f"/{file.file_id}").status_code == 200


def test_a_name_that_was_given_again_is_not_taken_from_its_new_file(node: Node) -> None:
    name = f"{secrets.token_hex(4)}.bin"
    first = stored(node.agent, name, b"first", layout="named", expires_in=3600)
    node.ends(first)
    node.rounds()
    second = stored(node.agent, name, b"second", layout="named")
    refused = changes(node, first, {"expires_at": None})
    assert (refused.status_code, slug_of(refused)) == (409, "name-taken")
    assert data_of(node.agent, second).read_bytes() == b"second"
    assert ask(node.agent, "GET", f"/{first.file_id}").status_code == 410
    assert ask(node.agent, "GET", f"/{second.file_id}").status_code == 200


def test_its_bytes_go_when_the_grace_was_lived_through_and_the_clock_says_so_too(
    node: Node,
) -> None:
    lived, by_the_clock, both = put(node), put(node), put(node)
    node.ends(lived)
    node.ends(both, GRACE + 10)
    node.rounds()
    node.lives(GRACE)
    node.ends(by_the_clock, GRACE + 10)
    node.rounds()
    assert [node.state(each) for each in (lived, by_the_clock, both)] == [
        "ENDED",
        "ENDED",
        "DELETED",
    ]
    kept = ended(node.settings, both.file_id)
    assert not kept.data.exists()
    assert Attributes.model_validate_json(kept.attributes.read_bytes()).deleted_at is not None
    refused = changes(node, both, {"expires_at": None})
    assert (refused.status_code, slug_of(refused)) == (410, "file-deleted")


def test_a_clock_that_is_not_believed_ends_nothing_and_one_set_back_takes_back(
    node: Node, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = put(node, expires_in=86400)
    real = time.time
    monkeypatch.setattr("time.time", lambda: real() + 400 * 86400)
    node.rounds(believed=False)
    assert node.state(file) == "COMMITTED"
    node.rounds()
    node.rounds()
    assert node.state(file) == "ENDED"
    monkeypatch.undo()
    node.rounds()
    assert node.state(file) == "COMMITTED"
    assert data_of(node.agent, file).exists()
    assert ask(node.agent, "GET", f"/{file.file_id}").status_code == 200


@pytest.mark.parametrize("moved", ["nothing", "attributes", "everything"])
def test_an_end_that_was_cut_short_is_finished(node: Node, moved: str) -> None:
    file = put(node, data=b"whole")
    node.ends(file)
    with node.database.transaction() as connection:
        connection.execute("UPDATE files SET state = 'ENDED' WHERE file_id = ?", (file.file_id,))
    kept = ended(node.settings, file.file_id)
    kept.data.parent.mkdir(exist_ok=True)
    if moved != "nothing":
        attributes_of(node.agent, file).rename(kept.attributes)
    if moved == "everything":
        data_of(node.agent, file).rename(kept.data)
    node.rounds(believed=False)
    assert kept.data.read_bytes() == b"whole"
    assert kept.attributes.exists()
    assert not attributes_of(node.agent, file).exists()
    row = node.database.row("SELECT moved FROM ended WHERE file_id = ?", (file.file_id,))
    assert row == (1,)


def test_ended_and_removed_files_stay_so_when_the_index_is_rebuilt(agent: Agent) -> None:
    node = Node(agent, lifetimes=Lifetimes(grace=0))
    removed = put(node)
    node.ends(removed, ago=86400)
    node.rounds()
    node.lives(1)
    node.rounds()
    assert node.state(removed) == "DELETED"
    resting, due = put(node), put(node)
    node.settings = node.settings.model_copy(update={"lifetimes": Lifetimes()})
    node.ends(resting)
    node.rounds()
    # Its attributes have ended, its row hasn't.
    node.ends(due)
    agent.kill()
    node.database.close()
    for path in (agent.root / "state").glob("index.sqlite*"):
        path.unlink()
    rebuilt = reindex(node.settings)
    assert (rebuilt.indexed, rebuilt.ended, rebuilt.deleted, rebuilt.refused) == (1, 1, 1, 0)
    agent.start()
    for file, slug in ((removed, "file-deleted"), (resting, "file-expired"), (due, "file-expired")):
        assert slug_of(ask(agent, "GET", f"/{file.file_id}")) == slug
    again = Node(agent)
    again.rounds()
    assert [again.state(each) for each in (removed, resting, due)] == ["DELETED", "ENDED", "ENDED"]
    assert changes(again, resting, {"expires_in": "1d"}).status_code == 200
    assert data_of(agent, resting).read_bytes() == b"x"


@pytest.mark.parametrize("cut_at", ["attributes", "data"])
def test_a_way_back_that_was_cut_short_leaves_nothing_where_nginx_reads(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, cut_at: str
) -> None:
    node = damage.Node(Agent(tmp_path))
    file = node.commit("a.bin", b"1")
    ending.change(node.settings, node.database, file.file_id, 1)
    ending.end_due(node.settings, node.database, int(time.time()), 10)

    def cut(disk: Filesystem, source: Path, target: Path) -> None:
        if cut_at == "data":
            source.rename(target)
        raise KeyboardInterrupt

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(Filesystem, "rename_without_replacing", cut)
        ending.change(node.settings, node.database, file.file_id, None)
    recover(node.settings, node.database, node.index, node.committer)
    assert not node.data(file).exists()
    assert not node.beside(file).exists()
    assert ended(node.settings, file.file_id).data.read_bytes() == b"1"
    assert ending.change(node.settings, node.database, file.file_id, None) is not None
    assert node.data(file).read_bytes() == b"1"


@pytest.mark.parametrize("remove", [deletion.delete, deletion.remove_copy])
@pytest.mark.parametrize("cut_at", ["_carry_out", "_mark_gone"])
def test_a_deletion_of_what_has_ended_is_finished_where_it_was_cut_or_called_off(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, remove: Callable[..., bool], cut_at: str
) -> None:
    node = damage.Node(Agent(tmp_path))
    file = node.commit("a.bin", b"1")
    ending.change(node.settings, node.database, file.file_id, 1)
    ending.end_due(node.settings, node.database, int(time.time()), 10)

    def cut(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    def state() -> Any:
        return node.database.row("SELECT state FROM files WHERE file_id = ?", (file.file_id,))

    for back in (True, False):
        with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
            patch.setattr(deletion, cut_at, cut)
            remove(node.settings, node.database, file.file_id)
        if back and cut_at == "_carry_out":
            # Nothing of it is done yet: whoever brings it back is heard.
            assert ending.change(node.settings, node.database, file.file_id, None) is not None
            recover(node.settings, node.database, node.index, node.committer)
            assert state() == ("COMMITTED",)
            assert node.data(file).read_bytes() == b"1"
            ending.change(node.settings, node.database, file.file_id, 1)
            ending.end_due(node.settings, node.database, int(time.time()), 10)
            continue
        recover(node.settings, node.database, node.index, node.committer)
        assert state() == (("DELETED",) if remove is deletion.delete else None)
        assert not ended(node.settings, file.file_id).data.exists()
        break
    assert ending.change(node.settings, node.database, file.file_id, None) is None
    assert node.database.rows("SELECT key FROM notes WHERE key GLOB 'doomed:*'") == []
    assert list(node.settings.staging.iterdir()) == []


def test_the_order_to_delete_what_has_ended_is_kept_as_that_of_any_file(tmp_path: Path) -> None:
    node = damage.Node(Agent(tmp_path))
    file = node.commit("a.bin", b"1")
    ending.change(node.settings, node.database, file.file_id, 1)
    ending.end_due(node.settings, node.database, int(time.time()), 10)
    assert deletion.delete(node.settings, node.database, file.file_id, order="an issuer's")
    order = tombstones.order_of(node.settings, node.database, file.file_id)
    assert order is not None and order.token == "an issuer's"


def test_a_namespace_gives_a_lifetime_and_bounds_it() -> None:
    lifetimes = Lifetimes(default={"a": 10}, longest={"b": 100})
    given = {
        (namespace, asked): lifetimes.of(namespace, asked)
        for namespace in ("a", "b", "c")
        for asked in (None, 50, 500)
    }
    assert given == {
        ("a", None): 10,
        ("a", 50): 50,
        ("a", 500): 500,
        ("b", None): 100,
        ("b", 50): 50,
        ("b", 500): 100,
        ("c", None): None,
        ("c", 50): 50,
        ("c", 500): 500,
    }
    assert "100 seconds" in str(lifetimes.why_refused("b", 500))
    assert lifetimes.why_refused("b", 100) is None
