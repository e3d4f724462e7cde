"""Standard streams that may be closed or broken: a job does its work whether or not anybody reads what it says."""

from __future__ import annotations

import errno
import os
import sys
from contextlib import suppress

from kgrec._util.terminal import escaped


def open_closed_streams() -> None:
    """Put the null device where stdin, stdout or stderr were closed, as by `2>&-`.

    Without it the next file that is opened, such as a graph, would be number 2, and get what libraries write to stderr.
    """
    for number, name in enumerate(("stdin", "stdout", "stderr")):
        try:
            os.fstat(number)
        except OSError:
            os.open(os.devnull, os.O_RDWR)  # takes the lowest number that is free: this one
        if getattr(sys, name) is None:
            setattr(sys, name, open(os.devnull, "r" if number == 0 else "w", encoding="utf-8"))  # noqa: SIM115


def is_watched() -> bool:
    """Say whether stderr is a terminal."""
    with suppress(ValueError):  # it is closed
        return sys.stderr is not None and sys.stderr.isatty()
    return False


def tell(line: str) -> None:
    """Write lines to stderr, if it is there and takes them; what is data in them does nothing to a terminal."""
    if sys.stderr is not None:
        with suppress(OSError, ValueError):
            print(escaped(line, lines=True), file=sys.stderr, flush=True)


def flush_output() -> int:
    """Write out what is left for stdout, and return an exit code: 1 if it cannot be; quietly if nobody reads on."""
    try:
        sys.stdout.flush()
    except (OSError, ValueError) as error:
        if getattr(error, "errno", None) != errno.EPIPE:
            tell(f"error: the output cannot be written: {getattr(error, 'strerror', None) or error}")
        with suppress(OSError, ValueError):  # else Python tries again at its end, and complains
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    return 0
