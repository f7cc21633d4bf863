"""The images that the machines are cloned from: one per Debian release, built on this computer.

A box remembers the digest of its recipe, so it is built again only when the recipe changes.
"""

from __future__ import annotations

import gzip
import hashlib
import json
import os
import shutil
import tarfile
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from lab import apt_sources, network, state, vagrant
from lab.commands import run_tied
from lab.terminal import step

RECIPE_FOLDER = Path(__file__).with_name("box")
# Nobody reads manuals on a lab machine; without them boxes and packages unpack sooner.
LEFT_OUT = ("/usr/share/man/*", "/usr/share/info/*", "/usr/share/locale/*")


@dataclass(frozen=True)
class Recipe:
    """Everything that decides what is in a box."""

    release: str
    sources: list[apt_sources.Source]
    apt_options: list[str]
    public_key: str
    nameserver: str
    files: dict[str, str]

    @property
    def name(self) -> str:
        return f"portside-lab/{self.release}"

    @property
    def digest(self) -> str:
        parts = [
            self.release,
            *map(apt_sources.one_line, self.sources),
            *self.apt_options,
            self.public_key,
            self.nameserver,
            *LEFT_OUT,
            *(f"{name}\n{text}" for name, text in sorted(self.files.items())),
        ]
        return hashlib.sha256("\0".join(parts).encode()).hexdigest()


def recipe_for(release: str) -> Recipe:
    return Recipe(
        release=release,
        sources=apt_sources.sources_for(release),
        apt_options=apt_sources.proxy_options(),
        public_key=state.public_key(),
        nameserver=network.gateway(),
        files={path.name: path.read_text() for path in RECIPE_FOLDER.iterdir()},
    )


def ensure(releases: list[str]) -> None:
    outdated = [recipe for recipe in map(recipe_for, releases) if not is_current(recipe)]
    if not outdated:
        return
    title = "build the boxes " + " ".join(recipe.release for recipe in outdated)
    with step(title), scratch_folder() as scratch, ThreadPoolExecutor() as pool:
        built = list(pool.map(lambda recipe: build(recipe, scratch), outdated))
        for recipe, box in zip(outdated, built, strict=True):
            vagrant.run("box", "add", "--force", "--provider=lxc", "--name", recipe.name, box)


@contextmanager
def scratch_folder() -> Iterator[Path]:
    """One fixed place: what a killed run left there is gone with the next run."""
    shutil.rmtree(state.SCRATCH, ignore_errors=True)
    state.SCRATCH.mkdir()
    try:
        yield state.SCRATCH
    finally:
        shutil.rmtree(state.SCRATCH)


def remove_all(releases: list[str]) -> None:
    for release in releases:
        if vagrant.box_folder(f"portside-lab/{release}").exists():
            vagrant.run("box", "remove", "--force", "--all", f"portside-lab/{release}")


def is_current(recipe: Recipe) -> bool:
    metadata = vagrant.box_folder(recipe.name) / "metadata.json"
    return metadata.exists() and json.loads(metadata.read_text())["recipe"] == recipe.digest


def build(recipe: Recipe, scratch: Path) -> str:
    folder = scratch / recipe.release
    folder.mkdir()
    rootfs = folder / "rootfs.tar"
    install_debian(recipe, rootfs)
    wrap(rootfs)
    shutil.copy(RECIPE_FOLDER / "lxc-config", folder)
    (folder / "metadata.json").write_text(metadata(recipe))
    box = scratch / f"{recipe.release}.box"
    with tarfile.open(box, "w") as archive:
        for path in sorted(folder.iterdir()):
            archive.add(path, path.name)
    return str(box)


def wrap(rootfs: Path) -> None:
    """Put the tar into a .gz, which is what vagrant-lxc looks for, as it is.

    Each machine unpacks it: packing it tighter takes longer than reading what that would save.
    """
    with rootfs.open("rb") as tar, gzip.open(f"{rootfs}.gz", "wb", compresslevel=0) as wrapped:
        shutil.copyfileobj(tar, wrapped, 1 << 20)
    rootfs.unlink()


def install_debian(recipe: Recipe, rootfs: Path) -> None:
    packages = ",".join(recipe.files["packages.txt"].split())
    run_tied(
        "mmdebstrap",
        "--quiet",
        "--mode=root",
        "--variant=minbase",
        f"--include={packages}",
        *(f"--aptopt={option}" for option in recipe.apt_options),
        *(f"--dpkgopt=path-exclude={path}" for path in LEFT_OUT),
        f'--customize-hook={RECIPE_FOLDER / "customize.sh"} "$1"',
        recipe.release,
        str(rootfs),
        *map(apt_sources.one_line, recipe.sources),
        env={
            "LAB_PUBLIC_KEY": recipe.public_key,
            "LAB_NAMESERVER": recipe.nameserver,
            "LAB_SOURCES": apt_sources.deb822(recipe.sources),
            "TMPDIR": os.fspath(rootfs.parent),
        },
    )


def metadata(recipe: Recipe) -> str:
    """The format's version is 1.0.0: for anything else vagrant-lxc adds Vagrant's own SSH key."""
    return json.dumps(
        {
            "provider": "lxc",
            "version": "1.0.0",
            "template-opts": {"--strip-components": "1"},
            "recipe": recipe.digest,
        }
    )
