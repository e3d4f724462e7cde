"""Progress: a bar on terminals and in notebooks, lines in logs."""

from __future__ import annotations

import io
import logging
import sys
import time
from types import SimpleNamespace

import pytest

from kgrec._util import progress
from kgrec._util.duration import in_words
from kgrec._util.logs import lines_on_stderr, no_lines
from kgrec._util.progress import is_shown, track


class Clock:
    """A clock that a test moves."""

    def __init__(self) -> None:
        self.now = 0.0

    def monotonic(self) -> float:
        return self.now


class Terminal(io.StringIO):
    """A terminal that keeps what is written to it."""

    def isatty(self) -> bool:
        return True


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    found = Clock()
    monkeypatch.setattr(progress, "time", found)
    return found


@pytest.mark.parametrize(("seconds", "words"), [(0.2, "1 s"), (75, "75 s"), (540, "9 min"), (9000, "2.5 h")])
def test_in_words_rounds_seconds(seconds: float, words: str) -> None:
    assert in_words(seconds) == words


def test_track_of_short_work_logs_nothing(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO, "kgrec"):
        assert list(track(range(1000), "counting")) == list(range(1000))
    assert caplog.messages == []


def test_lines_of_long_work_have_name_and_time(clock: Clock, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO, "kgrec"):
        for _ in track(range(100), "encoding texts"):
            clock.now += 1
    assert caplog.messages == [
        "encoding texts: 10 %, about 90 s left",
        "encoding texts: 40 %, about 60 s left",
        "encoding texts: 70 %, about 30 s left",
        "encoding texts: done in 100 s",
    ]
    assert {record.name for record in caplog.records} == {"kgrec.progress"}


def test_lines_without_total_have_the_time(clock: Clock, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO, "kgrec"):
        for _ in track(iter([1]), "reading"):
            clock.now += 11
    assert caplog.messages == ["reading: 11 s so far", "reading: done in 11 s"]


def test_track_weighs_items_by_their_costs(clock: Clock, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO, "kgrec"):
        for seconds in track([30, 10], "working", costs=[3, 1]):
            clock.now += seconds
    assert caplog.messages == ["working: 75 %, about 10 s left", "working: done in 40 s"]


def test_track_on_a_terminal_shows_a_bar(monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> None:
    terminal = Terminal()
    monkeypatch.setattr(sys, "stderr", terminal)
    for _ in track(range(3), "ranking \x1b[2J"):
        time.sleep(0.4)
    assert "ranking \\x1b[2J:" in terminal.getvalue()
    assert "left" in terminal.getvalue()
    assert caplog.messages == []


def test_in_notebook_shows_bars(monkeypatch: pytest.MonkeyPatch) -> None:
    assert not is_shown()
    shell = SimpleNamespace(config={"IPKernelApp": {}})
    monkeypatch.setitem(sys.modules, "IPython", SimpleNamespace(get_ipython=lambda: shell))
    assert is_shown()


def test_library_logs_nothing_and_sets_no_levels(capsys: pytest.CaptureFixture[str]) -> None:
    level = logging.getLogger("kgrec").level
    logging.getLogger("kgrec.training").info("not shown")
    assert (level, logging.getLogger("kgrec").level) == (logging.NOTSET, logging.NOTSET)
    assert capsys.readouterr().err == ""


def test_command_writes_lines_with_times_to_stderr(capsys: pytest.CaptureFixture[str]) -> None:
    logger = logging.getLogger("kgrec.training")
    with lines_on_stderr():
        logger.info("choosing settings of %s", "ease\x1b")
        logger.debug("not shown")
        no_lines()
        logger.info("not shown")
    logger.info("not shown")
    shown = capsys.readouterr().err
    assert shown.count("\n") == 1
    assert shown.endswith("choosing settings of ease\\x1b\n")
    assert shown[:4].isdigit()
