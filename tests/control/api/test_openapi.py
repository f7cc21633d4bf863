"""The API is what `/openapi.json` says: no other answer, no other header, and never a 5xx.

None of it depends on the database: one is enough. Most of what is asked about is there, for of what
isn't there is one answer only.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from hypothesis import HealthCheck, Phase, given, settings

from control.api.operations import OPERATIONS
from tests.support.control.core import Core
from tests.support.control.web import Api

if TYPE_CHECKING:
    from tests.support.control.description import Case

# One process pays for schemathesis.
pytestmark = [
    pytest.mark.xdist_group("openapi"),
    pytest.mark.parametrize("database_url", ["sqlite"], indirect=True),
]

# The same cases in every run, for each operation and for right and wrong requests.
FEW = settings(
    max_examples=6,
    phases=[Phase.generate],
    deadline=None,
    derandomize=True,
    database=None,
    suppress_health_check=list(HealthCheck),
)

# HEAD is GET without its body (`portside.web.resources.answers_head`).
ROUTES = sorted(route for route in OPERATIONS if route[0] != "HEAD")


class Asked:
    """A control plane with something of everything, asked by an operator."""

    def __init__(self, core: Core) -> None:
        # Imported here: see its docstring.
        from tests.support.control.description import Description

        core.settings = core.settings.model_copy(
            update={"sessions_per_app": 100_000, "sessions_per_owner": 100_000}
        )
        self.api = Api(core)
        self.description = Description(self.api)
        self.key = {"Authorization": f"Bearer {self.api.admin}"}
        self.there = {"node_id": "s01", "pool_id": "s01", "name": "x.iso"}
        self.there |= {"app_id": "shop", "owner": "user-7"}
        self.there["file_id"] = self.api.uploads().file_id
        move = {"source": "s01", "target": "s02"}
        begun = self.api.ask("POST", "/api/v1/moves", move, key=self.api.admin)
        self.there["move_id"] = begun.json["move_id"]

    def about_what_is_there(self, case: Case) -> None:
        """Ask, and hold the answer to the description."""
        names = case.path_parameters or {}
        case.path_parameters = {name: self.there.get(name, value) for name, value in names.items()}
        self.description.check(case, self.key)

    def as_it_is(self, case: Case) -> None:
        """Ask what may be wrong anywhere."""
        self.description.check(case, self.key)

    def with_a_wrong_body(self, case: Case) -> None:
        """Ask about what is there, so that nothing but the body can be refused."""
        if self.description.is_body_wrong(case):
            self.about_what_is_there(case)
        else:
            self.as_it_is(case)


def test_whatever_is_sent_the_answer_is_described(core: Core) -> None:
    asked = Asked(core)
    for method, path in ROUTES:
        FEW(given(asked.description.cases(method, path))(asked.about_what_is_there))()


def test_what_does_not_fit_the_description_is_refused(core: Core) -> None:
    asked = Asked(core)
    for method, path in ROUTES:
        operation = OPERATIONS[method, path]
        if operation.body is not None or operation.parameters:
            wrong = asked.description.cases(method, path, wrong=True)
            ask = asked.as_it_is if operation.body is None else asked.with_a_wrong_body
            FEW(given(wrong)(ask))()
