"""The operator's secrets: who may read them, that they stay, and that they verify."""

from __future__ import annotations

import fcntl
import json
import os
import ssl
import stat
import subprocess
import sys
import threading
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.verification import PolicyBuilder, Store

from portside.client.upload.claims import Wish, claims_for
from portside.cluster.file import Cluster
from portside.operator import certificates
from portside.operator.keystore import Keystore, KeystoreError
from portside.tokens import SigningKey, mint_upload, verify_upload
from portside.wire.heartbeat import Roster
from portside.wire.keys import thumbprint

HOST = "s01.portside.test"


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


def everything(directory: Path) -> dict[str, bytes]:
    return {str(path): path.read_bytes() for path in directory.rglob("*") if path.is_file()}


# -- who may read ----------------------------------------------------------------------------------


@pytest.mark.parametrize("umask", [0o000, 0o022, 0o077])
def test_secrets_are_their_owners_alone(umask: int, cluster: Cluster, tmp_path: Path) -> None:
    before = os.umask(umask)
    try:
        keystore = Keystore.for_cluster(cluster, tmp_path)
        keystore.init(cluster)
        keystore.node_certificate("s01", HOST)
    finally:
        os.umask(before)
    found = list((tmp_path / "secrets").rglob("*"))
    assert {mode(path) for path in found if path.is_dir()} == {0o700}
    assert mode(tmp_path / "secrets") == 0o700
    files = [path for path in found if path.is_file()]
    assert all(mode(path) == 0o600 for path in files if path.suffix != ".crt")
    assert {path.suffix for path in files} == {".json", ".key", ".crt", ""}


def test_a_private_key_has_its_mode_before_it_has_content(
    cluster: Cluster, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    modes: list[tuple[int, int]] = []
    real_open = os.open

    def watched(path: Path, flags: int, opened_mode: int = 0o777) -> int:
        modes.append((flags, opened_mode))
        return real_open(path, flags, opened_mode)

    monkeypatch.setattr("portside.operator.keystore.os.open", watched)
    Keystore.for_cluster(cluster, tmp_path).init(cluster)
    written = [(flags, opened) for flags, opened in modes if flags & os.O_WRONLY]
    assert len(written) == 3
    assert all(flags & os.O_EXCL and flags & os.O_NOFOLLOW for flags, _ in written)
    assert sorted(opened for _, opened in written) == [0o600, 0o600, 0o644]


def test_a_folder_that_was_open_to_others_is_closed(cluster: Cluster, tmp_path: Path) -> None:
    (tmp_path / "secrets" / "test" / "ca").mkdir(parents=True, mode=0o755)
    Keystore.for_cluster(cluster, tmp_path).init(cluster)
    assert mode(tmp_path / "secrets" / "test") == 0o700
    assert mode(tmp_path / "secrets" / "test" / "ca") == 0o700


# -- that they stay --------------------------------------------------------------------------------


def test_init_makes_only_what_is_missing(cluster: Cluster, tmp_path: Path) -> None:
    keystore = Keystore.for_cluster(cluster, tmp_path)
    assert len(keystore.init(cluster)) == 2
    before = everything(tmp_path)
    assert keystore.init(cluster) == []
    assert everything(tmp_path) == before


def test_a_node_certificate_stays_until_there_is_a_reason(keystore: Keystore) -> None:
    crt, key = keystore.node_certificate("s01", HOST)
    before = (crt.read_bytes(), key.read_bytes(), crt.stat().st_mtime_ns)
    assert keystore.node_certificate("s01", HOST) == (crt, key)
    assert (crt.read_bytes(), key.read_bytes(), crt.stat().st_mtime_ns) == before


def _another_ca(keystore: Keystore, cluster: Cluster) -> None:
    for path in (keystore.directory / "ca").iterdir():
        path.unlink()
    keystore.init(cluster)


def _lose_the_key(keystore: Keystore, cluster: Cluster) -> None:
    (keystore.directory / "tls" / "s01.key").unlink()


def _mix_up_the_key(keystore: Keystore, cluster: Cluster) -> None:
    other = keystore.node_certificate("s02", "s02.portside.test")[1]
    (keystore.directory / "tls" / "s01.key").write_bytes(other.read_bytes())


def _cut_the_certificate(keystore: Keystore, cluster: Cluster) -> None:
    path = keystore.directory / "tls" / "s01.crt"
    path.write_bytes(path.read_bytes()[:100])


@pytest.mark.parametrize(
    "reason", [_another_ca, _lose_the_key, _mix_up_the_key, _cut_the_certificate]
)
def test_a_node_certificate_that_cant_serve_is_issued_again(
    reason: object, keystore: Keystore, cluster: Cluster
) -> None:
    before = keystore.node_certificate("s01", HOST)[0].read_bytes()
    assert callable(reason)
    reason(keystore, cluster)
    crt, key = keystore.node_certificate("s01", HOST)
    assert crt.read_bytes() != before
    ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER).load_cert_chain(crt, key)


