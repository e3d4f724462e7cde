"""A service of a small graph, in this process."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from starlette.testclient import TestClient

from kgrec.jobs.train import publish_run
from kgrec.serve.app import create_app


@pytest.fixture(scope="session")
def published_cinema(trained_cinema: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The cinema graph with its run published; tests only read it."""
    folder = tmp_path_factory.mktemp("published")
    shutil.copytree(trained_cinema.parent, folder / "cinema")
    publish_run(str(folder / "cinema" / trained_cinema.name), None, None, 5)
    return folder / "cinema" / trained_cinema.name


@pytest.fixture(scope="session")
def reader(published_cinema: Path) -> Iterator[TestClient]:
    """A client that only reads."""
    with TestClient(create_app(str(published_cinema)), raise_server_exceptions=False) as client:
        yield client


@pytest.fixture
def published(published_cinema: Path, tmp_path: Path) -> str:
    """A copy of the published graph that a test may change."""
    shutil.copytree(published_cinema.parent, tmp_path / "cinema")
    return str(tmp_path / "cinema" / published_cinema.name)


@pytest.fixture
def client(published: str) -> Iterator[TestClient]:
    """A client of a service of that copy."""
    with TestClient(create_app(published)) as client:
        yield client
