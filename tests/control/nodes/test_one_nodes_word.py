"""What a node alone tells of files: taken in, and held back until something bears it out.

s02 is stolen: what it tells is signed as it should be, and a lie. What honest nodes tell files with
is `tests.support.control.inventories`.
"""

from __future__ import annotations

import base64
import json
import secrets
from datetime import timedelta
from pathlib import PurePosixPath
from typing import Any

import pytest

from control.catalogue import copies, usage
from control.cluster.reach import EVERYTHING
from control.files import service, vouching
from control.problems import ProblemError
from control.replication import obstacles
from control.replication.repair import RepairRounds
from portside.names import dated_path
from portside.tokens import LEEWAY, RECEIPT_TYPE, SigningKey, mint_adoption, mint_copy_order
from portside.wire.claims import AdoptionClaims, CopyOrderClaims
from portside.wire.inventory import HeldFile
from tests.support.control.core import Core
from tests.support.control.inventories import asks, held, tells, with_proof

# What a node is believed is decided in Python: one database is enough.
pytestmark = pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)

STOLEN = "s02"


def _vouched(core: Core, file: HeldFile) -> str | None:
    return core.file(file.file_id).vouched_by


def _repairs(core: Core) -> list[str]:
    """A round of repair; returns the files that nodes are to copy then."""
    RepairRounds(core.database, core.settings, core.snapshots).round(core.clock.now)
    answers = core.all_report().values()
    return [lease.file_id for answer in answers for lease in answer.work]


def _order(core: Core, file: HeldFile, target: str, **changed: Any) -> HeldFile:
    """A file with the control plane's order by which it came to a node, long ago."""
    past = int(core.clock.now.timestamp()) - 90 * 86400
    said = {
        "iss": core.key.owner,
        "aud": target,
        "sub": "s01",
        "iat": past,
        "nbf": past - LEEWAY,
        "exp": past + 7 * 86400,
        **file.model_dump(include={"file_id", "path", "size", "sha256", "namespace"}),
        **file.model_dump(include={"owner", "name", "content_type", "app"}),
        **changed,
    }
    order = mint_copy_order(core.key, CopyOrderClaims.model_validate(said))
    return file.model_copy(update={"proof": order})


def _adopted(
    core: Core, node_id: str, key: SigningKey | None = None, ended: int = 0, **changed: Any
) -> HeldFile:
    """A file with the order by which the node has adopted it, which ended some seconds before."""
    signer, file_id = key or core.key, secrets.token_hex(16)
    moment = core.clock.now - timedelta(hours=1)
    path = dated_path("files", "a.iso", "alice", file_id, moment)
    file = held(file_id=file_id, name="a.iso", path=path, committed_at=moment)
    committed = int(moment.timestamp())
    said = {
        "iss": signer.owner,
        "aud": node_id,
        "jti": "a" * 20,
        "iat": committed - 600,
        "nbf": committed - 600,
        "exp": committed + 600 - ended,
        **file.model_dump(include={"namespace", "owner", "app"}),
        **changed,
    }
    order = mint_adoption(signer, AdoptionClaims.model_validate(said))
    return file.model_copy(update={"proof": order})


def _forgeries(core: Core) -> dict[str, HeldFile]:
    """Files with proofs that don't prove them, by what is wrong with these."""
    own, copied, now = core.nodes.keys[STOLEN], held(), int(core.clock.now.timestamp())

    def minted(key: SigningKey | None = None, by: str = STOLEN, **claims: Any) -> HeldFile:
        return with_proof(core, by, held(), key=key, **claims)

    def lie(**changed: Any) -> HeldFile:
        return minted().model_copy(update=changed)

    return {
        "none": held(),
        "no token": lie(proof="a.b.c"),
        "its own key": minted(own),
        "a stranger's key": minted(SigningKey.generate("lab")),
        "a copy's on others": with_proof(
            core, "s01", copied, sha256=copied.sha256, replicas=("s03",)
        ),
        "a copy's, of whichever bytes": minted(by="s01", replicas=(STOLEN,)),
        "another file's": lie(file_id="f" * 32),
        "another token's": lie(jti="t" * 32),
        "another owner's": lie(owner="else"),
        "another app's": lie(app="else"),
        "another name's": lie(name="b.iso"),
        "another path's": lie(path=PurePosixPath("files/b.iso")),
        "larger": lie(size=1001),
        "other bytes'": minted(sha256="0" * 64),
        "an order to another node": _order(core, held(), "s03"),
        "an order for other bytes": _order(core, held(), STOLEN, sha256="0" * 64),
        "an order for another owner": _order(core, held(), STOLEN, owner="else"),
        "an adoption on another node": _adopted(core, "s01"),
        "an adoption by its own key": _adopted(core, STOLEN, own),
        "an adoption for another owner": _adopted(core, STOLEN, owner="else"),
        "an adoption for another app": _adopted(core, STOLEN, app="else"),
        "an adoption for another namespace": _adopted(core, STOLEN, namespace="else"),
        "an adoption that had ended": _adopted(core, STOLEN, ended=1200),
        "an adoption that began later": _adopted(core, STOLEN, nbf=now - 1800),
        "an adoption, at another place": _adopted(core, STOLEN).model_copy(
            update={"path": PurePosixPath("files/b.iso")}
        ),
    }


