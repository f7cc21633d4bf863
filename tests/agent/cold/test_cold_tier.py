"""The cold tier against a real S3 server: backups, what disturbs them, and files brought back."""

from __future__ import annotations

import base64
import hashlib
import json
import secrets
import shutil
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import requests

from agent.host.sha256 import Sha256
from agent.outbox.events import SCHEDULE
from agent.telemetry.worker_report import ColdReport
from portside.quantities import GIB, MIB
from portside.wire.files import StoredFile
from tests.support.agent.process import Agent
from tests.support.agent.s3_server import ACCESS_KEY, SECRET_KEY, Asked, Front, S3Server
from tests.support.agent.stored_files import FILES, access, ask, data_of, flip_a_bit, stored
from tests.support.agent.worker_process import Worker
from tests.support.logs import text_of

# To start the server costs more than a test.
pytestmark = pytest.mark.xdist_group("s3")

PATIENCE = 60.0
LARGE = 2 * 8 * MIB + 12345
"""Three parts, the last one short."""


@pytest.fixture(scope="module")
def s3(tmp_path_factory: pytest.TempPathFactory) -> Iterator[S3Server]:
    server = S3Server(tmp_path_factory.mktemp("s3"))
    server.start()
    yield server
    server.stop()


class Tier:
    """A bucket of the test's own, reached through a front."""

    def __init__(self, server: S3Server, home: Path) -> None:
        self.server = server
        self.home = home
        self.front = Front(server)
        self.bucket = f"cold-{secrets.token_hex(4)}"
        self.client = server.client
        self.client.create_bucket(Bucket=self.bucket)

    def settings(self, home: Path, **changed: Any) -> str:
        """The table of an agent.toml; the credentials lie in `home`."""
        credentials = home / "cold.credentials"
        credentials.touch(0o600)
        credentials.write_text(self.credentials())
        lines = {
            "endpoint": self.front.url,
            "bucket": self.bucket,
            "prefix": "backup/",
            "credentials_file": str(credentials),
            "rate": 1 * GIB,
            **changed,
        }
        return "[cold]\n" + "".join(f"{k} = {json.dumps(v)}\n" for k, v in lines.items())

    @staticmethod
    def credentials(secret: str = SECRET_KEY) -> str:
        return f"[default]\naws_access_key_id = {ACCESS_KEY}\naws_secret_access_key = {secret}\n"

    def objects(self) -> list[str]:
        listed = self.client.list_objects_v2(Bucket=self.bucket).get("Contents", [])
        return [each["Key"] for each in listed]

    def content(self, key: str) -> bytes:
        with self.client.get_object(Bucket=self.bucket, Key=key)["Body"] as body:
            return bytes(body.read())

    def put(self, key: str, data: bytes, metadata: dict[str, str] | None = None) -> None:
        self.client.put_object(Bucket=self.bucket, Key=key, Body=data, Metadata=metadata or {})

    def metadata(self, key: str) -> dict[str, str]:
        return dict(self.client.head_object(Bucket=self.bucket, Key=key)["Metadata"])

    def key_of(self, file: StoredFile) -> str:
        return f"backup/{file.path}"


@pytest.fixture
def tier(s3: S3Server, tmp_path: Path) -> Iterator[Tier]:
    tier = Tier(s3, tmp_path)
    yield tier
    tier.front.close()


MakeNode = Callable[..., Worker]


@pytest.fixture
def make_node(make_agent: Callable[..., Agent], tier: Tier) -> Iterator[MakeNode]:
    """Makes workers of running agents with this tier, not started yet."""
    made: list[Worker] = []

    def make(**cold: Any) -> Worker:
        agent = make_agent()
        with (agent.home / "agent.toml").open("a") as file:
            file.write(tier.settings(agent.home, **cold))
        agent.start()
        made.append(Worker(agent))
        return made[-1]

    yield make
    for worker in made:
        worker.kill()


def rows(worker: Worker) -> list[tuple[Any, ...]]:
    return worker.rows("SELECT kind, state, attempts, error FROM deliveries ORDER BY delivery_id")


