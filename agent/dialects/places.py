"""Where uploads are: the paths of their URLs, however a client puts them together.

Clients join an endpoint and an id by hand, and an endpoint is typed with and without a slash at its
end: `/api/v1/uploads/`, `//api/v1/uploads`, `/api/v1/uploads//<id>/` all mean one place.
"""

from __future__ import annotations

import re
from urllib.parse import urlsplit

from agent.problems import ProblemError
from portside.wire import paths
from portside.wire.fields import FILE_ID_PATTERN


def plain_path(path: str) -> str:
    """A path of resumable uploads, or of whole ones, with single slashes and none at its end.

    Others are returned as they are.
    """
    plain = re.sub("/{2,}", "/", path).rstrip("/")
    return plain if is_of_uploads(plain) or plain == paths.UPLOAD else path


def is_of_uploads(plain: str) -> bool:
    """Whether a plain path is the collection of uploads, or lies below it."""
    return plain == paths.RESUMABLE_UPLOADS or plain.startswith(f"{paths.RESUMABLE_UPLOADS}/")


def upload_id_of(path: str) -> str | None:
    """The upload that a path names, if it names one."""
    collection, _, upload_id = plain_path(path).rpartition("/")
    named = collection == paths.RESUMABLE_UPLOADS and re.fullmatch(FILE_ID_PATTERN, upload_id)
    return upload_id if named else None


def joined_uploads(concat: str) -> tuple[str, ...]:
    """Ids of the parts that a final upload joins, in order (tus, concatenation extension).

    By their URLs' paths: a node has one set of uploads, whatever name it was reached by. Raises
    ProblemError when they name none.
    """
    urls = concat.removeprefix("final;").split()
    found = [upload_id_of(_path(url)) for url in urls]
    if not found or not all(found):
        raise ProblemError("malformed-request", "Upload-Concat: final; names no uploads")
    return tuple(each for each in found if each)


def _path(url: str) -> str:
    """The path of an absolute URL or of a path; `//` at the beginning names no host here."""
    try:
        return url if url.startswith("/") else urlsplit(url).path
    except ValueError:
        raise ProblemError("malformed-request", "Upload-Concat has a part that is no URL") from None
