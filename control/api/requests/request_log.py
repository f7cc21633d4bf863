"""Which of the control plane's requests are logged, and what their lines say."""

from __future__ import annotations

import falcon

from portside.web import request_log
from portside.web.request_log import Answered


class RequestLog(request_log.RequestLog):
    """Lines about the API and about every problem."""

    def is_logged(self, answered: Answered) -> bool:
        """All but probes and heartbeats that went well."""
        api = answered.path.startswith("/api/") and answered.method != "OPTIONS"
        return not answered.well or (api and not answered.path.endswith("/heartbeat"))

    def measured(self, request: falcon.Request, seconds: float) -> dict[str, float]:
        """Seconds."""
        return {"seconds": round(seconds, 4)}
