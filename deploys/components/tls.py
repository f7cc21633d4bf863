"""The node's certificate and key, and the authority it knows the others by, from the operator's
machine."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

from pyinfra.api.deploy import deploy
from pyinfra.api.exceptions import PyinfraError

from deploys import layout
from deploys.hosts.node import Node
from deploys.operations.files import File, files_in_place
from portside.client.http.trust import system_authorities
from portside.operator import certificates
from portside.operator.keystore import Keystore, KeystoreError


@deploy("TLS")
def tls(node: Node) -> None:
    """A checked pair: nginx could start with a wrong one only to fail at the next boot."""
    certificate, key = certificate_files(node)
    authority = authority_file(node)
    files_in_place(
        name="Certificate and key",
        files=[
            File(layout.TLS_CERTIFICATE, certificate, mode=0o640),
            File(layout.TLS_KEY, key, mode=0o600),
            *([] if authority is None else [File(layout.CA_CERTIFICATE, authority)]),
        ],
    )


def certificate_files(node: Node) -> tuple[str, str]:
    """The certificate chain and its key as PEM text.

    Raises PyinfraError, before anything is changed, when there is no usable pair.
    """
    mode, directory = node.cluster.tls.mode, node.cluster.tls.directory
    if mode == "acme":
        raise PyinfraError("tls.mode: acme is not available yet: use 'files' or 'lab'")
    try:
        if mode == "lab":
            keystore = Keystore.for_cluster(node.cluster, layout.PROJECT_ROOT)
            certificate, key = keystore.node_certificate(node.node_id, node.host)
        else:
            folder = (layout.PROJECT_ROOT / (directory or Path())).expanduser()
            certificate = folder / f"{node.node_id}.crt"
            key = folder / f"{node.node_id}.key"
        pair = _read(certificate), _read(key)
        certificates.check_pair(
            pair[0].encode(), pair[1].encode(), node.host, datetime.now(UTC), _roots(node)
        )
    except (KeystoreError, OSError, ValueError) as error:
        raise PyinfraError(f"{node.node_id}: no certificate to use: {error}") from None
    return pair


def authority_file(node: Node) -> str | None:
    """The CA's certificate as PEM text where the cluster has one of its own, else None.

    Raises PyinfraError, before anything is changed, when it is missing.
    """
    mode, named = node.cluster.tls.mode, node.cluster.tls.authority
    if mode != "lab" and named is None:
        return None
    try:
        if mode != "lab" and named is not None:
            text = _read(layout.PROJECT_ROOT / named.expanduser())
            certificates.check_authority(text.encode(), datetime.now(UTC))
            return text
        return _read(Keystore.for_cluster(node.cluster, layout.PROJECT_ROOT).ca_certificate())
    except (KeystoreError, OSError, ValueError) as error:
        raise PyinfraError(f"{node.node_id}: no certificate authority: {error}") from None


def _roots(node: Node) -> bytes | None:
    authority = authority_file(node)
    return system_authorities() if authority is None else authority.encode()


def _read(path: Path) -> str:
    text = path.read_text(encoding="utf-8")
    return text if text.endswith("\n") else text + "\n"
