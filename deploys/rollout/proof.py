"""A node proven by a real file: uploaded, downloaded and deleted as a client would do it.

Through its public URL from the operator's machine, so that name, firewall, certificate, nginx and
agent are all in it; where that machine can't reach the node, from the node itself. The file is the
deploy's own: no other node gets a copy, no hook and no control plane hears of it.
"""

from __future__ import annotations

import inspect
import json
import secrets
import time
import uuid
from dataclasses import dataclass, field
from typing import Any

from pyinfra.api.exceptions import PyinfraError
from pyinfra.api.host import Host

from deploys import layout
from deploys.components.tls import authority_file
from deploys.hosts.node import StorageNode
from deploys.operations.running import run
from deploys.rollout import round_trip
from portside.cluster.file import Cluster
from portside.names import CANARY
from portside.operator.keystore import Keystore, KeystoreError
from portside.tokens import SigningKey, mint_access, mint_upload
from portside.wire.claims import AccessClaims, UploadClaims

_VALID = 300
"""Seconds for which the tokens count."""

_HALF = 32 * 1024
"""Bytes that are written as twice as many hex digits."""

_LOOPBACK = "127.0.0.1"

_TOLD = "proof: "
"""What the script's answer begins with: a login shell may say something too."""


@dataclass(frozen=True, slots=True)
class Failure:
    """The check that a node failed, what was seen, and the agent's name for it if it refused."""

    check: str
    detail: str
    slug: str = ""

    def __str__(self) -> str:
        return f"{self.check}: {self.detail}"


@dataclass(slots=True)
class Prover:
    """Proves one node, as often as it is asked; how the node is reached is found out once."""

    node: StorageNode
    host: Host
    _authority: str | None = field(init=False)
    _away: str | None = field(init=False)

    def __post_init__(self) -> None:
        self._authority = authority_file(self.node)
        self._away = round_trip.out_of_reach(self.node.host, self._authority)
        if self._away is not None:
            self.host.log(
                f"proven from the node itself: https://{self.node.host} can't be reached from "
                f"this computer ({self._away})"
            )

    def failure(self) -> Failure | None:
        """What the node doesn't do as it should, if anything."""
        task = task_for(self.node.cluster, self.node.node_id)
        if self._away is None:
            found = round_trip.round_trip(**task, authority=self._authority)
        else:
            found = self._from_the_node({**task, "address": _LOOPBACK})
        return None if found is None else Failure(*found)

    def _from_the_node(self, task: dict[str, Any]) -> tuple[str, str, str] | None:
        script = (
            f"{inspect.getsource(round_trip)}\n"
            f"print({_TOLD!r} + json.dumps(round_trip(**json.loads({json.dumps(task)!r}))))\n"
        )
        ran = run(self.host.state, self.host, "python3 -I -", stdin=script)
        told = [line for line in ran.stdout.splitlines() if line.startswith(_TOLD)]
        if not told:
            return "upload", ran.stderr.strip().rpartition("\n")[2] or "no answer over SSH", ""
        found = json.loads(told[-1].removeprefix(_TOLD))
        return None if found is None else (found[0], found[1], found[2])


def task_for(cluster: Cluster, node_id: str) -> dict[str, Any]:
    """A file that no client has, and what lets it in and out again. Raises PyinfraError."""
    try:
        key = Keystore.for_cluster(cluster, layout.PROJECT_ROOT).issuer_key()
    except KeystoreError as error:
        raise PyinfraError(str(error)) from None
    content = secrets.token_hex(_HALF)
    file_id = uuid.uuid4().hex
    allowed = cluster.uploads.extensions
    name = file_id + next((each for each in (".bin", ".txt") if each in allowed), allowed[0])
    return {
        "host": cluster.host(node_id),
        "upload": mint_upload(key, _upload(key, node_id, file_id, name, len(content))),
        "access": mint_access(key, _access(key, node_id, file_id)),
        "file_id": file_id,
        "name": name,
        "content": content,
    }


def _upload(key: SigningKey, node_id: str, file_id: str, name: str, size: int) -> UploadClaims:
    return UploadClaims(
        **_common(key, node_id),
        sub=CANARY,
        jti=secrets.token_urlsafe(16),
        session_deadline=int(time.time()) + _VALID,
        file_id=file_id,
        namespace=CANARY,
        name=name,
        layout="named",
        size=size,
        # Its own node alone: there are no copies to be made.
        replicas=(node_id,),
        # A node that takes no new files for now takes those of sessions, and this one.
        app=CANARY,
    )


def _access(key: SigningKey, node_id: str, file_id: str) -> AccessClaims:
    return AccessClaims(
        **_common(key, node_id),
        sub=CANARY,
        rights=("delete",),
        namespace=CANARY,
        file_id=file_id,
    )


def _common(key: SigningKey, node_id: str) -> dict[str, Any]:
    now = int(time.time())
    return {"iss": key.owner, "aud": node_id, "iat": now, "nbf": now, "exp": now + _VALID}
