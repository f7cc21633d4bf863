"""What can go wrong with an upload, seen from the client: a class for each thing to do about it."""

from __future__ import annotations

from portside.wire.problem import PROBLEM_PREFIX, Problem


class UploadError(Exception):
    """An upload that didn't end with a verified receipt; the message is one line for people."""


class LocalFileError(UploadError):
    """The file here can't be read, or changed while it was being sent."""


class NodeUnavailable(UploadError):
    """The node can't be reached, broke off, or can't take the file now: trying again may help.

    `problem` is the node's own word, if it got to say one; `retry_after` is in seconds. Without
    `passing` it won't help within minutes: somebody has to do something about it.
    """

    def __init__(
        self,
        message: str,
        problem: Problem | None = None,
        retry_after: float | None = None,
        passing: bool = True,
    ) -> None:
        super().__init__(message)
        self.problem = problem
        self.retry_after = retry_after
        self.passing = passing


class Refused(UploadError):
    """The node refuses this upload (4xx): the same request will be refused again."""

    def __init__(self, problem: Problem) -> None:
        super().__init__(describe(problem))
        self.problem = problem


class UploadGone(Refused):
    """The node has the upload no more: only a new one, from the start, helps."""


class ReceiptRefused(UploadError):
    """What the node says it holds is not proven to be what was sent: its receipt, or an offset."""


class AlreadyRunning(UploadError):
    """Another process is sending this very file to the same place."""


class ControlError(Exception):
    """The control plane didn't do what it was asked; the message is one line for people."""


class ControlUnavailable(ControlError):
    """The control plane can't be reached or can't answer now: trying again may help."""

    def __init__(self, message: str, problem: Problem | None = None) -> None:
        super().__init__(message)
        self.problem = problem


class ControlRefused(ControlError):
    """The control plane refuses this (4xx): the same request will be refused again."""

    def __init__(self, problem: Problem) -> None:
        super().__init__(describe(problem))
        self.problem = problem


class DownloadError(Exception):
    """A file that couldn't be fetched from any node; the message is one line for people."""


class DamagedCopy(DownloadError):
    """What came isn't the file: its SHA-256 is another one than the control plane's."""


class OutputClosed(Exception):
    """Whoever read what was fetched reads no more, as `head` does: not worth a line."""


_ADVICE = {
    "token-malformed": "pass the token as it was issued, without quotes or line breaks",
    "token-missing": "pass a token: --token-file, or PORTSIDE_TOKEN",
    "token-expired": "ask for a new token; if it is new, compare the clocks",
    "token-not-yet-valid": "compare the clocks of issuer and node",
    "token-unknown-key": "provision the node, so that it knows the issuer's key",
    "token-signature": "ask for a new token: this one was changed, or signed by another key",
    "token-wrong-node": "send it to the node the token names, or mint one for this node",
    "token-claims": "mint the token with `portside token mint --node NODE` and compare the claims",
    "token-used": "the token has stored another file: ask for a new one",
    "upload-unknown": "the node has the upload no more: ask for a new token and start over",
    "upload-expired": "its time is over: ask for a new token and start over",
    "upload-in-progress": "another upload with this token is running: wait for it to end",
    "name-taken": "choose another --name, or the layout 'dated', where names never clash",
    "name-refused": "rename the file, or say --name",
    "node-closed": "name another node with --node, or none",
    "size-mismatch": "mint the token for the file's exact size",
    "too-large": "raise uploads.max_size in the cluster file, or the token's size; for a stream, "
    "say --max-size",
    "over-quota": "`portside usage` says who has how much, `portside rm FILE-ID` makes room",
    "type-refused": "name it after what it holds (--name); uploads.extensions lists what is taken",
    "key-missing": "log in with an API key: `portside login URL`",
    "key-unknown": "log in with a key that counts: `portside login URL`",
    "scope-missing": "ask the operator for a key that may do this",
    "digest-mismatch": "the bytes changed on their way, or the file did: send it again",
}


def slug_of(problem: Problem) -> str:
    """The problem's name for programs."""
    return problem.type.removeprefix(PROBLEM_PREFIX)


def describe(problem: Problem) -> str:
    """A node's problem in one line: what, why, its name for programs, and what to do about it."""
    slug = slug_of(problem)
    said = f"{problem.title}: {problem.detail}" if problem.detail else problem.title
    advice = _ADVICE.get(slug)
    line = f"{said} ({problem.status} {slug})"
    return f"{line}; {advice}" if advice else line
