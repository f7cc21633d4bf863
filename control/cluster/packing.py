"""A copy of the database becomes a backup that travels: one file that says what it is of.

The copy itself is made, and read back, by `portside-control-backup`. Private keys are no part of
it: the operator's keystore has them.
"""

from __future__ import annotations

import sys
import tarfile
import tempfile
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import BinaryIO, Literal

from control.cluster import contents, issuer
from control.db import migrations
from control.db.database import Database
from control.settings import Settings
from portside.backup import archive
from portside.backup.archive import About, Manifest, Source
from portside.backup.sealing import Seal


def pack(
    settings: Settings, database: Database, copy: Path, out: BinaryIO, seal: Seal | None = None
) -> Manifest:
    """Write the backup that has this copy of `database` in it to `out`.

    Figures are those of the database now, for the copy was made just before. Raises
    DatabaseUnavailable, SchemaOutdated, OSError, ValueError without a key that tells whose it is.
    """
    migrations.check(database)
    figures = database.read(contents.of)
    kind: Literal["sqlite", "postgresql"] = "sqlite" if database.is_sqlite else "postgresql"
    about = About(
        cluster=settings.cluster,
        issuers=tuple(_issuers(settings)),
        made_at=datetime.fromtimestamp(int(copy.stat().st_mtime), UTC),
        release=Path(sys.prefix).parent.name,
        database=kind,
        revision=figures.revision,
        nodes=figures.nodes,
        files=figures.files,
        newest=figures.newest,
    )
    with copy.open("rb") as content, tempfile.TemporaryFile(dir=copy.parent) as settings_files:
        _gather(settings, settings_files)
        settings_files.seek(0)
        sources = (
            Source(archive.DATABASE, content, seal=seal),
            Source(archive.SETTINGS, settings_files, seal=seal),
        )
        return archive.write(out, about, sources, copy.parent)


def _issuers(settings: Settings) -> Iterator[str]:
    key = issuer.load(settings)
    kids = {each.kid for each in issuer.trusted(settings, key)().keys}
    if key is not None:
        kids.add(key.public().kid)
    if not kids:
        raise ValueError("no issuer's key is here, so nobody could tell whose backup this is")
    yield from sorted(kids)


def _gather(settings: Settings, to: BinaryIO) -> None:
    """The files that a deploy wrote, as they are now. A database's password is in none of them."""
    with tarfile.open(fileobj=to, mode="w") as tar:
        for path in (settings.roster, settings.keyset):
            if path is not None and path.exists():
                tar.add(path, path.name)
