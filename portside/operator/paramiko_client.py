"""Paramiko as OpenSSH would be: strict about host keys, with the agent that was meant.

Fabric builds on it, and by itself takes any host key and reads OpenSSH's configuration its own way.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Any

from paramiko import RejectPolicy, SSHClient, SSHConfig
from paramiko.ssh_exception import BadHostKeyException, SSHException

from portside.operator import host_keys
from portside.operator.detour import Detour
from portside.operator.host_keys import HostKeyError
from portside.operator.keystore import Keystore
from portside.operator.ssh import Access

NO_CONFIG = SSHConfig()
"""For Fabric: what OpenSSH is configured for is in `Access` already."""

_AGENT_VARIABLE = "SSH_AUTH_SOCK"
_usual_agent = os.environ.get(_AGENT_VARIABLE, "")


def believe_pinned_only(client: SSHClient, to: Access, keystore: Keystore) -> None:
    """Have a client that isn't connected yet refuse every host key but those in the keystore."""
    if to.forgetful:
        return
    client.set_missing_host_key_policy(RejectPolicy())
    if keystore.known_hosts.exists():
        client.load_system_host_keys(str(keystore.known_hosts))


def log_in(
    connect: Callable[[], object],
    arguments: dict[str, Any],
    node_id: str,
    to: Access,
    keystore: Keystore,
) -> None:
    """Call `connect` with the way to the node among its `arguments`, and the agent it wants.

    Raises HostKeyError for all that fails.
    """
    # Paramiko asks the agent that the environment names.
    os.environ[_AGENT_VARIABLE] = _usual_agent if to.agent is None else to.agent
    if to.proxy:
        arguments["sock"] = Detour(to.proxy)
    try:
        connect()
    except BadHostKeyException:
        raise HostKeyError(host_keys.stranger(node_id, to.known_as, keystore)) from None
    except (SSHException, OSError, EOFError) as error:
        raise HostKeyError(f"{node_id}: can't log in over SSH: {error}") from None
    finally:
        os.environ[_AGENT_VARIABLE] = _usual_agent
