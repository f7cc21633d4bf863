"""Keys are replaced without a moment in which somebody signs with what another doesn't know.

The keystore is real; what would be done on machines is played: each deploy shows which keys every
node trusts then, and which one signs.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from portside import durable_file
from portside.cluster import roster
from portside.cluster.file import Cluster, parse
from portside.operator import rotation
from portside.operator.keystore import Keystore, KeystoreError, Rotation
from portside.operator.rotation import RotationStopped, finish, overlap, rotate
from portside.tokens import SigningKey
from portside.wire.keys import Keyset

CLUSTER = parse("name: test\ndomain: portside.test\nnodes: {s01: {}, s02: {}, c01: {}}\n")
SMALL = parse("name: test\ndomain: portside.test\nnodes: {s01: {}, c01: {}}\n")


class Killed(BaseException):
    """As kill -9 would end the run."""


@dataclass
class Machines:
    """What is on the nodes, as `deploys/keys.py` brings it there."""

    keystore: Keystore
    cluster: Cluster = CLUSTER
    keysets: dict[str, Keyset] = field(default_factory=dict)
    signs: str = ""
    """The id of the issuer's key on the control node."""
    own: dict[str, SigningKey] = field(default_factory=dict)
    following: dict[str, SigningKey] = field(default_factory=dict)
    known: dict[str, set[str]] = field(default_factory=dict)
    """Key ids of each node in the roster that all have."""
    out_of_reach: set[str] = field(default_factory=set)
    steps: int = 0
    killed_at: int | None = None
    operator_keys: int = 0

    def __post_init__(self) -> None:
        for node_id in self.cluster.with_role("storage"):
            self.own[node_id] = SigningKey.generate(node_id)
            self.keystore.keep_node_key(node_id, self.own[node_id].public())
        self.bring()

    def _step(self) -> None:
        """Anywhere between two things that are done the run may be killed."""
        self.steps += 1
        if self.steps == self.killed_at:
            raise Killed
        self.must_be_sound()

    def deploy_keys(self) -> Collection[str]:
        self.keystore.begin_step()
        self._step()
        self.bring()
        begun = self.keystore.rotation()
        return () if begun is None else begun.confirmed

    def bring(self) -> None:
        begun = self.keystore.rotation()
        reached = [each for each in self.cluster.nodes if each not in self.out_of_reach]
        for node_id in reached:
            self.keysets[node_id] = self.keystore.keyset()
            if node_id == "c01":
                self.signs = self.keystore.issuer_key().kid
            self._step()
        for node_id in reached:
            if begun is not None and node_id in begun.nodes:
                self._replace_own_key(node_id, begun)
        keys = self.keystore.node_keys()
        others = {node_id: self.keystore.other_keys(node_id).all for node_id in keys}
        wanted = roster.build(self.cluster, keys, other_keys=others)
        self.known = {each.node_id: {key.kid for key in each.keyset.keys} for each in wanted.nodes}
        self._step()
        for node_id in reached:
            self.keystore.confirm(node_id)

    def _replace_own_key(self, node_id: str, begun: Rotation) -> None:
        following = self.keystore.other_keys(node_id).following
        if self.keystore.has_taken_over(node_id, begun.begun_at):
            return
        if following is not None and not begun.told:
            return
        if following is None:
            made = self.following.setdefault(node_id, SigningKey.generate(node_id))
            self._step()
            self.keystore.keep_following_key(node_id, made.public())
            return
        if node_id in self.following:
            self.own[node_id] = self.following.pop(node_id)
        self._step()
        assert self.own[node_id].kid == following.kid
        self.keystore.adopt_following_key(node_id, datetime.now(UTC))

    def must_be_sound(self) -> None:
        """What signs now is known to everybody who has to believe it, now and to the end."""
        moment = datetime.now(UTC) + timedelta(hours=2)
        for node_id, keyset in self.keysets.items():
            assert not self.signs or keyset.find(self.signs, moment), f"{node_id}: {self.signs}"
        for node_id, kids in self.known.items():
            assert self.own[node_id].kid in kids, node_id

    def new_operator_key(self) -> None:
        self.operator_keys += 1
        self._step()
        self.keystore.keep_operator_key(f"key-{self.operator_keys}")


def ignore(line: str) -> None:
    pass


@pytest.fixture(autouse=True)
def no_power_cut(monkeypatch: pytest.MonkeyPatch) -> None:
    """Runs are killed here, and the kernel goes on: some hundred fsyncs would show nothing."""
    monkeypatch.setattr(durable_file, "sync", lambda descriptor: None)


@pytest.fixture
def keystore(tmp_path: Path) -> Keystore:
    kept = Keystore(tmp_path / "test")
    kept.init(CLUSTER)
    return kept


@pytest.fixture
def machines(keystore: Keystore) -> Machines:
    return Machines(keystore)


def test_an_issuer_signs_with_its_next_key_once_every_node_knows_it(
    keystore: Keystore, machines: Machines
) -> None:
    before = machines.signs
    rotate(CLUSTER, keystore, "issuer", machines, ignore)
    assert machines.signs == keystore.issuer_key().kid != before
    former = machines.keysets["s01"].known(before)
    assert former is not None and former.not_after is not None
    assert former.not_after > datetime.now(UTC) + timedelta(days=1)