def test_another_host_needs_another_certificate(keystore: Keystore) -> None:
    before = keystore.node_certificate("s01", HOST)[0].read_bytes()
    crt, _ = keystore.node_certificate("s01", "s01.example.net")
    assert crt.read_bytes() != before


@pytest.mark.parametrize(("days_left", "renewed"), [(31, False), (29, True), (-1, True)])
def test_a_certificate_is_renewed_in_its_last_month(
    days_left: int, renewed: bool, keystore: Keystore, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = keystore.node_certificate("s01", HOST)[0].read_bytes()
    later = datetime.now(UTC) + timedelta(days=certificates.NODE_DAYS - days_left)

    class Later(datetime):
        @classmethod
        def now(cls, tz: object = None) -> datetime:  # type: ignore[override]
            return later

    monkeypatch.setattr(certificates, "datetime", Later)
    assert (keystore.node_certificate("s01", HOST)[0].read_bytes() != before) == renewed


def test_two_processes_at_once_make_one_set_of_keys(cluster: Cluster, project: Path) -> None:
    program = (
        "from pathlib import Path; from portside.cluster import file;"
        "from portside.operator import keystore;"
        "c = file.load(Path('cluster.yaml')); k = keystore.Keystore.for_cluster(c, Path('.'));"
        "k.init(c); k.node_certificate('s01', 's01.portside.test')"
    )
    running = [subprocess.Popen([sys.executable, "-c", program]) for _ in range(4)]
    assert [process.wait(timeout=120) for process in running] == [0, 0, 0, 0]
    keystore = Keystore.for_cluster(cluster, project)
    assert len(keystore.issuer_keys()) == 1
    crt, key = keystore.node_certificate("s01", HOST)
    ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER).load_cert_chain(crt, key)


def test_who_makes_keys_waits_for_whoever_is_making_them(
    cluster: Cluster, keystore: Keystore
) -> None:
    with (keystore.directory / ".lock").open() as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        waiting = threading.Thread(target=keystore.node_certificate, args=("s01", HOST))
        waiting.start()
        waiting.join(0.2)
        assert waiting.is_alive()
        assert keystore.node_certificates() == []
    waiting.join(60)
    assert [path.stem for path in keystore.node_certificates()] == ["s01"]


