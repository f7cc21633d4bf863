"""Both browsers, and the page that they visit."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from bench.packages import installed_by_npm
from deploys.layout import PROJECT_ROOT
from tests.support.clients.browsers import Browser, page_server

_HERE = Path(__file__).parent
_FILES = ("package.json", "package-lock.json", "bundle.mjs", "drive.mjs")


@pytest.fixture(scope="session")
def modules() -> Path:
    """What drives the browsers, and the libraries of web pages."""
    place = PROJECT_ROOT / "build" / "clients" / "npm"
    return installed_by_npm([_HERE / name for name in _FILES], place)


@pytest.fixture(scope="session")
def page(modules: Path, page_port: int, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The page's URL."""
    folder = tmp_path_factory.mktemp("page")
    words = (modules / "bundle.mjs", _HERE / "pages.mjs", folder / "pages.js")
    subprocess.run(["node", *words], check=True)
    with page_server(page_port, folder) as url:
        yield url


@pytest.fixture(
    scope="session",
    params=[
        pytest.param(name, marks=pytest.mark.xdist_group(name)) for name in ("chromium", "firefox")
    ],
)
def browser(
    request: pytest.FixtureRequest,
    modules: Path,
    page: str,
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[Browser]:
    """A browser of Debian's."""
    home = tmp_path_factory.mktemp(request.param)
    started = Browser(request.param, modules / "drive.mjs", home, page)
    yield started
    started.close()
