"""`portside monitoring`: what people with a Prometheus and a Grafana of their own are given."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path

import pytest
import yaml
from typer.testing import CliRunner, Result

from portside.cli import app
from tests.support.certificates import made
from tests.support.cluster_files import CLUSTER


def _said(*arguments: str) -> Result:
    done = CliRunner().invoke(app, ["monitoring", *arguments])
    assert done.exit_code == 0, done.output
    return done


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where the cluster file is."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("PORTSIDE_CLUSTER", raising=False)
    (tmp_path / "cluster.yaml").write_text(f"{CLUSTER}monitoring: {{allow: [192.0.2.9]}}\n")
    return tmp_path


def _promtool(*arguments: str) -> None:
    done = subprocess.run(
        ["promtool", "check", *arguments], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr


def test_the_rules_are_such_that_promtool_takes_them(folder: Path) -> None:
    path = folder / "rules.yml"
    path.write_text(_said("rules").stdout)
    _promtool("rules", str(path))
    assert yaml.safe_load(path.read_text())["groups"]


def test_the_scrape_configs_are_a_prometheus_yml_of_their_own(folder: Path) -> None:
    found = _said("scrape")
    path = folder / "prometheus.yml"
    path.write_text(found.stdout)
    (folder / "portside-ca.crt").write_bytes(made("Root", is_ca=True).certificate_pem)
    _promtool("config", str(path))
    asked = yaml.safe_load(found.stdout)["scrape_configs"]
    # From elsewhere nobody is at loopback, and no name needs to be said.
    assert "127.0.0.1" not in found.stdout
    assert "server_name" not in found.stdout
    assert {each["job_name"] for each in asked} == {"portside-agent", "portside-control"}
    assert found.stderr == ""


def test_where_the_authority_is_can_be_said_and_is_not_asked_where_systems_know_it(
    folder: Path,
) -> None:
    assert "ca_file: /etc/ca.crt" in _said("scrape", "--ca", "/etc/ca.crt").stdout
    with (folder / "cluster.yaml").open("a") as file:
        file.write("tls: {mode: acme, email: ops@portside.test}\n")
    assert "ca_file" not in _said("scrape").stdout


def test_who_lets_nobody_in_is_told_so(folder: Path) -> None:
    (folder / "cluster.yaml").write_text(CLUSTER)
    found = _said("scrape")
    assert "monitoring.allow names nobody" in found.stderr
    assert yaml.safe_load(found.stdout)["scrape_configs"]


def test_the_board_needs_no_cluster_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert json.loads(_said("board").stdout)["title"] == "Portside"
