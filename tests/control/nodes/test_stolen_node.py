"""What whoever has a node's key can do with it at the control plane: nothing to others' files.

s02 is stolen: its heartbeats, inventories and receipts are signed as they should be, and lies.
"""

from __future__ import annotations

import secrets
from datetime import timedelta
from pathlib import PurePosixPath
from typing import Any

import pytest

from control.catalogue import holds
from control.files import lifetimes
from control.nodes.service import set_state
from control.problems import ProblemError
from portside.tokens import SigningKey, mint_download
from portside.wire.control import NodeStateRequest
from portside.wire.files import HoldNote
from portside.wire.heartbeat import GoneFile, HoldDone, LifetimeKept
from portside.wire.inventory import HeldFiles
from portside.wire.keys import Keyset
from tests.support.control.cluster import done, take_over
from tests.support.control.core import Core
from tests.support.control.inventories import held, inventories, tells
from tests.support.control.orders import ordered, orders_copy, orders_deletion
from tests.support.control.web import Api
from tests.support.minting import download_claims

STOLEN = "s02"


def _says_deleted(core: Core, told: GoneFile) -> None:
    core.reports(STOLEN, gone=(told,))


def _forgeries(core: Core, gone: GoneFile) -> dict[str, GoneFile]:
    """Orders that don't order this, by what is wrong with them."""
    past = int(core.clock.now.timestamp()) - 7200
    return {
        "none": gone,
        "no token": gone.model_copy(update={"order": "a.b.c", "deleted_at": core.clock.now}),
        "its own key": ordered(core, STOLEN, gone, key=core.nodes.keys[STOLEN]),
        "another node's": ordered(core, "s01", gone),
        "another file's": ordered(core, STOLEN, gone, file_id="f" * 32),
        "another owner's": ordered(core, STOLEN, gone, owner="else"),
        "another namespace's": ordered(core, STOLEN, gone, namespace="elsewhere"),
        "another right": ordered(core, STOLEN, gone, rights=("read", "list", "verify")),
        "too late": ordered(core, STOLEN, gone, deleted_at=core.clock.now + timedelta(seconds=961)),
        "too early": ordered(
            core, STOLEN, gone, deleted_at=core.clock.now - timedelta(seconds=3600)
        ),
        "older than the file": ordered(
            core,
            STOLEN,
            gone,
            deleted_at=core.clock.now - timedelta(seconds=7000),
            iat=past,
            nbf=past,
            exp=past + 900,
        ),
    }


def test_without_an_issuers_order_a_nodes_word_deletes_its_own_copy_alone(core: Core) -> None:
    for what in _forgeries(core, GoneFile(file_id="0" * 32, why="deleted")):
        file_id = core.stores("s01", STOLEN, "s03")
        _says_deleted(core, _forgeries(core, GoneFile(file_id=file_id, why="deleted"))[what])
        there = {"s01": "present", STOLEN: "gone", "s03": "present"}
        assert core.copies(file_id) == there, what
        assert core.file(file_id).state == "committed", what
    assert core.reports("s01").work == core.reports("s03").work == ()
    core.counts_are_right()


def test_an_upload_under_way_is_called_off_by_an_issuers_order_alone(core: Core) -> None:
    session = core.opens()
    gone = GoneFile(file_id=session.file_id, why="deleted")
    core.reports(session.node_id, gone=(gone,))
    core.takes(core.nodes.receipt_of(session, core.clock.now))
    assert core.file(session.file_id).state == "committed"


def test_a_deletion_counts_by_the_moment_it_was_made_at(core: Core) -> None:
    """The node was away until long after the token had ended."""
    file_id = core.stores("s01", STOLEN)
    told = ordered(core, STOLEN, GoneFile(file_id=file_id, why="deleted"), owner="somebody")
    core.clock.pass_by(21 * 86400)
    _says_deleted(core, told)
    assert core.copies(file_id) == {"s01": "deleting", STOLEN: "gone"}
    core.counts_are_right()


