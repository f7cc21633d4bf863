"""Tokens: what is taken, and every way known to forge one that is not."""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import re
import secrets
from datetime import UTC, datetime, timedelta
from typing import Any

import jwt
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from portside.tokens import (
    DOWNLOAD_TYPE,
    LEEWAY,
    RECEIPT_TYPE,
    RESUMABLE,
    UPLOAD_TYPE,
    SigningKey,
    TokenRefused,
    mint_receipt,
    mint_upload,
    revocable,
    token_id,
    unverified_claims,
    unverified_header,
    verify_download,
    verify_receipt,
    verify_upload,
    verify_uploaded,
)
from portside.wire.claims import ReceiptClaims, UploadClaims
from portside.wire.fields import JTI_PATTERN
from portside.wire.keys import Keyset, PublicKey, thumbprint

NOW = datetime(2026, 3, 1, tzinfo=UTC)
UNIX = int(NOW.timestamp())
KEY = SigningKey.generate("lab")
STRANGER = SigningKey.generate("lab")
NODE_KEY = SigningKey.generate("s01")
KEYS = Keyset(keys=(KEY.public(), NODE_KEY.public()))

CLAIMS: dict[str, Any] = {
    "iss": "lab",
    "aud": "s01",
    "sub": "user-7",
    "jti": "0123456789",
    "iat": UNIX,
    "nbf": UNIX,
    "exp": UNIX + 900,
    "session_deadline": UNIX + 7200,
    "file_id": "0" * 32,
    "namespace": "isos",
    "size": 1000,
}
RECEIPT: dict[str, Any] = {
    "iss": "s01",
    "aud": "uploader",
    "iat": UNIX,
    "jti": "0123456789",
    "file_id": "0" * 32,
    "path": "isos/x.iso",
    "size": 1000,
    "sha256": "0" * 64,
    "committed_at": NOW.isoformat(),
    "copies": ["s01"],
}


def signed(key: SigningKey = KEY, typ: str = UPLOAD_TYPE, **changed: Any) -> str:
    """A token with a good signature, whatever it says; None leaves a claim out."""
    claims = {name: value for name, value in {**CLAIMS, **changed}.items() if value is not None}
    return key.sign(typ, claims)


def refusal(token: str, node_id: str = "s01", now: datetime = NOW, keys: Keyset = KEYS) -> str:
    with pytest.raises(TokenRefused) as refused:
        verify_upload(token, keys, node_id, now)
    return refused.value.code


def segment(data: Any) -> str:
    raw = data if isinstance(data, bytes) else json.dumps(data).encode()
    return base64.urlsafe_b64encode(raw).rstrip(b"=").decode()


def sign_anything(payload: Any) -> str:
    """A good signature over what no library would agree to sign."""
    header = {"alg": "EdDSA", "kid": KEY.kid, "typ": UPLOAD_TYPE}
    signing_input = f"{segment(header)}.{segment(payload)}"
    return f"{signing_input}.{segment(KEY._private.sign(signing_input.encode()))}"


def forged(header: Any, payload: Any, signature: bytes) -> str:
    return f"{segment(header)}.{segment(payload)}.{segment(signature)}"


def test_a_minted_token_says_at_its_node_what_it_said_at_its_issuer() -> None:
    claims = UploadClaims.model_validate(CLAIMS)
    assert verify_upload(mint_upload(KEY, claims), KEYS, "s01", NOW) == claims


# -- forgeries -----------------------------------------------------------------------------------


def test_a_strangers_signature_under_a_trusted_kid_is_refused() -> None:
    token = jwt.encode(
        CLAIMS, STRANGER._private, algorithm="EdDSA", headers={"kid": KEY.kid, "typ": UPLOAD_TYPE}
    )
    assert refusal(token) == "token-signature"


def test_an_unknown_key_is_refused() -> None:
    assert refusal(signed(STRANGER)) == "token-unknown-key"


