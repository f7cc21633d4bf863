"""Who may do what with files that are stored: decided by tokens, and by whose files they are.

Files of public namespaces are read by anyone who knows their id or URL. Everything else takes an
access token with the right for it. A file of a private namespace may also be read with a download
token for its path, and looked up with the upload token it came with.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar
from urllib.parse import unquote_to_bytes

from agent.api.spellings import is_storable, spellings
from agent.index.database import Database
from agent.index.revocations import Revocations
from agent.index.search import look_up_path
from agent.problems import ProblemError
from agent.settings import Settings
from agent.telemetry import clock
from portside.tokens import (
    UPLOAD_TYPE,
    TokenRefused,
    token_id,
    unverified_header,
    verify_access,
    verify_download,
    verify_upload,
)
from portside.web.authorization import bearer
from portside.wire.claims import AccessClaims, DownloadClaims, Quota, Right, UploadClaims
from portside.wire.files import FileQuery, StoredFile
from portside.wire.keys import Keyset

_Claims = TypeVar("_Claims")

_UPLOADS = b"/uploads/"


class Access:
    """Decisions of one node. Each raises ProblemError with the first thing that is wrong."""

    def __init__(
        self, settings: Settings, issuers: Callable[[], Keyset], database: Database
    ) -> None:
        self._settings = settings
        self._issuers = issuers
        self._database = database
        self._revocations = Revocations(database)

    def is_private(self, namespace: str) -> bool:
        """Whether a namespace's files are for holders of a token only."""
        return namespace in self._settings.private

    def max_age(self, namespace: str) -> int | None:
        """Seconds for which caches may keep a namespace's files; None where nothing is said."""
        return self._settings.max_age.get(namespace)

    def narrowed(self, query: FileQuery, authorization: str) -> tuple[FileQuery, str | None]:
        """A search within what its token allows, and the one file it may find if there is one."""
        claims = self._access_claims(authorization)
        _need_right(claims, "list")
        for claim in ("namespace", "owner"):
            allowed, wanted = getattr(claims, claim), getattr(query, claim)
            if allowed is not None and wanted is not None and wanted != allowed:
                raise ProblemError("right-missing", f"the token is for the {claim} {allowed!r}")
        inside = {
            "namespace": claims.namespace or query.namespace,
            "owner": claims.owner or query.owner,
        }
        return query.model_copy(update=inside), claims.file_id

    def need(self, right: Right, stored: StoredFile, authorization: str) -> str:
        """The access token that came along must give this right to this file; whose token it is."""
        claims = self._access_claims(authorization)
        _need_right(claims, right)
        _need_file(claims, stored)
        return claims.sub

    def covers(self, right: Right, authorization: str) -> Callable[[StoredFile | None], bool]:
        """Tells of a file whether the access token that came along gives this right to it.

        None is something of which nobody knows whose it is: for tokens that are for everything.
        """
        claims = self._access_claims(authorization)
        _need_right(claims, right)

        def is_covered(stored: StoredFile | None) -> bool:
            if stored is None:
                return claims.namespace is claims.owner is claims.file_id is None
            return _is_for(claims, stored)

        return is_covered

    def usage_of(self, owner: str | None, authorization: str) -> tuple[str, Quota | None]:
        """Whose usage is told, and the quota that its upload token has.

        An upload token is its owner's, an access token (right `list`) for one owner or everybody. A
        part of an owner's files has no usage of its own.
        """
        token = bearer(authorization)
        if token is not None and _is_upload_token(token):
            upload = self._upload_claims(token)
            return _one_owner(owner, upload.sub), upload.quota
        claims = self._access_claims(authorization)
        _need_right(claims, "list")
        if claims.namespace is not None or claims.file_id is not None:
            raise ProblemError(
                "right-missing",
                "the token is for some of an owner's files: usage is of all of them",
            )
        return _one_owner(owner, claims.owner), None

    def look_at(self, stored: StoredFile, authorization: str) -> None:
        """The file's attributes and receipt: for its uploader too."""
        if not self.is_private(stored.namespace):
            return
        token = bearer(authorization)
        if token is None or not _is_upload_token(token):
            self.need("read", stored, authorization)
            return
        claims = self._upload_claims(token)
        if claims.file_id != stored.file_id:
            raise ProblemError("right-missing", "this upload token is for another file")

    def download(
        self,
        stored: StoredFile,
        authorization: str,
        token: str | None,
        resumed: str | None = None,
    ) -> None:
        """The file's content. `token` is a download token, as it stands behind `?token=`.

        `resumed` is the SHA-256 of what a client has the beginning of, if it asks for the rest.
        """
        if not self.is_private(stored.namespace):
            return
        if token is None:
            self.need("read", stored, authorization)
        else:
            _need_path(
                self._download_claims(token, resuming=resumed == stored.sha256), str(stored.path)
            )

    def download_by_url(
        self, uri: str, authorization: str, token: str | None, resumed: str | None = None
    ) -> None:
        """The content at a URL's path below `/uploads/` of a private namespace.

        `uri` is the request's target as the client sent it. It must be written plainly: only then
        is its path, decoded here, certain to be the one that nginx serves, or finds nothing at.
        `resumed`: see `download`.
        """
        path = plain_path(uri)
        if token is not None:
            resuming = resumed is not None and self._is_content(path, resumed)
            # Where a file may lie, its path alone counts: another's spelling must not open it.
            meant = (path,) if is_storable(path) else spellings(uri)
            _need_path(self._download_claims(token, resuming=resuming), *meant)
            return
        claims = self._access_claims(authorization)
        _need_right(claims, "read")
        if claims.namespace not in (None, path.partition("/")[0]):
            raise _not_for_this_file()
        if claims.owner is not None or claims.file_id is not None:
            stored = look_up_path(self._database, path)
            if stored is None:
                raise _not_for_this_file()
            _need_file(claims, stored)

    def _is_content(self, path: str, sha256: str) -> bool:
        stored = look_up_path(self._database, path)
        return stored is not None and stored.sha256 == sha256

    def _download_claims(self, token: str, *, resuming: bool) -> DownloadClaims:
        issuers, node_id = self._issuers(), self._settings.node_id
        claims = self._verified(lambda: verify_download(token, issuers, node_id, resuming=resuming))
        self._revocations.refuse(token_id(token, claims.jti))
        return claims

    def _upload_claims(self, token: str) -> UploadClaims:
        claims = self._verified(
            lambda: verify_upload(token, self._issuers(), self._settings.node_id, resuming=True)
        )
        self._revocations.refuse(claims.jti)
        return claims

    def _access_claims(self, authorization: str) -> AccessClaims:
        token = bearer(authorization)
        if token is None:
            raise ProblemError(
                "token-missing",
                "send 'Authorization: Bearer <access token>'; for a file's content a download "
                "token will do, as the parameter 'token' of its URL",
            )
        claims = self._verified(
            lambda: verify_access(token, self._issuers(), self._settings.node_id)
        )
        self._revocations.refuse(token_id(token, claims.jti))
        return claims

    def _verified(self, verify: Callable[[], _Claims]) -> _Claims:
        try:
            return verify()
        except TokenRefused as refusal:
            raise clock.refused(self._settings, refusal) from None


