"""What else comes in: rules as operators write them."""

from __future__ import annotations

import pytest
from pydantic import ValidationError

from portside.cluster.file import ClusterError
from portside.cluster.file import parse as parse_cluster
from portside.cluster.firewall import Firewall, parse


@pytest.mark.parametrize(
    ("rule", "condition"),
    [
        ("51820/udp", "udp dport 51820"),
        ("6000-6010/tcp", "tcp dport 6000-6010"),
        ("9100/tcp from 192.0.2.0/24", "ip saddr 192.0.2.0/24 tcp dport 9100"),
        ("9100/tcp from 192.0.2.7", "ip saddr 192.0.2.7/32 tcp dport 9100"),
        (" 53/udp  from 2001:db8::/32 ", "ip6 saddr 2001:db8::/32 udp dport 53"),
    ],
)
def test_a_rule_is_a_condition_of_nftables(rule: str, condition: str) -> None:
    assert parse(rule).nftables == condition


@pytest.mark.parametrize(
    ("rule", "complaint"),
    [
        ("9100", "write it as 51820/udp"),
        ("9100/sctp", "write it as 51820/udp"),
        ("9100/tcp accept; drop", "write it as 51820/udp"),
        ("0/tcp", "1 to 65535"),
        ("70000/tcp", "1 to 65535"),
        ("20-10/tcp", "the lower one first"),
        ("9100/tcp from 192.0.2.1/24", "host bits"),
        ("9100/tcp from example.net", "an address, or a network"),
    ],
)
def test_what_is_no_rule_is_told_with_how_to_write_it(rule: str, complaint: str) -> None:
    with pytest.raises(ValueError, match=complaint):
        parse(rule)
    with pytest.raises(ValidationError, match=complaint):
        Firewall(allow=(rule,))


NODES = "name: a\ndomain: a.b\nnodes: {s01: {}}\n"


def test_off_without_quotes_is_off() -> None:
    cluster = parse_cluster(f"{NODES}firewall: {{mode: off}}\nhardening: off\n")
    assert (cluster.firewall.mode, cluster.hardening) == ("off", "off")
    assert parse_cluster(f"{NODES}firewall: {{mode: on}}\n").firewall.mode == "on"


@pytest.mark.parametrize("ssh", ["{jump: '-oProxyCommand=x'}", "{user: '-l'}", "{port: 0}"])
def test_nothing_of_ssh_is_taken_for_an_option(ssh: str) -> None:
    with pytest.raises(ClusterError, match="ssh"):
        parse_cluster(f"{NODES}ssh: {ssh}\n")
    with pytest.raises(ClusterError, match=r"nodes\.s01\.ssh"):
        parse_cluster(NODES.replace("s01: {}", f"s01: {{ssh: {ssh}}}"))
