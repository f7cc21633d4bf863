"""What every other component stands on: packages, the service user, folders, the right time."""

from __future__ import annotations

from pyinfra.api.deploy import deploy

from deploys import layout
from deploys.hosts.node import Node, StorageNode
from deploys.operations.clock import KEEPERS, clock_right
from deploys.operations.files import Directory, File, directories_in_place, files_in_place
from deploys.operations.packages import packages_installed
from deploys.operations.removal import Removal
from deploys.operations.rendering import render
from deploys.operations.services import Level, converged

_PACKAGES: tuple[str | tuple[str, ...], ...] = (
    "nginx",
    "nftables",
    "python3-venv",
    # Nodes whose certificates a public authority has signed know each other by its list.
    "ca-certificates",
    # Tokens and receipts carry times. A node that keeps time already goes on as it does.
    KEEPERS,
)
# Downloads' ETags: templates/nginx/validators.conf.j2.
_STORAGE_PACKAGES = ("libnginx-mod-http-lua",)
_FILESYSTEM_PACKAGES = {"ext4": "e2fsprogs", "xfs": "xfsprogs"}
_SYSUSERS = "/etc/sysusers.d/portside.conf"

# Any of them will do. In a container the clock is the machine's underneath: nobody has to keep it.
KEEPS_TIME = (
    f"systemctl is-active --quiet {' '.join(KEEPERS)} || systemd-detect-virt --container --quiet"
)
# The one that is installed: they exclude each other.
START_A_KEEPER = f"""\
for keeper in {" ".join(KEEPERS)}; do
    if [ "$(dpkg-query -W -f '${{db:Status-Status}}' $keeper 2>/dev/null)" = installed ]; then
        systemctl unmask --quiet $keeper
        systemctl enable --quiet --now $keeper
        break
    fi
done"""


USERS = Removal(
    files=(_SYSUSERS,),
    trees=(layout.HOME,),
    folders=("/etc/sysusers.d",),
    machine=True,
    then=f"""\
for user in {layout.SERVICE_USER} {layout.CONTROL_USER}; do
    if getent passwd $user >/dev/null; then userdel $user; fi
    if getent group $user >/dev/null; then groupdel $user; fi
done""",
)
"""Who the services ran as. Their files stay with the numbers of their owners."""

PACKAGES = (
    *(each for each in _PACKAGES if isinstance(each, str)),
    *_STORAGE_PACKAGES,
    *("a time service", "unattended-upgrades"),
)
"""What a machine keeps when Portside goes: others may use it by then."""


@deploy("Base")
def base(node: Node) -> None:
    """Packages, users and groups of the services, their folders."""
    directories_in_place(
        name="Folders of the deploy itself",
        directories=[
            # A minimal Debian lacks these two.
            Directory("/etc/sysctl.d"),
            Directory("/etc/sysusers.d"),
            Directory(layout.STATE),
            Directory(layout.PRIVATE_UPLOADS, f"{node.login_user}:root", 0o700),
        ],
    )
    # apt refuses lists from the future.
    clock_right(name="Clock is right")
    packages_installed(
        name="Packages",
        packages=[
            *_PACKAGES,
            *(_STORAGE_PACKAGES if isinstance(node, StorageNode) else ()),
            *(
                (_FILESYSTEM_PACKAGES[node.cluster.uploads.filesystem],)
                if isinstance(node, StorageNode) and node.device
                else ()
            ),
        ],
    )
    files_in_place(
        name="User and group of the service",
        files=[File(_SYSUSERS, render("base/sysusers.conf.j2", layout=layout, roles=node.roles))],
    )
    converged(
        name="User and group exist",
        service="sysusers",
        levels=[Level((_SYSUSERS,), f"systemd-sysusers {_SYSUSERS}")],
        holds=" && ".join(f"id {user} | grep -q '({group})'" for user, group in _memberships(node)),
    )
    service = f"{layout.SERVICE_USER}:{layout.SERVICE_USER}"
    directories_in_place(
        name="Folders of the service",
        directories=[
            Directory(layout.HOME, service, 0o750),
            Directory(layout.SETTINGS, f"root:{layout.SERVICE_USER}", 0o750),
            Directory(layout.TLS, mode=0o700),
            Directory(layout.PROGRAM),
            Directory(layout.RELEASES),
        ],
    )
    converged(
        name="Time is kept",
        service="time",
        holds=KEEPS_TIME,
        otherwise=START_A_KEEPER,
    )


def _memberships(node: Node) -> list[tuple[str, str]]:
    """Who is in whose group: nginx reads by them, and the control plane what all services read."""
    own = [(layout.NGINX_USER, layout.SERVICE_USER)]
    if "control" not in node.roles:
        return own
    return [
        *own,
        (layout.NGINX_USER, layout.CONTROL_USER),
        (layout.CONTROL_USER, layout.SERVICE_USER),
    ]
