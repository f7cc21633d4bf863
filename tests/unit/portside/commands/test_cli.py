"""The `portside` command: what it prints where, and the exit codes scripts rely on."""

from __future__ import annotations

import errno
import io
import json
import os
import pty
import re
import subprocess
import sys
import time
from collections.abc import Iterator
from importlib import metadata
from pathlib import Path
from typing import Any

import pytest
import typer
import yaml

from portside import cli
from portside.commands.common import print_table
from portside.operator.keystore import Keystore
from portside.tokens import SigningKey, unverified_claims, verify_upload
from tests.support import ssh_double
from tests.support.client.command import PUT, Run, mint
from tests.support.client.control_double import API_KEY, ControlDouble
from tests.support.client.node_double import NodeDouble, lie, refuse_at_once, send_go_ahead, tamper

ANSI = "\x1b"
SIZE = ("--ram", "4G", "--cores", "2")

# -- in general ------------------------------------------------------------------------------------


def test_it_says_its_version() -> None:
    run = Run("--version")
    assert (run.code, run.out) == (0, f"portside {metadata.version('portside')}\n")


def test_an_unknown_command_is_a_usage_error() -> None:
    run = Run("bogus")
    assert run.code == 2
    assert "No such command 'bogus'" in run.err


def test_a_mistake_in_portside_is_one_line_and_no_traceback(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def broken(**options: Any) -> None:
        raise KeyError("oops")

    monkeypatch.setattr(cli, "app", broken)
    with pytest.raises(SystemExit) as ended:
        cli.main()
    assert ended.value.code == 70
    assert capsys.readouterr().err.count("\n") == 1
    monkeypatch.setenv("PORTSIDE_TRACEBACK", "1")
    with pytest.raises(KeyError):
        cli.main()


def test_an_interrupt_is_exit_code_130_whatever_runs(monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupt(*_: Any, **__: Any) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("portside.commands.files.control_plane", interrupt)
    run = Run("ls")
    assert (run.code, run.out, run.err) == (130, "", "portside: interrupted\n")


def test_what_a_locale_cant_say_is_escaped(monkeypatch: pytest.MonkeyPatch) -> None:
    written = io.BytesIO()
    monkeypatch.setattr(sys, "stdout", io.TextIOWrapper(written, encoding="latin-1"))
    monkeypatch.setattr(cli, "app", lambda: typer.echo("\u0444.iso"))
    cli.main()
    assert written.getvalue() == b"\\u0444.iso\n"


def test_who_reads_no_more_ends_it_in_silence() -> None:
    read, write = os.pipe()
    os.close(read)
    done = subprocess.run(
        [sys.executable, "-c", "from portside.cli import main; main()", "size", *SIZE],
        stdout=write,
        stderr=subprocess.PIPE,
        check=False,
    )
    os.close(write)
    assert (done.returncode, done.stderr) == (1, b"")


def test_a_closed_stream_fails_and_lends_its_number_to_nobody(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """As `<&- >&- 2>&-` leaves them."""
    opened: list[int] = []

    def closed(number: int) -> None:
        raise OSError(errno.EBADF, "Bad file descriptor", str(number))

    monkeypatch.setattr(os, "fstat", closed)
    monkeypatch.setattr(os, "open", lambda path, flags: opened.append(flags))
    for name in ("stdin", "stdout", "stderr"):
        monkeypatch.setattr(sys, name, None)
    cli._occupy_closed_streams()
    assert opened == [os.O_WRONLY, os.O_RDONLY, os.O_WRONLY]
    assert (sys.stdin.read(), sys.stdout.write("lost"), sys.stderr.write("lost")) == ("", 4, 4)
    for stream in (sys.stdin, sys.stdout, sys.stderr):
        stream.close()


class _OnATerminal(io.StringIO):
    def isatty(self) -> bool:
        return True


@pytest.mark.parametrize(("columns", "adorned"), [("80", False), ("100", True)])
def test_a_table_never_cuts_what_other_commands_are_given(
    columns: str, adorned: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", columns)
    monkeypatch.setattr(sys, "stdout", shown := _OnATerminal())
    print_table(("file", "state", "name"), [("0" * 32, "x" * 40, "some words " * 9)])
    assert "0" * 32 in shown.getvalue()
    assert "x" * 40 in shown.getvalue()
    assert ("\u2500" in shown.getvalue()) == adorned


def test_columns_are_as_wide_as_their_text_is_shown(capsys: pytest.CaptureFixture[str]) -> None:
    print_table(("name", "size"), [("\u6587\u4ef6.iso", "1"), ("ab.iso", "2")])
    assert capsys.readouterr().out == "name      size\n\u6587\u4ef6.iso  1\nab.iso    2\n"


# -- anywhere --------------------------------------------------------------------------------------


@pytest.fixture
def elsewhere(project: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """The current folder: one in which nothing of a project is."""
    folder = tmp_path_factory.mktemp("elsewhere")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        yield folder


def test_a_user_without_a_home_is_told_what_to_set(
    logged_in: ControlDouble, node: NodeDouble, iso: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def homeless() -> Path:
        raise RuntimeError("Could not determine home directory.")

    for variable in ("XDG_CONFIG_HOME", "XDG_STATE_HOME"):
        monkeypatch.delenv(variable)
    monkeypatch.setattr(Path, "home", homeless)
    logged_in.targets = [node]
    run = Run("put", str(iso))
    assert run.code == 2
    assert "XDG_STATE_HOME" in run.err
    assert Run("put", "--no-resume", str(iso)).code == 0
    run = Run("login", logged_in.url, stdin=API_KEY)
    assert run.code == 2
    assert "XDG_CONFIG_HOME" in run.err
    monkeypatch.delenv("PORTSIDE_URL")
    monkeypatch.delenv("PORTSIDE_API_KEY")
    assert "portside login URL" in Run("ls").err
    assert Run("logout").code == 0


@pytest.mark.usefixtures("elsewhere")
@pytest.mark.parametrize(
    "arguments",
    [
        ("--version",),
        ("--help",),
        ("size", "--ram", "4G", "--cores", "2"),
        ("put", "--help"),
        ("logout",),
    ],
)
def test_what_needs_no_cluster_file_works_without_one(arguments: tuple[str, ...]) -> None:
    assert Run(*arguments).code == 0


@pytest.mark.parametrize(
    "arguments",
    [
        ("cluster", "show"),
        ("keys", "show"),
        ("token", "mint", "--node", "s01", "--size", "1"),
        ("put", "x.iso"),
    ],
)
def test_without_a_cluster_file_it_says_what_to_name_or_run(
    arguments: tuple[str, ...], elsewhere: Path
) -> None:
    (elsewhere / "x.iso").touch()
    run = Run(*arguments)
    assert (run.code, run.out) == (2, "")
    for word in ("--cluster", "PORTSIDE_CLUSTER", "portside login URL", f" in {elsewhere}, and"):
        assert word in run.err


@pytest.mark.parametrize("arguments", [("ls",), ("get", "abc"), ("rm", "-y", "abc"), ("nodes",)])
def test_without_a_login_it_says_how_to_log_in(arguments: tuple[str, ...], elsewhere: Path) -> None:
    run = Run(*arguments)
    assert run.code == 2
    for word in ("portside login URL", "PORTSIDE_URL", "PORTSIDE_API_KEY"):
        assert word in run.err


@pytest.mark.usefixtures("elsewhere")
def test_secrets_lie_beside_the_cluster_file_that_is_named(
    keystore: Keystore, project: Path
) -> None:
    named = str(project / "cluster.yaml")
    run = Run("token", "mint", "--node", "s01", "--size", "1", PORTSIDE_CLUSTER=named)
    assert verify_upload(run.out.strip(), keystore.keyset(), "s01").size == 1
    (project / "clusters").mkdir()
    (project / "cluster.yaml").rename(project / "clusters/other.yaml")
    run = Run(
        "token", "mint", "--node", "s01", "--size", "1", "--file", f"{project}/clusters/other.yaml"
    )
    assert run.code == 0


# -- cluster ---------------------------------------------------------------------------------------


def test_cluster_show_is_the_whole_truth_without_secrets(project: Path) -> None:
    run = Run("cluster", "show")
    shown = yaml.safe_load(run.out)
    assert run.code == 0
    assert shown["derived"]["nodes"]["s01"] == {
        "roles": ["storage"],
        "host": "s01.portside.test",
        "public_base_url": "https://s01.portside.test",
        "upload_api_url": "https://s01.portside.test/api/internal/upload",
    }
    assert shown["uploads"]["max_size"] == "64GiB"
    assert shown["control"]["database"] == "postgresql://portside:***@db.test/portside?***"
    assert "hunter" not in run.out + run.err


def test_cluster_show_tells_where_the_control_plane_is(project: Path) -> None:
    assert yaml.safe_load(Run("cluster", "show").out)["derived"]["control_url"] == (
        "https://c01.portside.test"
    )
    told = json.loads(Run("cluster", "show", "--json").out)
    assert told == yaml.safe_load(Run("cluster", "show").out)
    (project / "cluster.yaml").write_text("name: a\ndomain: a.b\nnodes: {s01: {}}\n")
    assert yaml.safe_load(Run("cluster", "show").out)["derived"]["control_url"] is None
    assert Run("cluster", "show", "--table").out.splitlines()[-1] == "control plane: none"
    assert Run("cluster", "show", "--table", "--json").code == 2


def test_what_cluster_show_prints_is_a_cluster_file(project: Path) -> None:
    shown = yaml.safe_load(Run("cluster", "show").out)
    del shown["derived"]
    (project / "again.yaml").write_text(yaml.safe_dump(shown))
    assert Run("cluster", "check", "--file", "again.yaml").code == 0


def test_cluster_show_as_a_table_has_a_line_for_each_node(project: Path) -> None:
    lines = Run("cluster", "show", "--table").out.splitlines()
    assert [line.split()[0] for line in lines] == ["node", "s01", "s02", "c01", "control"]
    assert lines[-1] == "control plane: https://c01.portside.test"


def test_cluster_check_tells_every_mistake_on_stderr(project: Path) -> None:
    assert Run("cluster", "check").code == 0
    (project / "cluster.yaml").write_text("name: A\ndomain: x\nnodes: {lonely: {}}\n")
    run = Run("cluster", "check")
    assert (run.code, run.out) == (1, "")
    for key in ("name:", "domain:", "nodes:"):
        assert f"  {key}" in run.err


def test_a_missing_cluster_file_is_a_usage_error(project: Path) -> None:
    run = Run("cluster", "show", "--file", "nowhere.yaml")
    assert run.code == 2
    assert "nowhere.yaml" in run.err


# -- size ------------------------------------------------------------------------------------------


def test_size_gives_each_number_a_reason() -> None:
    lines = Run("size", "--ram", "4G", "--cores", "2").out.splitlines()
    slots = next(line for line in lines if line.startswith("upload_slots"))
    assert re.fullmatch(r"upload_slots\s+\d+\s+uploads at once: .+", slots)


def test_size_as_json_is_exact() -> None:
    told = json.loads(Run("size", "--ram", "4G", "--cores", "2", "--disk", "80G", "--json").out)
    assert told["machine"] == {"ram": 4 << 30, "cores": 2, "disk": 80 << 30}
    assert told["sizing"]["upload_slots"] >= 100


@pytest.mark.parametrize("ram", ["4X", "100M", "-1"])
def test_size_refuses_what_is_no_machine(ram: str) -> None:
    run = Run("size", "--ram", ram, "--cores", "2")
    assert run.code == 2
    assert "--ram" in run.err
    assert "Value error" not in run.err


# -- keys ------------------------------------------------------------------------------------------


def test_keys_init_makes_and_then_leaves(project: Path) -> None:
    first, second = Run("keys", "init"), Run("keys", "init")
    assert first.out.count("made ") == 2
    assert second.code == 0
    assert "made" not in second.out


def test_keys_show_lists_ids_and_paths_and_nothing_private(
    project: Path, keystore: Keystore
) -> None:
    keystore.node_certificate("s01", "s01.portside.test")
    run = Run("keys", "show")
    kid = keystore.issuer_key().kid
    assert re.search(rf"issuer key +{re.escape(kid)} +always +.*{re.escape(kid)}\.json", run.out)
    assert re.search(r"authority +test +until \d{4}-", run.out)
    assert re.search(r"certificate +s01 +until \d{4}-", run.out)
    secret = json.loads(keystore.issuer_keys()[0].path.read_text())["d"]
    assert secret not in run.out


@pytest.mark.parametrize(
    "arguments", [("keys", "show"), ("token", "mint", "--node", "s01", "--size", "1")]
)
def test_without_keys_it_says_what_to_run(arguments: tuple[str, ...], project: Path) -> None:
    run = Run(*arguments)
    assert (run.code, run.out) == (2, "")
    assert "run `portside keys init`" in run.err


# -- token -----------------------------------------------------------------------------------------


def test_mint_prints_a_token_the_node_takes_and_nothing_else(keystore: Keystore) -> None:
    run = mint("--size", "2GiB", "--namespace", "isos", "--name", "x.iso", "--owner", "me")
    assert (run.code, run.err) == (0, "")
    claims = verify_upload(run.out.removesuffix("\n"), keystore.keyset(), "s01")
    assert (claims.size, claims.name, claims.namespace, claims.sub) == (
        2 << 30,
        "x.iso",
        "isos",
        "me",
    )
    assert claims.exp - claims.iat == 900
    assert claims.session_deadline - claims.iat == 7200


def test_every_token_is_for_another_upload(keystore: Keystore) -> None:
    first, second = (unverified_claims(mint("--size", "1").out.strip()) for _ in range(2))
    assert first["jti"] != second["jti"]
    assert first["file_id"] != second["file_id"]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((), "exactly one of 'size' and 'max_size'"),
        (("--size", "1", "--max-size", "1"), "exactly one of"),
        (("--size", "1", "--node", "c01"), "'c01' is no storage node"),
        (("--size", "1", "--namespace", "../etc"), "namespace"),
        (("--size", "1", "--sha256", "zz"), "sha256"),
        (("--size", "1", "--valid", "soon"), "is no duration"),
        (("--size", "many"), "is no size"),
    ],
)
def test_mint_refuses_what_no_node_would_take(
    arguments: tuple[str, ...], message: str, keystore: Keystore
) -> None:
    run = mint(*arguments)
    assert (run.code, run.out) == (2, "")
    assert message in run.err


def test_inspect_says_in_plain_words_what_is_allowed(keystore: Keystore, project: Path) -> None:
    token = mint("--max-size", "2GiB").out
    run = Run("token", "inspect", stdin=token)
    assert run.code == 0
    assert "max_size: 2147483648 (2.0 GiB)" in run.out
    assert re.search(r"exp: \d+ \(20.*UTC, in 1[45]m", run.out)
    assert "verdict: good: signature verifies, signed by 'test'" in run.out
    (project / "token").write_text(token)
    assert Run("token", "inspect", "token").out.startswith("header:")


def test_inspect_tells_expired_from_forged(
    keystore: Keystore, project: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    token = mint("--size", "1", "--valid", "0s").out.strip()
    claims = unverified_claims(token)
    long_ago = int(time.time()) - 3700
    past = {**claims, "iat": long_ago, "nbf": long_ago, "exp": long_ago}
    expired = keystore.issuer_key().sign("upload+jwt", past)
    run = Run("token", "inspect", stdin=expired)
    assert run.code == 1
    assert "signature verifies, but the token has expired" in run.out
    assert "1h01m ago" in run.out
    forged = SigningKey.generate("test").sign("upload+jwt", claims)
    run = Run("token", "inspect", stdin=forged)
    assert run.code == 1
    assert "token-unknown-key" in run.out
    assert "signature verifies" not in run.out


def test_inspect_without_keys_says_that_nobody_can_tell(keystore: Keystore, project: Path) -> None:
    token = mint("--size", "1").out
    run = Run("token", "inspect", stdin=token, PORTSIDE_SECRETS=str(project / "empty"))
    assert run.code == 1
    assert "nobody can tell" in run.out


def test_inspect_never_sends_control_characters_to_a_terminal(keystore: Keystore) -> None:
    owned = "\x1b]0;owned\x07"
    nasty = keystore.issuer_key().sign("upload+jwt", {"iss": "test", "sub": owned, owned: 1})
    run = Run("token", "inspect", stdin=nasty)
    assert run.code == 1
    assert ANSI not in run.out
    assert "\x07" not in run.out


def test_inspect_of_no_token_is_a_usage_error(project: Path) -> None:
    run = Run("token", "inspect", stdin="nonsense")
    assert run.code == 2
    assert run.err.count("\n") == 1


def test_no_option_takes_a_token(project: Path) -> None:
    for command in (("put",), ("token", "inspect")):
        assert not re.search(r"--token\b(?!-file)", Run(*command, "--help").out)
    assert Run("put", "x", "--token", "abc").code == 2


# -- put -------------------------------------------------------------------------------------------


@pytest.fixture
def iso(project: Path) -> Path:
    path = project / "x.iso"
    path.write_bytes(b"some bytes")
    return path


def put(node: NodeDouble, *arguments: str, **environment: str) -> Run:
    return Run(*PUT, "--url", node.url, *arguments, **environment)


def test_put_prints_the_url_alone_on_stdout(
    node: NodeDouble, keystore: Keystore, iso: Path
) -> None:
    run = put(node, str(iso))
    assert (run.code, run.out) == (0, "https://s01.portside.test/uploads/isos/x.iso\n")
    assert "verifying on the node" in run.err
    assert re.search(r"10 B stored and verified in \d+s, \d+\.\d MB/s", run.err)
    assert ANSI not in run.out + run.err


def test_put_mints_for_exactly_this_file(node: NodeDouble, keystore: Keystore, iso: Path) -> None:
    put(node, str(iso), "--layout", "named", "--owner", "me", "--checksum")
    token = node.puts()[0][2]["authorization"].removeprefix("Bearer ")
    claims = verify_upload(token, keystore.keyset(), "s01")
    assert (claims.size, claims.name, claims.layout, claims.sub) == (10, "x.iso", "named", "me")
    assert claims.sha256 is not None
    assert "repr-digest" in node.puts()[0][2]


def test_put_as_json_tells_each_file(node: NodeDouble, keystore: Keystore, iso: Path) -> None:
    run = put(node, str(iso), "nowhere.iso", "--json")
    stored, failed = (json.loads(line) for line in run.out.splitlines())
    assert (stored["file"], stored["size"], stored["exit_code"]) == (str(iso), 10, 0)
    assert stored["receipt"]
    assert (failed["file"], failed["exit_code"]) == ("nowhere.iso", 2)
    assert run.code == 2


def test_put_goes_on_after_a_failure_and_ends_with_the_worst(
    node: NodeDouble, keystore: Keystore, iso: Path, project: Path
) -> None:
    (project / "y.iso").write_bytes(b"y")
    run = put(node, "nowhere.iso", str(iso), "y.iso")
    assert run.code == 2
    assert run.out.count("https://") == 2
    assert "nowhere.iso: not found" in run.err


@pytest.mark.parametrize(
    ("status", "slug", "code"),
    [
        (401, "token-expired", 3),
        (403, "token-wrong-node", 3),
        (409, "name-taken", 3),
        (413, "too-large", 3),
        (415, "type-refused", 3),
        (500, "storage-failed", 4),
        (503, "read-only", 4),
        (507, "no-space", 4),
    ],
)
def test_a_refusal_is_told_with_title_detail_slug_and_an_exit_code(
    status: int, slug: str, code: int, node: NodeDouble, keystore: Keystore, iso: Path
) -> None:
    node.on_headers = refuse_at_once(status, slug)
    run = put(node, str(iso))
    assert (run.code, run.out) == (code, "")
    assert f"{slug.replace('-', ' ')}: so says the double ({status} {slug})" in run.err
    assert run.err.count("\n") == 1
    # What finds it in the node's logs.
    (sent,) = {headers["traceparent"] for _, _, headers in node.requests}
    assert run.err.endswith(f" (trace {sent.split('-')[1]})\n")


def test_each_file_is_a_trace_of_its_own_which_json_names(
    node: NodeDouble, keystore: Keystore, iso: Path
) -> None:
    again = iso.with_name("again.iso")
    again.write_bytes(iso.read_bytes())
    run = put(node, str(iso), str(again), "--json")
    assert run.code == 0
    named = [json.loads(line)["trace_id"] for line in run.out.splitlines()]
    assert len(set(named)) == 2
    sent = {headers["traceparent"].split("-")[1] for _, _, headers in node.requests}
    assert sent == set(named)


def test_a_node_that_cant_be_reached_is_exit_code_4(
    node: NodeDouble, keystore: Keystore, iso: Path
) -> None:
    node.close()
    run = put(node, str(iso))
    assert run.code == 4
    assert "no connection" in run.err


def test_a_receipt_that_doesnt_verify_is_exit_code_5_and_prints_no_url(
    node: NodeDouble, keystore: Keystore, iso: Path
) -> None:
    node.on_put = lie(SigningKey.generate("s01"))
    run = put(node, str(iso))
    assert (run.code, run.out) == (5, "")
    assert "receipt doesn't verify" in run.err


def test_what_a_node_says_never_moves_a_cursor(
    node: NodeDouble, keystore: Keystore, iso: Path
) -> None:
    node.on_headers = refuse_at_once(403, "\x1b[2J")
    assert ANSI not in put(node, str(iso)).err
    node.on_headers = send_go_ahead
    node.on_put = tamper(url="https://a.test/\x1b[2J")
    assert ANSI not in put(node, str(iso)).out


def test_an_interrupted_upload_is_exit_code_130_and_one_line(
    node: NodeDouble, keystore: Keystore, iso: Path
) -> None:
    def interrupt(*_: Any, **__: Any) -> None:
        raise KeyboardInterrupt

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("portside.client.UploadClient.put", interrupt)
        run = put(node, str(iso))
    assert (run.code, run.out) == (130, "")
    assert run.err.count("\n") == 1


def test_the_worst_of_several_codes_wins(node: NodeDouble, keystore: Keystore, iso: Path) -> None:
    node.on_put = lie(size=3)
    assert put(node, "nowhere.iso", str(iso)).code == 5


@pytest.mark.parametrize("way", ["file", "environment", "stdin"])
def test_a_given_token_needs_no_cluster_file(
    way: str, node: NodeDouble, keystore: Keystore, iso: Path, project: Path
) -> None:
    token = mint("--max-size", "1MiB").out
    (project / "token").write_text(token)
    (project / "cluster.yaml").unlink()
    arguments = [*PUT, "--url", node.url, str(iso)]
    if way == "file":
        run = Run(*arguments, "--token-file", "token")
    elif way == "stdin":
        run = Run(*arguments, "--token-file", "-", stdin=token)
    else:
        run = Run(*arguments, PORTSIDE_TOKEN=token)
    assert run.code == 0
    assert node.puts()[0][2]["authorization"] == f"Bearer {token.strip()}"


def test_a_token_is_for_one_file_and_its_own_node(
    node: NodeDouble, keystore: Keystore, iso: Path
) -> None:
    token = mint("--max-size", "1MiB").out
    assert "one file" in put(node, str(iso), str(iso), PORTSIDE_TOKEN=token).err
    run = put(node, str(iso), "--node", "s02", PORTSIDE_TOKEN=token)
    assert run.code == 2
    assert "'s01'" in run.err
    assert not node.requests


@pytest.mark.parametrize(
    "arguments",
    [("--node", "c01"), ("--node", "zz"), ("--ca", "/nowhere.crt"), ("--url", "http://a.test")],
)
def test_a_target_that_cant_be_is_a_usage_error(
    arguments: tuple[str, ...], keystore: Keystore, iso: Path
) -> None:
    assert Run("put", str(iso), *arguments).code == 2


def test_the_labs_authority_is_trusted_without_being_named(keystore: Keystore, iso: Path) -> None:
    node = NodeDouble(keystore.node_certificate("s01", "localhost"))
    try:
        assert put(node, str(iso)).code == 0
    finally:
        node.close()


def test_the_help_documents_every_exit_code() -> None:
    text = Run("put", "--help").out
    assert re.findall(r"^    (\d)  ", text, re.MULTILINE) == ["0", "2", "3", "4", "5"]


def test_on_a_terminal_a_bar_shows_percent_speed_and_verification(
    node: NodeDouble, keystore: Keystore, project: Path
) -> None:
    with (project / "large.iso").open("wb") as file:
        file.truncate(80 * 1024 * 1024)
    ours, theirs = pty.openpty()
    command = [sys.executable, "-c", "from portside.cli import main; main()"]
    environment = {**os.environ, "TERM": "xterm", "COLUMNS": "160"}
    process = subprocess.Popen(
        [*command, *PUT, "--url", node.url, "large.iso"],
        stdin=theirs,
        stdout=theirs,
        stderr=theirs,
        env=environment,
    )
    os.close(theirs)
    shown = b""
    try:
        while data := os.read(ours, 65536):
            shown += data
    except OSError:
        # Linux says EIO once the other end is closed.
        pass
    finally:
        os.close(ours)
    assert process.wait(timeout=60) == 0
    text = shown.decode()
    assert ANSI in text
    assert re.search(r"\d+%", text)
    assert re.search(r"[\d.]+ [MG]B/s", text)
    assert "verifying on the node" in text
    assert "https://s01.portside.test/uploads/isos/x.iso" in text


def test_without_a_terminal_long_uploads_say_now_and_then_how_far_they_are(
    node: NodeDouble, keystore: Keystore, project: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("portside.client.progress.LINE_SECONDS", 0.0)
    (project / "x.iso").write_bytes(bytes(4 << 20))
    run = put(node, "x.iso")
    assert re.search(r"x\.iso: 25 %, 1\.0 MiB of 4\.0 MiB, \d+\.\d MB/s, \d+s left\n", run.err)
    assert "x.iso: 100 %, 4.0 MiB; verifying on the node\n" in run.err
    assert ANSI not in run.err


def test_names_that_look_like_options_or_are_no_unicode_can_be_stored(
    node: NodeDouble, keystore: Keystore, project: Path
) -> None:
    (project / "-x.iso").write_bytes(b"dash")
    assert put(node, "--", "-x.iso").code == 0
    latin = os.fsdecode(b"caf\xe9.iso")
    (project / latin).write_bytes(b"latin")
    run = put(node, latin)
    assert run.code == 2
    assert "rename the file, or say --name" in run.err
    assert put(node, latin, "--name", "café.iso").code == 0
    assert node.puts()[-1][1].endswith("/caf%C3%A9.iso")


@pytest.mark.parametrize("resumable", [False, True])
def test_a_name_that_is_said_replaces_the_files_own(
    resumable: bool, node: NodeDouble, keystore: Keystore, iso: Path
) -> None:
    token = mint("--max-size", "1MiB").out
    parallel = ("--parallel", "2") if resumable else ()
    assert put(node, str(iso), "--name", "y.iso", *parallel, PORTSIDE_TOKEN=token).code == 0
    if resumable:
        assert [upload.name for upload in node.tus.uploads.values()] == ["y.iso"]
    else:
        assert node.puts()[0][1].endswith("/y.iso")
    minted = put(node, str(iso), "--name", "z.iso")
    assert minted.code == 0
    claims = unverified_claims(node.puts()[-1][2]["authorization"].removeprefix("Bearer "))
    assert claims["name"] == "z.iso"


def test_a_folder_among_the_files_stops_no_other(
    node: NodeDouble, keystore: Keystore, iso: Path, project: Path
) -> None:
    (project / "folder").mkdir()
    run = put(node, "folder", str(iso))
    assert run.code == 2
    assert "folder: is a folder" in run.err
    assert "tar -c folder | portside put - --name folder.tar" in run.err
    assert run.out.count("https://") == 1


def test_a_user_without_a_name_says_whose_file_it_is(
    node: NodeDouble, keystore: Keystore, iso: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def nameless() -> str:
        raise KeyError("getpwuid(): uid not found: 12345")

    monkeypatch.setattr("getpass.getuser", nameless)
    run = put(node, str(iso))
    assert run.code == 2
    assert "--owner" in run.err
    assert put(node, str(iso), "--owner", "me").code == 0


# -- app -------------------------------------------------------------------------------------------


def test_app_runs_the_control_planes_own_command_on_its_node(project: Path, tmp_path: Path) -> None:
    programs = tmp_path / "bin"
    programs.mkdir()
    ssh_double.write(programs, 'printf "%s\\n" "$@"\nexit 3')
    ssh_double.met(project / "secrets" / "test", "c01.portside.test")
    done = subprocess.run(
        [
            str(Path(sys.executable).with_name("portside")),
            "app",
            "create",
            "web",
            "--scope",
            "a b",
        ],
        env={**os.environ, "PATH": f"{programs}:{os.environ['PATH']}"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 3, done.stderr
    *_, address, line = done.stdout.splitlines()
    assert address == "c01.portside.test"
    assert line.endswith("/portside-control app create web --scope 'a b'")
    assert line.startswith("runuser -u portside-control -- ")
