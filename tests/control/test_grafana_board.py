"""The board shows something in each of its panels: a real Prometheus, fed by a real cluster.

And it is one that any Grafana takes, whatever its data source is called there.
"""

from __future__ import annotations

import json
import re
import shutil
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import requests

from portside.cluster.monitoring import scraping
from portside.rendering.monitoring import grafana_board
from tests.support.control.small_cluster import SmallCluster
from tests.support.control.uploading import (
    apps,
    upload,
    upload_refused,
    wait_until_healthy,
    wait_until_safe,
)
from tests.support.loopback import PATIENCE
from tests.support.prometheus import NodeExporter, Prometheus

pytestmark = pytest.mark.xdist_group("grafana-board")

BOARD: dict[str, Any] = json.loads(grafana_board())
NAME = "test"
"""Of the cluster."""

_QUERY_OF_VARIABLE = re.compile(r"label_values\((?P<series>.+), (?P<label>\w+)\)")


def _panels() -> list[dict[str, Any]]:
    return [panel for panel in BOARD["panels"] if panel["type"] != "row"]


def _variables() -> dict[str, dict[str, Any]]:
    return {each["name"]: each for each in BOARD["templating"]["list"]}


QUERIES = [
    pytest.param(target["expr"], id=f"{panel['title']} {target['refId']}")
    for panel in _panels()
    for target in panel["targets"]
]


def _filled_in(expression: str, node: str = ".*") -> str:
    """As Grafana sends it: a rate over four readings at least, `All` or one node chosen."""
    return (
        expression.replace("$__rate_interval", "10s")
        .replace("$cluster", ".*")
        .replace("$node", node)
    )


def _target(job: str, node: str, address: str, scheme: str, ca: Path | None) -> dict[str, Any]:
    """As templates/prometheus/scrape.yml.j2 labels them."""
    return {
        "job_name": f"{job}-{node}",
        "scheme": scheme,
        "honor_labels": job == scraping.CONTROL_JOB,
        "tls_config": {"ca_file": str(ca)} if ca else {},
        "static_configs": [
            {"targets": [address], "labels": {"job": job, "cluster": NAME, "node": node}}
        ],
    }


@pytest.fixture(scope="module")
def prometheus(
    tmp_path_factory: pytest.TempPathFactory, migrated_sqlite: Path
) -> Iterator[Prometheus]:
    """One that watches two nodes with everything happening to them that the board tells of."""
    home = tmp_path_factory.mktemp("board")
    shutil.copyfile(migrated_sqlite, home / "control.sqlite")
    cluster = SmallCluster(home, f"sqlite:///{home / 'control.sqlite'}")
    running: list[Prometheus | NodeExporter] = []
    over = threading.Event()
    refusals = threading.Thread(target=_refused, args=(cluster.url, over), daemon=True)
    try:
        cluster.start()
        exporter = NodeExporter(home / "exporter")
        running.append(exporter)
        agents = [
            _target(
                scraping.AGENT_JOB, node_id, node.url.removeprefix("https://"), "https", cluster.ca
            )
            for node_id, node in cluster.nodes.items()
        ]
        others = [
            _target(scraping.CONTROL_JOB, "c01", cluster.url.removeprefix("http://"), "http", None),
            _target(scraping.NODE_JOB, "s01", exporter.url.removeprefix("http://"), "http", None),
        ]
        found = Prometheus(home / "prometheus", [*agents, *others])
        running.append(found)
        found.wait_until_all_answer()
        _busy(cluster)
        refusals.start()
        yield found
    finally:
        over.set()
        if refusals.is_alive():
            refusals.join()
        for each in running:
            each.end()
        cluster.end()


def _refused(url: str, over: threading.Event) -> None:
    """Somebody without a key asks all the while: what is refused once has no rate for long."""
    while not over.wait(0.5):
        requests.post(f"{url}/api/v1/upload/sessions", json={}, timeout=60)


