"""A node's heartbeats: what they say, what answers bring, and a control plane that is away."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from typing import Any

import pytest
import requests

from agent.index.database import Database
from agent.settings import load
from agent.storage import ending
from portside.inventory import EMPTY, toggled
from portside.quantities import MIB
from portside.tokens import SigningKey, verify_receipt
from portside.wire.files import StoredFile
from portside.wire.heartbeat import Heartbeat, Lease, LifetimeOrder, Roster
from portside.wire.keys import Keyset
from tests.support.agent.control_double import ControlDouble, respond
from tests.support.agent.process import Agent, first_line, slug_of
from tests.support.agent.receiver import self_signed
from tests.support.agent.stored_files import access, ask, data_of, flip_a_bit, stored
from tests.support.agent.worker_process import Worker

EVERY = 0.2


@pytest.fixture
def control() -> Iterator[ControlDouble]:
    with ControlDouble() as double:
        yield double


@pytest.fixture
def node(make_worker: Callable[..., Worker], control: ControlDouble) -> Worker:
    """A running agent and its worker, not started yet, which know of the control plane."""
    return _node(make_worker, control)


def _node(make_worker: Callable[..., Worker], control: ControlDouble, **settings: Any) -> Worker:
    worker = make_worker(heartbeat_every=EVERY, **settings)
    control.keys = worker.agent.node_keys
    _deploy(worker.agent, Roster(version=10, cluster="lab", control_url=control.url))
    return worker


def _deploy(agent: Agent, roster: Roster) -> None:
    (agent.home / "roster.json").write_text(roster.model_dump_json())


def _lease(file: StoredFile, number: int = 1, **changed: Any) -> Lease:
    lease = {
        "lease_id": f"lease-{number}",
        "kind": "delete",
        "file_id": file.file_id,
        "path": file.path,
        "size": file.size,
        "sha256": file.sha256,
        "until": datetime.now(UTC) + timedelta(hours=1),
    }
    return Lease.model_validate({**lease, **changed})


def _is_gone(worker: Worker, file: StoredFile) -> bool:
    return not (worker.agent.root / "uploads" / file.path).exists()


# -- what they say ---------------------------------------------------------------------------------


def test_a_heartbeat_says_what_the_web_side_and_the_disk_say(
    node: Worker, control: ControlDouble
) -> None:
    node.start()
    first = control.wait_for_heartbeats()
    status = node.agent.status()
    assert (first.node_id, first.accepting, first.reasons) == ("s01", True, ())
    assert (first.files, first.stored_bytes, first.inventory) == (0, 0, EMPTY)
    assert first.disk_total == status["disk"]["total"]
    assert first.disk_reserved == status["disk"]["kept_free"]
    assert first.inodes.total == status["disk"]["inodes"]["total"]
    assert first.memory_total == status["memory"]["total"]
    assert first.upload_slots == status["slots"]["limit"]
    assert first.roster_version == 10
    file = stored(node.agent, "a.bin", b"x" * 1000)
    control.wait_for_heartbeats(2)
    assert control.heartbeats[-1].files == 1
    assert control.heartbeats[-1].stored_bytes == 1000
    assert control.heartbeats[-1].inventory == toggled(EMPTY, [file.file_id])
    assert control.refused == []


def test_a_heartbeat_names_every_upload_that_has_bytes_and_no_other(
    node: Worker, control: ControlDouble
) -> None:
    agent, tus = node.agent, {"Tus-Resumable": "1.0.0", "Upload-Length": "10"}
    urls = []
    for number in range(2):
        token = agent.mint(size=10, name="b.bin", jti=f"resumed-token-{number}")
        headers = {**tus, "Authorization": f"Bearer {token}"}
        created = requests.post(f"{agent.url}/api/v1/uploads", headers=headers, timeout=60)
        urls.append((created.headers["Location"], headers))
    node.start()
    with agent.open_put("a.bin", 2, agent.mint(jti="running-token-0")) as connection:
        connection.sendall(b"x")
        url, headers = urls[0]
        more = {"Upload-Offset": "0", "Content-Type": "application/offset+octet-stream"}
        part = requests.patch(url, data=b"01", headers={**headers, **more}, timeout=60)
        assert part.status_code == 204, part.text
        begun = ("resumed-token-0", "running-token-0")
        node.wait_for(lambda: control.heartbeats and control.heartbeats[-1].begun == begun)
        connection.sendall(b"y")
        assert b" 201 " in first_line(connection)
    node.wait_for(lambda: control.heartbeats[-1].begun == ("resumed-token-0",))
    # Whoever can't be asked doesn't say that there is none.
    agent.kill()
    node.wait_for(lambda: control.heartbeats[-1].begun is None)


def test_ends_that_were_ordered_while_the_worker_was_away_are_so_and_told(
    node: Worker, control: ControlDouble
) -> None:
    agent = node.agent
    over, back = (stored(agent, f"{each}.bin", b"x", expires_in=86400) for each in "ab")
    settings = load(agent.home / "agent.toml")
    database = Database(settings.index)
    ending.change(settings, database, back.file_id, 1)
    ending.end_due(settings, database, int(time.time()), 10)
    database.close()
    assert not data_of(agent, back).exists()
    control.lifetimes = (
        LifetimeOrder(file_id=over.file_id, version=4, expires_at=1),
        LifetimeOrder(file_id=back.file_id, version=2, expires_at=None),
    )
    node.start()
    node.wait_for(lambda: not control.lifetimes)
    assert ask(agent, "GET", f"/{over.file_id}").status_code == 410
    told = ask(agent, "GET", f"/{back.file_id}")
    assert (told.status_code, told.json()["expires_at"]) == (200, None)
    assert data_of(agent, back).read_bytes() == b"x"


def test_what_is_in_quarantine_is_named_until_it_is_settled(
    node: Worker, control: ControlDouble
) -> None:
    file = stored(node.agent, "a.bin", b"0123456789")
    flip_a_bit(data_of(node.agent, file))
    ask(node.agent, "POST", f"/{file.file_id}/verify", access(node.agent))
    node.start()
    # Its receipt couldn't be told of it any more, and is given up.
    dead = "SELECT 1 FROM deliveries WHERE state = 'DEAD'"
    node.wait_for(lambda: control.heartbeats and node.rows(dead))
    told = control.heartbeats[-1]
    assert (told.scrub_damaged, told.files) == (1, 0)
    (damaged,) = told.quarantined
    assert (damaged.file_id, damaged.path, damaged.size) == (file.file_id, str(file.path), 10)
    assert damaged.reason.startswith("its SHA-256 is ")
    # As if it was the memory, and not the disk.
    flip_a_bit(node.agent.root / "quarantine" / f"{file.file_id}.data")
    before = len(control.receipts)
    assert node.command("quarantine", "settle", file.file_id).returncode == 0
    node.wait_for(lambda: control.heartbeats[-1].files == 1)
    assert (control.heartbeats[-1].scrub_damaged, control.heartbeats[-1].quarantined) == (0, ())
    # And its copy counts again: by a receipt from after the damage.
    node.wait_for(lambda: len(control.receipts) > before)
    claims = verify_receipt(control.receipts[-1], node.agent.node_keys)
    assert (claims.file_id, claims.iat >= int(told.sent_at.timestamp())) == (file.file_id, True)


def test_a_running_upload_is_counted_and_its_space_promised(
    node: Worker, control: ControlDouble
) -> None:
    node.start()
    with node.agent.open_put("a.bin", 1 << 20):
        node.agent.wait_for_uploads(1)
        assert control.wait_for_heartbeats(2).active_uploads == 1
    node.agent.wait_for_uploads(0)
    assert control.wait_for_heartbeats(2).active_uploads == 0


def test_the_inventory_follows_what_comes_and_goes(node: Worker, control: ControlDouble) -> None:
    files = [stored(node.agent, f"{number}.bin", b"x") for number in range(3)]
    node.start()
    assert control.wait_for_heartbeats().inventory == _inventory(files)
    answer = ask(node.agent, "DELETE", f"/{files[0].file_id}", access(node.agent))
    assert answer.status_code == 204
    assert control.wait_for_heartbeats(2).inventory == _inventory(files[1:])


def _inventory(files: list[StoredFile]) -> str:
    return toggled(EMPTY, [file.file_id for file in files])


def test_a_node_whose_web_side_is_gone_says_so(node: Worker, control: ControlDouble) -> None:
    node.start()
    node.agent.kill()
    heartbeat = control.wait_for_heartbeats(2)
    assert not heartbeat.accepting
    assert heartbeat.reasons[0].startswith("agent-silent: ")


# -- what answers bring ----------------------------------------------------------------------------


def test_a_newer_roster_is_kept_and_told(node: Worker, control: ControlDouble) -> None:
    node.start()
    control.wait_for_heartbeats()
    control.roster = Roster(version=11, cluster="lab", control_url=control.url, factor=3)
    control.wait_for(lambda: control.heartbeats[-1].roster_version == 11)
    kept = Roster.model_validate_json((node.agent.root / "state" / "roster.json").read_bytes())
    assert kept == control.roster


def test_a_roster_of_another_cluster_is_not_taken(node: Worker, control: ControlDouble) -> None:
    control.roster = Roster(version=99, cluster="other", control_url=control.url)
    node.start()
    node.wait_for(lambda: node.logged("roster is another cluster's"))
    assert control.wait_for_heartbeats().roster_version == 10


def test_a_revoked_token_neither_begins_nor_goes_on(node: Worker, control: ControlDouble) -> None:
    agent = node.agent
    begun = agent.claims(size=10, name="b.bin", jti="begun-token-0001")
    token = agent.mint(**begun.model_dump())
    headers = {
        "Authorization": f"Bearer {token}",
        "Tus-Resumable": "1.0.0",
        "Upload-Length": "10",
    }
    created = requests.post(f"{agent.url}/api/v1/uploads", headers=headers, timeout=60)
    assert created.status_code == 201, created.text
    upload = created.headers["Location"]
    control.revoked = ("begun-token-0001", "fresh-token-0001")
    node.start()
    node.wait_for(lambda: node.logged("tokens revoked"))
    fresh = agent.put("a.bin", b"x", agent.mint(jti="fresh-token-0001"))
    assert (fresh.status_code, slug_of(fresh)) == (401, "token-revoked")
    resumed = requests.patch(
        upload,
        data=b"0123456789",
        headers={
            **headers,
            "Upload-Offset": "0",
            "Content-Type": "application/offset+octet-stream",
        },
        timeout=60,
    )
    assert (resumed.status_code, slug_of(resumed)) == (401, "token-revoked")
    assert agent.put("c.bin", b"x").status_code == 201
    # Durable: without the control plane, after a restart of everything.
    control.revoked = ()
    node.kill()
    agent.kill()
    agent.start()
    again = agent.put("a.bin", b"x", agent.mint(jti="fresh-token-0001"))
    assert slug_of(again) == "token-revoked"
    assert len(node.logged("tokens revoked")) == 1


def test_the_answer_says_when_the_next_one_comes(node: Worker, control: ControlDouble) -> None:
    control.next_in = 250
    node.start()
    control.wait_for(lambda: control.heartbeats)
    # Its period was 0.2 s: the next ones are due minutes later now.
    time.sleep(5 * EVERY)
    assert len(control.heartbeats) == 1


# -- leased work -----------------------------------------------------------------------------------


def test_a_leased_deletion_is_carried_out_and_told_until_it_is_heard(
    node: Worker, control: ControlDouble
) -> None:
    file, other = (stored(node.agent, name, b"data") for name in ("a.bin", "b.bin"))
    node.start()
    control.lease(_lease(file))
    control.wait_for(lambda: _is_gone(node, file))
    control.wait_for(lambda: control.told("lease-1"))
    assert control.told("lease-1")[0].outcome == "done"
    control.wait_for(lambda: node.rows("SELECT state FROM leases") == [("TOLD",)])
    told = len(control.told("lease-1"))
    control.wait_for_heartbeats(2)
    assert len(control.told("lease-1")) == told
    assert not _is_gone(node, other)
    assert ask(node.agent, "GET", f"/{file.file_id}").status_code == 410


def test_what_was_done_is_told_again_until_an_answer_arrives(
    node: Worker, control: ControlDouble
) -> None:
    file = stored(node.agent, "a.bin", b"data")
    node.start()
    control.lease(_lease(file))
    control.wait_for(lambda: _is_gone(node, file))
    control.misbehave = _cut_off
    control.wait_for(lambda: len(control.told("lease-1")) >= 2)
    node.stop()
    node.start()
    before = len(control.told("lease-1"))
    control.wait_for(lambda: len(control.told("lease-1")) > before)
    control.misbehave = None
    told = len(control.told("lease-1"))
    control.wait_for(lambda: node.rows("SELECT state FROM leases") == [("TOLD",)])
    heard = len(control.told("lease-1"))
    control.wait_for_heartbeats(3)
    assert heard == len(control.told("lease-1")) > told - 1
    assert {done.outcome for done in control.told("lease-1")} == {"done"}


def _cut_off(handler: BaseHTTPRequestHandler) -> None:
    handler.close_connection = True


def test_a_lease_that_comes_twice_is_done_once_and_told_again(
    node: Worker, control: ControlDouble
) -> None:
    file = stored(node.agent, "a.bin", b"data")
    lease = _lease(file)
    node.start()
    control.lease(lease, lease)
    control.wait_for(lambda: control.told("lease-1"))
    control.lease(lease)
    control.wait_for(lambda: len(control.told("lease-1")) >= 2)
    assert {done.outcome for done in control.told("lease-1")} == {"done"}
    assert len(node.logged("file deleted")) == 1
    assert len(node.logged("lease ended")) == 1


def test_an_expired_lease_is_not_begun(node: Worker, control: ControlDouble) -> None:
    file = stored(node.agent, "a.bin", b"data")
    node.start()
    control.lease(_lease(file, until=datetime.now(UTC) - timedelta(seconds=1)))
    node.wait_for(lambda: node.logged("lease has expired on its way"))
    control.wait_for_heartbeats(2)
    assert not _is_gone(node, file)
    # Taken, but the worker was away until its time was over.
    node.kill()
    node.change(
        "INSERT INTO leases VALUES ('lease-2', 'TAKEN', ?, ?, NULL)",
        _lease(file, 2).model_dump_json(),
        int(time.time()) - 1,
    )
    node.start()
    node.wait_for(lambda: node.logged("lease has expired before it was begun"))
    node.wait_for(lambda: node.rows("SELECT * FROM leases") == [])
    assert not _is_gone(node, file)


def test_work_on_what_is_not_here_is_told_as_missing_and_on_other_content_as_failed(
    node: Worker, control: ControlDouble
) -> None:
    file = stored(node.agent, "a.bin", b"data")
    node.start()
    control.lease(
        _lease(file, 1, file_id="0" * 32),
        _lease(file, 2, file_id="0" * 32, kind="replicate", target="s02"),
        _lease(file, 3, sha256="0" * 64),
        _lease(file, 4, kind="replicate", target="s01"),
    )
    outcomes = ["missing", "missing", "failed", "failed"]
    for number, outcome in enumerate(outcomes, 1):
        control.wait_for(lambda number=number: control.told(f"lease-{number}"))  # type: ignore[misc]
        assert control.told(f"lease-{number}")[0].outcome == outcome
    assert not _is_gone(node, file)


# -- files that are gone ---------------------------------------------------------------------------


def _told_gone(heartbeat: Heartbeat) -> list[tuple[str, str]]:
    return [(each.file_id, each.why) for each in heartbeat.gone]


def _damage(agent: Agent, file: StoredFile) -> None:
    """Something happens to a file, and somebody has it verified."""
    flip_a_bit(data_of(agent, file))
    answer = ask(agent, "POST", f"/{file.file_id}/verify", access(agent))
    assert answer.json()["intact"] is False, answer.text


def test_what_is_deleted_or_damaged_here_is_told_in_order_until_an_answer_arrives(
    node: Worker, control: ControlDouble
) -> None:
    deleted, damaged, good = (stored(node.agent, f"{name}.bin", b"data") for name in "abc")
    _damage(node.agent, damaged)
    answer = ask(node.agent, "DELETE", f"/{deleted.file_id}", access(node.agent))
    assert answer.status_code == 204
    gone = [(damaged.file_id, "damaged"), (deleted.file_id, "deleted")]
    control.misbehave = _cut_off
    node.start()
    assert _told_gone(control.wait_for_heartbeats()) == gone
    node.kill()
    control.heartbeats.clear()
    node.start()
    assert _told_gone(control.wait_for_heartbeats(2)) == gone
    control.misbehave = None
    control.wait_for(lambda: not control.heartbeats[-1].gone)
    assert node.rows("SELECT key FROM notes WHERE key LIKE 'gone:%'") == []
    assert _told_gone(control.wait_for_heartbeats(2)) == []
    assert ask(node.agent, "GET", f"/{good.file_id}").status_code == 200
    assert control.refused == []


def test_a_copy_that_was_only_not_wanted_here_is_not_told_as_gone(
    node: Worker, control: ControlDouble
) -> None:
    file = stored(node.agent, "a.bin", b"data")
    node.start()
    control.lease(_lease(file, tombstone=False))
    control.wait_for(lambda: control.told("lease-1"))
    assert _is_gone(node, file)
    control.wait_for_heartbeats(2)
    assert [each for heartbeat in control.heartbeats for each in heartbeat.gone] == []


# -- a control plane that is away ------------------------------------------------------------------


def _slow_drip(handler: BaseHTTPRequestHandler) -> None:
    handler.send_response(200)
    handler.end_headers()
    try:
        for _ in range(1200):
            handler.wfile.write(b" ")
            time.sleep(0.05)
    except OSError:
        return


def _endless(handler: BaseHTTPRequestHandler) -> None:
    handler.send_response(200)
    handler.end_headers()
    try:
        for _ in range(4096):
            handler.wfile.write(b" " * 65536)
    except OSError:
        return


MISBEHAVIOUR: dict[str, Callable[[BaseHTTPRequestHandler], None]] = {
    "a server error": lambda to: respond(to, 500, b"<html>oh</html>", "text/html"),
    "a web page": lambda to: respond(to, 200, b"<html>hello</html>", "text/html"),
    "other JSON": lambda to: respond(to, 200, b'{"hello": "world"}'),
    "a time without a zone": lambda to: respond(to, 200, b'{"now": "2026-01-01T00:00:00"}'),
    "no text": lambda to: respond(to, 200, b"\xff\xfe\x00"),
    "a redirect": lambda to: respond(to, 307, b"", Location="/elsewhere"),
    "a cut connection": _cut_off,
    "an endless body": _endless,
}


def test_nonsense_is_no_answer_and_logged_once_per_change(
    node: Worker, control: ControlDouble
) -> None:
    node.start()
    control.wait_for_heartbeats()
    node.wait_for(lambda: node.logged("control plane answers"))
    for number, misbehave in enumerate(MISBEHAVIOUR.values(), 1):
        control.misbehave = misbehave
        control.wait_for_heartbeats(3)
        _wait_for_lines(node, "control plane is away", number)
        control.misbehave = None
        _wait_for_lines(node, "control plane answers", number + 1)
    last = node.logged("control plane is away")[-1]
    assert last["error"].endswith(f"the answer has more than {4 * MIB} bytes")
    assert control.refused == []
    assert node.agent.put("a.bin", b"x").status_code == 201


def _wait_for_lines(node: Worker, event: str, count: int) -> None:
    node.wait_for(lambda: len(node.logged(event)) >= count)
    assert len(node.logged(event)) == count


def test_an_answer_that_drips_is_cut_off_by_the_workers_stop(
    node: Worker, control: ControlDouble
) -> None:
    control.misbehave = _slow_drip
    node.start()
    control.wait_for(lambda: control.heartbeats)
    node.stop()
    assert node.logged("left behind") == []


def test_an_away_control_plane_is_a_warning_and_a_metric_and_uploads_go_on(
    make_worker: Callable[..., Worker],
) -> None:
    with ControlDouble() as control:
        node = _node(make_worker, control)
        node.start()
        control.wait_for_heartbeats()
        node.wait_for(lambda: node.report().heartbeats.answered)
        assert _readings(node)["portside_control_plane_answers"] == 1
        assert _warnings(node) == []
    # A heartbeat that was on its way may have ended otherwise.
    node.wait_for(lambda: [each for each in _warnings(node) if each.endswith("Connection refused")])
    (warning,) = _warnings(node)
    assert warning.startswith(f"control-away: {control.url} answered the last heartbeat ")
    ready = requests.get(f"{node.agent.url}/health/ready", timeout=60)
    assert (ready.status_code, ready.json()["ready"]) == (200, True)
    assert node.agent.put("a.bin", b"x").status_code == 201
    readings = _readings(node)
    assert readings["portside_control_plane_answers"] == 0
    assert readings["portside_heartbeat_age_seconds"] > 0
    assert readings["portside_heartbeats_failed_total"] > 0
    # One that was under way as the control plane went hears a reset; the others aren't let in.
    kinds = [line["kind"] for line in node.logged("control plane is away")]
    assert kinds[-1] == "unreachable"
    assert len(kinds) == len(set(kinds))


def test_receipts_that_were_put_off_go_out_once_the_control_plane_answers(
    node: Worker, control: ControlDouble
) -> None:
    stored(node.agent, "a.bin", b"x")
    database = Database(node.agent.root / "state" / "index.sqlite")
    far = int(time.time()) + 100_000
    with database.transaction() as connection:
        put_off = connection.execute("UPDATE deliveries SET due = ? WHERE kind = 'receipt'", (far,))
        assert put_off.rowcount == 1
    node.start()
    control.wait_for_heartbeats()
    put_off_still = "SELECT 1 FROM deliveries WHERE kind = 'receipt' AND due = ?"
    node.wait_for(lambda: not database.rows(put_off_still, (far,)))
    database.close()


def _warnings(node: Worker) -> list[str]:
    warnings = requests.get(f"{node.agent.url}/health/ready", timeout=60).json()["warnings"]
    return [each for each in warnings if each.startswith("control-")]


def _readings(node: Worker) -> dict[str, float]:
    page = requests.get(f"{node.agent.url}/metrics", timeout=60).text
    pairs = [line.rsplit(" ", 1) for line in page.splitlines() if line[:1] != "#"]
    return {name: float(value) for name, value in pairs}


def test_a_cluster_without_a_control_plane_gets_no_warning(node: Worker) -> None:
    _deploy(node.agent, Roster(version=10, cluster="lab"))
    node.start()
    assert _warnings(node) == []
    assert "portside_control_plane_answers" not in _readings(node)


def test_a_control_plane_of_another_authority_is_not_told_anything(
    make_worker: Callable[..., Worker], tmp_path: Path
) -> None:
    certificate = self_signed(tmp_path)
    with ControlDouble(certificate) as control:
        stranger = _node(make_worker, control)
        stranger.start()
        stranger.wait_for(lambda: stranger.logged("control plane is away"))
        assert "CERTIFICATE_VERIFY_FAILED" in stranger.logged("control plane is away")[0]["error"]
        stranger.stop()
        assert control.heartbeats == []
        member = _node(make_worker, control, ca=str(tmp_path / "certificate.pem"))
        member.start()
        assert isinstance(control.wait_for_heartbeats(), Heartbeat)


def test_a_heartbeat_by_another_key_does_not_verify(node: Worker, control: ControlDouble) -> None:
    control.keys = Keyset(keys=(SigningKey.generate("s01").public(),))
    node.start()
    control.wait_for(lambda: control.refused)
    node.wait_for(lambda: node.logged("control plane is away"))
    assert node.logged("control plane is away")[0]["kind"] == "answered-401"
    assert control.heartbeats == []


# -- the worker's end ------------------------------------------------------------------------------


def test_a_stop_loses_no_work_that_was_taken(node: Worker, control: ControlDouble) -> None:
    files = [stored(node.agent, f"{number}.bin", os.urandom(100)) for number in range(20)]
    node.start()
    control.lease(*(_lease(file, number) for number, file in enumerate(files)))
    control.wait_for(lambda: node.rows("SELECT 1 FROM leases"))
    node.stop()
    node.start()
    control.wait_for(lambda: all(control.told(f"lease-{number}") for number in range(20)))
    assert all(control.told(f"lease-{number}")[0].outcome == "done" for number in range(20))
    assert all(_is_gone(node, file) for file in files)
