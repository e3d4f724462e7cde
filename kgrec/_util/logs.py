"""Log lines of the `kgrec` command on stderr.

As a library, kgrec only logs to the loggers `kgrec.*`; the program that uses it configures the output, for instance
with `logging.basicConfig(level="INFO")`.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager

from kgrec._util.streams import is_watched, write_stderr
from kgrec._util.terminal import escaped

logger = logging.getLogger("kgrec")


@contextmanager
def lines_on_stderr() -> Iterator[None]:
    """Write kgrec's log lines to stderr during the block, with the time unless stderr is a terminal."""
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
    """Stop writing log lines, because another log, such as JSON, uses stderr."""
    for handler in list(logger.handlers):
        if isinstance(handler, _Stderr):
            logger.removeHandler(handler)


class _Stderr(logging.Handler):
    """Writes one line per message to stderr, above progress bars; errors of a closed stream are ignored."""

    def emit(self, record: logging.LogRecord) -> None:
        from tqdm import tqdm

        with tqdm.external_write_mode():
            write_stderr(escaped(self.format(record)))
