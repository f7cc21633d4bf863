"""`fab add-node`: a bare machine becomes a node that takes uploads, proven by one.

Checks, provisions, proves, and only then is done. Each step finds out what of it is there already:
what broke off is finished by the same command.
"""

from __future__ import annotations

import secrets
import socket
import tempfile
import time
from pathlib import Path

from operate import control_plane, nodes
from operate.deploying import deploy, deployed
from operate.site import Refused, Site
from operate.tell import Tell
from portside.client.control import Control
from portside.client.http.errors import ControlRefused, UploadError
from portside.client.upload.placed import BySession
from portside.client.watcher import Watcher
from portside.wire.control import NodeView, SessionRequest

_HEARD_WITHIN = 180.0
"""Seconds for the first heartbeat, and for the look from outside that makes a node healthy."""

_PAUSE = 2.0

_NAMESPACE = "files"
_OWNER = "portside-operator"


def add_node(site: Site, node_id: str, tell: Tell, dry: bool = False) -> None:
    """Make a machine a storage node of the cluster. Raises one of MISTAKES."""
    _check(site, node_id, tell)
    if dry:
        deployed(site, "site", tell, limit=[node_id], dry=True)
        tell.result({"dry": True, "node_id": node_id})
        return
    tell.line(f"{node_id}: provisioning")
    # Its survey ends the run before anything is changed on a machine that can't be a node.
    deployed(site, "site", tell, limit=[node_id])
    tell.line(f"{node_id}: telling the other nodes of it")
    if deploy(site, "keys", tell):
        tell.warn(
            "some node hasn't heard of it yet (see above): it hears of it from the control plane, "
            "or by the next run of `pyinfra inventory deploys/keys.py -y`"
        )
    if site.cluster.control_url is None:
        tell.line(f"{node_id}: takes uploads; its release was proven by one")
        tell.result({"dry": False, "node_id": node_id})
        return
    with control_plane.asked(site) as control:
        view = _heard(control, node_id)
        if view.state != "active":
            raise Refused(
                f"{node_id}: provisioned, but the control plane has it as {view.state}: "
                f"`fab undrain {node_id}` lets it take files"
            )
        file_id = _prove(site, control, node_id)
        tell.line(f"{node_id}: active, and takes uploads: file {file_id} was stored and deleted")
        tell.result({"dry": False, "node_id": node_id, "node": view.model_dump(mode="json")})


def _check(site: Site, node_id: str, tell: Tell) -> None:
    """What can be known before anything is changed. Raises Refused."""
    if node_id not in site.cluster.nodes:
        raise Refused(
            f"{node_id!r} is no node of {site.path} yet: add the line `{node_id}: {{}}` under "
            "`nodes:` there (with `address:` where its name doesn't resolve for SSH), then the "
            "same command again"
        )
    if "storage" not in site.cluster.roles_of(node_id):
        raise Refused(
            f"{node_id} is no storage node by its roles: `pyinfra inventory deploys/site.py -y` "
            "brings every other role"
        )
    host = site.cluster.host(node_id)
    try:
        found = socket.getaddrinfo(host, 443, proto=socket.IPPROTO_TCP)
    except OSError:
        raise Refused(
            f"{host} doesn't resolve: create its DNS record first, for uploads go there by name"
        ) from None
    addresses = sorted({str(each[4][0]) for each in found})
    tell.line(f"{node_id}: {host} is {', '.join(addresses)}")
    nodes.ask_one(site, node_id, ["true"])
    tell.line(f"{node_id}: SSH lets in")


def _heard(control: Control, node_id: str) -> NodeView:
    """The node once the control plane has heard of it and would place files there."""
    until = time.monotonic() + _HEARD_WITHIN
    while True:
        try:
            view: NodeView | None = control.node(node_id)
        except ControlRefused as refused:
            if refused.problem.status != 404:
                raise
            view = None
        if view is not None and (view.healthy or view.state != "active"):
            return view
        if time.monotonic() > until:
            why = "hasn't heard from it" if view is None else f"says: {', '.join(view.reasons)}"
            raise Refused(
                f"{node_id}: provisioned, but the control plane {why}: `fab -H {node_id} doctor` "
                "looks for the cause; then the same command again"
            )
        time.sleep(_PAUSE)


def _prove(site: Site, control: Control, node_id: str) -> str:
    """A file by a session to this very node, and gone again; its id."""
    extensions = site.cluster.uploads.extensions
    suffix = next((each for each in (".bin", ".txt") if each in extensions), extensions[0])
    with tempfile.TemporaryDirectory(prefix="portside-") as folder:
        path = Path(folder, f"proof-{secrets.token_hex(4)}{suffix}")
        path.write_bytes(secrets.token_hex(32 * 1024).encode())
        wish = SessionRequest(
            owner=_OWNER, namespace=_NAMESPACE, name=path.name, node_id=node_id,
            size=path.stat().st_size,
        )  # fmt: skip
        upload = BySession(
            control,
            path,
            lambda: wish,
            identity=(node_id,),
            ca=site.authority,
            in_pieces=False,
            resume=False,
            watcher=Watcher(),
        )
        try:
            stored = upload.put()
        except UploadError as error:
            raise Refused(
                f"{node_id}: provisioned, but it doesn't take an upload: {error}; "
                f"`fab -H {node_id} doctor` looks for the cause"
            ) from None
    control.delete(stored.file_id)
    return stored.file_id
