"""The whole cluster in one run: every role, and the roster that makes nodes know each other."""

from __future__ import annotations

import errno
import hashlib
from pathlib import Path
from typing import Any

import pytest
from pyinfra.api.exceptions import PyinfraError

from deploys import layout
from deploys.components import roster
from deploys.runs import trouble
from portside.operator.keystore import Keystore
from portside.tokens import SigningKey
from portside.wire.keys import PublicKey
from tests.support.cluster_files import CLUSTER
from tests.support.deploys import fake_host
from tests.support.deploys.fake_host import PRISTINE, position

pytestmark = pytest.mark.usefixtures("release")

KEY = SigningKey.generate("s01").public()


def _shows(key: PublicKey) -> dict[str, Any]:
    return {**PRISTINE, f"{layout.AGENT_COMMAND} identity": ["made", key.model_dump_json()]}


def _deploy(responses: dict[str, Any], node_id: str = "s01", *roles: str) -> list[str]:
    return fake_host.deploy("site.py", responses, node_id, roles or ["storage"])


@pytest.fixture
def keystore(secrets: Path) -> Keystore:
    return Keystore(secrets, "test")


def test_a_nodes_key_is_gathered_before_the_roster_is_written(keystore: Keystore) -> None:
    commands = _deploy(_shows(KEY))
    assert keystore.node_keys() == {"s01": KEY}
    assert keystore.deployed_roster() is not None
    written = position(commands, "mv -fT", layout.ROSTER)
    assert position(commands, "systemctl restart portside-agent.service") < written


def test_a_keystore_that_cannot_be_written_is_told_without_a_traceback(
    keystore: Keystore, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    # Full since the run began: until then everything in it could be read and written.
    monkeypatch.setattr(Keystore, "keep_node_key", full)
    monkeypatch.setattr(trouble, "troubles", {})
    fails = {"No space left on device": {"success": False}}
    with pytest.raises(PyinfraError, match="No hosts remaining"):
        _deploy({**_shows(KEY), **fails})
    assert "Traceback" not in caplog.text
    assert "Errno 28" in trouble.troubles["@fake/s01"].said


def test_the_roster_names_every_storage_node_whose_key_is_known(keystore: Keystore) -> None:
    other = SigningKey.generate("s02").public()
    keystore.keep_node_key("s02", other)
    _deploy(_shows(KEY))
    deployed = keystore.deployed_roster()
    assert deployed is not None
    assert [(node.node_id, node.key) for node in deployed.nodes] == [("s01", KEY), ("s02", other)]
    assert deployed.control_url == "https://c01.portside.test"


def test_the_control_node_gets_the_same_roster(keystore: Keystore) -> None:
    _deploy(_shows(KEY))
    first = keystore.deployed_roster()
    commands = _deploy(PRISTINE, "c01", "control")
    position(commands, "mv -fT", layout.ROSTER)
    assert keystore.deployed_roster() == first


def test_a_roster_that_is_there_is_left_alone(keystore: Keystore) -> None:
    _deploy(_shows(KEY))
    digest = hashlib.sha256((keystore.directory / "roster.json").read_bytes()).hexdigest()
    there = f"file 640 root portside {digest} {layout.ROSTER}"
    commands = _deploy({**_shows(KEY), f"for p in {layout.ROSTER};": [there]})
    assert not any("mv -fT" in command and layout.ROSTER in command for command in commands)


@pytest.mark.parametrize("shown", [SigningKey.generate("s01").public(), None])
def test_a_node_with_another_key_is_refused_before_anything_is_changed(
    keystore: Keystore, shown: PublicKey | None
) -> None:
    keystore.keep_node_key("s01", KEY)
    with pytest.raises(
        PyinfraError,
        match=f"s01 is known by the key {KEY.kid} and .* run `portside keys forget s01`",
    ):
        _deploy(PRISTINE if shown is None else _shows(shown))
    assert keystore.node_keys() == {"s01": KEY}


def test_a_key_that_changed_during_the_run_is_refused_too(
    keystore: Keystore, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Bare while it was looked at: somebody else's run has made it a node since.
    keystore.keep_node_key("s01", KEY)
    monkeypatch.setattr(roster, "stranger", lambda *_: None)
    commands = _deploy(_shows(SigningKey.generate("s01").public()))
    position(commands, "exit 1", "shows no public key")
    assert keystore.node_keys() == {"s01": KEY}


def test_a_node_that_was_forgotten_is_known_by_its_new_key(keystore: Keystore) -> None:
    keystore.keep_node_key("s01", SigningKey.generate("s01").public())
    keystore.forget_node_key("s01")
    _deploy(_shows(KEY))
    assert keystore.node_keys() == {"s01": KEY}


def test_one_machine_may_be_everything(secrets: Path) -> None:
    (secrets.parent.parent / "cluster.yaml").write_text(
        CLUSTER.replace("s01: {}", "s01: {roles: [storage, control]}").replace(", c01: {}", "")
    )
    commands = _deploy(_shows(KEY), "s01", "storage", "control")
    order = [
        position(commands, "systemctl restart portside-agent.service"),
        # Before the control plane looks whether uploads would be answered.
        position(commands, "nginx -t -q -c"),
        position(commands, "mv -fT", layout.ROSTER),
        position(commands, "systemctl restart portside-control.service"),
    ]
    assert order == sorted(order)
    # One nginx.conf with both, once.
    assert len([command for command in commands if "nginx -t -q -c" in command]) == 1
