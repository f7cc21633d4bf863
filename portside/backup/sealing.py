"""What leaves for a place that others can read, encrypted: AES-256-GCM over chunks.

    salt (32 bytes) | chunk | chunk | ... | last chunk

Each chunk is 1 MiB of the text, the last one what is left (maybe nothing), with its tag of 16 bytes
behind it. The key is derived anew for each text from the salt, so that nonces, which count the
chunks, never repeat under one key. The nonce's last byte says whether the chunk is the last one:
what was cut, put in another order or put together from two texts isn't opened (the STREAM
construction, https://eprint.iacr.org/2015/189). What a text is of (`context`) has to be the same
when it is opened.
"""

from __future__ import annotations

import os
import secrets
from collections.abc import Iterator
from typing import BinaryIO

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF
from cryptography.hazmat.primitives.kdf.scrypt import Scrypt

from portside import base64url

KEY_BYTES = 32
SHORTEST_PASSPHRASE = 12
"""Characters. Scrypt makes each guess dear; what is shorter is guessed all the same."""

_CHUNK = 1 << 20
_TAG = 16
_SALT = 32


class SealBroken(Exception):
    """A sealed text that isn't opened by this key; the message says what that may mean."""


class Seal:
    """A key that seals and opens. Make it with `of_key` or `of_passphrase`."""

    def __init__(self, secret: bytes, *, is_passphrase: bool) -> None:
        self._secret = secret
        self.is_passphrase = is_passphrase

    @classmethod
    def of_key(cls, text: str) -> Seal:
        """The key in a file that `new_key` made. Raises ValueError for what is none."""
        key = base64url.decode(text.strip())
        if len(key) != KEY_BYTES:
            raise ValueError(f"has {len(key)} bytes and should have {KEY_BYTES}")
        return cls(key, is_passphrase=False)

    @classmethod
    def of_passphrase(cls, passphrase: str) -> Seal:
        """Raises ValueError for one that is too short."""
        if len(passphrase) < SHORTEST_PASSPHRASE:
            raise ValueError(f"a passphrase has at least {SHORTEST_PASSPHRASE} characters")
        return cls(passphrase.encode(), is_passphrase=True)

    def seal(self, plain: BinaryIO, context: str) -> Iterator[bytes]:
        """The sealed text, piece by piece."""
        salt = secrets.token_bytes(_SALT)
        cipher, about = self._cipher(salt), context.encode()
        yield salt
        chunk, number = plain.read(_CHUNK), 0
        while True:
            following = plain.read(_CHUNK) if len(chunk) == _CHUNK else b""
            yield cipher.encrypt(_nonce(number, last=not following), chunk, about)
            if not following:
                return
            chunk, number = following, number + 1

    def open(self, sealed: BinaryIO, context: str) -> Iterator[bytes]:
        """The text, piece by piece, each one proven before it is given. Raises SealBroken: then
        what was given so far is to be thrown away."""
        cipher, about = self._cipher(sealed.read(_SALT)), context.encode()
        chunk, number = sealed.read(_CHUNK + _TAG), 0
        while True:
            following = sealed.read(_CHUNK + _TAG) if len(chunk) == _CHUNK + _TAG else b""
            try:
                yield cipher.decrypt(_nonce(number, last=not following), chunk, about)
            except (InvalidTag, ValueError):
                raise SealBroken(
                    "the passphrase is another one, or it is damaged"
                    if self.is_passphrase
                    else "the key is another one, or it is damaged"
                ) from None
            if not following:
                return
            chunk, number = following, number + 1

    def _cipher(self, salt: bytes) -> AESGCM:
        if self.is_passphrase:
            # Half a second and 128 MiB for each guess (RFC 7914).
            return AESGCM(Scrypt(salt, KEY_BYTES, n=1 << 17, r=8, p=1).derive(self._secret))
        key = HKDF(SHA256(), KEY_BYTES, salt, b"portside backup").derive(self._secret)
        return AESGCM(key)


def new_key() -> str:
    """A new key, as it stands in a file."""
    return base64url.encode(os.urandom(KEY_BYTES))


def _nonce(number: int, *, last: bool) -> bytes:
    return number.to_bytes(11, "big") + bytes([last])
