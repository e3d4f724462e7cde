"""Runs users' statements in processes of their own, with limits on time, memory and rows that end them.

A process is kept for the next statement. It ends with this one, or when a statement went over a limit.
"""

from __future__ import annotations

import atexit
import json
import os
import selectors
import signal
import subprocess
import sys
import time
from collections import deque
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from kgrec._util.query_child import HEAD
from kgrec.errors import StoreError

if TYPE_CHECKING:
    import pyarrow as pa

MEMORY_LIMIT: Final = min(4 << 30, os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") // 2)
"""Bytes of memory that a statement may take."""

_KEPT: Final = 2
"""Processes that wait for the next statement at most."""

_LARGE: Final = 1 << 30
"""Bytes of memory with which a process is not kept."""

_GRACE: Final = 0.2
"""Seconds after the time limit in which the engine may stop by itself."""

_START: Final = 60.0
"""Seconds that a process may take to start, or to hand over what it found."""

_LOOK: Final = 0.05
"""Seconds between two looks at the memory of a process."""

_ENVIRONMENT: Final = ("PATH", "HOME", "LANG", "LC_ALL", "TZ", "LD_LIBRARY_PATH", "OMP_NUM_THREADS", "TMPDIR")
"""What a process is told of this one's environment: no passwords."""

_BEGIN: Final = (
    "import sys, json; given = json.loads(sys.argv[1]); sys.path += given['path']; "
    "from kgrec._util.query_child import main; main(given['parent'])"
)


class Refused(Exception):
    """The engine refused a statement; the text is its message."""


class TooManyRows(Exception):
    """A statement returned more rows than it may."""


class _Gone(Exception):
    """The process ended while it was expected to answer."""


class _Child:
    """A process that answers one request at a time."""

    def __init__(self, folder: str) -> None:
        """Start it in a folder; it is ready when its first message comes."""
        root = str(Path(__file__).resolve().parents[2])
        here = os.path.realpath(_working_folder())
        path = [p for p in sys.path if os.path.isabs(p) and os.path.realpath(p) != here and p != root]
        given = json.dumps({"path": [*path, root], "parent": os.getpid()})
        self._process = subprocess.Popen(
            [sys.executable, "-I", "-c", _BEGIN, given],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            cwd=folder,
            env={name: os.environ[name] for name in _ENVIRONMENT if name in os.environ},
            bufsize=0,
        )
        assert self._process.stdin
        assert self._process.stdout
        self._to, self._from = self._process.stdin, self._process.stdout
        self._ready = False

    def ask(self, request: dict[str, Any], time_limit: float) -> tuple[dict[str, Any], bytearray]:
        """Return the answer to a request.

        Raises:
            TimeoutError: it took longer than `time_limit` seconds; the process is gone.
            StoreError: it took more memory than it may; the process is gone.
            _Gone: the process ended.
        """
        try:
            if not self._ready:
                self._message(time.monotonic() + _START)
                self._ready = True
            text = json.dumps(request).encode()
            self._to.write(HEAD.pack(len(text), 0))
            self._write(text)
            return self._message(time.monotonic() + time_limit + _GRACE)
        except BrokenPipeError:
            raise _Gone from None

    def is_alive(self) -> bool:
        """Say whether it still runs."""
        return self._process.poll() is None

    def memory(self) -> int:
        """Return the bytes of memory that are its own; 0 where the system does not tell."""
        try:
            lines = Path(f"/proc/{self._process.pid}/status").read_text(encoding="ascii").splitlines()
        except OSError:
            return 0
        found = {
            name: int(rest.split()[0]) << 10
            for name, _, rest in (line.partition(":") for line in lines)
            if "kB" in rest
        }
        return found["RssAnon"] + found.get("RssShmem", 0) if "RssAnon" in found else found.get("VmRSS", 0)

    def end(self) -> str:
        """End it, and return how it had ended if it had."""
        self._process.poll()
        code = self._process.returncode
        self._process.kill()
        self._process.wait()
        self._to.close()
        self._from.close()
        if code is None:
            code = self._process.returncode
        return signal.Signals(-code).name if code < 0 else f"exit code {code}"

    def _write(self, text: bytes) -> None:
        view = memoryview(text)
        while view:
            view = view[self._to.write(view) or 0 :]

    def _message(self, deadline: float) -> tuple[dict[str, Any], bytearray]:
        head_length, body_length = HEAD.unpack(self._read(HEAD.size, deadline))
        late = max(deadline, time.monotonic() + _START)
        return json.loads(self._read(head_length, late)), self._read(body_length, late)

    def _read(self, length: int, deadline: float) -> bytearray:
        found = bytearray(length)
        view = memoryview(found)
        with selectors.DefaultSelector() as selector:
            selector.register(self._from, selectors.EVENT_READ)
            while view:
                if selector.select(max(0.0, min(_LOOK, deadline - time.monotonic()))):
                    count = self._from.readinto(view)  # type: ignore[attr-defined]
                    if not count:
                        raise _Gone
                    view = view[count:]
                elif time.monotonic() >= deadline:
                    raise TimeoutError
                elif self.memory() > MEMORY_LIMIT:
                    raise StoreError(
                        f"the query was stopped because it took more than {MEMORY_LIMIT >> 20:,} MB of memory; "
                        "narrow it down, or add LIMIT to it"
                    )
        return found


class _Children:
    """The processes that wait for a statement, and the thread that starts them.

    The system ends a process with the *thread* that started it, so one thread that lives as long as this process does.
    """

    def __init__(self) -> None:
        self._idle: deque[_Child] = deque()
        self._starter = ThreadPoolExecutor(1, "kgrec-queries")

    def take(self) -> _Child:
        """Return a process that is ready for a statement."""
        with suppress(IndexError):
            while True:
                child = self._idle.pop()
                if child.is_alive():
                    return child
                child.end()
        return self.new(os.sep)

    def new(self, folder: str) -> _Child:
        """Return a new process that works in a folder."""
        try:
            return self._starter.submit(_Child, folder).result()
        except RuntimeError:  # this process is about to end
            return _Child(folder)

    def keep(self, child: _Child) -> None:
        """Keep a process for the next statement, unless there are enough or it is large."""
        if len(self._idle) < _KEPT and child.memory() < _LARGE:
            self._idle.append(child)
        else:
            child.end()

    def end(self) -> None:
        """End the processes that wait."""
        with suppress(IndexError):
            while True:
                self._idle.pop().end()


_children = _Children()
_inherited: Final[list[_Children]] = []
"""Those of processes that this one was forked from: not its own to end."""


def _forget() -> None:
    global _children
    _inherited.append(_children)
    _children = _Children()


os.register_at_fork(after_in_child=_forget)
atexit.register(lambda: _children.end())


def _working_folder() -> str:
    """Return the working folder, or the root where it was removed."""
    try:
        return os.getcwd()
    except FileNotFoundError:
        return os.sep


def warm_up() -> None:
    """Start a process now, for a statement that comes soon; where none can be started, the statement says so."""
    with suppress(OSError):
        _children.keep(_children.new(os.sep))


def run(request: dict[str, Any], time_limit: float) -> pa.Table:
    """Run a statement in a process of its own.

    Args:
        request: what `kgrec._util.query_child` reads.
        time_limit: seconds.

    Raises:
        TimeoutError: it took longer.
        TooManyRows: it returned more than it may.
        Refused: the engine's message.
        StoreError: it took too much memory, or the engine ended the process.
    """
    import pyarrow as pa

    children = _children
    try:
        child = children.new(_working_folder()) if request["unsafe"] else children.take()
    except OSError as error:
        raise StoreError(f"the process that runs queries cannot be started: {error.strerror or error}") from error
    try:
        head, body = child.ask(request, time_limit)
    except _Gone:
        how = child.end()
        raise StoreError(f"the engine ended while it ran the query ({how}); nothing was changed") from None
    except BaseException:
        child.end()
        raise
    if request["unsafe"]:
        child.end()
    else:
        children.keep(child)
    if head.get("too_many"):
        raise TooManyRows
    if "refused" in head:
        raise Refused(head["refused"])
    with pa.ipc.open_stream(pa.py_buffer(body)) as stream:
        return stream.read_all()
