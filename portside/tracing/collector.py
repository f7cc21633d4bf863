"""Where spans of requests go (OpenTelemetry): `telemetry` of the cluster file."""

from __future__ import annotations

import re
from typing import Annotated

from pydantic import AfterValidator, BaseModel, ConfigDict

_ENDPOINT = re.compile(
    r"https?://(([A-Za-z0-9]([A-Za-z0-9-]{0,61}[A-Za-z0-9])?\.)*"
    r"[A-Za-z0-9]([A-Za-z0-9-]{0,61}[A-Za-z0-9])?|\[[0-9a-fA-F:]+\])(:[0-9]{1,5})?"
    r"(/[A-Za-z0-9._~/-]*)?"
)


def _endpoint(url: str) -> str:
    if len(url) > 512 or not _ENDPOINT.fullmatch(url):
        raise ValueError(
            "must be the URL of an OTLP/HTTP collector, as https://collector:4318: "
            "`/v1/traces` is added, user, password and query there are none"
        )
    port = re.search(r":([0-9]+)(?:/|$)", url.partition("://")[2])
    if port is not None and not 0 < int(port[1]) < 65536:
        raise ValueError("a port is a number from 1 to 65535")
    return url.rstrip("/")


Collector = Annotated[str, AfterValidator(_endpoint)]
"""The base URL of an OTLP/HTTP collector, without a slash at its end."""


class Telemetry(BaseModel):
    """Without `otlp` no span is recorded; ids of traces are in logs and headers all the same."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    otlp: Collector | None = None
