"""Output of the CLI: tables as text, or JSON."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from rich.console import Console
from rich.table import Table
from rich.text import Text

from kgrec._util.terminal import escaped, escaped_json

if TYPE_CHECKING:
    import pandas as pd

MAX_SHOWN_CHARACTERS = 500
"""Maximum characters of a value in a text table; JSON is not cut."""


@contextmanager
def _output() -> Iterator[None]:
    """Name the output in the error if the disk is full or the reading process has ended."""
    try:
        yield
    except OSError as error:
        raise OSError(error.errno, error.strerror, "the output") from error


@_output()
def show(frame: pd.DataFrame, as_json: bool) -> None:
    """Print a table as text, or as a JSON list of objects."""
    if as_json:
        _print_json([_plain(row) for row in frame.to_dict("records")])
        return
    import pandas as pd

    table = Table(box=None, header_style="bold", pad_edge=False)
    for name in frame.columns:
        numeric = pd.api.types.is_numeric_dtype(frame[name])
        table.add_column(_text(str(name)), justify="right" if numeric else "left", overflow="fold")
    for row in frame.itertuples(index=False):
        table.add_row(*(_text(_cell(value)) for value in row))
    _console().print(table)


@_output()
def show_facts(title: str, facts: Mapping[str, Any], as_json: bool) -> None:
    """Print named facts under a title, or as one JSON object without it."""
    if as_json:
        _print_json(_plain(facts))
        return
    console = _console()
    console.print(_text(title), style="bold")
    for name, value in facts.items():
        text = value if isinstance(value, str | int) else json.dumps(_plain(value), ensure_ascii=False)
        console.print(_text(f"  {name}: {text}"), soft_wrap=True)


@_output()
def show_text(text: str) -> None:
    """Print text of one or several lines unchanged."""
    _console().print(Text(escaped(text, lines=True)), soft_wrap=True)


def show_metrics(metrics: Mapping[str, Any], as_json: bool) -> None:
    """Print metrics as a table with one row per model, and one with a row per group of users or items; or as JSON."""
    from kgrec.evaluation.evaluate import metrics_table
    from kgrec.evaluation.groups import groups_table

    if as_json:
        return show_facts("", metrics, as_json)
    show(metrics_table(metrics), as_json)
    if metrics.get("groups"):
        show(groups_table(metrics), as_json)


def _text(data: str) -> Text:
    """Return one line for the terminal; markup in it is printed literally."""
    return Text(escaped(data))


def _print_json(content: Any) -> None:
    print(escaped_json(json.dumps(content, ensure_ascii=False, indent=1)))


def _console() -> Console:
    console = Console()
    return console if console.is_terminal else Console(width=max(console.width, 160))


def _cell(value: Any) -> str:
    if isinstance(value, float):
        return "" if math.isnan(value) else f"{value:.4g}"
    text = "" if value is None or _is_missing(value) else str(value)
    return text if len(text) <= MAX_SHOWN_CHARACTERS else f"{text[:MAX_SHOWN_CHARACTERS]}…"


def _is_missing(value: Any) -> bool:
    """Return whether a value is one of pandas' missing values."""
    return type(value).__name__ in ("NAType", "NaTType")


def _plain(value: Any) -> Any:
    """Convert NumPy and pandas values to JSON types; NaN and pandas' missing values become null."""
    import numpy as np

    if _is_missing(value):
        return None
    if isinstance(value, Mapping):
        return {str(key): _plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple | np.ndarray):
        return [_plain(item) for item in value]
    if isinstance(value, np.generic):
        return _plain(value.item())
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value if isinstance(value, str | int | float | bool | None) else str(value)
