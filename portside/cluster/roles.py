"""Roles read off DNS names: `s01` stores, `c01` controls, because the name says so.

A cluster file maps each role to a pattern over the node's short name. The name is what an operator
types, sees in every log line and can't forget to set, so it is the one place a role is declared.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Literal, get_args

Role = Literal["storage", "control"]
ROLES: tuple[Role, ...] = get_args(Role)

DEFAULT_PATTERNS: dict[Role, str] = {"storage": r"^s\d+$", "control": r"^c\d+$"}


def roles_of(name: str, patterns: Mapping[Role, str]) -> tuple[Role, ...]:
    """The roles whose pattern the node's short name matches, in the order of ROLES.

    An empty result means that the name says nothing: the caller must ask for explicit roles.
    """
    return tuple(role for role in ROLES if role in patterns and re.search(patterns[role], name))
