"""ClamAV on a storage node that scans what it stores: Debian's clamd, its signatures by freshclam.

Only where a namespace has `hold: clamav` and the cluster file names no clamd elsewhere. Until the
first signatures are there files wait, which the agent tells (`scanner-away`).
"""

from __future__ import annotations

from pyinfra.api.deploy import deploy
from pyinfra.api.exceptions import PyinfraError

from deploys import layout
from deploys.hosts.node import StorageNode
from deploys.operations.files import Directory, File, directories_in_place, files_in_place
from deploys.operations.packages import packages_installed
from deploys.operations.reloading import unit_file
from deploys.operations.removal import Removal
from deploys.operations.rendering import render
from deploys.operations.services import Level, converged
from portside.cluster.clamd import SOCKET
from portside.quantities import format_size
from portside.sizing import LEAST_RAM_WITH_CLAMD

_SETTINGS = "/etc/clamav/clamd.conf"
_SCANS = "/var/lib/clamav/portside"
_SERVICE = "clamav-daemon.service"
_OVERRIDE = f"{layout.UNITS}/{_SERVICE}.d"
_PATH = "portside-clamd.path"
_FRESHCLAM = "clamav-freshclam.service"

REMOVAL = Removal(
    units=(_PATH,),
    files=(f"{_OVERRIDE}/portside.conf",),
    trees=(_SCANS,),
    folders=(_OVERRIDE,),
    machine=True,
    then="systemctl daemon-reload",
)
"""What is ours beside Debian's. Its clamd.conf stays: the package has no other that would work."""


# Each by itself: of several one is enough for systemctl.
RUNS = (
    f"systemctl is-active --quiet {_PATH} && systemctl is-active --quiet {_FRESHCLAM} && "
    f"systemctl is-enabled --quiet {_PATH}"
)


def must_fit(node: StorageNode) -> None:
    """Raise PyinfraError for a machine whose RAM is too little for clamd beside uploads."""
    ram = node.facts.machine.ram
    if ram < LEAST_RAM_WITH_CLAMD:
        raise PyinfraError(
            f"{node.node_id}: {format_size(ram)} of RAM is too little for ClamAV beside uploads, "
            f"which takes {format_size(LEAST_RAM_WITH_CLAMD)}: say `clamd: tcp:<address>` in the "
            "cluster file for one on another machine, or leave out `hold: clamav`"
        )


def settings() -> str:
    """clamd.conf."""
    return render("clamav/clamd.conf.j2", socket=SOCKET, scans=_SCANS)


def override() -> str:
    """What of clamd's unit is not as Debian has it: its sandbox, and that uploads come first."""
    return render("clamav/override.conf.j2", writable=_SCANS)


@deploy("ClamAV")
def clamav(node: StorageNode) -> None:
    """The package, its settings, and that it runs as soon as it can."""
    if not node.cluster.installs_clamd:
        return
    must_fit(node)
    packages_installed(name="ClamAV", packages=["clamav-daemon", "clamav-freshclam"])
    directories_in_place(
        name="Folders of ClamAV",
        directories=[
            Directory(_SCANS, "clamav:clamav", 0o700, in_owners_folder=True),
            Directory(_OVERRIDE),
        ],
    )
    files_in_place(
        name="Settings of ClamAV",
        files=[
            File(_SETTINGS, settings()),
            File(f"{_OVERRIDE}/portside.conf", override()),
            File(unit_file(_PATH), render(f"clamav/{_PATH}.j2")),
        ],
    )
    converged(
        name="ClamAV runs once it has its signatures",
        service="clamav",
        levels=[
            Level(
                (_SETTINGS, f"{_OVERRIDE}/portside.conf", unit_file(_PATH)),
                f"systemctl daemon-reload; systemctl enable --quiet {_PATH}; "
                f"systemctl restart {_PATH}; systemctl try-restart {_SERVICE}",
            )
        ],
        holds=RUNS,
        otherwise=f"systemctl enable --quiet --now {_PATH} {_FRESHCLAM}",
    )
