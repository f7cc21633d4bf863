"""`portside token`: what its options put into a token, and what it reads out of one."""

from __future__ import annotations

import getpass
import time

import pytest

from portside.operator.keystore import Keystore
from portside.quantities import GIB
from portside.tokens import (
    ACCESS_TYPE,
    unverified_claims,
    verify_access,
    verify_adoption,
    verify_download,
    verify_upload,
)
from portside.wire.claims import Quota
from tests.support.client.command import Run


def test_download_prints_a_url_that_the_node_will_open(keystore: Keystore) -> None:
    run = Run("token", "download", "--node", "s01", "--path", "private/größe.bin")
    assert (run.code, run.err) == (0, "")
    url, _, token = run.out.strip().partition("?token=")
    assert url == "https://s01.portside.test/uploads/private/gr%C3%B6%C3%9Fe.bin"
    claims = verify_download(token, keystore.keyset(), "s01")
    assert claims.path == "private/größe.bin"
    assert claims.exp - claims.iat == 3600


def test_download_prints_the_token_alone_when_asked(keystore: Keystore) -> None:
    arguments = ("--node", "s01", "--path", "ns/a.bin", "--valid", "5m", "--token-only")
    claims = verify_download(
        Run("token", "download", *arguments).out.strip(), keystore.keyset(), "s01"
    )
    assert claims.exp - claims.iat == 300


def test_access_gives_the_rights_that_are_named_and_no_others(keystore: Keystore) -> None:
    run = Run("token", "access", "--node", "s01", "--right", "list", "--right", "read")
    assert (run.code, run.err) == (0, "")
    claims = verify_access(run.out.strip(), keystore.keyset(), "s01")
    assert (claims.rights, claims.sub) == (("list", "read"), getpass.getuser())
    assert (claims.namespace, claims.owner, claims.file_id) == (None, None, None)
    assert claims.exp - claims.iat == 3600


def test_access_can_be_narrowed(keystore: Keystore) -> None:
    narrow = ("--namespace", "isos", "--owner", "me", "--file-id", "0" * 32, "--holder", "app")
    run = Run("token", "access", "--node", "s02", "--right", "delete", *narrow, "--valid", "1m")
    claims = verify_access(run.out.strip(), keystore.keyset(), "s02")
    assert (claims.namespace, claims.owner, claims.file_id) == ("isos", "me", "0" * 32)
    assert (claims.sub, claims.exp - claims.iat) == ("app", 60)


@pytest.mark.parametrize(
    ("options", "quota"),
    [
        ((), None),
        (("--quota", "10GiB"), Quota(bytes=10 * GIB)),
        (("--quota-files", "0"), Quota(files=0)),
        (("--quota", "5", "--quota-files", "1000"), Quota(bytes=5, files=1000)),
    ],
)
def test_an_upload_token_says_what_its_owner_may_have(
    options: tuple[str, ...], quota: Quota | None, keystore: Keystore
) -> None:
    run = Run("token", "mint", "--node", "s01", "--size", "5", *options)
    assert (run.code, run.err) == (0, "")
    assert verify_upload(run.out.strip(), keystore.keyset(), "s01").quota == quota


def test_inspect_says_a_quota_in_words(keystore: Keystore) -> None:
    options = ("--node", "s01", "--size", "5", "--quota", "10GiB", "--quota-files", "9")
    run = Run("token", "inspect", stdin=Run("token", "mint", *options).out)
    assert "  quota: bytes 10737418240 (10.0 GiB), files 9\n" in run.out


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("download", "--node", "c01", "--path", "ns/a"), "'c01' is no storage node"),
        (("download", "--node", "s01", "--path", "/uploads/ns/a"), "is no file's path"),
        (("download", "--node", "s01", "--path", "ns/../a"), "is no file's path"),
        (("download", "--node", "s01", "--path", ""), "is no file's path"),
        (("download", "--node", "s01", "--path", "a.bin"), "is no file's path"),
        (("mint", "--node", "s01", "--size", "5", "--quota", "-1"), "--quota"),
        (("mint", "--node", "s01", "--size", "5", "--quota-files", "-1"), "--quota-files"),
        (("mint", "--node", "s01", "--size", "5", "--quota-files", "9" * 20), "quota"),
        (("access", "--node", "s01"), "--right"),
        (("access", "--node", "s01", "--right", "write"), "rights.0: "),
        (("access", "--node", "s09", "--right", "read"), "'s09' is no storage node"),
        (("access", "--node", "s01", "--right", "read", "--namespace", "../x"), "namespace: "),
        (("access", "--node", "s01", "--right", "read", "--file-id", "1"), "file_id: "),
    ],
)
def test_what_no_node_would_take_is_refused(
    arguments: tuple[str, ...], message: str, keystore: Keystore
) -> None:
    run = Run("token", *arguments)
    assert (run.code, run.out) == (2, "")
    assert message in run.err


@pytest.mark.parametrize(
    ("arguments", "shown"),
    [
        (("download", "--path", "ns/a.bin", "--token-only"), "path: ns/a.bin"),
        (("access", "--right", "read", "--namespace", "ns"), "namespace: ns"),
    ],
)
def test_inspect_knows_both(arguments: tuple[str, ...], shown: str, keystore: Keystore) -> None:
    run = Run("token", "inspect", stdin=Run("token", *arguments, "--node", "s01").out)
    assert run.code == 0
    assert shown in run.out
    assert "verdict: good: signature verifies, signed by 'test'" in run.out


@pytest.mark.parametrize("written", ["Bearer {}", "\ufeff{}\r\n", "'{}'"])
def test_inspect_reads_a_token_as_people_paste_it(written: str, keystore: Keystore) -> None:
    token = Run("token", "access", "--node", "s01", "--right", "read").out.strip()
    assert Run("token", "inspect", stdin=written.format(token)).code == 0


def test_inspect_tells_that_an_old_one_has_expired(keystore: Keystore) -> None:
    token = Run("token", "access", "--node", "s01", "--right", "read").out.strip()
    old = {**unverified_claims(token), "exp": int(time.time()) - 3600}
    run = Run("token", "inspect", stdin=keystore.issuer_key().sign(ACCESS_TYPE, old))
    assert run.code == 1
    assert "signature verifies, but the token has expired" in run.out


def test_adoption_orders_for_a_node_a_namespace_an_owner_and_a_time(keystore: Keystore) -> None:
    whose = ("--node", "s01", "--namespace", "old", "--owner", "alice", "--app", "shop")
    run = Run("token", "adoption", *whose, "--valid", "2d", "--quota", "1GiB")
    assert (run.code, run.err) == (0, "")
    claims = verify_adoption(run.out.strip(), keystore.keyset(), "s01")
    assert (claims.namespace, claims.owner, claims.app) == ("old", "alice", "shop")
    assert (claims.exp - claims.iat, claims.quota) == (2 * 86400, Quota(bytes=GIB))
    inspected = Run("token", "inspect", stdin=run.out)
    assert inspected.code == 0, inspected.err
    assert "verdict: good" in inspected.out


@pytest.mark.parametrize(
    ("options", "why"),
    [(("--valid", "31d"), "at most"), (("--node", "s09"), "no storage node")],
)
def test_an_order_to_adopt_that_cannot_be_is_a_line(
    keystore: Keystore, options: tuple[str, str], why: str
) -> None:
    run = Run("token", "adoption", "--namespace", "old", "--owner", "a", "--node", "s01", *options)
    assert (run.code, run.out) == (2, "")
    assert why in run.err
