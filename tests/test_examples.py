"""The examples of docs/examples are well-formed, and every kgrec command in them is one that exists."""

from __future__ import annotations

import ast
import configparser
import re
import shlex
from pathlib import Path

import yaml
from typer.main import get_command

from kgrec.cli.app import app
from kgrec.serve.server import DRAIN_SECONDS

EXAMPLES = Path(__file__).parents[1] / "docs" / "examples"


def parsed(line: str) -> str:
    """Parse the words of a kgrec command as the command line does, and return the command's name."""
    words = shlex.split(re.split(r" 2>>| \|\|", line)[0])[1:]
    command = get_command(app)
    while (inner := getattr(command, "commands", {})) and words[0] in inner:
        command, words = inner[words[0]], words[1:]
    command.make_context(command.name, words)
    return str(command.name)


def test_crontab_runs_refresh_and_prune() -> None:
    lines = [x for x in (EXAMPLES / "crontab").read_text().splitlines() if not x.startswith("#")]
    assert all(re.match(r"([\d*/,-]+ ){5}kgrec ", line) for line in lines)
    assert [parsed(line.split(maxsplit=5)[5]) for line in lines] == ["refresh", "prune"]


def test_kubernetes_cronjob_runs_refresh() -> None:
    job = yaml.safe_load((EXAMPLES / "cronjob.yaml").read_text())
    assert (job["apiVersion"], job["kind"], job["spec"]["concurrencyPolicy"]) == ("batch/v1", "CronJob", "Forbid")
    spec = job["spec"]["jobTemplate"]["spec"]
    [container] = spec["template"]["spec"]["containers"]
    [rule] = spec["podFailurePolicy"]["rules"]
    assert rule["onExitCodes"]["containerName"] == container["name"]
    assert parsed(shlex.join(container["command"])) == "refresh"


def test_airflow_dag_runs_refresh_and_prune() -> None:
    tree = ast.parse((EXAMPLES / "airflow_dag.py").read_text())
    commands = [k.value.value for k in ast.walk(tree) if isinstance(k, ast.keyword) and k.arg == "bash_command"]
    assert [parsed(command) for command in commands] == ["refresh", "prune"]


def test_systemd_unit_runs_serve() -> None:
    unit = configparser.ConfigParser(interpolation=None)
    unit.read(EXAMPLES / "kgrec.service")
    assert set(unit) == {"DEFAULT", "Unit", "Service", "Install"}
    assert parsed(unit["Service"]["ExecStart"]) == "serve"
    assert int(unit["Service"]["TimeoutStopSec"]) > DRAIN_SECONDS


def test_kubernetes_deployment_runs_serve() -> None:
    deployment = yaml.safe_load((EXAMPLES / "deployment.yaml").read_text())
    spec = deployment["spec"]["template"]["spec"]
    [container] = spec["containers"]
    assert deployment["spec"]["selector"]["matchLabels"] == deployment["spec"]["template"]["metadata"]["labels"]
    assert parsed(shlex.join(container["command"])) == "serve"
    assert {mount["name"] for mount in container["volumeMounts"]} == {volume["name"] for volume in spec["volumes"]}
    assert container["readinessProbe"]["httpGet"]["path"] == "/health/ready"
    assert spec["terminationGracePeriodSeconds"] > DRAIN_SECONDS
