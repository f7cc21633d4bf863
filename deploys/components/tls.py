"""The node's certificate and key, and the authority it knows the others by, from the operator's
machine.

A node that asks an ACME authority for them (components/acme.py) begins with a certificate that
nobody trusts: nginx needs one to start, and has to serve port 80 before there can be another.
"""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

from pyinfra.api.deploy import deploy
from pyinfra.api.exceptions import PyinfraError

from deploys import layout
from deploys.hosts.node import Node
from deploys.operations.files import File, files_in_place
from deploys.operations.services import converged
from portside.client.http.trust import system_authorities
from portside.cluster import file as cluster_file
from portside.operator import authority, certificates
from portside.operator.keystore import Keystore, KeystoreError

# Signed by itself, for no host: no client takes it for the node's. One that can be read stays.
PLACEHOLDER = f"""\
cd {layout.TLS}; umask 077
if {{ openssl x509 -noout -in node.pem && openssl pkey -noout -in node.pem; }} >/dev/null 2>&1; then
    chown root:root node.pem; chmod 0600 node.pem
else
    openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -noenc -days 3650 \\
        -subj '/CN=no certificate yet' -keyout .candidate.key -out .candidate.crt
    cat .candidate.crt .candidate.key > .candidate-node.pem
    rm .candidate.key .candidate.crt; mv -fT .candidate-node.pem node.pem
fi"""
HAS_ONE = (
    f"[ \"$(stat -c '%U:%G %a' {layout.TLS_PAIR})\" = 'root:root 600' ] && "
    f"openssl x509 -noout -in {layout.TLS_PAIR} && openssl pkey -noout -in {layout.TLS_PAIR}"
)


@deploy("TLS")
def tls(node: Node) -> None:
    """A checked pair: nginx could start with a wrong one only to fail at the next boot."""
    authority = authority_file(node)
    files = [] if authority is None else [File(layout.CA_CERTIFICATE, authority)]
    if node.cluster.tls.mode != "acme":
        files.append(File(layout.TLS_PAIR, "".join(certificate_files(node)), mode=0o600))
    if files:
        files_in_place(name="Certificate and key", files=files)
    if node.cluster.tls.mode == "acme":
        converged(
            name="A certificate to begin with",
            service="placeholder",
            holds=HAS_ONE,
            otherwise=PLACEHOLDER,
        )


def certificate_files(node: Node) -> tuple[str, str]:
    """The certificate chain and its key as PEM text.

    Raises PyinfraError, before anything is changed, when there is no usable pair.
    """
    mode, directory = node.cluster.tls.mode, node.cluster.tls.directory
    try:
        if mode == "lab":
            keystore = Keystore.for_cluster(node.cluster, layout.PROJECT_ROOT)
            certificate, key = keystore.node_certificate(node.node_id, node.host)
        else:
            folder = authority.located(directory or Path(), *_folders())
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
            text = _read(authority.located(named, *_folders()))
            certificates.check_authority(text.encode(), datetime.now(UTC))
            return text
        return _read(Keystore.for_cluster(node.cluster, layout.PROJECT_ROOT).ca_certificate())
    except (KeystoreError, OSError, ValueError) as error:
        raise PyinfraError(f"{node.node_id}: no certificate authority: {error}") from None


def _folders() -> tuple[Path, ...]:
    """As `portside cluster check` looks for what the cluster file names."""
    root = layout.PROJECT_ROOT
    return authority.folders(cluster_file.find(root), root)


def _roots(node: Node) -> bytes | None:
    authority = authority_file(node)
    return system_authorities() if authority is None else authority.encode()


def _read(path: Path) -> str:
    text = path.read_text(encoding="utf-8")
    return text if text.endswith("\n") else text + "\n"
