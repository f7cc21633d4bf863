"""X.509 for the lab's own certificate authority: make a CA, issue a node's certificate, judge one.

Pure: PEM in, PEM out; where it is kept is the keystore's business. ECDSA P-256 because every TLS
client knows it and its handshakes are cheap.
"""

from __future__ import annotations

import re
import warnings
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from cryptography import x509
from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.utils import CryptographyDeprecationWarning
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

CA_DAYS = 3650
NODE_DAYS = 397
"""Browsers refuse server certificates with a longer life (398 days)."""

RENEW_DAYS = 30

EXPIRING_DAYS = 14
"""A certificate that ends sooner is told of: authorities renew theirs a month before."""

_BACKDATE = timedelta(hours=1)
"""Certificates start this far in the past: a node's clock may be behind the operator's."""


_CERTIFICATE = re.compile(rb"-----BEGIN CERTIFICATE-----.*?-----END CERTIFICATE-----", re.DOTALL)


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


def check_pair(
    certificate_pem: bytes, key_pem: bytes, host: str, moment: datetime, roots: bytes | None
) -> None:
    """Raise ValueError, with everything that is wrong at once, unless clients would take the pair.

    `roots` are the authorities that clients know, PEM; None: whose they are isn't looked at.
    """
    if wrong := problems(certificate_pem, key_pem, host, moment, roots):
        raise ValueError("; ".join(wrong))


def problems(
    certificate_pem: bytes, key_pem: bytes, host: str, moment: datetime, roots: bytes | None
) -> list[str]:
    """What clients, or nginx, would refuse of a certificate with its chain and key: a line each."""
    try:
        chain = x509.load_pem_x509_certificates(certificate_pem)
    except ValueError:
        return ["there is no certificate (PEM) in it"]
    leaf, found = chain[0], []
    try:
        key = serialization.load_pem_private_key(key_pem, password=None)
        if leaf.public_key() != key.public_key():
            found.append("the key belongs to another certificate")
    except TypeError:
        found.append(
            "the key is encrypted, and nginx can't ask for its passphrase: write it without one, "
            "`openssl pkey -in s01.key -out plain.key`"
        )
    except (ValueError, UnsupportedAlgorithm):
        found.append("there is no private key (PEM) in the key's file")
    if moment < leaf.not_valid_before_utc:
        found.append(
            f"the certificate is not valid now: it begins {leaf.not_valid_before_utc:%F %T} UTC"
        )
    if moment >= leaf.not_valid_after_utc:
        found.append(
            f"the certificate is not valid now: it ended {leaf.not_valid_after_utc:%F %T} UTC"
        )
    names = _dns_names(leaf)
    if host not in names and "*." + host.partition(".")[2] not in names:
        found.append(f"the certificate is for {', '.join(names) or 'no host'}, not for {host}")
    if roots is not None and (gap := _gap(chain, _authorities(roots), moment)):
        found.append(gap)
    return found


def soon(certificate_pem: bytes, moment: datetime) -> str | None:
    """That a certificate ends within two weeks, if so. Raises ValueError."""
    ends = expiry(certificate_pem)
    if moment < ends < moment + timedelta(days=EXPIRING_DAYS):
        return f"the certificate ends {ends:%F %T} UTC: renew it"
    return None


def check_authority(authority_pem: bytes, moment: datetime) -> None:
    """Raise ValueError unless these are certificates of authorities that may sign now."""
    try:
        authorities = x509.load_pem_x509_certificates(authority_pem)
    except ValueError:
        raise ValueError("there is no certificate (PEM) in it") from None
    for each in authorities:
        if not _is_ca(each):
            raise ValueError(f"{_called(each)} is no authority: its certificate may sign no other")
        if each.not_valid_after_utc <= moment:
            raise ValueError(f"{_called(each)} ended {each.not_valid_after_utc:%F %T} UTC")


def _gap(
    chain: list[x509.Certificate], roots: list[x509.Certificate], moment: datetime
) -> str | None:
    """Where the way from the first certificate to an authority that clients know breaks off.

    Clients get the chain in the order of the file, and most of them need all of it but the root
    (RFC 8446, section 4.4.2).
    """
    at, rest = chain[0], chain[1:]
    if _is_ca(at) and rest:
        return f"the first certificate is the authority {_called(at)}: the node's own goes first"
    while True:
        if any(at == root or _signed(at, root) for root in roots):
            return None
        above = next((each for each in rest if _is_ca(each) and _signed(at, each)), None)
        if above is None:
            break
        if above.not_valid_after_utc <= moment:
            return f"{_called(above)}, in its chain, ended {above.not_valid_after_utc:%F %T} UTC"
        rest.remove(above)
        at = above
    if at.issuer == at.subject:
        return f"{_called(at)} signed itself, and is no authority that clients know"
    return (
        f"{_called(at)} was signed by {at.issuer.rfc4514_string() or 'nobody named'}, which is "
        "neither behind it in the file nor an authority that clients know: put the intermediate "
        "certificates behind the node's own, or name your authority (tls.authority)"
    )


def _signed(certificate: x509.Certificate, authority: x509.Certificate) -> bool:
    try:
        certificate.verify_directly_issued_by(authority)
    except (ValueError, TypeError, InvalidSignature, UnsupportedAlgorithm):
        return False
    return True


def _is_ca(certificate: x509.Certificate) -> bool:
    try:
        return certificate.extensions.get_extension_for_class(x509.BasicConstraints).value.ca
    except (x509.ExtensionNotFound, ValueError):
        return False


def _dns_names(certificate: x509.Certificate) -> list[str]:
    try:
        named = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName)
    except (x509.ExtensionNotFound, ValueError):
        return []
    return named.value.get_values_for_type(x509.DNSName)


def _called(certificate: x509.Certificate) -> str:
    names = _dns_names(certificate)
    return certificate.subject.rfc4514_string() or (names[0] if names else "a certificate")


def _authorities(pem: bytes) -> list[x509.Certificate]:
    """Those that can be read: of a system's hundreds an odd one must not hide the others."""
    found = []
    with warnings.catch_warnings():
        # Some have serial numbers that RFC 5280 doesn't allow.
        warnings.simplefilter("ignore", CryptographyDeprecationWarning)
        for each in _CERTIFICATE.findall(pem):
            with suppress(ValueError):
                found.append(x509.load_pem_x509_certificate(each))
    return found


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
