"""What an app is handed for its upload: the token and the URLs it counts for."""

from __future__ import annotations

from pathlib import PurePosixPath
from urllib.parse import urlsplit

from control.cluster.placement import Place
from control.cluster.snapshot import Snapshot
from control.db.models import UploadSession
from control.files.service import lasting_url_of_upload
from control.settings import Settings
from portside.tokens import SigningKey, mint_upload
from portside.wire import paths
from portside.wire.claims import UploadClaims
from portside.wire.control import Session, UploadServer
from portside.wire.status import QuotaView


def session(
    snapshot: Snapshot,
    settings: Settings,
    key: SigningKey,
    row: UploadSession,
    quota: QuotaView,
) -> Session:
    """The session as its app gets it, with a token: of the same row always the same."""
    began = int(row.created_at.timestamp())
    claims = UploadClaims(
        iss=key.owner,
        aud=row.node_id,
        sub=row.owner,
        jti=row.session_id,
        iat=began,
        nbf=began,
        exp=int(row.expires_at.timestamp()),
        session_deadline=int(row.deadline.timestamp()),
        file_id=row.file_id,
        namespace=row.namespace,
        name=row.name,
        layout=row.layout,
        size=row.size,
        max_size=row.max_size,
        sha256=row.sha256,
        content_type=row.content_type,
        replicas=tuple(row.replicas),
        ack=settings.ack,
        app=row.app_id,
        expires_in=row.expires_in,
        hold=row.hold,
    )
    # A pool may have been deleted since: its node is where it was.
    place = snapshot.pools.get(row.pool_id) or snapshot.nodes[row.node_id]
    url = place.upload_api_url
    return Session(
        session_id=row.session_id,
        file_id=row.file_id,
        node_id=row.node_id,
        pool_id=row.pool_id,
        region=place.region,
        upload_url=url,
        upload_api_url=url,
        resumable_url=_resumable_url(url),
        token=mint_upload(key, claims),
        expires_at=row.expires_at,
        session_deadline=row.deadline,
        replicas=tuple(row.replicas),
        name=row.name,
        path=None if row.path is None else PurePosixPath(row.path),
        content_type=row.content_type,
        url=lasting_url_of_upload(snapshot, row),
        expires_in=row.expires_in,
        max_size=row.max_size,
        quota=quota,
    )


def server(snapshot: Snapshot, place: Place) -> UploadServer:
    """Where an upload to this place would be sent."""
    pool = snapshot.pools[place.pool_id]
    return UploadServer(
        node_id=place.node_id,
        pool_id=place.pool_id,
        region=pool.region,
        public_base_url=pool.public_base_url,
        upload_url=pool.upload_api_url,
        upload_api_url=pool.upload_api_url,
        resumable_url=_resumable_url(pool.upload_api_url),
    )


def _resumable_url(upload_api_url: str) -> str:
    """Where resumable uploads of the same node are made."""
    if upload_api_url.endswith(paths.UPLOAD):
        return upload_api_url.removesuffix(paths.UPLOAD) + paths.RESUMABLE_UPLOADS
    parts = urlsplit(upload_api_url)
    return f"{parts.scheme}://{parts.netloc}{paths.RESUMABLE_UPLOADS}"
