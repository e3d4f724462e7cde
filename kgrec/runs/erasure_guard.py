"""Keeping a run: a job that writes one and a forget stay out of each other's way, and nobody is written back.

A job that began before a forget knows whom the graph no longer has. Before it keeps what it learned it asks the graph
again, in a block that a forget waits for, as it waits for a forget.
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

LOCK: Final = ".keeping"
"""File in a folder of runs, locked by whoever keeps a run there, and by a forget against them."""

Node = tuple[str, str]
"""Label and key."""


@contextmanager
def keeping(root: Path, graph: str, snapshot: GraphSnapshot) -> Iterator[None]:
    """Write a run that was learned from a snapshot of a graph in the block.

    Args:
        root: folder of runs.
        graph: URI of the graph.
        snapshot: the graph as it was when the job began.

    Raises:
        StoreError: the graph no longer has users or items of the snapshot.
        RunError: the folder cannot be written.
    """
    with _locked(root, fcntl.LOCK_SH):
        check_there(graph, snapshot, "no run was kept")
        yield


@contextmanager
def nobody_keeps(roots: Iterable[Path]) -> Iterator[None]:
    """Keep every job from writing a run to folders in the block; waits for those that are writing one.

    Raises:
        RunError: a folder cannot be written.
    """
    with ExitStack() as stack:
        for root in roots:
            stack.enter_context(_locked(root, fcntl.LOCK_EX))
        yield


def check_there(graph: str, snapshot: GraphSnapshot, otherwise: str) -> None:
    """Check that a graph still has every user and item of a snapshot of it.

    Args:
        graph: URI of the graph.
        snapshot: the graph as it was.
        otherwise: what is so if it has not, for the message.

    Raises:
        StoreError: it has not; the message does not name them.
    """
    n = len(lost(graph, snapshot))
    if n:
        raise StoreError(
            f"{graph} no longer has {n} of the users and items that this job read: they were forgotten, or the graph "
            f"was replaced, in the meantime; {otherwise}. Run this again"
        )


def lost(graph: str, snapshot: GraphSnapshot) -> list[Node]:
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
        descriptor = os.open(root / LOCK, os.O_RDONLY | os.O_CREAT | os.O_NOFOLLOW | os.O_NONBLOCK, 0o666)
    except OSError as error:
        raise RunError(f"{root / LOCK} cannot be written: {error.strerror}") from error
    try:
        fcntl.flock(descriptor, how)
        yield
    finally:
        os.close(descriptor)