def test_the_order_of_a_lease_proves_the_deletion_to_a_catalogue_that_has_forgotten_it(
    core: Core,
) -> None:
    core.all_report()
    file_id = core.stores("s01")
    orders_deletion(core, file_id, "s01", tombstone=True)
    (lease,) = core.reports("s01").work
    known = held()
    tells(core, "s03", known)
    told = known.model_copy(update={"order": lease.order, "deleted_at": core.clock.now})
    # It is for its file alone.
    assert _buries(core, "s01", told) == 0
    assert core.copies(known.file_id) == {"s03": "present"}
    again = core.stores("s01", "s03")
    order = GoneFile(file_id=again, why="deleted", order=lease.order, deleted_at=core.clock.now)
    core.reports("s01", gone=(order,))
    assert core.copies(again) == {"s01": "gone", "s03": "present"}


def test_the_removal_of_one_copy_brings_no_order_that_would_delete_the_others(core: Core) -> None:
    file_id = core.stores("s01", STOLEN)
    orders_deletion(core, file_id, STOLEN)
    (lease,) = core.reports(STOLEN).work
    assert (lease.tombstone, lease.order) == (False, None)


def _buries(core: Core, node_id: str, *files: Any) -> int:
    message = HeldFiles(node_id=node_id, ticket=core.ticket(node_id), files=files, deleted=True)
    token, body = core.nodes.message(node_id, message, core.clock.now)
    return inventories(core).take_over(node_id, token, body, core.clock.now).taken


def test_tombstones_without_an_order_bury_nothing(core: Core) -> None:
    core.all_report()
    file = held()
    tells(core, "s01", file)
    for lie in (file, ordered(core, STOLEN, file, key=core.nodes.keys[STOLEN])):
        assert _buries(core, STOLEN, lie) == 0
    assert core.copies(file.file_id) == {"s01": "present"}
    assert _buries(core, STOLEN, ordered(core, STOLEN, file)) == 1
    assert core.copies(file.file_id) == {"s01": "deleting"}
    core.counts_are_right()


def _refused(core: Core, receipt: str) -> str:
    with pytest.raises(ProblemError) as problem:
        core.takes(receipt)
    return problem.value.slug


def test_a_receipt_of_a_node_that_nobody_expects_the_file_on_is_refused(core: Core) -> None:
    session = core.opens()
    (other,) = core.nodes.keys.keys() - {session.node_id, *session.replicas}
    now = core.clock.now
    lies: list[dict[str, Any]] = [
        {},
        {"jti": secrets.token_hex(16)},
        {"file_id": secrets.token_hex(16)},
    ]
    for lie in lies:
        receipt = core.nodes.receipt_of(session, now, other, **lie)
        assert _refused(core, receipt) == "receipt-conflict", lie
    core.takes(core.nodes.receipt_of(session, now))
    assert _refused(core, core.nodes.receipt_of(session, now, other)) == "receipt-conflict"
    assert other not in core.copies(session.file_id)
    core.counts_are_right()


def test_a_session_is_taken_by_no_file_that_its_token_didnt_allow(core: Core) -> None:
    now = core.clock.now
    session = core.opens(namespace="files", layout="named", name="a.iso")
    (replica,) = session.replicas
    lies: list[dict[str, Any]] = [
        {"size": 999},
        {"path": PurePosixPath("files/b.iso")},
        {"path": PurePosixPath("private/a.iso")},
    ]
    for lie in lies:
        assert _refused(core, core.nodes.receipt_of(session, now, replica, **lie)) == (
            "receipt-conflict"
        ), lie
    core.takes(core.nodes.receipt_of(session, now, path=PurePosixPath("files/a.iso")))
    core.counts_are_right()


