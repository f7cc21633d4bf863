"""Requests as apps really send them: what is heard, what is refused, and with which words.

None of it depends on the database: one is enough.
"""

from __future__ import annotations

import gzip
import json
from typing import Any

import pytest

from control.api.operations import OPERATIONS
from portside import base64url
from portside.names import dated_path
from portside.wire import paths
from tests.support.control.core import Core
from tests.support.control.web import Api, slug_of

pytestmark = pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)

JSON = "application/json"
FORM = "application/x-www-form-urlencoded"

NAME = "Bericht Gro\u0308\u00dfe (1).bin"
"""As macOS spells it: o and a mark of its own."""
SAFE = "Bericht_Gr\u00f6\u00dfe_1_.bin"


@pytest.fixture
def api(core: Core) -> Api:
    return Api(core)


def test_a_session_has_the_names_that_apps_look_for(api: Api) -> None:
    wish = {
        "user_id": 42,
        "fileName": NAME,
        "file_size": "4 KiB",
        "mimeType": "text/plain;charset=UTF-8",
        "region": "EU-West ",
        "layout": "named",
        "namespace": None,
    }
    told = api.ask("POST", paths.SESSIONS, wish).json
    assert told["upload_url"] == told["upload_api_url"]
    assert told["pool_id"] == told["node_id"]
    assert told["expires_at"] < told["session_deadline"]
    assert (told["name"], told["path"]) == (SAFE, f"files/{SAFE}")
    assert told["content_type"] == "text/plain"
    file = api.ask("GET", f"{paths.FILES}/{told['file_id']}").json
    assert (file["owner"], file["size"]) == ("42", 4096)
    assert (file["name"], file["path"], file["url"]) == (told["name"], told["path"], told["url"])
    where = api.ask("GET", "/api/v1/upload/server", query={"file_size": "4KiB", "region": "HEL"})
    assert where.json["upload_url"] == where.json["upload_api_url"]


def test_a_file_has_one_name_from_its_session_on(api: Api) -> None:
    session = api.opens(name=NAME)
    path = dated_path("files", NAME, "user-7", session.file_id, api.core.clock.now)
    brought = api.brings(session, path=str(path)).json
    assert (brought["name"], brought["url"]) == (session.name, session.url)
    # Without a name in its session it is the one that the uploader gave.
    nameless = api.opens(name=None)
    assert nameless.name is None
    path = dated_path("files", NAME, "user-7", nameless.file_id, api.core.clock.now)
    assert api.brings(nameless, path=str(path)).json["name"] == SAFE
    for part in ("Gro\u0308\u00dfe", "Gr\u00f6\u00dfe", "Bericht Gr\u00f6", NAME):
        found = api.ask("GET", paths.FILES, query={"name": part}).json["files"]
        assert [file["name"] for file in found] == [SAFE, SAFE], part


def test_a_name_is_taken_in_either_form_of_unicode(api: Api) -> None:
    composed = "Gr\u00f6\u00dfe.iso"
    api.opens(name=composed, layout="named")
    wish = {"owner": "u", "size": 1, "name": "Gro\u0308\u00dfe.iso", "layout": "named"}
    assert slug_of(api.ask("POST", paths.SESSIONS, wish)) == "name-taken"


def test_owners_are_found_in_either_form_of_unicode(api: Api) -> None:
    api.uploads(owner="U\u0308nal")
    for owner in ("U\u0308nal", "\u00dcnal"):
        assert len(api.ask("GET", paths.FILES, query={"owner": owner}).json["files"]) == 1


def test_an_app_server_that_asks_for_all_its_users_is_not_one_of_them(core: Core) -> None:
    core.settings = core.settings.model_copy(update={"sessions_per_address": 1})
    api = Api(core)
    for number in range(3):
        api.opens(owner=f"user-{number}")