def _is_upload_token(token: str) -> bool:
    try:
        return unverified_header(token).get("typ") == UPLOAD_TYPE
    except TokenRefused:
        return False


def _one_owner(wanted: str | None, allowed: str | None) -> str:
    """Who is asked for, or else whom the token is for. Raises ProblemError."""
    if None not in (wanted, allowed) and wanted != allowed:
        raise ProblemError("right-missing", f"the token is for the owner {allowed!r}")
    owner = wanted or allowed
    if owner is None:
        raise ProblemError("malformed-request", "owner: say whose usage is asked for")
    return owner


def _need_right(claims: AccessClaims, right: Right) -> None:
    if right not in claims.rights:
        raise ProblemError("right-missing", f"the token doesn't give the right {right!r}")


def _need_path(claims: DownloadClaims, *paths: str) -> None:
    if claims.path not in paths:
        raise ProblemError("right-missing", "this download token is for another file")


def _need_file(claims: AccessClaims, stored: StoredFile) -> None:
    if not _is_for(claims, stored):
        raise _not_for_this_file()


def _is_for(claims: AccessClaims, stored: StoredFile) -> bool:
    return (
        claims.namespace in (None, stored.namespace)
        and claims.owner in (None, stored.owner)
        and claims.file_id in (None, stored.file_id)
    )


def _not_for_this_file() -> ProblemError:
    return ProblemError("right-missing", "the token is not for this file")


def plain_path(uri: str) -> str:
    """The path below `/uploads/` that a request's target names, without any detour in it.

    Raises ProblemError for any other.

    nginx cuts at `#`, joins slashes and resolves dots before it looks for a file. What is not ASCII
    stands in `uri` as WSGI has it, one character per byte (PEP 3333).
    """
    raw = uri.partition("?")[0].partition("#")[0]
    decoded = unquote_to_bytes(raw.encode("latin-1"))
    try:
        path = decoded.removeprefix(_UPLOADS).decode()
    except UnicodeDecodeError:
        raise _not_for_this_file() from None
    if not decoded.startswith(_UPLOADS) or not set(path.split("/")).isdisjoint(("", ".", "..")):
        raise _not_for_this_file()
    return path