@pytest.mark.parametrize("alg", ["none", "None", "NONE", ""])
def test_alg_none_is_refused(alg: str) -> None:
    header = {"alg": alg, "kid": KEY.kid, "typ": UPLOAD_TYPE}
    assert refusal(forged(header, CLAIMS, b"x")) == "token-algorithm"
    assert refusal(f"{segment(header)}.{segment(CLAIMS)}.") == "token-algorithm"


@pytest.mark.parametrize("form", ["raw", "base64url", "jwk"])
def test_the_public_key_is_no_shared_secret(form: str) -> None:
    public = KEY.public()
    secret = {
        "raw": public.verifier().public_bytes_raw(),
        "base64url": public.x.encode(),
        "jwk": public.model_dump_json(exclude_none=True).encode(),
    }[form]
    header = {"alg": "HS256", "kid": KEY.kid, "typ": UPLOAD_TYPE}
    signing_input = f"{segment(header)}.{segment(CLAIMS)}"
    mac = hmac.new(secret, signing_input.encode(), hashlib.sha256).digest()
    assert refusal(f"{signing_input}.{segment(mac)}") == "token-algorithm"


@pytest.mark.parametrize("typ", [RECEIPT_TYPE, "JWT", "download+jwt", "UPLOAD+JWT", ""])
def test_no_other_kind_of_token_passes_for_an_upload(typ: str) -> None:
    assert refusal(signed(typ=typ)) == "token-type"


def test_a_key_in_the_header_is_never_used() -> None:
    own = STRANGER.public().model_dump(exclude_none=True)
    token = jwt.encode(
        CLAIMS,
        STRANGER._private,
        algorithm="EdDSA",
        headers={"kid": STRANGER.kid, "typ": UPLOAD_TYPE, "jwk": own},
    )
    assert refusal(token) == "token-unknown-key"


@pytest.mark.parametrize("change", [{"size": 10**9}, {"aud": "s02"}, {"exp": UNIX + 10**6}])
def test_a_payload_that_was_changed_is_refused(change: dict[str, Any]) -> None:
    header, _, signature = signed().split(".")
    token = f"{header}.{segment({**CLAIMS, **change})}.{signature}"
    assert refusal(token, str(change.get("aud", "s01"))) == "token-signature"


@pytest.mark.parametrize("part", [0, 1, 2])
def test_a_changed_character_anywhere_is_refused(part: int) -> None:
    parts = signed().split(".")
    middle = len(parts[part]) // 2
    other = "A" if parts[part][middle] != "A" else "B"
    parts[part] = parts[part][:middle] + other + parts[part][middle + 1 :]
    with pytest.raises(TokenRefused):
        verify_upload(".".join(parts), KEYS, "s01", NOW)


@pytest.mark.parametrize("space", [" ", "\n", "\t", "\0", "=", "\u200b"])
@pytest.mark.parametrize("place", ["before", "after", "amid", "at the dot"])
def test_a_token_with_anything_added_is_another_token(space: str, place: str) -> None:
    token = signed()
    changed = {
        "before": space + token,
        "after": token + space,
        "amid": token[:-20] + space + token[-20:],
        "at the dot": token.replace(".", "." + space, 1),
    }[place]
    assert refusal(changed) == "token-malformed"


@pytest.mark.parametrize(
    "iss", ["s01", "somebody", "LAB"], ids=["a node's name", "a stranger's", "almost"]
)
def test_an_issuer_is_who_owns_the_key(iss: str) -> None:
    assert refusal(signed(iss=iss)) == "token-claims"


def test_a_node_cant_mint_uploads_in_the_issuers_name() -> None:
    assert refusal(signed(NODE_KEY)) == "token-claims"


# -- time and place --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("after", "code"),
    [
        (-LEEWAY - 1, "token-not-yet-valid"),
        (-LEEWAY, None),
        (900 + LEEWAY - 1, None),
        (900 + LEEWAY, "token-expired"),
    ],
)
def test_a_token_is_valid_from_nbf_to_exp_but_for_the_clocks_leeway(
    after: int, code: str | None
) -> None:
    now = NOW + timedelta(seconds=after)
    if code is None:
        verify_upload(signed(), KEYS, "s01", now)
    else:
        assert refusal(signed(), now=now) == code


