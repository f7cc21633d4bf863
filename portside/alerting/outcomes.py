"""Which ends of an upload count as failed, and which of them were the node's own fault.

The slugs are those that the agent counts under `portside_uploads_total{outcome}`.
"""

from __future__ import annotations

COMMITTED = "committed"

RESUMING = frozenset({
    "checksum-mismatch",
    "offset-mismatch",
    "upload-complete",
    "upload-in-progress",
    "upload-locked",
})  # fmt: skip
"""Ordinary steps of a client that goes on after a cut: neither failed nor ended."""

BROKEN = frozenset({
    "clock-off",
    "internal-error",
    "no-memory",
    "no-space",
    "not-replicated",
    "read-only",
    "storage-failed",
})  # fmt: skip
"""The node took the upload on and couldn't bring it to its end. Not among them is what a client may
cause (a body that was cut, a wrong digest), nor a full node that says so and is come back to
(`no-slot`, `rate-limited`): otherwise anybody could spend the error budget."""
