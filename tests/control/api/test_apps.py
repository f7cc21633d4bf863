"""An app's API keys are changed without a moment in which none of them counts."""

from __future__ import annotations

import threading
from contextlib import closing
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from alembic import command
from sqlalchemy import text
from sqlalchemy.orm import Session

from control import cli
from control.cluster import api_keys
from control.cluster.api_keys import AppRefused
from control.cluster.key_use import COARSE
from control.cluster.snapshot import Snapshots
from control.db import migrations
from control.db.database import Database
from tests.support.control.core import Core
from tests.support.control.web import Api, slug_of

ONE = pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
"""For what doesn't depend on the database."""

KEYS = "/api/v1/apps/shop/keys"
_APP = text(
    "INSERT INTO apps (app_id, key_sha256, scopes, created_at, revoked_at) "
    "VALUES (:name, :key, '[]', 5, :at)"
)
DAY = 86400


@pytest.fixture
def api(core: Core) -> Api:
    return Api(core)


def status(api: Api, key: str, method: str = "GET", path: str = "/api/v1/files") -> int:
    return api.ask(method, path, key=key).status_code


def keys_of(api: Api) -> list[dict[str, Any]]:
    answer = api.ask("GET", "/api/v1/apps/shop", key=api.admin)
    assert answer.status_code == 200
    assert api.key not in answer.text
    return list(answer.json["keys"])


def wait_for_what_is_behind(api: Api) -> None:
    done = threading.Event()
    api.core.database.behind(done.set)
    assert done.wait(60)


@ONE
def test_both_keys_count_for_the_same_until_the_old_ones_time_is_over(api: Api) -> None:
    session = api.uploads()
    api.core.clock.pass_by(1)
    made = api.ask("POST", KEYS, {"old_for": DAY}, key=api.admin)
    assert made.status_code == 201
    assert made.headers["Cache-Control"] == "no-store"
    new = made.json["key"]
    for key in (api.key, new):
        assert status(api, key, path=f"/api/v1/files/{session.file_id}") == 200
        assert status(api, key, "POST", "/api/v1/apps/shop/keys") == 403
    fresh, old = keys_of(api)
    assert fresh["key_id"] == made.json["key_id"]
    assert (fresh["ends_at"], old["ends_at"]) == (None, made.json["old_ends_at"])
    api.core.clock.pass_by(DAY)
    assert [status(api.fresh(), key) for key in (api.key, new)] == [401, 200]
    assert [each["key_id"] for each in keys_of(api)] == [fresh["key_id"]]


@ONE
def test_a_key_that_is_ended_stays_ended_whatever_becomes_of_its_app(api: Api) -> None:
    old = keys_of(api)[0]["key_id"]
    new = api.ask("POST", KEYS, key=api.admin).json["key"]
    assert [status(api, key) for key in (api.key, new)] == [200, 200]
    for _ in range(2):
        ended = api.ask("DELETE", f"{KEYS}/{old}", key=api.admin)
        assert (ended.status_code, len(ended.json["keys"])) == (200, 1)
    # Here at once, in other processes with their next snapshot.
    assert [status(api, key) for key in (api.key, new)] == [401, 200]
    api.core.database.write(lambda s: api_keys.revoke(s, "shop", api.core.clock.now))
    again = api.core.app("shop", "read")
    api = api.fresh()
    assert [status(api, key) for key in (api.key, new, again)] == [401, 401, 200]


@ONE
def test_both_keys_are_bound_to_the_same_namespaces(api: Api) -> None:
    api.core.database.write(
        lambda s: api_keys.create(s, "gallery", ("upload",), api.core.clock.now, ("images",))
    )
    key = api.ask("POST", "/api/v1/apps/gallery/keys", key=api.admin).json["key"]
    wish = {"owner": "u", "size": 1}
    refused = api.ask("POST", "/api/v1/upload/sessions", wish, key=key)
    assert slug_of(refused) == "namespace-refused"
    assert status(api, key) == 403


@ONE
def test_what_cant_be_done_with_keys_is_said_in_words(api: Api) -> None:
    only = keys_of(api)[0]["key_id"]
    for method, path, body, slug, words in (
        ("POST", "/api/v1/apps/nobody/keys", None, "app-unknown", "app create"),
        ("POST", "/api/v1/apps/No%20Body/keys", None, "app-unknown", "GET /api/v1/apps"),
        ("GET", "/api/v1/apps/nobody", None, "app-unknown", "nobody"),
        ("DELETE", f"{KEYS}/{'0' * 12}", None, "app-unknown", only),
        ("DELETE", f"{KEYS}/{only}", None, "app-refused", "app rotate shop"),
        ("POST", KEYS, {"old_for": "soon"}, "malformed-request", "old_for"),
        ("POST", KEYS, {"old_for": -1}, "malformed-request", "old_for"),
        ("POST", KEYS, {"old_for": 10**9}, "malformed-request", "old_for"),
        ("POST", KEYS, {"new_for": 5}, "malformed-request", "old_for"),
    ):
        answer = api.ask(method, path, body, key=api.admin)
        assert slug_of(answer) == slug, path
        assert words in answer.json["detail"], path
    assert api.ask("POST", KEYS, key=api.admin).status_code == 201
    third = api.ask("POST", KEYS, key=api.admin)
    assert slug_of(third) == "app-refused"
    assert all(each["key_id"] in third.json["detail"] for each in keys_of(api))