BODIES: list[tuple[bytes, dict[str, str], int, str]] = [
    (b'\xef\xbb\xbf{"owner": "u", "size": 1}', {}, 201, ""),
    (b'{"owner": "u", "size": 1}', {"Content-Type": FORM}, 201, ""),
    (b'{"owner": "u", "size": 1}', {"Content-Type": "application/vnd.x+json"}, 201, ""),
    (b'{"owner": "u", "size": 1}', {"Content-Encoding": "identity"}, 201, ""),
    (b'{"owner": "u", "size": 1.5e3}', {}, 201, ""),
    (b"owner=u&size=1", {"Content-Type": FORM}, 415, "application/json"),
    (b"<owner>u</owner>", {"Content-Type": "text/xml"}, 415, "application/json"),
    (b"owner=u&size=1", {"Content-Type": JSON}, 400, "Invalid JSON"),
    (
        gzip.compress(b"{}", mtime=0),
        {"Content-Encoding": "gzip"},
        415,
        "Encoding 'gzip'",
    ),
    (b"", {}, 400, "send a body"),
    (b"  ", {"Content-Type": JSON}, 400, "empty"),
    (b'{"owner": "\xff"}', {"Content-Type": JSON}, 400, "UTF-8"),
    ('{"owner": "u"}'.encode("utf-16"), {"Content-Type": JSON}, 400, "UTF-8"),
    (b'{"owner": "u", "owner": "v"}', {"Content-Type": JSON}, 400, "'owner' is there twice"),
    (b'{"owner": "u", "size": NaN}', {"Content-Type": JSON}, 400, "NaN is no JSON number"),
    (b'{"owner": "u", "size": -Infinity}', {}, 400, "no JSON number"),
    (b'{"owner": "u", "size": 1e999}', {}, 400, "size"),
    (b'{"owner": "u", "size": 1' + b"0" * 5000 + b"}", {}, 400, "JSON"),
    (b'{"owner": "u", "size": 1' + b"0" * 100 + b"}", {}, 400, "size"),
    (b"[" * 100_000, {"Content-Type": JSON}, 400, "nested too deeply"),
    (b'{"a":' * 100_000, {"Content-Type": JSON}, 400, "nested too deeply"),
    (b'[{"owner": "u"}]', {}, 400, "should be an object"),
    (b'"owner"', {}, 400, "should be an object"),
    (b"null", {}, 400, "should be an object"),
    (b'{"owner": "\\ud800"}', {}, 400, "owner"),
    (b'{"owner": "u", "\\ud800": 1}', {}, 400, "valid string"),
    (b'{"owner": "u", "name": "a\\u0000.iso"}', {}, 400, "control characters"),
    (b'{"owner": "u", "size": [1]}', {}, 400, "size"),
    (b'{"owner": "u", "avoid": "s01"}', {}, 400, "avoid: should be a list"),
    (b'{"owner": "u", "node_id": "S01"}', {}, 400, "node_id: doesn't fit: The id of"),
    (b'{"owner": "u", "avoid": ["s01.portside.test"]}', {}, 400, "avoid.0: doesn't fit: Ids of"),
    (b'{"owner": "u", "client_address": "1.2.3.4, 10.0.0.1"}', {}, 400, "no IP address"),
    (b'{"owner": "u", "size": 1, "client_address": "[2001:db8::7]:443"}', {}, 201, ""),
    (b'{"owner": {"id": 1}}', {}, 400, "owner"),
    (b'{"owner": "u", "region": "Z\xc3\xbcrich"}', {}, 400, "region: doesn't fit: The region"),
    (b'{"a":1,"b":1,"c":1,"d":1,"e":1,"f":1}', {}, 400, "and 2 more"),
]


def test_bodies_are_read_or_refused_with_what_to_send(api: Api) -> None:
    for body, headers, status, says in BODIES:
        answer = api.ask("POST", paths.SESSIONS, body, headers=headers)
        assert answer.status_code == status, (body[:80], answer.text)
        if status != 201:
            assert slug_of(answer) in ("malformed-request", "media-type", "name-refused")
            assert says in answer.json["detail"], body[:80]


def test_what_refuses_a_type_says_which_is_taken(api: Api) -> None:
    form = api.ask("POST", paths.SESSIONS, "a=b", headers={"Content-Type": FORM})
    assert form.headers["Accept"] == JSON
    packed = api.ask("POST", paths.SESSIONS, b"x", headers={"Content-Encoding": "br"})
    assert packed.headers["Accept-Encoding"] == "identity"


KEYS: list[tuple[dict[str, str], int, str]] = [
    ({"Authorization": "bearer {key}"}, 200, ""),
    ({"Authorization": "BEARER   {key}  "}, 200, ""),
    ({"X-API-Key": "{key}"}, 401, "X-API-Key isn't read here"),
    ({"Authorization": "{key}"}, 401, "no Bearer one"),
    ({"Authorization": "Basic {key}"}, 401, "no Bearer one"),
    ({"Authorization": "Bearer"}, 401, "no Bearer one"),
    ({}, 401, "Authorization: Bearer <API key>"),
    ({"Authorization": "Bearer a.b.c"}, 401, "a token for nodes"),
    ({"Authorization": "Bearer \xe9"}, 401, "isn't known"),
]


def test_a_key_is_read_from_its_header_or_it_is_said_how(api: Api) -> None:
    for headers, status, says in KEYS:
        sent = {name: value.format(key=api.key) for name, value in headers.items()}
        answer = api.ask("GET", paths.FILES, key=None, headers=sent)
        assert answer.status_code == status
        if status != 200:
            assert answer.headers["WWW-Authenticate"].startswith("Bearer")
            assert says in answer.json["detail"]


BEYOND_THE_CALENDAR = base64url.encode(b"9" * 18 + b"." + b"0" * 32)

