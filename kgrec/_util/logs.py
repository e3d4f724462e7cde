"""Log lines on stderr: what the `kgrec` command, as the host program, does with the loggers `kgrec.*`.

As a library kgrec only logs: whether and where lines appear is up to the program, as in
`logging.basicConfig(level="INFO")`.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager

from kgrec._util.streams import is_watched, tell
from kgrec._util.terminal import escaped

logger = logging.getLogger("kgrec")


@contextmanager
def lines_on_stderr() -> Iterator[None]:
    """Write what kgrec logs to stderr in the block: with the time, unless stderr is a terminal."""
    handler = _Stderr()
    handler.setFormatter(logging.Formatter("%(message)s" if is_watched() else "%(asctime)s %(message)s"))
    before = logger.level
    logger.setLevel(logging.INFO)
    logger.addHandler(handler)
    try:
        yield
    finally:
        logger.removeHandler(handler)
        logger.setLevel(before)


def no_lines() -> None:
    """Write no more lines: stderr belongs to a log of another form, such as JSON."""
    for handler in list(logger.handlers):
        if isinstance(handler, _Stderr):
            logger.removeHandler(handler)


class _Stderr(logging.Handler):
    """Writes a line a message to stderr, above bars of progress; nothing where stderr is closed or nobody reads it."""

    def emit(self, record: logging.LogRecord) -> None:
        from tqdm import tqdm

        with tqdm.external_write_mode():
            tell(escaped(self.format(record)))
