"""`fab restore`: what is in order is never set aside by mistake, and nobody else is in the way."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path

import pytest

from control.db.database import Database
from operate import locks, nodes
from operate.backup import backing_up, backups, restoring
from operate.backup.restoring import Wishes
from operate.site import MISTAKES, Refused, Site
from operate.tell import Tell
from portside.backup.places import Folder
from portside.operator import node_lock
from portside.operator.keystore import Keystore
from tests.support.control_node_by_ssh import ControlNode

DRY = Wishes(dry=True)


def made(site: Site) -> Path:
    backing_up.backup(site, None, Tell())
    return backups.folder(site) / Folder(backups.folder(site)).names()[-1]


def set_aside(node: ControlNode) -> list[Path]:
    """Databases that were one day the control plane's."""
    return sorted(node.database.parent.glob("*.before-*"))


def changed(node: ControlNode, statement: str) -> None:
    database = Database(f"sqlite:///{node.database}", connections=2)
    database.write(lambda session: session.connection().exec_driver_sql(statement))
    database.close()


@contextmanager
def busy(site: Site, what: str = "deploy") -> Iterator[None]:
    """Somebody else holds the control node's lock."""
    with locks.held(site, "c01", what):
        yield


def audited(tmp_path: Path) -> list[tuple[str, str | None]]:
    log = tmp_path / "audit.log"
    entries = node_lock.read_audit(log.read_text()) if log.exists() else []
    return [(each.what, each.outcome) for each in entries]


def _unreachable(site: Site, node: ControlNode, patched: pytest.MonkeyPatch) -> None:
    ask = nodes.ask

    def cut(site: Site, node_ids: list[str], words: tuple[str, ...], *rest: object) -> object:
        if "contents" in words:
            return {"c01": nodes.Answer("c01", 255, "", "", unreached="c01: no answer")}
        return ask(site, node_ids, words, *rest)  # type: ignore[arg-type]

    patched.setattr(nodes, "ask", cut)


def _older(site: Site, node: ControlNode, patched: pytest.MonkeyPatch) -> None:
    changed(node, "UPDATE alembic_version SET version_num = '0001'")


def _locked_away(site: Site, node: ControlNode, patched: pytest.MonkeyPatch) -> None:
    """It is there, in order, and can't be opened: as with a disk that isn't mounted."""
    node.database.parent.rename(node.database.parent.with_name("elsewhere"))


@pytest.mark.parametrize(
    ("change", "why"),
    [
        (_unreachable, "c01: no answer"),
        (_older, "schema is 0001"),
        (_locked_away, "unable to open database"),
    ],
)
@pytest.mark.parametrize("dry", [True, False])
def test_a_database_of_which_nothing_can_be_said_is_not_set_aside(
    site: Site,
    restorable: ControlNode,
    monkeypatch: pytest.MonkeyPatch,
    change: object,
    why: str,
    dry: bool,
) -> None:
    change(site, restorable, monkeypatch)  # type: ignore[operator]
    before = restorable.files()
    with pytest.raises(Refused, match=why):
        restoring.from_nodes(site, Tell(), dry)
    assert [each for each in restorable.files() if each != restorable.staging] == before


def _damaged(database: Path) -> None:
    database.write_bytes(b"no database" * 1000)


def test_a_restore_waits_for_nobody_who_changes_the_node_and_changes_nothing_then(
    site: Site, restorable: ControlNode, tmp_path: Path
) -> None:
    path = made(site)
    with busy(site), pytest.raises(Refused, match=r"c01 is being changed by .*this one has"):
        restoring.restore(site, str(path), Wishes(), Tell())
    assert not set_aside(restorable)
    locks.close(site, ["c01"], "a disk is replaced", Tell())
    closed = tmp_path / "closed.json"
    closed.write_text(closed.read_text().replace(node_lock.me(), "ann@desk"))
    with pytest.raises(Refused, match=r"closed by ann@desk .*a disk is replaced"):
        restoring.restore(site, str(path), Wishes(), Tell())
    assert not set_aside(restorable)
    assert not [each for each in audited(tmp_path) if each[0].startswith("restore")]
    closed.unlink()
    restoring.restore(site, str(path), Wishes(), Tell())
    assert len(set_aside(restorable)) == 1
    assert audited(tmp_path)[-2:] == [
        (f"restore {path.name}", None),
        (f"restore {path.name}", "done"),
    ]


@pytest.mark.usefixtures("node")
def test_a_dry_run_on_a_bare_computer_tells_the_plan_and_brings_nothing(
    site: Site, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = tmp_path / "passphrase"
    words.write_text("correct horse battery staple\n")
    backing_up.backup(site, None, Tell(), with_secrets=True, passphrase_file=str(words))
    path = backups.found(site, "latest")
    lost = Site(site.path, site.cluster, Keystore(tmp_path / "new" / "test", "test"), site.root)
    wishes = Wishes(with_secrets=True, passphrase_file=str(words), dry=True)
    restoring.restore(lost, str(path), wishes, Tell())
    said = capsys.readouterr().out.replace("\n", " ")
    assert "would bring the operator's secrets back" in said
    assert "would deploy c01 if it has no control plane" in said
    assert not (tmp_path / "new").exists()


@pytest.fixture
def kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where s01 keeps backups."""
    monkeypatch.setattr(backups, "_ON_NODES", str(tmp_path / "kept"))
    return tmp_path / "kept" / "test"


@pytest.mark.usefixtures("node")
def test_a_backup_that_lies_elsewhere_is_read_there_though_one_of_its_name_is_here(
    site: Site, kept: Path
) -> None:
    backing_up.backup(site, "s01", Tell())
    [there] = kept.iterdir()
    here = backups.found(site, f"s01/{there.name}")
    assert backups.found(site, f"s01/{there.name}") == here, "the same file twice is no trouble"
    whole = there.read_bytes()
    there.write_bytes(whole[:-20000] + b"\xee" * 100 + whole[-19900:])
    with pytest.raises(MISTAKES, match=f"s01/{there.name} is damaged"):
        backing_up.verify(site, f"s01/{there.name}", Tell())
    assert here.read_bytes() == whole, "the one that is here is left alone"
    there.unlink()
    with pytest.raises(MISTAKES):
        backing_up.verify(site, f"s01/{there.name}", Tell())
    there.write_bytes(whole)
    here.write_bytes(whole[:-1])
    with pytest.raises(Refused, match="is another file: move that away"):
        backing_up.verify(site, f"s01/{there.name}", Tell())
    assert list(here.parent.iterdir()) == [here]


@pytest.mark.usefixtures("node")
def test_the_latest_of_a_place_that_clusters_share_is_our_own(site: Site, kept: Path) -> None:
    backing_up.backup(site, "s01", Tell())
    [there] = kept.iterdir()
    future = f"{datetime.now(UTC).year + 1}0101T000000Z"
    # Both sort after it; one cluster's name begins with ours.
    for other in ("test-two", "zoo", "test-20300101t000000z"):
        shutil.copy(there, kept / there.name.replace("test-", f"{other}-", 1))
        (kept / f"{other}-{future}.portside-backup.tar").write_bytes(b"theirs")
    assert backups.found(site, "s01/latest").name == there.name
    there.unlink()
    with pytest.raises(Refused, match="s01 has no backup of cluster 'test'"):
        backups.found(site, "s01/latest")
