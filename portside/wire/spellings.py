"""Values as apps write them in requests, read into the one spelling that travels on.

A browser's `file.type` has parameters or is empty, checksum tools print upper-case hex, an SDK
gives base64, a form gives every number as text. All of that says one thing, so it is taken; what
could mean two things is refused, with what to write instead. Tokens, receipts and files hold the
one spelling alone (`portside.wire.fields`).

Each function is for pydantic's BeforeValidator: what isn't its kind of value is passed on as it is,
for the field's own type to refuse.
"""

from __future__ import annotations

import base64
import ipaddress
import math
import re
import unicodedata
from decimal import Decimal
from typing import Annotated
from urllib.parse import urlsplit

from pydantic import BeforeValidator, Field

from portside.quantities import parse_duration, parse_size
from portside.wire.bounds import Label, Moment, number
from portside.wire.fields import LONGEST, MediaType, Namespace, Owner, Region, Sha256

_SIZE = re.compile(r"([0-9]{1,20}(?:\.[0-9]{1,20})?(?:[eE]\+?[0-9]{1,2})?)\s*([A-Za-z]{0,5})")

_DIGEST_NAME = re.compile(r"sha-?256\s*[:=-]\s*", re.IGNORECASE)
_OTHER_DIGESTS = {32: "an MD5", 40: "a SHA-1", 96: "a SHA-384", 128: "a SHA-512"}

_SHOWN = 60
"""Characters of a refused value that are shown to whoever sent it."""


def exact_bytes(value: object) -> object:
    """Bytes of 10485760, "10485760", 1.5e9 or "4 GiB". Raises ValueError for parts of bytes."""
    size = _bytes(value)
    if isinstance(size, Decimal):
        if size != size.to_integral_value():
            raise ValueError(f"{shown(value)} is no whole number of bytes: give the exact number")
        return int(size)
    return size


def most_bytes(value: object) -> object:
    """The same of a limit, rounded down to whole bytes."""
    size = _bytes(value)
    return int(size) if isinstance(size, Decimal) else size


def _bytes(value: object) -> object:
    if isinstance(value, bool):
        raise ValueError('true and false are no sizes: give bytes as 10485760 or "4GiB"')
    if isinstance(value, float) and math.isfinite(value):
        return Decimal(value)
    if not isinstance(value, str):
        return value
    match = _SIZE.fullmatch(value.strip())
    try:
        if match is None:
            raise ValueError
        return Decimal(match[1]) * (parse_size(f"1{match[2]}") if match[2] else 1)
    except ValueError:
        raise ValueError(
            f'{shown(value)} is no size: give bytes as 10485760, or with a unit as "4GiB"'
        ) from None


def duration(value: object) -> object:
    """Seconds of 3600, "3600", "90m" or "30d". Raises ValueError with these forms for others."""
    return parse_duration(value) if isinstance(value, str) else number(value)


def moment(value: object) -> object:
    """A moment as it was meant: of a `+` that isn't encoded a query makes a space."""
    return _OFFSET.sub(r"\1+\2", value) if isinstance(value, str) else value


_OFFSET = re.compile(r"(\d:\d\d(?:\.\d+)?) (\d\d:?\d\d)$", re.ASCII)
"""The end of a moment (RFC 3339, section 5.6) whose offset has lost its sign."""


def sha256_hex(value: object) -> object:
    """A SHA-256 as lower-case hex.

    Of hex in either case, with spaces or colons between its digits; of base64 or base64url of the
    32 bytes; of both with the algorithm's name before it, as `sha256:...`, `sha256-...`
    (Subresource Integrity) or `sha-256=:...:` (RFC 9530). Raises ValueError for anything else.
    """
    if not isinstance(value, str):
        return value
    text = value.strip()
    digest = _DIGEST_NAME.sub("", text, count=1) if _DIGEST_NAME.match(text) else text
    bare = re.sub(r"[\s:]", "", digest)
    if re.fullmatch(r"[0-9A-Fa-f]{64}", bare):
        return bare.lower()
    if re.fullmatch(r"[0-9A-Za-z+/_-]{43}=?", bare):
        return base64.b64decode(bare.rstrip("=") + "=", altchars=b"-_").hex()
    other = _OTHER_DIGESTS.get(len(bare)) if re.fullmatch(r"[0-9A-Fa-f]+", bare) else None
    has = f" but as long as {other}" if other else ""
    raise ValueError(
        f"{shown(value)} is no SHA-256{has}: give its 64 hexadecimal digits, or base64 of its bytes"
    )


