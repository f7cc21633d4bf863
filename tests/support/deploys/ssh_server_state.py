"""What a node says of its SSH server, as the fact's shell prints it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from deploys.hosts.ssh_server import CONFIG, DROP_INS

DEBIANS = (f"Include {DROP_INS}/*.conf", "KbdInteractiveAuthentication no", "UsePAM yes")
"""What is in Debian's sshd_config."""

ALGORITHMS = {
    "kex": ("curve25519-sha256", "sntrup761x25519-sha512@openssh.com", "ecdh-sha2-nistp256"),
    "cipher": ("chacha20-poly1305@openssh.com", "aes128-ctr", "3des-cbc"),
    "mac": ("hmac-sha2-256-etm@openssh.com", "hmac-sha1"),
    "host_key": ("ssh-ed25519", "rsa-sha2-512", "ecdsa-sha2-nistp256"),
}


def lines(
    main: Sequence[str] = DEBIANS,
    drop_ins: Mapping[str, Sequence[str]] = {},
    listens: Sequence[str] = ("0.0.0.0:22", "[::]:22"),
    host_keys: Sequence[str] = ("ssh-ed25519 AAAAC3Nz",),
) -> list[str]:
    """A Debian's, where nothing else is said."""
    return [
        "sshd",
        *(f"listens {each}" for each in listens),
        *(f"knows {kind} {name}" for kind, names in ALGORITHMS.items() for name in names),
        *(f"hostkey {each}" for each in host_keys),
        *(f"line {CONFIG}:{text}" for text in main),
        *(f"line {DROP_INS}/{file}:{text}" for file in sorted(drop_ins) for text in drop_ins[file]),
    ]
