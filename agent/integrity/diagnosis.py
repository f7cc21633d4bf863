"""What can be wrong with a file on a node, and how that is told from what is known of it.

Pure: `classify` is given what lies at one path and what the index says, and decides. Who looks is
`agent.integrity.inspection`, who mends is `agent.integrity.repair`.
"""

from __future__ import annotations

import json
from collections.abc import Collection
from dataclasses import dataclass
from enum import Enum, IntEnum

from agent.storage.attributes import Attributes
from agent.storage.layout import is_place
from portside.wire.files import StoredFile


class Gravity(IntEnum):
    """How bad a finding is; the number is the exit code it makes."""

    NOTED = 0
    """Not ours to touch."""
    MENDABLE = 1
    """Nothing acknowledged is gone: mended, or would be."""
    LOSS = 2
    """A file that may have been acknowledged is gone or damaged."""


class Kind(Enum):
    """Every sort of finding: its name in reports, its gravity."""

    LOST = ("lost", Gravity.LOSS)
    """A file's data is gone, whether its attributes or its row still tell of it."""
    SIZE_MISMATCH = ("size-mismatch", Gravity.LOSS)
    DIGEST_MISMATCH = ("digest-mismatch", Gravity.LOSS)
    UNREADABLE_DATA = ("unreadable-data", Gravity.LOSS)
    UNKNOWN_DATA = ("unknown-data", Gravity.LOSS)
    """Attributes that say nothing usable beside data that no row tells of either."""
    WITHOUT_ATTRIBUTES = ("data-without-attributes", Gravity.MENDABLE)
    """Data that neither attributes nor a row tell of."""
    BAD_ATTRIBUTES = ("bad-attributes", Gravity.MENDABLE)
    """Attributes missing or useless beside data that a row tells of: written again from it."""
    STRAY_ATTRIBUTES = ("stray-attributes", Gravity.MENDABLE)
    """Attributes of another path's file, without data."""
    MISPLACED = ("misplaced", Gravity.MENDABLE)
    """Data and attributes together at another path than they tell."""
    CONFLICT = ("conflict", Gravity.MENDABLE)
    """Data and attributes in order, whose token or id the index gives to another file."""
    WITHOUT_ROW = ("file-without-row", Gravity.MENDABLE)
    OUTDATED_ROW = ("outdated-row", Gravity.MENDABLE)
    """A row that says something else than the file's attributes."""
    TOMBSTONE_WITHOUT_ROW = ("tombstone-without-row", Gravity.MENDABLE)
    HALF_DELETED = ("half-done-deletion", Gravity.MENDABLE)
    HALF_QUARANTINED = ("half-done-quarantine", Gravity.MENDABLE)
    QUARANTINED_WITHOUT_ROW = ("quarantined-without-row", Gravity.MENDABLE)
    CUT_COMMIT = ("cut-commit", Gravity.MENDABLE)
    STALE_STAGING = ("stale-staging", Gravity.MENDABLE)
    MODES = ("modes", Gravity.MENDABLE)
    """A namespace's data and folders that others may read than should, told once for all."""
    EMPTY_FOLDER = ("empty-folder", Gravity.MENDABLE)
    FOREIGN = ("foreign", Gravity.NOTED)

    def __init__(self, label: str, gravity: Gravity) -> None:
        self.label = label
        self.gravity = gravity


@dataclass(frozen=True, slots=True)
class Unusable:
    """Attributes that can't be read, and why."""

    reason: str


@dataclass(frozen=True, slots=True)
class Row:
    """What the index says of a file; `stored` is the JSON of its StoredFile."""

    file_id: str
    jti: str
    path: str
    state: str
    stored: str

    def file(self) -> StoredFile:
        """The stored file."""
        return StoredFile.model_validate_json(self.stored)

    def attributes(self) -> Attributes:
        """The attributes that belong beside the file."""
        return Attributes(**dict(self.file()), jti=self.jti)


