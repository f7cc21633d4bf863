"""The API is what `/openapi.json` says: no other answer, no other header, and never a 5xx."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

import pytest
import requests
from hypothesis import HealthCheck, Phase, given, settings

from agent.api.openapi.components import API
from agent.api.openapi.operations import OPERATIONS
from agent.app import create_app
from agent.dialects.draft import PARTIAL_TYPE
from agent.dialects.request import TUS_TYPE, TUS_VERSION
from agent.problems import ProblemError
from agent.settings import load
from portside.web.openapi_document import document, routes
from portside.wire.files import StoredFile
from portside.wire.problem import PROBLEM_PREFIX
from tests.support.agent.process import Agent
from tests.support.agent.stored_files import access

if TYPE_CHECKING:
    from tests.support.agent.description import Case, Description

# One process pays for schemathesis and for the agent.
pytestmark = pytest.mark.xdist_group("openapi")

# The same cases in every run, for each of 70 questions. Of twice as many one kind of answer more
# came, of 73, and that is asked for below.
FEW = settings(
    max_examples=10,
    phases=[Phase.generate],
    deadline=None,
    derandomize=True,
    database=None,
    suppress_health_check=list(HealthCheck),
)


@pytest.fixture(scope="module")
def described_agent(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Agent]:
    """An agent that these tests may fill with whatever they come up with."""
    from tests.support.agent.description import LONGEST_LINE

    agent = Agent(tmp_path_factory.mktemp("described"))
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("GUNICORN_CMD_ARGS", f"--limit-request-line {LONGEST_LINE}")
        agent.start()
    yield agent
    agent.kill()


@pytest.fixture(scope="module")
def api(described_agent: Agent) -> Description:
    from tests.support.agent.description import Description

    return Description(described_agent)


def authorization(agent: Agent, case: Case) -> dict[str, str]:
    """The right token for an operation, a fresh one each time: an upload's is good for one file."""
    schemes = {name for each in case.operation.definition.raw["security"] for name in each}
    if "accessToken" in schemes:
        return access(agent)
    if "uploadToken" in schemes:
        # Few names that a machine thinks of end as a file's name has to.
        return {"Authorization": f"Bearer {agent.mint(name='any.bin')}"}
    return {}


CAN_BE_WRONG = sorted(
    route
    for route, operation in OPERATIONS.items()
    # Any text will do for a path's parameter that has no pattern.
    if operation.body is not None
    or any("pattern" in each.schema or each.place != "path" for each in operation.parameters)
)


@pytest.mark.parametrize(("method", "path"), sorted(OPERATIONS))
def test_whatever_is_sent_the_answer_is_described(
    described_agent: Agent, api: Description, method: str, path: str
) -> None:
    @FEW
    @given(api.cases(method, path))
    def ask(case: Case) -> None:
        api.check(case, authorization(described_agent, case))

    ask()


@pytest.mark.parametrize(("method", "path"), CAN_BE_WRONG)
def test_what_does_not_fit_the_description_is_refused(
    described_agent: Agent, api: Description, method: str, path: str
) -> None:
    @FEW
    @given(api.cases(method, path, wrong=True))
    def ask(case: Case) -> None:
        api.check(case, authorization(described_agent, case))

    ask()


@pytest.mark.parametrize(
    ("method", "path"), [route for route in sorted(OPERATIONS) if "{file_id}" in route[1]]
)
def test_answers_about_a_file_that_is_there_are_described(
    described_agent: Agent, api: Description, method: str, path: str
) -> None:
    file_ids: list[str] = []

    @FEW
    @given(api.cases(method, path))
    def ask(case: Case) -> None:
        if method == "DELETE" or not file_ids:
            answer = described_agent.put("here.bin", b"content")
            file_ids.append(StoredFile.model_validate(answer.json()).file_id)
        case.path_parameters = {**(case.path_parameters or {}), "file_id": file_ids[-1]}
        api.check(case, authorization(described_agent, case))

    ask()


@pytest.mark.parametrize(
    ("method", "path"), [route for route in sorted(OPERATIONS) if "{upload_id}" in route[1]]
)
def test_answers_about_an_upload_that_is_open_are_described(
    described_agent: Agent, api: Description, method: str, path: str
) -> None:
    @FEW
    @given(api.cases(method, path))
    def ask(case: Case) -> None:
        token, upload_id = begun(described_agent)
        case.path_parameters = {"upload_id": upload_id}
        api.check(case, token)

    ask()


TUS = {"Tus-Resumable": TUS_VERSION}
SHA1_OF_NOTHING = "sha1 2jmj7l5rSw0yVb/vlWAYkK/YBwk="
WHOLE, PART = b"12345", b"123"


