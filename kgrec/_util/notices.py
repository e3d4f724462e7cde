"""Notices about unexpected treatment of an input that is not an error, such as rows that were left out.

A notice is a Python warning, so that it reaches the caller from any depth; the command line prints it on stderr.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from kgrec._util.streams import write_stderr


class DataNotice(UserWarning):
    """Warning about unexpected treatment of an input that is not an error."""


def notice(text: str) -> None:
    """Issue a notice to the caller or to the user of the command line."""
    warnings.warn(text, DataNotice, stacklevel=3)


@contextmanager
def notices(report: Callable[[str], None]) -> Iterator[None]:
    """Pass every notice in the block to `report` instead of printing it as a Python warning."""
    with warnings.catch_warnings():
        warnings.simplefilter("always", DataNotice)
        others = warnings.showwarning

        def show(message: Any, category: type[Warning], *place: Any, **more: Any) -> None:
            if issubclass(category, DataNotice):
                report(str(message))
            else:
                others(message, category, *place, **more)

        warnings.showwarning = show
        yield


def to_stderr(text: str) -> None:
    """Print a notice as one line on stderr."""
    write_stderr(f"note: {text}")
