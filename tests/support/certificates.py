"""Certificates as authorities give them, and as they go wrong."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from portside.operator.certificates import Pair


def made(
    name: str,
    above: Pair | None = None,
    *,
    is_ca: bool = False,
    hosts: tuple[str, ...] = (),
    days: tuple[float, float] = (-1, 90),
) -> Pair:
    """A certificate of this name, signed by `above` or by itself, that lasts from the first of
    `days` to the second, counted from now."""
    key, now = ec.generate_private_key(ec.SECP256R1()), datetime.now(UTC)
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
    issuer, signs = subject, key
    if above is not None:
        issuer = x509.load_pem_x509_certificate(above.certificate_pem).subject
        loaded = serialization.load_pem_private_key(above.key_pem, None)
        assert isinstance(loaded, ec.EllipticCurvePrivateKey)
        signs = loaded
    builder = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now + timedelta(days=days[0]))
        .not_valid_after(now + timedelta(days=days[1]))
        .add_extension(x509.BasicConstraints(ca=is_ca, path_length=None), critical=True)
    )
    if hosts:
        names = x509.SubjectAlternativeName([x509.DNSName(host) for host in hosts])
        builder = builder.add_extension(names, critical=False)
    return Pair(
        builder.sign(signs, hashes.SHA256()).public_bytes(serialization.Encoding.PEM),
        _pem(key, serialization.NoEncryption()),
    )


def encrypted(pair: Pair) -> bytes:
    """Its key behind a passphrase."""
    key = serialization.load_pem_private_key(pair.key_pem, None)
    assert isinstance(key, ec.EllipticCurvePrivateKey)
    return _pem(key, serialization.BestAvailableEncryption(b"secret"))


def _pem(
    key: ec.EllipticCurvePrivateKey, encryption: serialization.KeySerializationEncryption
) -> bytes:
    return key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, encryption
    )
