"""The files of docker/, as far as a machine without a Docker engine can check them."""

from __future__ import annotations

import re
import shlex
from pathlib import Path
from typing import Any

import pytest
import typer.main
import yaml

from kgrec.cli.app import app

pytestmark = pytest.mark.slow

ROOT = Path(__file__).parents[1]
DOCKER = ROOT / "docker"


@pytest.fixture(scope="module")
def services() -> dict[str, Any]:
    return dict(yaml.safe_load((DOCKER / "compose.yaml").read_text())["services"])


def test_services_and_volumes_exist(services: dict[str, Any]) -> None:
    compose = yaml.safe_load((DOCKER / "compose.yaml").read_text())
    assert set(compose) == {"name", "services", "volumes"}
    for service in services.values():
        assert set(service.get("depends_on", {})) <= set(services)
        assert {volume.partition(":")[0] for volume in service.get("volumes", ())} <= set(compose["volumes"])
        assert "image" in service or (DOCKER / service["build"]["context"] / service["build"]["dockerfile"]).is_file()
    assert services["neo4j"]["healthcheck"]["test"][0] == "CMD-SHELL"
    assert services["kgrec"]["depends_on"] == {"neo4j": {"condition": "service_healthy"}}
    assert services["serve"]["depends_on"] == {"kgrec": {"condition": "service_completed_successfully"}}


def test_compose_holds_no_password(services: dict[str, Any]) -> None:
    for service in services.values():
        secrets = [value for name, value in service["environment"].items() if "AUTH" in name or "PASSWORD" in name]
        assert secrets
        assert all("${NEO4J_PASSWORD:?" in value for value in secrets)


def test_compose_uses_existing_commands(services: dict[str, Any]) -> None:
    command = typer.main.get_command(app)
    [script], [served] = services["kgrec"]["command"], services["serve"]["command"]
    lines = [shlex.split(line.rpartition("|| ")[2]) for line in [*script.splitlines(), *served.splitlines()]]
    assert [words[1] for words in lines] == ["load", "train", "publish", "explore", "keys", "serve"]
    for program, name, *words in lines:
        assert program == "kgrec"
        found = command.get_command(None, name)  # type: ignore[attr-defined]
        if inner := getattr(found, "commands", None):
            found, words = inner[words[0]], words[1:]
        found.make_context(name, words)


def test_image_copies_existing_files_and_is_not_root() -> None:
    text = (DOCKER / "Dockerfile").read_text().replace("\\\n", " ")
    instructions = [line.split(None, 1) for line in text.splitlines() if re.match("[A-Z]", line)]
    for name, rest in instructions:
        if name == "COPY" and not rest.startswith("--from"):
            assert all((ROOT / source).exists() for source in rest.split()[:-1])
    final = [name for name, _ in instructions[[n for n, _ in instructions].index("FROM", 1) :]]
    assert "HEALTHCHECK" in final
    assert final.index("USER") < final.index("ENTRYPOINT")
    ignored = (ROOT / ".dockerignore").read_text().splitlines()
    copied = {s for n, rest in instructions if n == "COPY" and "--from" not in rest for s in rest.split()[:-1]}
    assert copied == {line[1:] for line in ignored if line.startswith("!")}
