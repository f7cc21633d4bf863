"""`<file>.attr.json`: all that is known of a file, beside it, so that the index can be rebuilt."""

from __future__ import annotations

from agent.index import Intent
from portside.wire import StoredFile, TokenId


class Attributes(StoredFile):
    """A stored file and the id of the token it was uploaded with. At most 4 KiB as JSON."""

    jti: TokenId

    @classmethod
    def of(cls, intent: Intent) -> Attributes:
        """The attributes of a file that is about to be committed."""
        return cls(**dict(intent.stored), jti=intent.jti)

    def stored(self) -> StoredFile:
        """The stored file alone."""
        return StoredFile(**{name: getattr(self, name) for name in StoredFile.model_fields})
