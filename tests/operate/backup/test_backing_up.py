"""`fab backup`: one whole file elsewhere, or none; never half of one."""

from __future__ import annotations

import errno
import json
import os
import tarfile
import time
from io import BytesIO
from pathlib import Path
from typing import Any

import pytest

from operate.backup import backing_up, backups, restoring
from operate.site import MISTAKES, Refused, Site
from operate.tell import Tell
from portside.backup import archive
from portside.backup.places import Folder
from portside.operator.keystore import Keystore
from tests.support.control_node_by_ssh import ControlNode
from tests.support.ssh_server import SshServer

WORDS = "correct horse battery staple"


@pytest.fixture
def passphrase(tmp_path: Path) -> str:
    path = tmp_path / "passphrase"
    path.write_text(f"{WORDS}\n")
    return str(path)


def made(site: Site, to: str | None = None, **more: Any) -> Path:
    """A backup that was just made; in a folder of this computer."""
    backing_up.backup(site, to, Tell(), **more)
    folder = Path(to) if to else backups.folder(site)
    return sorted(folder.glob("*.tar"))[-1]


@pytest.mark.usefixtures("node")
def test_a_backup_comes_here_whole_and_for_its_owner_alone(
    site: Site, capsys: pytest.CaptureFixture[str]
) -> None:
    path = made(site)
    said = capsys.readouterr().out
    manifest = archive.verify(path)
    assert manifest.about.cluster == "test" and manifest.name == path.name
    assert path.stat().st_mode & 0o777 == 0o600
    assert path.parent.stat().st_mode & 0o777 == 0o700
    assert list(path.parent.iterdir()) == [path]
    assert str(path) in said and "0 files" in said
    assert f"They are in {site.keystore.directory}" in said
    backing_up.listed(site, None, Tell())
    assert path.name in capsys.readouterr().out
    backing_up.verify(site, "latest", Tell())
    assert "every digest is right" in capsys.readouterr().out


