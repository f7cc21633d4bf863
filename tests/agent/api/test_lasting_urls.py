"""The URL that a file keeps, at a node: served, led on from there, or gone for good."""

from __future__ import annotations

import json
from collections.abc import Callable
from functools import partial
from urllib.parse import parse_qs, quote, urlsplit

import pytest
import requests

from agent import settings
from agent.index.database import Database
from agent.storage.deletion import remove_copy
from agent.storage.quarantine import quarantine
from portside.wire.files import StoredFile
from tests.support.agent.node_pairs import change, introduce, member
from tests.support.agent.process import NODE_ID, Agent, slug_of
from tests.support.agent.stored_files import access, ask, data_of, download, stored

CONTROL = "https://c01.portside.test"
UNKNOWN = "0" * 32

MakeAgent = Callable[..., Agent]


def _get(agent: Agent, path: str, method: str = "GET", **headers: str) -> requests.Response:
    return requests.request(
        method, agent.url + path, headers=headers, allow_redirects=False, timeout=60
    )


def _missing(agent: Agent, file: StoredFile, query: str = "") -> requests.Response:
    """nginx's question about the file's path, at which it found nothing."""
    uri = f"/uploads/{quote(str(file.path))}{query}"
    return _get(agent, "/internal/missing", X_Original_URI=uri, **{"X-Original-URI": uri})


def _leads_to(answer: requests.Response) -> tuple[str, dict[str, list[str]]]:
    assert answer.status_code == 302, answer.text
    parts = urlsplit(answer.headers["Location"])
    return f"{parts.scheme}://{parts.netloc}{parts.path}", parse_qs(parts.query)


def _apart(agent: Agent, do: Callable[[settings.Settings, Database], object]) -> None:
    """As the worker does it, beside the web side."""
    found = settings.load(agent.home / "agent.toml")
    database = Database(found.index)
    do(found, database)
    database.close()


def _without_copy(found: settings.Settings, database: Database, file_id: str) -> None:
    remove_copy(found, database, file_id)


# -- told ------------------------------------------------------------------------------------------


def test_every_answer_tells_both_urls(make_agent: MakeAgent) -> None:
    agent = make_agent()
    introduce(agent, control_url=CONTROL)
    agent.start()
    token = agent.mint()
    put = agent.put("größe.bin", b"x", token)
    again = agent.put("größe.bin", b"x", token)
    form = agent.post("größe.bin", b"x")
    tus = requests.post(
        f"{agent.url}/api/v1/uploads",
        data=b"x",
        headers={
            "Authorization": f"Bearer {agent.mint(name='größe.bin')}",
            "Upload-Complete": "?1",
            "Upload-Draft-Interop-Version": "6",
        },
        timeout=60,
    )
    for answer, status in ((put, 201), (again, 200), (form, 201), (tus, 201)):
        assert answer.status_code == status, answer.text
        told = answer.json()
        assert told["url"] == f"{CONTROL}/f/{told['file_id']}/gr%C3%B6%C3%9Fe.bin"
        direct = f"https://{NODE_ID}.portside.test/uploads/{quote(told['path'])}"
        assert told["direct_url"] == direct
        known = _get(agent, f"/api/v1/files/{told['file_id']}").json()
        assert (known["url"], known["direct_url"]) == (told["url"], direct)
    assert put.headers["Location"] == put.json()["direct_url"]
    listed = ask(agent, "GET", "", access(agent)).json()["files"]
    assert {each["url"] for each in listed} >= {put.json()["url"], form.json()["url"]}


def test_without_a_control_plane_the_node_answers_for_itself(shared_agent: Agent) -> None:
    file = stored(shared_agent, "a.bin", b"x")
    assert file.url == f"https://{NODE_ID}.portside.test/f/{file.file_id}/a.bin"


def test_a_file_of_an_older_release_is_told_with_both_too(agent: Agent) -> None:
    file = stored(agent, "a.bin", b"x")
    old = json.loads(file.model_dump_json(exclude={"direct_url"})) | {"url": file.direct_url}
    change(agent, "UPDATE files SET stored = ?", json.dumps(old))
    known = _get(agent, f"/api/v1/files/{file.file_id}").json()
    assert (known["url"], known["direct_url"]) == (file.url, file.direct_url)


# -- here ------------------------------------------------------------------------------------------


