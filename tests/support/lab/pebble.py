"""Debian's pebble, an ACME authority for tests (RFC 8555), on one of the lab's machines.

It comes to port 80 of a name as a public authority would. Its certificates come from a root that it
makes anew at each start.
"""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from testinfra.host import Host

from portside.operator import certificates

_FOLDER = "/run/lab-pebble"
_PORT, _MANAGEMENT = 14000, 15000
_SIX_DAYS = 6 * 86400
_ROOT = (
    "import ssl, urllib.request; print(urllib.request.urlopen('https://127.0.0.1:"
    f"{_MANAGEMENT}/roots/0', context=ssl._create_unverified_context()).read().decode())"
)


@dataclass(frozen=True, slots=True)
class Pebble:
    """Where its directory is, and what (PEM) it and its certificates are known by."""

    directory_url: str
    authority: Path


@contextmanager
def running_pebble(host: Host, name: str, folder: Path) -> Iterator[Pebble]:
    """An authority on the machine `host`, which is called `name`, for as long as the block lasts.

    What it is known by is kept in `folder`, here. Its certificates live for six days.
    """
    ca = certificates.make_ca("pebble")
    pair = certificates.issue(ca, name)
    settings = {
        "listenAddress": f"0.0.0.0:{_PORT}",
        "managementListenAddress": f"127.0.0.1:{_MANAGEMENT}",
        "certificate": f"{_FOLDER}/tls.crt",
        "privateKey": f"{_FOLDER}/tls.key",
        "httpPort": 80,
        "tlsPort": 443,
        "certificateValidityPeriod": _SIX_DAYS,
    }
    host.check_output(
        "command -v pebble || "
        "DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends pebble"
    )
    for file, text in (
        ("tls.crt", pair.certificate_pem.decode()),
        ("tls.key", pair.key_pem.decode()),
        ("settings.json", json.dumps({"pebble": settings})),
    ):
        host.check_output(f"install -d -m 0700 {_FOLDER}; echo %s > {_FOLDER}/{file}", text)
    host.check_output(
        "systemd-run --quiet --collect --unit=lab-pebble --setenv=PEBBLE_VA_NOSLEEP=1 "
        f"--property=RuntimeMaxSec=900 pebble -config {_FOLDER}/settings.json"
    )
    try:
        deadline = time.monotonic() + 60
        places = (f"0.0.0.0:{_PORT}", f"127.0.0.1:{_MANAGEMENT}")
        while not all(host.socket(f"tcp://{each}").is_listening for each in places):
            assert time.monotonic() < deadline, host.check_output("journalctl -u lab-pebble")
            time.sleep(0.1)
        root = host.check_output("python3 -c %s", _ROOT)
        authority = folder / "pebble.pem"
        authority.write_text(f"{ca.certificate_pem.decode()}{root}\n")
        yield Pebble(f"https://{name}:{_PORT}/dir", authority)
    finally:
        host.check_output(f"systemctl stop lab-pebble; rm -rf {_FOLDER}")