def test_a_write_that_fails_leaves_nothing_behind(
    cluster: Cluster, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("portside.operator.keystore.os.fsync", full)
    keystore = Keystore.for_cluster(cluster, tmp_path)
    with pytest.raises(OSError, match="No space"):
        keystore.init(cluster)
    assert [path.name for path in keystore.directory.rglob("*") if path.is_file()] == [".lock"]


# -- that they verify ------------------------------------------------------------------------------


def test_openssl_accepts_the_chain_strictly(keystore: Keystore) -> None:
    crt, _ = keystore.node_certificate("s01", HOST)
    verify = ["openssl", "verify", "-x509_strict", "-purpose", "sslserver", "-CAfile"]
    chain = [str(keystore.ca_certificate()), str(crt)]
    for host, code in ((HOST, 0), ("s02.portside.test", 2)):
        run = subprocess.run(
            [*verify, *chain[:1], "-verify_hostname", host, chain[1]],
            check=False,
            capture_output=True,
            text=True,
        )
        assert run.returncode == code, run.stderr


def test_a_webpki_verifier_accepts_the_chain(keystore: Keystore) -> None:
    leaf = x509.load_pem_x509_certificate(keystore.node_certificate("s01", HOST)[0].read_bytes())
    authority = x509.load_pem_x509_certificate(keystore.ca_certificate().read_bytes())
    verifier = PolicyBuilder().store(Store([authority])).build_server_verifier(x509.DNSName(HOST))
    assert verifier.verify(leaf, []) == [leaf, authority]


def test_the_authority_can_sign_certificates_and_no_further_authority(keystore: Keystore) -> None:
    ca = x509.load_pem_x509_certificate(keystore.ca_certificate().read_bytes())
    basic = ca.extensions.get_extension_for_class(x509.BasicConstraints)
    assert basic.critical
    assert (basic.value.ca, basic.value.path_length) == (True, 0)
    usage = ca.extensions.get_extension_for_class(x509.KeyUsage)
    assert usage.critical
    assert usage.value.key_cert_sign
    assert not usage.value.digital_signature
    assert isinstance(ca.public_key(), ec.EllipticCurvePublicKey)
    assert ca.not_valid_after_utc - datetime.now(UTC) > timedelta(days=3600)


def test_a_node_certificate_lives_short_enough_for_browsers(keystore: Keystore) -> None:
    leaf = x509.load_pem_x509_certificate(keystore.node_certificate("s01", HOST)[0].read_bytes())
    assert leaf.not_valid_after_utc - leaf.not_valid_before_utc < timedelta(days=398)


# -- issuer keys -----------------------------------------------------------------------------------


def test_nodes_trust_what_the_newest_issuer_key_signs(keystore: Keystore, cluster: Cluster) -> None:
    key = keystore.issuer_key()
    claims = claims_for(cluster, key.owner, Wish(node_id="s01", owner="me", size=1))
    assert key.owner == cluster.name
    assert verify_upload(mint_upload(key, claims), keystore.keyset(), "s01") == claims


def _add_key(keystore: Keystore, **fields: str) -> SigningKey:
    key = SigningKey.generate("test")
    path = keystore.directory / "issuer" / f"{key.kid}.json"
    path.write_text(json.dumps({**json.loads(key.to_json()), **fields}))
    return key


def test_the_newest_key_that_is_valid_signs_and_all_are_trusted(keystore: Keystore) -> None:
    first = keystore.issuer_key()
    _add_key(keystore)
    assert keystore.issuer_key().kid == first.kid, "a key without a date is older than all others"
    later = _add_key(keystore, created_at="2100-01-01T00:00:00Z")
    assert keystore.issuer_key().kid == later.kid
    _add_key(keystore, created_at="2101-01-01T00:00:00Z", not_after="2020-01-01T00:00:00Z")
    assert keystore.issuer_key().kid == later.kid
    assert len(keystore.keyset().keys) == 4


def test_the_key_set_holds_nothing_private(keystore: Keystore) -> None:
    published = keystore.keyset().model_dump_json()
    for path in (keystore.directory / "issuer").iterdir():
        assert json.loads(path.read_text())["d"] not in published


# -- what is missing or broken ---------------------------------------------------------------------


def test_without_keys_it_says_what_to_run(cluster: Cluster, project: Path) -> None:
    keystore = Keystore.for_cluster(cluster, project)
    for ask in (
        keystore.issuer_key,
        keystore.keyset,
        keystore.ca_certificate,
        lambda: keystore.node_certificate("s01", HOST),
    ):
        with pytest.raises(KeystoreError, match="no keys for cluster 'test': run `portside keys"):
            ask()
    assert not (project / "secrets").exists()


@pytest.mark.parametrize("content", ["", "{}", '{"d": "x"}', "[]", "\xff"])
def test_a_broken_issuer_key_is_named(content: str, keystore: Keystore) -> None:
    (keystore.directory / "issuer" / "broken.json").write_text(content, encoding="latin-1")
    with pytest.raises(KeystoreError, match=r"broken\.json is no issuer key"):
        keystore.issuer_key()


def test_an_authority_whose_key_is_another_is_not_used(keystore: Keystore) -> None:
    other = certificates.make_ca("other")
    (keystore.directory / "ca" / "ca.key").write_bytes(other.key_pem)
    with pytest.raises(KeystoreError, match="belongs to another certificate"):
        keystore.node_certificate("s01", HOST)


def test_secrets_may_live_elsewhere_a_folder_for_each_cluster(
    cluster: Cluster, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PORTSIDE_SECRETS", str(tmp_path / "vault"))
    assert Keystore.for_cluster(cluster, Path("/nowhere")).directory == tmp_path / "vault" / "test"


# -- the nodes' public keys ------------------------------------------------------------------------


def test_a_nodes_public_key_is_kept_until_it_has_another(keystore: Keystore) -> None:
    first, second = (SigningKey.generate("s01").public() for _ in range(2))
    assert keystore.keep_node_key("s01", first)
    assert not keystore.keep_node_key("s01", first)
    assert keystore.node_keys() == {"s01": first}
    assert keystore.keep_node_key("s01", second)
    assert keystore.node_keys() == {"s01": second}


def test_a_node_that_left_has_no_key_any_more(keystore: Keystore) -> None:
    keystore.keep_node_key("s01", SigningKey.generate("s01").public())
    assert keystore.forget_node_key("s01")
    assert not keystore.forget_node_key("s01")
    assert keystore.node_keys() == {}


def test_a_key_that_proves_nothing_about_a_node_is_refused(keystore: Keystore) -> None:
    key = SigningKey.generate("s01").public()
    for wrong in (
        SigningKey.generate("s02").public(),
        key.model_copy(update={"kid": SigningKey.generate("s01").kid}),
        key.model_copy(update={"x": "AAAA", "kid": thumbprint("AAAA")}),
    ):
        with pytest.raises(KeystoreError, match="the public key of s01 can't be used"):
            keystore.keep_node_key("s01", wrong)
    assert keystore.node_keys() == {}


@pytest.mark.parametrize("content", ["", "{}", "no json"])
def test_a_public_key_that_was_damaged_is_named(keystore: Keystore, content: str) -> None:
    keystore.keep_node_key("s01", SigningKey.generate("s01").public())
    (keystore.directory / "nodes" / "s01.json").write_text(content)
    with pytest.raises(KeystoreError, match=r"nodes/s01\.json is no public key"):
        keystore.node_keys()


# -- the roster that was last deployed -------------------------------------------------------------


def test_a_roster_that_says_the_same_keeps_its_version(keystore: Keystore) -> None:
    wanted = Roster(cluster="test", factor=2)
    first = keystore.renew_roster(wanted, datetime(2026, 1, 1, tzinfo=UTC))
    assert first.version == datetime(2026, 1, 1, tzinfo=UTC).timestamp()
    assert keystore.renew_roster(wanted, datetime(2026, 1, 2, tzinfo=UTC)) == first
    other = wanted.model_copy(update={"factor": 3})
    # The clock was set back meanwhile: what is newer is above all the same.
    second = keystore.renew_roster(other, datetime(2025, 1, 1, tzinfo=UTC))
    assert second.version == first.version + 1
    assert keystore.deployed_roster() == second


def test_a_damaged_roster_is_named(keystore: Keystore) -> None:
    assert keystore.deployed_roster() is None
    (keystore.directory / "roster.json").write_text("{")
    with pytest.raises(KeystoreError, match=r"roster\.json can't be used"):
        keystore.renew_roster(Roster(cluster="test"), datetime.now(UTC))
