"""A control plane whose database is older than its nodes' files, or gone: it knows them all again.

A control plane and two nodes as they really are, with as little between them as on real machines.
"""

from __future__ import annotations

import sqlite3
from pathlib import Path
from typing import Any

import requests

from tests.support.control.small_cluster import SmallCluster

FILES = 12


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
    asked = requests.post(
        f"{cluster.url}/api/v1/upload/sessions",
        json={"owner": owner, "name": name, "size": len(content)},
        headers={"Authorization": f"Bearer {key}"},
        timeout=60,
    )
    assert asked.status_code == 201, asked.text
    session = asked.json()
    sent = requests.put(
        f"{session['upload_api_url']}/{name}",
        data=content,
        headers={"Authorization": f"Bearer {session['token']}"},
        verify=str(cluster.ca),
        timeout=60,
    )
    assert sent.status_code == 201, sent.text
    return str(session["file_id"])


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
    def healthy() -> bool:
        answer = requests.get(
            f"{cluster.url}/api/v1/nodes", headers={"Authorization": f"Bearer {key}"}, timeout=60
        )
        return [node["healthy"] for node in answer.json()["nodes"]] == [True, True]

    cluster.wait_for(healthy)


def wait_until_safe(cluster: SmallCluster, key: str, count: int) -> None:
    cluster.wait_for(
        lambda: [file["state"] for file in listed(cluster, key).values()] == ["safe"] * count
    )


def backed_up(database: Path) -> Path:
    backup = database.with_suffix(".backup")
    source = sqlite3.connect(database)
    source.execute("VACUUM INTO ?", (str(backup),))
    source.close()
    return backup


def retired(cluster: SmallCluster, key: str, node_id: str) -> requests.Response:
    return requests.post(
        f"{cluster.url}/api/v1/nodes/{node_id}/state",
        json={"state": "retired"},
        headers={"Authorization": f"Bearer {key}"},
        timeout=60,
    )


def test_files_stored_after_the_backup_are_known_again_with_owner_app_and_name(
    cluster: SmallCluster,
) -> None:
    keys = apps(cluster)
    wait_until_healthy(cluster, keys["boss"])
    before = upload(cluster, keys["shop"], "alice", "before.bin", b"before")
    gone = upload(cluster, keys["shop"], "alice", "gone.bin", b"gone")
    wait_until_safe(cluster, keys["boss"], 2)
    backup = backed_up(cluster.database)
    after = {
        upload(cluster, keys[app], owner, f"{owner}.bin", owner.encode()): (app, owner)
        for app, owner in [("shop", "alice"), ("shop", "bob"), ("blog", "carol")]
    }
    removed = requests.delete(
        f"{cluster.url}/api/v1/files/{gone}",
        headers={"Authorization": f"Bearer {keys['shop']}"},
        timeout=60,
    )
    assert removed.status_code == 200
    wait_until_safe(cluster, keys["boss"], 4)
    cluster.wait_for(lambda: not any(b"gone" in contents for contents in cluster.contents()))
    known = listed(cluster, keys["boss"])

    cluster.stop_control()
    cluster.put_database(backup)
    cluster.start_control()

    cluster.wait_for(lambda: listed(cluster, keys["boss"]) == known)
    for file_id, (app, owner) in after.items():
        file = listed(cluster, keys[app])[file_id]
        assert (file["owner"], file["name"]) == (owner, f"{owner}.bin")
    assert set(listed(cluster, keys["blog"])) == {f for f, (a, _) in after.items() if a == "blog"}
    assert before in known and gone not in known


def test_a_catalogue_that_is_gone_is_rebuilt_from_the_nodes_and_nothing_retires_meanwhile(
    cluster: SmallCluster, migrated_sqlite: Path
) -> None:
    keys = apps(cluster)
    wait_until_healthy(cluster, keys["boss"])
    for number in range(FILES):
        upload(cluster, keys["shop"], f"user-{number}", f"{number}.bin", str(number).encode())
    wait_until_safe(cluster, keys["boss"], FILES)
    known = listed(cluster, keys["boss"])

    cluster.stop_control()
    cluster.put_database(migrated_sqlite)
    cluster.start_control()
    keys = apps(cluster)
    refused = retired(cluster, keys["boss"], "s01")
    assert refused.status_code in (404, 409), "nobody has told of s01's files yet"

    cluster.wait_for(lambda: listed(cluster, keys["boss"]) == known)
    assert retired(cluster, keys["boss"], "s01").status_code == 409
    assert set(listed(cluster, keys["shop"])) == set(known)
    checked = cluster.control.run("check", "--counters")
    assert checked.returncode == 0, checked.stderr
