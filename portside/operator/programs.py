"""The programs that roles bring to a node: where their releases are, which services run them."""

from __future__ import annotations

from dataclasses import dataclass

from portside.cluster.roles import Role

MARKER = ".portside-root"
"""In the root of the data filesystem: proves that it is mounted and whose it is."""

RETIRED = "/etc/portside/retired"
"""There on a node that was let go for good: nothing is deployed to it as long as it is."""

CONTROL_BACKUP = "/usr/local/libexec/portside-control-backup"
"""Makes copies of the control plane's database on its node, and puts one in place."""


@dataclass(frozen=True, slots=True)
class Program:
    """What a role runs. Below `home` are its releases; its services run as `user`."""

    name: str
    home: str
    user: str

    @property
    def releases(self) -> str:
        """The folder of its releases, each a folder named by its sources' digest."""
        return f"{self.home}/releases"

    @property
    def current(self) -> str:
        """The link to the release that runs."""
        return f"{self.home}/current"

    @property
    def python(self) -> str:
        """The interpreter that knows the release's packages."""
        return f"{self.current}/venv/bin/python"

    @property
    def command(self) -> str:
        """Its command line as the services run it, in the release that is current."""
        return f"{self.current}/venv/bin/{self.name}"

    @property
    def on_path(self) -> str:
        """Where people find it: in everybody's PATH, and in sudo's."""
        return f"/usr/local/bin/{self.name}"

    @property
    def services(self) -> tuple[str, str]:
        """The web side's unit, which can be reloaded, and the worker's; without `.service`."""
        return self.name, f"{self.name}-worker"

    def as_its_user(self, *arguments: str) -> tuple[str, ...]:
        """The words with which root runs the command as the program's own user."""
        return ("runuser", "-u", self.user, "--", self.command, *arguments)


AGENT = Program("portside-agent", "/opt/portside", "portside")
CONTROL = Program("portside-control", "/opt/portside/control", "portside-control")

PROGRAMS: dict[Role, Program] = {"storage": AGENT, "control": CONTROL}
