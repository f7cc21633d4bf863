"""Content that doesn't fit its name is found in the first bytes; everything else passes."""

from __future__ import annotations

import bz2
import gzip
import io
import lzma
import os
import tarfile
import zipfile

import pytest

from agent.storage.signatures import HEAD_SIZE
from agent.storage.sniffing import ContentRefused, check, media_type
from portside.content import DEFAULT_EXTENSIONS

PNG = b"\x89PNG\r\n\x1a\n"
PE = b"MZ\x90\0\3\0\0\0" + bytes(56)


def _at(*marks: tuple[int, bytes], size: int = 40_000) -> bytes:
    """Zeros with marks at their offsets."""
    head = bytearray(size)
    for offset, mark in marks:
        head[offset : offset + len(mark)] = mark
    return bytes(head)


def _zip(before: bytes = b"") -> bytes:
    buffer = io.BytesIO(before)
    buffer.seek(0, io.SEEK_END)
    with zipfile.ZipFile(buffer, "w") as archive:
        archive.writestr(zipfile.ZipInfo("a"), "b")
    return buffer.getvalue()


def _tar() -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as archive:
        archive.addfile(tarfile.TarInfo("a"))
    return buffer.getvalue()


ISO = _at((32769, b"CD001"))

FITTING = {
    # discs and disks that are called .iso
    "iso-9660": ("debian.iso", ISO),
    "iso-hybrid": ("debian.iso", _at((0, b"ER\x08"), (510, b"\x55\xaa"), (32769, b"CD001"))),
    "iso-udf-alone": ("film.iso", _at((32769, b"BEA01"), (34817, b"NSR02"), (36865, b"TEA01"))),
    "iso-udf-2-50": ("film.iso", _at((34817, b"NSR03"))),
    "iso-udf-behind-iso-9660": ("win.iso", _at((32769, b"CD001"), (38913, b"NSR02"))),
    "iso-high-sierra": ("old.iso", _at((32777, b"CDROM"))),
    "iso-raw-sectors": ("game.iso", b"\0" + b"\xff" * 10 + b"\0" + bytes(4096)),
    "iso-gamecube": ("game.iso", _at((0x1C, b"\xc2\x33\x9f\x3d"))),
    "iso-apple-map": ("mac.iso", _at((0, b"ER\2\0"), (512, b"PM"))),
    "iso-hfs": ("mac.iso", _at((0, b"LK"), (1024, b"BD"))),
    "iso-hfs-plus": ("mac.iso", _at((1024, b"H+\0\4"))),
    "iso-of-a-partitioned-disk": ("stick.iso", _at((446, b"\x80"), (510, b"\x55\xaa"))),
    "iso-of-gpt": ("stick.iso", _at((512, b"EFI PART"))),
    "iso-of-fat": ("dos.iso", _at((0, b"\xeb\x3c\x90"), (500, b"\x20text"), (510, b"\x55\xaa"))),
    "iso-of-ext4": ("root.iso", _at((1080, b"\x53\xef\1\0\1\0"))),
    "iso-of-squashfs": ("live.iso", _at((0, b"hsqs"))),
    # pictures
    "png": ("photo.png", PNG + bytes(64)),
    "png-of-xcode": ("icon.png", PNG + b"\0\0\0\4CgBI" + bytes(32)),
    "png-animated": ("dance.png", PNG + b"\0\0\0\rIHDR" + bytes(17) + b"\0\0\0\x08acTL"),
    "jpg-jfif": ("photo.jpg", b"\xff\xd8\xff\xe0\0\x10JFIF" + bytes(64)),
    "jpg-exif": ("photo.JPG", b"\xff\xd8\xff\xe1\0\x10Exif" + bytes(64)),
    "jpg-adobe": ("photo.jpeg", b"\xff\xd8\xff\xee\0\x0eAdobe" + bytes(64)),
    "jpg-tables-first": ("photo.Jpeg", b"\xff\xd8\xff\xdb\0\x43" + bytes(64)),
    "gif-87a": ("old.gif", b"GIF87a" + bytes(64)),
    "gif-89a": ("new.gif", b"GIF89a" + bytes(64)),
    # documents
    "pdf": ("paper.pdf", b"%PDF-1.7\n"),
    "pdf-with-a-byte-order-mark": ("paper.pdf", b"\xef\xbb\xbf%PDF-1.4\n"),
    "pdf-behind-a-line": ("paper.pdf", b"\r\n\r\n%PDF-1.3\n"),
    "pdf-behind-printer-commands": ("p.pdf", b"\x1b%-12345X@PJL JOB\r\n" * 20 + b"%PDF-1.5"),
    "pdf-at-the-last-place": ("paper.pdf", bytes(1024) + b"%PDF-1.5"),
    # archives
    "zip": ("archive.zip", _zip()),
    "zip-empty": ("archive.zip", b"PK\5\6" + bytes(18)),
    "zip-split": ("archive.zip", b"PK\7\x08" + _zip()),
    "zip-split-that-fitted": ("archive.zip", b"PK00" + _zip()),
    "zip-behind-a-program": ("setup.zip", _zip(PE + bytes(4096))),
    "zip-behind-a-script": ("run.zip", _zip(b"#!/usr/bin/env python3\n")),
    "7z": ("archive.7z", b"7z\xbc\xaf\x27\x1c\0\4" + bytes(24)),
    "rar": ("archive.rar", b"Rar!\x1a\7\1\0" + bytes(24)),
    "rar-behind-a-program": ("archive.rar", PE + b"Rar!\x1a\7\1\0"),
    "gz": ("log.gz", gzip.compress(b"content", mtime=0)),
    "gz-of-several-members": ("log.gz", gzip.compress(b"", mtime=0) + gzip.compress(b"b", mtime=0)),
    "gz-of-a-page": ("page.html.gz", gzip.compress(b"<html>", mtime=0)),
    "tar.gz": ("a.tar.gz", gzip.compress(_tar(), mtime=0)),
    "TAR.GZ": ("A.TAR.GZ", gzip.compress(_tar(), mtime=0)),
    "tgz": ("a.tgz", gzip.compress(_tar(), mtime=0)),
    "tar.xz": ("a.tar.xz", lzma.compress(_tar())),
    "tar.bz2": ("a.tar.bz2", bz2.compress(_tar())),
    "bz2-empty": ("a.bz2", bz2.compress(b"")),
    "qcow2": ("disk.qcow2", b"QFI\xfb\0\0\0\3" + bytes(64)),
    # texts
    "text-of-comparisons": ("notes.txt", b"a < b, and <3"),
    "text-that-begins-with-an-address": ("mail.txt", b"<a@example.net> wrote:"),
    "text-that-begins-with-a-link": ("notes.txt", b"<a href='https://example.net'>see</a>"),
    "text-of-tagged-lines": ("app.txt", b"<event time='1'>up</event>\n<event>down</event>"),
    "text-that-begins-with-a-comment": ("notes.txt", b"<!-- not yet done -->\nTo do"),
    "csv-of-markup": ("table.csv", b'<b>name</b>,<br>\n"<p>",2\n'),
    "csv-in-utf-16": ("table.csv", "\ufeffname;größe\r\n".encode("utf-16-le")),
    "csv-in-utf-16-big-endian": ("table.csv", "\ufeff<b>;1\r\n".encode("utf-16-be")),
    "json-with-a-byte-order-mark": ("a.json", b'\xef\xbb\xbf{"a": "<html>"}'),
    "text-that-begins-with-MZ": ("notes.txt", b"MZ and its friends"),
    "text-in-latin-1": ("notes.txt", b"gr\xfc\xdfe"),
    # what nothing is known of pretends nothing
    "iso-of-zeros": ("a.iso", bytes(40_000)),
    "iso-that-is-encrypted": ("a.iso", bytes.fromhex("9b51c7e20a") * 9_000),
    "zip-that-is-encrypted": ("a.zip", bytes.fromhex("9b51c7e20a") * 9_000),
    # what promises nothing
    "bin-of-a-program": ("tool.bin", PE),
    "img-of-a-program": ("boot.img", b"\x7fELF" + bytes(64)),
    "pt": ("model.pt", b"\x80\2" + bytes(64)),
    "gguf": ("model.gguf", b"GGUF\3\0\0\0" + bytes(64)),
    "bin-empty": ("empty.bin", b""),
    "mp4": ("film.mp4", b"\0\0\0\x20ftypisom" + bytes(64)),
    "mov-without-a-brand": ("film.mov", b"\0\0\0\x08wide\0\0\0\0mdat"),
    "xml-of-a-format-that-is-xml": ("track.gpx", b"<?xml version='1.0'?><gpx>"),
    "svg-that-is-allowed": ("allowed.svg", b"<svg xmlns='http://www.w3.org/2000/svg'/>"),
}


