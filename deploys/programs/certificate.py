#!/usr/bin/python3 -I
"""This node's certificate: asked for at an ACME authority, and renewed in time.

    portside-certificate renew [--now]   what the timer does; --now: although it isn't due
    portside-certificate check           says what isn't as it should be, and then exits with 1
    portside-certificate status          one line: until when it is valid, what failed last

certbot asks, and decides when it is time. Then this compares what certbot has with what nginx
reads, and that with what nginx serves: what one run couldn't finish, the next does.

nginx reads one file with chain and key, replaced by rename: no crash leaves one half of a pair.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import re
import shutil
import ssl
import subprocess
import sys
import time
import tomllib
from dataclasses import dataclass
from pathlib import Path

SETTINGS = "/etc/portside/acme.toml"
_DAY = 86400
_PATIENCE = 15.0
"""Seconds within which nginx shows a new certificate after a reload."""


class NotRenewed(Exception):
    """In one line: what is wrong and what to do."""


class NoPair(NotRenewed):
    """There is no certificate for this node with its key: nothing that would have to be kept."""


# -- when ----------------------------------------------------------------------------------------


def renew_before(lifetime: float) -> float:
    """How long before its end a certificate is renewed, by its lifetime; both in seconds.

    A third of it, half of what lives less than ten days: as certbot does since 4.1. Before, it
    takes thirty days for every one, and would renew one of six days at each look.
    """
    return lifetime / 2 if lifetime < 10 * _DAY else lifetime / 3


def as_interval(seconds: float) -> str:
    """A time as certbot's `renew_before_expiry` has it."""
    return f"{seconds / 3600:.0f} hours"


# -- why not -------------------------------------------------------------------------------------

_ELSEWHERE = (
    "something else answers at this name on port 80: have every A and AAAA record of it lead to "
    "this node, and no proxy stand between"
)
_CLOSED = (
    "the authority has to reach port 80 from outside: open it at the provider, and in every "
    "firewall between"
)
_REFUSED = "this authority gives none for this name"
_RECORDS = "create or mend the name's DNS records"
_REMEDIES = {
    "rateLimited": "wait until then: more tries only prolong it, and the certificate that is there "
    "stays; to try things out there is `tls: {staging: true}`",
    "caa": "have the domain's CAA records allow this authority, or remove them",
    "dns": _RECORDS,
    "dnssec": "mend the domain's DNSSEC",
    "unauthorized": _ELSEWHERE,
    "incorrectResponse": _ELSEWHERE,
    "connection": _CLOSED,
    "tls": _CLOSED,
    "rejectedIdentifier": _REFUSED,
    "unsupportedIdentifier": _REFUSED,
    "externalAccountRequired": "it wants an account made by hand, which is not supported: choose "
    "another authority",
    "serverInternal": "the trouble is the authority's: try again later",
}
"""By the kinds of problem that an authority tells (RFC 8555, section 6.7)."""

_ON_THE_WAY = (
    (
        "certificate verify failed",
        "have `tls.authority` in the cluster file name the certificate that it is known by",
    ),
    (
        "Connection (refused|reset)|name resolution|not known|timed out|unreachable|No route",
        "the node doesn't reach it: see to its address, name servers, outgoing HTTPS",
    ),
)
"""What keeps the node from asking at all, as Python has it."""


def explain(output: str, log: str) -> str:
    """Why certbot failed, in one line: the authority's own words, and what to do.

    The log has the authority's answers also where certbot 2.1 shows an error of its own instead.
    """
    kind, words = _found(r"^ *Type: *(\S+)", output), _found(r"^ *Detail: *(.+)", output)
    if kind is None:
        answer = _found(r"^acme\.messages\.Error: urn:ietf:params:acme:error:(.+)", log) or ""
        kind, _, words = answer.partition(" :: ")
        words = words.partition(" :: ")[2] or words
    if kind:
        remedy = _REMEDIES.get(kind)
        return f"{kind}: {_with(words or '', remedy)}"
    said = _last_words(output)
    fits = (remedy for pattern, remedy in _ON_THE_WAY if re.search(pattern, said, re.IGNORECASE))
    return _with(said, next(fits, None))


def _with(words: str, remedy: str | None) -> str:
    return f"{words.rstrip('.')}. What to do: {remedy}" if remedy else words


def _found(pattern: str, text: str) -> str | None:
    found = re.search(pattern, text, re.MULTILINE)
    return found[1].strip() if found else None


