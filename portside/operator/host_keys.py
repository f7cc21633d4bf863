"""Host keys: seen once, agreed to, and kept in the keystore; from then on no other counts.

    secrets/<cluster>/known_hosts

A node that is met for the first time is asked for its key by OpenSSH, over whatever jump hosts
there are. A key that OpenSSH knows already (hashed or not, under an alias, by a certificate of an
authority in known_hosts) counts; for any other one the operator is asked, as `ssh.host_keys` says.
pyinfra, Fabric and OpenSSH then all believe this one file and nothing else.
"""

from __future__ import annotations

import re
import subprocess
import sys
import tempfile
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from portside.cluster.file import Cluster
from portside.operator import known_hosts
from portside.operator.keystore import Keystore
from portside.operator.known_hosts import HostKey
from portside.operator.ssh import Access

CONNECT_TIMEOUT = 15
"""Seconds that a node, or a host on the way to it, may take to answer."""

_SHOWN = re.compile(r"Server host (?:key|certificate): (\S+) (SHA256:[A-Za-z0-9+/]+)")
_NOISE = re.compile(r"^(debug\d:|OpenSSH_|Warning: Permanently added|\s*$)")


class HostKeyError(Exception):
    """A node that can't be met; the message says why, and what to do."""


@dataclass(frozen=True, slots=True)
class Seen:
    """The key that a host has shown, and whether OpenSSH knew it before."""

    key: HostKey
    known: bool


def meet(
    cluster: Cluster,
    accesses: Mapping[str, Access],
    keystore: Keystore,
    agrees: Callable[[str], bool] | None = None,
) -> dict[str, str]:
    """See that the keystore has a host key of each of these nodes; all new ones in one question.

    `agrees` is asked; None: a terminal, if there is one. Returns a line for each node that isn't
    known afterwards: it can't be reached, or its key was refused.
    """
    pinned = known_hosts.names(keystore.known_hosts)
    new = {
        node_id: to
        for node_id, to in accesses.items()
        if not to.forgetful and to.known_as not in pinned
    }
    if not new:
        return {}
    with ThreadPoolExecutor(max_workers=16) as threads:
        looks = {node_id: threads.submit(_tried, to) for node_id, to in new.items()}
    seen = {node_id: look.result() for node_id, look in looks.items()}
    failed = {
        node_id: f"{node_id}: {found}" for node_id, found in seen.items() if isinstance(found, str)
    }
    found = {node_id: each for node_id, each in seen.items() if isinstance(each, Seen)}
    strange = {node_id: each.key for node_id, each in found.items() if not each.known}
    if strange and not _trusted(cluster, new, strange, agrees):
        failed |= {node_id: _refused(cluster, node_id, key) for node_id, key in strange.items()}
    known_hosts.pin(
        keystore,
        [
            (node_id, new[node_id].known_as, each.key)
            for node_id, each in found.items()
            if node_id not in failed
        ],
    )
    return failed


def look(to: Access) -> Seen:
    """What key a host shows now, and whether OpenSSH's own files know it. Raises HostKeyError."""
    with tempfile.TemporaryDirectory(prefix="portside-") as folder:
        fresh = Path(folder, "fresh")
        log, on_the_way = _handshake(to, fresh, *_with_its_own_files(to, fresh))
        shown = _SHOWN.search(log)
        written = _first_key(fresh)
        if written:
            return Seen(written, known=False)
        if not shown or "Host key verification failed" in log:
            raise HostKeyError(_reason(log, on_the_way))
        # Known to OpenSSH, perhaps as a certificate: the plain key is what everybody can compare.
        plain = shown[1].replace("-cert-v01@openssh.com", "")
        again = Path(folder, "again")
        _handshake(
            to,
            again,
            f'UserKnownHostsFile="{again}"',
            "GlobalKnownHostsFile=/dev/null",
            f"HostKeyAlgorithms={'rsa-sha2-512,rsa-sha2-256' if plain == 'ssh-rsa' else plain}",
        )
        key = _first_key(again)
        if key is None or key.fingerprint != shown[2]:
            raise HostKeyError("it shows another host key each time it is asked: try again")
        return Seen(key, known=True)


def changed(to: Access, node_id: str, keystore: Keystore) -> str | None:
    """A line if a node shows another key now than it is known by, else None."""
    kept = {key for name, key in known_hosts.entries(keystore.known_hosts) if name == to.known_as}
    if to.forgetful or not kept:
        return None
    try:
        shown = look(to).key
    except HostKeyError:
        return None
    same = any(key == shown or key.kind != shown.kind for key in kept)
    return None if same else stranger(node_id, to.known_as, keystore)