@pytest.mark.parametrize("node_id", ["s02", "S01", "s0", "s01 ", ""])
def test_a_token_is_for_one_node(node_id: str) -> None:
    assert refusal(signed(), node_id) == "token-wrong-node"


def test_a_key_counts_only_within_its_own_time() -> None:
    old = Keyset(keys=(KEY.public(not_after=NOW),))
    new = Keyset(keys=(KEY.public(not_before=NOW),))
    a_moment = timedelta(seconds=1)
    verify_upload(signed(), old, "s01", NOW - a_moment)
    verify_upload(signed(), new, "s01", NOW)
    assert refusal(signed(), now=NOW, keys=old) == "token-unknown-key"
    assert refusal(signed(), now=NOW - a_moment, keys=new) == "token-unknown-key"


def test_while_keys_rotate_both_are_good() -> None:
    both = Keyset(keys=(KEY.public(), STRANGER.public()))
    for key in (KEY, STRANGER):
        verify_upload(signed(key), both, "s01", NOW)


def test_what_a_key_signed_in_its_time_is_proof_after_it() -> None:
    """A file's token, a receipt: who rotates keys ends no word that was given before."""
    ended = Keyset(keys=(KEY.public(not_after=NOW + timedelta(hours=1)),))
    later = NOW + timedelta(days=30)
    assert verify_uploaded(signed(), ended, "s01", later).aud == "s01"
    assert refusal(signed(), now=later, keys=ended) == "token-unknown-key"
    too_late = signed(iat=UNIX + 7200, nbf=UNIX + 7200, exp=UNIX + 8000)
    with pytest.raises(TokenRefused, match="its key had ended when it was signed"):
        verify_uploaded(too_late, ended, "s01", later)
    # What was signed in the future was signed now at the latest.
    with pytest.raises(TokenRefused, match="its key had ended"):
        verify_uploaded(signed(iat=UNIX + 10**9), ended, "s01", later)
    with pytest.raises(TokenRefused, match="no trusted key"):
        verify_uploaded(signed(), Keyset(), "s01", later)


# -- claims ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "changed",
    [
        {"size": None},
        {"max_size": 5},
        {"size": -1},
        {"size": None, "max_size": 0},
        {"size": "many"},
        {"jti": None},
        {"jti": "short"},
        {"jti": "../../../etc/passwd"},
        {"aud": ["s01", "s02"]},
        {"exp": None},
        {"exp": "tomorrow"},
        {"exp": float("nan")},
        {"sub": ""},
        {"sub": "a\nb"},
        {"file_id": "../x"},
        {"file_id": "0" * 31},
        {"namespace": "../etc"},
        {"namespace": "A"},
        {"namespace": "a/b"},
        {"namespace": "isos\n"},
        {"layout": "flat"},
        {"sha256": "00"},
        {"content_type": "text/html\r\nX: y"},
        {"name": ""},
        {"ack": "never"},
    ],
    ids=str,
)
def test_claims_that_cant_be_meant_are_refused(changed: dict[str, Any]) -> None:
    assert refusal(signed(**changed)) == "token-claims"


def test_a_minter_hears_of_bad_claims_at_once() -> None:
    with pytest.raises(ValidationError):
        UploadClaims.model_validate({**CLAIMS, "namespace": "../etc"})


def test_size_limit_is_whichever_was_said() -> None:
    assert UploadClaims.model_validate(CLAIMS).size_limit == 1000
    assert UploadClaims.model_validate({**CLAIMS, "size": None, "max_size": 5}).size_limit == 5
    assert UploadClaims.model_validate({**CLAIMS, "size": 0}).size_limit == 0


# -- receipts --------------------------------------------------------------------------------------


def test_a_receipt_says_what_its_node_said_and_never_expires() -> None:
    claims = ReceiptClaims.model_validate(RECEIPT)
    later = NOW + timedelta(days=3650)
    assert verify_receipt(mint_receipt(NODE_KEY, claims), KEYS, later) == claims


