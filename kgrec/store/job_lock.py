"""One job at a time on a graph, over all hosts: a lease with owner and expiry, on the store itself.

It covers minutes of work, in which the store is read and written several times. Of an embedded graph it is a file
beside it, on a server a marker in the database. While the job runs a thread renews it; once its owner is gone, or gave
no sign for `STALE_SECONDS` seconds, the next job takes it over.
"""

from __future__ import annotations

import fcntl
import json
import os
import stat
import threading
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, Final

from kgrec._util.owner import HOST, is_gone, parsed_owner, started
from kgrec.errors import StoreError, StoreLocked
from kgrec.store.uri import GraphUri

STALE_SECONDS: Final = 60.0
"""Seconds without a sign of life after which an owner counts as gone."""

BEAT_SECONDS: Final = 5.0
"""Seconds between two signs of life."""

MAX_LEASE_BYTES: Final = 4096
"""Bytes from which on a file is no lease."""

LOCK_TRIES, LOCK_PAUSE = 500, 0.02
"""How often, and seconds between two times, a file is tried that another job has locked for a moment."""

Check = Callable[[], None]
"""Raises StoreError if the lease was lost: another job may have begun."""


@contextmanager
def leased(uri: str) -> Iterator[Check]:
    """Hold the lease of a graph in the block.

    Args:
        uri: of the graph.

    Yields:
        A function to call before what must not happen twice; it raises StoreError if the lease was lost.

    Raises:
        StoreLocked: another job holds it; says which.
        StoreError: it cannot be written.
    """
    if GraphUri.parse(uri).is_server:
        with _on_server(uri) as check:
            yield check
    else:
        with _in_file(uri) as check:
            yield check


def lease_file(uri: str) -> Path:
    """Return the file of an embedded graph's lease, beside the graph."""
    path = GraphUri.parse(uri).path or Path(uri)
    path = path.expanduser().resolve()
    return path.with_name(f".{path.name}.lease")


@contextmanager
def _in_file(uri: str) -> Iterator[Check]:
    path, owner = lease_file(uri), f"{HOST}:{os.getpid()}:{uuid.uuid4().hex}"

    def sign() -> dict[str, Any]:
        return {"owner": owner, "started": started(), "beat": time.time()}

    def take(found: dict[str, Any]) -> dict[str, Any]:
        holder = parsed_owner(found.get("owner"))
        if holder and not _is_over(found, *holder):
            raise StoreLocked(
                f"process {holder[1]} on {holder[0]} is at work on {uri}; try again when it is done. "
                f"If it is gone, its lease ends {STALE_SECONDS:.0f} s after its last sign of life"
            )
        return sign()

    def renew(found: dict[str, Any]) -> dict[str, Any]:
        if found.get("owner") != owner:
            raise StoreError(f"{uri}: another job took over after {STALE_SECONDS:.0f} s without a sign; run this again")
        return sign()

    _changed(path, take)
    try:
        with _beating(lambda: _changed(path, renew)) as check:
            yield check
    finally:
        with suppress(StoreError):  # on a full disk; the error that counts is the first, and the lease ends by itself
            _changed(path, lambda found: {} if found.get("owner") == owner else found)


def _changed(path: Path, change: Callable[[dict[str, Any]], dict[str, Any]]) -> None:
    """Read and write the file of a lease while nobody else does.

    Raises:
        StoreError: the disk refuses, or there is something else than a file.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC, 0o666)
        with os.fdopen(descriptor, "r+b") as file:
            if not stat.S_ISREG(os.fstat(descriptor).st_mode):
                raise StoreError(f"{path}: found something else than a file; expected the lease of a graph. Remove it")
            _lock(descriptor, path)
            new = json.dumps(change(_parsed(file.read(MAX_LEASE_BYTES + 1)))).encode()
            file.seek(0)
            file.truncate()
            file.write(new)
    except OSError as error:
        raise StoreError(
            f"{path} cannot be written: {error.strerror}; it is the lease of a graph: if no job is at work, remove it"
        ) from error


def _lock(descriptor: int, path: Path) -> None:
    """Lock a file that others lock for a moment only.

    Raises:
        StoreLocked: somebody does not let go of it.
    """
    for _ in range(LOCK_TRIES):
        try:
            return fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            time.sleep(LOCK_PAUSE)
    raise StoreLocked(f"{path} is locked by a process that does not let go of it; find it with: fuser {path}")


def _parsed(content: bytes) -> dict[str, Any]:
    """Return what a lease says; nothing if its writer was cut off, or if it is no lease."""
    try:
        found = json.loads(content) if len(content) <= MAX_LEASE_BYTES else {}
        return found if isinstance(found, dict) else {}
    except (ValueError, RecursionError):
        return {}


def _is_over(found: dict[str, Any], host: str, pid: int) -> bool:
    """Say whether an owner is gone, or gave no sign of life in time; a sign from the future counts as none."""
    beat = found.get("beat")
    if isinstance(beat, bool) or not isinstance(beat, int | float):
        return True
    now = time.time()
    return is_gone(host, pid, found.get("started")) or not now - STALE_SECONDS <= beat <= now + STALE_SECONDS


@contextmanager
def _beating(renew: Callable[[], None]) -> Iterator[Check]:
    """Renew in a thread while the block runs."""
    stop = threading.Event()

    def beat() -> None:
        while not stop.wait(BEAT_SECONDS):
            try:
                renew()
            except StoreError:
                return  # `check` meets the same error, where it can be told

    thread = threading.Thread(target=beat, name="lease", daemon=True)
    thread.start()
    try:
        yield renew
    finally:
        stop.set()
        thread.join()


@contextmanager
def _on_server(uri: str) -> Iterator[Check]:
    from kgrec.store.neo4j.connect import answering
    from kgrec.store.neo4j.database import Database
    from kgrec.store.neo4j.lease import held

    database = Database(uri)
    try:
        database.constrain({"_Kgrec": "id"})
        with database.session(write=True) as session, held(session, "job", uri) as lease:
            lock = threading.Lock()  # a session serves one thread at a time

            def renew() -> None:
                with lock, answering(uri):
                    step = next(lease.steps)
                    session.execute_write(lambda work: lease.renew(work, step))

            try:
                with _beating(renew) as check:
                    yield check
            except BaseException:
                with suppress(StoreError):  # the error that counts is the first
                    lease.give_back()
                raise
    finally:
        database.close()