def _busy(cluster: SmallCluster) -> None:
    """Files come, one that is refused, and one is deleted that a node doesn't hear of."""
    keys = apps(cluster)
    wait_until_healthy(cluster, keys["boss"])
    file_id = upload(cluster, keys["shop"], "alice", "a.bin", b"x" * 100_000)
    wait_until_safe(cluster, keys["shop"], 1)
    wrong = {"sha256": "0" * 64}
    assert upload_refused(cluster, keys["shop"], "alice", "b.bin", b"y", **wrong) == 422
    cluster.nodes["s02"].worker.kill()
    deleted = requests.delete(
        f"{cluster.url}/api/v1/files/{file_id}",
        headers={"Authorization": f"Bearer {keys['shop']}"},
        timeout=60,
    )
    assert deleted.status_code in (200, 202, 204), deleted.text


@pytest.mark.parametrize("expression", QUERIES)
def test_each_query_of_the_board_finds_something(prometheus: Prometheus, expression: str) -> None:
    deadline = time.monotonic() + PATIENCE
    while not prometheus.query(_filled_in(expression)):
        assert time.monotonic() < deadline, "no series"
        time.sleep(0.2)


def test_a_query_of_one_node_finds_that_node_alone(prometheus: Prometheus) -> None:
    of_nodes = [each for (each,) in (query.values for query in QUERIES) if "$node" in str(each)]
    assert len(of_nodes) > 20
    for expression in of_nodes:
        found = prometheus.query(_filled_in(str(expression), node="s02"))
        assert {each["metric"].get("node", "s02") for each in found} <= {"s02"}, expression


@pytest.mark.parametrize(("name", "values"), [("cluster", [NAME]), ("node", ["s01", "s02"])])
def test_what_one_chooses_among_is_what_there_is(
    prometheus: Prometheus, name: str, values: list[str]
) -> None:
    found = _QUERY_OF_VARIABLE.fullmatch(_variables()[name]["definition"])
    assert found is not None
    said = prometheus.ask(
        f"label/{found['label']}/values", **{"match[]": _filled_in(found["series"])}
    )
    assert said == values


# -- the board as a document -----------------------------------------------------------------------


def test_it_asks_whichever_data_source_is_chosen() -> None:
    """No id of one Grafana's own: it would be unknown to every other."""
    assert _variables()["datasource"]["type"] == "datasource"
    assert _variables()["datasource"]["query"] == "prometheus"
    asked = [panel["datasource"] for panel in _panels()]
    asked += [target["datasource"] for panel in _panels() for target in panel["targets"]]
    asked += [_variables()[name]["datasource"] for name in ("cluster", "node")]
    assert {json.dumps(each, sort_keys=True) for each in asked} == {
        '{"type": "prometheus", "uid": "${datasource}"}'
    }
    assert BOARD["id"] is None
    assert (BOARD["uid"], BOARD["title"]) == ("portside", "Portside")


def test_every_panel_has_a_place_of_its_own_and_says_what_it_shows() -> None:
    ids = [panel["id"] for panel in BOARD["panels"]]
    assert len(set(ids)) == len(ids)
    taken: set[tuple[int, int]] = set()
    for panel in BOARD["panels"]:
        place = panel["gridPos"]
        cells = {
            (x, y)
            for x in range(place["x"], place["x"] + place["w"])
            for y in range(place["y"], place["y"] + place["h"])
        }
        assert place["x"] + place["w"] <= 24, panel["title"]
        assert not cells & taken, panel["title"]
        taken |= cells
    for panel in _panels():
        assert panel["title"]
        assert panel["fieldConfig"]["defaults"]["unit"], panel["title"]
        references = [target["refId"] for target in panel["targets"]]
        assert len(set(references)) == len(references) > 0


def test_it_has_a_row_for_each_thing_an_operator_asks_after() -> None:
    rows = [panel["title"] for panel in BOARD["panels"] if panel["type"] == "row"]
    assert rows == [
        *("Nodes", "Uploads", "Failures", "Latency", "Disk", "Memory", "Lag of copies", "Scrub"),
        "Control plane",
    ]
