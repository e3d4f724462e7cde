"""The event log: what was acknowledged is there once, after a kill too."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from kgrec.errors import StoreError
from kgrec.events.erase import erase, events_of
from kgrec.events.event import Event
from kgrec.events.intake import logged_events, set_aside
from kgrec.events.log import LOG_FILE, REJECTED_FILE, EventLog

WRITER = """
import sys
from kgrec.events.event import Event
from kgrec.events.log import EventLog
log, first = EventLog(sys.argv[1]), int(sys.argv[2])
for n in range(first, first + 100_000):
    log.append([Event(str(n), f"u{n % 7}", "i1", "LIKED", float(n))])
    print(n, flush=True)
"""


def event(id_: str, user: str = "u1", item: str = "i1") -> Event:
    return Event(id_, user, item, "LIKED", 1.0)


def test_repeated_id_is_not_written_again(tmp_path: Path) -> None:
    log = EventLog(tmp_path)
    assert log.append([event("a"), event("b"), event("a")]) == [True, True, False]
    assert EventLog(tmp_path).append([event("b"), event("c")]) == [False, True]
    assert [known.event_id for known in logged_events(tmp_path)] == ["a", "b", "c"]


def test_events_of_another_process_are_read(tmp_path: Path) -> None:
    one, other = EventLog(tmp_path), EventLog(tmp_path)
    other.append([event("a")])
    one.update()
    assert [known.event_id for known in one.of("u1")] == ["a"]


def test_incomplete_line_is_cut_off(tmp_path: Path) -> None:
    EventLog(tmp_path).append([event("a")])
    with open(tmp_path / LOG_FILE, "a") as file:
        file.write('{"event_id": "b", "user')
    log = EventLog(tmp_path)
    log.append([event("c")])
    assert [known.event_id for known in logged_events(tmp_path)] == ["a", "c"]


def test_rejected_event_is_kept_with_its_reason(tmp_path: Path) -> None:
    EventLog(tmp_path).append([], [(event("a"), "unknown item")])
    assert '"reason": "unknown item"' in (tmp_path / REJECTED_FILE).read_text()


def test_line_that_is_no_event_is_named(tmp_path: Path) -> None:
    (tmp_path / LOG_FILE).write_text("[]\n")
    with pytest.raises(StoreError, match=r"events\.jsonl, line 1: not an event"):
        EventLog(tmp_path)


def test_log_that_cannot_be_written_takes_nothing(tmp_path: Path) -> None:
    log = EventLog(tmp_path)
    (tmp_path / LOG_FILE).symlink_to("/dev/full")
    with pytest.raises(StoreError, match="cannot be used"):
        log.append([event("a")])


def test_log_set_aside_keeps_its_ids(tmp_path: Path) -> None:
    log = EventLog(tmp_path)
    log.append([event("a")])
    set_aside(tmp_path)
    assert log.append([event("a"), event("b")]) == [False, True]
    assert [known.event_id for known in logged_events(tmp_path)] == ["a", "b"]


def test_erased_user_is_in_no_log(tmp_path: Path) -> None:
    log = EventLog(tmp_path)
    log.append([event("a", "u1"), event("b", "u2")], [(event("c", "u1"), "unknown item")])
    set_aside(tmp_path)
    log.append([event("d", "u1")])
    assert erase(tmp_path, "user", "u1") == 3
    log.update()
    assert (events_of(tmp_path, "user", "u1"), log.of("u1")) == (0, ())
    assert [known.event_id for known in log.of("u2")] == ["b"]


@pytest.mark.slow
def test_acknowledged_events_survive_a_kill(tmp_path: Path) -> None:
    acknowledged, rng = [], random.Random(0)
    for round_ in range(4):
        first = str(round_ * 100_000)
        command = [sys.executable, "-c", WRITER, str(tmp_path), first]
        with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as writer:
            assert writer.stdout
            acknowledged.append(writer.stdout.readline().strip())
            time.sleep(rng.random() / 5)
            os.kill(writer.pid, signal.SIGKILL)
            acknowledged += writer.stdout.read().split("\n")[:-1]
    ids = [known.event_id for known in logged_events(tmp_path)]
    content = (tmp_path / LOG_FILE).read_text().splitlines()
    assert len(ids) == len(content)
    assert set(acknowledged) <= set(ids)
