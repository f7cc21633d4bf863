"""Hooks of a real node: what commands and receivers get, and what becomes of failures."""

from __future__ import annotations

import json
import socket
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from agent.index.database import Database
from agent.outbox.events import SCHEDULE
from agent.settings import load
from agent.storage.deletion import delete, remove_copy
from portside.names import CANARY
from portside.tokens import verify_hook
from portside.wire.files import StoredFile
from portside.wire.hooks import Hook, HookEvent
from tests.support.agent.receiver import Receiver, self_signed
from tests.support.agent.worker_process import Worker
from tests.support.logs import text_of
from tests.support.loopback import wait_until

MakeWorker = Callable[..., Worker]


def _put(worker: Worker, name: str = "a.bin", **claims: Any) -> StoredFile:
    answer = worker.agent.put(name, b"content", worker.agent.mint(**claims))
    assert answer.status_code == 201, answer.text
    return StoredFile.model_validate_json(answer.content)


def _deliveries(worker: Worker) -> list[tuple[Any, ...]]:
    return worker.rows("SELECT state, attempts, error FROM deliveries ORDER BY delivery_id")


def _attempted(worker: Worker, attempts: int) -> bool:
    return bool(_deliveries(worker)[0][1] == attempts)


def _script(tmp_path: Path, text: str) -> str:
    path = tmp_path / "hook"
    path.write_text(f"#!/bin/sh\n{text}\n")
    path.chmod(0o755)
    return str(path)


def test_a_receiver_is_told_who_stored_what_and_can_verify_it(make_worker: MakeWorker) -> None:
    with Receiver() as receiver:
        worker = make_worker(Hook(namespace="isos", url=f"{receiver.origin}/told?by=portside"))
        worker.start()
        stored = _put(worker)
        worker.wait_for(lambda: receiver.received)
        worker.wait_for(lambda: _deliveries(worker) == [])
    (received,) = receiver.received
    assert (received.path, received.content_type) == ("/told?by=portside", "application/json")
    told = HookEvent.model_validate_json(received.body)
    assert (told.event, told.node_id, told.attempt) == ("file.committed", "s01", 1)
    assert told.file == stored
    keys = worker.agent.node_keys
    claims = verify_hook(received.signature, keys, receiver.origin, received.body)
    assert (claims.iss, claims.jti) == ("s01", told.delivery_id)
    worker.wait_for(lambda: worker.report().deliveries.delivered == 1)
    assert worker.report().deliveries.failed == worker.report().deliveries.waiting == 0
    assert "by=portside" not in text_of(worker.log)


def test_a_deletion_is_told_to_who_wants_to_hear_of_it(
    make_worker: MakeWorker, tmp_path: Path
) -> None:
    script = _script(tmp_path, f'echo "$PORTSIDE_EVENT $PORTSIDE_SURROGATE_KEY" > {tmp_path}/ran')
    with Receiver() as receiver, Receiver() as other:
        worker = make_worker(
            Hook(namespace="isos", events=("deleted",), url=receiver.origin),
            Hook(namespace="isos", url=other.origin),
            Hook(namespace="isos", events=("deleted",), command=(script,)),
        )
        receiver.status = 503
        worker.start()
        stored, moved = _put(worker), _put(worker, "b.bin")
        worker.wait_for(lambda: len(other.received) == 2)
        worker.wait_for(lambda: _deliveries(worker) == [])
        worker.kill()
        found = load(worker.agent.home / "agent.toml")
        database = Database(found.index)
        remove_copy(found, database, moved.file_id)
        delete(found, database, stored.file_id)
        database.close()
        worker.change("UPDATE deliveries SET due = 0")
        worker.start()
        worker.wait_for(lambda: receiver.received)
        worker.wait_for(lambda: _attempted(worker, 1))
        receiver.status = 204
        worker.change("UPDATE deliveries SET due = 0")
        worker.wait_for(lambda: _deliveries(worker) == [])
    first, second = (HookEvent.model_validate_json(each.body) for each in receiver.received)
    assert (first.event, first.file.file_id) == ("file.deleted", stored.file_id)
    assert (first.attempt, second.attempt) == (1, 2)
    assert first.delivery_id == second.delivery_id
    assert first.surrogate_key == f"{stored.file_id} isos"
    assert first.urls[:2] == (stored.url, stored.direct_url)
    assert len(other.received) == 2
    assert (tmp_path / "ran").read_text() == f"file.deleted {stored.file_id} isos\n"


