"""History of publications: a file in the runs folder with one JSON line per publication, oldest first.

The store records the live run; this file records the earlier ones, for rollback. If a job is killed between the two
writes, `reconcile` adds the missing line.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final, Literal

from kgrec._util.files import locked, write_atomic
from kgrec.errors import RunError
from kgrec.runs.untrusted_files import shown, size_of

HISTORY_FILE: Final = "published.jsonl"

Action = Literal["publish", "refresh", "rollback", "unpublish", "reconciled"]


@dataclass(frozen=True)
class Publication:
    """One publication.

    Attributes:
        run: name of the run; None if the live run was unpublished.
        at: time, ISO 8601 in UTC.
        action: the command; if it was killed before it wrote the line, "reconciled", or "rollback" for an earlier run.
    """

    run: str | None
    at: str
    action: Action


def publications(root: str | Path) -> list[Publication]:
    """Return the publications, oldest first.

    Raises:
        RunError: the file cannot be read.
    """
    path = Path(root) / HISTORY_FILE
    if not os.path.lexists(path):
        return []
    size_of(Path(root), HISTORY_FILE)
    try:
        return [_publication(json.loads(line)) for line in path.read_text(encoding="utf-8").splitlines()]
    except (OSError, ValueError, TypeError, RecursionError) as error:
        raise RunError(
            f"{path} cannot be read ({error}). Restore it, or remove it: rollback then needs the name of a run"
        ) from error


def _publication(values: Mapping[str, Any]) -> Publication:
    publication = Publication(**values)
    if not all(isinstance(text, str) for text in (publication.run or "", publication.at, publication.action)):
        raise ValueError(f"found {shown(values)}; expected strings")
    if publication.run is not None and Path(publication.run).name != publication.run:
        raise ValueError(f"found the run {publication.run!r}; expected a name, not a path")
    return publication


def append(root: str | Path, run: str | None, action: Action) -> None:
    """Append a publication; concurrent jobs do not lose each other's lines.

    Raises:
        RunError: the file cannot be read or written.
    """
    with _locked(Path(root)):
        _add(Path(root), run, action)


@contextmanager
def _locked(root: Path) -> Iterator[None]:
    try:
        with locked(root):
            yield
    except OSError as error:
        raise RunError(f"{root / HISTORY_FILE} cannot be written: {error.strerror or error}") from error


def _add(root: Path, run: str | None, action: Action) -> None:
    entry = Publication(run, datetime.now(UTC).isoformat(timespec="milliseconds"), action)
    lines = [json.dumps(asdict(known)) for known in [*publications(root), entry]]
    write_atomic(root / HISTORY_FILE, "".join(f"{line}\n" for line in lines))


def latest(root: str | Path) -> str | None:
    """Return the name of the run that was published last; None if it was unpublished, or none was."""
    known = publications(root)
    return known[-1].run if known else None


def reconcile(root: str | Path, published: str | None) -> None:
    """Append the store's live run to the history if it is not the latest entry."""
    if latest(root) == published:
        return
    with _locked(Path(root)):
        if latest(root) != published:
            known = {entry.run for entry in publications(root)} - {None}
            _add(Path(root), published, "rollback" if published in known else "reconciled")


def previous(root: str | Path, run: str) -> str | None:
    """Return the run published before the first publication of `run`, so that a second rollback goes back further."""
    names = [known.run for known in publications(root) if known.run is not None]
    return names[names.index(run) - 1] if run in names[1:] and names[0] != run else None
