"""Checking a node's receipt against what was sent: a 201 alone is only a claim.

The receipt is signed by the node. Its key comes from the node itself, over TLS that was verified,
and counts only if the node owns it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from portside.client.http.errors import ReceiptRefused
from portside.tokens import TokenRefused, verify_receipt
from portside.wire.claims import ReceiptClaims
from portside.wire.files import StoredFile
from portside.wire.keys import Keyset


@dataclass(frozen=True, slots=True)
class Sent:
    """What the client knows for itself: the session it used and the bytes it sent."""

    node_id: str
    jti: str
    file_id: str
    size: int
    sha256: str

    @classmethod
    def of(cls, claims: Mapping[str, Any], size: int, sha256: str) -> Sent:
        """What was sent with a token of these claims."""
        node_id, jti, file_id = (str(claims.get(name)) for name in ("aud", "jti", "file_id"))
        return cls(node_id, jti, file_id, size, sha256)


def check_receipt(stored: StoredFile, keys: Keyset, sent: Sent) -> ReceiptClaims:
    """What the node attests to. Raises ReceiptRefused unless receipt and answer equal `sent`."""
    own = Keyset(keys=tuple(key for key in keys.keys if key.owner == sent.node_id))
    try:
        receipt = verify_receipt(stored.receipt, own)
    except TokenRefused as refusal:
        raise ReceiptRefused(f"the receipt doesn't verify: {refusal} ({refusal.code})") from None
    _must_match("receipt", "session", receipt.jti, sent.jti)
    for source, said in (("receipt", receipt), ("answer", stored)):
        _must_match(source, "file id", said.file_id, sent.file_id)
        _must_match(source, "size", said.size, sent.size)
        _must_match(source, "SHA-256", said.sha256, sent.sha256)
    _must_match("answer", "node", stored.node_id, sent.node_id)
    _must_match("answer", "path", stored.path, receipt.path)
    return receipt


def _must_match(source: str, what: str, said: object, expected: object) -> None:
    if said != expected:
        raise ReceiptRefused(
            f"the {source} is not for what was sent: {what} {said}, not {expected}"
        )
