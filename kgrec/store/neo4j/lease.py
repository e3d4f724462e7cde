"""One writer at a time on a server: a marker in the graph that a writer holds, renews in every transaction and clears.

The marker counts writes, so a reader knows whether the graph changed while it read.
"""

from __future__ import annotations

import itertools
import os
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final

from kgrec._util.owner import HOST, is_gone, parsed_owner, started
from kgrec.errors import StoreError, StoreLocked

if TYPE_CHECKING:
    import neo4j

STALE_MILLISECONDS: Final = 30_000
"""Milliseconds without a sign of life after which a writer counts as gone."""

_MARKER: Final = "MATCH (k:`_Kgrec` {id: $id})"
_alive: set[str] = set()


@dataclass(frozen=True)
class State:
    """What a marker says.

    Attributes:
        version: number of writes begun and ended.
        writer: who is writing, or None.
        is_over: the writer is gone without having cleared the marker.
    """

    version: int
    writer: str | None
    is_over: bool


def state(session: neo4j.Session, id_: str) -> State:
    """Return what a marker says; version 0 if there is none."""
    query = (
        f"{_MARKER} RETURN toIntegerOrNull(k.version) AS version, k.writer AS writer, k.started AS started, "
        "k.beat AS beat, timestamp() AS now"
    )
    record = session.execute_read(lambda work: work.run(query, id=id_).single())
    if record is None:
        return State(0, None, False)
    writer = record["writer"]
    is_over = writer is not None and _is_over(writer, record["started"], record["beat"], record["now"])
    return State(record["version"] or 0, None if writer is None else str(writer), is_over)


@contextmanager
def held(session: neo4j.Session, id_: str, uri: str) -> Iterator[Lease]:
    """Hold a marker in the block. If the block fails it is cleared by `Lease.give_back`, or stays.

    Raises:
        StoreLocked: another writer holds it.
    """
    lease = Lease(session, id_, f"{HOST}:{os.getpid()}:{uuid.uuid4().hex[:8]}", uri)
    lease.take()
    _alive.add(lease.writer)
    try:
        yield lease
        lease.give_back()
    finally:
        _alive.discard(lease.writer)


@dataclass(frozen=True)
class Lease:
    """A held marker."""

    session: neo4j.Session
    id_: str
    writer: str
    uri: str
    steps: Iterator[int] = field(default_factory=lambda: itertools.count(1))

    def take(self) -> None:
        """Become the writer; twice is once, where the answer to the first try was lost."""
        found = state(self.session, self.id_)
        if found.writer is not None and not found.is_over:
            raise StoreLocked(f"{self.uri} is being written by {_shown(found.writer)}; try again when that is done")
        query = (
            "MERGE (k:`_Kgrec` {id: $id}) SET k.beat = coalesce(k.beat, 0) WITH k "
            "WHERE k.writer IS NULL OR k.writer IN [$before, $me] OR k.writer IS NOT :: STRING "
            "SET k.writer = $me, k.started = $started, k.beat = timestamp(), k.step = 0, "
            "k.version = coalesce(toIntegerOrNull(k.version), 0) + 1 RETURN k"
        )
        if not self._run(query, before=found.writer or "", started=started()):
            raise StoreLocked(f"{self.uri} is being written by another; try again when that is done")

    def renew(self, work: neo4j.ManagedTransaction, step: int) -> bool:
        """Show a sign of life, in a transaction that writes.

        Args:
            work: the transaction, perhaps a second try of one that was committed while its answer was lost.
            step: number of the transaction, from `steps`.

        Returns:
            Whether the step is still to be done.

        Raises:
            StoreError: another writer took over.
        """
        query = (
            f"{_MARKER} WHERE k.writer = $me SET k.beat = timestamp() "
            "WITH k, k.step AS done SET k.step = $step RETURN done"
        )
        record = work.run(query, id=self.id_, me=self.writer, step=step).single()
        if record is None:
            raise StoreError(
                f"{self.uri}: another writer took over after {STALE_MILLISECONDS // 1000} s without a sign; "
                "run this again"
            )
        return bool(record["done"] < step)

    def give_back(self) -> None:
        """Stop being the writer."""
        self._run(
            f"{_MARKER} WHERE k.writer = $me SET k.version = k.version + 1 "
            "REMOVE k.writer, k.started, k.beat, k.step RETURN k"
        )

    def _run(self, query: str, **values: Any) -> list[Any]:
        def run(work: neo4j.ManagedTransaction) -> list[Any]:
            return list(work.run(query, id=self.id_, me=self.writer, **values))

        return self.session.execute_write(run)


def _shown(writer: str) -> str:
    holder = parsed_owner(writer)
    return f"process {holder[1]} on {holder[0]}" if holder else "another"


def _is_over(writer: object, began: object, beat: object, now: int) -> bool:
    """Say whether a writer is gone, or gave no sign of life in time; a sign from the future counts as none."""
    holder = parsed_owner(writer)
    if holder is None or isinstance(beat, bool) or not isinstance(beat, int):
        return True
    if holder == (HOST, os.getpid()) and began in (None, started()):
        return writer not in _alive
    return is_gone(*holder, began) or not now - STALE_MILLISECONDS <= beat <= now + STALE_MILLISECONDS
