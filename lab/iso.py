"""Builds a real ISO image of more than 2 GiB to upload: `python3 -m lab.iso PATH`.

The size is the point: past 2 GiB, 32-bit lengths and buffers in /tmp give themselves away. Most of
it is random bytes, which no layer between can compress.
"""

from __future__ import annotations

import os
import sys
import tempfile
from pathlib import Path

from lab.commands import run
from lab.terminal import step

SIZE = 2200 * 1024 * 1024
"""Bytes at least."""

SHARED = Path("/usr/share")


def main() -> None:
    """Build the image unless it is there."""
    image = Path(sys.argv[1])
    if image.exists() and image.stat().st_size >= SIZE:
        return
    image.parent.mkdir(parents=True, exist_ok=True)
    with step(f"build {image.name}"), tempfile.TemporaryDirectory(dir=image.parent) as folder:
        filler = Path(folder) / "random.bin"
        _fill(filler, SIZE)
        partial = image.with_suffix(".part")
        partial.unlink(missing_ok=True)
        run(
            *("xorriso", "-as", "mkisofs", "-quiet", "-r", "-V", "PORTSIDE_LAB"),
            *("-iso-level", "3", "-o", str(partial)),
            *("-graft-points", f"/random.bin={filler}", f"/licenses={SHARED / 'common-licenses'}"),
        )
        partial.rename(image)


def _fill(path: Path, size: int) -> None:
    block = 8 * 1024 * 1024
    with path.open("wb") as file:
        for _ in range(-(-size // block)):
            file.write(os.urandom(block))


if __name__ == "__main__":
    main()
