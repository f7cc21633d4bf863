"""Human sizes and durations: `64GiB` and `2h` in a cluster file or on a command line.

Inside Portside a size is an `int` of bytes and a duration an `int` of seconds; these types turn
what people write into that, once, at the edge.
"""

from __future__ import annotations

import re
from typing import Annotated

from pydantic import BeforeValidator, ByteSize, PlainSerializer, TypeAdapter

KIB = 1024
MIB = 1024 * KIB
GIB = 1024 * MIB

_SECONDS = {"s": 1, "m": 60, "h": 3600, "d": 86400}
_WHOLE_NUMBER = r"[0-9]{1,12}"


def parse_duration(text: str | int) -> int:
    """Seconds of a duration such as `90s`, `15m`, `2h` or `1h30m`; a bare number is seconds.

    Raises ValueError with the accepted forms when `text` is none of them.
    """
    if isinstance(text, int) and not isinstance(text, bool) and text >= 0:
        return text
    compact = "".join(str(text).lower().split(" "))
    if re.fullmatch(_WHOLE_NUMBER, compact):
        return int(compact)
    if not re.fullmatch(rf"({_WHOLE_NUMBER}[smhd])+", compact):
        raise ValueError(f"{text!r} is no duration: write for example 90s, 15m, 2h or 1h30m")
    parts = re.findall(rf"({_WHOLE_NUMBER})([smhd])", compact)
    return sum(int(number) * _SECONDS[unit] for number, unit in parts)


def format_duration(seconds: float) -> str:
    """`7265` -> `2h01m`, `75` -> `1m15s`: short, for people."""
    whole = max(0, round(seconds))
    if whole >= 3600:
        return f"{whole // 3600}h{whole % 3600 // 60:02d}m"
    if whole >= 60:
        return f"{whole // 60}m{whole % 60:02d}s"
    return f"{whole}s"


def parse_size(text: str | int) -> int:
    """Bytes of a size such as `64GiB`, `512MiB`, `4G` (binary, as people mean it for RAM) or 1000.

    Raises ValueError with the accepted forms when `text` is none of them.
    """
    if isinstance(text, str):
        # A lone K, M, G or T means the binary unit: RAM and VPS disks are sold that way.
        text = re.sub(r"(?i)(?<=[\d\s])([kmgt])$", r"\1iB", text.strip())
    try:
        # Pydantic reads as far as it can, and would take 1,5GiB and 1.000.000 for one byte.
        if isinstance(text, str) and not _SIZE.fullmatch(text):
            raise ValueError("a decimal comma, thousands in groups, or more than a size")
        if isinstance(text, bool):
            raise ValueError("YAML's true and false are no numbers")
        size = int(_BYTE_SIZE.validate_python(text))
    except ValueError:
        raise ValueError(f"{text!r} is no size: write for example 512MiB or 64GiB") from None
    if size < 0:
        raise ValueError(f"{text!r} is no size: it is negative")
    return size


def format_size(size: float) -> str:
    """`4294967296` -> `4.0 GiB`: binary units, for people."""
    for unit in ("B", "KiB", "MiB", "GiB"):
        if round(abs(size), 1) < 1024:
            return f"{size:.0f} {unit}" if unit == "B" else f"{size:.1f} {unit}"
        size /= 1024
    return f"{size:.1f} TiB"


_SIZE = re.compile(r"[0-9]+|[0-9]*\.?[0-9]+ *[A-Za-z]+")
"""Bytes are whole: only what has a unit may have a decimal point."""

_BYTE_SIZE: TypeAdapter[ByteSize] = TypeAdapter(ByteSize)

Size = Annotated[int, BeforeValidator(parse_size), PlainSerializer(int)]
"""A size in bytes, written as `64GiB`."""

Duration = Annotated[int, BeforeValidator(parse_duration), PlainSerializer(int)]
"""A duration in seconds, written as `2h`."""
