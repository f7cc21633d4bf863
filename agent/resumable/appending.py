"""What a request that brings bytes has to agree with: its upload's offset, length and room."""

from __future__ import annotations

from dataclasses import replace

from agent.dialects.draft import PARTIAL_TYPE
from agent.dialects.request import TUS_TYPE, ResumableRequest
from agent.index.uploads import Upload
from agent.problems import ProblemError
from agent.storage.staging import StagingFile
from agent.uploads.policy import one_digest, too_large


def check_media_type(asked: ResumableRequest) -> None:
    """Raise ProblemError when a body that is appended doesn't say that it is one."""
    if asked.dialect == "ietf" and not asked.version.appends_have_type:
        return
    wanted = TUS_TYPE if asked.dialect == "tus" else PARTIAL_TYPE
    if asked.content_type != wanted:
        raise ProblemError("media-type", f"send the bytes as Content-Type: {wanted}")


def check_completeness(asked: ResumableRequest) -> None:
    """Raise ProblemError when a request of the draft doesn't say whether it is the last one."""
    if asked.dialect == "ietf" and asked.complete is None:
        raise ProblemError(
            "malformed-request",
            "send Upload-Complete: ?1 if the file ends with this body, ?0 if more comes",
        )


def length_when_complete(asked: ResumableRequest, offset: int) -> int | None:
    """The length that a request of the IETF's draft tells (section "Length").

    Raises ProblemError when it tells two.
    """
    if not asked.complete or asked.body_length is None:
        return asked.length
    length = offset + asked.body_length
    if asked.length is not None and asked.length != length:
        raise ProblemError(
            "size-mismatch",
            f"Upload-Length says {asked.length} bytes, but the file would end at {length}",
        )
    return length


def told_length(upload: Upload, asked: ResumableRequest, begin: int) -> int | None:
    """The length that a request tells, if it is news; its bytes begin at `begin`.

    Raises ProblemError when that can't be the upload's length.
    """
    told = length_when_complete(asked, begin) if asked.dialect == "ietf" else asked.length
    if told is None or told == upload.length:
        return None
    if upload.length is not None:
        raise ProblemError(
            "size-mismatch", f"the upload has {upload.length} bytes, {told} were announced"
        )
    end = begin + (asked.body_length or 0)
    if told < max(upload.offset, end):
        raise ProblemError(
            "size-mismatch",
            f"{told} bytes were announced, but {upload.offset} are here and this request's end "
            f"at {end}",
        )
    return told


def check_offset(upload: Upload, asked: ResumableRequest) -> None:
    """Raise ProblemError, with the right one, for an append at another offset."""
    if asked.offset is None:
        raise ProblemError("malformed-request", "send Upload-Offset: where these bytes begin")
    if asked.offset != upload.offset:
        raise ProblemError(
            "offset-mismatch",
            f"the upload is at {upload.offset}, not at {asked.offset}: go on from there",
            headers={"Upload-Offset": str(upload.offset)},
            members={"expected-offset": upload.offset, "provided-offset": asked.offset},
        )


def with_digest(upload: Upload, asked: ResumableRequest) -> Upload:
    """The upload with the digest that a request tells of the whole file, if it is a new one."""
    sha256 = one_digest(upload.details.sha256, asked.sha256)
    return replace(upload, details=upload.details.model_copy(update={"sha256": sha256}))


def overruns(upload: Upload, asked: ResumableRequest) -> bool:
    """Whether a request of the draft announces more bytes than the upload was announced with."""
    if asked.dialect != "ietf" or upload.length is None or asked.body_length is None:
        return False
    return upload.offset + asked.body_length > upload.length


def check_room(upload: Upload, asked: ResumableRequest) -> None:
    """Raise ProblemError when a request announces more bytes than the upload may have."""
    if asked.body_length is None:
        return
    end = upload.offset + asked.body_length
    limit = upload.details.claims.size_limit if upload.length is None else upload.length
    if end > limit:
        raise too_large(end, limit)


def is_complete(upload: Upload, staging: StagingFile, asked: ResumableRequest) -> bool:
    """Whether a request that has ended has brought the upload's last byte."""
    if upload.kind != "whole":
        return False
    if upload.length is None:
        # Only the draft's last request may tell the end without having told the length.
        return bool(asked.complete)
    if asked.dialect == "ietf" and not asked.version.length_is_end and not asked.complete:
        return False
    return staging.size == upload.length


def check_ended_right(upload: Upload, staging: StagingFile, asked: ResumableRequest) -> None:
    """Raise ProblemError when a request was to be the last one, and bytes are missing."""
    if asked.complete and upload.length is not None and staging.size != upload.length:
        raise ProblemError(
            "size-mismatch", f"the upload is to have {upload.length} bytes, it has {staging.size}"
        )
