"""Releases of the agent and of the control plane: wheelhouses, built beside the repository and
named by what is in them.

A node has no compiler and no package index: it gets every wheel it needs, for each Python it may
run (Debian 12 and 13) on its machine, pinned by hash in requirements/<product>.txt. The same
sources give the same name and the same bytes, so a release is built once and installed once. What a
lock pins is downloaded once, for all releases with the same lock.

`python -m deploys.wheelhouse` builds what the next deploy will install on x86_64, with `--all` for
every machine.
"""

from __future__ import annotations

import hashlib
import shutil
import subprocess
import sys
import tarfile
import tempfile
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from packaging.requirements import Requirement

from deploys.layout import PROJECT_ROOT

PYTHONS = ("3.11", "3.13")
"""What `python3` is on Debian 12 and 13."""

# Debian 12 has glibc 2.36, Debian 13 2.41: every tag up to 2.36 fits both.
_PLATFORMS = (
    "manylinux_2_36",
    "manylinux_2_34",
    "manylinux_2_28",
    "manylinux_2_17",
    "manylinux2014",
)

ARCHITECTURES = ("x86_64", "aarch64")
"""What `uname -m` says on the machines that releases are made for."""

_README = "README.md"
"""Needed to build our own wheel, and no reason for a new release."""

_ARCHIVE = "wheelhouse.tar"


class ReleaseError(Exception):
    """A wheelhouse that can't be built; the message has pip's own words."""


@dataclass(frozen=True, slots=True)
class Product:
    """What is released: the package of this name, and the shared kernel."""

    name: str

    @property
    def packages(self) -> tuple[str, ...]:
        """The folders whose sources it is made of."""
        return ("portside", self.name)

    @property
    def lock(self) -> Path:
        """What it needs, pinned; seen from the project's folder."""
        return Path("requirements", f"{self.name}.txt")


AGENT = Product("agent")
CONTROL = Product("control")


@dataclass(frozen=True, slots=True)
class Release:
    """A built wheelhouse: `archive` holds the wheels and the lock.

    `digest` names the sources, the same on every machine; `architecture` is whose wheels they are.
    """

    digest: str
    directory: Path
    architecture: str = ARCHITECTURES[0]

    @property
    def archive(self) -> Path:
        """What travels to the nodes."""
        return self.directory / _ARCHIVE


def build(project_root: Path, product: Product, architecture: str = ARCHITECTURES[0]) -> Release:
    """The product's release of the sources as they are now, built if it isn't there yet.

    Raises ReleaseError. Two builds at once are harmless: the first to finish stays.
    """
    if architecture not in ARCHITECTURES:
        raise ReleaseError(
            f"there are no releases for machines of {architecture}, only for "
            f"{' and '.join(ARCHITECTURES)}"
        )
    releases = project_root / "build" / "releases"
    release = _release(releases, source_digest(project_root, product), architecture)
    if release.directory.exists():
        return release
    releases.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=releases, prefix=".building-") as temporary:
        # Built from a copy: an edit made meanwhile is part of the next release, not half of this.
        sources = Path(temporary, "sources")
        _copy_sources(project_root, product, sources)
        release = _release(releases, source_digest(sources, product), architecture)
        finished = Path(temporary, release.directory.name)
        kept = project_root / "build" / "wheels"
        wheels = _pinned_wheels(kept, sources / product.lock, architecture)
        _build_wheelhouse(sources, product, wheels, finished)
        _put_in_place(finished, release.directory)
    return release


def _release(releases: Path, digest: str, architecture: str) -> Release:
    return Release(digest, releases / f"{digest}-{architecture}", architecture)


def _copy_sources(project_root: Path, product: Product, to: Path) -> None:
    for path in (project_root / _README, *_sources(project_root, product)):
        copy = to / path.relative_to(project_root)
        copy.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(path, copy)


def _pinned_wheels(kept: Path, lock: Path, architecture: str) -> Path:
    """The folder with every wheel that the lock pins, downloaded if it isn't there yet."""
    text = lock.read_text(encoding="utf-8")
    directory = kept / f"{hashlib.sha256(text.encode()).hexdigest()[:16]}-{architecture}"
    if directory.exists():
        return directory
    kept.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=kept, prefix=".downloading-") as temporary:
        finished = Path(temporary, "wheels")
        finished.mkdir()
        each = {python: Path(temporary, python) for python in PYTHONS}
        # Before the threads start: packaging reads markers by `ast`, which fails with a SystemError
        # when two threads are in it at once (CPython 3.11).
        pinned = {python: lock_for(python, architecture, text) for python in PYTHONS}
        with ThreadPoolExecutor() as pool:
            # As a list: the first error of any is raised.
            list(
                pool.map(
                    lambda python: _download(pinned[python], python, architecture, each[python]),
                    PYTHONS,
                )
            )
        for wheel in (wheel for folder in each.values() for wheel in folder.iterdir()):
            wheel.replace(finished / wheel.name)
        _put_in_place(finished, directory)
    return directory


