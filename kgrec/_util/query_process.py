"""Running users' statements in child processes with limits on time, memory and rows.

A child process is kept for the next statement. It ends with this process, or when a statement exceeds a limit.
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

MEMORY_LIMIT_BYTES: Final = min(4 << 30, os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") // 2)
"""Memory limit of a statement, in bytes."""

_MAX_IDLE_PROCESSES: Final = 2
"""Maximum number of idle processes that are kept."""

_MAX_IDLE_BYTES: Final = 1 << 30
"""Memory in bytes from which a process is not kept."""

_GRACE_SECONDS: Final = 0.2
"""Seconds after the time limit in which the engine can stop by itself."""

_START_SECONDS: Final = 60.0
"""Maximum number of seconds for starting a process, and for transferring a result."""

_POLL_SECONDS: Final = 0.05
"""Seconds between two checks of a process's memory."""

_ENVIRONMENT: Final = ("PATH", "HOME", "LANG", "LC_ALL", "TZ", "LD_LIBRARY_PATH", "OMP_NUM_THREADS", "TMPDIR")
"""Environment variables that are passed to a process; none holds a password."""

_BEGIN: Final = (
    "import sys, json; given = json.loads(sys.argv[1]); sys.path += given['path']; "
    "from kgrec._util.query_child import main; main(given['parent'])"
)


class Refused(Exception):
    """The engine refused a statement; the text is the engine's message."""


class TooManyRows(Exception):
    """A statement exceeds its row limit."""


class _Ended(Exception):
    """The process ended before it answered."""


class _Child:
    """A child process that answers one request at a time."""

    def __init__(self, folder: str) -> None:
        """Start a process in a working folder; its first message says that it is ready."""
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
            TimeoutError: the request exceeded `time_limit` seconds; the caller must end the process.
            StoreError: the request exceeded the memory limit; the caller must end the process.
            _Ended: the process ended.
        """
        try:
            if not self._ready:
                self._message(time.monotonic() + _START_SECONDS)
                self._ready = True
            text = json.dumps(request).encode()
            self._to.write(HEAD.pack(len(text), 0))
            self._write(text)
            return self._message(time.monotonic() + time_limit + _GRACE_SECONDS)
        except BrokenPipeError:
            raise _Ended from None

    def is_alive(self) -> bool:
        """Return True if the process is running."""
        return self._process.poll() is None

    def memory(self) -> int:
        """Return the private memory of the process in bytes; 0 if it is unknown."""
        try:
            lines = Path(f"/proc/{self._process.pid}/status").read_text(encoding="ascii").splitlines()
        except OSError:
            return 0
        sizes = {
            name: int(rest.split()[0]) << 10
            for name, _, rest in (line.partition(":") for line in lines)
            if "kB" in rest
        }
        return sizes["RssAnon"] + sizes.get("RssShmem", 0) if "RssAnon" in sizes else sizes.get("VmRSS", 0)

    def end(self) -> str:
        """End the process and return its exit code or signal in words."""
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
        late = max(deadline, time.monotonic() + _START_SECONDS)
        return json.loads(self._read(head_length, late)), self._read(body_length, late)

    def _read(self, length: int, deadline: float) -> bytearray:
        content = bytearray(length)
        view = memoryview(content)
        with selectors.DefaultSelector() as selector:
            selector.register(self._from, selectors.EVENT_READ)
            while view:
                if selector.select(max(0.0, min(_POLL_SECONDS, deadline - time.monotonic()))):
                    count = self._from.readinto(view)  # type: ignore[attr-defined]
                    if not count:
                        raise _Ended
                    view = view[count:]
                elif time.monotonic() >= deadline:
                    raise TimeoutError
                elif self.memory() > MEMORY_LIMIT_BYTES:
                    raise StoreError(
                        f"the query was stopped because it took more than {MEMORY_LIMIT_BYTES >> 20:,} MB of memory; "
                        "restrict the query, or add LIMIT to it"
                    )
        return content


class _Children:
    """Pool of idle child processes, and the thread that starts them.

    The system kills a child with the *thread* that started it, so one thread that lives as long as this process starts
    all children.
    """

    def __init__(self) -> None:
        self._idle: deque[_Child] = deque()
        self._starter = ThreadPoolExecutor(1, "kgrec-queries")

    def acquire(self) -> _Child:
        """Return an idle process, or a new one."""
        with suppress(IndexError):
            while True:
                child = self._idle.pop()
                if child.is_alive():
                    return child
                child.end()
        return self.create(os.sep)

    def create(self, folder: str) -> _Child:
        """Return a new process with a working folder."""
        try:
            return self._starter.submit(_Child, folder).result()
        except RuntimeError:  # this process is shutting down
            return _Child(folder)

    def release(self, child: _Child) -> None:
        """Keep a process for the next statement, or end it if enough are idle or it uses too much memory."""
        if len(self._idle) < _MAX_IDLE_PROCESSES and child.memory() < _MAX_IDLE_BYTES:
            self._idle.append(child)
        else:
            child.end()

    def end(self) -> None:
        """End the idle processes."""
        with suppress(IndexError):
            while True:
                self._idle.pop().end()


_children = _Children()
_inherited: Final[list[_Children]] = []
"""Pools of the processes that this process was forked from; this process must not end them."""


def _forget() -> None:
    global _children
    _inherited.append(_children)
    _children = _Children()


os.register_at_fork(after_in_child=_forget)
atexit.register(lambda: _children.end())


def _working_folder() -> str:
    """Return the working folder, or the root folder if it was removed."""
    try:
        return os.getcwd()
    except FileNotFoundError:
        return os.sep


def warm_up() -> None:
    """Start an idle process for a statement that follows soon; if that fails, the statement reports the error."""
    with suppress(OSError):
        _children.release(_children.create(os.sep))


def run(request: dict[str, Any], time_limit: float) -> pa.Table:
    """Return the result of a statement that runs in a child process.

    Args:
        request: the request that `kgrec._util.query_child` answers.
        time_limit: time limit in seconds.

    Raises:
        TimeoutError: the statement exceeded the time limit.
        TooManyRows: the statement exceeded the row limit.
        Refused: the engine refused the statement; the text is the engine's message.
        StoreError: the statement exceeded the memory limit, or the engine crashed.
    """
    import pyarrow as pa

    children = _children
    try:
        child = children.create(_working_folder()) if request["unsafe"] else children.acquire()
    except OSError as error:
        raise StoreError(f"the process that runs queries cannot be started: {error.strerror or error}") from error
    try:
        head, body = child.ask(request, time_limit)
    except _Ended:
        how = child.end()
        raise StoreError(f"the engine crashed while it ran the query ({how}); nothing was changed") from None
    except BaseException:
        child.end()
        raise
    if request["unsafe"]:
        child.end()
    else:
        children.release(child)
    if head.get("too_many"):
        raise TooManyRows
    if "refused" in head:
        raise Refused(head["refused"])
    with pa.ipc.open_stream(pa.py_buffer(body)) as stream:
        return stream.read_all()