@ONE
def test_a_key_of_which_an_end_was_said_never_gets_a_later_one(core: Core) -> None:
    """Its holder was told when it ends: a second rotation meanwhile doesn't prolong it."""
    core.app("shop", "read")

    def rotate(session: Session) -> api_keys.NewKey:
        return api_keys.rotate(session, "shop", core.clock.now, timedelta(seconds=DAY))

    first = core.database.write(rotate)
    core.database.write(lambda s: api_keys.end_key(s, "shop", first.key_id, core.clock.now))
    core.clock.pass_by(60)
    assert core.database.write(rotate).old_ends_at == first.old_ends_at


@ONE
def test_a_keys_last_use_is_told_to_the_hour_and_not_written_with_each_request(api: Api) -> None:
    core = api.core
    assert keys_of(api)[0]["last_used_at"] is None
    status(api, api.key)
    wait_for_what_is_behind(api)
    first = keys_of(api)[0]["last_used_at"]
    assert first is not None
    core.clock.pass_by(COARSE.total_seconds() - 1)
    # Not by this process, and not by one that has just started.
    for each in (api, api.fresh()):
        status(each, api.key)
    wait_for_what_is_behind(api)
    assert keys_of(api)[0]["last_used_at"] == first
    core.clock.pass_by(1)
    status(api, api.key)
    wait_for_what_is_behind(api)
    assert keys_of(api)[0]["last_used_at"] > first


def test_of_two_who_rotate_at_once_one_is_refused(core: Core) -> None:
    core.app("shop", "read")
    made, refused = [], []

    def rotate() -> None:
        try:
            made.append(core.database.write(lambda s: api_keys.rotate(s, "shop", core.clock.now)))
        except AppRefused as error:
            refused.append(error)

    threads = [threading.Thread(target=rotate) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert (len(made), len(refused)) == (1, 3)


@ONE
def test_the_command_makes_a_second_key_lists_both_and_ends_one(
    core: Core, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    def run(*arguments: str) -> str:
        cli.main(["app", "--config", str(tmp_path / "control.toml"), *arguments])
        return capsys.readouterr().out

    first = run("create", "web", "--namespace", "images").strip()
    second = run("rotate", "web", "--old-for", "24h").strip()
    lines = [line.split("\t") for line in run("ls").splitlines()]
    assert [line[:2] for line in lines] == [["web", "delete,read,upload"]] * 2
    assert [line[3] for line in lines] == ["images", "images"]
    digests = [api_keys.digest(key) for key in (second, first)]
    assert [line[4] for line in lines] == [each[:12] for each in digests]
    assert [line[6] for line in lines] == ["never", "never"]
    assert lines[0][7] == "-"
    assert lines[1][7] > lines[1][5]
    run("revoke-key", "web", lines[1][4])
    apps = Snapshots(core.settings, core.database).current().apps
    assert [each in apps for each in digests] == [True, False]
    run("revoke", "web")
    assert run("list").split("\t")[:2] == ["web", "revoked"]
    with pytest.raises(SystemExit):
        run("rotate", "web")
    assert "app create web" in capsys.readouterr().err
    for bad in ("soon", "800d"):
        with pytest.raises(SystemExit):
            run("rotate", "web", "--old-for", bad)


def test_keys_that_were_made_before_count_after_the_update(tmp_path: Path) -> None:
    """And those that had ended don't."""
    with closing(Database(f"sqlite:///{tmp_path / 'old.sqlite'}")) as database:

        def at_0008(session: Session) -> None:
            connection = session.connection()
            command.upgrade(migrations._config(connection), "0008")
            for name, digit, revoked_at in (("web", "a", None), ("old", "b", 6)):
                connection.execute(_APP, {"name": name, "key": digit * 64, "at": revoked_at})

        database.write(at_0008)
        migrations.migrate(database)
        found = {
            app.app_id: [(key.key_sha256, key.ends_at) for key in keys]
            for app, keys in database.read(api_keys.every)
        }
    assert found == {"web": [("a" * 64, None)], "old": []}
