"""What became of an upload that didn't succeed, as the problem its sender hears."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager

from agent.incoming.body import BodyCut, HandedBack, TooSlow
from agent.incoming.form import FormRefused
from agent.problems import ProblemError
from agent.storage.commit import of_index
from agent.storage.sniffing import ContentRefused
from agent.storage.staging import DiskFailed, DiskFull
from agent.telemetry.health import NodeHealth
from agent.uploads.pipeline import BodyTooLarge
from agent.uploads.slots import RETRY_AFTER
from portside.quantities import format_size

_SOON = {"Retry-After": "1"}
"""The other process is there already."""


@contextmanager
def failures_as_problems(health: NodeHealth, limit: int) -> Iterator[None]:
    """Turn what goes wrong in the block into a ProblemError.

    A broken disk makes the node read-only. `limit` is the most bytes that may come: the answer to a
    longer body names it.
    """
    try:
        yield
    except TooSlow as error:
        raise ProblemError(
            "too-slow",
            f"{error}, and others need the slot: send the rest again, without long pauses",
            RETRY_AFTER,
        ) from None
    except HandedBack as error:
        raise ProblemError(
            "throttled", f"{error}: send the rest again, from the offset that it tells", _SOON
        ) from None
    except BodyCut as error:
        raise ProblemError("body-cut", f"{error}: send the rest again") from None
    except BodyTooLarge:
        raise ProblemError(
            "too-large",
            f"more than the {format_size(limit)} were sent that may come",
            headers={"Upload-Limit": f"max-size={limit}"},
        ) from None
    except ContentRefused as error:
        raise ProblemError("type-refused", str(error)) from None
    except FormRefused as error:
        raise ProblemError("malformed-request", str(error)) from None
    except sqlite3.Error as error:
        raise _of_disk(of_index(error, health.settings), health) from error
    except (DiskFull, DiskFailed) as error:
        raise _of_disk(error, health) from error


def _of_disk(error: DiskFull | DiskFailed, health: NodeHealth) -> ProblemError:
    if isinstance(error, DiskFull):
        return ProblemError("no-space", f"{error}: the upload is not acknowledged")
    if error.final:
        health.fault("disk-failed", str(error))
    return ProblemError("storage-failed", f"{error}: the upload is not acknowledged")
