"""The `portside` command, called in this process."""

from __future__ import annotations

from typer.testing import CliRunner

from portside import cli


class Run:
    """One call of the command: exit code, stdout and stderr, apart."""

    def __init__(self, *arguments: str, stdin: str = "", **environment: str) -> None:
        result = CliRunner().invoke(cli.app, arguments, input=stdin, env=environment)
        self.code, self.out, self.err = result.exit_code, result.stdout, result.stderr
        assert result.exception is None or isinstance(result.exception, SystemExit), self.err


PUT = ("put", "--namespace", "isos")


def mint(*arguments: str) -> Run:
    """A token for node s01."""
    return Run("token", "mint", "--node", "s01", *arguments)
