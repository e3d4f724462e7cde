"""Writing to standard streams that may be closed or broken, so that a job continues when its output is not read."""

from __future__ import annotations

import errno
import os
import sys
from contextlib import suppress

from kgrec._util.terminal import escaped


def open_closed_streams() -> None:
    """Open the null device in place of stdin, stdout or stderr if they are closed, as by `2>&-`.

    Otherwise the next opened file, such as a graph, would get descriptor 2 and receive what libraries write to stderr.
    """
    for number, name in enumerate(("stdin", "stdout", "stderr")):
        try:
            os.fstat(number)
        except OSError:
            os.open(os.devnull, os.O_RDWR)  # gets the lowest free descriptor, which is this one
        if getattr(sys, name) is None:
            setattr(sys, name, open(os.devnull, "r" if number == 0 else "w", encoding="utf-8"))  # noqa: SIM115


def is_watched() -> bool:
    """Return True if stderr is a terminal."""
    with suppress(ValueError):  # stderr is closed
        return sys.stderr is not None and sys.stderr.isatty()
    return False


def write_stderr(line: str) -> None:
    """Write escaped lines to stderr; errors of a closed or broken stream are ignored."""
    if sys.stderr is not None:
        with suppress(OSError, ValueError):
            print(escaped(line, lines=True), file=sys.stderr, flush=True)


def flush_output() -> int:
    """Flush stdout and return an exit code: 0, or 1 if it cannot be written.

    The failure is reported on stderr, unless the reader of a pipe has closed it.
    """
    try:
        sys.stdout.flush()
    except (OSError, ValueError) as error:
        if getattr(error, "errno", None) != errno.EPIPE:
            write_stderr(f"error: the output cannot be written: {getattr(error, 'strerror', None) or error}")
        with suppress(OSError, ValueError):  # otherwise Python flushes again at exit and prints an error
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    return 0