@dataclass(frozen=True, slots=True)
class Place:
    """One data path, relative to `uploads`, and everything that is known of it."""

    path: str
    size: int | None
    """Bytes of its data; None when there is none."""
    attributes: Attributes | Unusable | None
    at_path: Row | None
    """The row that has this path: PENDING, COMMITTED or DELETING."""
    of_file: Row | None
    """The row that has the id, or else the token, that the attributes tell."""
    digest: str | Unusable | None = None
    """SHA-256 of the data where it was read, Unusable where the disk didn't give it."""


@dataclass(frozen=True, slots=True)
class Finding:
    """Something that is not as it should be. `path` is relative to the node's root."""

    kind: Kind
    path: str
    detail: str
    file_id: str | None = None
    done: str | None = None
    """What was done about it; None where nothing was."""

    def line(self) -> str:
        """For people, on one line whatever the file's name holds."""
        loud = self.kind.label.upper() if self.kind.gravity is Gravity.LOSS else self.kind.label
        done = f" -> {self.done}" if self.done else ""
        text = f"{loud}: {self.path}: {self.detail}{done}"
        # A foreign name may hold line ends, orders to a terminal, or bytes that are no UTF-8.
        return "".join(each if each.isprintable() else ascii(each)[1:-1] for each in text)

    def as_json(self) -> str:
        """For programs, on one line."""
        return json.dumps(
            {
                "kind": self.kind.label,
                "gravity": self.kind.gravity.name.lower(),
                "path": self.path,
                "file_id": self.file_id,
                "detail": self.detail,
                "done": self.done,
            }
        )


def is_described_by(place: Place, row: Row) -> bool:
    """Whether the attributes at the place are those of the file that its row tells of."""
    return (
        isinstance(place.attributes, Attributes)
        and str(place.attributes.path) == place.path
        and place.attributes.file_id == row.file_id
    )


def needs_digest(place: Place) -> bool:
    """Whether only the data itself can say if it is what it should be.

    So it is when attributes are to be written again from a row, when data is to be put back, and
    when it is about to go because a tombstone lies beside it.
    """
    if place.size is None:
        return False
    row = place.at_path
    if row is not None and not is_described_by(place, row):
        return row.state == "COMMITTED" and place.size == row.file().size
    attributes = place.attributes
    return isinstance(attributes, Attributes) and (
        attributes.deleted_at is not None or str(attributes.path) != place.path
    )


def classify(place: Place) -> Finding | None:
    """What is wrong at a place; None when nothing is, or somebody is at work there.

    PENDING and DELETING rows are at work or looked after by themselves, and so is a QUARANTINED
    file that is still in its old place.
    """
    row = place.at_path
    if row is not None:
        return _with_row(place, row) if row.state == "COMMITTED" else None
    if place.size is None and place.attributes is None:
        return None
    if place.of_file is not None and _is_going(place, place.of_file):
        return None
    if place.size is None:
        return _attributes_alone(place)
    return _without_row(place)


def _with_row(place: Place, row: Row) -> Finding | None:
    """A path at which, says the index, a committed file is."""
    stored = row.file()
    if place.size is None:
        if _is_tombstone(place.attributes, row.file_id):
            return _found(Kind.HALF_DELETED, place, "deleted, says its tombstone", row.file_id)
        return _found(Kind.LOST, place, "ITS DATA IS GONE", row.file_id)
    if is_described_by(place, row):
        assert isinstance(place.attributes, Attributes)  # noqa: S101 (held by is_described_by)
        if place.attributes.deleted_at is not None:
            return _tombstone_with_data(place, place.attributes)
        if damage := _damage(place, place.attributes):
            return damage
        if place.attributes.stored() != stored or place.attributes.jti != row.jti:
            detail = "the index says something else than the attributes"
            return _found(Kind.OUTDATED_ROW, place, detail, row.file_id)
        return None
    return _damage(place, stored) or _found(
        Kind.BAD_ATTRIBUTES, place, _complaint(place), row.file_id
    )


