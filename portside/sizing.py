"""From a node's RAM, cores and disk to every number that depends on them.

One pure function, used by the deploys (gunicorn, nginx, systemd, sysctl) and by the agent
(admission, ring buffers), so that no two places can disagree about what a node can carry.

Two promises, held by tests for every size of machine:

- at full admission the upload buffers of agent and nginx together stay under 25 % of RAM;
- everything of ours (those buffers, processes, thread stacks, TCP windows) stays under 60 %.
"""

from __future__ import annotations

from dataclasses import dataclass, field, fields

from portside.quantities import GIB, KIB, MIB, format_size

UPLOAD_BUFFER_SHARE = 0.25
TOTAL_SHARE = 0.60

RING_BUFFERS = 4
"""One being received, one being written, one being hashed, one spare to even out the disk."""

# Measured on Debian 12 and 13, rounded up: what runs before the first upload comes in.
AGENT_BASE = 72 * MIB
WORKER_BASE = 72 * MIB
CONTROL_BASE = 192 * MIB
CONTROL_HANDOVER = 48 * MIB
"""Of its web side beside that: while a new process takes over, there are two of 90 MiB, and what
starts them."""
REPLICA_BASE = 128 * MIB
PROMETHEUS_BASE = 192 * MIB
"""It takes 36 MiB with two nodes, of which each has some 1,200 series; with 8 KiB for a series that
is room for ten nodes."""
ALERTMANAGER_MEMORY = 64 * MIB
NODE_EXPORTER_MEMORY = 64 * MIB
NGINX_BASE = 8 * MIB
NGINX_PER_WORKER = 6 * MIB

GENERATION = 60 * MIB
"""What one process of the agent's web side has of its own, with its gunicorn and without uploads:
what several share is counted once, in AGENT_BASE."""

SUPERVISOR = 12 * MIB
"""What starts them."""

MOST_GENERATIONS = 8
"""Who changes a node more often within the two hours of an upload can wait."""

CLAMD_BASE = round(1.3 * GIB)
"""ClamAV's daemon with its official signatures, which are all in memory; they grow from year to
year. ClamAV's manual wants machines of 3 GiB and more."""

LEAST_RAM_WITH_CLAMD = round(CLAMD_BASE / (1 - TOTAL_SHARE))
"""It has to fit into what is not ours. 3.25 GiB: a "4 GiB" server has it, a "2 GiB" one has not."""

THREAD_STACK = 96 * KIB
"""Resident stack of one thread; the address space it reserves costs nothing."""

THREADS_PER_UPLOAD = 4
"""One receives, one writes, one hashes; a fourth for a checksum, or to hash behind parts."""

NGINX_CONNECTION = 48 * KIB
"""nginx beside its body buffer: TLS records, header buffers, both connections, the preflight."""

SPARE_THREADS = 8
"""gunicorn threads beside the slots, so that probes and preflights answer on a full node."""

# (least RAM, agent buffer, nginx body buffer). The bounds lie under the nominal sizes: a "4 GiB"
# server shows about 3.8 GiB to its system.
_TIERS = (
    (0, 256 * KIB, 128 * KIB),
    (round(0.9 * GIB), 512 * KIB, 256 * KIB),
    (round(3.5 * GIB), 1 * MIB, 512 * KIB),
    (round(7.0 * GIB), 1 * MIB, 1 * MIB),
    (round(14.0 * GIB), 2 * MIB, 1 * MIB),
)

MAX_SLOTS = 512
"""More uploads at once than any one disk serves well."""

LEAST_WINDOW = 4 * MIB
"""TCP window of every upload: about 40 MB/s over a path of 50 ms. Fewer slots, faster ones."""

MOST_WINDOW = 32 * MIB

MIN_RAM = 384 * MIB
"""Below it, fixed costs alone reach 60 %."""


@dataclass(frozen=True, slots=True)
class Machine:
    """What a node has: bytes of RAM (the smaller of MemTotal and the cgroup limit), cores, disk."""

    ram: int
    cores: int
    disk: int


