"""Committed files by the thousand, made in seconds: data, attributes and rows by the agent's code.

What is left out is what takes the time of a real upload: the body's way through the network, the
intent row and the syncs. The disk's contents are the same.
"""

from __future__ import annotations

import hashlib
import time
import uuid
from collections.abc import Iterator
from pathlib import PurePosixPath

from agent.cluster import identity
from agent.host.directories import make_directories
from agent.host.filesystem import Filesystem
from agent.index.database import Database
from agent.index.files import FileIndex, Intent
from agent.settings import Settings
from agent.storage.attributes import Attributes
from agent.storage.commit import Committer
from portside.names import attributes_path
from portside.wire.claims import UploadClaims
from portside.wire.files import StoredFile

NAMESPACES = ("images", "isos", "models", "videos")
OWNERS = tuple(f"user-{number}" for number in range(50))

_BATCH = 500
_SMALL = 4096
"""Bytes of the largest file: these are about names and rows, not about bytes."""


def make(settings: Settings, count: int) -> list[StoredFile]:
    """Store `count` small files spread over namespaces and owners, and add their rows."""
    database = Database(settings.index)
    index = FileIndex(database)
    committer = Committer(settings, index, identity.load(settings.node_key, settings.node_id))
    files: list[StoredFile] = []
    batch: list[tuple[str, StoredFile]] = []
    for intent in _intents(settings, committer, count):
        batch.append((intent.jti, intent.stored))
        files.append(intent.stored)
        if len(batch) == _BATCH:
            index.restore(batch)
            batch = []
    index.restore(batch)
    database.close()
    return files


def _intents(settings: Settings, committer: Committer, count: int) -> Iterator[Intent]:
    known: set[PurePosixPath] = set()
    for number in range(count):
        data = (uuid.uuid4().bytes * (_SMALL // 16))[: 1 + number * 37 % _SMALL]
        claims = _claims(settings, number)
        digest = hashlib.sha256(data).hexdigest()
        stored = committer.describe(claims, f"file-{number:06}.bin", len(data), digest)
        intent = Intent(claims.jti, "", stored)
        if stored.path.parent not in known:
            make_directories(Filesystem(), settings.uploads, stored.path.parent, 0o755)
            known.add(stored.path.parent)
        (settings.uploads / stored.path).write_bytes(data)
        (settings.uploads / attributes_path(stored.path)).write_text(
            Attributes.of(intent).model_dump_json() + "\n", encoding="utf-8"
        )
        yield intent


def _claims(settings: Settings, number: int) -> UploadClaims:
    now = int(time.time())
    return UploadClaims(
        iss="bench",
        aud=settings.node_id,
        sub=OWNERS[number // len(NAMESPACES) % len(OWNERS)],
        jti=uuid.uuid4().hex,
        iat=now,
        nbf=now,
        exp=now + 600,
        session_deadline=now + 7200,
        file_id=uuid.uuid4().hex,
        namespace=NAMESPACES[number % len(NAMESPACES)],
        max_size=_SMALL,
    )
