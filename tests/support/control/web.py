"""The control plane's web side without a server, asked as apps ask it."""

from __future__ import annotations

import json
from typing import Any

import falcon.testing

from control.app import create_app
from portside.wire.control import Session
from portside.wire.problem import PROBLEM_PREFIX
from tests.support.control.core import Core


class Api:
    """The web side over the same core, asked as an app would."""

    def __init__(self, core: Core) -> None:
        self.core = core
        self.app = create_app(core.settings, core.database, core.clock)
        self.client = falcon.testing.TestClient(self.app)
        self.key = core.app("shop", "upload", "read", "delete")
        self.admin = core.app("operator", "admin")

    def ask(
        self,
        method: str,
        path: str,
        body: object = None,
        key: str | None = "",
        headers: dict[str, str] | None = None,
        query: dict[str, str] | None = None,
    ) -> falcon.testing.Result:
        """A request with the app's key, another one or none."""
        sent = dict(headers or {})
        if key is not None:
            sent["Authorization"] = f"Bearer {key or self.key}"
        text = body if isinstance(body, str | bytes) or body is None else json.dumps(body)
        return self.client.simulate_request(method, path, body=text, headers=sent, params=query)

    def fresh(self) -> Api:
        """The same web side as a process that has just started: with nothing remembered."""
        fresh = Api.__new__(Api)
        fresh.__dict__.update(self.__dict__)
        fresh.app = create_app(self.core.settings, self.core.database, self.core.clock)
        fresh.client = falcon.testing.TestClient(fresh.app)
        return fresh

    def opens(self, **wish: Any) -> Session:
        """A session for 1000 bytes."""
        wanted = {"owner": "user-7", "name": "a.iso", "size": 1000, **wish}
        answer = self.ask("POST", "/api/v1/upload/sessions", wanted)
        assert answer.status_code == 201, answer.text
        return Session.model_validate_json(answer.text)

    def uploads(self, node_id: str = "", **wish: Any) -> Session:
        """A session whose file is on its node."""
        session = self.opens(**wish)
        self.brings(session, node_id, path=f"{wish.get('namespace', 'files')}/{session.file_id}")
        return session

    def brings(self, session: Session, node_id: str = "", **claims: Any) -> falcon.testing.Result:
        """A receipt comes in."""
        receipt = self.core.nodes.receipt_of(session, self.core.clock.now, node_id, **claims)
        return self.ask("POST", "/api/v1/files", {"receipt": receipt}, key=None)


def slug_of(answer: falcon.testing.Result) -> str:
    assert answer.headers["Content-Type"] == "application/problem+json", answer.text
    assert answer.json["status"] == answer.status_code
    assert answer.json["detail"]
    return str(answer.json["type"].removeprefix(PROBLEM_PREFIX))