def _build_wheelhouse(sources: Path, product: Product, pinned: Path, directory: Path) -> None:
    own = directory / "wheels"
    own.mkdir(parents=True)
    # By the locked hatchling that is here, not by the newest there is: the same bytes each time.
    _run("wheel", "--no-deps", "--no-build-isolation", "--wheel-dir", str(own), str(sources))
    with tarfile.open(directory / _ARCHIVE, "w", format=tarfile.PAX_FORMAT) as archive:
        archive.add(sources / product.lock, "requirements.txt", filter=_nobodys)
        for wheel in sorted([*pinned.iterdir(), *own.iterdir()], key=lambda path: path.name):
            archive.add(wheel, f"wheels/{wheel.name}", filter=_nobodys)
    shutil.rmtree(own)


def _nobodys(member: tarfile.TarInfo) -> tarfile.TarInfo:
    """Without what depends on who builds, and when."""
    member.mtime = member.uid = member.gid = 0
    member.uname = member.gname = "root"
    member.mode = 0o644
    return member


def _put_in_place(finished: Path, directory: Path) -> None:
    """Only what is whole ever gets this name: a folder that is there has all its files."""
    try:
        finished.rename(directory)
    except OSError:
        if not directory.exists():
            raise
        # Another process was first.


def source_digest(project_root: Path, product: Product) -> str:
    """Sixteen hex digits over the lock, pyproject.toml and every source file: names and content."""
    total = hashlib.sha256()
    for path in _sources(project_root, product):
        content = hashlib.sha256(path.read_bytes()).hexdigest()
        total.update(f"{content} {path.relative_to(project_root)}\n".encode())
    return total.hexdigest()[:16]


def _sources(project_root: Path, product: Product) -> Iterator[Path]:
    yield project_root / product.lock
    yield project_root / "pyproject.toml"
    for package in product.packages:
        for path in sorted((project_root / package).rglob("*")):
            if path.is_file() and "__pycache__" not in path.parts:
                yield path


def lock_for(python: str, architecture: str, lock: str) -> str:
    """The lock's entries that apply to this Python on such a Debian, without their markers.

    pip evaluates markers for the Python it runs on, not for the one it downloads for.
    """
    environment = {
        "implementation_name": "cpython",
        "os_name": "posix",
        "platform_machine": architecture,
        "platform_python_implementation": "CPython",
        "platform_system": "Linux",
        "python_full_version": f"{python}.0",
        "python_version": python,
        "sys_platform": "linux",
        "extra": "",
    }
    kept = []
    for entry in _entries(lock):
        name, *hashes = entry.split(" --hash=")
        requirement = Requirement(name)
        if requirement.marker is None or requirement.marker.evaluate(environment):
            pinned = f"{requirement.name}{requirement.specifier}"
            kept.append(" --hash=".join([pinned, *hashes]))
    return "".join(f"{line}\n" for line in kept)


def _entries(lock: str) -> Iterator[str]:
    """Each requirement with its hashes on one line, single spaces, comments gone."""
    lines = (line.split("#", 1)[0].rstrip() for line in lock.splitlines())
    joined = "\n".join(lines).replace("\\\n", " ")
    return (" ".join(entry.split()) for entry in joined.splitlines() if entry.strip())


def _download(pinned: str, python: str, architecture: str, wheels: Path) -> None:
    wheels.mkdir()
    requirements = wheels.with_name(f"requirements-{python}.txt")
    requirements.write_text(pinned, encoding="utf-8")
    _run(
        *("download", "--only-binary=:all:", "--no-deps", "--require-hashes"),
        *("--requirement", str(requirements), "--dest", str(wheels)),
        *("--implementation", "cp", "--python-version", python),
        *(word for each in _PLATFORMS for word in ("--platform", f"{each}_{architecture}")),
    )


def _run(command: str, *arguments: str) -> None:
    """One pip command with the operator's own configuration: its indexes, its certificates."""
    done = subprocess.run(
        [
            sys.executable,
            "-m",
            "pip",
            command,
            "--quiet",
            "--disable-pip-version-check",
            *arguments,
        ],
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode != 0:
        raise ReleaseError(f"pip {command} failed:\n{done.stderr.strip()}")


if __name__ == "__main__":
    for machine in ARCHITECTURES if "--all" in sys.argv[1:] else ARCHITECTURES[:1]:
        for each in (AGENT, CONTROL):
            build(PROJECT_ROOT, each, machine)
