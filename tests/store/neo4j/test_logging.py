"""The driver's loggers belong to the host program: kgrec drops only warnings about its own work."""

from __future__ import annotations

import logging

import pytest

from kgrec.errors import StoreError
from kgrec.store.neo4j.connect import _LOGGERS, answering, connect

pytestmark = pytest.mark.slow


def test_connect_keeps_levels_of_other_loggers(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NEO4J_PASSWORD", "secret")
    with pytest.raises(StoreError, match="no Neo4j server answers"):
        connect("neo4j://127.0.0.1:1")
    loggers = [logging.getLogger(name) for name in ("neo4j", *_LOGGERS)]
    assert [logger.level for logger in loggers] == [logging.NOTSET] * 4


def test_only_own_driver_warnings_are_dropped(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setenv("NEO4J_PASSWORD", "secret")
    with pytest.raises(StoreError):
        connect("neo4j://127.0.0.1:1")
    caplog.clear()
    logger = logging.getLogger("neo4j.notifications")
    with caplog.at_level(logging.DEBUG, "neo4j"):
        with answering("neo4j://127.0.0.1:1"):
            logger.warning("of kgrec")
            logger.debug("to find a fault in kgrec")
        logger.warning("of another user of the driver")
    assert caplog.messages == ["to find a fault in kgrec", "of another user of the driver"]
