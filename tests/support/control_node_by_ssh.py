"""This computer as a control node that the verbs reach over SSH: its database, its two commands."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from control.db.database import Database
from control.db.migrations import migrate
from deploys import layout
from deploys.components.control_database import backup_command
from operate.backup import backing_up, restoring
from operate.site import Site
from portside.cluster.file import parse
from portside.operator.programs import Program
from portside.wire.heartbeat import Roster
from tests.support.cluster_files import CLUSTER

ROOT = Path(__file__).parents[2]


class ControlNode:
    """What a deploy would have brought, on places of a test."""

    def __init__(self, home: Path, site: Site, patched: pytest.MonkeyPatch) -> None:
        self.home = home
        self.database = home / "state" / "control.sqlite"
        self.copies = home / "copies"
        self.staging = home / "staging"
        for folder in (self.database.parent, self.copies, home / "current/venv/bin"):
            folder.mkdir(parents=True)
        versions = Path("control/db/migrations/versions")
        (site.root / versions.parent).mkdir(parents=True)
        (site.root / versions).symlink_to(ROOT / versions)
        program = Program("portside-control", str(home), "root")
        self._write_settings(site)
        opened = Database(f"sqlite:///{self.database}", connections=2)
        migrate(opened)
        opened.close()
        self._write_command(Path(program.command))
        self.backup = home / "portside-control-backup"
        self._write_backup(program)
        for module in (backing_up, restoring):
            patched.setattr(module, "CONTROL", program)
            patched.setattr(module, "CONTROL_BACKUP", str(self.backup))
        patched.setattr(restoring, "STAGING", str(self.staging))
        # There is no systemd to ask for a timer here.
        patched.setattr(restoring, "_COMPLETE", 'test -x "$1" && echo complete || echo incomplete')

    def _write_settings(self, site: Site) -> None:
        key, keystore = site.keystore.issuer_key(), site.keystore.keyset()
        (self.home / "issuer.json").write_text(key.to_json())
        (self.home / "keyset.json").write_text(keystore.model_dump_json())
        roster = Roster(version=1, cluster="test", factor=1, nodes=())
        (self.home / "roster.json").write_text(roster.model_dump_json(exclude_none=True))
        lines = {
            "cluster": "test",
            "control_url": "https://c01.portside.test",
            "database": f"sqlite:///{self.database}",
            "roster": str(self.home / "roster.json"),
            "keyset": str(self.home / "keyset.json"),
            "issuer": "test",
            "issuer_key": str(self.home / "issuer.json"),
        }
        text = "".join(f'{key} = "{value}"\n' for key, value in lines.items())
        (self.home / "control.toml").write_text(f'{text}extensions = [".bin"]\n')

    def _write_command(self, path: Path) -> None:
        path.write_text(
            f"#!/bin/sh\nPYTHONPATH={ROOT} PORTSIDE_CONTROL_CONFIG={self.home}/control.toml "
            f"exec {sys.executable} -c 'from control.cli import main; main()' \"$@\"\n"
        )
        path.chmod(0o755)

    def _write_backup(self, program: Program) -> None:
        text = backup_command(parse(CLUSTER))
        for old, new in (
            (layout.CONTROL_DATABASE, str(self.database)),
            (layout.CONTROL_BACKUPS, str(self.copies)),
            (f'USER = "{layout.CONTROL_USER}"', 'USER = "root"'),
            (layout.CONTROL_COMMAND, program.command),
        ):
            assert old in text
            text = text.replace(old, new)
        self.backup.write_text(text)
        self.backup.chmod(0o755)

    def files(self) -> list[Path]:
        """Everything of the database and its copies, to see that nothing was changed."""
        return sorted(each for each in self.home.rglob("*") if not each.is_symlink())
