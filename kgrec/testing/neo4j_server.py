"""Neo4j server for tests: the one in KGREC_TEST_NEO4J_URI, or a new one."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

JAVA = "-XX:TieredStopAtLevel=1 -XX:CICompilerCount=1"
"""Options for fast compilation, which halve the CPU time of a short-lived server."""

SCRIPTS = Path(os.environ.get("KGREC_TEST_NEO4J_SCRIPTS") or Path(__file__).parents[3] / "shared" / "neo4j")


@dataclass
class Server:
    """A running server."""

    uri: str
    home: Path | None = None
    pid: int | None = None


_accounts: bytes | None = None
"""Content of the account file of the first start, reused since setting a password starts another Java process."""


def start(home: Path, port: str = "", setting: str = "") -> Server:
    """Start a server with its data in a folder, the password `kgrec-test`, and optionally a setting `name=value`."""
    global _accounts
    accounts = home / "data" / "dbms" / "auth.ini"
    if _accounts and not accounts.exists() and not (home / "data" / "databases").exists():
        accounts.parent.mkdir(parents=True)
        accounts.write_bytes(_accounts)
    cache = f"128m\n{setting}"  # the script copies the size into the server's settings, so a line can be added
    given = {"NEO4J_HEAP": "512m", "NEO4J_PAGECACHE": cache, "NEO4J_PASSWORD": "kgrec-test", "JAVA_TOOL_OPTIONS": JAVA}
    environment = {**os.environ, **given}
    if port:
        environment["NEO4J_PORT"] = port
    done = subprocess.run([SCRIPTS / "start", home], env=environment, capture_output=True, text=True, check=True)
    _accounts = accounts.read_bytes() if accounts.exists() else None
    variables = dict(line.split("=", 1) for line in done.stdout.splitlines())
    return Server(variables["NEO4J_URI"], home, int(variables["NEO4J_PID"]))


def stop(home: Path) -> None:
    """Stop a server."""
    subprocess.run([SCRIPTS / "stop", home], capture_output=True, check=False)


@contextmanager
def running(home: Path, setting: str = "") -> Iterator[Server]:
    """Run a new server for a block; skips the test if none can be started."""
    if not (SCRIPTS / "start").is_file():
        pytest.skip(f"no Neo4j to start in {SCRIPTS}, and KGREC_TEST_NEO4J_URI names none")
    server = start(home, setting=setting)
    try:
        yield server
    finally:
        stop(home)


def clear(uri: str) -> None:
    """Remove everything from a database."""
    import neo4j

    auth = os.environ.get("NEO4J_USER", "neo4j"), os.environ["NEO4J_PASSWORD"]
    with neo4j.GraphDatabase.driver(uri, auth=auth) as driver, driver.session() as session:
        session.run("MATCH (n) CALL (n) { DETACH DELETE n } IN TRANSACTIONS OF 10000 ROWS").consume()
        for row in session.run("SHOW CONSTRAINTS YIELD name").data():
            session.run(f"DROP CONSTRAINT `{row['name']}`").consume()
        for row in session.run("SHOW INDEXES YIELD name, type WHERE type <> 'LOOKUP'").data():
            session.run(f"DROP INDEX `{row['name']}`").consume()
