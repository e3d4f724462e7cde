"""One writer at a time: the marker of a write that takes several transactions, and the count of all writes.

Both are on the node `(:_Kgrec {id: 'schema'})`: `version` grows with every write, so a reader sees that one came in
between; `writer`, `task`, `step` and `beat` are there only during a long write. A writer that died leaves them, which tells
readers that the graph is half written; the next writer takes them over.
"""

from __future__ import annotations

import itertools
import os
import platform
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, LiteralString

from kgrec.errors import StoreError, StoreLocked

if TYPE_CHECKING:
    from neo4j import ManagedTransaction, Transaction

LIVE_SECONDS: Final = 30
"""A writer that has not renewed its marker for longer is dead."""

LOAD: Final = "load"
"""The task of a long write after which, if it was cut off, the graph is not whole."""

_COUNT: Final[LiteralString] = """
    MERGE (s:_Kgrec {id: 'schema'}) SET s.version = coalesce(s.version, 0) + 1
    RETURN s {.writer, .task, .beat, now: timestamp()} AS state
"""
_TAKE: Final[LiteralString] = """
    MATCH (s:_Kgrec {id: 'schema'})
    SET s.task = $task, s.writer = $writer, s.beat = timestamp(), s.step = 0
"""
_RENEW: Final[LiteralString] = """
    MATCH (s:_Kgrec {id: 'schema', writer: $writer}) SET s.beat = timestamp(), s.version = s.version + 1
    WITH s, s.step AS step SET s.step = $step RETURN step
"""
_CLEAR: Final[LiteralString] = """
    MATCH (s:_Kgrec {id: 'schema', writer: $writer}) SET s.version = s.version + 1
    REMOVE s.writer, s.task, s.beat, s.step
"""
_numbers = itertools.count(1)
_writing: set[str] = set()
"""Names of the writers of this process that are at work."""

Transact = Callable[[Callable[["ManagedTransaction"], Any]], Any]
"""Runs work in one write transaction, again if the server says that it may succeed then."""


@dataclass(frozen=True)
class State:
    """What the schema's node says.

    Attributes:
        yaml: the schema; None if there is none.
        adopted: whether the database was there before kgrec.
        version: count of writes.
        writer, task: who is writing for a long time, and what; None if nobody is.
        idle: seconds since the writer last said so.
    """

    yaml: str | None = None
    adopted: bool = False
    version: int = 0
    writer: str | None = None
    task: str | None = None
    idle: float = 0.0

    @classmethod
    def read(cls, tx: ManagedTransaction | Transaction) -> State:
        """Read it; a database without the node has the state of an empty one."""
        record = tx.run(
            "MATCH (s:_Kgrec {id: 'schema'}) "
            "RETURN s {.yaml, .adopted, .version, .writer, .task, .beat, now: timestamp()} AS state"
        ).single()
        return cls.of(record["state"]) if record else cls()

    @classmethod
    def of(cls, state: Mapping[str, Any]) -> State:
        """Make one from the node's properties and the server's time, `now`."""
        idle = (state["now"] - (state.get("beat") or 0)) / 1000
        adopted, version = bool(state.get("adopted")), state.get("version") or 0
        return cls(state.get("yaml"), adopted, version, state.get("writer"), state.get("task"), idle)

    @property
    def is_being_written(self) -> bool:
        """Whether a live writer is at work."""
        return self.writer is not None and self.idle < LIVE_SECONDS and not _is_dead(self.writer)

    def check_readable(self, uri: str) -> None:
        """Make sure that the graph is whole.

        Raises:
            StoreLocked: a load is under way.
            StoreError: a load was cut off.
        """
        if self.task != LOAD:
            return
        if self.is_being_written:
            raise StoreLocked(f"{uri} is being written by {self.writer}; try again when that is done")
        raise StoreError(f"{uri}: a write was cut off, so the graph is not whole; load the same data again")

    def check_writable(self, uri: str) -> None:
        """Make sure that nobody else is writing.

        Raises:
            StoreLocked: somebody is.
        """
        if self.is_being_written:
            raise StoreLocked(f"{uri} is being written by {self.writer}; try again when that is done")


def count_write(tx: ManagedTransaction, uri: str) -> State:
    """Count a write; to be called first in its transaction, so that writers wait for one another.

    Returns:
        Who else was writing, which is now dead.

    Raises:
        StoreLocked: somebody else is writing.
    """
    record = tx.run(_COUNT).single(strict=True)
    state = State.of(record["state"])
    state.check_writable(uri)
    return state


class Lease:
    """The right to write in several transactions, from `take` to `clear`."""

    def __init__(self, transact: Transact, uri: str, task: str) -> None:
        self.transact, self.uri, self.task = transact, uri, task
        self.writer = f"{platform.node()}:{os.getpid()}:{next(_numbers)}"
        self.step = 0

    def take(self) -> None:
        """Become the writer.

        Raises:
            StoreLocked: somebody else is.
        """

        def work(tx: ManagedTransaction) -> None:
            # Taken twice where the first answer was lost: the marker is ours already.
            if State.read(tx).writer != self.writer:
                state = count_write(tx, self.uri)
                if self.task != LOAD:
                    state.check_readable(self.uri)
                tx.run(_TAKE, writer=self.writer, task=self.task).consume()

        _writing.add(self.writer)
        try:
            self.transact(work)
        except BaseException:
            _writing.discard(self.writer)
            raise

    def run(self, work: Callable[[ManagedTransaction], None]) -> None:
        """Do one part of the write in a transaction; exactly once, even where the answer to a commit is lost.

        Raises:
            StoreLocked: another writer took over.
        """
        self.step += 1

        def once(tx: ManagedTransaction) -> None:
            if self._renew(tx) < self.step:
                work(tx)

        self.transact(once)

    def clear(self, last: Callable[[ManagedTransaction], None] | None = None) -> None:
        """End the write; `last` is done in the same transaction."""
        self.step += 1
        tries = itertools.count()

        def work(tx: ManagedTransaction) -> None:
            if next(tries) and State.read(tx).writer is None:
                return  # the answer to the first try was lost
            self._renew(tx)
            if last:
                last(tx)
            tx.run(_CLEAR, writer=self.writer).consume()

        self.transact(work)
        self.drop()

    def _renew(self, tx: ManagedTransaction) -> int:
        record = tx.run(_RENEW, writer=self.writer, step=self.step).single()
        if record is None:
            raise StoreLocked(f"{self.uri}: another writer took over because this one was silent for too long")
        return int(record["step"])

    def drop(self) -> None:
        """End the work in this process but leave the marker: what was written is not whole."""
        _writing.discard(self.writer)


def _is_dead(writer: str) -> bool:
    """Say whether a writer of this machine has ended; one of another machine is taken to live."""
    host, pid, _ = writer.rsplit(":", 2)
    if host != platform.node():
        return False
    if int(pid) == os.getpid():
        return writer not in _writing
    try:
        os.kill(int(pid), 0)
    except ProcessLookupError:
        return True
    except OSError:
        return False
    return False
