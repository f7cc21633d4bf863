"""Nothing held is served, on any way, and what was released stays so; whatever is cut short."""

from __future__ import annotations

import errno
import os
import time
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

import pytest
import requests

from agent.heartbeat.holds import HoldOrders
from agent.index.database import Database
from agent.index.search import look_up
from agent.integrity.diagnosis import Finding
from agent.integrity.fsck import Fsck
from agent.integrity.fsck_areas import Orders
from agent.integrity.recovery import recover
from agent.integrity.reindex import reindex
from agent.settings import Settings
from agent.storage import ending, holds
from agent.storage.attributes import Attributes
from agent.storage.quarantine import put_back, quarantine
from portside.wire.files import HoldNote, StoredFile
from portside.wire.heartbeat import NodeHold
from tests.support.agent.damage import Node
from tests.support.agent.process import Agent, slug_of
from tests.support.agent.stored_files import (
    access,
    attributes_of,
    bearer,
    data_of,
    download,
    stored,
)

NOTE = HoldNote(reason="a complaint", by="ops", at=datetime.now(UTC))


def _mode(path: Path) -> int:
    return path.stat().st_mode & 0o777


def _row(node: Node, file: StoredFile) -> StoredFile:
    known = look_up(node.database, file.file_id)
    assert known is not None
    return known.stored


def _written(node: Node, file: StoredFile) -> Attributes:
    data = node.data(file)
    return Attributes.model_validate_json(data.with_name(f"{data.name}.attr.json").read_bytes())


def _fsck(node: Node, *, repair: bool) -> list[Finding]:
    committer = node.committer if repair else None
    return list(Fsck(node.settings, node.database, Orders(minimum_age=0), committer).run())


def _set(node: Node, file: StoredFile, *, held: bool) -> None:
    holds.set_held(node.settings, node.database, file.file_id, held=held, note=NOTE)


def test_a_file_that_is_to_be_held_never_has_a_name_under_which_it_could_be_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    node = Node(Agent(tmp_path))
    modes = []
    rename = os.rename

    def watched(source: Path, target: Path, **where: int) -> None:
        modes.append(_mode(Path(source)))
        rename(source, target, **where)

    disk = "agent.host.filesystem.linux.rename_without_replacing"
    monkeypatch.setattr(disk, watched)
    file = node.commit("a.bin", b"1", hold=True)
    assert modes == [0o600]
    assert file.held and _row(node, file).held and _written(node, file).held
    assert _mode(node.data(file)) == 0o600


@pytest.mark.parametrize("namespace", ["isos", "private"])
def test_row_mode_and_attributes_say_the_same(tmp_path: Path, namespace: str) -> None:
    node = Node(Agent(tmp_path))
    file = node.commit("a.bin", b"1", namespace=namespace)
    served = _mode(node.data(file))
    for held in (True, True, False, False, True):
        _set(node, file, held=held)
        row, written = _row(node, file), _written(node, file)
        assert (row.held, written.held) == (held, held)
        assert row.hold == written.hold == NOTE
        assert _mode(node.data(file)) == (0o600 if held else served)
    assert not _fsck(node, repair=False)


