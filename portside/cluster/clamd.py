"""Where ClamAV's daemon listens: as the cluster file and the agent's settings write it."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any

from pydantic import GetCoreSchemaHandler
from pydantic_core import CoreSchema, core_schema

SOCKET = "/run/clamav/clamd.ctl"
"""Debian's, of the package clamav-daemon."""

PORT = 3310
"""clamd's own (clamd.conf(5), TCPSocket)."""

_PATH = re.compile(r"/[\w./-]{1,106}")
"""Of at most 107 bytes: unix(7)."""
_HOST = re.compile(
    r"(\[[0-9A-Fa-f:.]{2,45}\]|[A-Za-z0-9]([A-Za-z0-9.-]{0,251}[A-Za-z0-9])?)(?::(\d{1,5}))?"
)


@dataclass(frozen=True, slots=True)
class ClamdAddress:
    """A Unix socket's `path`; with `host`, a TCP port instead, to which bytes go unencrypted."""

    path: str = SOCKET
    host: str | None = None
    port: int = PORT

    def __str__(self) -> str:
        """As `read` takes it."""
        if self.host is None:
            return f"unix:{self.path}"
        return (
            f"tcp:[{self.host}]:{self.port}" if ":" in self.host else f"tcp:{self.host}:{self.port}"
        )

    @classmethod
    def read(cls, text: Any) -> ClamdAddress:
        """`unix:/run/clamav/clamd.ctl`, `tcp:192.0.2.7:3310`. Raises ValueError."""
        if isinstance(text, cls):
            return text
        kind, _, place = str(text).partition(":")
        if kind == "unix" and _PATH.fullmatch(place) and ".." not in place.split("/"):
            return cls(path=place)
        found = _HOST.fullmatch(place) if kind == "tcp" else None
        port = PORT if found is None or found[3] is None else int(found[3])
        if found is None or not 0 < port < 65536:
            raise ValueError(
                f"{text!r} is no address of clamd: write it as unix:{SOCKET} or "
                f"tcp:192.0.2.7:{PORT}"
            )
        return cls(host=found[1].strip("[]"), port=port)

    @classmethod
    def __get_pydantic_core_schema__(cls, source: Any, handler: GetCoreSchemaHandler) -> CoreSchema:
        return core_schema.no_info_plain_validator_function(
            cls.read, serialization=core_schema.to_string_ser_schema()
        )
