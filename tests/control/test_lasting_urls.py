"""A file's URL lives as long as the file: whatever becomes of its copies and of their nodes."""

from __future__ import annotations

import hashlib
import random
from urllib.parse import urlsplit

import pytest
import requests

from agent.index.database import Database
from agent.settings import load
from agent.storage.deletion import remove_copy
from portside.wire.control import FileView
from tests.support.control.small_cluster import SmallCluster, StorageProcesses

CONTENT = random.Random(7).randbytes(300_000)  # noqa: S311 (any bytes will do)
MOST_REDIRECTS = 4
"""A browser follows 20: that many means a circle."""


class App:
    """Who asks a cluster, over TLS where there is some."""

    def __init__(self, cluster: SmallCluster, key: str) -> None:
        self.cluster = cluster
        self.auth = {"Authorization": f"Bearer {key}"}
        self._session = requests.Session()
        # Whatever the environment says of authorities.
        self._session.trust_env = False
        self._session.verify = str(cluster.ca)
        self._session.max_redirects = MOST_REDIRECTS

    def control(self, method: str, path: str, json: object = None) -> requests.Response:
        """A request with the app's key."""
        url = f"{self.cluster.url}/api/v1/{path}"
        return self._session.request(method, url, json=json, headers=self.auth, timeout=60)

    def get(self, url: str, **headers: str) -> requests.Response:
        """What anyone gets there in the end."""
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        return self._session.get(url, headers=named, timeout=60)

    def may_upload(self) -> bool:
        """Whether both nodes are taken for healthy, by the snapshot that places sessions too."""
        answer = self.control("GET", "nodes")
        # The key is known with the next snapshot.
        healthy = answer.ok and [node["healthy"] for node in answer.json()["nodes"]]
        return healthy == [True, True] and self.control("GET", "upload/server").ok

    def uploads(self) -> FileView:
        """A file that both nodes have."""
        wish = {"owner": "user-7", "name": "a b.bin", "size": len(CONTENT)}
        session = self.control("POST", "upload/sessions", wish).json()
        # As an app does that shows the link at once: it leads to where nothing is yet.
        assert self.get(session["url"]).status_code == 404
        token = {"Authorization": f"Bearer {session['token']}"}
        put = self._session.put(
            f"{session['upload_api_url']}/a.bin", data=CONTENT, headers=token, timeout=60
        )
        assert put.json()["url"] == session["url"]
        # Whoever has heard of it: the node's receipt may still be on its way to the control plane.
        assert self.get(session["url"]).content == CONTENT
        self.cluster.wait_for(lambda: self.view(session["file_id"]).state == "safe")
        return self.view(session["file_id"])

    def view(self, file_id: str) -> FileView:
        """A file as the control plane knows it."""
        answer = self.control("GET", f"files/{file_id}")
        assert answer.status_code == 200, answer.text
        return FileView.model_validate_json(answer.content)


@pytest.fixture
def app(cluster: SmallCluster) -> App:
    """An app, once every node takes uploads."""
    scopes = ("--scope", "upload,read,delete,admin")
    key = cluster.control.run("app", "create", "people", *scopes).stdout.strip()
    found = App(cluster, key)
    cluster.wait_for(found.may_upload)
    return found


def test_a_url_finds_its_file_wherever_copies_are_left_and_ends_with_it(app: App) -> None:
    file = app.uploads()
    url, direct = str(file.url), {copy.node_id: copy.url for copy in file.copies}
    nodes = app.cluster.nodes
    everywhere = [url, *direct.values(), *(f"{n.url}/f/{file.file_id}/x" for n in nodes.values())]

    # One content, one set of validators, on whichever node.
    answers = [app.get(each) for each in everywhere]
    assert {each.content for each in answers} == {CONTENT}
    etag = f'"{hashlib.sha256(CONTENT).hexdigest()}"'
    assert {each.headers["ETag"] for each in answers} == {etag}
    assert len({each.headers["Last-Modified"] for each in answers}) == 1
    assert {each.headers["Surrogate-Key"] for each in answers} == {f"{file.file_id} files"}
    moment = answers[0].headers["Last-Modified"]
    for each in everywhere:
        rest = app.get(each, Range="bytes=1000-", If_Range=etag)
        assert (rest.status_code, rest.content) == (206, CONTENT[1000:])
        assert app.get(each, If_Modified_Since=moment).status_code == 304

    # A copy goes, and nobody has told the control plane: whoever is sent there is led on.
    for node in nodes.values():
        node.worker.kill()
    _lose_copy(nodes["s01"], file.file_id)
    for each in everywhere:
        found = app.get(each)
        assert found.content == CONTENT, each
        assert urlsplit(found.url).netloc == urlsplit(direct["s02"]).netloc

    # Everybody is wrong about who has it: that ends too.
    _lose_copy(nodes["s02"], file.file_id)
    assert {app.get(each).status_code for each in everywhere} == {503}

    assert app.control("DELETE", f"files/{file.file_id}").status_code == 200
    assert {app.get(each).status_code for each in everywhere} == {410}


def _lose_copy(node: StorageProcesses, file_id: str) -> None:
    """As the node does by a lease, when its copy isn't wanted any more."""
    found = load(node.agent.home / "agent.toml")
    database = Database(found.index)
    assert remove_copy(found, database, file_id)
    database.close()
