"""What an admission asks an index, for tests that have none."""

from __future__ import annotations


class NothingBegun:
    """An index without resumable uploads."""

    def files_begun(self) -> int:
        """None of the files in staging is an upload's."""
        return 0

    def promises(self) -> list[tuple[str, int, int]]:
        """Nothing is promised to any."""
        return []
