"""How one gets in, looked at first of all: a shell that keeps quiet, sudo that asks nothing.

Every fact is read off the standard output of a login shell, and files come by SFTP, which begins
with the same shell: a line that `.bashrc` prints would be in all of it.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from pyinfra.api.exceptions import FactProcessError, PyinfraError
from pyinfra.api.facts import FactBase
from pyinfra.context import host

_MARK = "portside-login"


@dataclass(frozen=True, slots=True)
class LoginState:
    """`printed` is the first line that the shell says by itself; `sudo` whether it works, asks for
    a password, refuses, needs a terminal, or isn't there."""

    printed: str | None
    sudo: Literal["works", "asks", "refuses", "terminal", "missing"]


class Login(FactBase[LoginState]):
    """What a login is met with. To be asked without sudo: with it, pyinfra would ask for a
    password, and hand it to the node in a command's arguments, where every user there sees it."""

    def command(self) -> str:
        # sudo's own words, in sudo.c and in sudoers' policy; LC_ALL is C.UTF-8 in every command.
        return (
            f"echo {_MARK}; "
            "if ! command -v sudo >/dev/null; then echo sudo=missing; "
            "elif said=$(sudo -n true 2>&1 >/dev/null </dev/null); then echo sudo=works; "
            'else case "$said" in '
            "*'password is required'*|*'authentication is required'*) echo sudo=asks ;; "
            "*'must have a tty'*) echo sudo=terminal ;; "
            "*) echo sudo=refuses ;; esac; fi"
        )

    def process(self, output: list[str]) -> LoginState:
        if _MARK not in output:
            raise FactProcessError("its shell runs no commands: is it `sh` or like it?")
        at = output.index(_MARK)
        said = dict(line.partition("=")[::2] for line in output[at + 1 :])
        printed = next((line.strip() for line in output[:at] if line.strip()), None)
        try:
            return LoginState(printed if at else None, said["sudo"])  # type: ignore[arg-type]
        except KeyError as error:
            raise FactProcessError(f"its login can't be read: {error!r}") from None


def check_login() -> None:
    """See that commands can be run as root on the host that is being prepared, and read.

    Raises PyinfraError if not.
    """
    found = host.get_fact(Login, _sudo=False)
    if found is None:
        raise PyinfraError("its login can't be read")
    refused = refusal(found, host.data.get("ssh_user") or "root")
    if refused:
        raise PyinfraError(refused)


def refusal(found: LoginState, user: str) -> str | None:
    """Why nothing can be done over this login, and what to change on the node, if so."""
    if found.printed is not None:
        return (
            f"the login shell of {user} prints {found.printed!r} before each command's output, and "
            "breaks SFTP: begin its ~/.bashrc (or what /etc prints in its place) with "
            "`case $- in *i*) ;; *) return ;; esac`"
        )
    if user == "root" or found.sudo == "works":
        return None
    rule = f"`echo '{user} ALL=(ALL) NOPASSWD: ALL' > /etc/sudoers.d/zz-portside`"
    return {
        "asks": f"sudo: a password is required of {user}. None is ever sent: let it in without, "
        f"as root there: {rule}, or log in as root (`ssh.user: root`)",
        "terminal": f"sudo wants a terminal: as root there, `echo 'Defaults:{user} !requiretty' > "
        "/etc/sudoers.d/zz-terminal`, or log in as root (`ssh.user: root`)",
        "refuses": f"sudo refuses {user}: as root there, {rule}, or log in as root "
        "(`ssh.user: root`)",
        "missing": f"{user} isn't root, and sudo isn't installed: as root there, `apt-get install "
        f"sudo` and {rule}, or log in as root (`ssh.user: root`)",
    }[found.sudo]
