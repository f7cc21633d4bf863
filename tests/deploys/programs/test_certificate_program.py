"""`portside-certificate`, as it runs on a node: real certificates and a real nginx; certbot and
systemd are doubles."""

from __future__ import annotations

import os
import ssl
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from deploys.components.nginx import configuration
from deploys.programs import certificate
from deploys.programs.certificate import as_interval, explain, renew_before
from portside.operator import certificates
from tests.support import nginx_process
from tests.support.deploys.nodes import MakeNode
from tests.support.nginx_process import HOST, Nginx

DAY = 86400.0
DIRECTORY = "https://ca.portside.test/dir"
CA = certificates.make_ca("test")

# What certbot 2.1 and 4.0 write, shortened in the middle.
CHALLENGE_FAILED = """
Requesting a certificate for s01.portside.test

Certbot failed to authenticate some domains (authenticator: webroot). The Certificate Auth[..]
  Domain: s01.portside.test
  Type:   unauthorized
  Detail: 192.0.2.7: Invalid response from http://s01.portside.test/.well-known/[..]: 404

Hint: The Certificate Authority failed to download the temporary challenge files [..]

Some challenges have failed.
Ask for help or search for solutions at https://community.letsencrypt.org. See the logfile [..]
"""
BROKEN_BY_ITS_OWN_ERROR = """
An unexpected error occurred:
AttributeError: can't set attribute
Ask for help or search for solutions at https://community.letsencrypt.org. See the logfile [..]
"""
LIMITED_LOG = """
2026-11-30 14:51:42,100:DEBUG:acme.client:Retrying request after error:
urn:ietf:params:acme:error:badNonce :: The client sent an unacceptable anti-replay nonce :: stale
acme.messages.Error: urn:ietf:params:acme:error:rateLimited :: There were too many requests of a \
given type :: too many certificates (5) already issued for this exact set of identifiers in the \
last 168h0m0s, retry after 2026-12-02 10:00:00 UTC: see https://letsencrypt.org/docs/rate-limits/
"""
UNTRUSTED = """
An unexpected error occurred:
requests.exceptions.SSLError: HTTPSConnectionPool(host='ca.portside.test', port=443): Max retries \
exceeded with url: /dir (Caused by SSLError(SSLCertVerificationError(1, '[SSL: \
CERTIFICATE_VERIFY_FAILED] certificate verify failed: unable to get local issuer certificate \
(_ssl.c:992)')))
"""
AWAY = """
Ask for help or search for solutions at https://community.letsencrypt.org. See the logfile [..]
An unexpected error occurred:
ValueError: Requesting ca.portside.test/dir: Connection refused
"""


# -- when ------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("lifetime", "left", "certbot_has"),
    [
        (90 * DAY, 30 * DAY, "720 hours"),
        # Let's Encrypt's from 2027-02 on, from 2028-02 on, and `shortlived`: 160 hours.
        (64 * DAY, 64 * DAY / 3, "512 hours"),
        (45 * DAY, 15 * DAY, "360 hours"),
        (160 * 3600.0, 80 * 3600.0, "80 hours"),
    ],
)
def test_every_certificate_is_renewed_with_a_third_of_its_life_left_and_a_short_one_with_half(
    lifetime: float, left: float, certbot_has: str
) -> None:
    assert renew_before(lifetime) == left
    assert as_interval(left) == certbot_has


# -- why not ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("output", "log", "words", "remedy"),
    [
        (CHALLENGE_FAILED, "", "unauthorized: 192.0.2.7: Invalid response", "A and AAAA record"),
        (
            CHALLENGE_FAILED.replace("unauthorized", "connection"),
            "",
            "connection: 192.0.2.7",
            "reach port 80 from outside",
        ),
        (CHALLENGE_FAILED.replace("unauthorized", "caa"), "", "caa: ", "CAA records"),
        (CHALLENGE_FAILED.replace("unauthorized", "dns"), "", "dns: ", "DNS records"),
        (
            BROKEN_BY_ITS_OWN_ERROR,
            LIMITED_LOG,
            "rateLimited: too many certificates (5) already issued",
            "wait until then",
        ),
        (UNTRUSTED, "", "certificate verify failed: unable to get local issuer", "tls.authority"),
        (AWAY, "", "Connection refused", "the node doesn't reach it"),
        ("", "", "certbot failed and said nothing", ""),
    ],
)
def test_a_refusal_is_one_line_of_the_authoritys_own_words_with_what_to_do(
    output: str, log: str, words: str, remedy: str
) -> None:
    line = explain(output, log)
    assert words in line
    assert remedy in line
    assert "\n" not in line
    assert "Ask for help" not in line


