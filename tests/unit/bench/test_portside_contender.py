"""Our own server is measured as it is deployed: with the templates of a node."""

from __future__ import annotations

from pathlib import Path

import pytest

from bench.contenders.portside import Portside, Way, front_parts, places_in, storage_node
from bench.places import NODE
from deploys import layout
from deploys.operations.rendering import render
from portside import sizing


@pytest.mark.parametrize(
    ("way", "name"), [("put", "ours"), ("form", "ours-form"), ("tus", "ours-tus")]
)
def test_every_way_has_a_name_of_its_own(way: Way, name: str) -> None:
    assert Portside(way).name == name


def test_the_templates_of_a_node_render_with_places_of_the_bench(tmp_path: Path) -> None:
    node = storage_node(tmp_path / "data", sizing.size(NODE))
    places = places_in(tmp_path, tmp_path / "socket")
    upstreams, locations = front_parts(node, places)
    settings = render("agent/agent.toml.j2", node=node, layout=places)
    gunicorn = render("gunicorn/gunicorn.conf.py.j2", node=node, layout=places)
    for text in (upstreams, gunicorn):
        assert f"unix:{tmp_path}/socket" in text
    assert f"alias {tmp_path}/data/uploads/;" in locations
    for text in (upstreams, locations, settings, gunicorn):
        assert layout.RUNTIME not in text
        assert layout.SETTINGS not in text
