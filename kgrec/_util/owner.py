"""Owners of locks: a process on a host, distinguished from a later process with the same pid."""

from __future__ import annotations

import os
import re
import socket
from pathlib import Path
from typing import Final

HOST: Final = re.sub(r"[^\w.-]", "_", socket.gethostname())
"""Name of this host, with characters outside `[\\w.-]` replaced."""

_OWNER: Final = re.compile(r"([\w.-]{1,255}):(\d{1,9}):(\w{1,64})")


def parsed_owner(owner: object) -> tuple[str, int] | None:
    """Return the host and the pid of an owner `host:pid:unique`; None for any other value."""
    match = _OWNER.fullmatch(owner) if isinstance(owner, str) else None
    return (match[1], int(match[2])) if match else None


def started(pid: int | None = None) -> str | None:
    """Return the start time of a process of this host (default: this process); None if it is unknown.

    The start time is the boot id and the clock ticks since boot, which changes of the system clock do not affect.
    """
    try:
        boot = Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii")[:8]
        fields = Path(f"/proc/{os.getpid() if pid is None else pid}/stat").read_bytes().rpartition(b") ")[2].split()
        return f"{boot}:{int(fields[19])}"
    except (OSError, ValueError, IndexError):
        return None


def has_ended(host: str, pid: int, began: object) -> bool:
    """Return True if the process that wrote a lock is known to have ended; always False for another host.

    Args:
        host, pid: host and pid of the owner.
        began: the owner's result of `started`; any other value if it was unknown.
    """
    if host != HOST or not os.path.exists("/proc/self"):
        return False
    return not os.path.exists(f"/proc/{pid}") or (isinstance(began, str) and started(pid) not in (began, None))
