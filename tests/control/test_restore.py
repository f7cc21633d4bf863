"""A control plane whose database is older than its nodes' files, or gone: it knows them all again.

A control plane and two nodes as they really are, with as little between them as on real machines.
"""

from __future__ import annotations

import sqlite3
from pathlib import Path

import requests

from tests.support.control.small_cluster import SmallCluster
from tests.support.control.uploading import (
    apps,
    listed,
    retired,
    upload,
    wait_until_healthy,
    wait_until_safe,
)

FILES = 12


def backed_up(database: Path) -> Path:
    backup = database.with_suffix(".backup")
    source = sqlite3.connect(database)
    source.execute("VACUUM INTO ?", (str(backup),))
    source.close()
    return backup


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
    assert cluster.control.run("believe").stdout == "", "nothing is there by one node's word alone"
    assert cluster.control.run("believe", "s01").stdout.startswith("0 files of s01")
