"""Where uploads may live on a node: not where services can't see, nor in place of the system."""

from __future__ import annotations

from pathlib import PurePosixPath

import pytest

from portside.cluster.places import data_root


@pytest.mark.parametrize(
    "path", ["/srv/portside", "/srv", "/mnt", "/mnt/HC_Volume_1", "/data", "/var/lib/uploads"]
)
def test_a_folder_for_uploads_is_taken(path: str) -> None:
    assert data_root(PurePosixPath(path)) == PurePosixPath(path)


@pytest.mark.parametrize("path", ["/home", "/home/uploads", "/root/x", "/run/x"])
def test_what_services_do_not_see_is_refused_with_a_way_around(path: str) -> None:
    with pytest.raises(ValueError, match=f"services don't see /.*{path} /srv/portside none bind"):
        data_root(PurePosixPath(path))


@pytest.mark.parametrize(
    "path",
    [
        *("/", "/var", "/opt", "/opt/portside/x", "/etc/x", "/usr/local"),
    ],
)
def test_the_systems_own_is_never_given_to_the_agent(path: str) -> None:
    with pytest.raises(ValueError, match="is the system's own"):
        data_root(PurePosixPath(path))
