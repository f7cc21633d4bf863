"""The control plane's API on loopback, obedient or misbehaving as a test asks."""

from __future__ import annotations

import json
import secrets
import threading
import time
from collections.abc import Callable
from datetime import UTC, datetime
from http.server import BaseHTTPRequestHandler
from typing import Any
from urllib.parse import parse_qsl, unquote, urlsplit

from portside.tokens import SigningKey, mint_upload, unverified_claims
from portside.wire.claims import UploadClaims
from portside.wire.control import (
    CopyView,
    FileUrl,
    FileView,
    FileViews,
    NodeStateRequest,
    NodeView,
    NodeViews,
    PoolView,
    PoolViews,
    RepairView,
    Session,
    SessionRequest,
)
from portside.wire.files import HoldNote
from portside.wire.inventory import LeavingAnswer, LeavingQuestion, OnlyCopies, OtherCopies
from portside.wire.keys import RevocationRequest, RevokedView, RevokedViews
from portside.wire.moves import MovePlan, MoveProgress, MoveView, MoveViews
from portside.wire.problem import PROBLEM_PREFIX, Problem
from portside.wire.status import QuotaInForce, UsageView, UsageViews
from tests.support.client.copy_double import CopyDouble
from tests.support.client.node_double import NodeDouble, Server
from tests.support.loopback import reserved_port

API_KEY = "a-key-that-counts-0123456789"

MOST = 64 << 30
"""Bytes of a file of which nothing else is known."""

Fault = Callable[["ControlHandler"], bool]
"""Answers a request in place of the double; False lets the double answer it."""


class ControlDouble:
    """Listens until `close`. `faults` are asked in turn, each once.

    Sessions go to `targets`, one after the other, the last one again and again.
    """

    def __init__(self) -> None:
        self.requests: list[tuple[str, str, dict[str, str], str]] = []
        self.faults: list[Fault] = []
        self.issuer = SigningKey.generate("app")
        self.targets: list[NodeDouble] = []
        self.wishes: list[SessionRequest] = []
        self.sessions: list[Session] = []
        self.valid = 900
        self.files: dict[str, FileView] = {}
        self.copies: list[CopyDouble] = []
        self.receipts: list[str] = []
        self.states: list[str] = []
        """What a file that is asked for says of itself, one after the other."""
        self.nodes: list[NodeView] = []
        self.pools: list[PoolView] = []
        self.moves: list[MoveView] = []
        self.plan: MovePlan | None = None
        self.repair: RepairView | None = None
        self.leaving: dict[str, OtherCopies] = {}
        """Who else has which file, when a node is to leave."""
        self.only: OnlyCopies | None = None
        self.revoked: list[RevokedView] = []
        self.usage: list[UsageView] = []
        double = self

        class Bound(ControlHandler):
            control = double

        self._server = Server(("127.0.0.1", reserved_port(self)), Bound)
        self._server.daemon_threads = True
        self.url = f"http://127.0.0.1:{self._server.server_address[1]}"
        self._thread = threading.Thread(
            target=self._server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True
        )
        self._thread.start()

    def close(self) -> None:
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()

    def asked(self, method: str, path: str) -> list[dict[str, str]]:
        """The queries of the requests for this path."""
        return [
            dict(parse_qsl(urlsplit(target).query))
            for verb, target, _, _ in self.requests
            if verb == method and urlsplit(target).path == path
        ]