@pytest.mark.parametrize(
    ("changed", "code"),
    [
        ({"aud": "s01"}, "token-claims"),
        ({"iss": "s02"}, "token-claims"),
        ({"sha256": "0"}, "token-claims"),
        ({"size": -1}, "token-claims"),
    ],
    ids=str,
)
def test_a_receipt_that_cant_be_meant_is_refused(changed: dict[str, Any], code: str) -> None:
    token = NODE_KEY.sign(RECEIPT_TYPE, {**RECEIPT, **changed})
    with pytest.raises(TokenRefused) as refused:
        verify_receipt(token, KEYS, NOW)
    assert refused.value.code == code


def test_an_upload_token_is_no_receipt() -> None:
    with pytest.raises(TokenRefused) as refused:
        verify_receipt(NODE_KEY.sign(UPLOAD_TYPE, RECEIPT), KEYS, NOW)
    assert refused.value.code == "token-type"


# -- junk ------------------------------------------------------------------------------------------

HEADERS = st.dictionaries(
    st.sampled_from(["alg", "typ", "kid", "crit", "b64", "jwk", "x5c"]),
    st.sampled_from(["EdDSA", UPLOAD_TYPE, KEY.kid, "none", ""])
    | st.none()
    | st.booleans()
    | st.integers()
    | st.lists(st.text(max_size=3), max_size=2),
)
JUNK = st.one_of(
    st.text(),
    st.text("abAB01-_.", max_size=200),
    st.builds(lambda parts: ".".join(map(segment, parts)), st.lists(st.binary(), max_size=5)),
    st.builds(lambda header, body: forged(header, body, b"x" * 64), HEADERS, HEADERS),
)


@given(JUNK)
def test_junk_is_refused_and_never_anything_else(junk: str) -> None:
    for verify in (lambda t: verify_upload(t, KEYS, "s01", NOW), lambda t: verify_receipt(t, KEYS)):
        with pytest.raises(TokenRefused):
            verify(junk)


@given(st.sampled_from(sorted(CLAIMS)), st.recursive(st.floats() | st.text(), st.lists))
def test_odd_values_that_are_properly_signed_are_refused_and_never_anything_else(
    claim: str, value: Any
) -> None:
    with pytest.raises(TokenRefused):
        verify_upload(sign_anything({**CLAIMS, claim: [value]}), KEYS, "s01", NOW)


@given(st.recursive(st.none() | st.integers() | st.text(), st.lists))
def test_what_is_no_object_is_refused_though_it_is_properly_signed(value: Any) -> None:
    with pytest.raises(TokenRefused):
        verify_upload(sign_anything(value), KEYS, "s01", NOW)


@pytest.mark.parametrize("opening", [b"[", b'{"a":'])
def test_deep_nesting_is_refused_not_fatal(opening: bytes) -> None:
    deep = opening * 100_000
    for token in (
        f"{segment(deep)}.{segment(CLAIMS)}.{segment(b'x')}",
        f"{segment({'alg': 'EdDSA'})}.{segment(deep)}.{segment(b'x')}",
    ):
        for read in (unverified_header, unverified_claims):
            if read is unverified_claims or token.startswith(segment(deep)[:20]):
                with pytest.raises(TokenRefused):
                    read(token)
        assert refusal(token).startswith("token-")


def test_reading_without_trust_shows_header_and_claims() -> None:
    token = signed(STRANGER)
    assert unverified_header(token) == {
        "alg": "EdDSA",
        "typ": UPLOAD_TYPE,
        "kid": STRANGER.kid,
    }
    assert unverified_claims(token) == CLAIMS


# -- keys ------------------------------------------------------------------------------------------


def test_a_key_survives_its_file_and_its_public_half_holds_no_secret() -> None:
    read = SigningKey.from_json(KEY.to_json())
    assert (read.kid, read.owner) == (KEY.kid, KEY.owner)
    verify_upload(signed(read), KEYS, "s01", NOW)
    secret = json.loads(KEY.to_json())["d"]
    assert secret not in KEY.public().model_dump_json()
    assert secret not in repr(KEY)


