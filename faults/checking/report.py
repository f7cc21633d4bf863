"""The figures in rows: for the terminal and for faults/RESULTS.md."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime

from rich.console import Console
from rich.table import Table

from bench.machine import Machine
from bench.report import markdown_table
from faults.checking.figures import BROKEN_PROMISES, Row

_HEADS = (
    "store",
    "crash",
    "crashes",
    "acknowledged",
    "GB",
    *BROKEN_PROMISES,
    "offsets told",
    "resumed",
    "refusals",
    "deleted",
    "changed",
    "recovery",
    "longest",
)

_EXAMPLES = 3

_METHOD = """\
Several clients at once upload files of 0 B to 40 MiB by PUT, form, tus and tus in parts; after 50
to 400 ms the crash comes. Then the store is started and everything that it had said is compared
with what is there, by SHA-256. Some uploads that were cut go on in the check, some under the next
load, to be cut again. When the disk is half full every upload is taken to its end, every file is
compared once more, and a fresh store begins on an empty disk.

- SIGKILL: all processes at once. Power cut: all processes stop, and so does the filesystem
  (FS_IOC_SHUTDOWN without a log flush on ext4 on a loop device), which is then mounted again. The
  device below forgets nothing: a disk that lies about its cache is not shown by this.
- fsync, fdatasync and pwrite fail by strace in the running worker; short writes come from libfiu;
  the full disk is full, with up to 8 MiB left; the file size limit is RLIMIT_FSIZE. Refusals are
  the answers that these injections, or the crash itself, explain.
- Clock step: agent and worker see a clock that is set 30 s, 10 min, a day or 400 days ahead or back
  in the middle of the load, are killed and start with it still wrong; then it is right again.
  Refusals are those of tokens and uploads that seem to be over, or not to have begun.
- Ends and holds: beside uploads, some of which are held or end in a day, the clients end stored
  files, now or in two seconds, bring them back, hold, release and delete them; half of the crashes
  are power cuts. What a crash cut may have happened or not: the check asks once, and from then on
  it has to stay so. `changed` counts what was acknowledged.
- Restore: a control plane and two nodes; the control plane is killed and begins with one of its
  last three backups or an empty database. Recovery is the time until every file is known with its
  owner and safe, no deleted one is back, and the counters are right.
- No bytes, no inodes: in the middle of the load something else takes all of them, and whatever
  becomes free since. Then comes a SIGKILL or a power cut. On the disk that is as full as before the
  node starts, six files are deleted and three uploads refused, and everything is compared; only
  then there is room again. Without inodes the disk has 4096 of them.
- Recovery is the time from the start of the program to its first answer, in seconds."""

_ABOUT_PEERS = """\
The peers answer before anything is on disk, as their setup has it, and the cut comes within half a
second of the answer: nearly everything is still in memory then. Files that are older than the
kernel's writeback (about 30 s) survive there too. What a peer's first start lays out is synced
before the first load. Recovery of a peer is the time until it takes files."""


def rows(results: Sequence[Row]) -> list[list[str]]:
    """One per store and kind of crash."""
    return [_row(result) for result in results]


def _row(result: Row) -> list[str]:
    figures = result.figures
    return [
        result.store,
        result.crash,
        f"{figures.crashes}",
        f"{figures.acknowledged:,}",
        f"{figures.stored_bytes / 1e9:.1f}",
        *(f"{figures.broken[promise]:,}" for promise in BROKEN_PROMISES),
        f"{figures.told:,}",
        f"{figures.resumed:,}",
        f"{figures.explained.total():,}",
        f"{figures.deleted:,}",
        f"{figures.changed:,}",
        f"{figures.recovery_median:.2f}",
        f"{figures.recovery_longest:.2f}",
    ]


def show(console: Console, title: str, results: Sequence[Row]) -> None:
    """The table, what its columns mean, and the first complaints."""
    table = Table(title=title)
    for number, head in enumerate(_HEADS):
        table.add_column(head, justify="right" if number > 1 else "left")
    for row in rows(results):
        table.add_row(*row)
    console.print(table)
    for result in results:
        # Of a peer a few examples are enough; ours each need a look.
        for complaint in result.figures.complaints[: _EXAMPLES if result.setup else None]:
            said = f"{result.store}, {result.crash}: {complaint}"
            console.print(said, style="red", markup=False, highlight=False)


def verdict(results: Sequence[Row]) -> str:
    """In one sentence, for our own rows."""
    crashes = sum(result.figures.crashes for result in results)
    acknowledged = sum(result.figures.acknowledged for result in results)
    broken = sum(result.figures.broken.total() for result in results)
    said = "nothing broken" if not broken else f"{broken} BROKEN PROMISES"
    return f"{crashes:,} crashes, {acknowledged:,} files acknowledged: {said}"


def markdown(results: Sequence[Row], machine: Machine, seed: str, with_peers: bool = False) -> str:
    """The body of a section of RESULTS.md."""
    setups = [f"{result.store}: {result.setup}" for result in results if result.setup]
    parts = [
        f"{datetime.now(UTC):%Y-%m-%d}, seed {seed}. `make faults` takes it again.",
        "\n".join(f"- {line}" for line in [*machine.lines(), *setups]),
        markdown_table(_HEADS, rows(results)),
        "\n".join(f"- {name}: {meaning}" for name, meaning in BROKEN_PROMISES.items()),
        _ABOUT_PEERS if with_peers else f"{verdict(results)}.\n\n{_METHOD}",
    ]
    return "\n\n".join(part.strip() for part in parts)
