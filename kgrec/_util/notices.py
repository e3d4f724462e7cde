"""Notices: what was done with an input that its owner may not expect, such as rows that were left out.

A notice is a Python warning, so it reaches a caller from any depth; the command shows each as a line on stderr.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from kgrec._util.streams import tell


class DataNotice(UserWarning):
    """Something done with an input that its owner may not expect, and that is no error."""


def notice(text: str) -> None:
    """Tell the caller, or the user of the command, what was done with an input."""
    warnings.warn(text, DataNotice, stacklevel=3)


@contextmanager
def notices(tell: Callable[[str], None]) -> Iterator[None]:
    """Pass every notice to `tell` instead of Python's own display of warnings."""
    with warnings.catch_warnings():
        warnings.simplefilter("always", DataNotice)
        others = warnings.showwarning

        def show(message: Any, category: type[Warning], *place: Any, **more: Any) -> None:
            if issubclass(category, DataNotice):
                tell(str(message))
            else:
                others(message, category, *place, **more)

        warnings.showwarning = show
        yield


def to_stderr(text: str) -> None:
    """Print a notice as one line on stderr; nothing where stderr is closed."""
    tell(f"note: {text}")
