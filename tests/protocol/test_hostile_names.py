"""A name is stored safely below `uploads/` or refused: nothing else can happen to it."""

from __future__ import annotations

import base64
import os
import unicodedata
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from urllib.parse import quote

import pytest
import requests

from portside.wire import paths
from portside.wire.files import StoredFile
from tests.support.agent.process import Agent, slug_of
from tests.support.protocol import LONG_VARIABLE
from tests.support.protocol.checks import check_nothing_left_behind, files_of
from tests.support.protocol.hostile_names import COUNT, hostile_names
from tests.support.protocol.nodes import HomingAgent
from tests.support.protocol.requests_by_hand import TUS_MEDIA, Talker, Tus

_AT_ONCE = 4
_REFUSED = {
    ("name-refused", 400),
    ("type-refused", 415),
    # No name at all in the URL: not a resource that takes a PUT.
    ("method-not-allowed", 405),
    # A form whose headers aren't UTF-8, metadata that aren't: nothing in them can be believed.
    ("malformed-request", 400),
}
_CONTENT = b"content"


@pytest.fixture(scope="module")
def agent(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Agent]:
    """An agent that no rate keeps from a thousand uploads at once."""
    agent = HomingAgent(
        tmp_path_factory.mktemp("agent"), settings={"uploads_per_minute": 1_000_000}
    )
    agent.start()
    yield agent
    agent.kill()


def _by_url(talker: Talker, name: bytes) -> requests.Response:
    # As a client must write it: dots too, or it would tidy `..` away itself.
    path = quote(name, safe="").replace(".", "%2E")
    return talker.agent.put(path, _CONTENT, talker.token)


def _by_form(talker: Talker, name: bytes) -> requests.Response:
    # As browsers do (HTML, multipart form data): three characters are escaped, the rest is raw.
    escaped = name.replace(b'"', b"%22").replace(b"\r", b"%0D").replace(b"\n", b"%0A")
    return _form(talker, b'filename="' + escaped + b'"')


def _form(talker: Talker, filename: bytes) -> requests.Response:
    head = b'--b\r\nContent-Disposition: form-data; name="file"; ' + filename + b"\r\n\r\n"
    return requests.post(
        f"{talker.agent.url}/api/internal/upload",
        data=head + _CONTENT + b"\r\n--b--\r\n",
        headers={
            "Authorization": f"Bearer {talker.token}",
            "Content-Type": "multipart/form-data; boundary=b",
        },
        timeout=60,
    )


def _by_metadata(talker: Talker, name: bytes) -> requests.Response:
    encoded = base64.b64encode(name).decode()
    headers = {"Upload-Metadata": f"filename {encoded}", "Content-Type": TUS_MEDIA}
    return Tus(talker.agent, talker.claims).create(len(_CONTENT), headers, _CONTENT)


def _by_disposition(talker: Talker, name: bytes) -> requests.Response:
    headers = {
        "Upload-Complete": "?1",
        "Content-Disposition": f"attachment; filename*=UTF-8''{quote(name, safe='')}",
    }
    return talker.ask("POST", headers=headers, body=_CONTENT)


@pytest.mark.parametrize(
    ("send", "first", "step"),
    [
        (_by_url, 0, 6),
        (_by_form, 1, 6),
        (_by_metadata, 2, 6),
        # A second way to say what the third does.
        (_by_disposition, 0, 30),
    ],
)
def test_a_hostile_name_is_stored_safely_or_refused(
    agent: Agent, send: Callable[[Talker, bytes], requests.Response], first: int, step: int
) -> None:
    """Every second name in one of the ways; all in each with PORTSIDE_LONG_PROTOCOL_TEST."""
    if LONG_VARIABLE in os.environ:
        first, step = 0, 1
    names = hostile_names()[first::step]
    outside = _everything_but_uploads(agent)
    with ThreadPoolExecutor(_AT_ONCE) as pool:
        outcomes = Counter(pool.map(lambda n: _outcome(agent, send, *n), enumerate(names)))
    assert outcomes.total() == len(names) >= COUNT // step
    # Else the names would prove nothing.
    assert min(outcomes["stored"], outcomes["name-refused"]) > len(names) // 10
    check_nothing_left_behind(agent)
    assert _everything_but_uploads(agent) == outside


def _outcome(
    agent: Agent, send: Callable[[Talker, bytes], requests.Response], number: int, name: bytes
) -> str:
    layout = "named" if number % 2 else "dated"
    talker = Talker(agent, name=None, layout=layout)
    response = send(talker, name)
    if response.status_code == 201:
        _check_safe(talker, StoredFile.model_validate_json(response.text))
        return "stored"
    slug = slug_of(response)
    assert (slug, response.status_code) in _REFUSED, (name, response.status_code, response.text)
    assert slug != "malformed-request" or _is_unreadable(name), name
    assert files_of(talker) == []
    return slug


def _is_unreadable(name: bytes) -> bool:
    try:
        return any(ord(character) < 32 for character in name.decode())
    except UnicodeDecodeError:
        return True


def _check_safe(talker: Talker, stored: StoredFile) -> None:
    uploads = talker.agent.root / "uploads"
    path = (uploads / stored.path).resolve()
    assert path.is_relative_to(uploads.resolve() / talker.claims.namespace)
    assert files_of(talker) == [path]
    assert path.read_bytes() == _CONTENT
    for name in (stored.path.name, stored.name):
        assert name == name.strip(" ")
        assert not name.startswith((".", "-"))
        assert not name.lower().endswith(".attr.json")
        # Neither separators nor controls, nor marks that turn the reading direction round.
        assert not set(name) & set("/\\:*?\"'<>|`$;&")
        categories = {unicodedata.category(character) for character in name}
        assert not categories & {"Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp", "Zs"}, ascii(name)
        assert name == unicodedata.normalize("NFC", name)
        assert len(name.encode()) + len(".attr.json") <= 255
    assert stored.direct_url == talker.agent.url + "/uploads/" + quote(str(stored.path))
    assert stored.url == paths.lasting_url(talker.agent.url, stored.file_id, stored.name)
    assert len(stored.url) < 400


def _everything_but_uploads(agent: Agent) -> set[Path]:
    return {
        Path(folder, name)
        for folder, folders, names in os.walk(agent.home.parent)
        if agent.root / "uploads" not in (Path(folder), *Path(folder).parents)
        for name in (*folders, *names)
        if not name.startswith(agent.root.joinpath("state", "index.sqlite").name)
    }
