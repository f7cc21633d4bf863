"""nginx in a sandbox: a drop-in beside Debian's unit, and no upload is cut to put it in force.

A sandbox is made when a service starts, and nginx is never restarted while it serves: on a new node
it is put in before anything is served, on one that serves it counts from the next start. Until then
each run says so.
"""

from __future__ import annotations

from pyinfra.api.deploy import deploy
from pyinfra.context import host

from deploys import layout
from deploys.hosts.node import Node, StorageNode
from deploys.operations.files import Directory, File, directories_in_place, files_in_place
from deploys.operations.removal import Removal, files_gone
from deploys.operations.rendering import render
from deploys.operations.services import Level, converged

FOLDER = f"{layout.UNITS}/nginx.service.d"
FILE = f"{FOLDER}/50-portside.conf"

REMOVAL = Removal(
    files=(FILE, layout.NGINX_BEFORE_SANDBOX),
    folders=(FOLDER,),
    machine=True,
    then="systemctl daemon-reload",
)
"""The drop-in."""


# A program of ours that is enabled was deployed before: nginx may have its uploads in hand.
_IN_FORCE = f"""\
systemctl daemon-reload
rm -f {layout.NGINX_BEFORE_SANDBOX}
if systemctl is-enabled --quiet {layout.AGENT_SERVICE} 2>/dev/null ||
    systemctl is-enabled --quiet {layout.CONTROL_SERVICE} 2>/dev/null; then
    systemctl show --property InvocationID --value nginx.service > {layout.NGINX_BEFORE_SANDBOX}
else
    systemctl try-restart nginx.service
fi"""


@deploy("nginx's sandbox")
def nginx_sandbox(node: Node) -> None:
    """The drop-in; without hardening, or with sites of the operator's, it is taken away again."""
    kept = node.cluster.nginx.keep
    if node.cluster.hardening == "off" or kept:
        if kept:
            # Their logs, caches and roots may be anywhere: in there nginx wouldn't even start.
            host.log("nginx: {keep: true}: nginx has no sandbox, for your own sites")
        files_gone(
            name="nginx runs as Debian has it",
            paths=(FILE,),
            then=_IN_FORCE,
            service="nginx-sandbox",
        )
        return
    directories_in_place(name="Folder of nginx's drop-ins", directories=[Directory(FOLDER)])
    files_in_place(name="Sandbox of nginx", files=[File(FILE, sandbox(node))])
    converged(
        name="nginx's sandbox is in force, or will be at its next start",
        service="nginx-sandbox",
        levels=[Level((FILE,), _IN_FORCE)],
    )


def sandbox(node: Node) -> str:
    """The drop-in's text."""
    return render("systemd/nginx_sandbox.conf.j2", layout=layout, jit=isinstance(node, StorageNode))
