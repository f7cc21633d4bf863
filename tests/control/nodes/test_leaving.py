"""Before a node goes for good: who else has what it has, by good copies alone."""

from __future__ import annotations

import hashlib
from datetime import datetime

import pytest
from sqlalchemy import update

from control.db.models import Copy, File, Node
from tests.support.control.core import Core
from tests.support.control.web import Api, slug_of

LEAVING = "/api/v1/nodes/s01/leaving"


def on_node(file_id: str, **changed: object) -> dict[str, object]:
    """A file as its node says it has it."""
    return {
        "file_id": file_id,
        "size": 1000,
        "sha256": hashlib.sha256(file_id.encode()).hexdigest(),
        **changed,
    }


@pytest.fixture
def api(core: Core) -> Api:
    return Api(core)


def who_else(api: Api, *files: dict[str, object]) -> list[tuple[list[str], str]]:
    answer = api.ask("POST", LEAVING, {"files": files}, key=api.admin)
    assert answer.status_code == 200, answer.text
    assert [each["file_id"] for each in answer.json["files"]] == [f["file_id"] for f in files]
    return [(each["nodes"], each["why"]) for each in answer.json["files"]]


def only_copies(api: Api, **query: str) -> tuple[list[str], str | None]:
    answer = api.ask("GET", LEAVING, key=api.admin, query=query)
    assert answer.status_code == 200, answer.text
    return [each["file_id"] for each in answer.json["files"]], answer.json["next"]


def changed(core: Core, statement: object) -> None:
    core.database.write(lambda session: session.execute(statement))  # type: ignore[call-overload]
    core.snapshots.forget()


def test_a_copy_on_another_node_is_named_and_an_only_one_is_not_vouched_for(api: Api) -> None:
    core = api.core
    both, alone, elsewhere = core.stores("s01", "s02"), core.stores("s01"), core.stores("s03")
    unknown = "f" * 32
    assert who_else(api, *map(on_node, (both, alone, unknown, elsewhere))) == [
        (["s02"], ""),
        ([], "no other good copy is known"),
        ([], "the control plane doesn't know it"),
        (["s03"], ""),
    ]
    assert only_copies(api) == ([alone], None)


def test_other_bytes_under_the_same_id_are_no_copy(api: Api) -> None:
    core = api.core
    file_id = core.stores("s01", "s02")
    for lie in ({"sha256": "0" * 64}, {"size": 999}):
        ((nodes, why),) = who_else(api, on_node(file_id, **lie))
        assert nodes == []
        assert "another file" in why


def test_a_copy_on_a_node_that_is_down_or_retired_is_none(api: Api) -> None:
    core = api.core
    file_id = core.stores("s01", "s02")
    changed(core, update(Node).where(Node.node_id == "s02").values(wanted="retired"))
    assert who_else(api, on_node(file_id))[0][0] == []
    changed(core, update(Node).where(Node.node_id == "s02").values(wanted="draining"))
    assert who_else(api, on_node(file_id))[0][0] == ["s02"]
    core.clock.pass_by(core.settings.dead_after + 1)
    core.reports("s01")
    core.reports("s03")
    assert who_else(api, on_node(file_id))[0][0] == []
    assert only_copies(api) == ([file_id], None)


def test_a_copy_that_was_not_proven_since_its_node_was_away_is_none(api: Api) -> None:
    core = api.core
    file_id = core.stores("s01", "s02")
    later: datetime = core.clock.now
    changed(core, update(Node).where(Node.node_id == "s02").values(returned_at=later))
    assert who_else(api, on_node(file_id))[0][0] == []


@pytest.mark.parametrize("state", ["copying", "deleting", "lost", "gone"])
def test_only_a_copy_that_is_there_counts(api: Api, state: str) -> None:
    core = api.core
    file_id = core.stores("s01", "s02")
    mine = (Copy.file_id == file_id) & (Copy.node_id == "s02")
    changed(core, update(Copy).where(mine).values(state=state))
    assert who_else(api, on_node(file_id))[0][0] == []
    assert only_copies(api) == ([file_id], None)


def test_nobody_needs_another_copy_of_a_deleted_file(api: Api) -> None:
    core = api.core
    file_id = core.stores("s01")
    changed(core, update(File).where(File.file_id == file_id).values(state="deleting"))
    answer = api.ask("POST", LEAVING, {"files": [on_node(file_id)]}, key=api.admin)
    assert answer.json["files"][0]["wanted"] is False
    assert only_copies(api) == ([], None)


def test_what_a_dead_node_had_alone_is_told_page_by_page(api: Api) -> None:
    core = api.core
    alone = sorted(core.stores("s01") for _ in range(3))
    core.stores("s01", "s02")
    away = Copy.node_id == "s01"
    changed(core, update(Copy).where(away).values(state="lost", lost_as="away"))
    found: list[str] = []
    after: str | None = ""
    pages = 0
    while after is not None:
        page, after = only_copies(api, limit="1", **({"after": after} if after else {}))
        found += page
        pages += 1
    assert found == alone
    assert pages == 5
    # What the node itself said it hasn't isn't lost with it.
    changed(core, update(Copy).where(away).values(lost_as="missing"))
    assert only_copies(api) == ([], None)


def test_a_node_that_does_not_exist_is_a_clear_refusal(api: Api) -> None:
    for method, body in (("GET", None), ("POST", {"files": []})):
        answer = api.ask(method, "/api/v1/nodes/s09/leaving", body, key=api.admin)
        assert (answer.status_code, slug_of(answer)) == (404, "node-unknown")
