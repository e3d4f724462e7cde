"""Write lock on a server: a marker in the graph that a writer sets, renews in every transaction and clears.

The marker also counts writes, so that a reader can detect changes of the graph during a read.
"""

from __future__ import annotations

import itertools
import os
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final

from kgrec._util.owner import HOST, has_ended, parsed_owner, started
from kgrec.errors import StoreError, StoreLocked

if TYPE_CHECKING:
    import neo4j

STALE_MILLISECONDS: Final = 30_000
"""Milliseconds without a renewal after which a writer counts as ended."""

_MARKER: Final = "MATCH (k:`_Kgrec` {id: $id})"
_alive: set[str] = set()
"""Writers of this process that hold a marker."""


@dataclass(frozen=True)
class State:
    """State of a marker.

    Attributes:
        version: number of starts and ends of writes.
        writer: owner that holds the marker (`host:pid:unique`), or None.
        is_over: the writer ended without clearing the marker.
    """

    version: int
    writer: str | None
    is_over: bool


def state(session: neo4j.Session, id_: str) -> State:
    """Return the state of a marker; version 0 if the marker does not exist."""
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
def hold(session: neo4j.Session, id_: str, uri: str) -> Iterator[Lease]:
    """Hold a marker during the block. If the block fails, the marker stays unless the block calls `Lease.release`.

    Raises:
        StoreLocked: another writer holds the marker.
    """
    lease = Lease(session, id_, f"{HOST}:{os.getpid()}:{uuid.uuid4().hex[:8]}", uri)
    lease.acquire()
    _alive.add(lease.writer)
    try:
        yield lease
        lease.release()
    finally:
        _alive.discard(lease.writer)


@dataclass(frozen=True)
class Lease:
    """A marker held by a writer of this process."""

    session: neo4j.Session
    id_: str
    writer: str
    uri: str
    steps: Iterator[int] = field(default_factory=lambda: itertools.count(1))

    def acquire(self) -> None:
        """Acquire the marker; idempotent, since the server's answer to a first try may be lost.

        Raises:
            StoreLocked: another writer holds the marker.
        """
        marker = state(self.session, self.id_)
        if marker.writer is not None and not marker.is_over:
            raise StoreLocked(f"{self.uri} is being written by {_shown(marker.writer)}; try again when it has finished")
        query = (
            "MERGE (k:`_Kgrec` {id: $id}) SET k.beat = coalesce(k.beat, 0) WITH k "
            "WHERE k.writer IS NULL OR k.writer IN [$before, $me] OR k.writer IS NOT :: STRING "
            "SET k.writer = $me, k.started = $started, k.beat = timestamp(), k.step = 0, "
            "k.version = coalesce(toIntegerOrNull(k.version), 0) + 1 RETURN k"
        )
        if not self._run(query, before=marker.writer or "", started=started()):
            raise StoreLocked(f"{self.uri} is being written by another process; try again when it has finished")

    def renew(self, work: neo4j.ManagedTransaction, step: int) -> bool:
        """Renew the marker in a transaction that writes.

        Args:
            work: the transaction; it may be a retry of a committed transaction whose answer was lost.
            step: number of the transaction, from `steps`.

        Returns:
            True if the transaction must still do its work; False if it is such a retry.

        Raises:
            StoreError: another writer took over the marker.
        """
        query = (
            f"{_MARKER} WHERE k.writer = $me SET k.beat = timestamp() "
            "WITH k, k.step AS done SET k.step = $step RETURN done"
        )
        record = work.run(query, id=self.id_, me=self.writer, step=step).single()
        if record is None:
            raise StoreError(
                f"{self.uri}: another writer took over after {STALE_MILLISECONDS // 1000} s without a renewal; "
                "run this again"
            )
        return bool(record["done"] < step)

    def release(self) -> None:
        """Release the marker."""
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
    return f"process {holder[1]} on {holder[0]}" if holder else "another process"


def _is_over(writer: object, began: object, beat: object, now: int) -> bool:
    """Return True if a writer ended or did not renew its marker in time; a renewal in the future does not count."""
    holder = parsed_owner(writer)
    if holder is None or isinstance(beat, bool) or not isinstance(beat, int):
        return True
    if holder == (HOST, os.getpid()) and began in (None, started()):
        return writer not in _alive
    return has_ended(*holder, began) or not now - STALE_MILLISECONDS <= beat <= now + STALE_MILLISECONDS