def test_only_hooks_of_the_files_namespace_are_told(make_worker: MakeWorker) -> None:
    with Receiver() as isos, Receiver() as images, Receiver() as every:
        worker = make_worker(
            Hook(namespace="isos", url=isos.origin),
            Hook(namespace="images", url=images.origin),
            Hook(namespace="*", url=every.origin),
        )
        worker.start()
        _put(worker)
        _put(worker, "b.bin", namespace="other")
        worker.wait_for(lambda: _deliveries(worker) == [])
    assert [len(each.received) for each in (isos, images, every)] == [1, 0, 2]


def test_what_is_committed_while_the_worker_is_away_is_told_when_it_is_back(
    make_worker: MakeWorker,
) -> None:
    with Receiver() as receiver:
        worker = make_worker(Hook(namespace="*", url=receiver.origin))
        files = {_put(worker, f"{number}.bin").file_id for number in range(5)}
        worker.agent.kill()
        worker.start()
        worker.wait_for(lambda: _deliveries(worker) == [])
    told = [HookEvent.model_validate_json(each.body).file.file_id for each in receiver.received]
    assert (set(told), len(told)) == (files, 5)


def test_a_delivery_whose_success_was_not_noted_down_comes_again_with_its_id(
    make_worker: MakeWorker,
) -> None:
    with Receiver() as receiver:
        worker = make_worker(Hook(namespace="*", url=receiver.origin))
        _put(worker)
        worker.start()
        worker.wait_for(lambda: receiver.received)
        worker.kill()
        # The row as it was if the kill came before its removal.
        if not _deliveries(worker):
            _put_back(worker, receiver)
        worker.start()
        worker.wait_for(lambda: len(receiver.received) == 2)
    first, second = (HookEvent.model_validate_json(each.body) for each in receiver.received)
    assert first == second


def _put_back(worker: Worker, receiver: Receiver) -> None:
    worker.change(
        "INSERT INTO deliveries (file_id, kind, target, state, due) "
        "SELECT file_id, 'webhook', ?, 'WAITING', 0 FROM files",
        receiver.origin,
    )


def test_https_is_verified(make_worker: MakeWorker, tmp_path: Path) -> None:
    certificate = self_signed(tmp_path)
    with Receiver(certificate=certificate) as receiver:
        worker = make_worker(Hook(namespace="*", url=receiver.origin))
        worker.start()
        _put(worker)
        worker.wait_for(lambda: _deliveries(worker)[0][1] == 1)
        ((_, _, error),) = _deliveries(worker)
        assert "CERTIFICATE_VERIFY_FAILED" in error
        assert receiver.received == []

        worker.stop()
        worker.environment["SSL_CERT_FILE"] = str(tmp_path / "certificate.pem")
        worker.change("UPDATE deliveries SET due = 0")
        worker.start()
        worker.wait_for(lambda: _deliveries(worker) == [])
    assert len(receiver.received) == 1


def test_redirects_are_not_followed(make_worker: MakeWorker) -> None:
    with Receiver() as elsewhere, Receiver(status=307) as receiver:
        receiver.location = f"{elsewhere.origin}/"
        worker = make_worker(Hook(namespace="*", url=receiver.origin))
        worker.start()
        _put(worker)
        worker.wait_for(lambda: _deliveries(worker) == [("WAITING", 1, "answered 307")])
    assert elsewhere.received == []


