"""Content that doesn't fit its name is found in the first bytes; everything else passes."""

from __future__ import annotations

import gzip
import io
import os
import zipfile

import pytest

from agent.storage.sniffing import ContentRefused, check, media_type


def _iso() -> bytes:
    head = bytearray(40_000)
    head[32769:32774] = b"CD001"
    return bytes(head)


def _zip() -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        archive.writestr("a", "b")
    return buffer.getvalue()


@pytest.mark.parametrize(
    ("name", "head"),
    [
        ("debian.iso", _iso()),
        ("photo.png", b"\x89PNG\r\n\x1a\n" + bytes(64)),
        ("photo.jpg", b"\xff\xd8\xff\xe0\0\x10JFIF" + bytes(64)),
        pytest.param("archive.zip", _zip(), id="archive.zip-with-its-time"),
        ("archive.tar.gz", gzip.compress(b"content", mtime=0)),
        ("disk.qcow2", b"QFI\xfb\0\0\0\3" + bytes(64)),
        ("paper.pdf", b"%PDF-1.7\n"),
        pytest.param("disk.img", os.urandom(4096), id="disk.img-random"),
        ("notes.txt", b"a < b, and <3"),
        ("empty.bin", b""),
        ("allowed.svg", b"<svg xmlns='http://www.w3.org/2000/svg'/>"),
    ],
)
def test_fitting_content_passes(name: str, head: bytes) -> None:
    check(name, head)


@pytest.mark.parametrize(
    ("name", "head"),
    [
        ("a.bin", b"<!doctype HTML><p>"),
        ("a.bin", b"\r\n\t <script>alert(1)</script>"),
        ("a.txt", b"\xef\xbb\xbf<?xml version='1.0'?>"),
        ("a.txt", "\ufeff<html>".encode("utf-16-le")),
        ("a.jpg", b"<svg onload=alert(1)>"),
        ("a.png", b"\xff\xd8\xff\xe0\0\x10JFIF"),
        ("a.iso", bytes(40_000)),
        ("a.gz", b"BZh91AY&SY"),
        ("a.zip", b"\x7fELF" + bytes(64)),
        ("empty.iso", b""),
    ],
)
def test_content_that_does_not_fit_is_refused(name: str, head: bytes) -> None:
    with pytest.raises(ContentRefused):
        check(name, head)


def test_the_media_type_follows_the_name() -> None:
    assert media_type("debian.iso") == "application/x-iso9660-image"
    assert media_type("photo.jpg") == "image/jpeg"
    assert media_type("model.safetensors") == "application/octet-stream"