def cold_report(worker: Worker) -> ColdReport:
    found = worker.report().cold
    assert found is not None
    return found


def done(worker: Worker) -> bool:
    return rows(worker) == []


def hurried(worker: Worker) -> bool:
    """Whether everything is done; what was put off is tried again now."""
    if done(worker):
        return True
    due_now(worker)
    return False


def due_now(worker: Worker) -> None:
    worker.change("UPDATE deliveries SET due = 0 WHERE state = 'WAITING'")


def random_bytes(size: int) -> bytes:
    return secrets.token_bytes(size)


def test_a_committed_file_gets_there_with_what_is_known_of_it(
    tier: Tier, make_node: MakeNode
) -> None:
    node = make_node()
    node.start()
    file = stored(node.agent, "Größe 1.bin", b"content" * 1000, layout="named")
    node.wait_for(lambda: done(node), PATIENCE)
    assert tier.objects() == [tier.key_of(file)]
    assert tier.content(tier.key_of(file)) == b"content" * 1000
    metadata = tier.metadata(tier.key_of(file))
    assert metadata["portside-sha256"] == file.sha256
    assert metadata["portside-file-id"] == file.file_id
    node.wait_for(lambda: cold_report(node).stored == 1, PATIENCE)
    assert cold_report(node).bytes_sent == 7000
    status = node.command("cold", "status")
    assert "1 files are backed up\n0 wait" in status.stdout, status.stderr
    assert node.command("cold", "check").returncode == 0
    assert node.command("cold", "list").stdout == "nothing waits for the cold tier\n"
    metrics = ask(node.agent, "GET", "/../../../metrics").text
    assert "portside_cold_stored_files_total 1.0" in metrics
    assert "portside_cold_waiting_files 0.0" in metrics
    assert SECRET_KEY not in text_of(node.log)


def test_other_namespaces_stay(tier: Tier, make_node: MakeNode) -> None:
    node = make_node(namespaces=["images"])
    stored(node.agent, "a.bin", b"isos")
    image = stored(node.agent, "a2.bin", b"image", namespace="images")
    node.start()
    node.wait_for(lambda: done(node), PATIENCE)
    assert tier.objects() == [tier.key_of(image)]


def test_a_file_that_another_node_brought_is_not_sent_again(
    tier: Tier, make_node: MakeNode
) -> None:
    node = make_node()
    node.start()
    file = stored(node.agent, "a.bin", b"content")
    node.wait_for(lambda: done(node), PATIENCE)
    node.stop()
    # As on a second node, or with an index that was rebuilt: nothing is known of the tier.
    node.change("DELETE FROM notes")
    tier.front.asked.clear()
    node.start()
    node.wait_for(lambda: node.logged("cold backups ordered") and done(node), PATIENCE)
    assert tier.front.uploads() == []
    assert node.logged("file is in the cold tier")[-1]["sent"] is False
    assert tier.objects() == [tier.key_of(file)]


def test_nothing_in_the_bucket_is_ever_overwritten(tier: Tier, make_node: MakeNode) -> None:
    node = make_node()
    file = stored(node.agent, "a.bin", b"content", layout="named")
    tier.put(tier.key_of(file), b"somebody else's")
    node.start()
    node.wait_for(lambda: done(node), PATIENCE)
    assert tier.content(tier.key_of(file)) == b"somebody else's"
    assert tier.content(f"{tier.key_of(file)}.{file.file_id}") == b"content"

    other = stored(node.agent, "b.bin", b"content", layout="named")
    node.wait_for(lambda: done(node), PATIENCE)
    node.stop()
    tier.put(tier.key_of(other), b"changed since", tier.metadata(tier.key_of(other)))
    node.change("DELETE FROM notes")
    node.start()
    node.wait_for(lambda: rows(node) and rows(node)[0][1] == "DEAD", PATIENCE)
    assert "other content" in rows(node)[0][3]
    assert tier.content(tier.key_of(other)) == b"changed since"
    node.wait_for(
        lambda: any(w.startswith("cold-dead: 1") for w in node.report().warnings), PATIENCE
    )
    assert other.file_id in node.command("cold", "list").stdout


