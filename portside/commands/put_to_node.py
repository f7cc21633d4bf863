"""`portside put` to one node, with a token that was given or is made with the cluster's key."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from portside.client import Wish, claims_for, put_resumable
from portside.client.progress import display
from portside.client.upload.source import size_of
from portside.commands.common import printable
from portside.commands.sending import (
    WHEN_SENT,
    Manner,
    Teller,
    checksum_ahead,
    checksum_within,
    stream_upload,
)
from portside.commands.target import Target
from portside.tokens import mint_upload
from portside.wire.files import StoredFile


@dataclass(frozen=True, slots=True)
class ToNode:
    """Files go to one node."""

    target: Target
    manner: Manner

    def store(self, path: Path) -> StoredFile:
        """Store one file. Raises UploadError, TokenRefused, ValueError."""
        size, target, manner = size_of(path), self.target, self.manner
        if size is None:
            return _streamed(path, target, manner)
        name = manner.name_of(path)
        if manner.resumable(size):
            return _resumably(path, size, target, manner)
        sha256 = checksum_ahead(path, size) if manner.checksum else None
        token = target.token or _minted(name, size, sha256, target, manner)
        with display(printable(name), size, WHEN_SENT) as shown:
            teller = Teller(shown)
            return target.client.put(
                path,
                token,
                name=name,
                sha256=sha256,
                on_progress=teller.sent,
                on_wait=teller.waiting,
            )

    def settle(self, path: Path, stored: StoredFile) -> None:
        """Nobody has to be told: an app that wants to know has the receipt, or a hook."""


def _streamed(path: Path, target: Target, manner: Manner) -> StoredFile:
    with stream_upload(path, manner) as upload:
        size = upload.size()
        token = target.token or _minted(manner.name_of(path), size, None, target, manner)
        return upload.put(target.client, token)


def _resumably(path: Path, size: int, target: Target, manner: Manner) -> StoredFile:
    name = manner.name_of(path)

    def mint() -> str:
        # Only where an upload begins is the file read before: one that goes on has its token.
        known = checksum_within(path, shown) if manner.checksum else None
        return _minted(name, size, known, target, manner)

    sha256 = checksum_ahead(path, size) if manner.checksum and target.token else None
    with display(printable(name), size, WHEN_SENT) as shown:
        try:
            return put_resumable(
                target.client,
                path,
                target.token or mint,
                kind=manner.identity,
                name=name,
                sha256=sha256,
                parallel=manner.parallel,
                watcher=Teller(shown),
            )
        except KeyboardInterrupt:
            shown.say("the same command again goes on from here")
            raise


def _minted(name: str, size: int | None, sha256: str | None, target: Target, manner: Manner) -> str:
    if target.cluster is None or target.keystore is None:
        raise AssertionError("a target without a token has a cluster")
    key = target.keystore.issuer_key()
    wish = Wish(
        node_id=target.node_id,
        owner=manner.owner,
        name=name,
        size=size,
        max_size=(manner.max_size or target.cluster.uploads.max_size) if size is None else None,
        namespace=manner.namespace,
        layout=manner.layout,
        sha256=sha256,
        expires_in=manner.expires_in,
    )
    return mint_upload(key, claims_for(target.cluster, key.owner, wish))
