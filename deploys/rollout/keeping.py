"""What ran before a change, kept on the node: to be put back, or to stay with its release.

Each function returns shell. Whatever is cut off, the next run finds all of it or nothing.
"""

from __future__ import annotations

import shlex

from deploys import layout
from deploys.components import nginx
from deploys.hosts import facts
from deploys.operations.releases import MAKE_VENV
from deploys.operations.reloading import runs_by_generations, unit_file

_SERVICES = ("agent", "worker", "nginx")
"""Whose stamps say what they were last told."""

STAYS = "unit-stays"
"""Said where a release comes back without its unit."""


def keep(files: tuple[str, ...], works: bool, back: tuple[str, ...]) -> str:
    """Shell: keep what runs, unless a run that was killed did; says which release that is, and
    whether it worked when it was kept: what a killed run left needn't work, what it kept did.
    """
    new = f"{layout.BEFORE}.new"
    return (
        f"set -e; umask 077; at={layout.BEFORE}; if [ ! -d $at ]; then at={new}; rm -rf $at; "
        f'mkdir $at; basename "$(readlink {layout.CURRENT})" > $at/release; '
        f"{'' if works else ': > $at/failed; '}"
        # Below /, as it were: cp loses its way with a path that begins there (coreutils 9.1).
        f"cd /; for f in {facts.quoted(files)}; do "
        f"[ ! -e $f ] || cp -a --parents ${{f#/}} $at; done; fi; "
        f"{f'echo {facts.quoted(back)} > $at/back; ' if back else ''}"
        f"sync -f $at; [ $at = {layout.BEFORE} ] || mv -T $at {layout.BEFORE}; "
        f"[ -e {layout.BEFORE}/failed ] || echo worked; cat {layout.BEFORE}/release"
    )


def restore(kept: str, release: str, files: tuple[str, ...]) -> str:
    """Shell: what was kept in its place again, for services to be brought to it.

    What one was told last, it has read: whether it has to reload or to restart for what comes back
    is seen by comparing with that. Where it was told in vain it has to do one of them anyway.

    A unit from before portside-serve would stop all that it started: no upload would be taken for
    as long as any lasts, and those of gunicorn's from before it cut. Where portside-serve runs, its
    unit stays, with the settings by which gunicorn tells it that it can serve.
    """
    unit = unit_file(layout.AGENT_SERVICE)
    runs_by_them = runs_by_generations(layout.AGENT_SERVICE)
    stamps = [f"{layout.STATE}/{name}.stamp" for name in _SERVICES]
    directory = f"{layout.RELEASES}/{release}"
    return (
        f"set -e; for s in {facts.quoted(stamps)}; do [ ! -e $s.told ] || "
        "{ mv -fT $s.told $s; sed -i 's/[^ ]*$/-/' $s; }; done; "
        f"[ -e {directory}/.complete ] && [ -d {kept} ] || {{ echo release {shlex.quote(release)}, "
        "or what was kept with it, is gone >&2; exit 1; }; "
        # Another Python may be there by now; releases from before that don't know of it.
        f"[ ! -x {directory}/{MAKE_VENV} ] || {directory}/{MAKE_VENV}; "
        f"stays=; if [ -e {kept}{unit} ] && ! grep -q {layout.SERVE_COMMAND} {kept}{unit} && "
        f"{runs_by_them}; then stays=' {unit} {layout.GUNICORN_CONF} '; echo {STAYS}; fi; "
        f"for f in {facts.quoted(files)}; do "
        'case "$stays" in *" $f "*) continue ;; esac; '
        f"if [ -e {kept}$f ]; then cp -a {kept}$f $f.back; mv -fT $f.back $f; "
        "else rm -f $f; fi; done; "
        # An nginx.conf from before certificate and key were one file; nginx finds either in it.
        f"for f in {facts.quoted(layout.TLS_FORMER)}; do "
        f"[ -e $f ] || ! grep -qs $f {nginx.FILE} || ln -sf {layout.TLS_PAIR} $f; done; "
        f"ln -sfn releases/{shlex.quote(release)} {layout.CURRENT}.new; "
        f"mv -fT {layout.CURRENT}.new {layout.CURRENT}"
    )


def settle() -> str:
    """Shell: what was kept goes to the release that it was kept of; who went back stays there.

    That it goes is the end of it. Killed before, the whole is done again by the next run.
    """
    return (
        f"set -e; cd {layout.RELEASES}; now=$(basename $(readlink {layout.CURRENT})); "
        f"old=$(cat {layout.BEFORE}/release); rm -rf $now/.left $now/.returned; "
        f"if [ -e {layout.BEFORE}/back ]; then read to left < {layout.BEFORE}/back; "
        "[ $to != $now ] || touch $now/.returned; "
        "for r in $left; do [ $r = $now ] || [ ! -d $r ] || touch $r/.left; done; fi; "
        f'if [ "$old" != "$now" ] && [ -d "$old" ]; then rm -rf $old/settings; '
        f"mv -T {layout.BEFORE} $old/settings; else {thrown_away()}; fi; "
        "rm -rf $now/settings"
    )


def returned(tried: str) -> str:
    """Shell: the node runs what was kept, and not what it tried."""
    return (
        f"set -e; cd {layout.RELEASES}; now=$(basename $(readlink {layout.CURRENT})); "
        f"[ {tried} = $now ] || touch {tried}/.left $now/.returned; {thrown_away()}"
    )


def thrown_away() -> str:
    """Shell: nothing is kept any more, all of it at once: a part of it would be misread."""
    new = f"{layout.BEFORE}.new"
    return f"rm -rf {new} && mv -T {layout.BEFORE} {new} && rm -rf {new}"
