"""What proves that a file was to come to a node: an issuer's word, sent along with each copy, and
kept with the file for a catalogue that has forgotten it.

A node's own word isn't enough to lay a file on other nodes: its key would be everybody's upload
token. The proof is one of three: the `upload+jwt` that the file came with, which says whose it may
be and how large; the `adoption+jwt` by which a node made it a stored one
(`portside.orders.adoption`); or the control plane's order, which says which bytes. Whom the
upload's token lets a copy be brought to is the receiving node's to see. Pure.
"""

from __future__ import annotations

from datetime import datetime
from pathlib import PurePosixPath

from portside.names import NameRefused, dated_path, named_path, sanitise
from portside.orders.adoption import verify_adopted
from portside.tokens import (
    ADOPTION_TYPE,
    UPLOAD_TYPE,
    TokenRefused,
    unverified_header,
    verify_copy_order,
    verify_uploaded,
)
from portside.wire.claims import (
    AdoptionClaims,
    CopyOrderClaims,
    ReplicateClaims,
    UploadClaims,
)
from portside.wire.inventory import HeldFile
from portside.wire.keys import Keyset

HEADER = "Portside-Order"
"""The header of a push that the proof is in."""

Proof = UploadClaims | AdoptionClaims | CopyOrderClaims

Told = ReplicateClaims | HeldFile
"""What a node says of a file: in a push, or to the control plane."""


def verify_proof(
    proof: str, issuers: Keyset, copy: ReplicateClaims, now: datetime | None = None
) -> Proof:
    """What proves this copy, of keys that are no node's. Raises TokenRefused.

    When an upload's token has ended is of no matter: the file is there, and its copy may be late.
    """
    kind = unverified_header(proof).get("typ")
    if kind == UPLOAD_TYPE:
        upload = verify_uploaded(proof, issuers, copy.iss, now)
        _must_agree(_of_upload(upload, copy))
        return upload
    if kind == ADOPTION_TYPE:
        adoption = verify_adopted(proof, issuers, copy.iss, copy.committed_at, now)
        _must_agree(_of_adoption(adoption, copy))
        return adoption
    order = verify_copy_order(proof, issuers, copy.aud, now)
    _must_agree(_of_order(order, copy))
    return order


def verify_held(file: HeldFile, issuers: Keyset, node_id: str, now: datetime | None = None) -> None:
    """Raise TokenRefused unless the proof that `node_id` has kept with a file bears out its word.

    Issuers are keys that are no node's. Which bytes these are is proved by an order, by a token
    that names their SHA-256, or by the word of the node that they were uploaded to or adopted on,
    as with every upload. When the proof has ended is of no matter.
    """
    proof = file.proof or ""
    kind = unverified_header(proof).get("typ")
    if kind == ADOPTION_TYPE:
        # Of another node's it says not which bytes a copy has: that node's word is needed too.
        adoption = verify_adopted(proof, issuers, node_id, file.committed_at, now)
        _must_agree(_of_adoption(adoption, file))
        return
    if kind != UPLOAD_TYPE:
        order = verify_copy_order(proof, issuers, node_id, now, late=True)
        _must_agree(_of_content(order, file))
        return
    upload = verify_uploaded(proof, issuers, None, now)
    _must_agree(_of_upload(upload, file))
    if upload.aud == node_id:
        return
    # Without a control plane the nodes chose among themselves, and the token names none.
    if upload.replicas and node_id not in upload.replicas:
        raise TokenRefused("token-wrong-node", f"the token is for no copy on {node_id!r}")
    if upload.sha256 is None:
        raise TokenRefused("token-claims", "it doesn't say which bytes a copy of its file has")


def _must_agree(found: dict[str, bool]) -> None:
    others = [name for name, agrees in found.items() if not agrees]
    if others:
        raise TokenRefused("token-claims", "it is for another " + ", ".join(others))


def _of_upload(token: UploadClaims, copy: Told) -> dict[str, bool]:
    """What the token says of a file, and whether the copy is as it says."""
    return {
        "file_id": token.file_id == copy.file_id,
        "token id": token.jti == copy.jti,
        "namespace": token.namespace == copy.namespace,
        "owner": token.sub == copy.owner,
        "app": token.app == copy.app,
        "size": token.size in (None, copy.size) and copy.size <= token.size_limit,
        "content": token.sha256 in (None, copy.sha256),
        "content type": token.content_type in (None, copy.content_type),
        "name or path": _is_its_place(token, copy),
    }


def _of_adoption(order: AdoptionClaims, file: Told) -> dict[str, bool]:
    return {
        "namespace": order.namespace == file.namespace,
        "owner": order.owner == file.owner,
        "app": order.app == file.app,
        "name or path": _is_at_its_place(file),
    }


def _is_its_place(token: UploadClaims, copy: Told) -> bool:
    """Whether the token's file gets this name and lies there: both are made by rules."""
    try:
        if token.name is not None and sanitise(token.name) != copy.name:
            return False
        return copy.path == (_named(copy) if token.layout == "named" else _dated(copy))
    except NameRefused:
        return False


def _is_at_its_place(copy: Told) -> bool:
    """The catalogue may know a long name only as its path has it: cut."""
    try:
        return copy.path in (_named(copy), _dated(copy))
    except NameRefused:
        return False


def _named(copy: Told) -> PurePosixPath:
    return named_path(copy.namespace, copy.name)


def _dated(copy: Told) -> PurePosixPath:
    committed_at = copy.committed_at
    return dated_path(copy.namespace, copy.name, copy.owner, copy.file_id, committed_at)


def _of_order(order: CopyOrderClaims, copy: ReplicateClaims) -> dict[str, bool]:
    return {"source": order.sub == copy.iss, **_of_content(order, copy)}


def _of_content(order: CopyOrderClaims, copy: Told) -> dict[str, bool]:
    return {
        "file_id": order.file_id == copy.file_id,
        "path": order.path == copy.path,
        "size": order.size == copy.size,
        "content": order.sha256 == copy.sha256,
        "namespace": order.namespace == copy.namespace,
        "owner": order.owner in (None, copy.owner),
        "name": order.name == copy.name or _is_at_its_place(copy),
        "content type": order.content_type in (None, copy.content_type),
        "app": order.app is None or copy.app in (None, order.app),
    }
