"""A copy of the database is packed as a backup that says whose it is, on both kinds."""

from __future__ import annotations

import tarfile
from io import BytesIO
from pathlib import Path

import pytest

from control.cluster import backup_check, contents, packing
from portside.backup import archive
from tests.support.control.core import Core


@pytest.fixture
def copy(core: Core, tmp_path: Path) -> Path:
    """What portside-control-backup would have made: packing takes whatever bytes these are."""
    core.settings.roster.write_text(core.nodes.roster().model_dump_json(exclude_none=True))
    path = tmp_path / "copies" / "control-20261201T000000Z"
    path.parent.mkdir()
    path.write_bytes(b"a copy of the database")
    return path


def test_a_backup_says_whose_it_is_and_how_much_is_in_it(core: Core, copy: Path) -> None:
    for _ in range(2):
        core.stores("s01", "s02")
    path = copy.with_name("packed")
    with path.open("wb") as out:
        manifest = packing.pack(core.settings, core.database, copy, out)
    assert archive.verify(path) == manifest
    about = manifest.about
    assert (about.cluster, about.nodes, about.files) == ("lab", 3, 2)
    assert about.issuers == (core.key.public().kid,)
    assert about.database == ("sqlite" if core.database.is_sqlite else "postgresql")
    assert about.newest is not None
    database = BytesIO()
    archive.unpack(path, archive.DATABASE, {}, database)
    assert database.getvalue() == copy.read_bytes()
    assert sorted(each.name for each in copy.parent.iterdir()) == [copy.name, path.name]


def test_no_private_key_travels_in_a_backup(core: Core, copy: Path) -> None:
    path = copy.with_name("packed")
    with path.open("wb") as out:
        packing.pack(core.settings, core.database, copy, out)
    assert core.settings.issuer_key is not None
    private = core.settings.issuer_key.read_text()
    settings = BytesIO()
    archive.unpack(path, archive.SETTINGS, {}, settings)
    with tarfile.open(fileobj=BytesIO(settings.getvalue())) as tar:
        assert sorted(tar.getnames()) == ["keyset.json", "roster.json"]
    assert private.encode() not in settings.getvalue()


def test_a_cluster_without_any_issuer_has_no_backup_that_could_be_told_from_anothers(
    core: Core, copy: Path
) -> None:
    settings = core.settings.model_copy(update={"keyset": None, "issuer_key": None})
    with pytest.raises(ValueError, match="nobody could tell whose"):
        packing.pack(settings, core.database, copy, BytesIO())


def test_who_has_not_spoken_since_a_restore_is_named(core: Core) -> None:
    core.database.write(backup_check.forget_heartbeats)
    assert core.database.read(contents.of).silent == ("s01", "s02", "s03")
    core.reports("s02")
    assert core.database.read(contents.of).silent == ("s01", "s03")
