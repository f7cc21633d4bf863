"""On which terms a copy is kept, where its sender says others than the issuers."""

from __future__ import annotations

import time
from datetime import UTC, datetime
from pathlib import Path, PurePosixPath
from typing import Any

import pytest

from agent.cluster.roster import Rosters
from agent.problems import ProblemError
from agent.replication.orders import CopyOrders, Terms
from agent.replication.request import ReplicateRequest
from agent.settings import Settings
from portside.cluster.lifetimes import Lifetimes
from portside.quantities import GIB
from portside.sizing import Machine, size
from portside.tokens import SigningKey, mint_adoption, mint_copy_order, mint_upload
from portside.wire.claims import CopyOrderClaims, ReplicateClaims
from portside.wire.heartbeat import Roster
from portside.wire.keys import Keyset
from tests.support.agent.adoption import order_claims
from tests.support.minting import upload_claims

ISSUER = SigningKey.generate("lab")
NOW = datetime.now(UTC).replace(microsecond=0)
DAY = 86400
REVOKED = "r" * 32
SOON, LATER = int(NOW.timestamp()) + 60, int(NOW.timestamp()) + DAY


class _Known(Rosters):
    def __init__(self, control_url: str | None) -> None:
        self._it = Roster(cluster="lab", control_url=control_url)

    def current(self) -> Roster:
        return self._it


def _refuse(token_id: str) -> None:
    if token_id == REVOKED:
        raise ProblemError("token-revoked", "it was revoked")


def _orders(control_url: str | None = "https://c01.portside.test") -> CopyOrders:
    nowhere = Path("/nonexistent")
    settings = Settings(
        node_id="s01",
        public_base_url="https://s01.portside.test",
        root=nowhere,
        keyset=nowhere,
        node_key=nowhere,
        roster=nowhere,
        max_size=GIB,
        extensions=(".bin",),
        private=(),
        held=("reports",),
        lifetimes=Lifetimes(default={"drafts": DAY}),
        uploads_per_minute=1,
        scrub_rate=1,
        scrub_every=1,
        sizing=size(Machine(ram=GIB, cores=1, disk=GIB)),
    )
    return CopyOrders(
        settings, lambda: Keyset(keys=(ISSUER.public(),)), _Known(control_url), _refuse
    )


def _claims(**changed: Any) -> ReplicateClaims:
    namespace = changed.get("namespace", "isos")
    said = {
        "iss": "s02",
        "aud": "s01",
        "iat": int(time.time()),
        "nbf": 0,
        "exp": int(time.time()) + 900,
        "jti": "t" * 32,
        "file_id": "f" * 32,
        "path": PurePosixPath(f"{namespace}/a.bin"),
        "size": 1,
        "sha256": "0" * 64,
        "namespace": namespace,
        "owner": "alice",
        "name": "a.bin",
        "content_type": "application/octet-stream",
        "committed_at": NOW,
        "held": False,
        **changed,
    }
    return ReplicateClaims.model_validate(said)


def _token(copy: ReplicateClaims, **changed: Any) -> str:
    """What the copy's file was uploaded with."""
    same = copy.model_dump(include={"jti", "file_id", "namespace", "name", "size"})
    said = {"sub": copy.owner, "layout": "named", "replicas": ("s01",), **same, **changed}
    return mint_upload(ISSUER, upload_claims("lab", "s02", said))


def _order(copy: ReplicateClaims, **changed: Any) -> str:
    said = copy.model_dump(exclude={"jti", "committed_at"}) | {"iss": "lab", "sub": copy.iss}
    return mint_copy_order(ISSUER, CopyOrderClaims.model_validate({**said, **changed}))


def _adoption(copy: ReplicateClaims, **changed: Any) -> str:
    """What the copy's file was adopted by."""
    return mint_adoption(
        ISSUER, order_claims("lab", "s02", namespace=copy.namespace, owner=copy.owner, **changed)
    )


def _terms(orders: CopyOrders, copy: ReplicateClaims, proof: str) -> tuple[bool, int | None]:
    asked = ReplicateRequest("PUT", str(copy.path), "", 1, None, None, proof=proof)
    found = orders.check(copy, asked)
    assert isinstance(found, Terms)
    return found.held, found.expires_at


@pytest.mark.parametrize(
    ("copy", "token", "kept"),
    [
        ({}, {}, (False, None)),
        ({}, {"hold": True}, (True, None)),
        ({"namespace": "reports"}, {}, (True, None)),
        ({"held": True}, {}, (True, None)),
        ({"held": None}, {"hold": True}, (True, None)),
        # A shorter life than the token's, or than the namespace gives.
        ({"expires_at": SOON}, {}, (False, None)),
        ({"expires_at": SOON}, {"expires_in": DAY}, (False, LATER)),
        ({"expires_at": SOON, "namespace": "drafts"}, {}, (False, LATER)),
        # It was let live longer since.
        ({"expires_at": LATER + 1}, {"expires_in": DAY}, (False, LATER + 1)),
        ({}, {"expires_in": DAY}, (False, None)),
    ],
)
def test_behind_an_uploads_token_a_sender_publishes_nothing_and_ends_nothing(
    copy: dict[str, Any], token: dict[str, Any], kept: tuple[bool, int | None]
) -> None:
    claims = _claims(**copy)
    assert _terms(_orders(), claims, _token(claims, **token)) == kept


@pytest.mark.parametrize(
    ("copy", "order", "kept"),
    [
        ({"held": False}, {"held": True}, (True, None)),
        ({"held": True}, {"held": False}, (True, None)),
        ({"expires_at": SOON}, {"held": False, "expires_at": None}, (False, None)),
        ({"expires_at": SOON}, {"held": False, "expires_at": LATER}, (False, LATER)),
        ({"expires_at": None}, {"held": False, "expires_at": LATER}, (False, LATER)),
        # What was released has its namespace's hold behind it.
        ({"namespace": "reports"}, {"held": False}, (False, None)),
        # A control plane of the release before.
        ({"expires_at": SOON}, {"held": None, "expires_at": None}, (False, SOON)),
        ({"held": None, "namespace": "reports"}, {"held": None}, (True, None)),
    ],
)
def test_the_control_planes_order_says_whether_a_copy_is_held_and_when_it_ends(
    copy: dict[str, Any], order: dict[str, Any], kept: tuple[bool, int | None]
) -> None:
    claims = _claims(**copy)
    assert _terms(_orders(), claims, _order(claims, **order)) == kept


def test_without_a_control_plane_a_copy_is_as_its_original_is_now() -> None:
    """Only the sender knows what was released there, or shortened."""
    claims = _claims(expires_at=SOON)
    token = _token(claims, hold=True, replicas=())
    assert _terms(_orders(None), claims, token) == (False, SOON)


def test_an_adoptions_order_brings_copies_until_it_is_revoked() -> None:
    copy = _claims(committed_at=datetime.now(UTC))
    assert _terms(_orders(control_url=None), copy, _adoption(copy)) == (False, None)
    with pytest.raises(ProblemError, match="adopted is revoked"):
        _terms(_orders(control_url=None), copy, _adoption(copy, jti=REVOKED))


def test_an_adoptions_order_that_is_not_taken_is_not_called_an_uploads_token() -> None:
    copy = _claims(committed_at=datetime.now(UTC))
    with pytest.raises(ProblemError, match="order for adoption brings no copies"):
        _terms(_orders(), copy, _adoption(copy))
