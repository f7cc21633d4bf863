"""A version is made of the commit that is checked out: its wheelhouses, their sums, its tag.

    make release VERSION=1.2.3

Everything that could be wrong is looked at first, and said at once. The wheelhouses are built from
the commit's own files, not from what happens to lie in the folder, and once more from a second copy
of them: whoever builds the tag elsewhere gets the same bytes, and finds the sums in the tag.
Nothing is pushed.
"""

from __future__ import annotations

import hashlib
import io
import re
import shutil
import subprocess
import sys
import tarfile
import tempfile
import tomllib
from pathlib import Path

from deploys.layout import PROJECT_ROOT
from deploys.wheelhouse import AGENT, ARCHITECTURES, CONTROL, ReleaseError, build

SUMS = "SHA256SUMS"
_VERSION = re.compile(r"(0|[1-9]\d*)\.(0|[1-9]\d*)\.(0|[1-9]\d*)(-[0-9A-Za-z.-]+)?")
"""SemVer without build metadata, for which a tag has no use."""


def reasons_against(project_root: Path, version: str) -> list[str]:
    """What has to be mended before this version can be made of the project; empty if nothing."""
    if not _VERSION.fullmatch(version):
        return [f"{version!r} is no version: write it as 1.2.3"]
    reasons = []
    declared = tomllib.loads((project_root / "pyproject.toml").read_text())["project"]["version"]
    if declared != version:
        reasons.append(f"pyproject.toml says version {declared}: write {version} there")
    if changes_in((project_root / "CHANGELOG.md").read_text(), version) is None:
        reasons.append(
            f"CHANGELOG.md has nothing under '## {version}': move there what is under Unreleased"
        )
    if _git(project_root, "status", "--porcelain"):
        reasons.append("something isn't committed: see `git status`")
    if _git(project_root, "tag", "--list", f"v{version}"):
        reasons.append(f"the tag v{version} is there already: a version is never made twice")
    return reasons


def changes_in(changelog: str, version: str) -> str | None:
    """What the changelog says of a version; None if it says nothing."""
    found = re.search(
        rf"^## \[?{re.escape(version)}\]?(?: [^\n]*)?\n(.*?)(?=^## |\Z)", changelog, re.M | re.S
    )
    return (found[1].strip() or None) if found else None


def make(project_root: Path, version: str) -> Path:
    """The folder with the version's wheelhouses and their sums; the commit gets its tag.

    Raises ReleaseError.
    """
    reasons = reasons_against(project_root, version)
    if reasons:
        raise ReleaseError("\n".join(reasons))
    folder = project_root / "build" / "dist" / f"portside-{version}"
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    first, second = (_wheelhouses(project_root) for _ in range(2))
    differ = sorted(name for name in first if first[name] != second[name])
    if differ:
        raise ReleaseError(f"built twice, these differ: {', '.join(differ)}: nothing was tagged")
    for name, content in first.items():
        (folder / name.format(version=version)).write_bytes(content)
    sums = "".join(
        f"{hashlib.sha256(path.read_bytes()).hexdigest()}  {path.name}\n"
        for path in sorted(folder.iterdir())
    )
    (folder / SUMS).write_text(sums)
    changes = changes_in((project_root / "CHANGELOG.md").read_text(), version)
    message = f"Portside {version}\n\n{changes}\n\n{SUMS}:\n\n{sums}"
    # As it is: by default git drops the headings, which begin as its comments do.
    _git(project_root, "tag", "--annotate", "--cleanup=verbatim", "-m", message, f"v{version}")
    return folder


def _wheelhouses(project_root: Path) -> dict[str, bytes]:
    """Every wheelhouse of the commit by its file's name, in which the version is left open."""
    kept = project_root / "build" / "wheels"
    kept.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="portside-") as temporary:
        sources = Path(temporary)
        content = subprocess.run(
            ["git", "archive", "HEAD"], cwd=project_root, capture_output=True, check=True
        ).stdout
        with tarfile.open(fileobj=io.BytesIO(content)) as archive:
            archive.extractall(sources, filter="data")
        (sources / "build").mkdir()
        # What a lock pins is the same wherever it is downloaded.
        (sources / "build" / "wheels").symlink_to(kept)
        return {
            f"portside-{product.name}-{{version}}-{architecture}.tar": build(
                sources, product, architecture
            ).archive.read_bytes()
            for product in (AGENT, CONTROL)
            for architecture in ARCHITECTURES
        }


def _git(project_root: Path, *words: str) -> str:
    done = subprocess.run(
        ["git", *words], cwd=project_root, capture_output=True, text=True, check=False
    )
    if done.returncode != 0:
        raise ReleaseError(f"git {words[0]} failed: {done.stderr.strip()}")
    return done.stdout.strip()


def main() -> None:
    """What `make release` runs."""
    version = sys.argv[1] if len(sys.argv) == 2 else ""
    try:
        folder = make(PROJECT_ROOT, version)
    except ReleaseError as error:
        sys.exit(str(error))
    print((folder / SUMS).read_text(), end="")
    print(f"{folder} and the tag v{version} are made: `git push origin v{version}` publishes it")


if __name__ == "__main__":
    main()
