"""Which releases a node can go back to: those that it ran, with what was kept of each."""

from __future__ import annotations

from dataclasses import dataclass

from pyinfra.api.facts import FactBase


@dataclass(frozen=True, slots=True)
class Ways:
    """The release that runs; those that can be gone back to, the one that was replaced last first.

    `left` are those that the node went back from, `returned` says that it went back to the one that
    runs. Where a run ended before it had proven its change, `begun` is the release that ran before
    that, and `towards` the one that it was going back to, if it was.
    """

    current: str | None
    kept: tuple[str, ...]
    left: frozenset[str]
    returned: bool
    begun: str | None = None
    towards: str | None = None

    def before(self, wanted: str | None) -> str | None:
        """The release to go back to; None where there is none, or nothing is to be done.

        Without one that is wanted, the last that worked: who went back already stays there, and
        what a run has begun comes to its end.
        """
        if wanted is not None:
            is_there = wanted in (*self.kept, self.begun)
            return wanted if is_there and (wanted != self.current or self.begun) else None
        if self.begun is not None:
            return self.towards or self.begun
        if self.returned:
            return None
        good = (each for each in self.kept if each not in self.left and each != self.current)
        return next(good, None)


class WayBack(FactBase[Ways]):
    """What is in the releases folder of a node, and what the runs before have noted there."""

    @staticmethod
    def default() -> Ways:
        return Ways(None, (), frozenset(), returned=False)

    def command(self, releases: str, current: str, before: str) -> str:
        return (
            f"cd {releases} 2>/dev/null || exit 0; "
            f"[ -s {before}/release ] && echo begun $(cat {before}/release); "
            f"[ -e {before}/back ] && read to left < {before}/back && echo towards $to; "
            f"[ -L {current} ] && now=$(basename $(readlink {current})) && echo current $now && "
            "[ -e $now/.returned ] && echo returned $now; "
            # By the time at which each was replaced; `ls -t` sorts what exists.
            "for d in $(ls -1dt */settings 2>/dev/null); do r=${d%/settings}; "
            "[ -e $r/.complete ] && echo kept $r; [ -e $r/.left ] && echo left $r; done; true"
        )

    def process(self, output: list[str]) -> Ways:
        words = [line.partition(" ")[::2] for line in output]

        def one(what: str) -> str | None:
            return next((value for key, value in words if key == what), None)

        return Ways(
            current=one("current"),
            kept=tuple(value for key, value in words if key == "kept"),
            left=frozenset(value for key, value in words if key == "left"),
            returned=one("returned") is not None,
            begun=one("begun"),
            towards=one("towards"),
        )
