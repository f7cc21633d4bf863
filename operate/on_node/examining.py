"""What a node finds when it looks around, as JSON: names, its peers' ports, whose keys it knows.

Sent by operate/seeing/doctor.py, which says what to look for in the first argument, as JSON.
Nothing is changed. Everything is asked with a bound of time: a node whose DNS hangs says so.
"""

from __future__ import annotations

import json
import socket
import ssl
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

SECONDS = 10


def main(asked: dict[str, Any]) -> dict[str, Any]:
    with ThreadPoolExecutor(max_workers=16) as threads:
        names = {name: threads.submit(resolved, name) for name in asked["names"]}
        ports = {
            f"{name}:{port}": threads.submit(answers, name, port, asked["authority"])
            for name, port in asked["servers"]
        }
        return {
            "names": {name: each.result() for name, each in names.items()},
            "servers": {name: each.result() for name, each in ports.items()},
            "issuers": key_ids(asked["keyset"]),
            "roster": roster(asked["roster"]),
            "memory_max": memory_max(asked["unit"]) if asked["unit"] else None,
            "synchronized": synchronized(),
        }


def resolved(name: str) -> list[str] | None:
    """Its addresses; null where nobody knows it."""
    try:
        found = subprocess.run(
            ["getent", "ahosts", name], capture_output=True, text=True, timeout=SECONDS
        )
    except subprocess.TimeoutExpired:
        return None
    return sorted({line.split()[0] for line in found.stdout.splitlines()}) or None


def answers(name: str, port: int, authority: str | None) -> str | None:
    """Why there is no TLS with a certificate that counts; null where there is."""
    try:
        context = ssl.create_default_context(cafile=authority)
        with socket.create_connection((name, port), timeout=SECONDS) as plain:
            context.wrap_socket(plain, server_hostname=name).close()
    except ssl.SSLCertVerificationError as error:
        return f"its certificate is not accepted: {error.verify_message}"
    except OSError as error:
        return f"no connection: {error.strerror or error}"
    return None


def key_ids(path: str) -> list[str] | None:
    """Of every key in the keyset; null where it can't be read."""
    try:
        return [str(key["kid"]) for key in json.loads(Path(path).read_text())["keys"]]
    except (OSError, ValueError, KeyError, TypeError):
        return None


def roster(path: str) -> list[str] | None:
    """The ids of the nodes in it; null where it can't be read."""
    try:
        return [str(node["node_id"]) for node in json.loads(Path(path).read_text())["nodes"]]
    except (OSError, ValueError, KeyError, TypeError):
        return None


def memory_max(unit: str) -> int | None:
    """systemd's bound for the unit in bytes; null where there is none."""
    said = show(["systemctl", "show", "--property=MemoryMax", "--value", unit])
    return int(said) if said.isdigit() else None


def synchronized() -> bool | None:
    """Whether systemd knows the clock to be synchronized; null where it doesn't say, and in a
    container, whose clock is the host's."""
    if show(["systemd-detect-virt", "--container"]) not in ("", "none"):
        return None
    said = show(["timedatectl", "show", "--property=NTPSynchronized", "--value"])
    return {"yes": True, "no": False}.get(said)


def show(words: list[str]) -> str:
    try:
        return subprocess.run(words, capture_output=True, text=True, timeout=SECONDS).stdout.strip()
    except (OSError, subprocess.TimeoutExpired):
        return ""


print(json.dumps(main(json.loads(sys.argv[1]))))