# -- on a node -------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Machine:
    """A node's places below `home`, with a certbot that gives what `offer` lays out."""

    home: Path
    settings: Path
    nginx: Nginx

    def offer(self, host: str = HOST, key_of: certificates.Pair | None = None) -> bytes:
        """The next certificate; returned as DER."""
        pair = certificates.issue(CA, host)
        (self.home / "offered.crt").write_bytes(pair.certificate_pem)
        (self.home / "offered.key").write_bytes((key_of or pair).key_pem)
        (self.home / "refusal").unlink(missing_ok=True)
        return ssl.PEM_cert_to_DER_cert(pair.certificate_pem.decode())

    def refuse(self, output: str) -> None:
        """certbot fails from now on."""
        (self.home / "refusal").write_text(output)

    def run(self, *arguments: str) -> str | int:
        """0, or what the program ends with: as soon as some of nginx's workers are new ones."""
        outcome = certificate.main(list(arguments), str(self.settings))
        self.nginx.wait_until_reloaded()
        return outcome

    @property
    def calls(self) -> str:
        """What was run."""
        return (self.home / "calls").read_text()

    @property
    def served(self) -> bytes:
        """The certificate that nginx shows, as DER."""
        with self.nginx.connect() as connection:
            return connection.getpeercert(binary_form=True) or b""

    @property
    def renewal(self) -> Path:
        """certbot's own settings of the certificate."""
        return self.home / "acme/certbot/renewal" / f"{HOST}.conf"


@pytest.fixture
def machine(
    tmp_path: Path, make_node: MakeNode, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Machine]:
    (tmp_path / "programs").mkdir()
    (tmp_path / "acme").mkdir()
    programs = {
        "certbot": f"""
            echo certbot "$*" >> {tmp_path}/calls
            [ ! -e {tmp_path}/refusal ] || {{ cat {tmp_path}/refusal; exit 1; }}
            mkdir -p {tmp_path}/acme/certbot && cd {tmp_path}/acme/certbot
            case "$*" in *force-renewal*) ;; *) [ ! -e renewal/{HOST}.conf ] || exit 0 ;; esac
            mkdir -p renewal live/{HOST} archive/{HOST}
            cp {tmp_path}/offered.crt live/{HOST}/fullchain.pem
            cp {tmp_path}/offered.key live/{HOST}/privkey.pem
            printf '# renew_before_expiry = 30 days\\n[renewalparams]\\n' > renewal/{HOST}.conf
            while [ $# -gt 0 ]; do
                case $1 in
                    --server) echo "server = $2" ;;
                    --preferred-profile) echo "preferred_profile = $2" ;;
                esac
                shift
            done >> renewal/{HOST}.conf
            """,
        "systemctl": f"""
            echo systemctl "$*" >> {tmp_path}/calls
            case $1 in reload)
                [ -e {tmp_path}/nginx.pid ] && /usr/sbin/nginx -t -q -c {tmp_path}/nginx.conf \\
                    2> {tmp_path}/complaint && kill -HUP $(cat {tmp_path}/nginx.pid) ;;
            esac
            """,
        "journalctl": f"cat {tmp_path}/complaint",
    }
    for name, text in programs.items():
        path = tmp_path / "programs" / name
        path.write_text("#!/bin/sh\n" + text)
        path.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}/programs:/usr/sbin:/usr/bin:/sbin:/bin")
    monkeypatch.setattr(certificate, "_PATIENCE", 20.0)
    nginx = Nginx(nginx_process.write(configuration(make_node()), tmp_path))
    settings = tmp_path / "acme.toml"
    settings.write_text(
        f"host = '{HOST}'\ndirectory_url = '{DIRECTORY}'\nemail = 'ops@portside.test'\n"
        f"profile = ''\nauthority = ''\npair = '{tmp_path}/node.pem'\nhome = '{tmp_path}/acme'\n"
        f"webroot = '{tmp_path}/webroot'\nlogs = '{tmp_path}'\nport = {nginx.https_port}\n"
    )
    (tmp_path / "calls").touch()
    (tmp_path / "complaint").touch()
    yield Machine(tmp_path, settings, nginx)
    nginx.stop()