@pytest.mark.parametrize(
    ("headers", "body", "media_type"),
    [
        ({**TUS, "Upload-Length": "5"}, None, None),
        ({**TUS, "Upload-Defer-Length": "1"}, None, None),
        ({**TUS, "Upload-Length": "5"}, PART, TUS_TYPE),
        ({**TUS, "Upload-Length": "5"}, WHOLE, TUS_TYPE),
        ({**TUS, "Upload-Length": "5", "Upload-Concat": "partial"}, None, None),
        ({"Upload-Complete": "?0"}, PART, "application/octet-stream"),
        ({"Upload-Complete": "?1"}, WHOLE, "application/octet-stream"),
    ],
)
def test_answers_to_an_upload_that_begins_are_described(
    described_agent: Agent,
    api: Description,
    headers: dict[str, str],
    body: bytes | None,
    media_type: str | None,
) -> None:
    case = api.case("POST", "/api/v1/uploads", headers, body, media_type=media_type)
    answer = api.check(case, authorization(described_agent, case))
    assert (answer.status_code, bool(answer.content)) == (201, body == WHOLE)


@pytest.mark.parametrize(
    ("headers", "body", "media_type", "status"),
    [
        ({**TUS, "Upload-Offset": "0"}, PART, TUS_TYPE, 204),
        ({**TUS, "Upload-Offset": "0"}, WHOLE, TUS_TYPE, 204),
        ({**TUS, "Upload-Offset": "0", "Accept": "application/json"}, WHOLE, TUS_TYPE, 200),
        ({**TUS, "Upload-Offset": "1"}, PART, TUS_TYPE, 409),
        ({**TUS, "Upload-Offset": "0"}, PART, PARTIAL_TYPE, 415),
        ({**TUS, "Upload-Offset": "0", "Upload-Checksum": SHA1_OF_NOTHING}, PART, TUS_TYPE, 460),
        ({**TUS, "Upload-Offset": "0", "Upload-Checksum": "crc32 AA=="}, PART, TUS_TYPE, 400),
        ({"Upload-Offset": "0", "Upload-Complete": "?0"}, PART, PARTIAL_TYPE, 204),
        ({"Upload-Offset": "0", "Upload-Complete": "?1"}, WHOLE, PARTIAL_TYPE, 200),
        ({"Upload-Offset": "2", "Upload-Complete": "?1"}, PART, PARTIAL_TYPE, 409),
    ],
)
def test_answers_to_an_upload_that_goes_on_are_described(
    described_agent: Agent,
    api: Description,
    headers: dict[str, str],
    body: bytes,
    media_type: str,
    status: int,
) -> None:
    token, upload_id = begun(described_agent)
    where = {"upload_id": upload_id}
    case = api.case(
        *("PATCH", "/api/v1/uploads/{upload_id}", headers, body),
        path_parameters=where,
        media_type=media_type,
    )
    assert api.check(case, token).status_code == status


def begun(agent: Agent) -> tuple[dict[str, str], str]:
    """The header with the token of a new upload of 5 bytes, and its id."""
    token = {"Authorization": f"Bearer {agent.mint(name='open.bin')}"}
    answer = requests.post(
        f"{agent.url}/api/v1/uploads", headers={**token, **TUS, "Upload-Length": "5"}, timeout=60
    )
    return token, answer.headers["Location"].rpartition("/")[2]


def test_every_route_is_described_and_nothing_else(described_agent: Agent) -> None:
    app = create_app(load(described_agent.home / "agent.toml"))
    assert routes(app) == set(OPERATIONS)


def test_problems_are_described_by_their_slugs(described_agent: Agent) -> None:
    app = create_app(load(described_agent.home / "agent.toml"))
    described = document(app, API, OPERATIONS, "1")["paths"]
    answers = described["/api/v1/uploads/{upload_id}"]["patch"]["responses"]
    types = answers["409"]["content"]["application/problem+json"]["schema"]["properties"]["type"]
    assert PROBLEM_PREFIX + "offset-mismatch" in types["enum"]
    assert str(ProblemError("checksum-mismatch", "").status) in answers


def test_the_description_may_be_kept_and_asked_for_again(described_agent: Agent) -> None:
    url = f"{described_agent.url}/openapi.json"
    first = requests.get(url, timeout=60)
    assert first.json()["openapi"] == "3.1.0"
    assert first.headers["Cache-Control"] == "public, max-age=300"
    again = requests.get(url, headers={"If-None-Match": first.headers["ETag"]}, timeout=60)
    assert (again.status_code, again.content) == (304, b"")
