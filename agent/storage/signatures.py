"""How content shows what it is: the marks that files of each kind begin with. Pure.

Offsets and bytes are the formats' own; each kind's mark says where they are from. Several kinds may
fit one file: a hybrid ISO image is a disc and a disk, a zip archive may follow a program.
"""

from __future__ import annotations

import codecs
import re
from collections.abc import Callable
from dataclasses import dataclass

HEAD_SIZE = 64 * 1024
"""Bytes to look at: a disc's descriptors lie behind its first 32 KiB."""


@dataclass(frozen=True, slots=True)
class Kind:
    """A kind of content. `name` is with its article, as in "the content is a PNG picture"."""

    name: str
    endings: tuple[str, ...]
    """What the names of such files end in."""
    is_like: Callable[[bytes], bool]
    """Whether a file that begins like this may be of this kind."""


def _begins(*marks: bytes) -> Callable[[bytes], bool]:
    return lambda head: head.startswith(marks)


def _is_riff(form: bytes) -> Callable[[bytes], bool]:
    """RIFF and its 64-bit variants: `RIFF`, four bytes of length, the form (EBU Tech 3306)."""
    return lambda head: head[:4] in (b"RIFF", b"RF64", b"BW64") and head[8:12] == form


def _is_branded(*brands: bytes) -> Callable[[bytes], bool]:
    """A box `ftyp` with its major brand (ISO/IEC 14496-12, section 4.3); none named: any."""
    return lambda head: head[4:8] == b"ftyp" and (not brands or head[8:12] in brands)


def _is_pdf(head: bytes) -> bool:
    # Readers look through the first 1024 bytes (ISO 32000-1, annex H, note 13): a byte order mark,
    # a printer's commands or a mail's lines may stand before.
    return b"%PDF-" in head[: 1024 + len(b"%PDF-")]


_LOCAL_FILE = b"PK\3\4"


def _is_zip(head: bytes) -> bool:
    # APPNOTE.TXT, section 4.3: a file's header, the end of an empty archive, the mark of one that
    # was split or was to be, the directory where a split one's last part begins with it. Before
    # the first header there may be anything, as in an archive that extracts itself.
    return (
        head.startswith((_LOCAL_FILE, b"PK\5\6", b"PK\7\x08", b"PK00PK", b"PK\1\2"))
        or _LOCAL_FILE in head
    )


def _is_gzip(head: bytes) -> bool:
    return head[:3] == b"\x1f\x8b\x08"


def _is_tar(head: bytes) -> bool:
    return head[257:262] == b"ustar"


_SECTOR = 2048
_SYSTEM_AREA = 16 * _SECTOR
_VOLUME_MARKS = (b"CD001", b"BEA01", b"NSR02", b"NSR03", b"BOOT2", b"CDW02", b"TEA01")
"""Volume structure descriptors (ECMA-167, part 2, section 9.1; ECMA-119, section 8)."""

_DISC_BEGINNINGS = (
    # A raw sector's sync field (ECMA-130, section 14.1).
    b"\0" + b"\xff" * 10 + b"\0",
    # Sega's consoles, 3DO, two ways to compress an image.
    *(b"SEGA", b"\1\x5a\x5a\x5a\x5a\x5a\1", b"CISO", b"ZISO"),
)


def _is_disc(head: bytes) -> bool:
    """ISO 9660, UDF with or without it, High Sierra; a disc's raw sectors; consoles' discs."""
    for start in range(_SYSTEM_AREA, HEAD_SIZE, _SECTOR):
        if head[start + 1 : start + 6] in _VOLUME_MARKS:
            return True
    return (
        head[_SYSTEM_AREA + 9 : _SYSTEM_AREA + 14] == b"CDROM"
        # GameCube and Wii.
        or head[0x1C:0x20] == b"\xc2\x33\x9f\x3d"
        or head[0x18:0x1C] == b"\x5d\x1c\x9e\xa3"
        or head.startswith(_DISC_BEGINNINGS)
    )


def _is_disk(head: bytes) -> bool:
    """A disk's image: a partition table, or a filesystem without one."""
    return (
        _has_boot_sector(head)
        # GPT, in sectors of 512 and 4096 bytes.
        or b"EFI PART" in (head[512:520], head[4096:4104])
        # Apple's driver descriptor and partition map; HFS, HFS+ and its variant; APFS.
        or (head[:2] == b"ER" and b"PM" in (head[512:514], head[2048:2050]))
        or (head[1024:1026] == b"BD" and head[:2] in (b"LK", b"\0\0"))
        or head[1024:1028] in (b"H+\0\4", b"HX\0\5")
        or head[32:36] == b"NXSB"
        # ext2 to ext4: the mark, then state and what to do on errors, both small numbers.
        or (head[1080:1082] == b"\x53\xef" and head[1083:1086:2] == b"\0\0")
        # XFS; SquashFS in both byte orders.
        or head.startswith((b"XFSB", b"hsqs", b"sqsh"))
    )