@pytest.mark.usefixtures("node")
def test_what_goes_to_another_machine_is_sealed_and_comes_back(
    site: Site, server: SshServer, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    known = tmp_path / "known"
    known.write_text(f"[127.0.0.1]:{server.port} {server.host_key}\n")
    to = f"ssh://{server.user}@127.0.0.1:{server.port}{tmp_path}/there/below"
    with pytest.MonkeyPatch.context() as patched:
        place = backups.place(site, to)
        options = ("-i", str(server.key), "-o", f"UserKnownHostsFile={known}")
        object.__setattr__(place, "options", (*place.options, *options))  # type: ignore[attr-defined]
        patched.setattr(backups, "place", lambda site, said: place)
        backing_up.backup(site, to, Tell())
        [there] = (tmp_path / "there" / "below").iterdir()
        assert there.stat().st_mode & 0o777 == 0o600
        assert {part.sealed for part in archive.verify(there).parts} == {"key"}
        assert place.names() == [there.name]
        assert "backup.key opens it" in capsys.readouterr().out.replace("\n", " ")
        assert list(backups.folder(site).iterdir()) == []
        back = backups.found(site, f"{to}/latest")
    assert back.read_bytes() == there.read_bytes()


def test_a_node_keeps_one_too(site: Site, node: ControlNode, tmp_path: Path) -> None:
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(backups, "_ON_NODES", str(tmp_path / "kept"))
        backing_up.backup(site, "s01", Tell())
        [there] = (tmp_path / "kept" / "test").iterdir()
        assert {part.sealed for part in archive.verify(there).parts} == {"key"}
        assert backups.found(site, f"s01/{there.name}").read_bytes() == there.read_bytes()
        with pytest.raises(MISTAKES, match="s02: can't be reached"):
            backing_up.backup(site, "s02", Tell())
    assert node.files()


@pytest.mark.usefixtures("node")
def test_the_operators_secrets_travel_under_a_passphrase_and_come_back_where_there_are_none(
    site: Site, passphrase: str, tmp_path: Path
) -> None:
    path = made(site, with_secrets=True, passphrase_file=passphrase)
    issuer = site.keystore.issuer_key().to_json()
    assert json.loads(issuer)["d"].encode() not in path.read_bytes()
    wishes = restoring.Wishes(with_secrets=True, passphrase_file=passphrase, dry=True)
    with pytest.raises(Refused, match="has secrets"):
        restoring.restore(site, str(path), wishes, Tell())
    lost = Site(site.path, site.cluster, Keystore(tmp_path / "new" / "test", "test"), site.root)
    wrong = tmp_path / "wrong"
    wrong.write_text("another passphrase\n")
    again = restoring.Wishes(with_secrets=True, passphrase_file=str(wrong), drill=True)
    with pytest.raises(MISTAKES, match="the passphrase is another one"):
        restoring.restore(lost, str(path), again, Tell())
    assert not list((tmp_path / "new" / "test" / "issuer").iterdir())
    right = restoring.Wishes(with_secrets=True, passphrase_file=passphrase, drill=True)
    restoring.restore(lost, str(path), right, Tell())
    assert lost.keystore.issuer_key().to_json() == issuer
    assert lost.keystore.known_hosts.read_text() == site.keystore.known_hosts.read_text()


def test_a_full_disk_here_leaves_the_older_ones_alone(
    site: Site, node: ControlNode, monkeypatch: pytest.MonkeyPatch
) -> None:
    older = made(site)

    def full(out: object, *rest: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(archive, "verify", full)
    with pytest.raises(OSError, match="No space left"):
        backing_up.backup(site, None, Tell())
    assert list(backups.folder(site).iterdir()) == [older]


def test_a_database_that_is_damaged_is_told_of_and_leaves_the_older_ones_alone(
    site: Site, node: ControlNode
) -> None:
    older = made(site)
    node.database.write_bytes(b"no database" * 1000)
    for suffix in ("-wal", "-shm"):
        node.database.with_name(node.database.name + suffix).unlink(missing_ok=True)
    with pytest.raises(Refused, match=r"no copy of the database could be made: c01: .*database"):
        backing_up.backup(site, None, Tell())
    assert list(backups.folder(site).iterdir()) == [older]


def test_what_runs_that_were_killed_left_here_stops_no_later_one(
    site: Site, node: ControlNode
) -> None:
    # Killed while it was sent elsewhere: what was read back lies in a folder of its own.
    left = backups.folder(site) / ".partial-killed"
    (left / "tmp1").mkdir(parents=True)
    (left / "tmp1" / "back").write_bytes(b"half")
    (left / "fetched").write_bytes(b"half")
    file = backups.folder(site) / ".partial-file"
    file.write_bytes(b"half")
    fresh = backups.folder(site) / ".partial-fresh"
    fresh.mkdir()
    for each in (left, file):
        os.utime(each, (time.time() - 2 * 86400,) * 2)
    path = made(site)
    assert sorted(backups.folder(site).iterdir()) == [fresh, path]


def test_a_dry_run_changes_nothing(
    site: Site, node: ControlNode, capsys: pytest.CaptureFixture[str]
) -> None:
    before = node.files()
    backing_up.backup(site, None, Tell(as_json=True), dry=True)
    assert json.loads(capsys.readouterr().out)["dry"] is True
    assert node.files() == before and not backups.folder(site).exists()


def test_a_bucket_that_nobody_names_is_a_line(site: Site) -> None:
    with pytest.raises(Refused, match="names no bucket"):
        backing_up.backup(site, "bucket", Tell())
    for wrong in ("ssh://", "ssh://host", "ssh://host:port/a"):
        with pytest.raises(Refused):
            backups.place(site, wrong)


@pytest.mark.usefixtures("node")
def test_a_drill_says_that_it_could_be_restored_and_touches_nothing(
    site: Site, node: ControlNode, capsys: pytest.CaptureFixture[str]
) -> None:
    path = made(site)
    database = node.database.read_bytes()
    before = node.files()
    restoring.restore(site, str(path), restoring.Wishes(drill=True), Tell())
    said = capsys.readouterr().out
    assert "it could be restored; the database that is used was not touched" in said
    assert "0 files" in said
    assert node.database.read_bytes() == database
    assert [each for each in node.files() if each.name not in ("staging",)] == before


def _changed(path: Path, **about: object) -> Path:
    """The backup with another word in its manifest, and digests that fit."""
    manifest = archive.read(path)
    other = path.with_name("changed.tar")
    sources = []
    for part in manifest.parts:
        content = BytesIO()
        archive.copy_part(path, part.name, content)
        content.seek(0)
        sources.append(archive.Source(part.name, content, compressed=True))
    with other.open("wb") as out:
        archive.write(out, manifest.about.model_copy(update=about), sources, path.parent)
    return other


def _damaged(path: Path) -> Path:
    content = bytearray(path.read_bytes())
    with tarfile.open(path) as tar:
        content[tar.getmember("database.gz").offset_data + 100] ^= 1
    path.write_bytes(content)
    return path


@pytest.mark.parametrize(
    ("change", "why"),
    [
        (_damaged, "database.gz has another digest"),
        (lambda path: _changed(path, cluster="other"), "of cluster 'other', this is 'test'"),
        (lambda path: _changed(path, issuers=("strange",)), "another cluster named 'test'"),
        (lambda path: _changed(path, revision="9999"), "schema 9999 is newer than this checkout"),
        (lambda path: _changed(path, database="postgresql"), "of a postgresql database"),
    ],
)
@pytest.mark.parametrize("drill", [True, False])
def test_a_backup_that_does_not_fit_is_refused_before_anything_is_changed(
    site: Site, node: ControlNode, change: Any, why: str, drill: bool
) -> None:
    path = change(made(site))
    before = node.files()
    with pytest.raises(MISTAKES, match=why):
        restoring.restore(site, str(path), restoring.Wishes(drill=drill), Tell())
    assert node.files() == before


def test_what_is_sealed_needs_the_keystores_key(
    site: Site, node: ControlNode, tmp_path: Path
) -> None:
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(Folder, "private", False)
        path = made(site, str(tmp_path / "elsewhere"))
    key = site.keystore.directory / "backup.key"
    assert key.stat().st_mode & 0o777 == 0o600
    restoring.restore(site, str(path), restoring.Wishes(drill=True), Tell())
    key.unlink()
    with pytest.raises(MISTAKES, match="sealed with a key: none is here"):
        restoring.restore(site, str(path), restoring.Wishes(drill=True), Tell())
    assert not (node.staging).exists() or not list(node.staging.iterdir())


def test_a_backup_that_does_not_exist_is_a_line_that_says_where_to_look(site: Site) -> None:
    for said in ("nothing.tar", "latest", "s01/../../etc/passwd"):
        with pytest.raises(Refused):
            backups.found(site, said)