def test_a_key_set_survives_its_file() -> None:
    keys = Keyset(keys=(KEY.public(NOW, NOW + timedelta(days=1)),))
    assert Keyset.model_validate_json(keys.model_dump_json()) == keys


def test_the_key_id_is_the_rfcs_thumbprint() -> None:
    # RFC 8037, appendix A.3.
    x = "11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo"
    assert thumbprint(x) == "kPrK_qmxVWaYVA9wwBF6Iuo3vVzz7TxHCTwXBygrS4k"[:22]


@pytest.mark.parametrize(
    "text", ["", "[]", "{}", '{"d": 1, "owner": "x"}', '{"d": "AA", "owner": "x"}', '{"owner":"x"}']
)
def test_what_is_no_private_key_is_a_value_error(text: str) -> None:
    with pytest.raises(ValueError, match=r"private key|Expecting"):
        SigningKey.from_json(text)


def test_a_broken_key_in_the_key_set_breaks_only_its_own_tokens() -> None:
    broken = PublicKey(kid=STRANGER.kid, x="AA", owner="lab")
    keys = Keyset(keys=(broken, KEY.public()))
    assert refusal(signed(STRANGER), keys=keys) == "token-malformed"
    verify_upload(signed(), keys, "s01", NOW)


def test_every_key_is_new() -> None:
    assert len({SigningKey.generate("x").kid for _ in range(8)}) == 8


def test_no_new_keys_id_looks_like_an_option() -> None:
    """Of this many one would, but for one time in ten million."""
    assert [kid for _ in range(1000) if (kid := SigningKey.generate("x").kid)[0] == "-"] == []
    assert secrets.compare_digest(KEY.kid, KEY.public().kid)


@pytest.mark.parametrize(
    ("jti", "own"),
    [(None, False), ("an-id-of-the-apps", True), ("x", False), ("two words", False)],
)
def test_a_token_is_revoked_by_its_id_or_by_what_was_signed(jti: str | None, own: bool) -> None:
    """Apps mint tokens with any `jti`, or none: each of them is taken as before."""
    times = {"iat": UNIX, "nbf": UNIX, "exp": UNIX + 60}
    claims = {"iss": "lab", "aud": "s01", **times, "path": "isos/a"}
    claims |= {} if jti is None else {"jti": jti}
    token = KEY.sign(DOWNLOAD_TYPE, claims)
    assert verify_download(token, KEYS, "s01", NOW).jti == (jti if own else None)
    found = revocable(token, KEYS, NOW)
    assert (found.kind, found.node_id, found.ends) == (DOWNLOAD_TYPE, "s01", UNIX + 60 + RESUMABLE)
    assert (found.token_id == jti) == own
    assert re.fullmatch(JTI_PATTERN, found.token_id)
    # The last character of a signature has four bits that not every library reads.
    assert token_id(f"{token[:-1]}_", found.token_id if own else None) == found.token_id


def test_what_nobody_takes_needs_no_revoking_and_what_has_ended_may_be_revoked() -> None:
    times = {"iat": UNIX, "nbf": UNIX, "exp": UNIX + 60}
    claims = {"iss": "lab", "aud": "s01", **times, "path": "isos/a"}
    late = NOW + timedelta(days=400)
    assert revocable(KEY.sign(DOWNLOAD_TYPE, claims), KEYS, late).node_id == "s01"
    for signed, code in (
        (STRANGER.sign(DOWNLOAD_TYPE, claims), "token-unknown-key"),
        (KEY.sign(RECEIPT_TYPE, claims), "token-type"),
        (KEY.sign(DOWNLOAD_TYPE, {**claims, "path": ""}), "token-claims"),
        ("no-token", "token-malformed"),
    ):
        with pytest.raises(TokenRefused) as refused:
            revocable(signed, KEYS, NOW)
        assert refused.value.code == code
