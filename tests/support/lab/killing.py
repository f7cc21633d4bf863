"""Processes of the lab that are killed as a crash would, and are there again."""

from __future__ import annotations

from collections.abc import Mapping

from testinfra.host import Host

from tests.support.lab.control_plane import SERVICES, ControlPlane, wait_for
from tests.support.lab.requests import Node

_AGENT = ("portside-agent.service", "portside-agent-worker.service")


def kill_agents(nodes: Mapping[str, Host], talk: Mapping[str, Node]) -> None:
    """Kill web side and worker on every storage node; back once each takes uploads again."""
    for node_id in talk:
        _kill(nodes[node_id], _AGENT)
    for node in talk.values():
        node.wait_until_ready()


def kill_control_plane(host: Host, control: ControlPlane) -> None:
    """Kill the control plane's processes; back once it takes sessions again."""
    _kill(host, SERVICES)
    wait_for("the control plane is back", 120, lambda: _is_ready(control) or None)
    control.wait_until_healthy()


def _kill(host: Host, services: tuple[str, ...]) -> None:
    host.check_output(f"systemctl kill --kill-whom=all -s KILL {' '.join(services)}")


def _is_ready(control: ControlPlane) -> bool:
    try:
        return control.ask("GET", "/health/ready").status == 200
    except OSError:
        return False
