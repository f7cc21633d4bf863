"""X.509 for the lab's own certificate authority: make a CA, issue a node's certificate, judge one.

Pure: PEM in, PEM out; where it is kept is the keystore's business. ECDSA P-256 because every TLS
client knows it and its handshakes are cheap.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

CA_DAYS = 3650
NODE_DAYS = 397
"""Browsers refuse server certificates with a longer life (398 days)."""

RENEW_DAYS = 30

_BACKDATE = timedelta(hours=1)
"""Certificates start this far in the past: a node's clock may be behind the operator's."""


@dataclass(frozen=True, slots=True)
class Pair:
    """A certificate and its private key, both PEM."""

    certificate_pem: bytes
    key_pem: bytes

    def __repr__(self) -> str:
        return "Pair(<certificate>, <private key>)"


def make_ca(cluster_name: str) -> Pair:
    """A self-signed CA for one cluster, which can sign node certificates and no further CA."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, f"Portside CA of {cluster_name}")])
    certificate = (
        _builder(name, name, key.public_key(), key.public_key(), CA_DAYS)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .add_extension(_key_usage(signs_certificates=True), critical=True)
        .sign(key, hashes.SHA256())
    )
    return _pair(certificate, key)


def issue(ca: Pair, host: str) -> Pair:
    """A server certificate for the DNS name `host`, with a key of its own, signed by `ca`."""
    ca_certificate, ca_key = _loaded(ca)
    key = ec.generate_private_key(ec.SECP256R1())
    # The name is in the SAN, where clients look; a common name holds 64 characters, hosts may have
    # more, so the subject stays empty and the SAN is critical (RFC 5280, section 4.2.1.6).
    certificate = (
        _builder(
            x509.Name([]),
            ca_certificate.subject,
            key.public_key(),
            ca_key.public_key(),
            NODE_DAYS,
        )
        .add_extension(x509.SubjectAlternativeName([x509.DNSName(host)]), critical=True)
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(_key_usage(signs_certificates=False), critical=True)
        .add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH]), critical=False)
        .sign(ca_key, hashes.SHA256())
    )
    return _pair(certificate, key)


def check_ca(ca: Pair) -> None:
    """Raises ValueError when `ca` can't be used: unreadable, another's key, about to expire."""
    certificate, key = _loaded(ca)
    if certificate.public_key() != key.public_key():
        raise ValueError("the key beside it belongs to another certificate")
    if certificate.not_valid_after_utc < datetime.now(UTC) + timedelta(days=RENEW_DAYS):
        raise ValueError(f"it expires on {certificate.not_valid_after_utc:%Y-%m-%d}")


def still_good(certificate_pem: bytes, key_pem: bytes, ca: Pair, host: str) -> bool:
    """Whether a node's pair can be kept: for `host`, from `ca`, key matching, 30 days left."""
    try:
        certificate, key = _loaded(Pair(certificate_pem, key_pem))
        names = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
        certificate.verify_directly_issued_by(_loaded(ca)[0])
    except (ValueError, TypeError, InvalidSignature, x509.ExtensionNotFound):
        return False
    return (
        names.get_values_for_type(x509.DNSName) == [host]
        and certificate.public_key() == key.public_key()
        and certificate.not_valid_after_utc >= datetime.now(UTC) + timedelta(days=RENEW_DAYS)
    )


def expiry(certificate_pem: bytes) -> datetime:
    """When a certificate ends, in UTC. Raises ValueError for what is no certificate."""
    return x509.load_pem_x509_certificate(certificate_pem).not_valid_after_utc


def _builder(
    subject: x509.Name,
    issuer: x509.Name,
    public_key: ec.EllipticCurvePublicKey,
    issuer_key: ec.EllipticCurvePublicKey,
    days: int,
) -> x509.CertificateBuilder:
    now = datetime.now(UTC)
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(public_key)
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - _BACKDATE)
        .not_valid_after(now + timedelta(days=days))
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(public_key), critical=False)
        .add_extension(
            x509.AuthorityKeyIdentifier.from_issuer_public_key(issuer_key), critical=False
        )
    )


def _key_usage(signs_certificates: bool) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=not signs_certificates,
        key_cert_sign=signs_certificates,
        crl_sign=signs_certificates,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        encipher_only=False,
        decipher_only=False,
    )


def _loaded(pair: Pair) -> tuple[x509.Certificate, ec.EllipticCurvePrivateKey]:
    certificate = x509.load_pem_x509_certificate(pair.certificate_pem)
    key = serialization.load_pem_private_key(pair.key_pem, password=None)
    if not isinstance(key, ec.EllipticCurvePrivateKey):
        raise ValueError("its key is no elliptic curve key")
    return certificate, key


def _pair(certificate: x509.Certificate, key: ec.EllipticCurvePrivateKey) -> Pair:
    return Pair(
        certificate.public_bytes(serialization.Encoding.PEM),
        key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        ),
    )