ASKED: list[tuple[str, str, int, str]] = [
    ("GET", "/api/v1/files/", 200, ""),
    ("GET", "//api/v1//files", 200, ""),
    ("GET", "/api/v1/nodes/s01/", 200, ""),
    ("GET", "/api/v1/nodes/s01%00", 404, "control characters"),
    ("GET", "/api/v1/nodes/%ff", 404, "no node"),
    ("GET", "/api/v1/nodes/..%2f..", 404, "nothing at this path"),
    ("GET", "/api/v1/files/ABC", 404, "32 hexadecimal digits"),
    ("GET", "/api/v1/nodes?state=down", 400, "'state': GET /api/v1/nodes has no query"),
    ("GET", "/api/v1/files?page=2", 400, "page: is not known here: known are namespace"),
    ("GET", "/api/v1/files?limit=0", 400, "limit"),
    ("GET", "/api/v1/files?limit=1001", 400, "limit"),
    ("GET", "/api/v1/files?limit=", 400, "limit"),
    ("GET", "/api/v1/files?limit=1&limit=2", 400, "limit"),
    ("GET", "/api/v1/files?cursor=", 400, "cursor"),
    # 999999999999999999 microseconds and an id: in the year 33658.
    ("GET", f"/api/v1/files?cursor={BEYOND_THE_CALENDAR}", 400, "cursor"),
    ("GET", "/api/v1/files?owner=", 400, "owner: doesn't fit: Whose they are"),
    ("GET", "/api/v1/files?name=%00", 400, "name"),
    ("GET", "/api/v1/files?committed_after=2026-03-01T00:00:00+02:00", 200, ""),
    ("GET", "/api/v1/files?committed_after=2026-03-01", 400, "committed_after"),
    ("GET", "/api/v1/files?namespace=Files", 400, "namespace"),
    ("GET", "/api/v1/upload/server?size=1.5GB&colour=red", 400, "colour: is not known"),
    ("POST", "/api/v1/upload/sessions?owner=u", 400, "no query parameters"),
    ("PUT", "/api/v1/upload/sessions", 405, ""),
    ("PATCH", "/api/v1/files", 405, ""),
    ("TRACE", "/api/v1/files", 405, ""),
]


def test_paths_and_queries_mean_something_or_are_refused(api: Api) -> None:
    for method, path, status, says in ASKED:
        path, _, query = path.partition("?")
        answer = api.client.simulate_request(
            method, path, query_string=query, headers={"Authorization": f"Bearer {api.admin}"}
        )
        assert answer.status_code == status, (method, path, query, answer.text)
        if status != 200:
            assert says in answer.json["detail"], path
            assert slug_of(answer)
        if status == 405:
            assert answer.headers["Allow"]


def test_a_file_is_found_by_its_id_as_any_database_writes_it(api: Api) -> None:
    file_id = api.uploads().file_id
    hyphens = f"{file_id[:8]}-{file_id[8:12]}-{file_id[12:16]}-{file_id[16:20]}-{file_id[20:]}"
    for written in (file_id.upper(), hyphens, hyphens.upper()):
        assert api.ask("GET", f"{paths.FILES}/{written}").json["file_id"] == file_id
        assert api.ask("GET", f"{paths.LASTING}/{written}/x", key=None).status_code == 302


def test_every_resource_answers_head_and_options(api: Api) -> None:
    file_id = api.uploads().file_id
    for path in sorted({path for _, path in OPERATIONS}):
        there = path.format(
            **dict.fromkeys(("node_id", "pool_id"), "s01"),
            **dict.fromkeys(("app_id", "key_id", "token_id", "move_id", "name"), "x"),
            file_id=file_id,
            owner="user-7",
        )
        got = api.ask("GET", there, key=api.admin)
        head = api.ask("HEAD", there, key=api.admin)
        assert head.status_code == got.status_code, path
        assert head.content == b"", path
        allowed = api.ask("OPTIONS", there, key=None)
        assert allowed.status_code == 204, path
        methods = {method for method, described in OPERATIONS if described == path}
        assert methods <= set(allowed.headers["Allow"].split(", ")), path


def test_a_files_url_is_told_to_whoever_reads_json_and_followed_by_everybody_else(api: Api) -> None:
    path = f"{paths.FILES}/{api.uploads().file_id}/url"
    for accept, status in [
        # axios and Angular; jQuery; who asks by hand.
        ("application/json, text/plain, */*", 200),
        ("application/json, text/javascript, */*; q=0.01", 200),
        ("application/json", 200),
        # curl, Firefox, and what is nothing.
        ("*/*", 302),
        ("text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8", 302),
        ("application/json;q=0, */*", 302),
        ("json", 302),
        ("", 302),
    ]:
        assert api.ask("GET", path, headers={"Accept": accept}).status_code == status, accept


def test_json_is_answered_whatever_is_accepted(api: Api) -> None:
    for accept in ("", "text/html", "image/*;q=0.1", "nonsense", "*/*;q=0"):
        answer = api.ask("GET", paths.FILES, headers={"Accept": accept})
        assert (answer.status_code, answer.headers["Content-Type"]) == (200, JSON)


def test_the_description_tells_the_other_names_and_every_method(api: Api) -> None:
    document: dict[str, Any] = api.ask("GET", "/openapi.json", key=None).json
    request = document["components"]["schemas"]["SessionRequest"]["properties"]
    assert "file_size" in request
    assert {"head", "get"} <= document["paths"]["/health/ready"].keys()
    assert "415" in document["paths"][paths.SESSIONS]["post"]["responses"]
    assert json.dumps(document)