def _last_words(output: str) -> str:
    """The line that says why; around it certbot tells where else one could look."""
    passing = (
        "Ask for help|See the logfile|Saving debug log|Some challenges|Hint|Plugins|"
        "An unexpected error occurred|Account registered|Requesting a certificate|Renewing"
    )
    lines = [line.strip() for line in output.splitlines()]
    said = [line for line in lines if line and not re.match(passing, line)]
    line = said[0] if said else "certbot failed and said nothing"
    # A Python exception with all that led to it: what was at the bottom of it.
    return _found(r"(certificate verify failed: [^(']+|\[Errno -?\d+\] [^')]+)", line) or line


# -- what there is ---------------------------------------------------------------------------------


@dataclass(frozen=True)
class Settings:
    """/etc/portside/acme.toml."""

    host: str
    directory_url: str
    email: str
    profile: str
    authority: str
    pair: str
    home: str
    webroot: str
    logs: str
    port: int = 443

    @property
    def problem(self) -> Path:
        """Where it is noted down why the last try failed."""
        return Path(self.home) / "problem"


@dataclass(frozen=True)
class Pair:
    """A chain with its key, and when the certificate begins and ends (seconds since 1970)."""

    text: str
    begins: float
    ends: float

    @property
    def leaf(self) -> bytes:
        """The certificate that clients see first, as DER."""
        return _leaf(self.text)


def read_pair(*files: Path, host: str) -> Pair:
    """Raises NoPair unless these hold a certificate for `host`, and its key; OSError or NotRenewed
    where that can't be found out now.
    """
    try:
        text = "".join(file.read_text().rstrip("\n") + "\n" for file in files)
        ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER).load_cert_chain(files[0], files[-1])
    except (FileNotFoundError, ssl.SSLError, ValueError) as error:
        raise NoPair(f"{files[0]}: no certificate with its key ({error})") from None
    looked = subprocess.run(
        ("openssl", "x509", "-noout", "-startdate", "-enddate", "-checkhost", host),
        input=text,
        capture_output=True,
        text=True,
        check=False,
    )
    shown = looked.stdout
    if "does NOT match" in shown:
        raise NoPair(f"{files[0]}: a certificate that isn't for {host}")
    if "does match" not in shown:
        # One that was killed, for memory, says nothing.
        why = looked.stderr.strip() or f"it ended with {looked.returncode} and said nothing"
        raise NotRenewed(f"openssl can't tell whose certificate {files[0]} is: {why}")
    begins, ends = (
        ssl.cert_time_to_seconds(_found(rf"^{which}=(.+)", shown) or "")
        for which in ("notBefore", "notAfter")
    )
    return Pair(text, begins, ends)


def _leaf(text: str) -> bytes:
    end = "-----END CERTIFICATE-----"
    begin = text.index("-----BEGIN CERTIFICATE-----")
    return ssl.PEM_cert_to_DER_cert(text[begin : text.index(end) + len(end)])


