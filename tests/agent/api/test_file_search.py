"""`GET /api/v1/files`: what is found, page by page, and what is no question."""

from __future__ import annotations

import secrets
from datetime import UTC, timedelta
from typing import Any
from urllib.parse import urlencode

import pytest

from agent.index.search import Position
from portside.wire.files import FilePage, StoredFile
from tests.support.agent.process import Agent, slug_of
from tests.support.agent.stored_files import access, ask, stored


@pytest.fixture
def namespace() -> str:
    """A namespace of the test's own on the agent that all share."""
    return f"n{secrets.token_hex(8)}"


def _page(agent: Agent, headers: dict[str, str] | None = None, **query: Any) -> FilePage:
    answer = ask(agent, "GET", f"?{urlencode(query)}", headers or access(agent))
    assert answer.status_code == 200, answer.text
    return FilePage.model_validate(answer.json())


def _names(page: FilePage) -> list[str]:
    return [file.name for file in page.files]


def test_files_are_listed_as_their_uploads_were_answered_newest_first(
    shared_agent: Agent, namespace: str
) -> None:
    files = [stored(shared_agent, f"{n}.bin", b"x", namespace=namespace) for n in range(3)]
    page = _page(shared_agent, namespace=namespace)
    assert page == FilePage(files=tuple(reversed(files)), next=None)


def test_each_filter_finds_what_fits_it(shared_agent: Agent, namespace: str) -> None:
    def put(name: str, **claims: Any) -> StoredFile:
        return stored(shared_agent, name, b"text", namespace=namespace, **claims)

    put("Annual_100_report.txt", sub="ann")
    middle = put("ümlaut.csv", sub="bob", content_type="text/csv")
    put("photo.bin", sub="bob", content_type="image/png")
    moment = middle.committed_at

    def found(**query: Any) -> list[str]:
        return _names(_page(shared_agent, namespace=namespace, **query))

    assert found(owner="bob") == ["photo.bin", "ümlaut.csv"]
    assert found(name="REPORT") == ["Annual_100_report.txt"]
    assert found(name="u\u0308mlaut") == ["ümlaut.csv"]
    assert found(name="_") == ["Annual_100_report.txt"]
    assert found(name="%") == []
    assert found(content_type="text/csv") == ["ümlaut.csv"]
    assert found(content_type="text/*") == ["ümlaut.csv", "Annual_100_report.txt"]
    assert found(content_type="te_t/*") == []
    assert found(committed_after=moment.isoformat()) == ["photo.bin"]
    assert found(committed_before=moment.isoformat()) == ["Annual_100_report.txt"]
    later = (moment + timedelta(hours=1)).astimezone(UTC)
    assert found(committed_after=later.isoformat(), owner="bob") == []
    assert found(owner="nobody") == []


def test_pages_hold_every_file_once_while_others_come_and_go(
    shared_agent: Agent, namespace: str
) -> None:
    files = [stored(shared_agent, f"{n}.bin", b"x", namespace=namespace) for n in range(7)]
    seen: list[str] = []
    cursor: dict[str, Any] = {}
    while True:
        page = _page(shared_agent, namespace=namespace, limit=2, **cursor)
        seen += [file.file_id for file in page.files]
        if page.next is None:
            break
        cursor = {"cursor": page.next}
        stored(shared_agent, "new.bin", b"x", namespace=namespace)
        # The file the cursor names may go: it is a place, not a row.
        ask(shared_agent, "DELETE", f"/{page.files[-1].file_id}", access(shared_agent))
    assert seen == [file.file_id for file in reversed(files)]


@pytest.mark.parametrize(
    "query",
    [
        "limit=0",
        "limit=1001",
        "limit=-1",
        "limit=" + "9" * 3000,
        "limit=many",
        "limit=",
        "limit=1&limit=2",
        "cursor=",
        "cursor=nonsense",
        "cursor=%00%ff",
        "cursor=MQ",
        "cursor=" + "A" * 201,
        "committed_after=yesterday",
        "committed_after=2026-11-21",
        "committed_after=2026-11-21T10:00:00",
        "committed_before=2026-13-01T00:00:00Z",
        "committed_before=99999-01-01T00:00:00Z",
        "namespace=../etc",
        "owner=",
        "owner=a%0ab",
        "name=" + "x" * 201,
        "name=%00",
        "content_type=png",
        "content_type=*/*",
        "owners=me",
        "token=s3cret",
    ],
)
def test_a_bad_parameter_is_named(shared_agent: Agent, query: str) -> None:
    answer = ask(shared_agent, "GET", f"?{query}", access(shared_agent))
    assert (answer.status_code, slug_of(answer)) == (400, "malformed-request")
    assert answer.json()["detail"].startswith(f"{query.partition('=')[0]}: ")
    assert "s3cret" not in answer.text


def test_a_cursor_of_the_end_of_time_is_an_empty_page(shared_agent: Agent) -> None:
    cursor = Position(-(10**17), "0" * 32).cursor()
    assert _page(shared_agent, cursor=cursor) == FilePage(files=())


@pytest.mark.parametrize("claim", ["namespace", "owner", "file_id"])
def test_a_token_narrows_the_search(shared_agent: Agent, namespace: str, claim: str) -> None:
    own = stored(shared_agent, "own.bin", b"x", namespace=namespace, sub=f"owner-{namespace}")
    stored(shared_agent, "other.bin", b"x")
    headers = access(shared_agent, rights=("list",), **{claim: getattr(own, claim)})
    assert _names(_page(shared_agent, headers)) == ["own.bin"]


@pytest.mark.parametrize("claim", ["namespace", "owner"])
def test_a_search_beside_its_token_is_refused(shared_agent: Agent, claim: str) -> None:
    headers = access(shared_agent, **{claim: "mine"})
    answer = ask(shared_agent, "GET", f"?{claim}=other", headers)
    assert (answer.status_code, slug_of(answer)) == (403, "right-missing")
