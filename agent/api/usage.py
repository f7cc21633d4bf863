"""`/api/v1/usage`: how much an owner has on this node, and how far that is from a token's quota."""

from __future__ import annotations

import falcon

from agent.api.authorization import Access
from agent.api.files import authorization_of, query_of
from agent.index.usage import OPEN, Amounts, Used
from agent.settings import Settings
from agent.uploads.admission import Admission
from portside.wire.claims import Quota
from portside.wire.files import Allowance, FilesAndBytes, OwnerUsage, QuotaUse, UsageQuery


class Usage:
    """By the numbers that uploads are let in by."""

    def __init__(self, settings: Settings, access: Access, admission: Admission) -> None:
        self._settings = settings
        self._access = access
        self._admission = admission

    def on_get(self, request: falcon.Request, response: falcon.Response) -> None:
        """One owner's."""
        wanted = query_of(request, UsageQuery).owner
        owner, quota = self._access.usage_of(wanted, authorization_of(request))
        used = self._admission.used(owner)
        told = OwnerUsage(
            node_id=self._settings.node_id,
            owner=owner,
            files=used.files,
            bytes=used.bytes,
            # What is about to be deleted is still here.
            stored=_counted(used.of("COMMITTED", "DELETING")),
            uploading=_counted(used.of(OPEN, "PENDING")),
            ended=_counted(used.of("ENDED")),
            quarantined=_counted(used.of("QUARANTINED")),
            quota=None if quota is None else _quota_use(quota, used),
        )
        response.content_type = falcon.MEDIA_JSON
        response.set_header("Cache-Control", "private, no-store")
        response.text = told.model_dump_json()


def _counted(amounts: Amounts) -> FilesAndBytes:
    return FilesAndBytes(files=amounts.files, bytes=amounts.bytes)


def _quota_use(quota: Quota, used: Used) -> QuotaUse:
    return QuotaUse(
        bytes=_allowance(quota.bytes, used.bytes), files=_allowance(quota.files, used.files)
    )


def _allowance(limit: int | None, used: int) -> Allowance | None:
    if limit is None:
        return None
    return Allowance(limit=limit, used=used, left=max(0, limit - used))
