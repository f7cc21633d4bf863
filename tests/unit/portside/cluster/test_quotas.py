"""Quotas as a cluster file says them, and as they get into TOML and out of it."""

from __future__ import annotations

import tomllib

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from portside.cluster.file import ClusterError, parse
from portside.cluster.quotas import Quota, Quotas

SMALL = "name: a\ndomain: example.net\nnodes: {s01: {}, c01: {}}\n"


def said(text: str) -> Quotas:
    return parse(f"{SMALL}quotas: {text}\n").quotas


def test_what_an_owner_says_nothing_of_is_the_defaults() -> None:
    quotas = said("{default: {bytes: 1TiB, files: 7}, owners: {alice: {bytes: 2GiB}, 42: {}}}")
    assert quotas.of_owner("alice") == Quota(bytes=2 << 30, files=7)
    assert quotas.of_owner("42") == quotas.of_owner("bob") == Quota(bytes=1 << 40, files=7)


@pytest.mark.parametrize("word", ["null", "unlimited", "Unlimited", "~"])
def test_no_limit_is_one_that_is_said(word: str) -> None:
    quotas = said(f"{{default: {{bytes: 1TiB, files: 7}}, owners: {{alice: {{bytes: {word}}}}}}}")
    assert quotas.of_owner("alice") == Quota(bytes=None, files=7)
    assert quotas.owners["alice"].said() == {"bytes": None}


def test_an_app_without_an_entry_has_no_limit() -> None:
    quotas = said("{default: {bytes: 1}, apps: {shop: {files: 0}}}")
    assert quotas.of_app("shop") == Quota(bytes=None, files=0)
    assert quotas.of_app("blog") == Quota()


def test_an_owner_is_named_as_sessions_name_it() -> None:
    quotas = said("{owners: {' Jose\u0301 ': {files: 1}}}")
    assert quotas.of_owner("Jos\u00e9").files == 1


@pytest.mark.parametrize(
    ("text", "where"),
    [
        ("{default: {bytes: -1}}", "quotas.default.bytes"),
        ("{default: {files: 1.5}}", "quotas.default.files"),
        ("{default: {files: true}}", "quotas.default.files"),
        ("{default: {gigabytes: 1}}", "quotas.default.gigabytes"),
        ("{owners: {a: {files: 1}, ' a': {files: 2}}}", "quotas.owners"),
        ("{owners: {'': {files: 1}}}", "quotas.owners"),
        ("{apps: {Shop: {files: 1}}}", "quotas.apps.Shop"),
        ("{users: {a: {files: 1}}}", "quotas.users"),
        ("{owners: [a]}", "quotas.owners"),
    ],
)
def test_mistakes_are_told_with_their_key(text: str, where: str) -> None:
    with pytest.raises(ClusterError) as error:
        said(text)
    assert any(each.startswith(where) for each in error.value.problems), error.value.problems


_LIMIT = st.one_of(st.none(), st.integers(0, 2**62 - 1))
_QUOTA = st.builds(
    lambda known: Quota(**known),
    st.dictionaries(st.sampled_from(["bytes", "files"]), _LIMIT),
)
_OWNER = st.text(st.characters(exclude_categories=("Cs", "Cc", "Zl", "Zp")), min_size=1)


@given(_QUOTA, st.dictionaries(_OWNER, _QUOTA, max_size=3), _QUOTA)
def test_all_that_is_said_gets_through_a_file_that_has_no_null(
    default: Quota, owners: dict[str, Quota], app: Quota
) -> None:
    try:
        quotas = Quotas(default=default, owners=owners, apps={"shop": app})
    except ValidationError:
        return
    lines = [
        line
        for table, limits in quotas.for_toml()
        for line in (
            f"[{table}]",
            *(
                f"{key} = {most if isinstance(most, int) else repr(most)}"
                for key, most in limits.items()
            ),
        )
    ]
    read = Quotas.model_validate(tomllib.loads("\n".join(lines)))
    for owner in (*quotas.owners, "somebody"):
        assert read.of_owner(owner) == quotas.of_owner(owner)
    assert read.of_app("shop") == quotas.of_app("shop")
