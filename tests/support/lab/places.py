"""The lab's cluster file, and the file of several GiB that `make iso` makes."""

from __future__ import annotations

from deploys.layout import PROJECT_ROOT

LAB = PROJECT_ROOT / "clusters" / "lab.yaml"
ISO = PROJECT_ROOT / "build" / "lab" / "portside-lab.iso"
