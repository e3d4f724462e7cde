"""Job lock on a server: a marker in the database that a thread renews while the job runs.

The next job takes over a marker whose owner has ended or has not renewed it in time.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import Final

from kgrec.errors import StoreError
from kgrec.store.neo4j.connect import answering
from kgrec.store.neo4j.database import Database
from kgrec.store.neo4j.lease import hold

RENEWAL_SECONDS: Final = 5.0
"""Seconds between two renewals of the marker."""


@contextmanager
def leased_on_server(uri: str) -> Iterator[Callable[[], None]]:
    """Hold the job lock of a server during the block; see `kgrec.store.job_lock.leased`."""
    database = Database(uri)
    try:
        database.constrain({"_Kgrec": "id"})
        with database.session(write=True) as session, hold(session, "job", uri) as lease:
            lock = threading.Lock()  # a session serves one thread at a time

            def renew() -> None:
                with lock, answering(uri):
                    step = next(lease.steps)
                    session.execute_write(lambda work: lease.renew(work, step))

            try:
                with _renewed(renew) as check:
                    yield check
            except BaseException:
                with suppress(StoreError):  # report the first error
                    lease.release()
                raise
    finally:
        database.close()


@contextmanager
def _renewed(renew: Callable[[], None]) -> Iterator[Callable[[], None]]:
    """Call `renew` regularly in a thread while the block runs; yield `renew`."""
    stop = threading.Event()

    def repeat() -> None:
        while not stop.wait(RENEWAL_SECONDS):
            try:
                renew()
            except StoreError:
                return  # the caller's next check raises the same error

    thread = threading.Thread(target=repeat, name="job lock", daemon=True)
    thread.start()
    try:
        yield renew
    finally:
        stop.set()
        thread.join()
