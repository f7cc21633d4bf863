"""The files of the operator's machine that a cluster file needs: that they are there, and right.

A deploy looks at them too; here they are told before there is any machine.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from datetime import datetime
from pathlib import Path

from portside.cluster.file import Cluster
from portside.cluster.reading.mistake import Mistake
from portside.operator import certificates
from portside.operator.keystore import Keystore, KeystoreError


def checked(
    cluster: Cluster, keystore: Keystore, now: datetime, system: Callable[[], bytes | None]
) -> tuple[list[Mistake], list[Mistake]]:
    """What is wrong with them, and what an operator should know.

    `system` gives the authorities that this computer knows, as PEM.
    """
    wrong, told = [*_ssh(cluster)], [*_credentials(cluster, keystore)]
    named = cluster.tls.authority
    # Where the authority can't be used, that is what is to be said, of no chain anything.
    roots = system() if named is None else None
    if named is not None:
        try:
            roots = named.read_bytes()
            certificates.check_authority(roots, now)
        except OSError as error:
            roots = None
            wrong.append(Mistake(f"{named}: {error.strerror}", "tls.authority"))
        except ValueError as error:
            roots = None
            wrong.append(Mistake(f"{named}: {error}", "tls.authority"))
    folder = cluster.tls.directory
    if cluster.tls.mode != "files" or folder is None:
        return wrong, told
    if not folder.is_dir():
        return [*wrong, Mistake(f"there is no folder {folder}", "tls.directory")], told
    for node_id in cluster.nodes:
        certificate = folder / f"{node_id}.crt"
        try:
            pair = certificate.read_bytes(), certificate.with_suffix(".key").read_bytes()
        except OSError as error:
            wrong.append(Mistake(f"{error.filename}: {error.strerror}", "tls.directory"))
            continue
        found = certificates.problems(*pair, cluster.host(node_id), now, roots)
        wrong += [Mistake(f"{certificate}: {each}", "tls.directory") for each in found]
        if not found and (soon := certificates.soon(pair[0], now)):
            told.append(Mistake(f"{certificate}: {soon}", "tls.directory"))
    return wrong, told


def _ssh(cluster: Cluster) -> Iterator[Mistake]:
    named: list[tuple[str, Path | None]] = [
        ("ssh.key", cluster.ssh.key),
        ("ssh.config", cluster.ssh.config),
        *((f"nodes.{node_id}.ssh.key", node.ssh.key) for node_id, node in cluster.nodes.items()),
    ]
    for key, path in named:
        if path is None:
            continue
        try:
            with path.open("rb"):
                pass
        except OSError as error:
            yield Mistake(f"{path}: {error.strerror}", key)


def _credentials(cluster: Cluster, keystore: Keystore) -> Iterator[Mistake]:
    """Secrets that are put into the keystore by hand, and that a deploy asks for."""
    replica = cluster.control.replica
    needed = {
        "cold": (keystore.cold_credentials, cluster.cold),
        "control.replica.bucket": (keystore.replica_credentials, replica and replica.bucket),
        "control.replica.sftp": (keystore.replica_key, replica and replica.sftp),
    }
    for key, (ask, wanted) in needed.items():
        if wanted:
            try:
                ask()
            except KeystoreError as error:
                yield Mistake(f"before a deploy: {error}", key)