def test_a_failing_receiver_is_tried_again_given_up_and_brought_back(
    make_worker: MakeWorker,
) -> None:
    with Receiver(status=500) as receiver:
        worker = make_worker(Hook(namespace="*", url=receiver.origin))
        worker.start()
        stored = _put(worker)
        for attempt in (1, 2):
            worker.wait_for(partial(_attempted, worker, attempt))
            ((state, due),) = worker.rows("SELECT state, due FROM deliveries")
            assert state == "WAITING"
            assert 0 < due - time.time() + 1 <= 30 * 2**attempt
            worker.change("UPDATE deliveries SET due = 0")
        worker.wait_for(lambda: _deliveries(worker)[0][1] == 3)
        worker.change("UPDATE deliveries SET due = 0, attempts = ?", SCHEDULE.most - 1)
        dead = ("DEAD", SCHEDULE.most, "answered 500")
        worker.wait_for(lambda: _deliveries(worker) == [dead])
        attempts = [HookEvent.model_validate_json(each.body).attempt for each in receiver.received]
        assert attempts == [1, 2, 3, SCHEDULE.most]
        worker.wait_for(lambda: worker.report().deliveries.dead == 1)
        assert worker.report().warnings == (
            "deliveries-dead: 1 given up: see `portside-agent deliveries list`, then "
            "`portside-agent deliveries retry`, or drop",
        )

        listed = worker.command("deliveries", "list")
        (delivery_id,) = {
            HookEvent.model_validate_json(each.body).delivery_id for each in receiver.received
        }
        assert listed.returncode == 0, listed.stderr
        assert all(
            part in listed.stdout
            for part in (delivery_id, "given up", "answered 500", stored.file_id, receiver.origin)
        )
        receiver.status = 204
        unknown = worker.command("deliveries", "retry", "no-such-id")
        assert (unknown.returncode, "no-such-id" in unknown.stderr) == (1, True)
        assert worker.command("deliveries", "retry", delivery_id).returncode == 0
        worker.wait_for(lambda: _deliveries(worker) == [])
    assert worker.command("deliveries", "list").stdout == "every delivery is made\n"


def test_gone_is_given_up_at_once_and_can_be_dropped(make_worker: MakeWorker) -> None:
    with Receiver(status=410) as receiver:
        worker = make_worker(Hook(namespace="*", url=receiver.origin))
        worker.start()
        _put(worker)
        worker.wait_for(lambda: _deliveries(worker)[0][0] == "DEAD")
    assert worker.command("deliveries", "drop").stdout == "1 deliveries dropped\n"
    assert _deliveries(worker) == []


def test_a_receiver_that_is_not_there_is_tried_again(make_worker: MakeWorker) -> None:
    worker = make_worker(Hook(namespace="*", url="http://127.0.0.1:1/"))
    worker.start()
    _put(worker)
    worker.wait_for(lambda: _deliveries(worker)[0][1] == 1)
    ((state, _, error),) = _deliveries(worker)
    assert (state, error) == ("WAITING", "can't connect: [Errno 111] Connection refused")


def test_a_command_gets_the_files_path_attributes_and_a_clean_environment(
    make_worker: MakeWorker, tmp_path: Path
) -> None:
    # The last line is what says that the rest is there.
    script = _script(
        tmp_path,
        f'printf "%s\\n" "$@" > {tmp_path}/arguments; cat > {tmp_path}/input; '
        f"cat /proc/self/environ > {tmp_path}/environment; pwd > {tmp_path}/folder; echo made",
    )
    worker = make_worker(Hook(namespace="*", command=(script, "--size", "two words")))
    worker.environment["SECRET"] = "of the worker"
    worker.start()
    stored = _put(worker)
    worker.wait_for(lambda: worker.logged("delivered"))
    path = worker.agent.root / "uploads" / stored.path
    arguments = (tmp_path / "arguments").read_text().splitlines()
    assert arguments == ["--size", "two words", str(path)]
    assert StoredFile.model_validate_json((tmp_path / "input").read_bytes()) == stored
    environment = (tmp_path / "environment").read_text()
    assert f"PORTSIDE_FILE={path}\0" in environment
    assert f"PORTSIDE_FILE_ID={stored.file_id}\0" in environment
    assert "SECRET" not in environment
    assert (tmp_path / "folder").read_text() == "/\n"
    assert worker.logged("hook's command ended")[0]["output"] == "made\n"


def test_a_command_that_fails_is_tried_again_and_says_why(
    make_worker: MakeWorker, tmp_path: Path
) -> None:
    script = _script(tmp_path, "echo first; echo 'no such codec' >&2; exit 3")
    worker = make_worker(Hook(namespace="*", command=(script,)))
    worker.start()
    _put(worker)
    worker.wait_for(lambda: _deliveries(worker) == [("WAITING", 1, "exit code 3: no such codec")])


def test_a_command_that_does_not_exist_is_told_as_such(make_worker: MakeWorker) -> None:
    worker = make_worker(Hook(namespace="*", command=("/no/such/program",)))
    worker.start()
    _put(worker)
    worker.wait_for(lambda: _deliveries(worker)[0][1] == 1)
    assert "can't be run: [Errno 2] No such file" in _deliveries(worker)[0][2]


