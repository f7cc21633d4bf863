"""A certificate that clients would refuse is found out before it travels, in words that help."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from portside.operator.certificates import check_authority, check_pair, problems, soon
from tests.support.certificates import encrypted, made

HOST = "s01.portside.test"
NOW = datetime.now(UTC)
ROOT = made("Root", is_ca=True)
BETWEEN = made("Between", ROOT, is_ca=True)
LEAF = made("leaf", BETWEEN, hosts=(HOST,))
FULL = LEAF.certificate_pem + BETWEEN.certificate_pem


def judged(certificate: bytes, key: bytes = LEAF.key_pem, roots: bytes | None = None) -> list[str]:
    return problems(certificate, key, HOST, NOW, roots or ROOT.certificate_pem)


@pytest.mark.parametrize(
    "chain",
    [FULL, FULL + ROOT.certificate_pem, LEAF.certificate_pem],
    ids=["without its root", "with its root", "an authority that clients know is between"],
)
def test_a_whole_chain_is_taken(chain: bytes) -> None:
    roots = ROOT.certificate_pem if BETWEEN.certificate_pem in chain else BETWEEN.certificate_pem
    assert judged(chain, roots=roots) == []


@pytest.mark.parametrize("name", [HOST, "*.portside.test"])
def test_a_name_or_its_wildcard_is_taken(name: str) -> None:
    pair = made("leaf", ROOT, hosts=("other.test", name))
    check_pair(pair.certificate_pem, pair.key_pem, HOST, NOW, ROOT.certificate_pem)


def test_a_leaf_without_its_chain_is_named_with_what_is_missing() -> None:
    (line,) = judged(LEAF.certificate_pem)
    assert "was signed by CN=Between, which is neither behind it in the file" in line
    assert "tls.authority" in line


def test_an_authority_before_the_nodes_own_certificate_is_said() -> None:
    found = judged(BETWEEN.certificate_pem + LEAF.certificate_pem)
    assert any("the node's own goes first" in line for line in found)


def test_what_signed_itself_is_no_authority() -> None:
    own = made("own", hosts=(HOST,))
    (line,) = judged(own.certificate_pem, own.key_pem)
    assert "signed itself" in line


def test_an_ended_certificate_in_the_chain_is_found() -> None:
    old = made("Old", ROOT, is_ca=True, days=(-9, -1))
    leaf = made("leaf", old, hosts=(HOST,))
    (line,) = judged(leaf.certificate_pem + old.certificate_pem, leaf.key_pem)
    assert line.startswith("CN=Old, in its chain, ended")


@pytest.mark.parametrize(
    ("days", "word"), [((-9, -1), "not valid now: it ended"), ((1, 9), "not valid now: it begins")]
)
def test_a_certificate_is_refused_outside_its_time(days: tuple[int, int], word: str) -> None:
    pair = made("leaf", ROOT, hosts=(HOST,), days=days)
    (line,) = judged(pair.certificate_pem, pair.key_pem)
    assert word in line


@pytest.mark.parametrize(
    ("key", "word"),
    [
        (encrypted(LEAF), "the key is encrypted"),
        (ROOT.key_pem, "the key belongs to another certificate"),
        (b"nothing", "there is no private key"),
    ],
    ids=["encrypted", "another's", "none"],
)
def test_a_key_that_nginx_could_not_use_is_refused(key: bytes, word: str) -> None:
    (line,) = judged(FULL, key)
    assert word in line
    assert "\n" not in line


def test_everything_that_is_wrong_is_said_at_once() -> None:
    pair = made("leaf", hosts=("s02.portside.test",), days=(-9, -1))
    found = judged(pair.certificate_pem, ROOT.key_pem)
    assert len(found) == 4
    assert any(
        line.endswith("is for s02.portside.test, not for s01.portside.test") for line in found
    )
    with pytest.raises(ValueError, match=r"another certificate; .*not valid now"):
        check_pair(pair.certificate_pem, ROOT.key_pem, HOST, NOW, None)


@pytest.mark.parametrize(("days", "told"), [(13, True), (15, False), (-1, False)])
def test_two_weeks_before_its_end_a_certificate_is_told_of(days: int, *, told: bool) -> None:
    pair = made("leaf", ROOT, hosts=(HOST,), days=(-20, days))
    assert (soon(pair.certificate_pem, NOW) is not None) is told


@pytest.mark.parametrize(
    ("pem", "word"),
    [
        (LEAF.certificate_pem, "CN=leaf is no authority"),
        (made("Old", is_ca=True, days=(-9, -1)).certificate_pem, "CN=Old ended"),
        (b"nothing", "there is no certificate"),
    ],
    ids=["a leaf", "ended", "nothing"],
)
def test_an_authority_that_is_none_is_refused(pem: bytes, word: str) -> None:
    check_authority(ROOT.certificate_pem, NOW)
    with pytest.raises(ValueError, match=word):
        check_authority(pem, NOW)


def test_an_odd_certificate_among_the_systems_hides_no_other() -> None:
    odd = b"-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n"
    assert judged(FULL, roots=odd + ROOT.certificate_pem) == []