def _bytes(reason: str) -> int:
    return field(metadata={"unit": "bytes", "reason": reason})  # type: ignore[no-any-return]


def _count(reason: str) -> int:
    return field(metadata={"unit": "count", "reason": reason})  # type: ignore[no-any-return]


@dataclass(frozen=True, slots=True)
class Sizing:
    """Every number that follows from the machine. Bytes unless the name says otherwise."""

    upload_slots: int = _count("uploads at once: what the memory bounds below allow, at most 512")
    gunicorn_threads: int = _count("one per slot, and 8 so that probes answer on a full node")
    ring_buffer: int = _bytes("one read from the connection: large enough to make calls rare")
    ring_buffers: int = _count("receive, write and hash overlap, one spare evens out the disk")
    upload_memory: int = _bytes(
        "the agent's memory for one upload: the ring, and one more to parse a form"
    )
    nginx_body_buffer: int = _bytes("nginx's one buffer per unbuffered upload")
    upload_buffers_total: int = _bytes("agent and nginx at full admission: under 25 % of RAM")
    tcp_window: int = _bytes("tcp_rmem and tcp_wmem maximum: what RAM leaves, 4 to 32 MiB")
    everything_total: int = _bytes("buffers, processes, stacks, windows: under 60 % of RAM")
    memory_kept_free: int = _bytes("no upload starts with less than this available: 4 % of RAM")
    writeback_chunk: int = _bytes(
        "writeback starts after this much, where the cache can't be bypassed"
    )
    sync_window: int = _bytes("fdatasync after this much: what a crash can cost a resumed upload")
    dirty_background_bytes: int = _bytes("vm.dirty_background_bytes: the kernel starts writing")
    dirty_bytes: int = _bytes("vm.dirty_bytes: writers wait; small keeps fsync short")
    disk_kept_free: int = _bytes("never given to uploads: 2 % of the disk, 256 MiB to 10 GiB")
    nginx_workers: int = _count("one per core, but no more than one per 256 MiB of RAM")
    nginx_connections: int = _count("per nginx worker: two per upload, the rest for downloads")
    open_files: int = _count("LimitNOFILE: sockets and files of every slot and connection")
    agent_memory_high: int = _bytes("MemoryHigh of the agent: above it its cache is reclaimed")
    agent_memory_max: int = _bytes("MemoryMax of the agent: 60 % of RAM, page cache included")
    worker_memory_max: int = _bytes(
        "MemoryMax of the agent's worker: an eighth of RAM, its base at least"
    )