def test_nothing_signs_with_a_key_that_a_node_out_of_reach_doesnt_know(
    keystore: Keystore, machines: Machines
) -> None:
    before, machines.out_of_reach = machines.signs, {"s02"}
    with pytest.raises(RotationStopped, match="s02: not reached"):
        rotate(CLUSTER, keystore, "issuer", machines, ignore)
    assert machines.signs == before
    machines.out_of_reach = set()
    rotate(CLUSTER, keystore, "issuer", machines, ignore)
    assert machines.signs != before
    assert len(keystore.issuer_keys()) == 2, "the one that was made before is the one that signs"


def test_an_old_key_gets_no_end_while_the_control_plane_still_signs_with_it(
    keystore: Keystore, machines: Machines
) -> None:
    before = machines.signs

    def told(line: str) -> None:
        if line.endswith(" signs"):
            machines.out_of_reach.add("c01")

    with pytest.raises(RotationStopped, match="c01: not reached"):
        rotate(CLUSTER, keystore, "issuer", machines, told)
    former = machines.keysets["s01"].known(before)
    assert former is not None and former.not_after is None
    machines.must_be_sound()


def test_nodes_sign_with_their_next_keys_once_everybody_knows_them(
    keystore: Keystore, machines: Machines
) -> None:
    before = dict(keystore.node_keys())
    rotate(CLUSTER, keystore, "nodes", machines, ignore)
    after = keystore.node_keys()
    assert {key.kid for key in after.values()} == {key.kid for key in machines.own.values()}
    assert all(before[node_id].kid != after[node_id].kid for node_id in before)
    # What the former ones signed in their time is believed for good, what they sign later never.
    assert all(before[node_id].kid in machines.known[node_id] for node_id in before)
    assert all(key.not_after for each in before for key in keystore.other_keys(each).former)


def test_all_kinds_go_in_one_run(keystore: Keystore, machines: Machines) -> None:
    rotate(CLUSTER, keystore, "all", machines, ignore)
    assert keystore.rotation() is None
    assert keystore.operator_key() == "key-1"


def test_a_rotation_that_is_killed_anywhere_is_finished_by_the_next_and_is_one(
    tmp_path: Path,
) -> None:
    killed_at = 1
    while True:
        keystore = Keystore(tmp_path / str(killed_at), "test")
        keystore.init(SMALL)
        machines = Machines(keystore, SMALL)
        machines.killed_at = machines.steps + killed_at
        issuer, nodes = machines.signs, {each.kid for each in machines.own.values()}
        try:
            rotate(SMALL, keystore, "all", machines, ignore)
        except Killed:
            machines.killed_at = None
            rotate(SMALL, keystore, "all", machines, ignore)
        else:
            break
        assert keystore.rotation() is None
        assert machines.signs != issuer
        assert len(keystore.issuer_keys()) == 2, f"killed at {killed_at}: a second rotation"
        assert nodes.isdisjoint(each.kid for each in machines.own.values())
        others = keystore.other_keys("s01")
        assert others.following is None
        assert len(others.former) == 1, f"killed at {killed_at}: s01 was rotated twice"
        killed_at += 1
    assert killed_at > 20


def test_a_private_half_goes_when_its_time_is_over_and_its_public_one_stays(
    keystore: Keystore, machines: Machines
) -> None:
    before = machines.signs
    rotate(CLUSTER, keystore, "issuer", machines, ignore)
    said: list[str] = []
    finish(keystore, said.append)
    assert "counts until" in said[0]
    later = datetime.now(UTC) + overlap(CLUSTER) + timedelta(minutes=1)
    assert before in keystore.let_go_of_ended(later)[0]
    assert '"d"' not in (keystore.directory / "issuer" / f"{before}.json").read_text()
    assert keystore.keyset().known(before) is not None


def test_a_stolen_key_is_forgotten_altogether_but_never_the_one_that_signs(
    keystore: Keystore, machines: Machines
) -> None:
    before = machines.signs
    with pytest.raises(KeystoreError, match=r"the key that signs: first `fab rotate-keys"):
        keystore.distrust_issuer_key(before)
    rotate(CLUSTER, keystore, "issuer", machines, ignore)
    keystore.distrust_issuer_key(before)
    assert keystore.keyset().known(before) is None


@pytest.mark.parametrize("deadline", ["1h", "30d"])
def test_an_issuers_key_counts_as_long_as_its_longest_token(deadline: str) -> None:
    cluster: Cluster = parse(
        "name: test\ndomain: portside.test\nnodes: {s01: {}}\n"
        f"uploads: {{session_deadline: {deadline}}}\n"
    )
    link = timedelta(days=7) + timedelta(days=1)
    upload = timedelta(seconds=900 + cluster.uploads.session_deadline)
    assert rotation.overlap(cluster) > max(link, upload)


def test_two_rotations_at_once_are_one(keystore: Keystore, machines: Machines) -> None:
    with keystore.rotating(), pytest.raises(KeystoreError, match="somebody rotates the keys"):
        rotate(CLUSTER, keystore, "issuer", machines, ignore)
    rotate(CLUSTER, keystore, "issuer", machines, ignore)
