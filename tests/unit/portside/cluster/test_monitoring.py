"""`monitoring` of the cluster file: what may be said, and what there is to ask of a cluster."""

from __future__ import annotations

import pytest

from portside.cluster.file import ClusterError, parse
from portside.cluster.monitoring.scraping import Target, monitoring_node, targets
from tests.support.cluster_files import CLUSTER

TOKENS_ALONE = "name: test\ndomain: portside.test\nnodes: {s01: {}, s02: {}}\n"
MAIL = "to: [ops@portside.test], sender: a@portside.test, host: mail.portside.test"


def _problem(text: str) -> str:
    with pytest.raises(ClusterError) as refused:
        parse(text)
    (problem,) = refused.value.problems
    return problem


@pytest.mark.parametrize(
    ("said", "problem"),
    [
        ("grafana: on", "monitoring: grafana: only with `prometheus: on`"),
        ("node: c01", "monitoring: node: only with `prometheus: on`"),
        ("prometheus: on, node: c02", "monitoring: node: c02 is none of this cluster's nodes"),
        ("prometheus: on, disk: 1MiB", "monitoring.disk: "),
        ("prometheus: on, keep: 1h", "monitoring.keep: "),
        ("prometheus: on, alertmanager: {}", "monitoring.alertmanager: needs a webhook, mail"),
        ("allow: [prometheus.portside.test]", "monitoring.allow.0: "),
        ("prometheus: perhaps", "monitoring.prometheus: "),
        ("alertmanager: on", "monitoring.alertmanager: "),
    ],
)
def test_what_makes_no_sense_is_told_with_its_key(said: str, problem: str) -> None:
    assert _problem(f"{CLUSTER}monitoring: {{{said}}}\n").startswith(problem)


@pytest.mark.parametrize(
    ("said", "problem"),
    [
        ("webhook: hooks.portside.test", "monitoring.alertmanager.webhook: is no URL"),
        ("webhook: 'https://a.test/x y'", "webhook: "),
        ("webhook: 'http://a.test/', webhook_token: on", "webhook_token is for"),
        ("webhook_token: on, mail: {" + MAIL + "}", "webhook_token is for"),
        ("mail: {" + MAIL + ", tls: none, user: a}", "mail: user: no password travels without"),
        ("mail: {" + MAIL + ", tls: tls, port: 587}", "mail: Alertmanager speaks `tls: tls`"),
        ("mail: {" + MAIL + ", port: 465}", "mail: Alertmanager speaks `tls: tls`"),
        ("mail: {" + MAIL.replace("ops@", "b@portside.test, o@@") + "}", "mail.to.1: 'o@@"),
        ("mail: {" + MAIL.replace("mail.", "'a b.").replace("test'", "test'") + "'}", "mail"),
    ],
)
def test_whom_nobody_could_tell_is_told_with_its_key(said: str, problem: str) -> None:
    found = _problem(f"{CLUSTER}monitoring: {{prometheus: on, alertmanager: {{{said}}}}}\n")
    assert problem in found
    assert found.startswith("monitoring.alertmanager")


def test_it_is_off_unless_asked_for_and_runs_on_the_first_control_node() -> None:
    assert monitoring_node(parse(CLUSTER)) is None
    on = f"{CLUSTER}monitoring: {{prometheus: on}}\n"
    assert monitoring_node(parse(on)) == "c01"
    assert monitoring_node(parse(on.replace("on}", "on, node: s02}"))) == "s02"


def test_a_cluster_without_a_control_node_says_where_it_runs() -> None:
    on = f"{TOKENS_ALONE}monitoring: {{prometheus: on}}\n"
    assert "there is no control node" in _problem(on)
    assert monitoring_node(parse(on.replace("on}", "on, node: s02}"))) == "s02"


def test_every_agent_control_plane_and_machine_is_asked_by_its_name() -> None:
    text = CLUSTER.replace("s02: {}", "s02: {roles: [storage, control]}")
    text += "control: {database: 'postgresql://u:p@db.portside.test/control'}\n"
    host = "{}.portside.test".format
    plain = [
        Target("portside-agent", "s01", host("s01"), 443, "/metrics"),
        Target("portside-agent", "s02", host("s02"), 443, "/metrics"),
        Target("portside-control", "s02", host("s02"), 8443, "/metrics"),
        Target("portside-control", "c01", host("c01"), 443, "/metrics"),
    ]
    assert list(targets(parse(text))) == plain
    # Without it nobody has put a node_exporter there.
    machines = [Target("node", each, host(each), 443, "/metrics/node") for each in ("s01", "s02")]
    machines.append(Target("node", "c01", host("c01"), 443, "/metrics/node"))
    on = parse(f"{text}monitoring: {{prometheus: on}}\n")
    assert list(targets(on)) == [*plain, *machines]
