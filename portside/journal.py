"""Logging: one JSON object a line on standard error, where journald picks it up.

Every line of a request carries its id and its trace's, which nginx's log has as well. No token and
no query string is ever passed to a log call; `portside.redaction` cuts out what slips through.
"""

from __future__ import annotations

import json
import logging
import sys
import threading
from datetime import UTC, datetime
from typing import Any

import structlog

from portside.redaction import redact
from portside.tracing import current

REQUEST_ID = "request_id"
"""The key of a request's id in every line."""

TRACE_ID = "trace_id"
"""The key of the trace's that it belongs to (`portside.tracing`)."""


def configure(least: int = logging.INFO) -> None:
    """Set up structlog for this process, and for errors that nothing else catches.

    `least` is the level from which lines are written: a command that tells people each thing that
    it does in words of its own has no use for all.
    """
    structlog.configure(
        processors=[
            structlog.contextvars.merge_contextvars,
            _with_trace,
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            structlog.processors.format_exc_info,
            structlog.processors.JSONRenderer(ensure_ascii=False),
            _without_tokens,
        ],
        wrapper_class=structlog.make_filtering_bound_logger(least),
        # A line and its end in one write: two threads' lines stay two.
        logger_factory=structlog.WriteLoggerFactory(sys.stderr),
        cache_logger_on_first_use=True,
    )
    threading.excepthook = _log_of_thread
    # gunicorn quotes request lines when it can't read a request or answer it.
    for handler in logging.getLogger("gunicorn.error").handlers:
        handler.setFormatter(JsonFormatter())


def begin_request(request_id: str) -> None:
    """From here on this thread's lines carry `request_id`, and nothing of the request before."""
    structlog.contextvars.clear_contextvars()
    structlog.contextvars.bind_contextvars(**{REQUEST_ID: request_id})


def request_id() -> str | None:
    """The id of the request that this thread is working on."""
    found: str | None = structlog.contextvars.get_contextvars().get(REQUEST_ID)
    return found


def _with_trace(logger: object, method: str, line: Any) -> Any:
    """The line of whoever works on a span, with its trace's id."""
    context = current.current()
    if context is not None:
        line[TRACE_ID] = context.trace_id
    return line


def _without_tokens(logger: object, method: str, line: Any) -> str:
    """The line as it is about to be written: the last processor."""
    return redact(str(line))


def _log_of_thread(failed: threading.ExceptHookArgs) -> None:
    structlog.get_logger().error(
        "thread failed",
        thread=None if failed.thread is None else failed.thread.name,
        exc_info=failed.exc_value,
    )


class JsonFormatter(logging.Formatter):
    """Lines of the standard library's logging (gunicorn's) in the same shape."""

    def format(self, record: logging.LogRecord) -> str:
        """One JSON object."""
        line = {
            "event": record.getMessage(),
            "logger": record.name,
            "level": record.levelname.lower(),
            "timestamp": datetime.fromtimestamp(record.created, UTC).isoformat(),
        }
        found = request_id()
        if found is not None:
            line[REQUEST_ID] = found
        context = current.current()
        if context is not None:
            line[TRACE_ID] = context.trace_id
        if record.exc_info:
            line["exception"] = self.formatException(record.exc_info)
        return redact(json.dumps(line, ensure_ascii=False))
