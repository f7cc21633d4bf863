"""What is refused before anything is placed: what an upload would fail at later, and too many.

Each check raises ProblemError with what is wrong and what to do instead.
"""

from __future__ import annotations

from dataclasses import dataclass

from sqlalchemy import select, text

from control.cluster.read_model import KnownApp
from control.cluster.snapshot import Snapshot
from control.db.database import Database
from control.db.models import File, UploadSession
from control.problems import ProblemError
from control.settings import Settings
from portside.cluster import defaults
from portside.content import extension_of, is_allowed, why_refused
from portside.names import NameRefused, named_path, sanitise
from portside.web.rate import Rate
from portside.wire import paths
from portside.wire.control import SessionRequest


@dataclass(frozen=True, slots=True)
class AppRequest:
    """A session request with who sent it."""

    app: KnownApp
    request: SessionRequest
    idempotency_key: str | None = None


def most_bytes(settings: Settings, request: SessionRequest) -> int:
    """The file's size, or the most that it may be."""
    if request.size is not None:
        return request.size
    return settings.max_size if request.max_size is None else request.max_size


def bytes_to_promise(request: SessionRequest, most: int) -> int:
    """The file's size; little where nobody tells it, for it is kept from all others."""
    if request.size is not None:
        return request.size
    return min(most, defaults.UNTOLD_SIZE)


def name_of(request: SessionRequest) -> str | None:
    """The name that the file will have, by the function that its node makes it with.

    The token has it too: one as an app gives it may be too long for a header (4 KiB and more).
    """
    return None if request.name is None else sanitise(request.name)


def path_of(request: SessionRequest) -> str | None:
    """Where the file will be, if that is known by its name alone."""
    if request.layout != "named" or request.name is None:
        return None
    return str(named_path(request.namespace, request.name))


def must_be_takeable(settings: Settings, request: SessionRequest) -> None:
    """Refuse what no node would take, and what makes no sense."""
    if request.size is not None and request.max_size is not None:
        raise ProblemError("malformed-request", "give 'size' or 'max_size', not both")
    if request.layout == "named" and request.name is None:
        raise ProblemError("malformed-request", "the layout 'named' needs a 'name'")
    if request.name is not None:
        try:
            extension = extension_of(sanitise(request.name))
        except NameRefused as refused:
            raise ProblemError("name-refused", str(refused)) from None
        if not is_allowed(extension, settings.extensions):
            raise ProblemError("type-refused", why_refused(extension, settings.extensions))
    too_long = settings.lifetimes.why_refused(request.namespace, request.expires_in)
    if too_long is not None:
        raise ProblemError("lifetime-refused", too_long)
    size = most_bytes(settings, request)
    if size > settings.max_size:
        raise ProblemError(
            "too-large", f"{size} bytes are more than the {settings.max_size} allowed"
        )


def namespace_must_be_the_keys(asked: AppRequest) -> None:
    """Refuse a namespace that the app's key isn't bound to."""
    bound = asked.app.namespaces
    if bound is not None and not asked.app.reach.has_namespace(asked.request.namespace):
        raise ProblemError(
            "namespace-refused",
            f"this API key is for the namespaces {', '.join(sorted(bound))}, not for "
            f"{asked.request.namespace}: say which with 'namespace'",
        )


def node_must_take_files(snapshot: Snapshot, node_id: str) -> None:
    """Refuse a node that is named and takes no new files now, saying why and which do."""
    node = snapshot.nodes.get(node_id)
    if node is None:
        raise ProblemError("node-unknown", f"there is no node {node_id!r}")
    pools = [each for each in snapshot.pools.values() if each.node.node_id == node_id]
    takes = any(each.is_upload_target and each.weight > 0 for each in pools)
    if node.healthy and takes:
        return
    why = "; ".join(node.reasons) or "its pools take no uploads"
    others = sorted({each.node_id for each in snapshot.places if each.is_upload_target} - {node_id})
    use = f"{', '.join(others)} do, or name none" if others else "no other node does either now"
    raise ProblemError("node-closed", f"{node_id} takes no new files now ({why}): {use}")


def name_must_be_free(database: Database, asked: AppRequest) -> None:
    """Refuse a path that is taken. It is one for the whole cluster: all copies have the same."""
    path = path_of(asked.request)
    if path is None:
        return
    taken = database.read(
        lambda session: session.scalars(
            select(File.file_id)
            .where(File.path == path, File.state.in_(("committed", "deleting")))
            # A node that has the name by its own word alone keeps it from nobody.
            .where(File.vouched_by.is_(None))
            .limit(1)
        ).first()
    )
    if taken is not None:
        raise ProblemError("name-taken", f"{path} is there already: choose another name")
    upload = database.read(
        lambda session: session.scalars(
            select(UploadSession).where(UploadSession.path == path, text("sessions.state = 'open'"))
        ).first()
    )
    if upload is not None:
        way_out = "choose another name"
        if upload.app_id == asked.app.app_id:
            way_out += f", or call it off: DELETE {paths.FILES}/{upload.file_id}"
        until = upload.deadline.isoformat(timespec="seconds")
        raise ProblemError(
            "name-taken",
            f"another session may upload {path} until {until}: {way_out}",
        )


class SessionRates:
    """Sessions a minute of each app, user and address. Thread-safe; counts this process alone.

    An address is the uploader's, as the app tells it. Who asks is an app's server, which asks for
    all of its users: its own address says nothing of any of them.
    """

    def __init__(self, settings: Settings) -> None:
        self._rates = {
            "app": Rate(settings.sessions_per_app),
            "owner": Rate(settings.sessions_per_owner),
            "address": Rate(settings.sessions_per_address),
        }

    def take(self, asked: AppRequest) -> None:
        """Count the session for app, user and address; refused, it counts for none of them."""
        keys = {
            "app": asked.app.app_id,
            "owner": f"{asked.app.app_id} {asked.request.owner}",
        }
        if asked.request.client_address:
            keys["address"] = asked.request.client_address
        for of, key in keys.items():
            seconds = self._rates[of].wait(key)
            if seconds:
                raise ProblemError(
                    "rate-limited",
                    f"this {of} opens more than {self._rates[of].per_minute} sessions a minute: "
                    f"come again in {seconds} s",
                    {"Retry-After": str(seconds)},
                )
        for of, key in keys.items():
            self._rates[of].take(key)
