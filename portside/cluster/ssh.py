"""How the operator's machine reaches the nodes: `ssh` of the cluster file, and of single nodes.

What isn't said here is said by the operator's own OpenSSH configuration.
"""

from __future__ import annotations

import re
from typing import Annotated, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field

from portside.cluster.reading.own_files import OwnFile

_HOP = re.compile(r"^([A-Za-z_][\w.-]*@)?(\[[0-9A-Fa-f:.]+\]|\w[\w.-]*)(:\d{1,5})?$")
"""One host of ProxyJump (ssh_config(5)), an IPv6 address in brackets."""


def _hops(jump: str) -> str:
    if jump != "none" and not all(_HOP.fullmatch(hop) for hop in jump.split(",")):
        raise ValueError(
            f"{jump!r} must be [user@]host[:port], several with commas between them, or none"
        )
    return jump


User = Annotated[str, Field(pattern=r"^[A-Za-z_][A-Za-z0-9_.-]*$")]
Port = Annotated[int, Field(ge=1, le=65535)]
Jump = Annotated[str, AfterValidator(_hops)]


class NodeSsh(BaseModel):
    """What is otherwise for one node. None: as for all of them."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    user: User | None = None
    port: Port | None = None
    key: OwnFile | None = None
    jump: Jump | None = None


class Ssh(NodeSsh):
    """How nodes are reached when `connect: ssh`. None: as OpenSSH's configuration has it.

    `config` is that configuration (None: the user's and the system's), `key` a private key's file,
    `jump` what ssh_config(5) calls ProxyJump. `host_keys` says what becomes of a host key that is
    seen for the first time: `ask`, `accept-new` (taken, and told) or `strict` (refused, unless
    OpenSSH knows it already).
    """

    config: OwnFile | None = None
    host_keys: Literal["ask", "accept-new", "strict"] = "ask"
