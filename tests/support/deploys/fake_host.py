"""Whole deploys, run by pyinfra against a host that isn't there."""

from __future__ import annotations

import runpy
from collections.abc import Sequence
from typing import Any

from pyinfra.api.config import Config
from pyinfra.api.inventory import Inventory
from pyinfra.api.operations import run_ops
from pyinfra.api.state import State, StateStage
from pyinfra.connectors.fake import FakeConnector
from pyinfra.context import ctx_config, ctx_host, ctx_state

from deploys.layout import PROJECT_ROOT

PRISTINE = {
    "MemTotal": [
        *("memory_kib=4030464", "cores=2", "disk=105226698752", "open_files=524288", "ipv6=yes"),
        *("sysctl=net.ipv4.tcp_rmem", "congestion=bbr", "ssh_port=2222", "mount_point=/"),
        "architecture=x86_64",
    ],
    "survey <what> <value>": [
        *("survey system debian 12", "survey architecture amd64", "survey kernel 6.1.0-28-amd64"),
        *("survey systemd yes", "survey resolves s01.portside.test"),
    ],
    # The file by which it is proven came back from it.
    "python3 -I -": ["proof: null"],
}
"""What a bare node says; every other fact is empty there."""

LOGIN = {"portside-login": ["portside-login", "sudo=works"]}
"""A login that nothing is wrong with, as every host has it unless a test says otherwise."""


def deploy(
    script: str, responses: dict[str, Any], node_id: str, groups: Sequence[str], **told: str
) -> list[str]:
    """Prepare `deploys/<script>` on one fake host in `groups`, then run it; returns its commands.

    `told` is what `--data` would say.

    Raises PyinfraError when the host is refused while it is prepared.
    """
    name = f"@fake/{node_id}"
    data = {
        **told,
        "node_id": node_id,
        "fake_responses": {**LOGIN, **responses},
        "fake_delay": 0,
        "fake_delay_jitter": 0,
    }
    hosts: Any = ([(name, data)], {})
    members: Any = {group: ([name], {}) for group in groups}
    inventory = Inventory(hosts, **members)  # type: ignore[no-untyped-call]
    state = State(inventory, Config())  # type: ignore[no-untyped-call]
    host = inventory.get_host(name)
    with ctx_state.use(state), ctx_config.use(state.config):
        host.connect()
        state.activate_host(host)
        state.set_stage(StateStage.Prepare)
        with ctx_host.use(host):
            runpy.run_path(str(PROJECT_ROOT / "deploys" / script))
        assert isinstance(host.connector, FakeConnector)
        host.connector.executed_commands.clear()
        state.set_stage(StateStage.Execute)
        run_ops(state)
    return list(host.connector.executed_commands)


def position(commands: list[str], *parts: str) -> int:
    """Where the first command with all these parts is."""
    found = [i for i, command in enumerate(commands) if all(part in command for part in parts)]
    assert found, f"no command with {parts}"
    return found[0]