class Lineage:
    """certbot's own files of this node's certificate."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._home = Path(settings.home) / "certbot"
        self._renewal = self._home / "renewal" / f"{settings.host}.conf"
        self._live = self._home / "live" / settings.host

    def pair(self) -> Pair:
        """The newest. Raises what read_pair does."""
        files = self._live / "fullchain.pem", self._live / "privkey.pem"
        return read_pair(*files, host=self._settings.host)

    def is_as_wanted(self) -> bool:
        """Whether it came from the authority, and under the profile, that the settings name."""
        text = self._configuration()
        return (
            _found(r"^server = (.+)", text) == self._settings.directory_url
            and (_found(r"^preferred_profile = (.+)", text) or "") == self._settings.profile
        )

    def exists(self) -> bool:
        """Whether there is one, good or not."""
        return self._renewal.exists()

    def remove_what_is_half_made(self) -> None:
        """certbot killed while it wrote a first certificate takes the name for used ever after.

        Each certificate that is removed costs another one, of which authorities give a few in a
        week. Raises OSError or NotRenewed where it can't be found out now whether it is a good one.
        """
        parts = (self._renewal, self._live, self._home / "archive" / self._settings.host)
        if not any(part.exists() for part in parts):
            return
        if "[renewalparams]" in self._configuration():
            try:
                self.pair()
            except NoPair:
                pass
            else:
                return
        self._renewal.unlink(missing_ok=True)
        for part in parts[1:]:
            shutil.rmtree(part, ignore_errors=True)

    def have_it_renewed_in_time(self) -> None:
        """Tell certbot how long before its end this certificate is due."""
        try:
            pair = self.pair()
        except NoPair:
            return
        line = f"renew_before_expiry = {as_interval(renew_before(pair.ends - pair.begins))}\n"
        text = self._configuration()
        if line not in text:
            rest = re.sub(r"^#? *renew_before_expiry = .*\n", "", text, flags=re.MULTILINE)
            _write(self._renewal, line + rest)

    def _configuration(self) -> str:
        try:
            return self._renewal.read_text()
        except FileNotFoundError:
            return ""


# -- what is done ----------------------------------------------------------------------------------


def renew(settings: Settings, now: bool) -> None:
    """Ask if it is time, then bring nginx to what there is. Raises NotRenewed, OSError."""
    lineage = Lineage(settings)
    lineage.remove_what_is_half_made()
    lineage.have_it_renewed_in_time()
    refused: NotRenewed | None = None
    try:
        ask(settings, forced=lineage.exists() and (now or not lineage.is_as_wanted()))
    except NotRenewed as problem:
        refused = problem
    try:
        lineage.have_it_renewed_in_time()
        # Also when it was refused: an earlier run may have got one and then come no further.
        take_over(settings, lineage.pair())
        have_it_served(settings)
    except (NotRenewed, OSError) as problem:
        raise refused or problem from None
    if refused is not None:
        raise refused


def ask(settings: Settings, forced: bool) -> None:
    """Have certbot ask for a certificate if there is none or it is due. Raises NotRenewed."""
    why_not = _certbot(settings, forced)
    if why_not is not None and why_not.startswith("accountDoesNotExist"):
        # An authority that began anew: ours is made anew too.
        shutil.rmtree(Path(settings.home) / "certbot" / "accounts", ignore_errors=True)
        why_not = _certbot(settings, forced)
    if why_not is not None:
        raise NotRenewed(f"no certificate from {settings.directory_url}: {why_not}")


def _certbot(settings: Settings, forced: bool) -> str | None:
    """Why it failed, in one line; None: it didn't."""
    environment = {
        "PATH": os.environ.get("PATH", "/usr/sbin:/usr/bin:/sbin:/bin"),
        "LC_ALL": "C.UTF-8",
    }
    if settings.authority:
        environment["REQUESTS_CA_BUNDLE"] = settings.authority
    command = [
        *("certbot", "certonly", "--non-interactive", "--agree-tos", "--no-eff-email"),
        *("--email", settings.email, "--server", settings.directory_url),
        *("--cert-name", settings.host, "--domain", settings.host, "--keep-until-expiring"),
        *("--key-type", "ecdsa"),
        *("--authenticator", "webroot", "--webroot-path", settings.webroot),
        *("--config-dir", f"{settings.home}/certbot", "--work-dir", f"{settings.home}/work"),
        *("--logs-dir", settings.logs, "--max-log-backups", "50"),
        *(("--preferred-profile", settings.profile) if settings.profile else ()),
        # Another authority, perhaps from one that browsers trust to one that is for trying.
        *(("--force-renewal", "--break-my-certs") if forced else ()),
    ]
    try:
        done = subprocess.run(
            command, env=environment, capture_output=True, text=True, check=False, timeout=900
        )
    except OSError as error:
        return f"certbot can't be run: {error}"
    except subprocess.TimeoutExpired:
        return "certbot didn't end within a quarter of an hour: timed out"
    if done.returncode == 0:
        return None
    if done.returncode < 0:
        return f"certbot was killed: signal {-done.returncode}"
    try:
        log = (Path(settings.logs) / "letsencrypt.log").read_text(errors="replace")
    except OSError:
        log = ""
    return explain(f"{done.stdout}\n{done.stderr}", log)


def take_over(settings: Settings, pair: Pair) -> None:
    """The file that nginx reads gets this pair. Raises NotRenewed for one that isn't valid now."""
    now = time.time()
    if not pair.begins <= now < pair.ends:
        when = f"{_day(pair.begins)} until {_day(pair.ends)}"
        raise NotRenewed(
            f"the certificate is valid from {when}, the node's clock says {_day(now)}: "
            "see `timedatectl` there"
        )
    path = Path(settings.pair)
    if not path.exists() or path.read_text() != pair.text:
        _write(path, pair.text)