def size(machine: Machine) -> Sizing:
    """The sizing of `machine`.

    Raises ValueError for a machine that is too small to hold its promises.
    """
    if machine.ram < MIN_RAM:
        raise ValueError(
            f"{format_size(machine.ram)} of RAM is too little: a node needs {format_size(MIN_RAM)}"
        )
    if machine.cores < 1:
        raise ValueError("a machine has at least one core")

    _, ring_buffer, nginx_buffer = max(tier for tier in _TIERS if machine.ram >= tier[0])
    upload_memory = ring_buffer * (RING_BUFFERS + 1)
    per_upload_buffers = upload_memory + nginx_buffer + NGINX_CONNECTION
    per_upload_stacks = THREADS_PER_UPLOAD * THREAD_STACK

    base = _base(machine)
    ours = machine.ram * TOTAL_SHARE
    by_buffers = machine.ram * UPLOAD_BUFFER_SHARE / per_upload_buffers
    by_total = (ours - base) / (per_upload_buffers + per_upload_stacks + LEAST_WINDOW)
    slots = max(1, min(int(by_buffers), int(by_total), MAX_SLOTS))

    left_per_upload = (ours - base) / slots - per_upload_buffers - per_upload_stacks
    window = _clamp(int(left_per_upload) // MIB * MIB, LEAST_WINDOW, MOST_WINDOW)
    connections = _clamp(1024 * (machine.ram // (512 * MIB)), 1024, 16384)
    dirty = _clamp(machine.ram // 16, 32 * MIB, 256 * MIB)
    agent_max = int(ours)

    return Sizing(
        upload_slots=slots,
        gunicorn_threads=slots + SPARE_THREADS,
        ring_buffer=ring_buffer,
        ring_buffers=RING_BUFFERS,
        upload_memory=upload_memory,
        nginx_body_buffer=nginx_buffer,
        upload_buffers_total=slots * per_upload_buffers,
        tcp_window=window,
        everything_total=base + slots * (per_upload_buffers + per_upload_stacks + window),
        memory_kept_free=machine.ram // 25,
        writeback_chunk=_clamp(4 * ring_buffer, 1 * MIB, 8 * MIB),
        sync_window=_clamp(machine.ram // 64, 16 * MIB, 128 * MIB),
        dirty_background_bytes=dirty // 4,
        dirty_bytes=dirty,
        disk_kept_free=_clamp(machine.disk // 50, 256 * MIB, 10 * GIB),
        nginx_workers=_nginx_workers(machine),
        nginx_connections=connections,
        open_files=2 * connections + 8 * slots + 1024,
        agent_memory_high=agent_max * 9 // 10,
        agent_memory_max=agent_max,
        worker_memory_max=max(WORKER_BASE * 5 // 4, machine.ram // 8),
    )


def generations(sizing: Sizing) -> int:
    """Processes of the agent's web side at once: one that serves, others that finish uploads.

    As many as fit under MemoryHigh beside the uploads at full admission, and one more under
    MemoryMax: who goes back from one that doesn't do its work isn't kept waiting. Two at least:
    without them nothing could take over.
    """
    uploads = sizing.upload_slots * (sizing.upload_memory + THREADS_PER_UPLOAD * THREAD_STACK)
    high, most = (
        (limit - uploads - SUPERVISOR) // GENERATION
        for limit in (sizing.agent_memory_high, sizing.agent_memory_max)
    )
    return _clamp(min(high, most - 1), 2, MOST_GENERATIONS)


def inodes_kept_free(total: int) -> int:
    """Inodes that uploads never get, of a filesystem that has `total`: 1 %, 32 to 10,000."""
    return _clamp(total // 100, 32, 10_000)


def control_memory(machine: Machine) -> int:
    """MemoryMax of the control plane's web side, and of its worker: an eighth of RAM each.

    Both need CONTROL_BASE at least: beside a storage node they take from what its 60 % leave.
    """
    return max(CONTROL_BASE, machine.ram // 8)


def replica_memory(machine: Machine) -> int:
    """MemoryMax of what copies the control plane's database: a sixteenth of RAM, its base at least.

    It takes 35 MiB with a small database, and grows with the index of a large one's pages.
    """
    return max(REPLICA_BASE, machine.ram // 16)


def prometheus_memory(machine: Machine) -> int:
    """MemoryMax of Prometheus: an eighth of RAM, its base at least. Go keeps below 3/4 of it."""
    return max(PROMETHEUS_BASE, machine.ram // 8)


def prometheus_disk(disk: int) -> int:
    """Bytes for what Prometheus keeps, of a filesystem of `disk` bytes: a twentieth, 512 MiB to
    16 GiB, which is 30 days of some 60 nodes.
    """
    return _clamp(disk // 20, 512 * MIB, 16 * GIB)


def _base(machine: Machine) -> int:
    nginx = NGINX_BASE + _nginx_workers(machine) * NGINX_PER_WORKER
    return AGENT_BASE + WORKER_BASE + nginx + SPARE_THREADS * THREAD_STACK


def _nginx_workers(machine: Machine) -> int:
    return max(1, min(machine.cores, machine.ram // (256 * MIB)))


def _clamp(value: int, least: int, most: int) -> int:
    return max(least, min(value, most))


def explain(sizing: Sizing) -> list[tuple[str, str, str]]:
    """Rows of (name, value for people, reason), in the order of the fields."""
    rows = []
    for each in fields(sizing):
        value = getattr(sizing, each.name)
        shown = format_size(value) if each.metadata["unit"] == "bytes" else str(value)
        rows.append((each.name, shown, each.metadata["reason"]))
    return rows
