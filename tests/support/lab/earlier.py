"""Earlier releases: every tag, and two commits from before there were any."""

from __future__ import annotations

import io
import subprocess
import tarfile
from pathlib import Path

from deploys.layout import PROJECT_ROOT
from portside.operator import vagrant

BEFORE_THE_FIRST_TAG = (
    "fa7fc88d0566749475d11f9c3db51df3d191e9c6",
    "d6c6fbc9d6734f8f8b840caaf1eecbfa762749cd",
)
"""What was deployed when tags were begun with. They may go once three tags are there."""


def earlier_releases() -> list[str]:
    """What upgrades begin from. A clone without history has none of them: `make upgrades` fetches
    it."""
    tags = subprocess.run(
        ["git", "tag", "--list", "v*", "--sort=version:refname"],
        cwd=PROJECT_ROOT,
        capture_output=True,
        text=True,
        check=True,
    ).stdout.split()
    return [*BEFORE_THE_FIRST_TAG, *tags]


def check_out(release: str, directory: Path, cluster: str) -> Path:
    """The sources of a release in a folder, that reach the lab's machines of a cluster."""
    content = subprocess.run(
        ["git", "archive", release], cwd=PROJECT_ROOT, capture_output=True, check=True
    ).stdout
    with tarfile.open(fileobj=io.BytesIO(content)) as archive:
        archive.extractall(directory, filter="data")
    own = PROJECT_ROOT / vagrant.SSH_CONFIG.with_name(f"{cluster}.{vagrant.SSH_CONFIG.name}")
    config = own if own.exists() else PROJECT_ROOT / vagrant.SSH_CONFIG
    (directory / vagrant.SSH_CONFIG).parent.mkdir()
    # By its first name, which every release knows.
    (directory / vagrant.SSH_CONFIG).symlink_to(config)
    (directory / "build").symlink_to(PROJECT_ROOT / "build")
    return directory
