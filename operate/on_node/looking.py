"""How a node is, as JSON: releases, services, readiness, certificate, disk, inodes, memory, clock.

Sent by operate/look.py, which says what to look at as one JSON object in the first argument and
reads the answer. Nothing is changed. What can't be looked at is left out or null, and `trouble`
says why: the rest is worth having.
"""

from __future__ import annotations

import json
import os
import ssl
import subprocess
import sys
import time
import urllib.error
import urllib.request
from pathlib import Path
from typing import Any

SECONDS = 20
"""For a service's answer, and for a program's."""


def main(asked: dict[str, Any]) -> dict[str, Any]:
    trouble: list[str] = []
    disks = [disk(path, trouble) for path in asked["places"]]
    marker = asked["marker"]
    return {
        "now": time.time(),
        "releases": {role: release(path) for role, path in asked["currents"].items()},
        "units": units(asked["units"]),
        "ready": {role: ready(port) for role, port in asked["ports"].items()},
        "certificate_ends": certificate_ends(asked["certificate"], trouble),
        "renewal": renewal(),
        "disks": [each for each in disks if each],
        "mounted": marker is None or Path(marker).exists(),
        "memory": memory(),
        "uptime": float(text("/proc/uptime").split()[0]),
        "debian": text("/etc/debian_version").strip(),
        "trouble": trouble,
    }


def text(path: str) -> str:
    return Path(path).read_text(encoding="utf-8", errors="replace")


def release(current: str) -> str | None:
    try:
        return Path(current).readlink().name
    except OSError:
        return None


def units(names: list[str]) -> dict[str, str]:
    """Their states in systemd's words; `systemctl is-active` prints one line for each."""
    if not names:
        return {}
    said = subprocess.run(
        ["systemctl", "is-active", *names], capture_output=True, text=True, timeout=SECONDS
    ).stdout.split()
    return dict(zip(names, said, strict=False))


def ready(port: int) -> dict[str, Any]:
    # Through nginx, as a client would ask; its certificate is for the node's name, not for this.
    context = ssl._create_unverified_context()  # noqa: S323
    address = f"https://127.0.0.1:{port}/health/ready"
    try:
        answer = urllib.request.urlopen(address, context=context, timeout=SECONDS)
    except urllib.error.HTTPError as error:
        answer = error
    except OSError as error:
        return not_ready(f"no answer: {getattr(error, 'reason', error)}")
    try:
        said = json.loads(answer.read(1 << 20).decode(errors="replace"))
    except ValueError:
        return not_ready(f"nginx answers {answer.status} in its place")
    if "ready" not in said:
        return not_ready(str(said.get("detail") or f"it answers {answer.status}"))
    return dict(said)


def not_ready(why: str) -> dict[str, Any]:
    return {"ready": False, "reasons": [why], "warnings": []}


def certificate_ends(path: str, trouble: list[str]) -> float | None:
    """Seconds since 1970 at which the certificate that nginx has ends."""
    try:
        said = subprocess.run(
            ["openssl", "x509", "-noout", "-enddate", "-in", path],
            capture_output=True,
            text=True,
            timeout=SECONDS,
        )
    except OSError as error:
        trouble.append(f"openssl: {error}")
        return None
    if said.returncode:
        trouble.append(f"no certificate can be read from {path}")
        return None
    return ssl.cert_time_to_seconds(said.stdout.strip().partition("=")[2])


def renewal() -> str | None:
    """What a certificate that renews itself says; null where it doesn't."""
    try:
        said = subprocess.run(
            ["portside-certificate", "status"], capture_output=True, text=True, timeout=SECONDS
        )
    except FileNotFoundError:
        return None
    return said.stdout.strip() or said.stderr.strip()


def disk(path: str, trouble: list[str]) -> dict[str, Any] | None:
    try:
        found = os.statvfs(path)
    except OSError as error:
        trouble.append(f"{path}: {error.strerror}")
        return None
    return {
        "path": path,
        "total": found.f_blocks * found.f_frsize,
        "free": found.f_bavail * found.f_frsize,
        "inodes": found.f_files,
        "inodes_free": found.f_favail,
        "read_only": bool(found.f_flag & os.ST_RDONLY),
    }


def memory() -> dict[str, int]:
    """Bytes in all and available; the cgroup's limit where a container has one below that."""
    told = dict(line.split(":", 1) for line in text("/proc/meminfo").splitlines())
    total, available = (int(told[key].split()[0]) * 1024 for key in ("MemTotal", "MemAvailable"))
    for limit, used in (
        ("/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory.current"),
        (
            "/sys/fs/cgroup/memory/memory.limit_in_bytes",
            "/sys/fs/cgroup/memory/memory.usage_in_bytes",
        ),
    ):
        try:
            most, now = text(limit).strip(), int(text(used))
        except OSError:
            continue
        if most.isdigit() and int(most) < total:
            total, available = int(most), min(available, int(most) - now + inactive())
        break
    return {"total": total, "available": available}


def inactive() -> int:
    """Of the cgroup's memory: what the kernel takes back first."""
    for path in ("/sys/fs/cgroup/memory.stat", "/sys/fs/cgroup/memory/memory.stat"):
        try:
            told = dict(line.split() for line in text(path).splitlines())
        except OSError:
            continue
        return int(told.get("total_inactive_file", told.get("inactive_file", 0)))
    return 0


print(json.dumps(main(json.loads(sys.argv[1]))))
