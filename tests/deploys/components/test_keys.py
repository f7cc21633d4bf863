"""A rotation's steps on a node, and an issuer that never takes another's place in silence."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from pyinfra.api.exceptions import PyinfraError

from deploys import layout
from portside.operator.keystore import Keystore, Rotation
from portside.tokens import SigningKey
from portside.wire.keys import Keyset, PublicKey
from tests.support.deploys import fake_host
from tests.support.deploys.fake_host import PRISTINE, position

BEFORE, FOLLOWING = (SigningKey.generate("s01").public() for _ in range(2))


@pytest.fixture
def keystore(secrets: Any) -> Keystore:
    kept = Keystore(secrets, "test")
    kept.keep_node_key("s01", BEFORE)
    return kept


def _shows(key: PublicKey, following: PublicKey = FOLLOWING) -> dict[str, Any]:
    return {
        **PRISTINE,
        "--prepare": [following.model_dump_json()],
        f"{layout.AGENT_COMMAND} identity 2": ["made", key.model_dump_json()],
    }


def _trusts(*keys: PublicKey) -> dict[str, Any]:
    return {f"cat {layout.KEYSET}": [Keyset(keys=keys).model_dump_json()]}


def _deploy(responses: dict[str, Any], node_id: str = "s01", *roles: str) -> list[str]:
    return fake_host.deploy("keys.py", responses, node_id, roles or ["storage"])


def test_without_a_rotation_keys_are_put_in_place_and_nothing_is_reloaded(
    keystore: Keystore,
) -> None:
    commands = _deploy(_shows(BEFORE))
    position(commands, "mv -fT", layout.KEYSET)
    assert not any("systemctl" in command or "--take-over" in command for command in commands)


def test_the_next_key_is_gathered_and_told_before_it_signs(keystore: Keystore) -> None:
    keystore.keep_rotation(Rotation(begun_at=datetime.now(UTC), nodes=("s01",)))
    for _ in range(2):
        commands = _deploy(_shows(BEFORE))
        assert not any("--take-over" in command for command in commands)
    assert keystore.other_keys("s01").following == FOLLOWING
    deployed = keystore.deployed_roster()
    assert deployed is not None
    assert [node.other_keys for node in deployed.nodes] == [(FOLLOWING,)]
    begun = keystore.rotation()
    assert begun is not None and begun.confirmed == ("s01",)


def test_a_node_signs_with_it_once_all_were_told_and_the_roster_follows(
    keystore: Keystore,
) -> None:
    keystore.keep_rotation(Rotation(begun_at=datetime.now(UTC), nodes=("s01",), told=True))
    keystore.keep_following_key("s01", FOLLOWING)
    commands = _deploy(_shows(FOLLOWING))
    took = position(commands, f"--take-over={FOLLOWING.kid}")
    assert took < position(commands, "mv -fT", layout.ROSTER)
    assert keystore.node_keys() == {"s01": FOLLOWING}
    (former,) = keystore.other_keys("s01").former
    assert former.kid == BEFORE.kid and former.not_after is not None
    assert not any("--take-over" in command for command in _deploy(_shows(FOLLOWING)))


def test_a_whole_deploy_finds_a_node_that_took_over_no_stranger(
    keystore: Keystore, release: None
) -> None:
    keystore.keep_following_key("s01", FOLLOWING)
    shown = {**PRISTINE, f"{layout.AGENT_COMMAND} identity": ["made", FOLLOWING.model_dump_json()]}
    fake_host.deploy("site.py", shown, "s01", ["storage"])
    assert keystore.node_keys() == {"s01": FOLLOWING}
    assert keystore.other_keys("s01").following is None


@pytest.mark.parametrize(("node_id", "role"), [("s01", "storage"), ("c01", "control")])
@pytest.mark.parametrize("script", ["keys.py", "site.py"])
def test_another_keystores_issuer_is_refused_before_anything_is_changed(
    keystore: Keystore, release: None, script: str, node_id: str, role: str
) -> None:
    foreign = SigningKey.generate("test").public()
    with pytest.raises(PyinfraError, match=f"trusts the issuer key {foreign.kid}, .*keys import"):
        fake_host.deploy(script, {**_shows(BEFORE), **_trusts(foreign)}, node_id, [role])


def test_a_keystore_from_before_a_rotation_is_refused(keystore: Keystore) -> None:
    (own,) = keystore.keyset().keys
    signs = SigningKey.generate("test").public()
    former = own.model_copy(update={"not_after": datetime.now(UTC) + timedelta(days=8)})
    with pytest.raises(PyinfraError, match=f"trusts the issuer key {signs.kid}, .*its latest"):
        _deploy({**_shows(BEFORE), **_trusts(signs, former)})


def test_a_keystore_that_lacks_a_former_key_alone_goes_on(keystore: Keystore) -> None:
    (own,) = keystore.keyset().keys
    former = SigningKey.generate("test").public()
    former = former.model_copy(update={"not_after": datetime.now(UTC) + timedelta(days=8)})
    _deploy({**_shows(BEFORE), **_trusts(former, own)})


def test_a_key_that_was_distrusted_is_taken_from_nodes_that_know_it(keystore: Keystore) -> None:
    (own,) = keystore.keyset().keys
    stolen = keystore.make_waiting_issuer_key("test", datetime.now(UTC)).public
    keystore.distrust_issuer_key(stolen.kid)
    commands = _deploy({**_shows(BEFORE), **_trusts(stolen, own)})
    position(commands, "mv -fT", layout.KEYSET)


def test_an_issuer_that_was_made_on_purpose_takes_the_lost_ones_place_for_a_day(
    keystore: Keystore, cluster: Any
) -> None:
    for path in (keystore.directory / "issuer").iterdir():
        path.unlink()
    keystore.init(cluster, new_issuer=True)
    (made,) = keystore.issuer_keys()
    assert made.replaces_until is not None
    assert made.replaces_until < datetime.now(UTC) + timedelta(days=1, minutes=1)
    lost = SigningKey.generate("test").public()
    commands = _deploy({**_shows(BEFORE), **_trusts(lost)})
    position(commands, "mv -fT", layout.KEYSET)