def test_what_nothing_bears_out_is_copied_nowhere(core: Core) -> None:
    core.all_report()
    lies = _forgeries(core)
    for what, lie in lies.items():
        assert tells(core, STOLEN, lie, is_proved=False).taken == 1, what
        assert _vouched(core, lie) == STOLEN, what
    assert _repairs(core) == []
    assert core.database.read(obstacles.by_one_nodes_word) == [(STOLEN, len(lies))]
    # Whoever it says they are has no less left of a quota.
    assert core.database.read(usage.total) == usage.NOTHING
    core.counts_are_right()


def test_sizes_that_no_file_has_are_not_added_up(core: Core) -> None:
    """Pools' sums would leave the range of the database's numbers."""
    core.all_report()
    payload = core.nodes.receipt(STOLEN, core.clock.now).split(".")[1]
    said = json.loads(base64.urlsafe_b64decode(payload + "=="))
    for size in (2**50, 2**63 - 1):
        huge = core.nodes.keys[STOLEN].sign(RECEIPT_TYPE, {**said, "size": size})
        with pytest.raises(ProblemError) as problem:
            core.takes(huge)
        assert problem.value.slug == "token-claims"
    core.counts_are_right()


def test_a_node_of_whose_copy_there_is_a_receipt_is_asked_until_it_bears_the_word_out(
    core: Core,
) -> None:
    core.all_report()
    file = held()
    said = file.model_dump(include={"file_id", "jti", "path", "sha256", "committed_at"})
    for node_id in ("s01", "s03"):
        core.takes(core.nodes.receipt(node_id, core.clock.now, **said))
    tells(core, "s01", file, is_proved=False)
    assert _vouched(core, file) == "s01"
    assert asks(core, "s01", file.file_id).same
    assert asks(core, "s03", file.file_id).wanted == (file.file_id,)
    tells(core, "s03", file, is_proved=False)
    assert _vouched(core, file) is None
    assert asks(core, "s01", file.file_id).same
    assert asks(core, "s03", file.file_id).same
    core.counts_are_right()


def test_what_an_issuer_signed_is_taken_over_and_copied(core: Core) -> None:
    core.all_report()
    files = [
        with_proof(core, "s01", held()),
        with_proof(core, "s01", held(path=PurePosixPath("files/a.iso"), name="a.iso")),
        with_proof(core, "s01", held(), size=None, max_size=5000),
        _order(core, held(), "s01"),
        # Whose order has ended since.
        _adopted(core, "s01"),
        # Nodes without a control plane choose among themselves, and from a token's replicas.
        with_proof(core, "s03", (file := held()), sha256=file.sha256),
        with_proof(core, "s03", (file := held()), sha256=file.sha256, replicas=("s01",)),
    ]
    assert tells(core, "s01", *files, is_proved=False).taken == len(files)
    assert [_vouched(core, each) for each in files] == [None] * len(files)
    assert sorted(_repairs(core)) == sorted(each.file_id for each in files)
    core.counts_are_right()


def test_another_nodes_word_bears_a_file_out_and_so_does_an_operators(core: Core) -> None:
    """Files from before nodes kept what they came with."""
    core.all_report()
    common, alone = held(), held()
    tells(core, "s01", common, alone, is_proved=False)
    tells(core, "s03", common, is_proved=False)
    assert (_vouched(core, common), _vouched(core, alone)) == (None, "s01")
    assert _repairs(core) == []
    assert core.copies(common.file_id) == {"s01": "present", "s03": "present"}
    believed = core.database.write(
        lambda session: vouching.believe(session, core.settings, "s01", core.clock.now)
    )
    assert believed == 1
    assert _repairs(core) == [alone.file_id]
    core.counts_are_right()