def test_what_is_here_is_served_by_whatever_name(shared_agent: Agent) -> None:
    file = stored(shared_agent, "a.bin", b"x")
    for name in ("", "/a.bin", "/other.bin", "/x/y", "/%2e%2e"):
        for method in ("GET", "HEAD"):
            answer = _get(shared_agent, f"/f/{file.file_id}{name}", method)
            assert answer.status_code == 200
            assert answer.headers["X-Accel-Redirect"] == f"/_stored/{file.path}"
            assert answer.headers["Cache-Control"] == "public, no-cache"


def test_caches_keep_a_file_as_long_as_its_namespace_says(make_agent: MakeAgent) -> None:
    agent = make_agent()
    text = (agent.home / "agent.toml").read_text()
    (agent.home / "agent.toml").write_text(f"{text}[max_age]\nisos = 30\nlive = 0\n")
    introduce(agent, control_url=CONTROL)
    agent.start()
    for namespace, kept, led_on in (
        ("isos", "public, max-age=30", "public, max-age=30"),
        ("live", "public, no-cache", "public, max-age=0"),
        ("other", "public, no-cache", "public, max-age=60"),
    ):
        file = stored(agent, "a.bin", b"x", namespace=namespace)
        where = f"/f/{file.file_id}/a.bin"
        assert _get(agent, where).headers["Cache-Control"] == kept
        _apart(agent, partial(_without_copy, file_id=file.file_id))
        answer = _get(agent, where)
        assert answer.headers["Cache-Control"] == led_on
        assert answer.headers["Surrogate-Key"] == f"{file.file_id} {namespace}"


def test_a_private_file_takes_a_token(shared_agent: Agent) -> None:
    file = stored(shared_agent, "a.bin", b"x", namespace="private")
    where = f"/f/{file.file_id}/a.bin"
    refused = _get(shared_agent, where)
    assert (refused.status_code, slug_of(refused)) == (401, "token-missing")
    wrong = _get(shared_agent, f"{where}?token={download(shared_agent, f'{file.path}x')}")
    assert (wrong.status_code, slug_of(wrong)) == (403, "right-missing")
    token = download(shared_agent, file.path)
    opened = _get(shared_agent, f"{where}?token={token}")
    assert opened.headers["X-Accel-Redirect"] == f"/_stored/{file.path}"
    assert opened.headers["Cache-Control"] == "private, no-store"
    assert ask(shared_agent, "DELETE", f"/{file.file_id}", access(shared_agent)).ok
    for forgotten in (False, True):
        if forgotten:
            change(shared_agent, "DELETE FROM files WHERE file_id = ?", file.file_id)
        assert slug_of(_get(shared_agent, where)) == "token-missing"
        gone = _get(shared_agent, f"{where}?token={token}")
        assert (gone.status_code, slug_of(gone)) == (410, "file-deleted")


# -- elsewhere -------------------------------------------------------------------------------------


def test_what_is_not_here_the_control_plane_is_asked_for_once(make_agent: MakeAgent) -> None:
    agent = make_agent()
    introduce(agent, control_url=CONTROL)
    agent.start()
    answer = _get(agent, f"/f/{UNKNOWN}/a%20b.bin?token=x.y.z")
    assert _leads_to(answer) == (
        f"{CONTROL}/f/{UNKNOWN}/a%20b.bin",
        {"avoid": [NODE_ID], "token": ["x.y.z"]},
    )
    # Of what kind it is isn't known: nobody keeps the answer.
    assert answer.headers["Cache-Control"] == "private, no-store"
    _, query = _leads_to(_get(agent, f"/f/{UNKNOWN}/a.bin?avoid=s02"))
    assert query == {"avoid": ["s02,s01"]}
    back = _get(agent, f"/f/{UNKNOWN}/a.bin?avoid=s02,s01")
    assert (back.status_code, slug_of(back)) == (404, "not-found")
    for wrong in ("nonsense", f"{UNKNOWN}0", UNKNOWN.upper() + "G"):
        assert _get(agent, f"/f/{wrong}/a.bin").status_code == 404