def test_a_first_certificate_takes_the_placeholders_place_without_a_restart(
    machine: Machine,
) -> None:
    before, offered = machine.served, machine.offer()
    assert machine.run("check") != 0
    assert machine.run("renew") == 0
    assert (machine.served, machine.run("check")) == (offered, 0)
    assert before != offered
    assert (machine.home / "node.pem").stat().st_mode & 0o777 == 0o600
    assert "systemctl reload nginx.service" in machine.calls
    assert "restart" not in machine.calls
    # Of 397 days, a third.
    assert machine.renewal.read_text().startswith("renew_before_expiry = 3176 hours\n[renewalp")


def test_what_is_as_it_should_be_is_left_alone(machine: Machine) -> None:
    machine.offer()
    assert machine.run("renew") == 0
    inode, reloads = (machine.home / "node.pem").stat().st_ino, machine.calls.count("reload")
    renewal = machine.renewal.read_text()
    assert machine.run("renew") == 0
    assert (machine.home / "node.pem").stat().st_ino == inode
    assert machine.calls.count("reload") == reloads
    assert machine.renewal.read_text() == renewal


def test_a_refusal_leaves_the_certificate_that_is_there_and_is_told_until_one_succeeds(
    machine: Machine, capsys: pytest.CaptureFixture[str]
) -> None:
    first = machine.offer()
    machine.run("renew")
    machine.refuse(CHALLENGE_FAILED)
    said = machine.run("renew", "--now")
    assert str(said).startswith(f"{HOST}: no certificate from {DIRECTORY}: unauthorized: 192.0.2.7")
    assert machine.served == first
    machine.run("status")
    assert "the last try failed: no certificate from" in capsys.readouterr().out
    machine.offer()
    assert machine.run("renew", "--now") == 0
    machine.run("status")
    shown = capsys.readouterr().out
    assert "failed" not in shown
    assert shown.startswith("valid until 20")


def test_a_certificate_that_nginx_did_not_take_is_taken_up_by_the_next_run(
    machine: Machine,
) -> None:
    before, offered = machine.served, machine.offer()
    text = (machine.home / "nginx.conf").read_text()
    (machine.home / "nginx.conf").write_text(text + "nonsense;\n")
    said = str(machine.run("renew"))
    assert 'goes on with the certificate that it had (unknown directive "nonsense"' in said
    assert machine.served == before
    (machine.home / "nginx.conf").write_text(text)
    asked = machine.calls.count("certbot certonly")
    assert machine.run("renew") == 0
    assert machine.served == offered
    # certbot is asked whether one is due, and has one: no other is issued.
    assert machine.calls.count("certbot certonly") == asked + 1
    assert "--force-renewal" not in machine.calls


def test_a_pair_that_is_none_never_reaches_nginx(machine: Machine) -> None:
    good = machine.offer()
    machine.run("renew")
    pair = (machine.home / "node.pem").read_bytes()
    for host, key_of in (("s02.portside.test", None), (HOST, certificates.issue(CA, HOST))):
        machine.offer(host, key_of)
        assert machine.run("renew", "--now") != 0
        assert (machine.home / "node.pem").read_bytes() == pair
        assert machine.served == good


@pytest.mark.parametrize("left", [(), ("live",), ("archive", "live")])
def test_what_a_killed_run_left_half_made_is_no_obstacle(
    machine: Machine, left: tuple[str, ...]
) -> None:
    """certbot makes its settings first, empty: then it takes the name for used."""
    machine.renewal.parent.mkdir(parents=True)
    machine.renewal.touch()
    for folder in left:
        (machine.home / "acme/certbot" / folder / HOST).mkdir(parents=True)
    offered = machine.offer()
    assert machine.run("renew") == 0
    assert machine.served == offered


def _openssl_is_killed(machine: Machine) -> None:
    program = machine.home / "programs" / "openssl"
    program.write_text("#!/bin/sh\nkill -KILL $$\n")
    program.chmod(0o755)


