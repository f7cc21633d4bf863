"""X-HTTP-Method-Override: what is meant by a client that can't send it (tus, core protocol).

Java's HttpURLConnection knows no PATCH, and some proxies let none through: tus-java-client and
tus-js-client then send it as a POST with this header.
"""

from __future__ import annotations

from agent.problems import ProblemError

OVERRIDE_HEADER = "X-HTTP-Method-Override"
CARRIED = ("HEAD", "PATCH", "DELETE")
"""What a POST may stand for."""


def meant_method(method: str, override: str) -> str:
    """The method of a request whose X-HTTP-Method-Override is `override`; empty without one."""
    meant = override.upper() or method
    if meant != method and (method != "POST" or meant not in CARRIED):
        raise ProblemError(
            "malformed-request",
            f"{OVERRIDE_HEADER} turns a POST into {', '.join(CARRIED[:-1])} or {CARRIED[-1]}",
        )
    return meant