@pytest.mark.parametrize(("name", "head"), FITTING.values(), ids=FITTING.keys())
def test_fitting_content_passes(name: str, head: bytes) -> None:
    check(name, head)


@pytest.mark.parametrize("extension", DEFAULT_EXTENSIONS)
def test_what_promises_no_signature_takes_any_bytes(extension: str) -> None:
    signed = (".iso", ".png", ".jpg", ".jpeg", ".gif", ".pdf", ".zip", ".7z")
    packed = (".gz", ".tgz", ".xz", ".bz2", ".qcow2")
    if extension not in signed + packed:
        check(f"a{extension}", b"\x93" + os.urandom(4096))


# Name, content, what the sender must be told of it.
PRETENDING = {
    "page-as-bin": ("a.bin", b"<!doctype HTML><p>", "an HTML page"),
    "script-behind-lines": ("a.bin", b"\r\n\t <script>alert(1)</script>", "an HTML page"),
    "piece-of-a-page-as-bin": ("a.bin", b"<br>", "an HTML page"),
    "comment-as-bin": ("a.bin", b"<!--x--><script>", "an HTML page"),
    "xml-as-text": ("a.txt", b"\xef\xbb\xbf<?xml version='1.0'?>", "an XML document"),
    "page-as-text": ("a.txt", b"<html>", "an HTML page"),
    "page-behind-comments-as-text": ("a.txt", b"<!-- a -->\n<!---->\n<body>", "an HTML page"),
    "page-in-utf-16": ("a.txt", "\ufeff<html>".encode("utf-16-le"), "an HTML page"),
    "page-far-behind-in-utf-16": (
        "a.csv",
        ("\ufeff" + " " * 2000 + "<html>").encode("utf-16"),
        "page",
    ),
    "svg-as-jpg": ("a.jpg", b"<svg onload=alert(1)>", "an SVG picture"),
    "page-as-pdf": ("a.pdf", b"<html>%PDF-1.7", "an HTML page"),
    "jpg-as-png": ("a.png", b"\xff\xd8\xff\xe0\0\x10JFIF", ".jpg or .jpeg"),
    "webp-as-jpg": ("a.jpg", b"RIFF\x24\0\0\0WEBPVP8 ", "a WebP picture"),
    "heic-as-jpg": ("a.jpg", b"\0\0\0\x18ftypheic", "a HEIC picture"),
    "zip-as-iso": ("a.iso", _zip(), "a zip archive"),
    "text-as-iso": ("a.iso", b"not found\n", "plain text"),
    "nothing-as-iso": ("empty.iso", b"", "the file is empty"),
    "bz2-as-gz": ("a.gz", b"BZh91AY&SY", "bzip2 data"),
    "xz-as-tar.gz": ("a.tar.gz", lzma.compress(_tar()), "xz data"),
    "unpacked-tar.gz": ("a.tar.gz", _tar(), "a tar archive"),
    "program-as-zip": ("a.zip", b"\x7fELF" + bytes(64), "a program"),
    "rar-as-zip": ("a.zip", b"Rar!\x1a\7\1\0", "a RAR archive"),
    "text-as-pdf": ("a.pdf", b"see %PDF, the format", "plain text"),
    "program-as-film": ("film.mp4", PE, "a program"),
    "program-as-text": ("readme.txt", b"\x7fELF\2\1\1" + bytes(64), "a program"),
    "program-as-pdf": ("a.pdf", PE, "a program"),
}


@pytest.mark.parametrize(("name", "head", "told"), PRETENDING.values(), ids=PRETENDING.keys())
def test_content_that_does_not_fit_is_refused_with_what_it_is(
    name: str, head: bytes, told: str
) -> None:
    with pytest.raises(ContentRefused) as refused:
        check(name, head)
    message = str(refused.value)
    assert told in message
    assert f".{name.split('.', 1)[1]}" in message
    # Something to do, and nothing that only we would understand.
    assert any(word in message for word in ("name it", "look whether", "send it"))
    assert not any(sign in message for sign in ("'", "(", "[", "looks like"))


@pytest.mark.parametrize(
    "head", [b"<!--" * (HEAD_SIZE // 4), b"<!---->" * (HEAD_SIZE // 7), b" " * HEAD_SIZE]
)
def test_a_head_that_is_all_comments_is_no_burden(head: bytes) -> None:
    # Would take years if every way to divide it were tried.
    check("a.txt", head)


def test_the_media_type_follows_the_name() -> None:
    assert media_type("debian.iso") == "application/x-iso9660-image"
    assert media_type("photo.jpg") == "image/jpeg"
    assert media_type("model.safetensors") == "application/octet-stream"
