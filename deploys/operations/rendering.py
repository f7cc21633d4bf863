"""Configuration files from `templates/`: Jinja2, strict about names, on the operator's machine."""

from __future__ import annotations

import json
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined

from deploys.hosts.mounts import mount_unit
from deploys.layout import PROJECT_ROOT

_environment = Environment(  # noqa: S701 (nginx and systemd files: HTML escapes would break them)
    loader=FileSystemLoader(PROJECT_ROOT / "templates"),
    undefined=StrictUndefined,
    keep_trailing_newline=True,
    trim_blocks=True,
    lstrip_blocks=True,
)
_environment.filters["mount_unit"] = mount_unit


def _quoted(value: Any, **options: Any) -> str:
    """JSON that is TOML and Python as well: neither takes halves of a character (U+1F4BF as two
    escapes), and TOML no bare U+007F."""
    return json.dumps(value, **options, ensure_ascii=False).replace("\x7f", "\\u007f")


_environment.policies["json.dumps_function"] = _quoted


def render(template: str, **values: Any) -> str:
    """The text of `templates/<template>` with `values`. Raises jinja2.UndefinedError."""
    return _environment.get_template(template).render(**values)