class ControlHandler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    control: ControlDouble
    timeout = 20

    def do_GET(self) -> None:
        length = int(self.headers.get("Content-Length", "0"))
        self.body = self.rfile.read(length).decode()
        headers = {name.lower(): value for name, value in self.headers.items()}
        self.control.requests.append((self.command, self.path, headers, self.body))
        fault = next((each for each in list(self.control.faults) if each(self)), None)
        if fault is not None:
            self.control.faults.remove(fault)
        elif headers.get("authorization") != f"Bearer {API_KEY}":
            self.problem(401, "key-unknown")
        else:
            self._route()

    def do_HEAD(self) -> None:
        self.do_GET()

    def do_POST(self) -> None:
        self.do_GET()

    def do_PATCH(self) -> None:
        self.do_GET()

    def do_PUT(self) -> None:
        self.do_GET()

    def do_DELETE(self) -> None:
        self.do_GET()

    def _route(self) -> None:
        parts = urlsplit(self.path).path.removeprefix("/api/v1/").split("/")
        query = dict(parse_qsl(urlsplit(self.path).query))
        match (self.command, *parts):
            case ("GET", "nodes"):
                self.send(NodeViews(nodes=tuple(self.control.nodes)))
            case ("GET", "nodes", node_id):
                seen = [each for each in self.control.nodes if each.node_id == node_id]
                if len(seen) > 1:
                    # As it changes, from one look to the next.
                    self.control.nodes.remove(seen[0])
                self.send(seen[0]) if seen else self.problem(404, "node-unknown")
            case ("GET", "pools"):
                self.send(PoolViews(pools=tuple(self.control.pools)))
            case ("POST", "pools"):
                self.send(self.control.pools[0], 201)
            case (_, "pools", pool_id):
                known = [each for each in self.control.pools if each.pool_id == pool_id]
                self.send(known[0]) if known else self.problem(404, "pool-unknown")
            case ("POST", "revocations"):
                self._revoke()
            case ("GET", "revocations"):
                self.send(RevokedViews(revoked=tuple(self.control.revoked)))
            case ("POST", "nodes", _, "leaving"):
                asked = LeavingQuestion.model_validate_json(self.body).files
                unknown = {each.file_id: OtherCopies(file_id=each.file_id) for each in asked}
                others = {**unknown, **self.control.leaving}
                self.send(LeavingAnswer(files=tuple(others[each.file_id] for each in asked)))
            case ("GET", "nodes", _, "leaving"):
                assert self.control.only is not None
                self.send(self.control.only)
            case ("GET", "repair"):
                assert self.control.repair is not None
                self.send(self.control.repair)
            case ("GET", "usage"):
                at, limit = int(query.get("cursor", "0")), int(query["limit"])
                page = tuple(self.control.usage[at : at + limit])
                more = at + limit < len(self.control.usage)
                self.send(UsageViews(usage=page, next=str(at + limit) if more else None))
            case ("PUT" | "DELETE", "quotas", kind, name):
                set_ = json.loads(self.body) if self.body else {}
                quota = {"bytes": None, "files": None, **set_, "set": tuple(sorted(set_))}
                told = {"kind": kind.removesuffix("s"), "name": unquote(name), **quota}
                self.send(QuotaInForce.model_validate(told))
            case ("POST", "nodes", node_id, "state"):
                self._want(node_id)
            case ("POST", "upload", "sessions"):
                self._session()
            case ("POST", "files"):
                self._register()
            case ("GET", "files"):
                self._search(query)
            case ("GET", "files", file_id):
                self._file(file_id)
            case ("GET", "files", file_id, "url"):
                self._url(file_id, query.get("avoid", "").split(","))
            case ("DELETE", "files", file_id) if file_id in self.control.files:
                gone = self.control.files[file_id].model_copy(update={"state": "deleted"})
                self.control.files[file_id] = gone
                self.send(gone)
            case ("POST", "files", file_id, "hold" | "release" as way) if (
                file_id in self.control.files
            ):
                self._set_held(file_id, held=way == "hold")
            case ("POST", "moves") if json.loads(self.body)["dry_run"]:
                assert self.control.plan is not None
                self.send(self.control.plan)
            case ("POST", "moves"):
                self.send(self.control.moves[0], 201)
            case ("GET", "moves"):
                self.send(MoveViews(moves=tuple(self.control.moves)))
            case ("GET", "moves", move_id) | ("POST", "moves", move_id, _):
                self._move(move_id)
            case _:
                self.problem(404, "not-found")

    def _revoke(self) -> None:
        wish = RevocationRequest.model_validate_json(self.body)
        now = datetime.now(UTC)
        view = RevokedView(
            token_id=wish.token_id or "of-the-token",
            kind=None if wish.token is None else "access+jwt",
            node_id=None,
            reason=wish.reason,
            revoked_by="operator",
            revoked_at=now,
            expires_at=now,
        )
        self.control.revoked.append(view)
        self.send(view, 201)

    def _want(self, node_id: str) -> None:
        wish = NodeStateRequest.model_validate_json(self.body)
        node = next((each for each in self.control.nodes if each.node_id == node_id), None)
        if node is None:
            self.problem(404, "node-unknown")
            return
        self.send(node.model_copy(update={"state": wish.state}))

    def _session(self) -> None:
        wish = SessionRequest.model_validate_json(self.body)
        control = self.control
        control.wishes.append(wish)
        node = control.targets.pop(0) if len(control.targets) > 1 else control.targets[0]
        now = int(time.time())
        claims = UploadClaims(
            iss="app",
            aud=node.node_id,
            sub=wish.owner,
            jti=secrets.token_urlsafe(16),
            iat=now,
            nbf=now,
            exp=now + control.valid,
            session_deadline=now + 7200,
            file_id=secrets.token_hex(16),
            namespace=wish.namespace,
            name=wish.name,
            layout=wish.layout,
            size=wish.size,
            max_size=MOST if wish.size is None and wish.max_size is None else wish.max_size,
            sha256=wish.sha256,
        )
        session = Session(
            session_id=claims.jti,
            file_id=claims.file_id,
            node_id=node.node_id,
            upload_api_url=f"{node.url}/api/internal/upload",
            resumable_url=f"{node.url}/api/v1/uploads",
            token=mint_upload(control.issuer, claims),
            expires_at=datetime.fromtimestamp(claims.exp, UTC),
            session_deadline=datetime.fromtimestamp(claims.session_deadline, UTC),
            replicas=(),
        )
        control.sessions.append(session)
        self.send(session, 201)

    def _register(self) -> None:
        receipt = json.loads(self.body)["receipt"]
        self.control.receipts.append(receipt)
        claims = unverified_claims(receipt)
        view = file_view(
            claims["file_id"],
            size=claims["size"],
            sha256=claims["sha256"],
            state="committed",
            copies=(CopyView(node_id=claims["iss"], url="https://x", state="present"),),
        )
        self.control.files[view.file_id] = view
        self.send(view, 201)

    def _search(self, query: dict[str, str]) -> None:
        found = list(self.control.files.values())
        start, count = int(query.get("cursor", "0")), int(query["limit"])
        rest = start + count < len(found)
        self.send(
            FileViews(
                files=tuple(found[start : start + count]),
                next=str(start + count) if rest else None,
            )
        )

    def _file(self, file_id: str) -> None:
        view = self.control.files.get(file_id)
        if view is None:
            self.problem(404, "not-found")
            return
        if self.control.states:
            view = view.model_copy(update={"state": self.control.states.pop(0)})
        self.send(view)

    def _set_held(self, file_id: str, *, held: bool) -> None:
        note = HoldNote(reason=json.loads(self.body)["reason"], by="app", at=datetime.now(UTC))
        said = {"held": held, "hold": note, "hold_waits_for": ("s01", "s02")}
        self.control.files[file_id] = self.control.files[file_id].model_copy(update=said)
        self.send(self.control.files[file_id])

    def _url(self, file_id: str, avoid: list[str]) -> None:
        copies = self.control.copies
        copy = next((each for each in copies if each.node_id not in avoid), copies[0])
        self.send(FileUrl(file_id=file_id, node_id=copy.node_id, url=copy.url))

    def _move(self, move_id: str) -> None:
        moves = self.control.moves
        self.send(moves.pop(0) if len(moves) > 1 else moves[0])

    def send(self, message: Any, status: int = 200) -> None:
        self.answer(status, message.model_dump_json())

    def answer(self, status: int, text: str, headers: dict[str, str] | None = None) -> None:
        self.send_response(status)
        for name, value in (headers or {}).items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(text.encode())))
        self.end_headers()
        self.wfile.write(text.encode())

    def problem(self, status: int, slug: str, headers: dict[str, str] | None = None) -> None:
        problem = Problem(
            type=PROBLEM_PREFIX + slug,
            title=slug.replace("-", " "),
            status=status,
            detail="so says the double",
        )
        self.answer(status, problem.model_dump_json(), headers)

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 (the base class's name)
        """Tests are quiet."""


def refuse(status: int, slug: str, headers: dict[str, str] | None = None) -> Fault:
    def fault(handler: ControlHandler) -> bool:
        handler.problem(status, slug, headers)
        return True

    return fault


def say(status: int, text: str, headers: dict[str, str] | None = None) -> Fault:
    def fault(handler: ControlHandler) -> bool:
        handler.answer(status, text, headers)
        return True

    return fault


def hang_up(handler: ControlHandler) -> bool:
    handler.close_connection = True
    return True


def file_view(file_id: str, **facts: Any) -> FileView:
    """A file that is safe, but for `facts`."""
    return FileView.model_validate(
        {
            "file_id": file_id,
            "session_id": None,
            "state": "safe",
            "namespace": "isos",
            "owner": "tester",
            "name": "x.iso",
            "path": "isos/x.iso",
            "size": 3,
            "sha256": "0" * 64,
            "content_type": None,
            "committed_at": datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC),
            **facts,
        }
    )


def move_view(**facts: Any) -> MoveView:
    """A move of ten files that is running, but for `facts`, some of which are its progress's."""
    counts = dict.fromkeys(MoveProgress.model_fields, 0) | {"planned": 10}
    counts |= {key: facts.pop(key) for key in list(facts) if key in counts}
    return MoveView.model_validate(
        {
            **dict.fromkeys(MoveView.model_fields),
            "move_id": "m1",
            "kind": "move",
            "state": "running",
            "source": "s01",
            "target": "s02",
            "progress": counts,
            "reports": (),
            "created_at": datetime.now(UTC),
            **facts,
        }
    )
