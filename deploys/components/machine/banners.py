"""What is said to whoever comes to a login: whose the machine is, not which Debian it has.

Debian's own texts stand aside by dpkg-divert(1): its upgrades find and renew them there, and they
are back in their place when they are wanted again.
"""

from __future__ import annotations

from pyinfra.api.deploy import deploy

from deploys.operations.files import File, files_in_place
from deploys.operations.rendering import render
from deploys.operations.services import converged

BANNERS = ("/etc/issue", "/etc/issue.net")


@deploy("Banners")
def banners(own: bool) -> None:
    """Portside's texts (`own`), or Debian's."""
    if not own:
        converged(
            name="Debian's own are in their place",
            service="banners",
            holds=" && ".join(f"! {_aside(path)}" for path in BANNERS),
            otherwise="\n".join(
                # Only what was diverted is ours to remove.
                f"if {_aside(path)}; then rm -f {path}; "
                f"dpkg-divert --quiet --rename --remove {path}; fi"
                for path in BANNERS
            ),
        )
        return
    converged(
        name="Debian's own stand aside",
        service="banners",
        holds=" && ".join(_aside(path) for path in BANNERS),
        otherwise="\n".join(
            f"dpkg-divert --quiet --local --rename --divert {path}.debian --add {path}"
            for path in BANNERS
        ),
    )
    text = render("hardening/issue.j2")
    files_in_place(name="Whose the machine is", files=[File(path, text) for path in BANNERS])


def _aside(path: str) -> str:
    return f'[ "$(dpkg-divert --truename {path})" = {path}.debian ]'