def test_an_old_path_leads_on_or_says_that_the_file_was_deleted(make_agent: MakeAgent) -> None:
    agent = make_agent()
    introduce(agent, control_url=CONTROL)
    agent.start()
    moved, deleted, damaged = (stored(agent, f"{name}.bin", b"x") for name in "abc")
    _apart(agent, lambda found, database: remove_copy(found, database, moved.file_id))
    assert ask(agent, "DELETE", f"/{deleted.file_id}", access(agent)).status_code == 204
    _apart(agent, lambda found, database: quarantine(found, database, damaged.file_id, "bad"))
    for restarted in (False, True):
        if restarted:
            agent.kill()
            agent.start()
        for file in (moved, damaged):
            for answer in (_missing(agent, file), _get(agent, f"/f/{file.file_id}/x")):
                assert _leads_to(answer) == (file.url, {"avoid": [NODE_ID]})
                assert answer.headers["Cache-Control"] == "public, max-age=60"
            back = _missing(agent, file, f"?avoid={NODE_ID}")
            assert (back.status_code, slug_of(back)) == (404, "not-found")
        gone = _missing(agent, deleted)
        assert (gone.status_code, slug_of(gone)) == (410, "file-deleted")
        assert gone.json()["instance"] == f"/uploads/{deleted.path}"
        assert slug_of(_get(agent, f"/f/{deleted.file_id}/x")) == "file-deleted"
    never = _missing(agent, moved.model_copy(update={"path": "isos/never.bin"}))
    assert (never.status_code, slug_of(never)) == (404, "not-found")
    for uri in ("", "/", "/uploads/", "/uploads/%ff", "/uploads/isos/../x", "/other"):
        answer = _get(agent, "/internal/missing", **{"X-Original-URI": uri})
        assert (answer.status_code, slug_of(answer)) == (404, "not-found")


def test_a_name_that_was_given_again_is_the_new_files(agent: Agent) -> None:
    file = stored(agent, "a.bin", b"old", layout="named")
    assert ask(agent, "DELETE", f"/{file.file_id}", access(agent)).status_code == 204
    new = stored(agent, "a.bin", b"new", layout="named")
    assert new.path == file.path
    assert slug_of(_get(agent, f"/f/{file.file_id}/a.bin")) == "file-deleted"
    assert _get(agent, f"/f/{new.file_id}/a.bin").status_code == 200
    moment = data_of(agent, new).stat().st_mtime
    assert moment == pytest.approx(new.committed_at.timestamp(), abs=1e-6)


def test_without_a_control_plane_nodes_with_a_copy_are_asked_and_nobody_twice(
    make_agent: MakeAgent,
) -> None:
    first, second = make_agent(), make_agent(node_id="s02")
    third = member(second, "https://s03.portside.test").model_copy(update={"node_id": "s03"})
    introduce(first, second, nodes=(member(first), member(second), third), factor=3)
    for each in (first, second):
        each.start()
    file = stored(first, "a.bin", b"x")
    change(
        first,
        "INSERT INTO copies VALUES (?, 's03', '', 0), (?, 's02', '', 1)",
        file.file_id,
        file.file_id,
    )
    _apart(first, lambda found, database: quarantine(found, database, file.file_id, "bad"))
    place, query = _leads_to(_get(first, f"/f/{file.file_id}/a.bin"))
    assert (place, query) == (
        f"https://s03.portside.test/f/{file.file_id}/a.bin",
        {"avoid": ["s01"]},
    )
    _, query = _leads_to(_get(first, f"/f/{file.file_id}/a.bin?avoid=s03"))
    assert query == {"avoid": ["s03,s01"]}
    nowhere = _get(first, f"/f/{file.file_id}/a.bin?avoid=s02,s03")
    assert (nowhere.status_code, slug_of(nowhere)) == (410, "file-damaged")
    # Who has never heard of it asks those that would have a copy, each of which is asked once.
    avoid = ["s02"]
    answer = _get(second, f"/f/{UNKNOWN}/a.bin")
    while answer.status_code == 302:
        assert parse_qs(urlsplit(answer.headers["Location"]).query)["avoid"] == [",".join(avoid)]
        # What is sent to has nothing either: it would add itself and ask on.
        host = urlsplit(answer.headers["Location"]).hostname
        avoid.insert(0, "s03" if host == "s03.portside.test" else "s01")
        avoid.remove("s02")
        avoid.append("s02")
        assert len(avoid) <= 3
        answer = _get(second, f"/f/{UNKNOWN}/a.bin?avoid={','.join(avoid)}")
    assert (answer.status_code, sorted(avoid)) == (404, ["s01", "s02", "s03"])
