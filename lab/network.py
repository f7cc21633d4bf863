"""The bridge that the machines are plugged into: lxc-net gives it addresses and a way out.

It is started only if nobody else did, and then taken down again with the lab.
"""

from __future__ import annotations

import re
from pathlib import Path

from lab import state
from lab.commands import Problem, run
from lab.terminal import step

LXC_NET = "/usr/libexec/lxc/lxc-net"
SETTINGS = (Path("/etc/default/lxc-net"), Path("/etc/default/lxc"))
RUNNING_MARK = Path("/run/lxc/network_up")
DNSMASQ_PID = Path("/run/lxc/dnsmasq.pid")
FORWARDING = Path("/proc/sys/net/ipv4/ip_forward")


def start() -> None:
    if is_running():
        return
    if setting("USE_LXC_BRIDGE", "true") != "true":
        raise Problem('lxc\'s bridge is off: set USE_LXC_BRIDGE="true" in /etc/default/lxc-net')
    with step(f"start the network {bridge()}"):
        forwarding = FORWARDING.read_text()
        if has_systemd():
            run("systemctl", "restart", "lxc-net")
        else:
            if RUNNING_MARK.exists():  # left over from before a reboot
                run(LXC_NET, "stop")
            run(LXC_NET, "start")
        state.FORWARDING_BEFORE.write_text(forwarding)


def stop() -> None:
    """Take down what start() began; a network that was there before us stays."""
    if not state.FORWARDING_BEFORE.exists():
        return
    with step(f"stop the network {bridge()}"):
        if has_systemd():
            run("systemctl", "stop", "lxc-net")
        elif RUNNING_MARK.exists():
            run(LXC_NET, "stop")
        Path(f"/var/lib/misc/dnsmasq.{bridge()}.leases").unlink(missing_ok=True)
        FORWARDING.write_text(state.FORWARDING_BEFORE.read_text())
        state.FORWARDING_BEFORE.unlink()


def is_running() -> bool:
    if not Path(f"/sys/class/net/{bridge()}").exists() or not DNSMASQ_PID.exists():
        return False
    return Path(f"/proc/{DNSMASQ_PID.read_text().strip()}").exists()


def bridge() -> str:
    return setting("LXC_BRIDGE", "lxcbr0")


def gateway() -> str:
    """Our address on the bridge: the machines' router and name server."""
    return setting("LXC_ADDR", "10.0.3.1")


def setting(name: str, default: str) -> str:
    text = "".join(path.read_text() + "\n" for path in SETTINGS if path.exists())
    return read_setting(text, name, default)


def read_setting(text: str, name: str, default: str) -> str:
    found = re.findall(rf'^{name}="?([^"\n#]*?)"?\s*$', text, re.MULTILINE)
    return str(found[-1]) if found else default


def has_systemd() -> bool:
    return Path("/run/systemd/system").is_dir()
