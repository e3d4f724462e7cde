"""A service of a small graph, in this process."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from starlette.testclient import TestClient

from kgrec.jobs.train import publish_run
from kgrec.serve.app import create_app


@pytest.fixture
def published(cinema: Path) -> str:
    """The cinema graph with its run published."""
    publish_run(str(cinema), None, None, 5)
    return str(cinema)


@pytest.fixture
def client(published: str) -> Iterator[TestClient]:
    """A client of a service of the cinema graph."""
    with TestClient(create_app(published)) as client:
        yield client
