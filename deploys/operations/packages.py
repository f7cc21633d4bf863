"""Debian packages: only what is missing, without a question."""

from __future__ import annotations

from collections.abc import Generator, Sequence

from pyinfra.api.operation import operation
from pyinfra.context import host, state

from deploys.hosts import facts
from deploys.operations import apt
from deploys.runs import request


@operation()
def packages_installed(packages: Sequence[str | tuple[str, ...]]) -> Generator[str]:
    """Install what is missing; the package lists are fetched only then.

    + packages: names of Debian packages; of several that do the same, any one will do, and the
      first is installed if there is none
    """
    choices = [(each,) if isinstance(each, str) else each for each in packages]
    names = [name for choice in choices for name in choice]
    installed = host.get_fact(facts.Packages, names=names)
    missing = [choice[0] for choice in choices if not any(name in installed for name in choice)]
    if not missing:
        return
    if request.current().dry:
        host.log(f"packages to install: {', '.join(missing)}")
    if state.is_executing:
        apt.wait_until_free()
    yield apt.mended()
    yield apt.lists_fetched()
    yield apt.installed(missing)
