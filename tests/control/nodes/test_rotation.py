"""Keys are replaced under a control plane: nothing that somebody says in between is lost."""

from __future__ import annotations

from datetime import timedelta

import pytest

from control.cluster import issuer
from control.problems import ProblemError
from portside import durable_file
from portside.tokens import SigningKey, key_id
from portside.wire.keys import Keyset, PublicKey
from tests.support.control.cluster import take_over
from tests.support.control.core import Core


def _told(core: Core, node_id: str, version: int, key: SigningKey, *others: PublicKey) -> None:
    facts = {node_id: {"key": key.public(), "other_keys": others}}
    take_over(core.database, core.nodes.roster(version, facts), core.clock.now)
    core.snapshots.forget()


def test_a_node_is_believed_with_its_next_key_and_the_one_before(core: Core) -> None:
    session = core.opens()
    node_id, before = session.node_id, core.nodes.keys[session.node_id]
    receipt = core.nodes.receipt_of(session, core.clock.now)
    following = SigningKey.generate(node_id)
    _told(core, node_id, 2, before, following.public())
    core.reports(node_id)
    core.nodes.keys[node_id] = following
    core.reports(node_id)
    # The deploy hears of it afterwards.
    ends = core.clock.now + timedelta(days=1)
    _told(core, node_id, 3, following, before.public(not_after=ends))
    core.reports(node_id)
    core.takes(receipt)
    told = core.reports("s01", roster_version=1).roster
    assert told is not None
    own = told.find(node_id)
    assert own is not None
    assert [key.kid for key in own.keyset.keys] == [following.kid, before.kid]


def test_a_former_key_ends_but_for_receipts_of_its_time(core: Core) -> None:
    session, other = core.opens(), core.opens()
    node_id, before = session.node_id, core.nodes.keys[session.node_id]
    receipt = core.nodes.receipt_of(session, core.clock.now)
    ends = core.clock.now + timedelta(days=1)
    following = SigningKey.generate(node_id)
    _told(core, node_id, 2, following, before.public(not_after=ends))
    core.clock.pass_by(2 * 86400)
    with pytest.raises(ProblemError) as refused:
        core.beats(node_id)
    assert refused.value.slug == "token-unknown-key"
    late = core.nodes.receipt_of(other, core.clock.now, node_id=node_id)
    with pytest.raises(ProblemError) as refused:
        core.takes(late)
    assert refused.value.slug == "token-unknown-key"
    core.takes(receipt)


def test_the_next_session_is_signed_by_the_issuers_next_key(core: Core) -> None:
    settings = core.settings
    key = issuer.load(settings)
    trusted = issuer.trusted(settings, key)
    assert key is not None and settings.issuer_key is not None and settings.keyset is not None
    following = SigningKey.generate(settings.issuer)
    both = Keyset(keys=(following.public(), core.key.public()))
    durable_file.replace(settings.keyset, both.model_dump_json().encode(), 0o640)
    assert key_id(key.sign("x", {})) == core.key.kid
    durable_file.replace(settings.issuer_key, following.to_json().encode(), 0o600)
    assert key_id(key.sign("x", {})) == following.kid
    assert trusted() == both


def test_another_issuers_key_never_signs(core: Core) -> None:
    key = issuer.load(core.settings)
    assert key is not None and core.settings.issuer_key is not None
    foreign = SigningKey.generate("another")
    durable_file.replace(core.settings.issuer_key, foreign.to_json().encode(), 0o600)
    assert key.kid == core.key.kid
