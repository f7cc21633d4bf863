"""What apps and an operator do at a small cluster: keys, uploads, lists, nodes that may go."""

from __future__ import annotations

from typing import Any

import requests

from tests.support.control.small_cluster import SmallCluster

SCOPES = {"shop": "upload,read,delete", "blog": "upload,read", "boss": "read,admin"}


def apps(cluster: SmallCluster) -> dict[str, str]:
    """API keys of two apps that upload, and of one that may do everything."""
    keys = {}
    for name, scopes in SCOPES.items():
        made = cluster.control.run("app", "create", name, "--scope", scopes)
        keys[name] = made.stdout.strip()
    return keys


def upload(cluster: SmallCluster, key: str, owner: str, name: str, content: bytes) -> str:
    """A file by way of a session; returns its id."""
    session, sent = _sent(cluster, key, owner, name, content)
    assert sent.status_code == 201, sent.text
    return str(session["file_id"])


def upload_refused(
    cluster: SmallCluster, key: str, owner: str, name: str, content: bytes, **asked: Any
) -> int:
    """The same with more said of the file, such as a digest that isn't its own: what comes of it.

    A status of HTTP.
    """
    _, sent = _sent(cluster, key, owner, name, content, **asked)
    return sent.status_code


def _sent(
    cluster: SmallCluster, key: str, owner: str, name: str, content: bytes, **more: Any
) -> tuple[dict[str, Any], requests.Response]:
    asked = requests.post(
        f"{cluster.url}/api/v1/upload/sessions",
        json={"owner": owner, "name": name, "size": len(content), **more},
        headers={"Authorization": f"Bearer {key}"},
        timeout=60,
    )
    assert asked.status_code == 201, asked.text
    session: dict[str, Any] = asked.json()
    sent = requests.put(
        f"{session['upload_api_url']}/{name}",
        data=content,
        headers={"Authorization": f"Bearer {session['token']}"},
        verify=str(cluster.ca),
        timeout=60,
    )
    return session, sent


TOLD = ("owner", "name", "path", "size", "sha256", "committed_at", "state", "namespace")


def listed(cluster: SmallCluster, key: str) -> dict[str, dict[str, Any]]:
    """What an app sees, by id: all that a node knows as well."""
    answer = requests.get(
        f"{cluster.url}/api/v1/files", headers={"Authorization": f"Bearer {key}"}, timeout=60
    )
    assert answer.status_code == 200, answer.text
    return {
        file["file_id"]: {field: file[field] for field in TOLD} for file in answer.json()["files"]
    }


def wait_until_healthy(cluster: SmallCluster, key: str) -> None:
    """Wait until both nodes take files."""

    def healthy() -> bool:
        answer = requests.get(
            f"{cluster.url}/api/v1/nodes", headers={"Authorization": f"Bearer {key}"}, timeout=60
        )
        return [node["healthy"] for node in answer.json()["nodes"]] == [True, True]

    cluster.wait_for(healthy)


def wait_until_safe(cluster: SmallCluster, key: str, count: int) -> None:
    """Wait until so many files are all that there are, each with its copies."""
    cluster.wait_for(
        lambda: [file["state"] for file in listed(cluster, key).values()] == ["safe"] * count
    )


def retired(cluster: SmallCluster, key: str, node_id: str) -> requests.Response:
    """What is said when a node is to be let go."""
    return requests.post(
        f"{cluster.url}/api/v1/nodes/{node_id}/state",
        json={"state": "retired"},
        headers={"Authorization": f"Bearer {key}"},
        timeout=60,
    )