def media_type(value: object) -> object:
    """A media type in lower case without its parameters (RFC 9110, section 8.3.1).

    None for an empty one: that is what a browser gives a file that it doesn't know. Which charset a
    text has is for the text to say: parameters aren't kept with files.
    """
    if not isinstance(value, str):
        return value
    essence = value.partition(";")[0].strip().lower()
    if not essence and not value.strip():
        return None
    if not _MEDIA_TYPE.fullmatch(essence):
        raise ValueError(
            f"{shown(value)} is no media type: write it as application/octet-stream, or leave it "
            "out"
        )
    return essence


_MEDIA_TYPE = re.compile(r"[a-z0-9_.+-]{1,63}/[a-z0-9_.+-]{1,63}")


def region(value: object) -> object:
    """A region's name in lower case, with `-` between its words; None for an empty one."""
    if not isinstance(value, str):
        return value
    return re.sub(r"[\s_]+", "-", value.strip().lower()) or None


def namespace(value: object) -> object:
    """A namespace as it is. Raises ValueError with the nearest one that is: it is part of URLs."""
    if not isinstance(value, str) or _NAMESPACE.fullmatch(value):
        return value
    near = re.sub(r"[^a-z0-9_-]+", "-", value.strip().lower()).strip("-_")[:64]
    hint = f": for example {near!r}" if near else ""
    raise ValueError(
        f"{shown(value)} is no namespace: those have lower-case letters, digits, '-' and '_', at "
        f"most 64 of them, and begin with a letter or digit{hint}"
    )


_NAMESPACE = re.compile("[a-z0-9][a-z0-9_-]{0,63}")


def owner(value: object) -> object:
    """Whose a file is: an app's own id of its user, in any script, or a number.

    Without spaces around it and in Unicode's composed form (NFC), so that one user is one owner.
    Raises ValueError for control characters, line breaks and what is no Unicode.
    """
    if isinstance(value, int) and not isinstance(value, bool):
        return str(value)
    if not isinstance(value, str):
        return value
    text = unicodedata.normalize("NFC", value.strip())
    if not text:
        raise ValueError("is empty: give your app's id of its user, or one word for all of them")
    if any(unicodedata.category(character) in _NOT_IN_NAMES for character in text):
        raise ValueError("must not contain control characters or line breaks")
    if len(text) > _OWNER_CHARACTERS:
        raise ValueError(f"has {len(text)} characters: at most {_OWNER_CHARACTERS} are taken")
    return text


_NOT_IN_NAMES = ("Cc", "Cs", "Zl", "Zp")

_OWNER_CHARACTERS = 128
"""At most 512 bytes of UTF-8: an owner is in tokens and beside each file."""


def address(value: object) -> object:
    """An IP address alone, in its shortest spelling; None for an empty one.

    Proxies and sockets add a port, a zone (RFC 4007, section 11) or IPv4's prefix in IPv6 (RFC
    4291, section 2.5.5.2): none of these make it another address. Raises ValueError for what is no
    address, a list of them as in X-Forwarded-For too: which of them to believe only the app knows.
    """
    if not isinstance(value, str):
        return value
    text = value.strip()
    if not text:
        return None
    port = _PORT.fullmatch(text)
    try:
        found = ipaddress.ip_address((port[1] or port[2] if port else text).partition("%")[0])
    except ValueError:
        raise ValueError(
            f"{shown(value)} is no IP address: give the uploader's alone, as 192.0.2.7 or "
            "2001:db8::7"
        ) from None
    mapped = found.ipv4_mapped if isinstance(found, ipaddress.IPv6Address) else None
    return str(mapped or found)


