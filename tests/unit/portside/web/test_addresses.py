"""Whom an address stands for."""

from __future__ import annotations

import pytest

from portside.web.addresses import party


@pytest.mark.parametrize(
    ("address", "stands_for"),
    [
        ("192.0.2.7", "192.0.2.7"),
        ("::ffff:192.0.2.7", "192.0.2.7"),
        ("2001:db8:1:2:3:4:5:6", "2001:db8:1:2::/64"),
        ("2001:DB8:1:2::9", "2001:db8:1:2::/64"),
        ("unix:", "unix:"),
    ],
)
def test_an_ipv6_customer_is_counted_as_one(address: str, stands_for: str) -> None:
    assert party(address) == stands_for