def _has_boot_sector(head: bytes) -> bool:
    """An MBR, which hybrid ISO images have too, or the first sector of FAT, exFAT or NTFS."""
    if head[510:512] != b"\x55\xaa":
        return False
    # A filesystem's begins with a jump; each partition of a table is bootable (0x80) or not.
    return head[0] in (0xEB, 0xE9) or all(
        head[entry] in (0, 0x80) for entry in (446, 462, 478, 494)
    )


# Control characters that no text has (WHATWG MIME Sniffing, section 3, "binary data byte").
_BINARY = re.compile(rb"[\x00-\x08\x0b\x0e-\x1a\x1c-\x1f]")


def _is_text(head: bytes) -> bool:
    if not head:
        return False
    if head.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        return True
    if _BINARY.search(head):
        return False
    try:
        # The head may end within a character.
        codecs.getincrementaldecoder("utf-8")().decode(head)
    except UnicodeDecodeError:
        return False
    return True


PNG = Kind("a PNG picture", (".png",), _begins(b"\x89PNG\r\n\x1a\n"))
JPEG = Kind("a JPEG picture", (".jpg", ".jpeg"), _begins(b"\xff\xd8\xff"))
GIF = Kind("a GIF picture", (".gif",), _begins(b"GIF87a", b"GIF89a"))
PDF = Kind("a PDF document", (".pdf",), _is_pdf)
ZIP = Kind("a zip archive", (".zip",), _is_zip)
SEVEN_ZIP = Kind("a 7z archive", (".7z",), _begins(b"7z\xbc\xaf\x27\x1c"))
GZIP = Kind("gzip data", (".gz", ".tgz"), _is_gzip)
BZIP2 = Kind("bzip2 data", (".bz2",), _begins(*(b"BZh%d" % level for level in range(1, 10))))
XZ = Kind("xz data", (".xz",), _begins(b"\xfd7zXZ\0"))
QCOW2 = Kind("a qcow2 image", (".qcow2",), _begins(b"QFI\xfb"))
DISC = Kind("the image of a disc", (".iso",), _is_disc)
DISK = Kind("the image of a disk", (".img", ".raw"), _is_disk)
PROGRAM = Kind(
    "a program",
    (),
    # Windows, Linux, macOS: one architecture in both byte orders, in 32 and 64 bits.
    _begins(
        b"MZ", b"\x7fELF", *(b"\xfe\xed\xfa\xce", b"\xfe\xed\xfa\xcf"),
        *(b"\xce\xfa\xed\xfe", b"\xcf\xfa\xed\xfe"),
    ),
)  # fmt: skip
TEXT = Kind("plain text", (".txt",), _is_text)

KINDS: tuple[Kind, ...] = (
    *(PNG, JPEG, GIF),
    Kind("a WebP picture", (".webp",), _is_riff(b"WEBP")),
    Kind("an AVIF picture", (".avif",), _is_branded(b"avif", b"avis")),
    Kind("a HEIC picture", (".heic",), _is_branded(b"heic", b"heix", b"hevc", b"mif1", b"msf1")),
    Kind("a TIFF picture", (".tiff",), _begins(b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")),
    Kind("a JPEG XL picture", (".jxl",), _begins(b"\xff\x0a", b"\0\0\0\x0cJXL \r\n\x87\n")),
    *(GZIP, BZIP2, XZ, SEVEN_ZIP, QCOW2),
    Kind("zstd data", (".zst",), _begins(b"\x28\xb5\x2f\xfd")),
    Kind("a RAR archive", (".rar",), _begins(b"Rar!\x1a\7")),
    Kind("a tar archive", (".tar",), _is_tar),
    Kind("a Matroska film", (".mkv", ".webm"), _begins(b"\x1a\x45\xdf\xa3")),
    Kind("an MP4 file", (".mp4", ".m4a", ".mov"), _is_branded()),
    Kind("a WAV recording", (".wav",), _is_riff(b"WAVE")),
    Kind("an Ogg file", (".ogg",), _begins(b"OggS")),
    Kind("a FLAC recording", (".flac",), _begins(b"fLaC")),
    Kind("an MP3 recording", (".mp3",), _begins(b"ID3")),
    # What may stand behind or beside something else comes last, text at the very end.
    *(PROGRAM, PDF, DISC, DISK, ZIP, TEXT),
)
"""What is recognised, the most telling mark first."""


def kind_of(head: bytes) -> Kind | None:
    """What a file that begins with `head` is; None where nothing here knows it."""
    return next((kind for kind in KINDS if kind.is_like(head)), None)