def test_where_one_copy_is_wanted_a_second_nodes_word_makes_none_too_many(core: Core) -> None:
    """The real one would be ordered away for it."""
    core.settings = core.settings.model_copy(update={"factor": 1})
    core.all_report()
    file = held()
    tells(core, "s01", file, is_proved=False)
    assert tells(core, STOLEN, file, is_proved=False).taken == 0
    assert tells(core, STOLEN, file).taken == 0
    assert core.copies(file.file_id) == {"s01": "present"}
    assert _repairs(core) == []


def test_a_name_that_one_node_says_it_has_is_free_for_sessions(core: Core) -> None:
    lie = held(path=PurePosixPath("files/a.iso"), name="a.iso")
    tells(core, STOLEN, lie, is_proved=False)
    core.opens(layout="named", name="a.iso", namespace="files")
    real = held(path=PurePosixPath("files/b.iso"), name="b.iso")
    tells(core, "s01", real)
    with pytest.raises(ProblemError, match="is there already"):
        core.opens(layout="named", name="b.iso", namespace="files")


@pytest.mark.parametrize("lie", [{"sha256": "0" * 64}, {"owner": "mallory"}, {"app": "evil"}])
def test_a_lie_that_was_first_gives_way_to_what_is_borne_out(
    core: Core, lie: dict[str, Any]
) -> None:
    core.all_report()
    real = held()
    tells(core, STOLEN, real.model_copy(update=lie), is_proved=False)
    # Nothing of either is said to be wrong, nothing of either goes.
    assert len(tells(core, "s03", real, is_proved=False).not_taken) == ("sha256" in lie)
    assert _vouched(core, real) == STOLEN
    tells(core, "s01", real)
    found = core.file(real.file_id)
    assert (found.sha256, found.owner, found.app_id) == (real.sha256, real.owner, real.app)
    assert (found.vouched_by, core.copies(real.file_id)["s01"]) == (None, "present")
    late = tells(core, STOLEN, real.model_copy(update={"sha256": "1" * 64}), is_proved=False)
    assert late.taken == 0
    core.counts_are_right()


def test_a_lie_that_was_deleted_takes_no_real_file_along(core: Core) -> None:
    """Whoever has a node and an app plants files of others' ids, and deletes them."""
    core.all_report()
    real = held()
    tells(core, STOLEN, real.model_copy(update={"app": "evil"}), is_proved=False)
    core.database.write(
        lambda session: service.remove(
            session, core.snapshots.current(), real.file_id, EVERYTHING, core.clock.now
        )
    )
    tells(core, "s01", real)
    assert core.reports("s01").work == ()
    assert (core.file(real.file_id).state, core.copies(real.file_id)["s01"]) == (
        "committed",
        "present",
    )
    core.counts_are_right()


def test_a_lie_goes_with_its_copy(core: Core) -> None:
    core.all_report()
    real = held()
    lie = real.model_copy(update={"sha256": "0" * 64})
    tells(core, STOLEN, lie, is_proved=False)
    core.on_file(
        real.file_id,
        lambda session, file: copies.lost(session, file, STOLEN, core.clock.now),
    )
    assert tells(core, "s01", real, is_proved=False).taken == 1
    assert (core.file(real.file_id).sha256, _vouched(core, real)) == (real.sha256, "s01")
    core.counts_are_right()


def test_a_receipt_says_nothing_of_whose_a_file_is(core: Core) -> None:
    """Of another issuer's upload: its node tells the rest, with what it was uploaded with."""
    core.all_report()
    file = held()
    said = file.model_dump(include={"file_id", "jti", "path", "sha256", "committed_at"})
    for node_id in ("s01", "s03"):
        core.takes(core.nodes.receipt(node_id, core.clock.now, **said))
    tells(core, STOLEN, file.model_copy(update={"owner": "mallory"}), is_proved=False)
    assert _repairs(core) == [], "no copy of it is too many"
    tells(core, "s01", file)
    found = core.file(file.file_id)
    assert (found.owner, found.vouched_by) == (file.owner, None)
    core.counts_are_right()
