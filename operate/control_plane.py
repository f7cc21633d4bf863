"""The control plane's API for an operator, with a key that is made over SSH when one is needed."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TypeVar

from operate import nodes
from operate.site import Refused, Site
from portside.client.control import Control
from portside.client.http.errors import ControlRefused
from portside.operator.programs import CONTROL

_APP = "operator"
"""The name of the API key that verbs use: `portside app list` shows it."""

_UNKNOWN = 401

T = TypeVar("T")


@contextmanager
def asked(site: Site) -> Iterator[Control]:
    """The control plane, asked with a key that counts. Raises one of MISTAKES in `operate.site`.

    A key that was revoked, or is of a control plane made anew, is replaced first.
    """
    key = site.keystore.operator_key() or new_key(site)
    control = _control(site, key)
    try:
        try:
            control.check_key()
        except ControlRefused as refused:
            if refused.problem.status != _UNKNOWN:
                raise
            control.close()
            control = _control(site, new_key(site))
        yield control
    finally:
        control.close()


def another(site: Site) -> Control:
    """One more connection, for another thread, by the key that `asked` has found to count."""
    return _control(site, site.keystore.operator_key() or new_key(site))


def answer(site: Site, question: Callable[[Control], T]) -> T:
    """What the control plane answers to one question. Raises one of MISTAKES."""
    with asked(site) as control:
        return question(control)


def new_key(site: Site) -> str:
    """An API key made on the control plane's node, kept for the next time. Raises Refused."""
    node_id = site.control_node()
    # One whose key got lost is in the way of the new one; that there is none is fine.
    nodes.ask(site, [node_id], _app("revoke", _APP))
    made = nodes.ask(site, [node_id], _app("create", _APP, "--scope", "admin"))[node_id]
    if not made.ok:
        raise Refused(f"no API key could be made on {node_id}: {made.trouble}")
    return _kept(site, made.out)


def another_key(site: Site) -> str:
    """A key in place of the one that is kept, which counts for ten minutes more."""
    if site.keystore.operator_key() is not None:
        node_id = site.control_node()
        made = nodes.ask(site, [node_id], _app("rotate", _APP, "--old-for", "10m"))[node_id]
        if made.ok:
            return _kept(site, made.out)
    # There is none yet, or one got lost on its way here and is in the way of another.
    return new_key(site)


def _kept(site: Site, printed: str) -> str:
    key = printed.split()[-1]
    site.keystore.keep_operator_key(key)
    return key


def _control(site: Site, key: str) -> Control:
    if site.cluster.control_url is None:
        raise Refused(f"cluster {site.cluster.name!r} has no control plane")
    return Control(site.cluster.control_url, key, site.authority)


def _app(*arguments: str) -> tuple[str, ...]:
    """The words that run `portside-control app` on the control plane's node."""
    return CONTROL.as_its_user("app", *arguments)
