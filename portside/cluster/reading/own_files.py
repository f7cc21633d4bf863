"""Files of the operator's machine that a cluster file names: keys, certificates, SSH's settings.

A relative path starts beside the cluster file or, where nothing is there, in the folder above it
(files in `clusters/` share what lies beside that). The current folder is no matter.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from pydantic import AfterValidator, ValidationInfo


def folders_of(cluster_file: Path) -> tuple[Path, ...]:
    """Where a relative path of this cluster file may start, in order."""
    beside = cluster_file.absolute().parent
    return beside, beside.parent


def _located(path: Path, info: ValidationInfo) -> Path:
    try:
        path = path.expanduser()
    except RuntimeError:
        raise ValueError(f"{path}: whose home that is, this computer doesn't know") from None
    if path == Path():
        raise ValueError("is empty: name a file, or leave the key out")
    if "\0" in str(path):
        raise ValueError("no path has a null byte")
    folders: tuple[Path, ...] = info.context or ()
    places = [folder / path for folder in folders] or [path]
    return next((place for place in places if place.exists()), places[0])


OwnFile = Annotated[Path, AfterValidator(_located)]
"""A path on the operator's machine; absolute once the cluster file is loaded from one."""
