"""A control plane whose disk is lost goes on from its running copy, a second or two older."""

from __future__ import annotations

import shutil
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
import requests

from portside.cluster.file import parse
from tests.support.cluster_files import CLUSTER
from tests.support.control.replica import ReplicatedDatabase
from tests.support.control.small_cluster import SmallCluster
from tests.support.control.uploading import (
    apps,
    listed,
    retired,
    upload,
    wait_until_healthy,
    wait_until_safe,
)


@pytest.fixture
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    # A short path: those of sockets are limited (unix(7)).
    return tmp_path_factory.mktemp("r")


@pytest.fixture
def disk(home: Path, migrated_sqlite: Path) -> Path:
    """The folder that the database is in."""
    folder = home / "disk"
    folder.mkdir()
    shutil.copyfile(migrated_sqlite, folder / "control.sqlite")
    return folder


@pytest.fixture
def replicated(home: Path, disk: Path) -> Iterator[ReplicatedDatabase]:
    # What must lie on another disk is the deploy's to check.
    text = f"{CLUSTER}control: {{replica: {{path: /mnt/copy}}}}\n"
    replicated = ReplicatedDatabase(home, parse(text), disk / "control.sqlite")
    settings = replicated.settings.read_text()
    replicated.settings.write_text(settings.replace("/mnt/copy", str(home / "copy")))
    yield replicated
    replicated.kill()


@pytest.fixture
def cluster(home: Path, disk: Path, replicated: ReplicatedDatabase) -> Iterator[SmallCluster]:
    cluster = SmallCluster(
        home, f"sqlite:///{disk / 'control.sqlite'}", replica_socket=str(replicated.socket)
    )
    replicated.install(cluster.control)
    try:
        cluster.start()
        yield cluster
    finally:
        cluster.end()


def warnings(cluster: SmallCluster) -> str:
    """What `/health/ready` warns of."""
    return " ".join(requests.get(f"{cluster.url}/health/ready", timeout=60).json()["warnings"])


def figure(cluster: SmallCluster, name: str) -> float:
    """One of `/metrics`."""
    lines = requests.get(f"{cluster.url}/metrics", timeout=60).text.splitlines()
    [value] = [line.split()[1] for line in lines if line.startswith(f"{name} ")]
    return float(value)


def rows(database: Path, table: str) -> set[str]:
    with closing(sqlite3.connect(database)) as opened:
        return {row[0] for row in opened.execute(f"SELECT file_id FROM {table}")}  # noqa: S608


def test_a_lost_disk_costs_what_the_copy_had_not_yet_and_nodes_tell_that(
    cluster: SmallCluster, replicated: ReplicatedDatabase, disk: Path
) -> None:
    keys = apps(cluster)
    assert "replica-silent" in warnings(cluster), "nothing copies yet"
    replicated.start()
    cluster.wait_for(lambda: "replica" not in warnings(cluster))
    assert figure(cluster, "portside_control_replica_up") == 1
    wait_until_healthy(cluster, keys["boss"])
    before = {
        upload(cluster, keys["shop"], f"user-{number}", f"{number}.bin", str(number).encode())
        for number in range(6)
    }
    wait_until_safe(cluster, keys["boss"], 6)
    copied: dict[str, Any] = listed(cluster, keys["boss"])
    assert set(copied) == before
    # Two seconds' worth of what follows is the copy's by then.
    cluster.wait_for(lambda: _is_in_the_copy(replicated, disk.parent / "look", before))

    replicated.kill()
    cluster.wait_for(lambda: "replica-silent" in warnings(cluster))
    assert figure(cluster, "portside_control_replica_up") == 0
    since = {
        upload(cluster, keys["blog"], "late", f"late-{number}.bin", f"late {number}".encode())
        for number in range(3)
    }
    wait_until_safe(cluster, keys["boss"], 9)
    known = listed(cluster, keys["boss"])
    cluster.stop_control()
    shutil.rmtree(disk)
    disk.mkdir()

    done = replicated.command("restore", "replica")
    assert done.returncode == 0, done.stderr + replicated.log.read_text()
    assert "is nothing" in done.stdout
    assert rows(disk / "control.sqlite", "files") >= before
    assert rows(disk / "control.sqlite", "sessions") >= before
    assert not rows(disk / "control.sqlite", "files") & since
    cluster.start_control()

    # The keys of apps are the old ones, and the nodes tell of what was stored since.
    cluster.wait_for(lambda: listed(cluster, keys["boss"]) == known)
    assert set(listed(cluster, keys["blog"])) == since
    assert retired(cluster, keys["boss"], "s01").status_code == 409
    cluster.wait_for(lambda: "replica" not in warnings(cluster))
    # What is copied now is what was restored, and what came since.
    later = {upload(cluster, keys["shop"], "after", "after.bin", b"after")}
    cluster.wait_for(lambda: _is_in_the_copy(replicated, disk.parent / "look", later | since))
    proven = replicated.command()
    assert proven.returncode == 0, proven.stderr


def _is_in_the_copy(replicated: ReplicatedDatabase, to: Path, file_ids: set[str]) -> bool:
    """Whether a restore of now would have these files."""
    for path in to.parent.glob(f"{to.name}*"):
        path.unlink()
    replicated.fetch(to)
    return to.exists() and rows(to, "files") >= file_ids


def test_a_copy_that_does_not_follow_its_database_is_noticed(
    cluster: SmallCluster, replicated: ReplicatedDatabase, home: Path
) -> None:
    replicated.start()
    cluster.wait_for(lambda: "replica" not in warnings(cluster))
    cluster.wait_for(lambda: replicated.command().returncode == 0)
    # The next whole copy is hours away.
    cluster.wait_for(lambda: any((home / "copy/ltx/9").glob("*.ltx")))
    (replicated.folder / ".replica-proven").unlink()
    # Somebody tidied up: litestream goes on, with what came since and nothing below it.
    # Moved and not deleted, which it would write in the midst of.
    (home / "copy").rename(home / "tidied")
    done = replicated.command()
    assert done.returncode == 1
    assert list(replicated.folder.glob("control-*.sqlite")), "the backup itself was made"
    assert not list(replicated.folder.glob(".control-*")), "nothing is left of the attempt"