def test_a_kill_in_the_middle_sends_no_finished_part_again(tier: Tier, make_node: MakeNode) -> None:
    data = random_bytes(LARGE)
    reached, go_on = threading.Event(), threading.Event()

    def hold_the_second(asked: Asked) -> None:
        if asked.part == 2 and not go_on.is_set():
            reached.set()
            go_on.wait(PATIENCE)
            raise ConnectionError

    tier.front.disturb = hold_the_second
    node = make_node()
    file = stored(node.agent, "large.bin", data)
    node.start()
    assert reached.wait(PATIENCE)
    node.kill()
    go_on.set()
    assert tier.front.parts() == [1, 2]
    tier.front.asked.clear()
    node.start()
    node.wait_for(lambda: hurried(node), PATIENCE)
    assert tier.front.parts() == [2, 3]
    assert hashlib.sha256(tier.content(tier.key_of(file))).hexdigest() == file.sha256
    assert not tier.client.list_multipart_uploads(Bucket=tier.bucket).get("Uploads")
    assert node.rows("SELECT key FROM notes WHERE key LIKE 'cold-%'") == []


def test_a_part_that_was_stored_but_not_noted_down_is_not_sent_again(
    tier: Tier, make_node: MakeNode
) -> None:
    reached, go_on = threading.Event(), threading.Event()

    def hold_the_third(asked: Asked) -> None:
        if asked.part == 3 and not go_on.is_set():
            reached.set()
            go_on.wait(PATIENCE)
            raise ConnectionError

    tier.front.disturb = hold_the_third
    node = make_node()
    file = stored(node.agent, "large.bin", random_bytes(LARGE))
    node.start()
    assert reached.wait(PATIENCE)
    node.kill()
    go_on.set()
    # Back to the state before the second part was noted down.
    ((key, text),) = node.rows("SELECT key, value FROM notes WHERE key LIKE 'cold-upload:%'")
    fresh = {**json.loads(text), "done": 0, "state": _begun_digest()}
    node.change("UPDATE notes SET value = ? WHERE key = ?", json.dumps(fresh), key)
    node.change("DELETE FROM notes WHERE key LIKE 'cold-part:%'")
    tier.front.asked.clear()
    node.start()
    node.wait_for(lambda: hurried(node), PATIENCE)
    assert tier.front.parts() == [3]
    assert hashlib.sha256(tier.content(tier.key_of(file))).hexdigest() == file.sha256


def _begun_digest() -> str:
    return base64.b64encode(Sha256().state()).decode()


def test_an_upload_of_another_node_is_waited_for_and_a_dead_one_is_aborted(
    tier: Tier, make_node: MakeNode
) -> None:
    node = make_node()
    file = stored(node.agent, "large.bin", random_bytes(LARGE))
    begun = tier.client.create_multipart_upload(Bucket=tier.bucket, Key=tier.key_of(file))
    node.start()
    node.wait_for(lambda: "another node" in rows(node)[0][3], PATIENCE)
    assert (rows(node)[0][1:3], tier.front.uploads()) == (("WAITING", 0), [])
    # It never goes on; this node begins.
    tier.client.abort_multipart_upload(
        Bucket=tier.bucket, Key=tier.key_of(file), UploadId=begun["UploadId"]
    )
    node.wait_for(lambda: hurried(node), PATIENCE)
    assert tier.objects() == [tier.key_of(file)]


def test_an_upload_that_the_service_forgot_begins_anew(tier: Tier, make_node: MakeNode) -> None:
    held: list[str] = []

    def refuse_the_third(asked: Asked) -> tuple[int, str] | None:
        if asked.part == 3 and not held:
            held.append(asked.query["uploadId"])
            return 503, "SlowDown"
        return (503, "SlowDown") if asked.part == 3 and len(held) == 1 else None

    tier.front.disturb = refuse_the_third
    node = make_node()
    file = stored(node.agent, "large.bin", random_bytes(LARGE))
    node.start()
    node.wait_for(lambda: rows(node)[0][2] >= 1, PATIENCE)
    assert "SlowDown" in rows(node)[0][3]
    node.stop()
    tier.client.abort_multipart_upload(Bucket=tier.bucket, Key=tier.key_of(file), UploadId=held[0])
    tier.front.disturb = lambda asked: None
    node.start()
    node.wait_for(lambda: hurried(node), PATIENCE)
    assert hashlib.sha256(tier.content(tier.key_of(file))).hexdigest() == file.sha256


