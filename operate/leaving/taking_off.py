"""`fab uninstall` and `reinstall`: Portside taken off a machine, or its programs made anew there.

Both run a deploy that takes away what is there and passes over what isn't: a run that broke off is
finished by the next. Data stays, unless its operator says otherwise of a node that is let go.
"""

from __future__ import annotations

import shlex

from pydantic import ValidationError

from operate import control_plane, nodes
from operate.deploying import deployed
from operate.leaving import mark
from operate.leaving.consent import id_typed
from operate.site import MISTAKES, Refused, Site
from operate.tell import Tell
from portside.operator import known_hosts
from portside.operator.programs import AGENT, MARKER
from portside.wire.inventory import LeavingPage


def uninstall(
    site: Site,
    node_id: str,
    tell: Tell,
    data_too: bool = False,
    lost: bool = False,
    dry: bool = False,
) -> None:
    """Take Portside off a node that was let go. Raises one of MISTAKES, with nothing changed."""
    _reached(site, node_id)
    if not lost:
        _must_be_retired(site, node_id, data_too)
    elif data_too and not dry:
        tell.line(f"--lost --data-too removes files that may be nowhere but on {node_id}")
        left = f"{node_id} is as it was"
        id_typed(node_id, f"the files on a node that isn't retired go by hand only. {left}", left)
    way = "everything-and-data" if data_too else "everything"
    deployed(site, "uninstall", tell, limit=[node_id], data={"uninstall": way}, dry=dry)
    root = site.cluster.uploads.root
    if dry:
        tell.line(f"{node_id}: would be without Portside; nothing was changed")
    else:
        tell.line(f"{node_id}: Portside is off it. Its line may leave {site.path} now")
    if not data_too:
        # The node's mark goes with the rest: afterwards nothing tells that it was let go.
        too = "--data-too" if dry else f"`fab uninstall {node_id} --lost --data-too`"
        tell.line(f"  its data stays in {root}; {too} takes that as well")
    tell.result({"dry": dry, "node_id": node_id, "data_too": data_too})


def reinstall(
    site: Site, node_id: str, tell: Tell, new_machine: bool = False, dry: bool = False
) -> None:
    """Make a node's programs and settings anew; it answers with all its files afterwards.

    `new_machine`: its system was installed anew, and the disk with its data kept. Raises one of
    MISTAKES; what was reached is kept, and the same command goes on.
    """
    site.named([node_id])
    if new_machine and not dry:
        # What it was known by is gone with its system: it shows other keys, and may.
        known_hosts.forget(site.keystore, node_id)
        site.keystore.forget_node_key(node_id)
    _reached(site, node_id)
    stores = "storage" in site.cluster.roles_of(node_id)
    unknown = stores and node_id not in site.keystore.node_keys()
    before = _stored(site, node_id) if stores else None
    deployed(site, "uninstall", tell, limit=[node_id], data={"uninstall": "programs"}, dry=dry)
    if dry:
        tell.line(f"{node_id}: its programs would be taken off and deployed again; its data stays")
        tell.result({"dry": True, "node_id": node_id})
        return
    deployed(site, "site", tell, limit=[node_id])
    if unknown:
        # The others believe its key once they have a roster with it.
        deployed(site, "keys", tell)
    after = _with_index(site, node_id, tell) if stores else None
    if before is not None and after is not None and after < before:
        raise Refused(
            f"{node_id} had {before} files and has {after}: `portside-agent fsck` there says which"
        )
    held = "" if after is None else f" with {after} files"
    tell.line(f"{node_id}: made anew, and answers{held}")
    tell.result({"dry": False, "node_id": node_id, "files": after})


def _reached(site: Site, node_id: str) -> None:
    site.named([node_id])
    answer = nodes.ask(site, [node_id], ("true",))[node_id]
    if not answer.ok:
        raise Refused(f"{answer.trouble}: nothing can be done on it, and nothing was")


def _must_be_retired(site: Site, node_id: str, data_too: bool) -> None:
    """By its own mark, or the control plane's word: either may be gone. With its data, by both.

    The control plane says it of a node that was given up as lost too, and of one that is in no
    roster; the mark alone stays on one that was taken back.
    """
    if "control" in site.cluster.roles_of(node_id):
        raise Refused(
            f"{node_id} has the control plane: with it goes what the cluster knows of its files. "
            f"`fab uninstall {node_id} --lost` says that this is meant"
        )
    marked = mark.is_there(site, node_id)
    state: str | None = None
    if site.cluster.control_url is not None and (data_too or not marked):
        try:
            state = control_plane.answer(site, lambda control: control.node(node_id).state)
        except MISTAKES as error:
            raise Refused(f"whether {node_id} was retired can't be told: {error}") from None
    if state not in (None, "retired") or (state is None and not marked):
        raise Refused(
            f"{node_id} is not retired ({f'it is {state}' if state else 'it has no mark of it'}): "
            f"`fab drain {node_id} --watch`, then `fab retire {node_id}`. --lost takes Portside "
            "off although files there may be nowhere else"
        )
    if data_too and not marked:
        raise Refused(
            f"{node_id} has no mark that it was let go with nothing on it that was nowhere else: "
            f"`fab retire {node_id}` looks at that. Without --data-too its data stays; --lost "
            "--data-too removes it although files there may be nowhere else"
        )


def _stored(site: Site, node_id: str) -> int | None:
    """Files in service, as the node's index has them; None where nobody can say."""
    words = (AGENT.on_path, "leaving", "--json", "--limit", "1")
    answer = nodes.ask(site, [node_id], words, patience=None)[node_id]
    if not answer.ok:
        return None
    try:
        return LeavingPage.model_validate_json(answer.out).stored
    except ValidationError:
        return None


def _with_index(site: Site, node_id: str, tell: Tell) -> int | None:
    """Files in service; an index that knows none beside stored files is made anew first.

    No agent does that by itself: the control plane would be told of a node that lost everything.
    """
    count = _stored(site, node_id)
    root = shlex.quote(str(site.cluster.uploads.root))
    has_files = f"[ -e {root}/{MARKER} ] && find {root}/uploads -name '*.attr.json' -print -quit"
    found = nodes.ask(site, [node_id], ("sh", "-c", has_files))[node_id]
    if count == 0 and found.ok and found.out.strip():
        tell.line(f"{node_id}: its index is gone: it is made anew from the files")
        nodes.ask_one(site, node_id, (AGENT.on_path, "reindex"), patience=None)
        count = _stored(site, node_id)
    return count
