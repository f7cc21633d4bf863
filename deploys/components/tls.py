"""The node's certificate and key, and the authority it knows the others by, from the operator's
machine."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives.serialization import load_pem_private_key
from pyinfra.api.deploy import deploy
from pyinfra.api.exceptions import PyinfraError

from deploys import layout
from deploys.hosts.node import Node
from deploys.operations.files import File, files_in_place
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
        check_pair(*pair, host=node.host, moment=datetime.now(UTC))
    except (KeystoreError, OSError, ValueError, x509.ExtensionNotFound) as error:
        raise PyinfraError(f"{node.node_id}: no certificate to use: {error}") from None
    return pair


def authority_file(node: Node) -> str | None:
    """The CA's certificate as PEM text where the cluster has one of its own, else None.

    Raises PyinfraError, before anything is changed, when it is missing.
    """
    if node.cluster.tls.mode != "lab":
        return None
    try:
        return _read(Keystore.for_cluster(node.cluster, layout.PROJECT_ROOT).ca_certificate())
    except (KeystoreError, OSError) as error:
        raise PyinfraError(f"{node.node_id}: no certificate authority: {error}") from None


def check_pair(certificate: str, key: str, host: str, moment: datetime) -> None:
    """Raise ValueError unless the first certificate is for `host` and `key`, and valid now."""
    found = x509.load_pem_x509_certificates(certificate.encode())[0]
    if found.public_key() != load_pem_private_key(key.encode(), password=None).public_key():
        raise ValueError("the key belongs to another certificate")
    if not found.not_valid_before_utc <= moment < found.not_valid_after_utc:
        raise ValueError(f"the certificate is not valid now: it ends {found.not_valid_after_utc}")
    names = found.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    dns_names = names.get_values_for_type(x509.DNSName)
    if host not in dns_names and "*." + host.partition(".")[2] not in dns_names:
        raise ValueError(f"the certificate is for {', '.join(dns_names)}, not for {host}")


def _read(path: Path) -> str:
    text = path.read_text(encoding="utf-8")
    return text if text.endswith("\n") else text + "\n"