def test_a_stop_ends_running_commands_and_counts_no_failure(
    make_worker: MakeWorker, tmp_path: Path
) -> None:
    script = _script(tmp_path, f"echo $$ > {tmp_path}/pid; sleep 600 & wait")
    worker = make_worker(Hook(namespace="*", command=(script,)))
    worker.start()
    _put(worker)
    worker.wait_for(lambda: (tmp_path / "pid").exists() and (tmp_path / "pid").read_text())
    group = int((tmp_path / "pid").read_text())
    # It is set right after the command's start: that may be faster.
    wait_until(lambda: Path(f"/proc/{group}/oom_score_adj").read_text() == "1000\n")
    assert worker.stop() == []
    assert _deliveries(worker) == [("WAITING", 0, "")]
    wait_until(lambda: not _runs(group))


def _runs(group: int) -> bool:
    """Whether a process of a group is there and not dead: a zombie is (proc(5))."""
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            state, _, its_group, *_ = stat.read_text().rpartition(")")[2].split()
        except (FileNotFoundError, ProcessLookupError):
            # Gone since it was listed.
            continue
        if its_group == str(group) and state != "Z":
            return True
    return False


def test_a_hanging_receiver_holds_up_neither_others_nor_a_stop(make_worker: MakeWorker) -> None:
    with socket.create_server(("127.0.0.1", 0)) as hanging, Receiver() as receiver:
        worker = make_worker(
            Hook(namespace="*", url=f"http://127.0.0.1:{hanging.getsockname()[1]}/"),
            Hook(namespace="*", url=receiver.origin),
        )
        for number in range(6):
            _put(worker, f"{number}.bin")
        worker.start()
        worker.wait_for(lambda: len(receiver.received) == 6)
        # Those that hang have 10 s each: none of them was over when the others were made.
        assert {attempts for _, attempts, _ in _deliveries(worker)} == {0}
        assert {name.partition("-")[0] for name in worker.stop()} == {"deliveries"}


def test_deliveries_of_a_hook_that_was_removed_are_given_up(make_worker: MakeWorker) -> None:
    worker = make_worker(Hook(namespace="*", url="http://127.0.0.1:1/old"))
    _put(worker)
    settings = worker.agent.home / "agent.toml"
    settings.write_text(settings.read_text().partition("\n[[hooks]]")[0])
    worker.start()
    gone = ("DEAD", 1, "the settings have no such hook any more")
    worker.wait_for(lambda: _deliveries(worker) == [gone])


@pytest.mark.parametrize(
    ("state", "left"),
    [
        ("DELETED", []),
        ("QUARANTINED", [("DEAD", 1, "the file is damaged and in quarantine")]),
    ],
)
def test_nobody_is_told_of_a_file_that_is_not_there_any_more(
    make_worker: MakeWorker, state: str, left: list[tuple[Any, ...]]
) -> None:
    with Receiver() as receiver:
        worker = make_worker(Hook(namespace="*", url=receiver.origin))
        _put(worker)
        worker.change("UPDATE files SET state = ?", state)
        worker.start()
        worker.wait_for(lambda: _deliveries(worker) == left)
    assert receiver.received == []


def test_a_commit_that_a_crash_cut_short_is_delivered_when_it_is_finished(
    make_worker: MakeWorker,
) -> None:
    with Receiver() as receiver:
        worker = make_worker(Hook(namespace="*", url=receiver.origin))
        stored = _put(worker)
        # As a kill right before the commit's last step leaves it.
        worker.agent.kill()
        worker.change("DELETE FROM deliveries")
        worker.change("UPDATE files SET state = 'PENDING'")
        worker.agent.start()
        worker.start()
        worker.wait_for(lambda: receiver.received)
    assert json.loads(receiver.received[0].body)["file"]["file_id"] == stored.file_id


def test_nobody_is_told_of_a_file_by_which_the_node_is_tried_out(make_worker: MakeWorker) -> None:
    hook = Hook(namespace="*", command=("true",), events=("committed", "deleted"))
    worker = make_worker(hook)
    stored = _put(worker, namespace=CANARY)
    settings = load(worker.agent.home / "agent.toml")
    database = Database(settings.index)
    try:
        assert delete(settings, database, stored.file_id)
    finally:
        database.close()
    assert _deliveries(worker) == []
