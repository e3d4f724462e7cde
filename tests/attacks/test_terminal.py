"""Markup and control characters in ids and titles are escaped before they reach a terminal."""

from __future__ import annotations

import io
import json
import logging
import sys

import pandas as pd
import pytest
from rich.console import Console

from kgrec._util.logs import lines_on_stderr
from kgrec._util.notices import to_stderr
from kgrec._util.progress import track
from kgrec._util.terminal import escaped, escaped_json
from kgrec.cli.output import show, show_facts, show_text
from kgrec.explain.explanation import Explanation, Path

MARKUP = ["[red]", "[/]", "[/red]", "[link=https://x.example]", "[bold", "\\[red]", ":warning:", "]", "[@click=x]"]
ORDERS = {
    "\x1b[31m": r"\x1b[31m",
    "\x1b]0;title\x07": r"\x1b]0;title\x07",
    "\x9b2J": r"\x9b2J",
    "a\rb": r"a\rb",
    "a\nerror: b": r"a\nerror: b",
    "\u202egnp": r"\u202egnp",
    "\u2066a": r"\u2066a",
    "a\u2028b": r"a\u2028b",
    "a\u200bb": r"a\u200bb",
    "\ud800": r"\ud800",
    "\U000e0041": r"\U000e0041",
}
ALL = {**dict(zip(MARKUP, MARKUP, strict=True)), **ORDERS}


def frame(data: str) -> pd.DataFrame:
    """A table of a name, also where pandas takes no such text in columns of its own type."""
    return pd.DataFrame({"[red]\x1b": pd.Series([data], dtype=object)})


@pytest.mark.parametrize("data", ALL)
def test_control_characters_in_data_are_escaped(
    data: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "200")
    show(frame(data), as_json=False)
    show_facts(data, {data: data}, as_json=False)
    show_text(str(Explanation(data, data, data, 1.0, 1, {"ease": 1.0}, [Path(data, 1.0)])))
    head, row, title, fact, first, _, path = capsys.readouterr().out.splitlines()
    wanted = ALL[data]
    assert (head.rstrip(), row.rstrip()) == (r"[red]\x1b", wanted)
    assert (title, fact, path) == (wanted, f"  {wanted}: {wanted}", f"  {wanted}")
    assert first.startswith(f"{wanted} ({wanted}) for user {wanted}: ")


@pytest.mark.parametrize("data", ALL)
def test_json_output_keeps_data_exactly(data: str, capsys: pytest.CaptureFixture[str]) -> None:
    show(frame(data), as_json=True)
    show_facts("", {data: data}, as_json=True)
    rows, facts = capsys.readouterr().out.split("]\n{")
    assert rows.isascii()
    assert json.loads(rows + "]") == [{"[red]\x1b": data}]
    assert json.loads("{" + facts) == {data: data}


@pytest.mark.parametrize("data", ALL)
def test_control_characters_in_messages_are_escaped(data: str, monkeypatch: pytest.MonkeyPatch) -> None:
    class Terminal(io.StringIO):
        def isatty(self) -> bool:
            return True

    monkeypatch.setattr(sys, "stderr", Terminal())
    monkeypatch.setenv("TERM", "dumb")
    monkeypatch.setattr(logging.getLogger("kgrec"), "propagate", False)  # pytest cannot report a lone surrogate
    with lines_on_stderr():
        logging.getLogger("kgrec.training").info("%s", data)
    assert list(track([1], data)) == [1]
    assert ALL[data] in sys.stderr.getvalue()  # type: ignore[attr-defined]
    assert not set(sys.stderr.getvalue()) & set("\x9b\u202e\u2066\u2028\u200b\ud800\U000e0041\x07")  # type: ignore[attr-defined]


def test_control_characters_in_errors_are_escaped(kgrec, trained_cinema, capsys) -> None:
    failed = kgrec("recommend", trained_cinema, "u1", "--domain", "\x1b[2J\u202e[red]")
    assert (failed.code, "\x1b" in failed.err, "\u202e" in failed.err) == (2, False, False)
    assert "[red]" in failed.err
    to_stderr("rows of \x1b[2J[red]\nerror: made up")
    assert capsys.readouterr().err == "note: rows of \\x1b[2J[red]\nerror: made up\n"


def test_text_of_all_languages_is_unchanged() -> None:
    for text in ("naïve Ærøskøbing", "日本語", "שלום", "می‌خواهم", "👩‍🚀", "e\u0301", "a\u00a0b"):
        assert escaped(text) == text == escaped_json(text)


def test_markup_in_tables_is_not_rendered() -> None:
    file = io.StringIO()
    console = Console(file=file, force_terminal=True, color_system="truecolor", width=100)
    from kgrec.cli.output import _text

    console.print(_text("[red]a[/] https://x.example 12"))
    assert file.getvalue() == "[red]a[/] https://x.example 12\n"