def stranger(node_id: str, name: str, keystore: Keystore) -> str:
    """What is said of a node with another host key than the one that is kept under its `name`."""
    # Another node's, where that had the address before.
    owners = sorted(known_hosts.owners(keystore, name) or {node_id})
    remedy = " && ".join(f"portside keys forget {owner}" for owner in owners)
    theirs = "" if owners == [node_id] else f", kept as that of {' and '.join(owners)}"
    return (
        f"{node_id}: its SSH host key isn't the one in {keystore.known_hosts}{theirs}: is this the "
        f"right machine? If it was made anew: {remedy}"
    )


def _tried(to: Access) -> Seen | str:
    try:
        return look(to)
    except HostKeyError as error:
        return str(error)


def _trusted(
    cluster: Cluster,
    accesses: Mapping[str, Access],
    strange: Mapping[str, HostKey],
    agrees: Callable[[str], bool] | None,
) -> bool:
    """Whether keys that nobody knows may be kept: they are shown in any case."""
    if cluster.ssh.host_keys == "strict":
        return False
    listed = "\n".join(
        f"  {node_id}  {accesses[node_id].known_as}  {key}" for node_id, key in strange.items()
    )
    if cluster.ssh.host_keys == "accept-new":
        sys.stderr.write(f"Host keys seen for the first time, now kept:\n{listed}\n")
        return True
    question = (
        f"Host keys seen for the first time:\n{listed}\n"
        "Compare them with what your hoster's console shows for\n"
        "  ssh-keygen -lf /etc/ssh/ssh_host_ed25519_key.pub\n"
        "Are they right? [y/N] "
    )
    if agrees is not None:
        return agrees(question)
    if not sys.stdin.isatty():
        return False
    sys.stderr.write(question)
    sys.stderr.flush()
    return sys.stdin.readline().strip().lower() in ("y", "yes")


def _refused(cluster: Cluster, node_id: str, key: HostKey) -> str:
    how = (
        "add it to your known_hosts, or set"
        if cluster.ssh.host_keys == "strict"
        else "run this in a terminal to be asked, add it to your known_hosts, or set"
    )
    return (
        f"{node_id}: nobody knows its SSH host key, {key}: if it is right, {how} "
        "`ssh: {host_keys: accept-new}` in the cluster file"
    )


def _with_its_own_files(to: Access, fresh: Path) -> tuple[str, ...]:
    """OpenSSH with all the host keys it knows, where a new one is written to `fresh`."""
    done = subprocess.run(
        ["ssh", "-T", "-G", *to.options, "--", to.name],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
    )
    own = next(
        (
            line.partition(" ")[2]
            for line in done.stdout.splitlines()
            if line.startswith("userknownhostsfile ")
        ),
        "",
    )
    return (f'UserKnownHostsFile="{fresh}" {own}', "HashKnownHosts=no")


def _handshake(to: Access, fresh: Path, *options: str) -> tuple[str, str]:
    """Connect up to where one would log in; returns what OpenSSH, and hosts on the way, say."""
    log = fresh.with_suffix(".log")
    every = (
        *options,
        "StrictHostKeyChecking=accept-new",
        "UpdateHostKeys=no",
        "ControlPath=none",
        "BatchMode=yes",
        f"ConnectTimeout={CONNECT_TIMEOUT}",
        # The server's key is all that is wanted.
        "PreferredAuthentications=none",
    )
    words = [word for option in every for word in ("-o", option)]
    try:
        done = subprocess.run(
            # The log of this very connection: hosts on the way have theirs on stderr.
            ["ssh", "-T", "-v", "-E", str(log), *words, *to.options, "--", to.name, "true"],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            check=False,
            timeout=4 * CONNECT_TIMEOUT,
        )
    except subprocess.TimeoutExpired:
        return f"no answer within {4 * CONNECT_TIMEOUT} seconds", ""
    except FileNotFoundError:
        return "there is no `ssh` on this computer: install openssh-client", ""
    own = log.read_text(encoding="utf-8", errors="replace") if log.exists() else ""
    return own, done.stderr


def _reason(log: str, on_the_way: str) -> str:
    """The last thing that OpenSSH said to people; of a host on the way, if that failed."""
    if "REMOTE HOST IDENTIFICATION HAS CHANGED" in log + on_the_way:
        return "its SSH host key isn't the one in your known_hosts: is this the right machine?"
    if "Host key verification failed" in on_the_way:
        return "a host on the way to it isn't known to your OpenSSH: log in there once with `ssh`"
    lines = (line.strip() for text in (log, on_the_way) for line in text.splitlines())
    said = [line for line in lines if not _NOISE.match(line)]
    return f"can't be reached over SSH: {said[-1] if said else 'no reason was given'}"


def _first_key(path: Path) -> HostKey | None:
    return next((key for _, key in known_hosts.entries(path)), None)
