"""Exposure log: which lists an experiment showed to whom, a file beside the event log."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Final

from kgrec._util.files import locked
from kgrec.errors import StoreError
from kgrec.events.log import append_lines, as_store_error

EXPOSURE_FILE: Final = "exposures.jsonl"


@dataclass(frozen=True)
class Exposure:
    """A list that was shown.

    Attributes:
        experiment, arm: names.
        user_id: the user.
        items: ids of the items, best first.
        release: name of the run.
        source: how the list was made.
        timestamp: epoch seconds.
    """

    experiment: str
    arm: str
    user_id: str
    items: tuple[str, ...]
    release: str
    source: str
    timestamp: float


class ExposureLog:
    """Appends exposures to the log of a folder, many at a time.

    An exposure is on disk some tenths of a second after the answer; a crash, or a full disk, may lose the latest.
    """

    def __init__(self, folder: Path) -> None:
        self.path = folder / EXPOSURE_FILE
        self._waiting: list[Exposure] = []
        self._lock = threading.Lock()

    def add(self, exposure: Exposure) -> None:
        """Add an exposure, which the next `flush` writes."""
        self._waiting.append(exposure)

    def flush(self) -> None:
        """Write the exposures that were added.

        Raises:
            StoreError: the log cannot be written.
        """
        with self._lock, as_store_error(self.path.parent), locked(self.path.parent):
            waiting, self._waiting = self._waiting, []
            if waiting:
                append_lines(self.path, "".join(f"{json.dumps(asdict(exposure))}\n" for exposure in waiting))


def exposures(folder: Path, experiment: str) -> Iterator[Exposure]:
    """Yield the exposures of an experiment, in the order of the log.

    Raises:
        StoreError: a line is not an exposure.
    """
    path = folder / EXPOSURE_FILE
    if not path.exists():
        return
    for number, line in enumerate(path.read_bytes().splitlines(), 1):
        try:
            values = json.loads(line)
            exposure = Exposure(**{**values, "items": tuple(values["items"])})
        except (ValueError, TypeError, KeyError) as error:
            raise StoreError(f"{path}, line {number}: not an exposure ({error}). Remove the line") from None
        if exposure.experiment == experiment:
            yield exposure
