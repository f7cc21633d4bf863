"""How nodes and the control plane say what went wrong."""

from __future__ import annotations

from pydantic import ConfigDict

from portside.wire.base import Message
from portside.wire.bounds import Label, Prose, Whole


class Problem(Message):
    """An error as `application/problem+json` (RFC 9457); `type` is for programs to switch on.

    `request_id` is what the node's log has about a request that failed through no fault of its
    sender.
    """

    type: Prose
    title: Prose
    status: Whole
    detail: Prose
    instance: Prose | None = None
    request_id: Label | None = None

    # Some problems have members of their own (RFC 9457, section 3.2): `expected-offset`.
    model_config = ConfigDict(frozen=True, extra="allow")


PROBLEM_PREFIX = "urn:portside:problem:"
"""What every problem type starts with; the rest is a short name such as `name-taken`."""

REGISTERED_PREFIX = "https://iana.org/assignments/http-problem-types#"
"""What the problem types of IANA's registry start with (RFC 9457, section 4.2)."""
