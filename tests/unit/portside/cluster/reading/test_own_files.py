"""What a cluster file names on the operator's machine is found from the file, wherever one is."""

from __future__ import annotations

from pathlib import Path

import pytest

from portside.cluster.file import load
from portside.operator.keystore import Keystore, KeystoreError

TEXT = """
name: test
domain: portside.test
nodes: {s01: {ssh: {key: keys/s01}}, s02: {ssh: {key: ~/.ssh/id}}}
ssh: {key: /keys/all, config: ssh_config}
tls: {mode: files, directory: certificates, authority: ca.pem}
"""


@pytest.fixture
def clusters(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder `clusters` with a file in it; the current folder has namesakes of what it names."""
    elsewhere = tmp_path / "elsewhere"
    folder = tmp_path / "project" / "clusters"
    for place in (elsewhere, folder):
        (place / "certificates").mkdir(parents=True)
        (place / "ca.pem").touch()
    (folder.parent / "ca.pem").touch()
    (folder.parent / "ssh_config").touch()
    (folder / "test.yaml").write_text(TEXT)
    monkeypatch.chdir(elsewhere)
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.delenv("PORTSIDE_SECRETS", raising=False)
    return folder


def test_a_relative_path_starts_beside_the_file_else_above_it(clusters: Path) -> None:
    cluster = load(clusters / "test.yaml")
    assert cluster.tls.directory == clusters / "certificates"
    assert cluster.tls.authority == clusters / "ca.pem"
    assert cluster.ssh.config == clusters.parent / "ssh_config"
    assert cluster.ssh.key == Path("/keys/all")
    assert cluster.nodes["s02"].ssh.key == clusters.parents[1] / "home" / ".ssh" / "id"
    # What is nowhere yet is missed where it should be.
    assert cluster.nodes["s01"].ssh.key == clusters / "keys" / "s01"


def test_it_is_the_same_from_every_folder(clusters: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    before = load(clusters / "test.yaml")
    monkeypatch.chdir(clusters)
    assert load(Path("test.yaml")) == before
    assert Keystore.for_cluster(before, Path("/nowhere")).directory == (
        clusters.parent / "secrets" / "test"
    )


def test_secrets_are_beside_the_file_whoever_asks(clusters: Path) -> None:
    (clusters.parent / "own").mkdir()
    (clusters / "test.yaml").rename(clusters.parent / "own" / "cluster.yaml")
    cluster = load(clusters.parent / "own" / "cluster.yaml")
    for root in (Path("/opt/checkout"), Path.cwd()):
        found = Keystore.for_cluster(cluster, root).directory
        assert found == clusters.parent / "own" / "secrets" / "test"


def test_keys_that_lie_elsewhere_are_named_and_no_second_issuer_is_made(clusters: Path) -> None:
    cluster = load(clusters / "test.yaml")
    former = Keystore(Path.cwd() / "secrets" / "test")
    former.init(cluster)
    keystore = Keystore.for_cluster(cluster, Path("/opt/checkout"))
    for ask in (lambda: keystore.init(cluster), keystore.issuer_key, keystore.ca_certificate):
        with pytest.raises(KeystoreError, match="move that folder there") as error:
            ask()
        assert f"PORTSIDE_SECRETS={former.directory.parent}" in str(error.value)
        assert str(former.directory) in str(error.value)
    assert not list(keystore.directory.glob("issuer/*.json"))
