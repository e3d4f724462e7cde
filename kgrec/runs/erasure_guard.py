"""Guard against runs with erased nodes: a job that saves a run and an erasure exclude each other.

A training that started before an erasure still has the erased nodes in memory. Before it saves its run it checks, under
a lock that excludes erasures, that the graph still has all of its users and items.
"""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Final

import pyarrow as pa
import pyarrow.compute as pc

from kgrec.data.snapshot import GraphSnapshot
from kgrec.errors import RunError, StoreError
from kgrec.store import open_graph

LOCK_FILE: Final = ".keeping"
"""Lock file in a folder of runs: shared by jobs that save a run there, exclusive for an erasure."""

Node = tuple[str, str]
"""Label and key."""


@contextmanager
def erasures_blocked(root: Path, graph: str, snapshot: GraphSnapshot) -> Iterator[None]:
    """Hold off erasures in the block, which saves a run that was trained on a snapshot of a graph.

    Args:
        root: folder of runs.
        graph: URI of the graph.
        snapshot: the graph when the job started.

    Raises:
        StoreError: the graph no longer has users or items of the snapshot.
        RunError: the folder cannot be written.
    """
    with _locked(root, fcntl.LOCK_SH):
        check_unerased(graph, snapshot, "no run was kept")
        yield


@contextmanager
def saves_blocked(roots: Iterable[Path]) -> Iterator[None]:
    """Hold off jobs that save runs to the folders in the block; waits for those that are saving one.

    Raises:
        RunError: a folder cannot be written.
    """
    with ExitStack() as stack:
        for root in roots:
            stack.enter_context(_locked(root, fcntl.LOCK_EX))
        yield


def check_unerased(graph: str, snapshot: GraphSnapshot, otherwise: str) -> None:
    """Check that a graph still has every user and item of an earlier snapshot.

    Args:
        graph: URI of the graph.
        snapshot: the earlier snapshot.
        otherwise: consequence of a failed check, for the message.

    Raises:
        StoreError: users or items are missing; the message has their number, not their ids.
    """
    n = len(erased_nodes(graph, snapshot))
    if n:
        raise StoreError(
            f"{graph} no longer has {n} of the users and items that this job read: they were erased, or the graph was "
            f"replaced, during the job; {otherwise}. Run this again"
        )


def erased_nodes(graph: str, snapshot: GraphSnapshot) -> list[Node]:
    """Return the users and items of a snapshot that the graph no longer has."""
    roles = snapshot.schema.roles
    with open_graph(graph, read_only=True) as store:
        now = {label: store.ids(label) for label in snapshot.present(dict.fromkeys((*roles.users, *roles.items)))}
    gone = {label: _without(snapshot.ids(label), ids) for label, ids in now.items()}
    return [(label, id_) for label, ids in gone.items() for id_ in ids.to_pylist()]


def _without(ids: pa.Array, known: pa.Array) -> pa.Array:
    return ids.filter(pc.invert(pc.is_in(ids, value_set=known.cast(ids.type))))


@contextmanager
def _locked(root: Path, how: int) -> Iterator[None]:
    try:
        descriptor = os.open(root / LOCK_FILE, os.O_RDONLY | os.O_CREAT | os.O_NOFOLLOW | os.O_NONBLOCK, 0o666)
    except OSError as error:
        raise RunError(f"{root / LOCK_FILE} cannot be written: {error.strerror}") from error
    try:
        fcntl.flock(descriptor, how)
        yield
    finally:
        os.close(descriptor)
