"""Roles are read off names."""

from __future__ import annotations

import pytest

from portside.cluster.roles import DEFAULT_PATTERNS, ROLES, Role, roles_of


@pytest.mark.parametrize(
    ("name", "roles"),
    [
        ("s01", ("storage",)),
        ("s7", ("storage",)),
        ("c01", ("control",)),
        ("s", ()),
        ("xs01", ()),
        ("s01x", ()),
        ("", ()),
    ],
)
def test_the_name_says_the_role(name: str, roles: tuple[Role, ...]) -> None:
    assert roles_of(name, DEFAULT_PATTERNS) == roles


def test_a_name_may_say_several_roles_in_a_fixed_order() -> None:
    assert roles_of("box", {"control": "box", "storage": "^b"}) == ROLES


def test_a_role_without_a_pattern_is_never_read_off_a_name() -> None:
    assert roles_of("c01", {"storage": r"^s\d+$"}) == ()