def test_a_damaged_file_never_becomes_an_object(tier: Tier, make_node: MakeNode) -> None:
    node = make_node()
    small = stored(node.agent, "small.bin", b"content")
    large = stored(node.agent, "large.bin", random_bytes(LARGE))
    for each in (small, large):
        flip_a_bit(data_of(node.agent, each))
    # The scrubber found both sound just now, so that it isn't the first to see it.
    node.change("UPDATE files SET verified_at = ?", time.time_ns() // 1000)
    node.change("UPDATE deliveries SET attempts = ?", SCHEDULE.most - 1)
    node.start()
    node.wait_for(lambda: {row[1] for row in rows(node)} == {"DEAD"}, PATIENCE)
    assert ["its SHA-256 is" in row[3] for row in rows(node)] == [True, True]
    assert tier.objects() == []
    assert not tier.client.list_multipart_uploads(Bucket=tier.bucket).get("Uploads")


def test_wrong_credentials_say_what_to_do_and_give_nothing_up(
    tier: Tier, make_node: MakeNode
) -> None:
    node = make_node()
    credentials = node.agent.home / "cold.credentials"
    credentials.write_text(tier.credentials("wrong"))
    node.start()
    file = stored(node.agent, "a.bin", b"content")
    node.wait_for(lambda: rows(node) and rows(node)[0][2] >= 1, PATIENCE)
    assert rows(node)[0][1] == "WAITING"
    assert "cold.credentials_file is wrong" in rows(node)[0][3]
    node.wait_for(
        lambda: any(w.startswith("cold-unreachable") for w in node.report().warnings), PATIENCE
    )
    checked = node.command("cold", "check")
    assert (checked.returncode, "cold.credentials_file" in checked.stderr) == (1, True)

    credentials.chmod(0o644)
    assert "chmod 600" in node.command("check").stderr
    credentials.chmod(0o600)
    credentials.write_text(tier.credentials())
    node.change("UPDATE deliveries SET attempts = 19")
    node.wait_for(lambda: hurried(node), PATIENCE)
    assert tier.objects() == [tier.key_of(file)]
    node.wait_for(lambda: node.report().warnings == (), PATIENCE)


def test_a_bucket_that_is_missing_is_named(tier: Tier, make_node: MakeNode) -> None:
    node = make_node(bucket="no-such-bucket")
    stored(node.agent, "a.bin", b"content")
    node.start()
    node.wait_for(lambda: rows(node)[0][2] >= 1, PATIENCE)
    assert "the bucket doesn't exist" in rows(node)[0][3]


def test_a_service_that_goes_away_is_waited_for(
    s3: S3Server, tier: Tier, make_node: MakeNode
) -> None:
    node = make_node(endpoint=f"http://127.0.0.1:{s3.port}")
    s3.stop()
    try:
        file = stored(node.agent, "a.bin", b"content")
        node.start()
        node.wait_for(lambda: rows(node)[0][2] >= 1, PATIENCE)
        assert rows(node)[0][1] == "WAITING"
    finally:
        s3.start()
    node.wait_for(lambda: hurried(node), PATIENCE)
    assert tier.objects() == [tier.key_of(file)]


def test_a_deleted_files_object_goes_and_nobody_elses(tier: Tier, make_node: MakeNode) -> None:
    node = make_node(keep_deleted=0)
    node.start()
    gone = stored(node.agent, "a.bin", b"content", layout="named")
    kept = stored(node.agent, "b.bin", b"content", layout="named")
    node.wait_for(lambda: done(node), PATIENCE)
    allowed = access(node.agent, rights=("hold",))
    assert ask(node.agent, "POST", f"/{gone.file_id}/hold", allowed).status_code == 200
    node.wait_for(lambda: len(tier.objects()) == 3 and done(node), PATIENCE)
    # The name was given again elsewhere, and the object with it.
    tier.put(tier.key_of(kept), b"other", {"portside-file-id": "0" * 32})
    for each in (gone, kept):
        assert ask(node.agent, "DELETE", f"/{each.file_id}", access(node.agent)).status_code == 204
    node.wait_for(lambda: done(node), PATIENCE)
    assert tier.objects() == [tier.key_of(kept)]


def test_a_file_deleted_in_the_middle_of_its_backup_leaves_nothing(
    tier: Tier, make_node: MakeNode
) -> None:
    tier.front.disturb = lambda asked: (503, "SlowDown") if asked.part == 2 else None
    node = make_node()
    file = stored(node.agent, "large.bin", random_bytes(LARGE))
    node.start()
    node.wait_for(lambda: rows(node)[0][2] >= 1, PATIENCE)
    assert tier.client.list_multipart_uploads(Bucket=tier.bucket)["Uploads"]
    assert ask(node.agent, "DELETE", f"/{file.file_id}", access(node.agent)).status_code == 204
    node.wait_for(lambda: hurried(node), PATIENCE)
    assert not tier.client.list_multipart_uploads(Bucket=tier.bucket).get("Uploads")
    assert tier.objects() == []


def test_everything_comes_back_onto_an_empty_disk(tier: Tier, make_node: MakeNode) -> None:
    node = make_node(keep_deleted=86400)
    node.start()
    agent = node.agent
    data = random_bytes(LARGE)
    large = stored(agent, "large.bin", data)
    small = stored(agent, "größe.bin", b"content", layout="named", sub="someone@example.net")
    empty = stored(agent, "empty.bin", b"")
    deleted = stored(agent, "deleted.bin", b"deleted")
    damaged = stored(agent, "damaged.bin", b"damaged")
    node.wait_for(lambda: done(node), PATIENCE)
    answer = ask(agent, "DELETE", f"/{deleted.file_id}", access(agent))
    assert answer.status_code == 204
    # The object is marked; it goes a day later.
    node.wait_for(lambda: [row[0] for row in rows(node)] == ["cold-delete"], PATIENCE)
    assert tier.key_of(deleted) in tier.objects()
    tier.put(tier.key_of(damaged), b"damagee", tier.metadata(tier.key_of(damaged)))
    tier.put("backup/isos/stranger", b"what nobody knows")
    node.stop()
    agent.kill()
    for folder in ("uploads", "staging", "quarantine", "state"):
        shutil.rmtree(agent.root / folder)
        (agent.root / folder).mkdir()
    agent.start()

    one = node.command("restore", "--file-id", small.file_id)
    assert (one.returncode, "1 files restored" in one.stdout) == (0, True), one.stderr
    restored = node.command("restore", "--all")
    assert restored.returncode == 1
    assert (
        "2 files restored (16.0 MiB), 1 were there, 1 are deleted ones, "
        "0 have come to their end, 2 refused"
    ) in restored.stdout
    reasons = {
        line["key"]: line["reason"]
        for line in map(json.loads, restored.stderr.splitlines()[:-1])
        if line["event"] == "not restored"
    }
    assert "the object is damaged" in reasons[tier.key_of(damaged)]
    assert "Portside didn't put it there" in reasons["backup/isos/stranger"]
    for file, content in ((large, data), (small, b"content"), (empty, b"")):
        assert data_of(agent, file).read_bytes() == content
        told = ask(agent, "GET", f"/{file.file_id}", access(agent)).json()
        was = json.loads(file.model_dump_json())
        assert {**told, "receipt": ""} == {**was, "receipt": "", "copies": []}
        assert told["receipt"] != was["receipt"]
    assert {data_of(agent, each) for each in (large, small, empty)} == set(agent.visible_files())
    assert agent.leftovers() == []

    again = node.command("restore", "--prefix", str(large.path))
    assert "0 files restored (0 B), 1 were there" in again.stdout
    unknown = node.command("restore", "--file-id", "0" * 32)
    assert (unknown.returncode, "is not in the cold tier" in unknown.stderr) == (1, True)
    assert node.command("fsck", "--digests", "--minimum-age", "0").returncode == 0
    # Nothing is to be backed up again, and no token makes its file twice.
    node.start()
    node.wait_for(lambda: done(node), PATIENCE)


def test_a_file_that_the_disk_damaged_is_replaced(tier: Tier, make_node: MakeNode) -> None:
    node = make_node()
    node.start()
    silent = stored(node.agent, "silent.bin", b"content")
    quarantined = stored(node.agent, "quarantined.bin", b"content")
    node.wait_for(lambda: done(node), PATIENCE)
    node.stop()
    flip_a_bit(data_of(node.agent, quarantined))
    verified = ask(node.agent, "GET", f"/{quarantined.file_id}/verify", access(node.agent))
    assert verified.json()["intact"] is False
    flip_a_bit(data_of(node.agent, silent))
    assert "1 files restored" in node.command("restore", "--all").stdout
    assert "1 files restored" in node.command("restore", "--all", "--digests").stdout
    for each in (silent, quarantined):
        assert data_of(node.agent, each).read_bytes() == b"content"
    assert list((node.agent.root / "quarantine").iterdir()) == []
    assert node.command("fsck", "--digests", "--minimum-age", "0").returncode == 0


def _lose_the_disk(node: Worker) -> None:
    node.stop()
    node.agent.kill()
    for folder in ("uploads", "staging", "quarantine", "ended", "state"):
        shutil.rmtree(node.agent.root / folder, ignore_errors=True)
        (node.agent.root / folder).mkdir()
    node.agent.start()


def test_onto_an_empty_disk_nothing_comes_back_that_ended_and_nothing_held_is_served(
    tier: Tier, make_node: MakeNode
) -> None:
    node = make_node()
    agent = node.agent
    node.start()
    made: dict[str, dict[str, Any]] = {
        "stays": {},
        "ends later": {"expires_in": 86400},
        "ended": {},
        "ended, by its metadata alone": {"expires_in": 86400},
        "prolonged": {"expires_in": 1000},
        "held": {"hold": True},
        "taken down": {},
        "released": {"hold": True},
        "held, and ended": {"hold": True},
        "marker damaged": {},
    }
    kept = {
        name: stored(agent, f"{name}.bin", name.encode(), **claims) for name, claims in made.items()
    }
    node.wait_for(lambda: done(node), PATIENCE)

    def change(name: str, way: str, sent: dict[str, Any]) -> None:
        allowed = access(agent, rights=("delete", "hold"))
        method = "PATCH" if way == "" else "POST"
        url = f"{agent.url}{FILES}/{kept[name].file_id}{way}"
        answer = requests.request(method, url, headers=allowed, json=sent, timeout=60)
        assert answer.status_code == 200, answer.text

    soon = int(time.time()) + 5000
    change("ended", "", {"expires_in": 0})
    change("prolonged", "", {"expires_at": soon})
    change("taken down", "/hold", {"reason": "a complaint"})
    change("released", "/release", {})
    change("held, and ended", "", {"expires_in": 0})
    change("marker damaged", "/hold", {})
    node.wait_for(lambda: done(node), PATIENCE)
    by_metadata = kept["ended, by its metadata alone"]
    key = tier.key_of(by_metadata)
    told = {**tier.metadata(key), "portside-said": '{"expires_at":1700000000,"held":false}'}
    tier.put(key, tier.content(key), told)
    tier.put(f"backup/.changed/{kept['marker damaged'].file_id}", b"{")
    _lose_the_disk(node)

    restored = node.command("restore", "--all")
    assert "6 files restored" in restored.stdout, restored
    assert "3 have come to their end, 1 refused" in restored.stdout
    for name, expected in {
        "stays": (200, False, None),
        "ends later": (200, False, kept["ends later"].expires_at),
        "prolonged": (200, False, soon),
        "held": (403, True, None),
        "taken down": (403, True, None),
        "released": (200, False, None),
        "ended": (404, None, None),
        "ended, by its metadata alone": (404, None, None),
        "held, and ended": (404, None, None),
        "marker damaged": (404, None, None),
    }.items():
        file_id = kept[name].file_id
        status = ask(agent, "GET", f"/{file_id}/content").status_code
        said = ask(agent, "GET", f"/{file_id}").json()
        assert (status, said.get("held"), said.get("expires_at")) == expected, name
        place = data_of(agent, kept[name])
        mode = place.stat().st_mode & 0o777 if place.exists() else None
        assert mode == {200: 0o644, 403: 0o600, 404: None}[status], name
    note = ask(agent, "GET", f"/{kept['taken down'].file_id}").json()["hold"]
    assert note["reason"] == "a complaint"


def test_the_bucket_is_told_what_it_was_not_told_at_a_backup(
    tier: Tier, make_node: MakeNode
) -> None:
    node = make_node()
    node.start()
    file = stored(node.agent, "a.bin", b"content")
    node.wait_for(lambda: done(node), PATIENCE)
    node.stop()
    allowed = access(node.agent, rights=("hold",))
    assert ask(node.agent, "POST", f"/{file.file_id}/hold", allowed).status_code == 200
    marker = f"backup/.changed/{file.file_id}"
    # As of an index that was rebuilt, or on another node; and as of a release that told nothing.
    for forgotten in ("DELETE FROM notes", "DELETE FROM notes WHERE key LIKE 'tier-told:%'"):
        node.change("DELETE FROM deliveries")
        node.change(forgotten)
        tier.client.delete_object(Bucket=tier.bucket, Key=marker)
        node.start()
        node.wait_for(lambda: marker in tier.objects() and done(node), PATIENCE)
        node.stop()
        assert json.loads(tier.content(marker))["held"] is True
    # A node that was away tells what it knew: the later word stays.
    later = {"held": False, "hold": {"by": "ops", "at": "2100-01-01T00:00:00Z"}}
    tier.put(marker, json.dumps(later).encode())
    node.change("DELETE FROM notes")
    node.start()
    node.wait_for(lambda: node.logged("cold backups ordered") and done(node), PATIENCE)
    assert json.loads(tier.content(marker))["held"] is False


def test_a_damaged_file_is_replaced_by_its_object_and_stays_held_and_ending(
    tier: Tier, make_node: MakeNode
) -> None:
    node = make_node()
    node.start()
    file = stored(node.agent, "a.bin", b"content", expires_in=86400)
    node.wait_for(lambda: done(node), PATIENCE)
    node.stop()
    allowed = access(node.agent, rights=("hold",))
    assert ask(node.agent, "POST", f"/{file.file_id}/hold", allowed).status_code == 200
    flip_a_bit(data_of(node.agent, file))
    restored = node.command("restore", "--all", "--digests")
    assert "1 files restored" in restored.stdout, restored
    assert data_of(node.agent, file).read_bytes() == b"content"
    assert data_of(node.agent, file).stat().st_mode & 0o777 == 0o600
    told = ask(node.agent, "GET", f"/{file.file_id}").json()
    assert (told["held"], told["expires_at"]) == (True, file.expires_at)


def test_a_download_that_is_cut_goes_on_where_it_was(tier: Tier, make_node: MakeNode) -> None:
    node = make_node()
    node.start()
    file = stored(node.agent, "a.bin", b"content")
    node.wait_for(lambda: done(node), PATIENCE)
    node.stop()
    node.agent.kill()
    shutil.rmtree(node.agent.root / "uploads")
    (node.agent.root / "uploads").mkdir()
    (node.agent.root / "state" / "index.sqlite").unlink()
    cuts = [0]

    def cut(asked: Asked) -> None:
        if asked.method == "GET" and asked.path.endswith(".bin") and cuts[0] < 2:
            cuts[0] += 1
            raise ConnectionError

    tier.front.disturb = cut
    restored = node.command("restore", "--all")
    assert (restored.returncode, cuts) == (0, [2]), restored.stderr
    assert data_of(node.agent, file).read_bytes() == b"content"
