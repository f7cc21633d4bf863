"""Spans as OTLP/HTTP has them in JSON: ids in hex, 64-bit numbers as text, enums as numbers.

(opentelemetry.io/docs/specs/otlp, "JSON Protobuf Encoding"; names of attributes are those of the
semantic conventions.)
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from portside.redaction import redact
from portside.tracing.spans import Span, Value

Encoded = dict[str, Any]

LONGEST_VALUE = 1024
"""Characters of an attribute's value: a path may have four times as many."""

_ERROR = 2
"""STATUS_CODE_ERROR. The others are left unset, as the conventions ask of whoever isn't sure."""

_SAMPLED = 1


def encoded(span: Span) -> Encoded:
    """One span as JSON has it. What looks like a token is cut out of it, as out of a log."""
    attributes = dict(span.attributes)
    if span.failure:
        attributes["error.type"] = span.failure
    return {
        "traceId": span.at.trace_id,
        "spanId": span.at.span_id,
        **({"traceState": span.at.state} if span.at.state else {}),
        **({"parentSpanId": span.parent_id} if span.parent_id else {}),
        "flags": _SAMPLED,
        "name": redact(span.name),
        "kind": int(span.kind),
        "startTimeUnixNano": str(span.began),
        "endTimeUnixNano": str(span.ended),
        "attributes": _attributes(attributes),
        "status": {"code": _ERROR} if span.failure else {},
    }


def request(resource: Mapping[str, Value], version: str, spans: Sequence[Encoded]) -> Encoded:
    """The body of an export: spans of one process, which `resource` describes."""
    scope = {"name": "portside", "version": version}
    return {
        "resourceSpans": [
            {
                "resource": {"attributes": _attributes(resource)},
                "scopeSpans": [{"scope": scope, "spans": list(spans)}],
            }
        ]
    }


def _attributes(attributes: Mapping[str, Value]) -> list[Encoded]:
    return [{"key": key, "value": _value(value)} for key, value in attributes.items()]


def _value(value: Value) -> Encoded:
    if isinstance(value, int):
        return {"intValue": str(value)}
    return {"stringValue": redact(value)[:LONGEST_VALUE]}
