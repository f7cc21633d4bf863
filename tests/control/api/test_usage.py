"""Usage and quotas over HTTP: who sees what, page by page, and who may set what.

None of it depends on the database but the order of pages: one is enough.
"""

from __future__ import annotations

import base64
import json
from typing import Any
from urllib.parse import quote

import pytest

from control.cluster import api_keys
from portside.wire import paths
from tests.support.control.core import Core
from tests.support.control.inventories import held, tells
from tests.support.control.web import Api, slug_of

OWNERS = f"{paths.QUOTAS}/owners"

on_one = pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)


@pytest.fixture
def api(core: Core) -> Api:
    api = Api(core)
    for number, owner in enumerate(("bob", "alice", "carol")):
        api.uploads(owner=owner, size=1000)
        for _ in range(number):
            api.opens(owner=owner, size=500)
    core.all_report()
    tells(core, "s01", held(owner="alice", app="blog", size=9000), held(owner="dave", app=None))
    return api


def lines(api: Api, key: str = "", **query: str) -> list[tuple[Any, ...]]:
    """Apps, owners and used bytes of every page."""
    found: list[tuple[Any, ...]] = []
    while True:
        answer = api.ask("GET", paths.USAGE, key=key, query={"limit": "2", **query})
        assert answer.status_code == 200, answer.text
        found += [
            (each["app_id"], each["owner"], each["bytes"]["used"]) for each in answer.json["usage"]
        ]
        if answer.json["next"] is None:
            return found
        query["cursor"] = answer.json["next"]


def test_everybody_sees_its_own_and_operators_all_page_by_page(api: Api) -> None:
    own = [("shop", "carol", 2000), ("shop", "alice", 1500), ("shop", "bob", 1000)]
    assert lines(api) == own
    everything = [("blog", "alice", 9000), *own[:2], (None, "dave", 1000), own[2]]
    assert lines(api, api.admin) == everything
    assert lines(api, api.admin, owner="alice") == [everything[0], own[1]]
    assert lines(api, api.admin, app="shop") == own
    assert lines(api, api.admin, of="apps") == [
        ("blog", None, 9000),
        ("shop", None, 4500),
        (None, None, 1000),
    ]
    assert lines(api, of="apps") == [("shop", None, 4500)]
    assert lines(api, app="blog") == lines(api, owner="dave") == []
    reader = api.core.app("uploader", "upload")
    assert slug_of(api.ask("GET", paths.USAGE, key=reader)) == "scope-missing"


@on_one
def test_a_key_that_is_bound_to_namespaces_sees_who_has_something_there(api: Api) -> None:
    api.opens(owner="erin", namespace="images")
    api.uploads(owner="alice", namespace="images")
    api.core.database.write(lambda s: api_keys.revoke(s, "shop", api.core.clock.now))
    bound = api.core.database.write(
        lambda s: api_keys.create(s, "shop", ("read",), api.core.clock.now, ["images"])
    )
    api.core.snapshots.forget()
    assert lines(api.fresh(), bound) == [("shop", "alice", 2500), ("shop", "erin", 1000)]


@on_one
@pytest.mark.parametrize(
    "at", ["?", [1], [2**70, "a", "b"], ["1", "a", "b"], [1, "a", "\ud800"], 7]
)
def test_a_cursor_that_is_none_is_refused(api: Api, at: object) -> None:
    cursor = base64.urlsafe_b64encode(json.dumps(at).encode()).decode().rstrip("=")
    assert slug_of(api.ask("GET", paths.USAGE, query={"cursor": cursor})) == "malformed-request"


@on_one
def test_an_operator_sets_a_quota_and_takes_it_back(api: Api) -> None:
    path = f"{OWNERS}/{quote('Ali/ce ', safe='')}"
    told = api.ask("PUT", path, {"bytes": "2KiB"}, key=api.admin)
    wanted = {"kind": "owner", "name": "Ali/ce", "bytes": 2048, "files": None, "set": ["bytes"]}
    assert (told.status_code, told.json) == (200, wanted)
    assert api.ask("GET", path, key=api.admin).json == wanted
    wish = {"owner": "Ali/ce", "name": "a.iso", "size": 4096}
    refused = api.ask("POST", paths.SESSIONS, wish)
    assert (refused.status_code, slug_of(refused)) == (413, "over-quota")
    session = api.opens(owner="Ali/ce", size=48)
    assert session.quota is not None
    assert session.quota.bytes.model_dump() == {"limit": 2048, "used": 48, "left": 2000}
    [line] = api.ask("GET", paths.USAGE, query={"owner": "Ali/ce"}).json["usage"]
    assert line["bytes"] == {"limit": 2048, "used": 48, "left": 2000, "promised": 48}
    for _ in range(2):
        told = api.ask("DELETE", path, key=api.admin)
        assert (told.status_code, told.json["bytes"], told.json["set"]) == (200, None, [])
    assert api.ask("POST", paths.SESSIONS, wish).status_code == 201


@on_one
def test_what_cant_be_meant_is_refused(api: Api) -> None:
    for path, body, slug in (
        (f"{OWNERS}/alice", {}, "malformed-request"),
        (f"{OWNERS}/alice", {"bytes": -1}, "malformed-request"),
        (f"{OWNERS}/alice", {"files": True}, "malformed-request"),
        (f"{OWNERS}/alice", {"gigabytes": 1}, "malformed-request"),
        (f"{OWNERS}/{'a' * 129}", {"files": 1}, "malformed-request"),
        (f"{OWNERS}/a//b", {"files": 1}, "malformed-request"),
        (f"{OWNERS}/alice?app=shop", {"files": 1}, "malformed-request"),
        (f"{paths.QUOTAS}/apps/nobody", {"files": 1}, "not-found"),
        (f"{paths.QUOTAS}/apps/No%20body", {"files": 1}, "not-found"),
        (f"{paths.QUOTAS}/groups/a", {"files": 1}, "not-found"),
    ):
        path, _, query = path.partition("?")
        answer = api.ask("PUT", path, body, key=api.admin, query={"app": "shop"} if query else None)
        assert slug_of(answer) == slug, (path, body, answer.text)
    for method in ("GET", "PUT", "DELETE"):
        answer = api.ask(method, f"{OWNERS}/alice", {"files": 9} if method == "PUT" else None)
        assert slug_of(answer) == "scope-missing"


@on_one
def test_numbers_tell_of_all_and_of_nobody(api: Api) -> None:
    told = api.ask("GET", "/metrics", key=None).text
    assert "portside_control_usage_files 5.0" in told
    assert "portside_control_usage_bytes 13000.0" in told
    assert "portside_control_usage_promised_bytes 1500.0" in told
    assert "carol" not in told
