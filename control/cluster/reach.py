"""Whose files a caller may know of: of one app or of all, in some namespaces or in all.

Whoever asks for a file outside hears that there is none: what others have is nobody's business.
"""

from __future__ import annotations

from collections.abc import Set
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Reach:
    """What one caller reaches. None stands for every app, every namespace."""

    app_id: str | None
    namespaces: Set[str] | None = None

    def covers(self, app_id: str | None, namespace: str) -> bool:
        """Whether a file of this app's (None: of nobody's) in this namespace is within."""
        return self.app_id in (None, app_id) and self.has_namespace(namespace)

    def has_namespace(self, namespace: str) -> bool:
        """Whether files of this namespace are within at all."""
        return self.namespaces is None or namespace in self.namespaces


EVERYTHING = Reach(None)
"""An operator's."""

NOTHING = Reach(None, frozenset())
"""Of who has no key, or none that is good for this."""
