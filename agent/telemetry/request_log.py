"""Which of the agent's requests are logged, and what their lines say."""

from __future__ import annotations

import falcon

from portside.web import request_log
from portside.web.request_log import Answered
from portside.wire import paths

_LOGGED = (paths.UPLOAD, paths.REPLICATE, paths.RESUMABLE_UPLOADS, paths.FILES, f"{paths.LASTING}/")


class RequestLog(request_log.RequestLog):
    """Lines about uploads and files, with the bytes that came."""

    def is_logged(self, answered: Answered) -> bool:
        """Whatever is about uploads and files, also when nginx asks.

        But for questions whether something may be uploaded that are answered with yes: monitors
        and browsers ask all day.
        """
        probe = answered.method == "OPTIONS" or (
            answered.method == "HEAD" and answered.path.startswith(paths.UPLOAD)
        )
        return answered.path.startswith(_LOGGED) and not (probe and answered.well)

    def measured(self, request: falcon.Request, seconds: float) -> dict[str, float]:
        """Bytes of the body as announced, and seconds."""
        return {"received": request.content_length or 0, "seconds": round(seconds, 3)}
