"""Configuration files from `templates/`, with what only those of nodes ask for."""

from __future__ import annotations

from deploys.hosts.mounts import mount_unit
from portside.rendering.templates import environment
from portside.rendering.templates import render as render

environment.filters["mount_unit"] = mount_unit
