"""A process that starts beside another looks after its node's uploads, and leaves alone those that
the other is at."""

from __future__ import annotations

import secrets
import time
from datetime import UTC, datetime
from pathlib import Path, PurePosixPath

import pytest

from agent.index.database import Database
from agent.index.files import FileIndex, Intent
from agent.index.uploads import Details, Kind, Upload, UploadIndex
from agent.integrity.housekeeping import expire
from agent.problems import ProblemError
from agent.resumable.staging import StagedUploads
from agent.settings import Settings
from agent.uploads.admission import Admission, Demand
from agent.uploads.shared.ledger import SharedLedger
from portside.quantities import GIB
from portside.wire.files import StoredFile
from tests.support.agent.settings import settings_of
from tests.support.minting import upload_claims

CONTENT = b"abc"


class Process:
    """What a process of the agent has of uploads, from its start on."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        database = Database(settings.index)
        self.files, self.uploads = FileIndex(database), UploadIndex(database)
        self.admission = Admission(
            *(settings.root, settings.sizing, self.uploads),
            memory_available=lambda: 100 * GIB,
            shared=SharedLedger(settings.root / "ledger"),
        )
        self.staged = StagedUploads(settings, self.uploads, self.admission)

    def begun(self, kind: Kind = "whole", deadline: float = 600) -> Upload:
        """An upload all of whose bytes are there."""
        claims = upload_claims("lab", "s01", {"namespace": "isos"})
        upload = Upload(
            upload_id=secrets.token_hex(16),
            jti=claims.jti,
            kind=kind,
            state="OPEN",
            staging=f"{claims.file_id}.1.part",
            path=None,
            start=0,
            length=len(CONTENT),
            offset=0,
            hash_state=None,
            deadline=int(time.time() + deadline),
            details=Details(claims=claims, dialect="tus", name="a.bin"),
        )
        (self._settings.staging / upload.staging).write_bytes(CONTENT)
        self.uploads.add(upload)
        return upload

    def commits(self, upload: Upload) -> Intent:
        """Up to where the file has its name, and its row doesn't say so yet."""
        claims, path = upload.details.claims, PurePosixPath("isos/a.bin")
        stored = StoredFile(
            file_id=claims.file_id,
            node_id="s01",
            namespace="isos",
            owner=claims.sub,
            name="a.bin",
            path=path,
            url=f"https://s01.portside.test/uploads/{path}",
            size=len(CONTENT),
            sha256="0" * 64,
            content_type="application/octet-stream",
            committed_at=datetime.now(UTC),
            receipt="",
        )
        intent = Intent(upload.jti, upload.staging, stored)
        self.files.begin(intent)
        place = self._settings.uploads / path
        place.parent.mkdir()
        (self._settings.staging / upload.staging).rename(place)
        return intent

    def state(self, upload: Upload) -> str:
        """That of an upload's row."""
        found = self.uploads.find(upload.upload_id)
        assert found is not None
        return found.state


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return settings_of(tmp_path)


@pytest.fixture
def old(settings: Settings) -> Process:
    return Process(settings)


def test_an_upload_that_another_process_commits_comes_to_its_end(
    settings: Settings, old: Process
) -> None:
    upload = old.begun()
    intent = old.commits(upload)
    new = Process(settings)
    assert new.state(upload) == "OPEN"
    with pytest.raises(ProblemError, match="another request is still at this upload"):
        new.staged.open(upload)
    old.files.commit(intent.stored.file_id)
    assert old.state(upload) == "COMPLETE"


def test_so_does_one_whose_deadline_passes_meanwhile(settings: Settings, old: Process) -> None:
    upload = old.begun(deadline=-3600)
    intent = old.commits(upload)
    assert expire(settings, Database(settings.index)) == 0
    old.files.commit(intent.stored.file_id)
    assert old.state(upload) == "COMPLETE"


def test_an_upload_whose_bytes_are_gone_has_ended(settings: Settings, old: Process) -> None:
    upload = old.begun()
    (settings.staging / upload.staging).unlink()
    assert Process(settings).state(upload) == "GONE"


@pytest.mark.parametrize("lives", [True, False], ids=["lives", "was killed"])
def test_a_joining_goes_on_where_its_process_lives(
    settings: Settings, old: Process, lives: bool
) -> None:
    final = old.begun("final")
    if not lives:
        assert Process(settings).state(final) == "GONE"
        return
    with old.admission.admit(Demand(final.upload_id, None, 0)):
        assert Process(settings).state(final) == "OPEN"
