"""What an API key may do: what its scopes say, and nothing else."""

from __future__ import annotations

import pytest

from tests.support.control.core import Core
from tests.support.control.web import Api, slug_of

# Who may do what is decided before the database is asked: one is enough.
pytestmark = pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)

READS, WRITES, DELETES, ADMIN = {"read"}, {"upload"}, {"delete"}, set[str]()
NEEDED = {
    ("POST", "/api/v1/upload/sessions"): WRITES,
    ("GET", "/api/v1/upload/server"): WRITES,
    ("GET", "/api/v1/files"): READS,
    ("GET", "/api/v1/files/{id}"): READS | WRITES,
    ("PATCH", "/api/v1/files/{id}"): DELETES,
    ("DELETE", "/api/v1/files/{id}"): DELETES,
    ("POST", "/api/v1/files/{id}/hold"): DELETES,
    ("POST", "/api/v1/files/{id}/release"): DELETES,
    ("GET", "/api/v1/nodes"): READS,
    ("GET", "/api/v1/nodes/s01"): READS,
    ("POST", "/api/v1/nodes/s01/state"): ADMIN,
    ("GET", "/api/v1/nodes/s01/leaving"): ADMIN,
    ("POST", "/api/v1/nodes/s01/leaving"): ADMIN,
    ("GET", "/api/v1/repair"): READS,
    ("GET", "/api/v1/pools"): READS,
    ("POST", "/api/v1/pools"): ADMIN,
    ("PATCH", "/api/v1/pools/s01"): ADMIN,
    ("DELETE", "/api/v1/pools/s01"): ADMIN,
    ("GET", "/api/v1/moves"): READS,
    ("POST", "/api/v1/moves"): ADMIN,
    ("POST", "/api/v1/moves/m/cancel"): ADMIN,
}
"""Any one of these scopes; `admin` is enough for everything."""


def test_a_key_does_what_its_scopes_say_and_nothing_else(core: Core) -> None:
    api = Api(core)
    keys = {scope: core.app(scope, scope) for scope in ("upload", "read", "delete", "admin")}
    for (method, path), needed in NEEDED.items():
        for scope, key in keys.items():
            answer = api.ask(method, path.format(id="0" * 32), {}, key=key)
            refused = answer.status_code == 403 and slug_of(answer) == "scope-missing"
            assert refused is (scope not in needed | {"admin"}), (method, path, scope)