_PORT = re.compile(r"\[([^\]]*)\](?::[0-9]{1,5})?|([0-9.]+):[0-9]{1,5}")
"""An address with a port behind it, and IPv6's brackets (RFC 3986, section 3.2.2)."""


def http_url(value: object) -> object:
    """A URL that paths can be put behind: without a slash at its end.

    Raises ValueError for what isn't http or https, has no host, no such port, or has more to say
    than where something is: a query, a fragment, a password.
    """
    if not isinstance(value, str):
        return value
    text = value.strip().rstrip("/")
    try:
        parts = urlsplit(text)
        # Of a port that is none urllib tells when it is asked for it.
        told = bool(parts.hostname) and parts.port != 0
    except ValueError:
        told = False
    usual = told and parts.scheme in ("http", "https") and not set("?#@") & set(text)
    if not usual or not _VISIBLE.fullmatch(text):
        raise ValueError(
            f"{shown(value)} is no URL to put paths behind: write it as https://cdn.example.net or "
            "https://cdn.example.net:8443/files, in ASCII, with neither '?', '#' nor '@'"
        )
    return f"{parts.scheme}{text[len(parts.scheme) :]}"


_VISIBLE = re.compile("[!-~]{1,500}")


def shown(value: object) -> str:
    """A value for an error message: short, and without anything that moves a cursor."""
    text = ascii(value)
    return text if len(text) <= _SHOWN else f"{text[: _SHOWN - 3]}..."


_MOST = 2**62
"""Beyond any disk, and still a number that every database takes."""

_AtLeastNone = Annotated[int, Field(ge=0, lt=_MOST)]
_AtLeastOne = Annotated[int, Field(gt=0, lt=_MOST)]

ExactBytes = Annotated[
    _AtLeastNone, BeforeValidator(exact_bytes, json_schema_input_type=_AtLeastNone | str)
]
MostBytes = Annotated[
    _AtLeastOne, BeforeValidator(most_bytes, json_schema_input_type=_AtLeastOne | str)
]
AnySha256 = Annotated[Sha256, BeforeValidator(sha256_hex, json_schema_input_type=str)]
AnyMediaType = Annotated[
    MediaType | None, BeforeValidator(media_type, json_schema_input_type=str | None)
]
AnyRegion = Annotated[Region | None, BeforeValidator(region, json_schema_input_type=str | None)]
AnyNamespace = Annotated[Namespace, BeforeValidator(namespace)]
AnyAddress = Annotated[Label | None, BeforeValidator(address, json_schema_input_type=str | None)]
HttpUrl = Annotated[str, Field(pattern="^https?://[!-~]{1,500}$"), BeforeValidator(http_url)]
AnyOwner = Annotated[Owner, BeforeValidator(owner, json_schema_input_type=str | int)]

AnyDuration = Annotated[
    Annotated[int, Field(ge=0, le=10**10)],
    BeforeValidator(duration, json_schema_input_type=Annotated[int, Field(ge=0)] | str),
]
AnyMoment = Annotated[Moment, BeforeValidator(moment)]


def lifetime(value: object) -> object:
    """Seconds of a duration as `30d`. JSON's true is no number."""
    if isinstance(value, bool):
        raise ValueError("write a duration in seconds, or as 30d, 12h or 15m")
    return parse_duration(value) if isinstance(value, str) else value


AnyLifetime = Annotated[int, Field(gt=0, le=LONGEST), BeforeValidator(lifetime)]
"""From a file's commit to its end: seconds, or as people write it: `30d`, `12h`."""
AnyTimeFromNow = Annotated[int, Field(ge=0, le=LONGEST), BeforeValidator(lifetime)]
