"""Logs of the lab's nodes. What clients sent is in them, and may be any bytes."""

from __future__ import annotations

from testinfra.host import Host


def log_of(host: Host, command: str) -> str:
    """What a command shows of a log."""
    shown = host.run(command)
    assert shown.rc == 0, shown.stderr_bytes
    text: str = shown.stdout_bytes.decode(errors="replace")
    return text
