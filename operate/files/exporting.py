"""`fab export`: everything of the cluster to a folder on the operator's computer."""

from __future__ import annotations

from pathlib import Path

from operate import control_plane
from operate.site import Refused, Site
from operate.tell import Tell
from portside.client.control import Control
from portside.client.export.run import export_all
from portside.client.http.errors import UploadError
from portside.commands.export import lines, told

_MOST = 32


def export(
    site: Site,
    folder: str,
    tell: Tell,
    namespace: str = "",
    owner: str = "",
    parallel: int = 4,
    dry: bool = False,
) -> bool:
    """Bring every file that fits to `folder`, or with `dry` only the lists of them; whether none is
    missing. Raises one of MISTAKES in `operate.site`."""
    if not 0 < parallel <= _MOST:
        raise Refused(f"--parallel: from 1 to {_MOST}")
    named = {"namespace": namespace, "owner": owner}
    query = {key: value for key, value in named.items() if value}
    place = Path(folder)
    with control_plane.asked(site) as control:

        def connect() -> Control:
            return control_plane.another(site)

        try:
            done = export_all(
                control, connect, site.authority, place, query, parallel, fetching=not dry
            )
        except UploadError as error:
            # Of the folder here: full, read-only, or somebody else's.
            raise Refused(str(error)) from None
    for line in lines(place, done, fetched=not dry):
        tell.line(line)
    tell.result({"dry": dry, **told(done)})
    return not done.missing