def _without_row(place: Place) -> Finding | None:
    """Data at a path that the index knows nothing of."""
    attributes = place.attributes
    if not isinstance(attributes, Attributes):
        if not is_place(place.path):
            return _found(Kind.FOREIGN, place, "not a name that this node gives")
        if attributes is None:
            return _found(Kind.WITHOUT_ATTRIBUTES, place, "nothing tells whose it is")
        return _found(Kind.UNKNOWN_DATA, place, _complaint(place))
    if attributes.deleted_at is not None:
        return _tombstone_with_data(place, attributes)
    if str(attributes.path) != place.path:
        return _misplaced(place, attributes)
    if damage := _damage(place, attributes):
        return damage
    row = place.of_file
    if row is not None and (row.state != "COMMITTED" or row.file_id != attributes.file_id):
        detail = f"the index gives its id or token to {row.path} ({row.state})"
        return _found(Kind.CONFLICT, place, detail, attributes.file_id)
    return _found(Kind.WITHOUT_ROW, place, "not in the index", attributes.file_id)


def _misplaced(place: Place, attributes: Attributes) -> Finding:
    """Only what is whole is worth being put back."""
    if damage := _damage(place, attributes):
        detail = f"{_complaint(place)}, and it has {damage.detail}"
        return _found(Kind.UNKNOWN_DATA, place, detail, attributes.file_id)
    return _found(Kind.MISPLACED, place, _complaint(place), attributes.file_id)


def _tombstone_with_data(place: Place, attributes: Attributes) -> Finding:
    """A deletion is carried out on the very bytes that were deleted, and on no others."""
    if str(attributes.path) != place.path or _damage(place, attributes):
        detail = "other bytes than those that the tombstone beside it tells of"
        return _found(Kind.WITHOUT_ATTRIBUTES, place, detail)
    return _found(Kind.HALF_DELETED, place, "its tombstone has data", attributes.file_id)


def _attributes_alone(place: Place) -> Finding | None:
    """Attributes beside which there is no data and whose path the index doesn't know."""
    attributes, row = place.attributes, place.of_file
    if not isinstance(attributes, Attributes):
        if not is_place(place.path):
            return _found(Kind.FOREIGN, place, "not a name that this node gives")
        return _found(Kind.LOST, place, f"ITS DATA IS GONE; {_complaint(place)}")
    file_id = attributes.file_id
    if str(attributes.path) != place.path:
        return _found(Kind.STRAY_ATTRIBUTES, place, _complaint(place), file_id)
    if attributes.deleted_at is not None:
        if row is not None:
            return None
        detail = "deleted, and not in the index"
        return _found(Kind.TOMBSTONE_WITHOUT_ROW, place, detail, file_id)
    if row is not None and row.state == "DELETED":
        return _found(Kind.STRAY_ATTRIBUTES, place, "deleted, says the index", file_id)
    return _found(Kind.LOST, place, "ITS DATA IS GONE", file_id)


def _damage(place: Place, stored: StoredFile) -> Finding | None:
    if place.size != stored.size:
        detail = f"{place.size} bytes instead of {stored.size}"
        return _found(Kind.SIZE_MISMATCH, place, detail, stored.file_id)
    if isinstance(place.digest, Unusable):
        return _found(Kind.UNREADABLE_DATA, place, place.digest.reason, stored.file_id)
    if place.digest is not None and place.digest != stored.sha256:
        detail = f"SHA-256 {place.digest} instead of {stored.sha256}"
        return _found(Kind.DIGEST_MISMATCH, place, detail, stored.file_id)
    return None


def _found(kind: Kind, place: Place, detail: str, file_id: str | None = None) -> Finding:
    return Finding(kind, f"uploads/{place.path}", detail, file_id)


def _complaint(place: Place) -> str:
    if place.attributes is None:
        return "its attributes are missing"
    if isinstance(place.attributes, Unusable):
        return f"its attributes are no use: {place.attributes.reason}"
    return f"its attributes belong to {place.attributes.path}"


def _is_going(place: Place, row: Row) -> bool:
    """Whether this is a file on its way out, which other passes look after."""
    return row.path == place.path and row.state in ("QUARANTINED", "ENDED", "DELETING")


def _is_tombstone(attributes: Attributes | Unusable | None, file_id: str) -> bool:
    return (
        isinstance(attributes, Attributes)
        and attributes.deleted_at is not None
        and attributes.file_id == file_id
    )


def exit_code(gravities: Collection[Gravity]) -> int:
    """0 clean, 1 when something was or could be mended, 2 when a file is lost or damaged."""
    return max(gravities, default=Gravity.NOTED)
