"""SHA-256 whose state can be saved: an upload goes on after a restart without being read again.

hashlib keeps its state to itself. OpenSSL's own SHA256_CTX is a plain structure, so a copy of its
bytes is the state (openssl/sha.h, SHA256_Init(3)); the code behind it is the one hashlib uses, and
ctypes lets go of the interpreter lock while it runs. The functions are deprecated, not gone: where
a system's OpenSSL lacks them, or means another structure, importing this fails and says so.
"""

from __future__ import annotations

import ctypes
import hashlib

_STATE_SIZE = 112
"""sizeof(SHA256_CTX): 8 words of hash, 2 of length, 16 of data, 2 counters, 4 bytes each."""

_libcrypto = ctypes.CDLL("libcrypto.so.3")
_libcrypto.SHA256_Init.argtypes = [ctypes.c_void_p]
_libcrypto.SHA256_Update.argtypes = [ctypes.c_void_p, ctypes.c_void_p, ctypes.c_size_t]
_libcrypto.SHA256_Final.argtypes = [ctypes.c_void_p, ctypes.c_void_p]


class Sha256:
    """A digest under way. Used by one thread at a time."""

    def __init__(self) -> None:
        self._context = ctypes.create_string_buffer(_STATE_SIZE)
        _libcrypto.SHA256_Init(self._context)

    @classmethod
    def from_state(cls, state: bytes) -> Sha256:
        """Go on from what `state` returned. Raises ValueError when it can't be that."""
        if len(state) != _STATE_SIZE:
            raise ValueError(f"a state of SHA-256 has {_STATE_SIZE} bytes, this has {len(state)}")
        digest = cls()
        ctypes.memmove(digest._context, state, _STATE_SIZE)
        return digest

    def update(self, data: bytes | bytearray | memoryview) -> None:
        """Take in more bytes. A memoryview must be writable: its memory is read where it is."""
        length = len(data)
        if not length:
            return
        if isinstance(data, bytes):
            _libcrypto.SHA256_Update(self._context, data, length)
            return
        held = (ctypes.c_char * length).from_buffer(data)
        _libcrypto.SHA256_Update(self._context, ctypes.addressof(held), length)

    def hexdigest(self) -> str:
        """The digest of everything so far, in hex. More may follow."""
        copy = ctypes.create_string_buffer(self.state(), _STATE_SIZE)
        digest = ctypes.create_string_buffer(32)
        _libcrypto.SHA256_Final(digest, copy)
        return digest.raw.hex()

    def state(self) -> bytes:
        """Everything that `from_state` needs: 112 bytes, for the same machine only."""
        return self._context.raw


def _check() -> None:
    """A structure other than the one expected would show in a wrong digest."""
    sample = bytes(range(256)) * 3
    begun = Sha256()
    begun.update(sample[:100])
    resumed = Sha256.from_state(begun.state())
    resumed.update(bytearray(sample[100:]))
    if resumed.hexdigest() != hashlib.sha256(sample).hexdigest():
        raise ImportError("this OpenSSL's SHA256_CTX is not the one Portside knows")


_check()
