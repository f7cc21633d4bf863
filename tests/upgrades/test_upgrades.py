"""From every earlier release to this one, back and forth again: no file, no offset and no running
upload is lost.

On the lab's spare machine, which is made a node of that release first: `make upgrades`.
"""

from __future__ import annotations

import hashlib
import json
import os
import ssl
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http import HTTPStatus
from pathlib import Path

import pytest

from deploys.layout import PROJECT_ROOT
from portside.cluster.file import load
from portside.operator.keystore import Keystore
from portside.quantities import MIB
from tests.support.lab.deploy import deploy
from tests.support.lab.earlier import check_out, earlier_releases
from tests.support.lab.places import LAB
from tests.support.lab.requests import Node, read_answer, talking_to
from tests.support.lab.spare import NODE, cluster_of_one
from tests.support.lab.ssh import logged_in

_SCHEMA = "agent/index/schema.py"
_PLACE = "/api/v1/uploads"
_TUS = {"Tus-Resumable": "1.0.0"}
_WIPE = (
    "systemctl disable --now portside-agent portside-agent-worker 2>/dev/null; "
    "rm -rf /opt/portside /var/lib/portside-deploy/*.stamp /srv/portside/* "
    "/srv/portside/.portside-root /etc/portside/agent.toml"
)
"""What the machine was before is newer: an agent takes its index, but that is no upgrade."""


@pytest.fixture(autouse=True)
def the_labs_secrets(monkeypatch: pytest.MonkeyPatch) -> None:
    """The cluster file lies elsewhere than these."""
    monkeypatch.setenv(
        "PORTSIDE_SECRETS", os.environ.get("PORTSIDE_SECRETS", str(PROJECT_ROOT / "secrets"))
    )


@pytest.mark.parametrize("release", earlier_releases())
def test_nothing_is_lost_on_the_way_from_an_earlier_release(release: str, tmp_path: Path) -> None:
    file = tmp_path / "spare.yaml"
    file.write_text(cluster_of_one())
    cluster = load(file)
    keystore = Keystore.for_cluster(cluster, PROJECT_ROOT)
    keystore.init(cluster)
    # The machine may have been made anew since.
    keystore.forget_node_key(NODE)
    with logged_in([NODE]) as hosts:
        hosts[NODE].run(_WIPE)
    then = check_out(release, tmp_path / "then", cluster.name)
    earlier = tmp_path / "earlier.yaml"
    earlier.write_text(cluster_of_one(then / LAB.relative_to(PROJECT_ROOT)))
    before = deploy(earlier, project=then)
    assert before.succeeded, before.output
    trust = ssl.create_default_context(cafile=str(keystore.ca_certificate()))
    # An agent from before what the index has by now doesn't start with it.
    reads_index = (then / _SCHEMA).read_text() == (PROJECT_ROOT / _SCHEMA).read_text()
    upgraded(talking_to(cluster, NODE, trust, keystore.issuer_key()), file, reads_index)


def upgraded(node: Node, file: Path, reads_index: bool) -> None:
    """Bring the node of an earlier release to this one, to that again, and miss nothing.

    Unless that `reads_index`, as it is by then, the node stays with this one.
    """
    node.wait_until_ready()
    stored = [_stored(node, os.urandom(size)) for size in (0, 1, 2 * MIB)]
    for script in ("site.py", "rollback.py", "site.py"):
        half = Half.begun(node, os.urandom(4 * MIB))
        goes = script == "site.py" or reads_index
        stored += changed_under_uploads(node, file, script, goes)
        half.ended(node)
        for path, sha256, size in stored:
            assert node.download_digest(f"/uploads/{path}") == (size, sha256)


def changed_under_uploads(
    node: Node, file: Path, script: str, goes: bool
) -> list[tuple[str, str, int]]:
    """Run a deploy while others upload, one of them across all of it; what they stored.

    `goes`: the node takes the change; else it comes back from it.
    """
    content = os.urandom(8 * MIB)
    with node.open_put("across.bin", len(content), node.mint()) as running, uploads(node) as more:
        running.sendall(content[: 4 * MIB])
        run = deploy(file, script=script)
        assert run.succeeded is goes, run.output
        assert goes or "works again" in run.output
        running.sendall(content[4 * MIB :])
        across = read_answer(running)
    assert across.status == HTTPStatus.CREATED, across.body
    assert more.refused == []
    assert more.stored
    return more.stored


@dataclass(slots=True)
class Uploads:
    """Files that are sent one after the other while something else happens."""

    stored: list[tuple[str, str, int]] = field(default_factory=list)
    refused: list[str] = field(default_factory=list)


@contextmanager
def uploads(node: Node) -> Iterator[Uploads]:
    """Uploads without a pause, for as long as the block lasts."""
    made, over = Uploads(), threading.Event()

    def send() -> None:
        while not over.wait(0.2):
            try:
                made.stored.append(_stored(node, os.urandom(100_000)))
            except (AssertionError, OSError) as error:
                made.refused.append(repr(error))

    thread = threading.Thread(target=send)
    thread.start()
    try:
        yield made
    finally:
        over.set()
        thread.join()


def _stored(node: Node, content: bytes) -> tuple[str, str, int]:
    answer = node.put("whole.bin", content)
    assert answer.status == HTTPStatus.CREATED, answer.body
    stored = json.loads(answer.body)
    assert stored["sha256"] == hashlib.sha256(content).hexdigest()
    return stored["path"], stored["sha256"], len(content)


@dataclass(frozen=True, slots=True)
class Half:
    """A resumable upload of which the first half was sent."""

    content: bytes
    place: str
    token: str

    @classmethod
    def begun(cls, node: Node, content: bytes) -> Half:
        token = node.mint(name="half.bin")
        sent = {**_TUS, "Authorization": f"Bearer {token}"}
        created = node.ask("POST", _PLACE, headers={**sent, "Upload-Length": str(len(content))})
        assert created.status == HTTPStatus.CREATED, created.body
        place = str(created.headers["Location"]).removeprefix(f"https://{node.host}")
        half = cls(content, place, token)
        half._append(node, 0, content[: len(content) // 2])
        return half

    def ended(self, node: Node) -> None:
        """It goes on where it was, and becomes the file that it should."""
        sent = {**_TUS, "Authorization": f"Bearer {self.token}"}
        reached = node.ask("HEAD", self.place, headers=sent).headers["Upload-Offset"]
        assert int(str(reached)) == len(self.content) // 2
        self._append(node, int(str(reached)), self.content[int(str(reached)) :])

    def _append(self, node: Node, offset: int, content: bytes) -> None:
        sent = {
            **_TUS,
            "Authorization": f"Bearer {self.token}",
            "Content-Type": "application/offset+octet-stream",
            "Upload-Offset": str(offset),
        }
        answer = node.ask("PATCH", self.place, content, sent)
        assert answer.status in (HTTPStatus.NO_CONTENT, HTTPStatus.OK, HTTPStatus.CREATED)
