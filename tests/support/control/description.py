"""The control plane's own description of its API, and schemathesis to hold it to that.

Importing schemathesis takes two seconds of the processor: tests import this module in the fixture
that needs it, so that only the process that runs them pays.
"""

from __future__ import annotations

from typing import Any

import schemathesis
from hypothesis.strategies import SearchStrategy
from schemathesis import GenerationMode
from schemathesis.core.parameters import ParameterLocation
from schemathesis.core.transport import Response
from schemathesis.specs.openapi.checks import positive_data_acceptance
from schemathesis.specs.openapi.schemas import OpenApiSchema

from tests.support.control.web import Api

Case = schemathesis.Case[Any]

CONFIGURATION: dict[str, Any] = {
    "checks": {
        # A cluster may be full, or have nobody who answers.
        "not_a_server_error": {"expected-statuses": ["2xx", "3xx", "4xx", "503", "507"]},
        "negative_data_rejection": {
            "expected-statuses": [str(each) for each in (400, 401, 403, 404, 409, 413, 415, 422)]
        },
    }
}

# Of every answer with a body, or of one by its type; where a 415 says what is taken (RFC 9110,
# section 15.5.16) it is one of two, so that neither is required.
USUAL = {"content-type", "content-length", "accept", "accept-encoding"}
# "Not there" may be told of now alone: required of no answer that says so.
USUAL_OF_PROBLEMS = {*USUAL, "cache-control"}


class Description:
    """What `/openapi.json` says, without a server."""

    def __init__(self, api: Api) -> None:
        self._schema: OpenApiSchema = schemathesis.openapi.from_wsgi(
            "/openapi.json", api.app, config=schemathesis.Config.from_dict(CONFIGURATION)
        )

    def cases(self, method: str, path: str, *, wrong: bool = False) -> SearchStrategy[Case]:
        """Requests that fit the description, or ones that don't."""
        mode = GenerationMode.NEGATIVE if wrong else GenerationMode.POSITIVE
        return self._schema[path][method].as_strategy(generation_mode=mode)

    def is_body_wrong(self, case: Case) -> bool:
        """Of a request that doesn't fit the description: whether its body is to blame."""
        said = case.meta.components.get(ParameterLocation.BODY) if case.meta else None
        return said is not None and said.mode.is_negative

    def check(self, case: Case, headers: dict[str, str]) -> Response:
        """Send it and compare the answer with the description, its headers too."""
        answer: Response = case.call(headers=headers)
        # Which names, sizes and pools are right isn't a matter of their form.
        case.validate_response(answer, headers=headers, excluded_checks=[positive_data_acceptance])
        described = case.operation.definition.raw["responses"][str(answer.status_code)]
        known = {name.lower() for name in described.get("headers", {})}
        usual = USUAL if answer.status_code < 400 else USUAL_OF_PROBLEMS
        assert {name.lower() for name in answer.headers} <= known | usual, case.as_curl_command()
        return answer
