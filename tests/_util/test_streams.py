"""Jobs finish even if stdout or stderr is closed, broken or full."""

from __future__ import annotations

import io
import logging
import os
import subprocess
import sys
from pathlib import Path

import pytest

from kgrec._util.logs import lines_on_stderr
from kgrec._util.progress import track
from kgrec._util.streams import flush_output, is_watched, write_stderr
from kgrec.cli.output import show_facts
from kgrec.config import Config
from kgrec.jobs.refresh.report import Report
from kgrec.jobs.train import train_run

pytestmark = pytest.mark.slow


class Broken(io.StringIO):
    """A pipe that nobody reads."""

    def write(self, text: str) -> int:
        raise BrokenPipeError(32, "Broken pipe")

    def flush(self) -> None:
        raise BrokenPipeError(32, "Broken pipe")


class Full(io.StringIO):
    """A file on a full disk."""

    def write(self, text: str) -> int:
        raise OSError(28, "No space left on device")


def closed() -> io.StringIO:
    stream = io.StringIO()
    stream.close()
    return stream


@pytest.mark.parametrize("stream", [None, Broken(), closed()], ids=["none", "broken", "closed"])
def test_progress_without_a_reader_of_stderr_is_quiet(
    stream: io.StringIO | None, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "stderr", stream)
    assert not is_watched()
    with lines_on_stderr():
        logging.getLogger("kgrec.training").info("working")
    write_stderr("a line")
    assert list(track([1, 2], "working")) == [1, 2]
    Report("json").step("read", rows=3)
    assert capsys.readouterr().out == ""


def test_train_with_closed_stderr_makes_its_run(
    trained_cinema: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "stderr", None)
    config = Config.read(overrides=["signals=popularity"])
    run = train_run(str(trained_cinema), config, runs=tmp_path / "runs")
    assert (run.folder / "run.json").is_file()


def test_flush_output_to_a_broken_pipe_is_quiet(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "stdout", Broken())
    assert flush_output() == 1
    assert capsys.readouterr().err == ""


def test_flush_output_to_a_full_disk_fails(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    with open("/dev/full", "w", encoding="utf-8") as full:
        full.write("text")
        monkeypatch.setattr(sys, "stdout", full)
        assert flush_output() == 1
    assert "error: the output cannot be written: No space left on device" in capsys.readouterr().err


@pytest.mark.parametrize("number", [0, 1, 2])
def test_closed_streams_are_not_reused_by_the_next_file(tmp_path: Path, number: int) -> None:
    code = (
        "from kgrec._util.streams import open_closed_streams; import sys; open_closed_streams()\n"
        f"file = open({str(tmp_path / 'graph')!r}, 'w'); assert file.fileno() > 2\n"
        "print('to nobody'); print('to nobody', file=sys.stderr); sys.stdin.read()\n"
        "import os; os.write(2, b'library')"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], check=False, stdin=subprocess.DEVNULL, preexec_fn=lambda: os.close(number)
    )
    assert done.returncode == 0
    assert (tmp_path / "graph").read_text() == ""


@pytest.mark.parametrize("words", [["--version"], ["explore", "GRAPH", "--json"]])
def test_output_to_closed_pipe_ends_quietly(trained_cinema: Path, words: list[str]) -> None:
    command = [sys.executable, "-m", "kgrec", *(str(trained_cinema) if word == "GRAPH" else word for word in words)]
    reading, writing = os.pipe()
    os.close(reading)
    done = subprocess.run(command, stdout=writing, stderr=subprocess.PIPE, text=True, check=False)
    os.close(writing)
    assert (done.returncode, done.stderr) == (1, "")


def test_show_on_a_full_disk_names_the_output(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stdout", Full())
    with pytest.raises(OSError, match="No space left") as caught:
        show_facts("title", {"a": 1}, as_json=False)
    assert caught.value.filename == "the output"


def test_show_facts_to_a_pipe_keeps_a_fact_on_one_line(capsys: pytest.CaptureFixture[str]) -> None:
    show_facts("title", {"runs": ["20261128-051828-5471"] * 20}, as_json=False)
    assert len(capsys.readouterr().out.splitlines()) == 2