def have_it_served(settings: Settings) -> None:
    """nginx reads its file again unless it shows that certificate; a stopped one does as it starts.

    A reload, never a restart: old workers finish their uploads. Raises NotRenewed when nginx goes
    on as it was: with a configuration that can't be loaded, it keeps the old one.
    """
    if not _nginx_runs() or _served(settings) == _in_file(settings):
        return
    reload = subprocess.run(
        ("systemctl", "reload", "nginx.service"), capture_output=True, text=True, check=False
    )
    deadline = time.monotonic() + _PATIENCE
    while reload.returncode == 0 and time.monotonic() < deadline:
        if _served(settings) == _in_file(settings):
            return
        time.sleep(0.2)
    raise NotRenewed(
        f"nginx goes on with the certificate that it had ({_complaint()}): once `nginx -t` finds "
        "nothing, `portside-certificate renew` goes on from here"
    )


def _complaint() -> str:
    shown = subprocess.run(
        ("journalctl", "--unit=nginx.service", "--lines=20", "--output=cat"),
        capture_output=True,
        text=True,
        check=False,
    ).stdout
    return str((re.findall(r"\[emerg\] (?:\S+: )?(.+)", shown) or ["it says nothing"])[-1])


def what_is_wrong(settings: Settings) -> str | None:
    """None while a valid certificate, of the kind that is wanted, is served."""
    lineage = Lineage(settings)
    try:
        pair = lineage.pair()
    except (NotRenewed, OSError) as problem:
        return str(problem)
    if not lineage.is_as_wanted():
        return "the certificate is another authority's, or of another profile"
    if not pair.begins <= time.time() < pair.ends:
        return f"the certificate was valid until {_day(pair.ends)}"
    if _in_file(settings) != pair.leaf:
        return "nginx has another certificate"
    if _nginx_runs() and _served(settings) != pair.leaf:
        return "nginx serves another certificate"
    return None


def status(settings: Settings) -> str:
    """One line for people."""
    try:
        pair = Lineage(settings).pair()
        days = (pair.ends - time.time()) / _DAY
        line = f"valid until {_day(pair.ends)}, {days:.0f} days"
    except NoPair:
        line = "none yet"
    except (NotRenewed, OSError) as problem:
        line = str(problem)
    if settings.problem.exists():
        why = (
            settings.problem.read_text().strip() or "`journalctl -u portside-certificate` says why"
        )
        line += f"; the last try failed: {why}"
    return line


def _nginx_runs() -> bool:
    return subprocess.run(("systemctl", "is-active", "--quiet", "nginx.service")).returncode == 0


def _in_file(settings: Settings) -> bytes | None:
    try:
        return _leaf(Path(settings.pair).read_text())
    except (OSError, ValueError):
        return None


def _served(settings: Settings) -> bytes | None:
    try:
        return _leaf(ssl.get_server_certificate(("127.0.0.1", settings.port), timeout=5))
    except OSError:
        return None


def _note(path: Path, text: str) -> None:
    """As far as there is room: an empty one says at least that there was a problem."""
    with contextlib.suppress(OSError):
        path.write_text("")
        _write(path, text)


def _write(path: Path, text: str) -> None:
    """For root alone, whole or not at all, whatever happens to the power."""
    candidate = path.with_name(f".candidate-{path.name}")
    descriptor = os.open(candidate, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with os.fdopen(descriptor, "w") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())
    candidate.replace(path)
    folder = os.open(path.parent, os.O_RDONLY)
    os.fsync(folder)
    os.close(folder)


def _day(moment: float) -> str:
    return time.strftime("%Y-%m-%d %H:%M UTC", time.gmtime(moment))


def main(arguments: list[str], file: str = SETTINGS) -> str | int:
    """The exit code, or what to end with."""
    settings = Settings(**tomllib.loads(Path(file).read_text()))
    if arguments == ["check"]:
        return what_is_wrong(settings) or 0
    if arguments == ["status"]:
        print(status(settings))
        return 0
    if arguments not in (["renew"], ["renew", "--now"]):
        return str(__doc__)
    with (Path(settings.home) / ".lock").open("w") as lock:
        # The timer's and the deploy's come one after the other.
        fcntl.flock(lock, fcntl.LOCK_EX)
        try:
            renew(settings, now="--now" in arguments)
        except (NotRenewed, OSError) as problem:
            _note(settings.problem, f"{problem}\n")
            return f"{settings.host}: {problem}"
        settings.problem.unlink(missing_ok=True)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
