"""Which kinds of file a node takes: the default extensions and those that are never harmless.

What a browser would run (HTML, SVG, XML) is refused unless an operator lists it by hand: a storage
node serves users' bytes from its own origin.
"""

from __future__ import annotations

import re
from collections.abc import Iterable

_EXTENSION = re.compile(r"^\.[a-z0-9]{1,16}(\.[a-z0-9]{1,16})?$")

DEFAULT_EXTENSIONS: tuple[str, ...] = (
    # disk images
    *(".iso", ".img", ".raw", ".qcow2", ".vmdk", ".vdi", ".vhdx", ".ova", ".wim", ".dmg"),
    # archives and packages
    *(".zip", ".7z", ".rar", ".tar", ".gz", ".tgz", ".bz2", ".xz", ".zst", ".deb", ".rpm"),
    # pictures
    *(".jpg", ".jpeg", ".png", ".gif", ".webp", ".avif", ".heic", ".tiff", ".bmp"),
    # sound and film
    *(".mp3", ".flac", ".ogg", ".wav", ".m4a", ".mp4", ".m4v", ".mov", ".mkv", ".webm"),
    # documents and plain data
    *(".pdf", ".txt", ".csv", ".json", ".parquet", ".bin"),
    # models
    *(".safetensors", ".gguf", ".onnx", ".pt", ".npz"),
)

SCRIPT_EXTENSIONS: frozenset[str] = frozenset(
    {".svg", ".svgz", ".xml", ".html", ".htm", ".xhtml", ".shtml", ".mht", ".js", ".mjs", ".swf"}
)
"""What a browser may run in the node's own origin: taken only when listed by name."""

XML_EXTENSIONS: frozenset[str] = frozenset(
    {
        # maps and sport, virtual machines, subtitles and streams, books, lists
        *(".gpx", ".kml", ".tcx", ".gml", ".osm", ".ovf", ".vbox", ".ttml", ".dfxp", ".mpd"),
        *(".fb2", ".musicxml", ".opml", ".plist", ".xmp", ".xsd", ".dae", ".x3d", ".xlf"),
    }
)
"""Formats that are XML, in which nobody expects anything else: saved, never shown."""

TEXT_EXTENSIONS: frozenset[str] = frozenset(
    {".txt", ".csv", ".tsv", ".json", ".jsonl", ".ndjson", ".log", ".md", ".yaml", ".yml", ".ini"}
)
"""What is labelled as text, which every browser shows as it is."""

PASSIVE_EXTENSIONS: frozenset[str] = TEXT_EXTENSIONS | frozenset(
    {
        *(".jpg", ".jpeg", ".png", ".gif", ".webp", ".avif", ".heic", ".tif", ".tiff", ".bmp"),
        *(".mp3", ".flac", ".ogg", ".wav", ".m4a", ".mp4", ".m4v", ".mov", ".mkv", ".webm"),
        *(".pdf", ".docx", ".xlsx", ".pptx", ".odt", ".ods", ".odp", ".epub"),
    }
)
"""What people open without a thought, because it is to be looked at, heard or read."""

COMPOUND_EXTENSIONS: tuple[str, ...] = (".tar.gz", ".tar.bz2", ".tar.xz", ".tar.zst")
"""Extensions of two parts that belong together when a name is cut short."""


def normal_extension(extension: str) -> str:
    """`ISO`, `.iso` and `.ISO` are all `.iso`. Raises ValueError for what is no extension."""
    normal = "." + extension.strip().lower().lstrip(".")
    if not _EXTENSION.match(normal):
        raise ValueError(f"{extension!r} is no file extension: write it as .iso")
    return normal


def split_extension(name: str) -> tuple[str, str]:
    """A file name as stem and extension, both as written; `.tar.gz` stays whole, `` if none."""
    for compound in COMPOUND_EXTENSIONS:
        stem, extension = name[: -len(compound)], name[-len(compound) :]
        if stem and extension.lower() == compound:
            return stem, extension
    stem, dot, last = name.rpartition(".")
    return (stem, dot + last) if stem and last else (name, "")


def extension_of(name: str) -> str:
    """The lower-case extension of a file name with its dot, `.tar.gz` as a whole; `` if none."""
    return split_extension(name)[1].lower()


def is_allowed(extension: str, allowed: tuple[str, ...] | frozenset[str]) -> bool:
    """Whether a file with this extension is taken: `.tar.gz` counts as `.gz` as well."""
    return extension in allowed or (
        extension in COMPOUND_EXTENSIONS and "." + extension.rpartition(".")[2] in allowed
    )


def why_refused(extension: str, allowed: Iterable[str]) -> str:
    """Why `is_allowed` says no to a file, in words for its sender: what was seen, what is taken."""
    taken = f"taken are {', '.join(allowed)}"
    if not extension:
        return (
            "the name has no extension: end it in the one of what the file holds, as in "
            f"report.pdf; {taken}"
        )
    if extension in SCRIPT_EXTENSIONS:
        return (
            f"files ending in {extension} are not taken, for a browser may run them: send them in "
            f"an archive; {taken}"
        )
    return (
        f"files ending in {extension} are not taken: name the file after what it holds, or send "
        f"it in an archive; {taken}"
    )
