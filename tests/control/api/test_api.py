"""The API over HTTP's shapes: who may do what, what is answered, what is refused and how."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import select

from control.api.operations import OPERATIONS
from control.cluster import api_keys
from control.db.database import Database
from control.db.models import App
from control.problems import slugs
from portside.tokens import verify_download
from portside.web.openapi_document import routes
from portside.wire.keys import Keyset
from tests.support.control.cluster import done
from tests.support.control.core import Core
from tests.support.control.postgresql import PostgresqlServer
from tests.support.control.web import Api, slug_of


@pytest.fixture
def api(core: Core) -> Api:
    return Api(core)


# -- sessions --------------------------------------------------------------------------------------


def test_an_app_opens_a_session_and_finds_it_again_by_its_key(api: Api) -> None:
    wish = {"owner": "user-7", "name": "a.iso", "size": 10, "client_address": "192.0.2.7"}
    headers = {"Idempotency-Key": "order-1"}
    first = api.ask("POST", "/api/v1/upload/sessions", wish, headers=headers)
    again = api.ask("POST", "/api/v1/upload/sessions", wish, headers=headers)
    assert (first.status_code, again.status_code) == (201, 200)
    assert first.json == again.json
    assert first.headers["Cache-Control"] == "no-store"


@pytest.mark.parametrize(
    ("body", "says"),
    [
        ("{", "Invalid JSON"),
        ("[]", "should be an object"),
        ({}, "owner: Field required"),
        ({"owner": "u", "size": -1}, "size"),
        ({"owner": "u", "colour": "red"}, "colour: is not known here: known are owner, name"),
        ({"owner": "a\nb"}, "owner"),
        ({"owner": "u", "namespace": "../etc"}, "namespace"),
    ],
)
def test_a_bad_session_request_says_what_is_wrong(api: Api, body: object, says: str) -> None:
    answer = api.ask("POST", "/api/v1/upload/sessions", body)
    assert slug_of(answer) == "malformed-request"
    assert says in answer.json["detail"]


def test_refusals_have_their_statuses(api: Api) -> None:
    def refused(**wish: Any) -> tuple[int, str]:
        answer = api.ask("POST", "/api/v1/upload/sessions", {"owner": "u", **wish})
        return answer.status_code, slug_of(answer)

    assert refused(name="a.exe") == (415, "type-refused")
    assert refused(size=5 << 30) == (413, "too-large")
    api.core.all_report(disk_free=10)
    second = api.fresh()
    answer = second.ask("POST", "/api/v1/upload/sessions", {"owner": "u", "size": 11})
    assert (answer.status_code, slug_of(answer)) == (507, "no-space")
    answer = second.ask("GET", "/api/v1/upload/server", query={"size": "9"})
    assert answer.status_code == 200
    assert answer.json["upload_api_url"].endswith("/api/internal/upload")
    assert answer.json["pool_id"] in api.core.nodes.keys


def test_too_many_sessions_are_429_with_a_time_to_come_again(core: Core) -> None:
    core.settings = core.settings.model_copy(update={"sessions_per_address": 1})
    api = Api(core)
    api.opens(client_address="192.0.2.7")
    api.opens(client_address="192.0.2.8")
    wish = {"owner": "u", "size": 1, "client_address": "192.0.2.7"}
    answer = api.ask("POST", "/api/v1/upload/sessions", wish)
    assert (answer.status_code, slug_of(answer)) == (429, "rate-limited")
    assert 0 < int(answer.headers["Retry-After"]) <= 60


# -- who may what ----------------------------------------------------------------------------------


def test_every_path_that_needs_a_key_refuses_without_a_right_one(api: Api) -> None:
    needing = [route for route, operation in OPERATIONS.items() if operation.security is None]
    assert len(needing) >= 12
    nothing = api.core.app("nothing")
    for method, path in needing:
        path = path.format(
            **dict.fromkeys(("node_id", "pool_id"), "s01"),
            **dict.fromkeys(("app_id", "key_id", "token_id", "move_id"), "x"),
            file_id="0" * 32,
            owner="user-7",
        )
        for key, slug, status in (
            (None, "key-missing", 401),
            ("portside_wrong", "key-unknown", 401),
            (nothing, "scope-missing", 403),
        ):
            answer = api.ask(method, path, {}, key=key)
            assert answer.status_code == status, (method, path)
            # An answer to HEAD has no body.
            assert method == "HEAD" or slug_of(answer) == slug, (method, path)


def test_a_revoked_key_counts_no_more_and_a_new_one_does(core: Core) -> None:
    api = Api(core)
    assert api.ask("GET", "/api/v1/files").status_code == 200
    core.database.write(lambda s: api_keys.revoke(s, "shop", core.clock.now))
    assert slug_of(api.fresh().ask("GET", "/api/v1/files")) == "key-unknown"
    again = core.app("shop", "read")
    assert api.fresh().ask("GET", "/api/v1/files", key=again).status_code == 200


def test_no_key_is_in_the_database(api: Api) -> None:
    rows = api.core.database.read(lambda session: list(session.scalars(select(App))))
    text = repr([(row.app_id, row.key_sha256, row.scopes) for row in rows])
    assert api.key not in text
    assert api.admin not in text


def test_an_app_sees_its_own_files_only(api: Api) -> None:
    session = api.uploads()
    stranger = api.core.app("stranger", "upload", "read", "delete")
    api = api.fresh()
    path = f"/api/v1/files/{session.file_id}"
    assert api.ask("GET", path).json["owner"] == "user-7"
    assert slug_of(api.ask("GET", path, key=stranger)) == "not-found"
    assert slug_of(api.ask("DELETE", path, key=stranger)) == "not-found"
    assert api.ask("GET", "/api/v1/files", key=stranger).json["files"] == []
    assert len(api.ask("GET", "/api/v1/files", key=api.admin).json["files"]) == 1


def test_a_key_that_is_bound_to_namespaces_reaches_no_others(api: Api) -> None:
    beyond = api.uploads(namespace="isos")
    bound = api.core.database.write(
        lambda s: api_keys.create(
            s, "gallery", ("upload", "read", "delete"), api.core.clock.now, ("images", "thumbs")
        )
    )
    api = api.fresh()
    wish = {"owner": "user-7", "name": "a.iso", "size": 1}
    refused = api.ask("POST", "/api/v1/upload/sessions", wish, key=bound)
    assert slug_of(refused) == "namespace-refused"
    assert "images, thumbs" in refused.json["detail"]
    taken = api.ask("POST", "/api/v1/upload/sessions", {**wish, "namespace": "images"}, key=bound)
    assert taken.status_code == 201
    own = api.ask("GET", f"/api/v1/files/{taken.json['file_id']}", key=bound)
    assert own.json["state"] == "uploading"
    # An app that is made anew has its files still, but this key isn't for all of them.
    api.core.database.write(lambda s: api_keys.revoke(s, "shop", api.core.clock.now))
    narrowed = api.core.database.write(
        lambda s: api_keys.create(s, "shop", ("read", "delete"), api.core.clock.now, ("images",))
    )
    api = api.fresh()
    path = f"/api/v1/files/{beyond.file_id}"
    for method in ("GET", "DELETE"):
        assert slug_of(api.ask(method, path, key=narrowed)) == "not-found"
    assert api.ask("GET", "/api/v1/files", key=narrowed).json["files"] == []
    assert api.ask("GET", path, key=api.admin).json["state"] == "replicating"


def test_who_tries_keys_is_refused_and_right_ones_pass_all_the_while(core: Core) -> None:
    core.settings = core.settings.model_copy(update={"wrong_keys_per_minute": 2})
    api = Api(core)

    def tried(key: str, address: str, path: str = "/api/v1/files", method: str = "GET") -> int:
        headers = {"X-Forwarded-For": address}
        return api.ask(method, path, {}, key=key, headers=headers).status_code

    assert [tried("portside_wrong", "2001:db8::1") for _ in range(2)] == [401, 401]
    # Whatever is tried there, from anywhere in its network.
    assert tried("portside_other", "2001:db8::2:1") == 429
    assert tried("no-token", "2001:db8::1", "/api/v1/nodes/s01/heartbeat", "POST") == 429
    assert tried("portside_wrong", "2001:db8:0:1::1") == 401
    assert tried("", "2001:db8::1") == 200


# -- files -----------------------------------------------------------------------------------------


def test_a_file_is_followed_from_its_upload_until_it_is_safe(api: Api) -> None:
    session = api.opens()
    path = f"/api/v1/files/{session.file_id}"

    def state() -> str:
        return str(api.ask("GET", path).json["state"])

    assert state() == "uploading"
    answer = api.brings(session)
    assert (answer.status_code, answer.json["state"]) == (200, "replicating")
    assert state() == "replicating"
    api.brings(session, session.replicas[0])
    assert state() == "safe"
    found = api.ask("GET", path).json
    assert {copy["node_id"] for copy in found["copies"]} == {session.node_id, session.replicas[0]}
    assert found["copies"][0]["url"].startswith(
        f"https://{found['copies'][0]['node_id']}.portside.test/uploads/files/"
    )
    assert api.brings(session).status_code == 200


def test_a_bad_receipt_is_refused(api: Api) -> None:
    answer = api.ask("POST", "/api/v1/files", {"receipt": "no.receipt.at-all"}, key=None)
    assert (answer.status_code, slug_of(answer)) == (401, "token-malformed")
    session = api.uploads()
    answer = api.brings(session, session.replicas[0], sha256="f" * 64)
    assert (answer.status_code, slug_of(answer)) == (409, "receipt-conflict")


def test_files_are_searched_page_by_page(api: Api) -> None:
    for number in range(5):
        api.core.clock.pass_by(1)
        api.uploads(owner=f"user-{number % 2}", name=f"Disk_{number}.iso")
    names, cursor = [], None
    while True:
        query = {"limit": "2", **({"cursor": cursor} if cursor else {})}
        page = api.ask("GET", "/api/v1/files", query=query)
        names += [file["name"] for file in page.json["files"]]
        cursor = page.json["next"]
        if cursor is None:
            break
    assert names == [f"Disk_{number}.iso" for number in (4, 3, 2, 1, 0)]

    def found(**query: str) -> list[str]:
        return [file["name"] for file in api.ask("GET", "/api/v1/files", query=query).json["files"]]

    assert found(owner="user-1") == ["Disk_3.iso", "Disk_1.iso"]
    assert found(name="disk_2") == ["Disk_2.iso"]
    assert found(name="d%2") == [], "no wildcard"
    assert found(namespace="other") == []
    for wrong in ({"cursor": "nonsense"}, {"limit": "0"}, {"colour": "red"}):
        assert slug_of(api.ask("GET", "/api/v1/files", query=wrong)) == "malformed-request"


def test_a_url_leads_to_a_copy_that_can_be_reached(api: Api) -> None:
    session = api.uploads()
    api.brings(session, session.replicas[0], path=f"files/{session.file_id}")
    path = f"/api/v1/files/{session.file_id}/url"
    answer = api.ask("GET", path, key=None)
    assert answer.status_code == 302
    assert answer.headers["Location"].endswith(f"/uploads/files/{session.file_id}")

    as_json = {"Accept": "application/json"}
    for avoided, left in (
        (session.node_id, session.replicas[0]),
        (session.replicas[0], session.node_id),
    ):
        query = {"avoid": avoided}
        found = api.ask("GET", path, key=None, headers=as_json, query=query)
        assert found.json["node_id"] == left

    api.core.clock.pass_by(api.core.settings.dead_after + 1)
    api.core.reports(session.replicas[0])
    found = api.fresh().ask("GET", path, key=None, headers=as_json)
    assert found.status_code == 200
    assert found.json["node_id"] == session.replicas[0]
    assert found.json["url"].startswith(f"https://{session.replicas[0]}.portside.test/uploads/")

    api.core.clock.pass_by(api.core.settings.dead_after + 1)
    gone = api.fresh().ask("GET", path, key=None)
    assert (gone.status_code, slug_of(gone)) == (503, "file-unavailable")
    assert gone.headers["Retry-After"]


def test_a_private_files_url_is_signed_and_for_its_app_only(api: Api) -> None:
    session = api.uploads(namespace="private")
    path = f"/api/v1/files/{session.file_id}/url"
    assert slug_of(api.ask("GET", path, key=None)) == "not-found"
    stranger = api.core.app("stranger", "read")
    api = api.fresh()
    assert slug_of(api.ask("GET", path, key=stranger)) == "not-found"
    found = api.ask("GET", path, headers={"Accept": "application/json"}).json
    token = found["url"].partition("?token=")[2]
    keyset = Keyset(keys=(api.core.key.public(),))
    claims = verify_download(token, keyset, found["node_id"], api.core.clock.now)
    assert claims.path == f"private/{session.file_id}"
    assert found["expires_at"] is not None


def test_a_deleted_file_is_gone_at_once_and_then_from_every_node(api: Api) -> None:
    session = api.uploads()
    api.brings(session, session.replicas[0], path=f"files/{session.file_id}")
    path = f"/api/v1/files/{session.file_id}"
    for _ in range(2):
        answer = api.ask("DELETE", path)
        assert (answer.status_code, answer.json["state"]) == (200, "deleted")
    assert api.ask("GET", path).json["state"] == "deleted"
    assert slug_of(api.ask("GET", f"{path}/url", key=None)) == "file-deleted"
    assert api.ask("GET", "/api/v1/files").json["files"] == []
    for node_id in (session.node_id, session.replicas[0]):
        [lease] = api.core.reports(node_id).work
        assert (lease.kind, lease.tombstone) == ("delete", True)
        api.core.reports(node_id, work=[done(lease.lease_id)])
    assert api.core.file(session.file_id).state == "deleted"
    # A push that was under way ends after all: that copy goes too.
    api.brings(session, "s03", path=f"files/{session.file_id}")
    if "s03" not in (session.node_id, session.replicas[0]):
        assert [lease.kind for lease in api.core.reports("s03").work] == ["delete"]
    api.core.counts_are_right()


def test_an_upload_that_is_deleted_is_revoked_and_gives_its_space_back(api: Api) -> None:
    session = api.opens()
    path = f"/api/v1/files/{session.file_id}"
    assert api.ask("DELETE", path).json["state"] == "deleted"
    assert api.ask("GET", path).json["state"] == "deleted"
    assert api.core.pool(session.node_id) == (0, 0, 0)
    assert api.core.reports(session.node_id).revoked == (session.session_id,)
    # A node whose clock is behind would still take it.
    api.core.clock.pass_by((session.session_deadline - api.core.clock.now).total_seconds() + 30)
    assert api.core.reports(session.node_id).revoked == (session.session_id,)
    # It was too late to stop it: what came in is deleted.
    api.brings(session)
    assert [lease.kind for lease in api.core.reports(session.node_id).work] == ["delete"]
    api.core.counts_are_right()


# -- nodes and pools -------------------------------------------------------------------------------


def test_nodes_are_told_with_their_reasons_and_set(api: Api) -> None:
    api.core.reports("s02", accepting=False, reasons=("disk-slow: 9 s",))
    api = api.fresh()
    told = api.ask("GET", "/api/v1/nodes", key=api.admin).json["nodes"]
    nodes = {node["node_id"]: node for node in told}
    assert [node["healthy"] for node in nodes.values()] == [True, False, True]
    assert "disk-slow: 9 s" in nodes["s02"]["reasons"]
    assert nodes["s02"]["heartbeat"]["reasons"] == ["disk-slow: 9 s"]
    answer = api.ask("POST", "/api/v1/nodes/s01/state", {"state": "draining"}, key=api.admin)
    assert (answer.json["state"], answer.json["healthy"]) == ("draining", False)
    assert api.ask("GET", "/api/v1/nodes/s01").json["state"] == "draining"
    assert slug_of(api.ask("POST", "/api/v1/nodes/s01/state", {"state": "active"})) == (
        "scope-missing"
    )
    for path, body, slug in (
        ("/api/v1/nodes/s09/state", {"state": "active"}, "node-unknown"),
        ("/api/v1/nodes/s01/state", {"state": "down"}, "malformed-request"),
    ):
        assert slug_of(api.ask("POST", path, body, key=api.admin)) == slug


def test_a_node_with_copies_is_retired_by_force_only(api: Api) -> None:
    session = api.uploads()
    path = f"/api/v1/nodes/{session.node_id}/state"
    answer = api.ask("POST", path, {"state": "retired"}, key=api.admin)
    assert (answer.status_code, slug_of(answer)) == (409, "node-in-use")
    answer = api.ask("POST", path, {"state": "retired", "force": True}, key=api.admin)
    assert answer.json["state"] == "retired"


def test_a_node_shows_what_it_keeps_and_drains_only_where_there_is_space(api: Api) -> None:
    session = api.uploads()
    path = f"/api/v1/nodes/{session.node_id}"
    kept = {"files": 1, "bytes": 1000, "waiting": 0, "open_sessions": 0}
    assert api.ask("GET", path).json["holding"] == kept
    drained = api.ask("POST", f"{path}/state", {"state": "draining"}, key=api.admin)
    assert drained.json["state"] == "draining"
    assert drained.json["holding"] == kept
    (other, *_) = sorted({"s01", "s02", "s03"} - {session.node_id})
    second = api.ask("POST", f"/api/v1/nodes/{other}/state", {"state": "draining"}, key=api.admin)
    assert (second.status_code, slug_of(second)) == (409, "drain-impossible")


def test_moves_are_planned_begun_told_and_commanded(api: Api) -> None:
    api.uploads()
    wish = {"source": "s01", "target": "s02", "hours": "22:00-06:00"}
    plan = api.ask("POST", "/api/v1/moves", {**wish, "dry_run": True}, key=api.admin)
    assert (plan.status_code, plan.json["obstacles"]) == (200, [])
    assert api.ask("GET", "/api/v1/moves").json == {"moves": []}
    begun = api.ask("POST", "/api/v1/moves", wish, key=api.admin)
    assert (begun.status_code, begun.json["state"]) == (201, "planned")
    path = f"/api/v1/moves/{begun.json['move_id']}"
    assert api.ask("GET", path).json == begun.json
    assert api.ask("GET", "/api/v1/moves").json["moves"][0]["move_id"] == begun.json["move_id"]
    for command, state in (("pause", "paused"), ("resume", "running"), ("cancel", "cancelled")):
        for _ in range(2):
            told = api.ask("POST", f"{path}/{command}", key=api.admin)
            assert (told.status_code, told.json["state"]) == (200, state)
    assert slug_of(api.ask("POST", f"{path}/resume", key=api.admin)) == "move-state"
    assert slug_of(api.ask("POST", f"{path}/cancel")) == "scope-missing"


def test_moves_that_cant_be_are_refused(api: Api) -> None:
    wish = {"source": "s01", "target": "s02"}
    for changed, status, slug in (
        ({"source": "s09"}, 404, "pool-unknown"),
        ({"target": "s01"}, 422, "move-onto-itself"),
        ({"target": None}, 400, "malformed-request"),
        ({"hours": "22-06"}, 400, "malformed-request"),
        ({"kind": "rebalance"}, 400, "malformed-request"),
        ({"bytes_per_second": 0}, 400, "malformed-request"),
    ):
        answer = api.ask("POST", "/api/v1/moves", {**wish, **changed}, key=api.admin)
        assert (answer.status_code, slug_of(answer)) == (status, slug), changed
    assert slug_of(api.ask("POST", "/api/v1/moves", wish)) == "scope-missing"
    assert api.ask("POST", "/api/v1/moves", wish, key=api.admin).status_code == 201
    second = api.ask("POST", "/api/v1/moves", wish, key=api.admin)
    assert (second.status_code, slug_of(second)) == (409, "move-conflict")
    for path in ("/api/v1/moves/none", "/api/v1/moves/none/pause"):
        method = "POST" if path.endswith("pause") else "GET"
        answer = api.ask(method, path, key=api.admin)
        assert (answer.status_code, slug_of(answer)) == (404, "move-unknown")


def test_pools_are_made_set_and_used(api: Api) -> None:
    new = {"pool_id": "fast", "node_id": "s02", "priority": 5, "region": "hel"}
    made = api.ask("POST", "/api/v1/pools", new, key=api.admin)
    assert (made.status_code, made.json["region"], made.json["tier"]) == (201, "hel", "hot")
    assert slug_of(api.ask("POST", "/api/v1/pools", new, key=api.admin)) == "pool-taken"
    assert api.ask("GET", "/api/v1/upload/server").json["pool_id"] == "fast"
    session = api.opens()
    assert session.node_id == "s02"
    assert "s02" not in session.replicas
    assert api.core.pool("fast") == (1000, 1, 0)
    closed = api.ask("PUT", "/api/v1/pools/fast", {"is_upload_target": False}, key=api.admin).json
    assert (closed["is_upload_target"], closed["priority"], closed["region"]) == (False, 0, None)
    assert api.ask("GET", "/api/v1/upload/server").json["pool_id"] != "fast"
    assert len(api.ask("GET", "/api/v1/pools").json["pools"]) == 4
    for method, path, body, slug in (
        ("PUT", "/api/v1/pools/none", {}, "pool-unknown"),
        ("PUT", "/api/v1/pools/fast", {"weight": -1}, "malformed-request"),
        ("POST", "/api/v1/pools", {"pool_id": "x", "node_id": "s09"}, "node-unknown"),
        ("POST", "/api/v1/pools", {"pool_id": "X/", "node_id": "s01"}, "malformed-request"),
    ):
        assert slug_of(api.ask(method, path, body, key=api.admin)) == slug


# -- the rest --------------------------------------------------------------------------------------


def test_a_heartbeat_over_http(api: Api) -> None:
    api.core.clock.pass_by(1)
    beat = api.core.nodes.heartbeat("s01", api.core.clock.now)
    token, body = api.core.nodes.signed(beat)
    path = "/api/v1/nodes/s01/heartbeat"
    assert api.ask("POST", path, body, key=token).status_code == 200
    assert slug_of(api.ask("POST", path, body, key=token)) == "heartbeat-replayed"
    assert slug_of(api.ask("POST", path, body, key=None)) == "token-missing"
    assert slug_of(api.ask("POST", path, b"x" * ((1 << 20) + 1), key=token)) == "body-too-large"


def test_what_isnt_there_has_the_same_shape(api: Api) -> None:
    assert slug_of(api.ask("GET", "/nowhere")) == "not-found"
    assert slug_of(api.ask("PATCH", "/api/v1/files")) == "method-not-allowed"
    assert slug_of(api.ask("GET", "/api/v1/files/../../etc")) == "not-found"


def test_probes_and_numbers(api: Api) -> None:
    assert api.ask("GET", "/health/live", key=None).status_code == 204
    ready = api.ask("GET", "/health/ready", key=None)
    assert (ready.status_code, ready.json["ready"], ready.json["reasons"]) == (200, True, [])
    (warning,) = ready.json["warnings"]
    assert warning.startswith("rounds-missed: "), "no worker runs beside this one"
    api.opens()
    api.ask("GET", "/nowhere")
    text = api.fresh().ask("GET", "/metrics", key=None).text
    assert 'portside_control_nodes{state="active"} 3.0' in text
    assert "portside_control_database_up 1.0" in text
    text = api.ask("GET", "/metrics", key=None).text
    assert 'portside_control_seconds_count{operation="session"} 1.0' in text
    assert 'portside_control_problems_total{problem="not-found"} 1.0' in text


def test_the_description_is_of_every_route_and_of_nothing_else(api: Api) -> None:
    assert routes(api.app) == set(OPERATIONS)
    answer = api.ask("GET", "/openapi.json", key=None)
    document = answer.json
    assert document["openapi"] == "3.1.0"
    described = {
        (method.upper(), path) for path, item in document["paths"].items() for method in item
    }
    assert described == set(OPERATIONS)
    assert "SessionRequest" in document["components"]["schemas"]
    again = api.ask(
        "GET", "/openapi.json", key=None, headers={"If-None-Match": answer.headers["ETag"]}
    )
    assert again.status_code == 304
    known = set(slugs())
    for operation in OPERATIONS.values():
        assert set(operation.problems) <= known


def test_a_database_that_goes_away_is_503_until_it_is_back(
    tmp_path: Path, postgresql: PostgresqlServer, postgresql_database: Database
) -> None:
    core = Core(tmp_path, postgresql_database, postgresql.dsn("portside"))
    core.all_report()
    api = Api(core)
    assert api.opens()
    postgresql.stop()
    try:
        answer = api.ask("POST", "/api/v1/upload/sessions", {"owner": "u", "size": 1})
        assert (answer.status_code, slug_of(answer)) == (503, "database-unavailable")
        assert int(answer.headers["Retry-After"]) > 0
        ready = api.fresh().ask("GET", "/health/ready", key=None)
        assert ready.status_code == 503
        assert "database_up 0.0" in api.fresh().ask("GET", "/metrics", key=None).text
    finally:
        postgresql.start()
    assert api.opens()
    core.counts_are_right()
