"""What a bucket's answers mean to who keeps files in it. Pure.

What a service may say, and what follows:

- no answer, 5xx, 503 SlowDown, wrong credentials, no bucket, clocks apart: the tier as a whole
  pauses, no file is given up for it (`StoreUnavailable`);
- a digest that differs, a request it doesn't take: this file failed (`StoreRefused`);
- 412 and 409: something is there already, nothing was written (`AlreadyThere`);
- NoSuchUpload: a multipart upload was aborted or completed before (`UploadGone`).
"""

from __future__ import annotations


class ColdError(Exception):
    """A request that didn't succeed; the message is for people."""


class StoreUnavailable(ColdError):
    """Nothing can be stored at the moment, whichever file it is."""


class StoreRefused(ColdError):
    """This request isn't taken."""


class AlreadyThere(ColdError):
    """The key has an object: nothing was overwritten."""


class UploadGone(ColdError):
    """The multipart upload is no more."""


class Missing(StoreRefused):
    """404 of an object."""


class NotSpoken(StoreRefused):
    """501: a part of the protocol that this service doesn't speak."""


_KEYS = (
    "InvalidAccessKeyId",
    "SignatureDoesNotMatch",
    "AccessDenied",
    "AuthorizationHeaderMalformed",
    "403",
    "401",
)


def meaning(code: str, status: int, message: str, target: str) -> ColdError:
    """What an answer of S3 means, by its code (Amazon S3 API reference, "error responses")."""
    said = f"{code} ({message})" if message else code
    if code in ("RequestTimeTooSkewed", "RequestExpired"):
        return StoreUnavailable(
            f"{target}: {said}: this node's clock and the service's are apart: see `timedatectl`"
        )
    if code == "NoSuchBucket":
        return StoreUnavailable(
            f"{target}: the bucket doesn't exist: make it, or correct cold.bucket"
        )
    if code == "NoSuchUpload":
        return UploadGone(f"the multipart upload is gone: {said}")
    if code in ("NoSuchKey", "404") or status == 404:
        return Missing(f"not found: {said}")
    if status in (409, 412):
        return AlreadyThere(f"its key has an object: {said}")
    if code in _KEYS or status in (401, 403):
        return StoreUnavailable(
            f"{target}: {said}: the access key in cold.credentials_file is wrong or may not read "
            "and write this bucket: correct it and deploy again"
        )
    if status == 501:
        return NotSpoken(f"not implemented there: {said}")
    if code in ("SlowDown", "Throttling", "ThrottlingException", "TooManyRequests") or (
        status == 429 or status >= 500
    ):
        return StoreUnavailable(f"{target}: {said}: it is busy or ill, trying again later")
    if code in ("RequestTimeout", "IncompleteBody"):
        return StoreUnavailable(f"{target}: the connection was cut: {said}")
    return StoreRefused(f"{status} {said}")
