"""The same nodes by Ansible: the playbook beside this, told what our deploy brought to each."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from bench.packages import PeerMissing
from bench.provision import machines
from bench.provision.brought import Entry, releases
from lab.machines import Lab

Strategy = Literal["linear", "mitogen_linear"]

_PLAYBOOK = Path(__file__).with_name("playbook")
_MITOGEN = "/usr/share/ansible/plugins/strategy"
"""Where Debian's ansible-mitogen has it, unless dpkg knows better."""

_SHARES = tuple(
    (re.compile(pattern), role)
    for pattern, role in (
        (
            r"/etc/portside/firewall\.nft|.*/(portside-firewall\.service|nftables\.service\.d.*)",
            "firewall",
        ),
        (r"/etc/ssh/.*", "ssh"),
        (r"/etc/portside/(tls/.*|ca\.crt)", "tls"),
        (r"/etc/nginx/.*|.*/nginx\.service\.d.*", "nginx"),
        (r"/etc/portside/roster\.json", "roster"),
        (r"/srv/.*", "disk"),
        (r"/etc/sysctl\.d/90-portside\.conf", "tuning"),
        (r".*(control|issuer\.json|libexec|backup).*", "control"),
        (r".*(agent|/etc/portside/gunicorn|/usr/local/|keyset).*", "program"),
        (r"/etc/(portside|sysusers\.d)(/.*)?|/opt/.*|/var/lib/.*", "base"),
    )
)
"""Which role brings a path; what none of them matches is `hardening`."""

_ROLES = (
    *("base", "tuning", "firewall", "ssh", "hardening"),
    *("tls", "disk", "agent", "control", "nginx", "roster"),
)
_WITH_FOLDERS = ("hardening", "disk", "agent", "control", "nginx")
"""What others put something into as well comes with the first role."""


class AnsibleFailed(Exception):
    """A run that failed, or that changed something; the message says what Ansible said."""


@dataclass(frozen=True, slots=True)
class Playbook:
    """A folder that Ansible runs in, for the machines as one OpenSSH configuration reaches them."""

    folder: Path
    ssh_config: Path

    def run(self, strategy: Strategy) -> None:
        """Once over all machines, to its end. Raises AnsibleFailed unless it changes nothing."""
        # Connections of the run before would still be open: each begins by itself.
        with tempfile.TemporaryDirectory(prefix="ps-") as sockets:
            done = subprocess.run(
                ["ansible-playbook", "-i", "hosts.json", "site.yml"],
                cwd=self.folder,
                env=self._environment(strategy, sockets),
                capture_output=True,
                text=True,
                check=False,
            )
        counts = re.findall(r"ok=(\d+)\s+changed=(\d+)", done.stdout)
        idle = len(counts) == len(machines.NODES) and all(changed == "0" for _, changed in counts)
        if done.returncode != 0 or not idle:
            raise AnsibleFailed(
                f"ansible-playbook ({strategy}):\n{done.stdout[-3000:]}{done.stderr}"
            )

    def _environment(self, strategy: Strategy, sockets: str) -> dict[str, str]:
        return {
            **os.environ,
            "ANSIBLE_STRATEGY": strategy,
            "ANSIBLE_STRATEGY_PLUGINS": _plugins(),
            "ANSIBLE_SSH_CONTROL_PATH_DIR": sockets,
            "ANSIBLE_SSH_COMMON_ARGS": f"-F {self.ssh_config}",
            "ANSIBLE_NOCOLOR": "1",
            # Ansible's own modules are Debian's: nothing of this project's environment.
            "PYTHONPATH": "",
        }


def check() -> None:
    """Raises PeerMissing without Ansible or Mitogen."""
    missing = [each for each in ("ansible-playbook",) if shutil.which(each) is None]
    if missing or not Path(_plugins(), "mitogen_linear.py").exists():
        raise PeerMissing("Debian's packages ansible and ansible-mitogen are not installed")


def prepare(lab: Lab, folder: Path, brought: Mapping[str, Sequence[Entry]]) -> None:
    """The playbook in a folder of its own, with each machine's files and what is known of them."""
    shutil.copytree(_PLAYBOOK, folder)
    hosts = {name: _variables(lab, name, folder, entries) for name, entries in brought.items()}
    groups = {"control": [machines.CONTROL], "storage": [machines.FIRST, machines.SECOND]}
    inventory: dict[str, Any] = {
        "all": {
            "hosts": hosts,
            "children": {
                group: {"hosts": {name: {} for name in names}} for group, names in groups.items()
            },
        }
    }
    (folder / "hosts.json").write_text(json.dumps(inventory, indent=1))


def _variables(lab: Lab, name: str, folder: Path, entries: Sequence[Entry]) -> dict[str, Any]:
    root = machines.root_of(lab, name)
    controls = name == machines.CONTROL
    files: dict[str, list[dict[str, str]]] = {role: [] for role in _ROLES}
    folders: dict[str, list[dict[str, str]]] = {role: [] for role in _ROLES}
    for entry in entries:
        role = _role(entry.path, controls)
        row = {"path": entry.path, "owner": entry.owner, "group": entry.group, "mode": entry.mode}
        if entry.folder:
            folders[role if role in _WITH_FOLDERS else "base"].append(row)
            continue
        source = folder / "files" / name / entry.path.lstrip("/")
        source.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(root / entry.path.lstrip("/"), source)
        files[role].append({**row, "source": str(source)})
    service, control = "portside", "portside-control"
    return {
        "files": files,
        "folders": folders,
        "packages": _packages(lab, name),
        "services_users": [service, *([control] if controls else [])],
        "memberships": [
            {"name": "www-data", "groups": [service, *([control] if controls else [])]},
            *([{"name": control, "groups": [service]}] if controls else []),
        ],
        "kernel_settings": _kernel_settings(root),
        "timers": _timers(lab, name),
        "releases": releases(root),
        "release_archives": {},
    }


def _role(path: str, controls: bool) -> str:
    role = next((role for pattern, role in _SHARES if pattern.fullmatch(path)), "hardening")
    return ("control" if controls else "agent") if role == "program" else role


def _packages(lab: Lab, name: str) -> list[str]:
    """Those that the deploy asked apt for; what the image began with is marked as well."""
    return machines.run_inside(lab, name, "apt-mark showmanual").split()


def _timers(lab: Lab, name: str) -> list[str]:
    """Of unattended upgrades, without those that somebody has masked."""
    timers = ("apt-daily.timer", "apt-daily-upgrade.timer")
    said = machines.run_inside(lab, name, f"systemctl is-enabled {' '.join(timers)} || true")
    return [timer for timer, state in zip(timers, said.split(), strict=True) if state != "masked"]


def _kernel_settings(root: Path) -> list[dict[str, str]]:
    text = (root / "etc/sysctl.d/90-portside.conf").read_text()
    pairs = re.findall(r"^([a-z][\w.]*) = (.*)$", text, re.MULTILINE)
    return [{"key": key, "value": value} for key, value in pairs]


def _plugins() -> str:
    listed = subprocess.run(
        ["dpkg", "-L", "ansible-mitogen"], capture_output=True, text=True, check=False
    ).stdout
    found = [line for line in listed.splitlines() if line.endswith("/mitogen_linear.py")]
    return str(Path(found[0]).parent) if found else _MITOGEN
