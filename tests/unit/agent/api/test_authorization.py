"""Which request's target a download token opens: decided on the path that nginx will serve."""

from __future__ import annotations

from pathlib import Path
from urllib.parse import unquote_to_bytes

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent.api.authorization import Access
from agent.index.database import Database
from agent.problems import ProblemError
from agent.settings import Settings
from portside.quantities import GIB
from portside.sizing import Machine, size
from portside.tokens import SigningKey, mint_download
from portside.wire.keys import Keyset
from tests.support.minting import download_claims

PATH = "private/2026/größe+1.bin"
WRITTEN = f"/uploads/{PATH}".encode()


@pytest.fixture(scope="module")
def issuer() -> SigningKey:
    return SigningKey.generate("lab")


@pytest.fixture(scope="module")
def access(issuer: SigningKey, tmp_path_factory: pytest.TempPathFactory) -> Access:
    folder: Path = tmp_path_factory.mktemp("access")
    settings = Settings(
        node_id="s01",
        public_base_url="https://s01.portside.test",
        root=folder,
        keyset=folder,
        node_key=folder,
        roster=folder,
        max_size=1,
        extensions=(".bin",),
        private=("private",),
        uploads_per_minute=1,
        scrub_rate=1,
        scrub_every=1,
        sizing=size(Machine(ram=GIB, cores=1, disk=GIB)),
    )
    return Access(
        settings, lambda: Keyset(keys=(issuer.public(),)), Database(folder / "index.sqlite")
    )


def _opens(access: Access, issuer: SigningKey, target: bytes) -> bool:
    token = mint_download(issuer, download_claims("lab", "s01", {"path": PATH}))
    try:
        access.download_by_url(target.decode("latin-1"), "", token)
    except ProblemError as problem:
        assert problem.slug == "right-missing"
        return False
    return True


@given(st.lists(st.booleans(), min_size=len(WRITTEN), max_size=len(WRITTEN)), st.booleans())
def test_any_way_to_escape_the_path_opens_it(
    access: Access, issuer: SigningKey, escaped: list[bool], lower: bool
) -> None:
    form = "%{:02x}" if lower else "%{:02X}"
    target = b"".join(
        form.format(byte).encode() if escape else bytes([byte])
        for byte, escape in zip(WRITTEN, escaped, strict=True)
    )
    assert _opens(access, issuer, target)
    assert _opens(access, issuer, target + b"?x=/../y")


@given(
    st.lists(
        st.sampled_from(
            [
                *(b"/uploads/", b"private", b"2026/", b"/", b"//", b".", b"..", b"%2e", b"%2F"),
                *(
                    b"gr\xc3\xb6\xc3\x9fe+1.bin",
                    b"gr%C3%B6%C3%9Fe+1.bin",
                    b"gr%C3%B6%C3%9Fe%201.bin",
                ),
            ]
        ),
        max_size=8,
    ).map(b"".join)
)
def test_nothing_opens_that_is_not_the_path_written_out(
    access: Access, issuer: SigningKey, target: bytes
) -> None:
    assert _opens(access, issuer, target) is (unquote_to_bytes(target) == WRITTEN)


@given(st.binary(max_size=60))
def test_any_bytes_are_judged(access: Access, issuer: SigningKey, target: bytes) -> None:
    _opens(access, issuer, target)
