"""An agent's own description of its API, and schemathesis to hold it to that.

Importing schemathesis takes two seconds of the processor: tests import this module in the fixture
that needs it, so that only the process that runs them pays.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import requests
import schemathesis
from hypothesis.strategies import SearchStrategy
from schemathesis import GenerationMode
from schemathesis.core import NOT_SET
from schemathesis.core.transport import Response
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    positive_data_acceptance,
    response_schema_conformance,
)
from schemathesis.specs.openapi.schemas import OpenApiSchema

from agent.dialects.draft import PARTIAL_TYPE
from agent.dialects.request import TUS_TYPE
from tests.support.agent.process import Agent

LONGEST_LINE = 8190
"""gunicorn's bound of a request's first line (templates/gunicorn)."""

Case = schemathesis.Case[Any]
Checks = list[Callable[[schemathesis.CheckContext, Response, Case], bool | None]]

# Which names, digests and cursors are right isn't a matter of their form.
NOT_CHECKED: Checks = [positive_data_acceptance]
# An upload that has begun is answered without a body, for which OpenAPI has no word.
OF_BODIES: Checks = [content_type_conformance, response_schema_conformance]

CONFIGURATION: dict[str, Any] = {
    "checks": {
        "negative_data_rejection": {
            # 405: a POST that stands for no other method. 412: another version of tus.
            "expected-statuses": [
                str(status) for status in (400, 401, 403, 404, 405, 409, 412, 413, 415, 422)
            ]
        }
    }
}


@schemathesis.serializer(TUS_TYPE, PARTIAL_TYPE)
def as_it_is(context: schemathesis.SerializationContext, value: Any) -> bytes:
    """Bytes of a part of a file."""
    return value if isinstance(value, bytes) else str(value).encode()


def sendable(case: Case) -> bool:
    """Whether gunicorn reads it at all: it answers in HTML to a first line that is too long."""
    return len(case.as_curl_command()) < LONGEST_LINE


class Description:
    """What `/openapi.json` of a running agent says."""

    def __init__(self, agent: Agent) -> None:
        answer = requests.get(f"{agent.url}/openapi.json", timeout=60)
        self._schema: OpenApiSchema = schemathesis.openapi.from_dict(
            answer.json(), config=schemathesis.Config.from_dict(CONFIGURATION)
        )
        self._schema.config.update(base_url=agent.url)

    def cases(self, method: str, path: str, *, wrong: bool = False) -> SearchStrategy[Case]:
        """Requests that fit the description, or ones that don't."""
        mode = GenerationMode.NEGATIVE if wrong else GenerationMode.POSITIVE
        return self._schema[path][method].as_strategy(generation_mode=mode).filter(sendable)

    def case(
        self, method: str, path: str, headers: dict[str, str], body: bytes | None, **said: Any
    ) -> Case:
        """One request of the test's own."""
        return self._schema[path][method].Case(
            headers=headers, body=NOT_SET if body is None else body, **said
        )

    def check(self, case: Case, headers: dict[str, str]) -> Response:
        """Send it and compare the answer with the description."""
        answer: Response = case.call(headers=headers)
        begun = case.operation.path == "/api/v1/uploads" and not answer.content
        excluded = [*NOT_CHECKED, *OF_BODIES] if begun else NOT_CHECKED
        case.validate_response(answer, headers=headers, excluded_checks=excluded)
        return answer
