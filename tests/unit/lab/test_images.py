"""An image is built again when, and only when, something that decides its content has changed."""

from dataclasses import replace
from typing import Any

import pytest

from lab import images
from lab.apt_sources import Source

RECIPE = images.Recipe(
    release="trixie",
    sources=[Source("http://mirror.example/debian", "trixie", ("main",))],
    apt_options=[],
    public_key="ssh-ed25519 AAAA portside-lab",
    nameserver="10.0.3.1",
    files={"packages.txt": "systemd\n", "customize.sh": "true\n"},
)


def test_the_digest_is_stable() -> None:
    assert RECIPE.digest == replace(RECIPE, files=dict(reversed(RECIPE.files.items()))).digest


@pytest.mark.parametrize(
    "change",
    [
        {"release": "bookworm"},
        {"sources": [Source("http://other.example/debian", "trixie", ("main",))]},
        {"apt_options": ['Acquire::http::Proxy "http://proxy.example:3128";']},
        {"public_key": "ssh-ed25519 BBBB portside-lab"},
        {"nameserver": "10.0.4.1"},
        {"files": {"packages.txt": "systemd\n", "customize.sh": "false\n"}},
        {"files": {"packages.txt": "systemd\n"}},
    ],
)
def test_every_ingredient_counts(change: dict[str, Any]) -> None:
    assert replace(RECIPE, **change).digest != RECIPE.digest


def test_an_image_is_found_by_its_recipe() -> None:
    assert RECIPE.image != replace(RECIPE, nameserver="10.0.4.1").image
    assert RECIPE.image.name.startswith("trixie-")
