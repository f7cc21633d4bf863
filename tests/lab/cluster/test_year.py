"""A year in short, on the lab's own cluster: what `make year` goes through that leaves no node out.

An app is at work all the while; whatever it was told is stored is there at the end, as it was sent.
"""

from __future__ import annotations

import hashlib
import json
import os
import signal
import subprocess
import time
from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest
from testinfra.host import Host

from deploys.layout import PROJECT_ROOT
from portside.cluster.file import CLUSTER_VARIABLE, Cluster
from portside.operator.keystore import Keystore
from tests.support.lab import everyday as app
from tests.support.lab.control_plane import ControlPlane, wait_for
from tests.support.lab.places import LAB
from tests.support.lab.requests import Node
from tests.support.lab.verbs import FAB, done, fab

FACTOR = 2
A_MOMENT = 12.0
"""Seconds that a reader may wait, on a computer that carries a lab: no season takes a node away."""

ADOPTED = "adopted-in-short"


@pytest.fixture
def shop(
    cluster: Cluster, control: ControlPlane, talk: Mapping[str, Node]
) -> Iterator[app.Cluster]:
    """The cluster as an app knows it; its files are gone afterwards."""
    control.wait_until_healthy()
    authority = Keystore.for_cluster(cluster, PROJECT_ROOT).ca_certificate()
    hosts = [node.host for node in talk.values()]
    shop = app.Cluster(str(cluster.control_url), control.key, authority, lambda: hosts)
    yield shop
    for namespace in (app.NAMESPACE, ADOPTED):
        for each in list(app.listed(shop, namespace)):
            control.delete(each.file_id)


def test_nothing_acknowledged_is_lost_or_out_of_reach_through_a_years_verbs(
    shop: app.Cluster, nodes: Mapping[str, Host], control: ControlPlane, tmp_path: Path
) -> None:
    with app.everyday(shop) as day:
        day.season = "drain"
        wait_for("the app has stored files", 60, lambda: len(day.owed) >= 5 or None)
        assert "s02: draining" in _interrupted_drain("s02")
        # It has files still.
        assert fab(LAB, "retire", "s02").returncode == 1
        assert control.states()["s02"][0] == "draining"
        assert done(LAB, "undrain", "s02") == "s02: active\n"

        day.season = "backup"
        done(LAB, "backup", "--to", str(tmp_path / "backups"))
        [backup] = (tmp_path / "backups").glob("*.tar")
        assert "was not touched" in done(LAB, "restore", str(backup), "--drill")

        day.season = "adopt"
        for each in _adopted(shop, nodes["s01"]):
            day.owes(each)
        time.sleep(3)
    storage = {node_id: host for node_id, host in nodes.items() if node_id != "c01"}
    app.all_is_there(shop, day.snapshot(), storage, FACTOR)
    print(day)
    assert {gap.anywhere for gap in day.gaps} <= {0.0}, day.gaps
    assert all(gap.lasting <= A_MOMENT for gap in day.gaps), day.gaps
    _exported(day.snapshot(), tmp_path / "export")


def _interrupted_drain(node_id: str) -> str:
    """Ctrl-C once it has begun; what was said."""
    with subprocess.Popen(
        [str(FAB), "drain", node_id, "--watch"],
        cwd=PROJECT_ROOT,
        env={**os.environ, CLUSTER_VARIABLE: str(LAB)},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        # As a shell leaves it; in the background of one it is ignored.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),
    ) as running:
        assert running.stdout is not None
        begun = running.stdout.readline()
        running.send_signal(signal.SIGINT)
        out, err = running.communicate(timeout=60)
    assert running.returncode == 130, out + err
    assert "interrupted: the drain goes on" in err
    return begun


def _adopted(shop: app.Cluster, host: Host) -> list[app.Owed]:
    said = host.check_output(
        f"mkdir -p /srv/{ADOPTED} && cd /srv/{ADOPTED} && for i in 1 2 3 4 5; do "
        "head -c 200000 /dev/urandom > old-$i.bin; done; sha256sum *.bin"
    )
    before = {line.split()[0] for line in said.splitlines()}
    words = ("--folder", f"/srv/{ADOPTED}", "--namespace", ADOPTED, "--owner", "alice")
    assert json.loads(done(LAB, "adopt", "s01", *words, "--json"))["adopted"] == len(before)
    views = wait_for(
        "the control plane lists them",
        60,
        lambda: found if len(found := list(app.listed(shop, ADOPTED))) == len(before) else None,
    )
    assert {each.sha256 for each in views} == before
    host.check_output(f"rmdir /srv/{ADOPTED}")
    return [app.owed(each) for each in views]


def _exported(owed: list[app.Owed], folder: Path) -> None:
    for namespace in (app.NAMESPACE, ADOPTED):
        done(LAB, "export", str(folder / namespace), "--namespace", namespace)
    found = {}
    for sums in folder.glob("*/SHA256SUMS"):
        for line in sums.read_text().splitlines():
            digest, _, path = line.partition("  ")
            found[path] = (digest, hashlib.sha256((sums.parent / path).read_bytes()).hexdigest())
    assert {each.path: (each.sha256, each.sha256) for each in owed}.items() <= found.items()
