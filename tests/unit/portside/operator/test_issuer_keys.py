"""No second issuer is made in silence, and a lost key comes back from where it signs."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from typer.testing import CliRunner

from portside.cli import app
from portside.cluster.file import parse
from portside.operator.authority import authority_of
from portside.operator.keystore import Keystore, KeystoreError
from portside.tokens import SigningKey
from portside.wire.keys import Keyset

HEAD = "name: test\ndomain: portside.test\nnodes: {s01: {}}\n"
CLUSTER = parse(HEAD)


@pytest.fixture
def keystore(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Keystore:
    (tmp_path / "cluster.yaml").write_text(HEAD)
    monkeypatch.setenv("PORTSIDE_CLUSTER", str(tmp_path / "cluster.yaml"))
    monkeypatch.setenv("PORTSIDE_SECRETS", str(tmp_path / "secrets"))
    kept = Keystore.for_cluster(CLUSTER, tmp_path)
    kept.init(CLUSTER)
    return kept


def _lose(keystore: Keystore) -> str:
    """The issuer's key is gone from here; what the control node has of it."""
    text = keystore.issuer_key().to_json()
    for path in (keystore.directory / "issuer").iterdir():
        path.unlink()
    return text


def test_where_nodes_are_known_a_missing_issuer_is_not_made_anew(keystore: Keystore) -> None:
    keystore.keep_node_key("s01", SigningKey.generate("s01").public())
    _lose(keystore)
    with pytest.raises(KeystoreError, match=r"has no issuer key: .*keys import FILE"):
        keystore.init(CLUSTER)
    assert not list((keystore.directory / "issuer").iterdir())
    (made,) = keystore.init(CLUSTER, new_issuer=True)
    assert made.startswith("issuer key")


def test_beside_an_issuer_no_other_is_made(keystore: Keystore) -> None:
    with pytest.raises(KeystoreError, match=r"`fab rotate-keys --what issuer` replaces it"):
        keystore.init(CLUSTER, new_issuer=True)


def test_a_lost_key_comes_back_from_the_control_node(keystore: Keystore) -> None:
    kid = keystore.issuer_key().kid
    text = _lose(keystore)
    for said in (f"issuer key {kid} is kept", "that is here already"):
        done = CliRunner().invoke(app, ["keys", "import", "-"], input=text)
        assert (done.exit_code, done.output.strip()) == (0, said)
    assert keystore.issuer_key().kid == kid


def test_the_public_halves_of_former_keys_come_back_from_a_nodes_keyset(keystore: Keystore) -> None:
    former = keystore.issuer_key().kid
    signs = keystore.make_waiting_issuer_key("test", datetime.now(UTC))
    keystore.sign_with(signs)
    keystore.end_other_issuer_keys(signs, datetime.now(UTC) + timedelta(days=8))
    trusted = keystore.keyset()
    text = _lose(keystore)
    with pytest.raises(KeystoreError, match="first import the private key that signs"):
        keystore.import_issuer_keys(trusted.model_dump_json())
    keystore.import_issuer_keys(text)
    assert keystore.import_issuer_keys(trusted.model_dump_json()) == [former]
    assert set(keystore.keyset().keys) == set(trusted.keys)
    assert keystore.issuer_key().kid == signs.public.kid
    forged = trusted.keys[0].model_copy(update={"kid": "../../elsewhere"})
    with pytest.raises(KeystoreError, match="thumbprint"):
        keystore.import_issuer_keys(Keyset(keys=(forged,)).model_dump_json())


def test_a_former_key_that_comes_back_signs_nothing_new(keystore: Keystore) -> None:
    text = keystore.issuer_key().to_json()
    signs = keystore.make_waiting_issuer_key("test", datetime.now(UTC))
    keystore.sign_with(signs)
    ended = datetime.now(UTC) + timedelta(days=8)
    (former,) = keystore.end_other_issuer_keys(signs, ended)
    keystore.let_go_of_ended(ended)
    assert keystore.import_issuer_keys(text) == [former.public.kid]
    assert keystore.keyset().known(former.public.kid) == former.public
    assert keystore.issuer_key().kid == signs.public.kid


def test_a_stolen_key_doesnt_come_back(keystore: Keystore) -> None:
    text = keystore.issuer_key().to_json()
    signs = keystore.make_waiting_issuer_key("test", datetime.now(UTC))
    keystore.sign_with(signs)
    trusted = keystore.keyset()
    stolen = next(key.kid for key in trusted.keys if key.kid != signs.public.kid)
    keystore.distrust_issuer_key(stolen)
    with pytest.raises(KeystoreError, match="was distrusted"):
        keystore.import_issuer_keys(text)
    assert keystore.import_issuer_keys(trusted.model_dump_json()) == []
    assert keystore.keyset().known(stolen) is None


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (SigningKey.generate("another").to_json(), "the key of 'another'"),
        (SigningKey.generate("test").public().model_dump_json(), "no private half"),
        ("[]", "neither a private key"),
        ("{}", "the key of None"),
        (json.dumps({"owner": "test"}), "no issuer key"),
    ],
    ids=["another cluster's", "a public half", "a list", "nothing", "no key in it"],
)
def test_what_is_no_key_of_this_clusters_is_not_kept(
    keystore: Keystore, text: str, said: str
) -> None:
    before = keystore.keyset()
    with pytest.raises(KeystoreError, match=said):
        keystore.import_issuer_keys(text)
    assert keystore.keyset() == before


def test_the_cluster_file_says_which_authority_the_operators_commands_trust(
    keystore: Keystore, tmp_path: Path
) -> None:
    assert authority_of(CLUSTER, keystore, tmp_path) == keystore.ca_certificate()
    files = "tls: {mode: files, directory: tls"
    assert authority_of(parse(HEAD + files + "}\n"), keystore, tmp_path) is None
    own = parse(HEAD + files + ", authority: ca.pem}\n")
    (tmp_path / "beside").mkdir()
    (tmp_path / "beside" / "ca.pem").touch()
    found = authority_of(own, keystore, tmp_path, tmp_path / "beside")
    assert found == tmp_path / "beside" / "ca.pem"


def test_a_key_whose_id_looks_like_an_option_is_named_all_the_same(keystore: Keystore) -> None:
    key = SigningKey.generate("test")
    while not key.kid.startswith("-"):
        key = SigningKey(Ed25519PrivateKey.generate(), "test")
    keystore.import_issuer_keys(key.to_json())
    keystore.sign_with(keystore.make_waiting_issuer_key("test", datetime.now(UTC)))
    ran = CliRunner().invoke(app, ["keys", "distrust", key.kid])
    assert (ran.exit_code, key.kid in ran.output) == (0, True), ran.output
    assert keystore.keyset().known(key.kid) is None