def test_what_a_node_tells_of_others_files_makes_no_copy_too_many(core: Core) -> None:
    """One more than are wanted, and the control plane would order a real one away."""
    core.all_report()
    file = held()
    tells(core, "s01", file)
    tells(core, "s03", file)
    (refused,) = tells(core, STOLEN, file).not_taken
    assert "as many copies as are wanted" in refused.why
    receipt = core.nodes.receipt(
        STOLEN,
        core.clock.now,
        **file.model_dump(include={"file_id", "jti", "path", "sha256", "committed_at"}),
    )
    assert _refused(core, receipt) == "receipt-conflict"
    assert core.copies(file.file_id) == {"s01": "present", "s03": "present"}
    core.counts_are_right()


def test_a_retired_node_is_heard_no_more(core: Core) -> None:
    session = core.opens()
    core.reports(session.node_id)
    core.database.write(
        lambda transaction: set_state(
            transaction,
            core.snapshots,
            core.settings,
            session.node_id,
            NodeStateRequest(state="retired", force=True),
            core.clock.now,
        )
    )
    core.snapshots.forget()
    with pytest.raises(ProblemError, match="was retired"):
        core.reports(session.node_id)
    receipt = core.nodes.receipt_of(session, core.clock.now)
    assert _refused(core, receipt) == "token-unknown-key"


def test_a_copys_node_that_is_first_doesnt_say_what_was_uploaded(core: Core) -> None:
    session = core.opens()
    (replica,) = session.replicas
    core.takes(core.nodes.receipt_of(session, core.clock.now, replica, sha256="0" * 64))
    core.takes(core.nodes.receipt_of(session, core.clock.now))
    found = core.file(session.file_id)
    assert (found.sha256 != "0" * 64, found.present) == (True, 1)
    assert core.copies(session.file_id) == {session.node_id: "present", replica: "lost"}
    late = core.nodes.receipt_of(session, core.clock.now, replica, sha256="0" * 64)
    assert _refused(core, late) == "receipt-conflict"
    core.counts_are_right()


def test_the_key_that_a_node_had_before_is_worth_nothing_any_more(core: Core) -> None:
    session = core.opens()
    node_id, now = session.node_id, core.clock.now
    old = core.nodes.keys[node_id]
    core.reports(node_id)
    core.nodes.keys[node_id] = SigningKey.generate(node_id)
    take_over(core.database, core.nodes.roster(version=2), now)
    core.snapshots.forget()
    new = core.nodes.keys[node_id]
    core.nodes.keys[node_id] = old
    receipt = core.nodes.receipt_of(session, now)
    assert _refused(core, receipt) == "token-unknown-key"
    for says in (lambda: core.beats(node_id), lambda: tells(core, node_id, held())):
        with pytest.raises(ProblemError) as problem:
            says()
        assert problem.value.slug == "token-unknown-key"
    core.nodes.keys[node_id] = new
    core.takes(core.nodes.receipt_of(session, now))
    # What it signed before, and somebody brings now, is no word of the node's.
    assert _refused(core, receipt) == "token-unknown-key"
    told = core.reports("s01", roster_version=1).roster
    assert told is not None
    assert [node.key.kid for node in told.nodes if node.node_id == node_id] == [new.kid]


def test_a_nodes_key_is_no_issuers_though_the_keyset_has_it(core: Core) -> None:
    session = core.opens(namespace="private")
    path = PurePosixPath("private", "a.iso")
    core.takes(core.nodes.receipt_of(session, core.clock.now, path=path))
    keys = [core.key.public(), *(key.public() for key in core.nodes.keys.values())]
    assert core.settings.keyset is not None
    core.settings.keyset.write_text(Keyset(keys=tuple(keys)).model_dump_json())
    api = Api(core)
    for signer, status in ((core.nodes.keys[STOLEN], 401), (core.key, 302)):
        said = download_claims(signer.owner, session.node_id, {"path": str(path)})
        query = {"token": mint_download(signer, said)}
        answer = api.ask("GET", f"/f/{session.file_id}", key=None, query=query)
        assert answer.status_code == status, answer.text


