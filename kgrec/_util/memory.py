"""Memory limits of this process, and detection of out-of-memory errors of any library."""

from __future__ import annotations

import errno
import os
import re
import signal
import sys
from collections.abc import Callable
from contextlib import suppress
from typing import Final

from kgrec._util.streams import write_stderr

MIN_MEMORY_BYTES: Final = 768 << 20
"""Minimum address space in bytes that the libraries need."""

_SIGNS: Final = re.compile(
    r"cannot allocate memory|failed to map segment|bad_alloc|bad allocation|malloc of size|realloc of size"
    r"|can't allocate memory|not enough memory|out of memory|unable to allocate|can't start new thread"
    r"|buffer manager exception: (mmap|unable|failed)|cannot create thread|resource temporarily unavailable",
    re.IGNORECASE,
)
_ABORTED: Final = (-signal.SIGABRT, -signal.SIGSEGV, -signal.SIGBUS, 127)
"""Exit codes of a process whose library ran out of memory; 127 is the C library's."""

_PR_SET_PDEATHSIG: Final = 1
_KINDS: Final = (RuntimeError, ImportError, OSError, SystemError)


def address_space_limit() -> int | None:
    """Return the address space in bytes that `ulimit -v` allows this process; None without a limit."""
    try:
        import resource
    except ImportError:
        return None
    most, _ = resource.getrlimit(resource.RLIMIT_AS)
    return None if most == resource.RLIM_INFINITY else most


def address_space_left() -> int | None:
    """Return the address space in bytes that this process has left; None without a limit."""
    most = address_space_limit()
    if most is None:
        return None
    try:
        with open("/proc/self/statm", encoding="ascii") as file:
            taken = int(file.read().split()[0]) * os.sysconf("SC_PAGE_SIZE")
    except (OSError, ValueError):
        taken = 0
    return max(0, most - taken)


def is_out_of_memory(error: BaseException | None) -> bool:
    """Return True if an error or one of its causes says that memory ran out, in any library."""
    seen = 0
    while error is not None and seen < 20:
        if _reports_out_of_memory(error):
            return True
        error, seen = error.__cause__ or error.__context__, seen + 1
    return False


def _reports_out_of_memory(error: BaseException) -> bool:
    if isinstance(error, MemoryError):
        return True
    if isinstance(error, OSError) and error.errno is not None:
        return error.errno == errno.ENOMEM
    is_foreign = isinstance(error, _KINDS) or type(error).__module__.startswith("pyarrow")
    return is_foreign and bool(_SIGNS.search(str(error)))


def run_watched(work: Callable[[], object]) -> int:
    """Run `work` in a child process and return its exit code; report if a library ended it for lack of memory.

    Libraries that cannot allocate memory abort or crash, and print messages to stderr, which are discarded.
    """
    parent, child = os.getpid(), os.fork()
    if not child:
        die_with_parent(parent)
        sys.stderr = os.fdopen(os.dup(2), "w", buffering=1, errors="backslashreplace")
        os.dup2(os.open(os.devnull, os.O_WRONLY), 2)
        work()
        return 0
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # a terminal interrupts both processes
    signal.signal(signal.SIGTERM, lambda number, _: os.kill(child, number))
    code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    if code in _ABORTED:
        write_stderr(f"error: {advice()}")
        return 1
    return code if code >= 0 else 128 - code


def die_with_parent(parent: int) -> None:
    """Make the system kill this process when the process `parent` ends for any reason; only Linux does it."""
    import ctypes  # imported here because it takes milliseconds

    with suppress(OSError, AttributeError):  # a system without prctl
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
    if os.getppid() != parent:
        os._exit(1)


def advice() -> str:
    """Return the error message for lack of memory."""
    most = address_space_limit()
    found = "" if most is None else f" (ulimit -v allows this process {most >> 20:,} MB)"
    return (
        f"memory ran out{found}; nothing was changed. Allow more memory, close other programs, or reduce the work: "
        "fewer signals (--set signals=popularity,ease), a smaller source"
    )
