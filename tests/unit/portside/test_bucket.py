"""The cold tier's bucket: what may be said of it, in the cluster file as on a node."""

from __future__ import annotations

from typing import Any

import pytest
from pydantic import ValidationError

from portside.bucket import Bucket


@pytest.mark.parametrize(
    "said",
    [
        {},
        {"prefix": "backup/"},
        {"prefix": "a/b.c/_d=1/"},
        {"endpoint": "http://[::1]:9000"},
        {"endpoint": "https://s3.example.net", "region": "eu-central-1"},
        {"namespaces": ("isos",)},
    ],
)
def test_buckets_that_are_taken(said: dict[str, Any]) -> None:
    Bucket.model_validate({"bucket": "files", **said})


@pytest.mark.parametrize(
    "said",
    [
        {"bucket": "Not A Bucket"},
        {"bucket": "ab-"},
        {"endpoint": "s3.example.net"},
        {"endpoint": "https://user:password@s3.example.net"},
        {"endpoint": "https://s3.example.net/"},
        {"prefix": "/a/"},
        {"prefix": "a"},
        {"prefix": "a/../b/"},
        {"prefix": "./"},
        {"prefix": ".hidden/"},
        {"region": "Frankfurt"},
        {"namespaces": ("../isos",)},
        {"secret": "x"},
    ],
)
def test_buckets_that_are_refused(said: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        Bucket.model_validate({"bucket": "files", **said})
