"""Files that are held: nobody is sent to them, and every node with a copy hears it."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest

from control.files.takeover import take_over
from portside.tokens import unverified_claims
from portside.wire.files import HoldNote
from portside.wire.heartbeat import HoldDone
from portside.wire.inventory import HeldFile, HeldFiles
from tests.support.control.core import Core
from tests.support.control.web import Api, slug_of


@pytest.fixture
def api(core: Core) -> Api:
    return Api(core)


def ordered(core: Core, node_id: str) -> list[tuple[str, bool, int]]:
    """What a node is told with its next heartbeat."""
    return [(each.file_id, each.held, each.version) for each in core.reports(node_id).holds]


def confirms(core: Core, node_id: str, file_id: str, version: int) -> None:
    core.reports(node_id, holds=(HoldDone(file_id=file_id, version=version),))


def says(api: Api, way: str, file_id: str, reason: str = "", key: str = "") -> dict[str, Any]:
    answer = api.ask("POST", f"/api/v1/files/{file_id}/{way}", {"reason": reason}, key)
    assert answer.status_code == 200, answer.text
    told: dict[str, Any] = answer.json
    return told


def test_a_held_file_is_served_to_nobody_at_once_and_again_once_it_is_released(api: Api) -> None:
    file_id = api.uploads().file_id
    ways = (f"/f/{file_id}", f"/f/{file_id}/a.iso", f"/api/v1/files/{file_id}/url")
    told = says(api, "hold", file_id, "reported by a user")
    assert (told["held"], told["hold"]["reason"], told["hold"]["by"]) == (
        True,
        "reported by a user",
        "shop",
    )
    for way in ways:
        for key in (None, api.key, api.admin):
            answer = api.ask("GET", way, key=key)
            assert (answer.status_code, slug_of(answer)) == (403, "being-checked")
            assert "reported" not in answer.text
            assert answer.headers["Cache-Control"] == "no-store"
    (listed,) = api.ask("GET", "/api/v1/files").json["files"]
    assert (listed["held"], listed["hold_waits_for"]) == (True, told["hold_waits_for"])
    assert not says(api, "release", file_id, key=api.admin)["held"]
    assert [api.ask("GET", way, key=None).status_code for way in ways] == [302] * 3


def test_only_who_may_delete_a_file_holds_and_releases_it(api: Api) -> None:
    file_id = api.uploads().file_id
    for way in ("hold", "release"):
        path = f"/api/v1/files/{file_id}/{way}"
        refusals = {
            "key-missing": None,
            "scope-missing": api.core.app(f"reader-{way}", "upload", "read"),
            "not-found": api.core.app(f"other-{way}", "delete"),
        }
        for slug, key in refusals.items():
            assert slug_of(api.ask("POST", path, key=key)) == slug
        assert api.ask("POST", path).status_code == 200


@pytest.mark.parametrize(
    "body", ["[]", "{", {"reason": "x" * 201}, {"reason": "a\nb"}, {"why": "x"}, {"reason": 7}]
)
def test_a_reason_is_one_short_line(api: Api, body: object) -> None:
    file_id = api.uploads().file_id
    answer = api.ask("POST", f"/api/v1/files/{file_id}/hold", body)
    assert slug_of(answer) == "malformed-request"
    assert not api.core.file(file_id).held


def test_what_is_not_there_cant_be_held(api: Api) -> None:
    uploading, deleted = api.opens(name="b.iso").file_id, api.uploads().file_id
    assert api.ask("DELETE", f"/api/v1/files/{deleted}").status_code == 200
    for way in ("hold", "release"):
        for file_id, slug in (
            (uploading, "file-not-stored"),
            (deleted, "file-deleted"),
            ("f" * 32, "not-found"),
        ):
            assert slug_of(api.ask("POST", f"/api/v1/files/{file_id}/{way}")) == slug


def test_every_node_with_a_copy_is_told_until_it_confirms_this_very_version(api: Api) -> None:
    core = api.core
    file_id = core.stores("s01", "s02")
    says(api, "hold", file_id, key=api.admin)
    assert ordered(core, "s03") == []
    # An answer may be lost: it comes again.
    for _ in range(2):
        assert ordered(core, "s01") == [(file_id, True, 1)]
    told = says(api, "release", file_id, key=api.admin)
    assert told["hold_waits_for"] == ["s01", "s02"]
    confirms(core, "s01", file_id, 1)
    assert ordered(core, "s01") == [(file_id, False, 2)]
    confirms(core, "s01", file_id, 2)
    assert ordered(core, "s01") == []
    # One that was away hears only what counts now.
    assert ordered(core, "s02") == [(file_id, False, 2)]
    look = api.ask("GET", f"/api/v1/files/{file_id}", key=api.admin)
    assert look.json["hold_waits_for"] == ["s02"]


def test_a_replayed_heartbeat_confirms_nothing(api: Api) -> None:
    core = api.core
    file_id = core.stores("s01")
    old = core.ticket("s01")
    says(api, "hold", file_id, key=api.admin)
    core.reports("s01")
    beat = core.nodes.heartbeat(
        "s01", core.clock.now, ticket=old, holds=(HoldDone(file_id=file_id, version=1),)
    )
    token, body = core.nodes.signed(beat)
    assert not core.heartbeats.receive("s01", token, body, core.clock.now).taken
    assert ordered(core, "s01") == [(file_id, True, 1)]


def test_a_copy_that_comes_after_a_takedown_is_told_of_it(api: Api) -> None:
    core = api.core
    file_id = core.stores("s01")
    says(api, "hold", file_id, key=api.admin)
    confirms(core, "s01", file_id, 1)
    committed = core.file(file_id)
    core.takes(
        core.nodes.receipt(
            "s02",
            core.clock.now,
            file_id=file_id,
            jti=committed.session_id,
            committed_at=committed.committed_at,
        )
    )
    assert ordered(core, "s02") == [(file_id, True, 1)]
    assert ordered(core, "s01") == []


def test_a_deleted_file_is_nothing_to_hold_any_more(api: Api) -> None:
    core = api.core
    file_id = core.stores("s01", "s02")
    says(api, "hold", file_id, key=api.admin)
    assert api.ask("DELETE", f"/api/v1/files/{file_id}", key=api.admin).status_code == 200
    assert ordered(core, "s01") == ordered(core, "s02") == []


def test_a_session_may_ask_that_its_file_is_held(api: Api) -> None:
    core = api.core
    session = api.opens(hold=True)
    assert unverified_claims(session.token)["hold"] is True
    assert api.ask("GET", f"/api/v1/files/{session.file_id}").json["held"]
    api.brings(session, held=True)
    assert core.file(session.file_id).held
    assert slug_of(api.ask("GET", f"/f/{session.file_id}")) == "being-checked"
    # It came as it was to come.
    assert ordered(core, session.node_id) == []
    # A node of an older release doesn't know the claim.
    (second,) = session.replicas
    api.brings(session, second, held=False)
    assert ordered(core, second) == [(session.file_id, True, 0)]


def test_a_receipt_tells_that_a_file_is_held(core: Core) -> None:
    file_id = core.takes(core.nodes.receipt("s01", core.clock.now, held=True))
    assert core.file(file_id).held
    assert ordered(core, "s01") == []


@pytest.mark.parametrize("is_later", [True, False])
def test_a_catalogue_that_is_made_anew_holds_what_any_node_holds(
    core: Core, is_later: bool
) -> None:
    """A note of a later moment is no more than a node's word, and would publish others' copies."""
    now = core.clock.now
    hours = timedelta(hours=1) if is_later else -timedelta(hours=1)
    api = Api(core)

    def tells(node_id: str, *, held: bool, note: HoldNote) -> None:
        file = HeldFile.model_validate(
            {
                "file_id": "a" * 32,
                "jti": "b" * 22,
                "namespace": "files",
                "owner": "somebody",
                "app": "shop",
                "name": "a.iso",
                "path": "files/a.iso",
                "size": 1000,
                "sha256": "c" * 64,
                "content_type": "text/plain",
                "committed_at": now,
                "held": held,
                "hold": note,
            }
        )
        told = HeldFiles(node_id=node_id, ticket="t", files=(file,))
        core.database.write(lambda s: take_over(s, core.settings, told, now))

    tells("s01", held=True, note=HoldNote(by="shop", at=now))
    tells("s02", held=False, note=HoldNote(by="shop", at=now + hours))
    assert core.file("a" * 32).held
    assert (("a" * 32), True) in [each[:2] for each in ordered(core, "s02")]
    assert ordered(core, "s01") == []
    assert api.ask("GET", f"/f/{'a' * 32}").status_code == 403
    core.counts_are_right()