def test_a_node_ends_its_own_leases_alone_and_none_with_its_word_for_a_copy(core: Core) -> None:
    core.all_report()
    theirs, own = core.stores("s01"), core.stores(STOLEN)
    lease = orders_copy(core, theirs, "s01", "s03")
    mine = orders_copy(core, own, STOLEN, "s03")
    gone = orders_deletion(core, core.stores("s01", "s03"), "s03")
    assert lease is not None
    assert mine is not None
    assert gone is not None
    core.all_report()
    # Of a lie each: the word alone, a receipt of its own, one of the target for another file.
    known = core.file(own)
    said = {"jti": known.session_id, "committed_at": known.committed_at}
    other = core.nodes.receipt("s03", core.clock.now)
    mine_too = core.nodes.receipt(STOLEN, core.clock.now, file_id=own, **said)
    for receipt in (None, mine_too, other):
        lies = [done(each, receipt=receipt) for each in (lease, mine, gone)]
        lies += [done(each, "missing") for each in (lease, gone)]
        core.reports(STOLEN, work=lies)
    assert core.copies(theirs) == {"s01": "present", "s03": "copying"}
    assert core.copies(own) == {STOLEN: "present", "s03": "copying"}
    assert [each.lease_id for each in core.reports("s01").work] == [lease]
    assert [each.lease_id for each in core.reports("s03").work] == [gone]
    core.counts_are_right()


def test_a_source_alone_has_no_target_left_out(core: Core) -> None:
    core.all_report()

    def fails(source: str) -> tuple[str, ...]:
        assert orders_copy(core, core.stores(source), source, "s03")
        (lease,) = core.reports(source).work
        core.reports(source, work=[done(lease.lease_id, "failed", detail="no answer")])
        return core.snapshots.current().nodes["s03"].reasons

    assert fails(STOLEN) == fails(STOLEN) == ()
    assert "failed: 1 times" in fails("s01")[0]


def test_a_node_publishes_no_file_that_others_hold_and_holds_none_that_they_serve(
    core: Core,
) -> None:
    core.all_report()
    note = HoldNote(by="mallory", at=core.clock.now + timedelta(days=365))
    secret = held(held=True)
    tells(core, "s01", secret)
    tells(core, STOLEN, secret.model_copy(update={"held": False, "hold": note}))
    assert core.file(secret.file_id).held
    session = core.opens()
    (replica,) = session.replicas
    # First, and after the node that has the upload.
    core.takes(core.nodes.receipt_of(session, core.clock.now, replica, held=True))
    core.takes(core.nodes.receipt_of(session, core.clock.now))
    assert not core.file(session.file_id).held
    core.reports(replica, gone=(GoneFile(file_id=session.file_id, why="damaged"),))
    core.reports(replica)
    known = core.file(session.file_id)
    again = held(
        file_id=known.file_id,
        jti=known.session_id,
        path=PurePosixPath(known.path),
        sha256=known.sha256,
        held=True,
        hold=note,
    )
    assert tells(core, replica, again).taken == 1
    assert not core.file(session.file_id).held
    core.counts_are_right()


def test_a_node_confirms_no_order_that_another_one_has(core: Core) -> None:
    file_id = core.stores("s01", STOLEN)
    core.on_file(file_id, lambda session, file: holds.change(session, file, None, held=True))
    core.on_file(file_id, lambda session, file: lifetimes.order(session, file, ("s01", STOLEN)))
    core.reports(
        STOLEN,
        holds=(HoldDone(file_id=file_id, version=1),),
        lifetimes=(LifetimeKept(file_id=file_id, version=0),),
    )
    answer = core.reports("s01")
    assert [each.file_id for each in answer.holds] == [file_id]
    assert [each.file_id for each in answer.lifetimes] == [file_id]


def test_a_node_loses_no_copy_but_its_own(core: Core) -> None:
    file_id, other = core.stores("s01", STOLEN), core.stores("s01", "s03")
    for why in ("damaged", "missing"):
        core.reports(STOLEN, gone=tuple(GoneFile(file_id=e, why=why) for e in (file_id, other)))
        assert core.copies(file_id) == {"s01": "present", STOLEN: "lost"}
        assert core.copies(other) == {"s01": "present", "s03": "present"}
    core.counts_are_right()