@pytest.mark.parametrize("step", ["set_data_mode", "_rewrite", "_carry_out"])
@pytest.mark.parametrize("held", [True, False])
def test_a_change_that_was_cut_short_is_closed_at_once_and_finished_at_the_next_start(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, step: str, held: bool
) -> None:
    node = Node(Agent(tmp_path))
    file = node.commit("a.bin", b"1", hold=not held)

    def cut(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(holds, step, cut)
        _set(node, file, held=held)
    # Closed for nginx or for the agent, and not open for nginx before the attributes say so.
    assert _row(node, file).held is held
    if not held:
        assert _mode(node.data(file)) == 0o600
    recover(node.settings, node.database, node.index, node.committer)
    assert _written(node, file).held is held
    assert _mode(node.data(file)) == (0o600 if held else 0o644)


@pytest.mark.parametrize("by", ["fsck", "reindex"])
@pytest.mark.parametrize("held", [True, False])
def test_a_change_that_is_not_on_the_disk_yet_is_not_taken_back_by_who_puts_the_index_right(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, by: str, held: bool
) -> None:
    node = Node(Agent(tmp_path))
    file = node.commit("a.bin", b"1", hold=not held)
    with monkeypatch.context() as patch, pytest.raises(OSError, match="so says the test"):
        patch.setattr(holds, "_carry_out", _fails)
        _set(node, file, held=held)
    if by == "fsck":
        _fsck(node, repair=True)
    else:
        reindex(node.settings)
    assert (_row(node, file).held, _written(node, file).held) == (held, held)
    assert _mode(node.data(file)) == (0o600 if held else 0o644)


def test_fsck_closes_what_is_held_and_opens_nothing_of_it(tmp_path: Path) -> None:
    node = Node(Agent(tmp_path))
    file = node.commit("a.bin", b"1", hold=True)
    node.data(file).chmod(0o644)
    assert len(_fsck(node, repair=True)) == 1
    assert _mode(node.data(file)) == 0o600


def test_an_order_is_confirmed_once_it_is_on_the_disk_and_not_before(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    node = Node(Agent(tmp_path))
    file = node.commit("a.bin", b"1")
    orders = HoldOrders(node.settings, node.database)
    order = NodeHold(file_id=file.file_id, version=3, held=True, note=None)
    with monkeypatch.context() as broken:
        broken.setattr(holds, "set_data_mode", _fails)
        orders.take([order])
    assert orders.to_tell() == ()
    # It comes again.
    orders.take([order])
    (done,) = orders.to_tell()
    assert (done.file_id, done.version, _mode(node.data(file))) == (file.file_id, 3, 0o600)
    # A newer one that came in between is told yet.
    orders.take([order.model_copy(update={"version": 4, "held": False})])
    orders.told([done])
    assert [each.version for each in orders.to_tell()] == [4]
    orders.told(orders.to_tell())
    assert orders.to_tell() == ()
    assert _mode(node.data(file)) == 0o644


def _fails(*_: object, **__: object) -> None:
    raise OSError(errno.EIO, "so says the test")


def test_a_file_in_quarantine_can_be_held_for_when_it_is_back(tmp_path: Path) -> None:
    node = Node(Agent(tmp_path))
    file = node.commit("a.bin", b"1")
    quarantine(node.settings, node.database, file.file_id, "test")
    _set(node, file, held=True)
    kept = node.settings.quarantine / f"{file.file_id}.attr.json"
    assert Attributes.model_validate_json(kept.read_bytes()).held
    assert _row(node, file).held


@pytest.mark.parametrize("moved", [True, False])
def test_a_file_whose_time_is_over_can_be_held_for_when_it_is_back(
    tmp_path: Path, moved: bool
) -> None:
    node = Node(Agent(tmp_path))
    file = node.commit("a.bin", b"1")
    ending.change(node.settings, node.database, file.file_id, 1)
    if moved:
        assert ending.end_due(node.settings, node.database, int(time.time()), 10) == 1
    else:
        # Cut short behind the row.
        node.set_state(file, "ENDED")
    _set(node, file, held=True)
    back = ending.change(node.settings, node.database, file.file_id, None)
    assert back is not None and back.held
    assert _row(node, file).held and _written(node, file).held
    assert _mode(node.data(file)) == 0o600
    _set(node, file, held=False)
    assert _mode(node.data(file)) == 0o644


def test_another_end_given_in_the_middle_of_a_hold_doesnt_release(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    node = Node(Agent(tmp_path))
    file = node.commit("a.bin", b"1")

    carry_out = holds._carry_out

    def prolonged_first(settings: Settings, database: Database, file_id: str) -> None:
        # As the worker does while the web side is between its two steps.
        ending.change(settings, database, file_id, int(time.time()) + 60)
        carry_out(settings, database, file_id)

    with monkeypatch.context() as patch:
        patch.setattr(holds, "_carry_out", prolonged_first)
        _set(node, file, held=True)
    assert _row(node, file).held and _written(node, file).held
    assert _mode(node.data(file)) == 0o600
    assert _row(node, file).expires_at is not None


@pytest.mark.parametrize("held", [True, False])
def test_what_is_put_back_is_as_was_said_last_whatever_was_known_before(
    tmp_path: Path, held: bool
) -> None:
    node = Node(Agent(tmp_path))
    file = node.commit("a.bin", b"1", hold=not held)
    attributes = node.attributes(file)
    quarantine(node.settings, node.database, file.file_id, "test")
    # Meanwhile good bytes are fetched, which may take hours.
    _set(node, file, held=held)
    soon = int(time.time()) + 60
    ending.change(node.settings, node.database, file.file_id, soon)
    put_back(node.settings, node.database, attributes)
    for told in (_row(node, file), _written(node, file)):
        assert (told.held, told.hold, told.expires_at) == (held, NOTE, soon)
    assert _mode(node.data(file)) == (0o600 if held else 0o644)


def test_what_ended_in_quarantine_is_out_of_nginxs_reach_when_it_is_put_back(
    tmp_path: Path,
) -> None:
    node = Node(Agent(tmp_path))
    file = node.commit("a.bin", b"1")
    attributes = node.attributes(file)
    quarantine(node.settings, node.database, file.file_id, "test")
    ending.change(node.settings, node.database, file.file_id, 1)
    put_back(node.settings, node.database, attributes)
    assert _mode(node.data(file)) == 0o600


# -- over HTTP -------------------------------------------------------------------------------------


def _every_way(agent: Agent, file: StoredFile) -> dict[str, requests.Response]:
    """The ways to a file's bytes, as nginx asks the agent for them."""
    token = download(agent, file.path)
    query = f"?token={token}"
    told = {"X-Original-URI": f"/uploads/{file.path}{query}"}
    asked = {
        "content": (f"/api/v1/files/{file.file_id}/content{query}", {}),
        "lasting": (f"/f/{file.file_id}/{file.name}{query}", {}),
        "a range": (f"/f/{file.file_id}{query}", {"Range": "bytes=0-0"}),
        "with every right": (f"/f/{file.file_id}", access(agent)),
        "what nginx can't open": ("/internal/missing", told),
        "a private path": ("/internal/download", told),
    }
    return {
        f"{method} {way}": requests.request(method, agent.url + path, headers=headers, timeout=60)
        for way, (path, headers) in asked.items()
        for method in ("GET", "HEAD")
        if way != "a private path" or (method == "GET" and file.namespace == "private")
    }


@pytest.mark.parametrize("namespace", ["isos", "private"])
def test_a_held_file_is_served_on_no_way_until_it_is_released(
    shared_agent: Agent, namespace: str
) -> None:
    token = shared_agent.mint(namespace=namespace, hold=True)
    answer = shared_agent.put("a.bin", b"x", token)
    assert answer.status_code == 201 and answer.json()["held"] is True
    file = StoredFile.model_validate(answer.json())
    url = f"{shared_agent.url}/api/v1/files/{file.file_id}"
    # Its uploader hears how it is all the same.
    assert requests.get(url, headers=bearer(token), timeout=60).json()["held"] is True

    def change(way: str, **json: str) -> requests.Response:
        allowed = access(shared_agent, rights=("hold",))
        return requests.post(f"{url}/{way}", headers=allowed, json=json, timeout=60)

    def must_be_held() -> None:
        for way, answer in _every_way(shared_agent, file).items():
            assert answer.status_code == 403, way
            assert "X-Accel-Redirect" not in answer.headers
            if way.startswith("GET"):
                assert "being-checked" in answer.headers.get("X-Refusal", answer.text), way

    must_be_held()
    released = change("release", reason="clean")
    assert released.status_code == 200
    assert released.json()["held"] is False
    assert released.json()["hold"]["reason"] == "clean"
    answers = _every_way(shared_agent, file)
    sent = {way: each.headers.get("X-Accel-Redirect") for way, each in answers.items()}
    assert sent.pop("GET a private path", None) is None
    # nginx finds it by itself: there it asks no more.
    assert {way for way, to in sent.items() if not to} <= {
        f"{method} what nginx can't open" for method in ("GET", "HEAD")
    }
    assert all(each.status_code in (200, 204, 404) for each in answers.values())
    assert change("hold", reason="a complaint").json()["held"] is True
    assert Attributes.model_validate_json(attributes_of(shared_agent, file).read_bytes()).held
    assert _mode(data_of(shared_agent, file)) == 0o600
    must_be_held()


def test_who_may_not_hold_or_says_it_wrong_hears_so(shared_agent: Agent) -> None:
    file = stored(shared_agent, "a.bin", b"x")
    url = f"{shared_agent.url}/api/v1/files/{file.file_id}/hold"
    allowed = access(shared_agent, rights=("hold",))
    reader = access(shared_agent, rights=("list", "read", "verify", "delete"))
    other = access(shared_agent, rights=("hold",), file_id="0" * 32)
    cases: list[tuple[dict[str, str], object, int, str]] = [
        ({}, {}, 401, "token-missing"),
        (reader, {}, 403, "right-missing"),
        (other, {}, 403, "right-missing"),
        (allowed, {"reason": "x" * 201}, 400, "malformed-request"),
        (allowed, {"reason": "two\nlines"}, 400, "malformed-request"),
        (allowed, {"reason": "x" * 5000}, 400, "malformed-request"),
        (allowed, {"until": "tomorrow"}, 400, "malformed-request"),
        (allowed, [], 400, "malformed-request"),
    ]
    for headers, json, status, slug in cases:
        answer = requests.post(url, headers=headers, json=json, timeout=60)
        assert (answer.status_code, slug_of(answer)) == (status, slug), json
    unknown = url.replace(file.file_id, "0" * 32)
    assert requests.post(unknown, headers=allowed, timeout=60).status_code == 404
    assert requests.delete(url.removesuffix("/hold"), headers=reader, timeout=60).status_code == 204
    assert slug_of(requests.post(url, headers=allowed, timeout=60)) == "file-deleted"


def test_a_namespace_holds_all_that_comes_and_keeps_it_held_through_kill_and_reindex(
    make_agent: Callable[..., Agent],
) -> None:
    agent = make_agent(settings={"held": ["images"]})
    agent.start()
    kept, released = (stored(agent, f"{n}.bin", b"x", namespace="images") for n in "ab")
    assert kept.held
    url = f"{agent.url}/api/v1/files/{released.file_id}/release"
    allowed = access(agent, rights=("hold",))
    assert requests.post(url, headers=allowed, timeout=60).status_code == 200
    agent.kill()
    for path in (agent.root / "state").glob("index.sqlite*"):
        path.unlink()
    agent.start()
    assert agent.command("reindex").returncode == 0
    for file, status in ((kept, 403), (released, 200)):
        answer = requests.get(f"{agent.url}/f/{file.file_id}", timeout=60)
        assert answer.status_code == status
