"""A Neo4j server for tests: the one that KGREC_TEST_NEO4J_URI names, else one that is started beside the repository."""

from __future__ import annotations

import os
import subprocess
import tempfile
from dataclasses import dataclass
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
FOLDER = Path(os.environ.get("KGREC_TEST_NEO4J_START") or ROOT.parent / "shared" / "neo4j")
HEAP = "512m"


@dataclass
class Server:
    """A server that tests started."""

    home: Path
    uri: str
    user: str
    password: str
    pid: int

    @classmethod
    def start(cls, home: Path, port: int | None = None) -> Server:
        """Start one in a folder, which keeps its data; on a port that is free, unless given."""
        environment = {k: v for k, v in os.environ.items() if not k.startswith("NEO4J_")}
        environment |= {"NEO4J_HEAP": HEAP, "NEO4J_PAGECACHE": "128m"} | ({"NEO4J_PORT": str(port)} if port else {})
        done = subprocess.run(
            [FOLDER / "start", home], env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
        )
        if done.returncode:
            pytest.fail(f"the Neo4j server did not start: {done.stderr[-2000:]}")
        said = dict(line.split("=", 1) for line in done.stdout.splitlines())
        return cls(home, said["NEO4J_URI"], said["NEO4J_USER"], said["NEO4J_PASSWORD"], int(said["NEO4J_PID"]))

    @property
    def port(self) -> int:
        return int(self.uri.rpartition(":")[2])

    def kill(self) -> None:
        """End it as a power cut does."""
        os.kill(self.pid, 9)

    def stop(self) -> None:
        subprocess.run([FOLDER / "stop", self.home, "--delete"], check=True)


def can_start() -> bool:
    return (FOLDER / "start").is_file()


def new_home() -> Path:
    return Path(tempfile.mkdtemp(prefix="kgrec-neo4j."))
