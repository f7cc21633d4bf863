"""The images that the machines are made from: one per Debian release, built on this computer.

An image remembers the digest of its recipe, so it is built again only when the recipe changes.
"""

from __future__ import annotations

import hashlib
import os
import shutil
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from lab import apt_sources, network, state
from lab.commands import run_tied
from lab.terminal import step

RECIPE_FOLDER = Path(__file__).with_name("image")
# Nobody reads manuals on a lab machine; without them images and packages unpack sooner.
LEFT_OUT = ("/usr/share/man/*", "/usr/share/info/*", "/usr/share/locale/*")


@dataclass(frozen=True)
class Recipe:
    """Everything that decides what is in an image."""

    release: str
    sources: list[apt_sources.Source]
    apt_options: list[str]
    public_key: str
    nameserver: str
    files: dict[str, str]

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

    @property
    def image(self) -> Path:
        """Where it is once it is built: a name that has its digest is never half an image."""
        return state.IMAGES / f"{self.release}-{self.digest[:16]}.tar"


def recipe_for(release: str) -> Recipe:
    return Recipe(
        release=release,
        sources=apt_sources.sources_for(release),
        apt_options=apt_sources.proxy_options(),
        public_key=state.public_key(),
        nameserver=network.gateway(),
        files={path.name: path.read_text() for path in RECIPE_FOLDER.iterdir()},
    )


def ensure(releases: list[str]) -> dict[str, Path]:
    """The image of each release, built now where there is none of today's recipe."""
    recipes = [recipe_for(release) for release in releases]
    outdated = [recipe for recipe in recipes if not recipe.image.exists()]
    if outdated:
        title = "build the images " + " ".join(recipe.release for recipe in outdated)
        with step(title), _scratch_folder() as scratch, ThreadPoolExecutor() as pool:
            list(pool.map(lambda recipe: _build(recipe, scratch), outdated))
    return {recipe.release: recipe.image for recipe in recipes}


@contextmanager
def _scratch_folder() -> Iterator[Path]:
    """One fixed place: what a killed run left there is gone with the next run."""
    scratch = state.IMAGES / ".partial"
    shutil.rmtree(scratch, ignore_errors=True)
    scratch.mkdir(parents=True)
    try:
        yield scratch
    finally:
        shutil.rmtree(scratch)


def _build(recipe: Recipe, scratch: Path) -> None:
    built = scratch / recipe.image.name
    _install_debian(recipe, built)
    for older in state.IMAGES.glob(f"{recipe.release}-*.tar"):
        older.unlink()
    built.rename(recipe.image)


def _install_debian(recipe: Recipe, rootfs: Path) -> None:
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