def _openssl_is_missing(machine: Machine) -> None:
    program = machine.home / "programs" / "openssl"
    program.write_text("#!/bin/sh\n")
    # Found, and may not be run: as where no process can be made.
    program.chmod(0o644)
    os.environ["PATH"] = str(program.parent)


def _renewal_cannot_be_read(machine: Machine) -> None:
    machine.renewal.rename(machine.home / "renewal.conf")
    machine.renewal.symlink_to(machine.renewal.name)


@pytest.mark.parametrize(
    ("fault", "words"),
    [
        (_openssl_is_killed, "openssl can't tell whose certificate"),
        (_openssl_is_missing, "Permission denied: 'openssl'"),
        (_renewal_cannot_be_read, "Too many levels of symbolic links"),
    ],
)
def test_a_passing_fault_removes_no_certificate_and_is_told(
    machine: Machine,
    capsys: pytest.CaptureFixture[str],
    fault: Callable[[Machine], None],
    words: str,
) -> None:
    first = machine.offer()
    assert machine.run("renew") == 0
    asked = machine.calls.count("certbot")
    renewal, path = machine.renewal.read_text(), os.environ["PATH"]
    fault(machine)
    assert words in str(machine.run("renew"))
    machine.run("status")
    shown = capsys.readouterr().out
    assert "the last try failed: " in shown
    assert words in shown
    # It was over by the next run: what is there is what was there.
    os.environ["PATH"] = path
    (machine.home / "programs" / "openssl").unlink(missing_ok=True)
    if machine.renewal.is_symlink():
        (machine.home / "renewal.conf").rename(machine.renewal)
    assert machine.calls.count("certbot") == asked
    machine.offer()
    assert machine.run("renew") == 0
    assert (machine.served, machine.renewal.read_text()) == (first, renewal)


def test_a_full_disk_is_told_too(machine: Machine, capsys: pytest.CaptureFixture[str]) -> None:
    offered = machine.offer()
    full = [machine.home / ".candidate-node.pem", machine.home / "acme" / ".candidate-problem"]
    full[0].symlink_to("/dev/full")
    assert "No space left on device" in str(machine.run("renew"))
    machine.run("status")
    assert "the last try failed: [Errno 28] No space left" in capsys.readouterr().out
    # Not even the problem has room.
    full[1].symlink_to("/dev/full")
    assert "No space left on device" in str(machine.run("renew"))
    machine.run("status")
    assert "`journalctl -u portside-certificate` says why" in capsys.readouterr().out
    for each in full:
        each.unlink()
    assert machine.run("renew") == 0
    assert machine.served == offered
    assert machine.calls.count("--force-renewal") == 0


def test_a_certbot_that_is_killed_is_told(machine: Machine) -> None:
    program = machine.home / "programs" / "certbot"
    program.write_text("#!/bin/sh\nkill -KILL $$\n")
    assert "certbot was killed: signal 9" in str(machine.run("renew"))


def _of_another_authority(machine: Machine) -> None:
    text = machine.settings.read_text()
    machine.settings.write_text(text.replace(DIRECTORY, "https://other.portside.test/dir"))


def _of_another_profile(machine: Machine) -> None:
    text = machine.settings.read_text()
    machine.settings.write_text(text.replace("profile = ''", "profile = 'shortlived'"))


@pytest.mark.parametrize("change", [_of_another_authority, _of_another_profile])
def test_another_kind_of_certificate_is_asked_for_at_once(
    machine: Machine, change: Callable[[Machine], None]
) -> None:
    machine.offer()
    machine.run("renew")
    change(machine)
    assert "another authority's, or of another profile" in str(machine.run("check"))
    offered = machine.offer()
    assert machine.run("renew") == 0
    assert (machine.served, machine.run("check")) == (offered, 0)
    assert machine.calls.count("--force-renewal") == 1
    machine.run("renew")
    assert machine.calls.count("--force-renewal") == 1


def test_a_certificate_from_the_future_or_the_past_is_not_taken_over(
    machine: Machine, monkeypatch: pytest.MonkeyPatch
) -> None:
    machine.offer()
    before = (machine.home / "node.pem").read_bytes()
    now = time.time()
    for moment in (now - 10 * DAY, now + 400 * DAY):
        monkeypatch.setattr(time, "time", lambda moment=moment: moment)
        assert "the node's clock says" in str(machine.run("renew"))
        assert (machine.home / "node.pem").read_bytes() == before
