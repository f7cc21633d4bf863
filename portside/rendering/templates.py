"""Configuration files from `templates/`: Jinja2, strict about names."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined

TEMPLATES = Path(__file__).resolve().parents[2] / "templates"
"""Beside the packages, in the project's folder: an operator's machine has it as a checkout."""

environment = Environment(  # noqa: S701 (nginx and systemd files: HTML escapes would break them)
    loader=FileSystemLoader(TEMPLATES),
    undefined=StrictUndefined,
    keep_trailing_newline=True,
    trim_blocks=True,
    lstrip_blocks=True,
)


def _quoted(value: Any, **options: Any) -> str:
    """JSON that is TOML and Python as well: neither takes halves of a character (U+1F4BF as two
    escapes), and TOML no bare U+007F."""
    return json.dumps(value, **options, ensure_ascii=False).replace("\x7f", "\\u007f")


environment.policies["json.dumps_function"] = _quoted


def render(template: str, **values: Any) -> str:
    """The text of `templates/<template>` with `values`. Raises jinja2.UndefinedError."""
    return environment.get_template(template).render(**values)
