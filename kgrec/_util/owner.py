"""Who holds a lock: a process of a host, told apart from a later process of the same number."""

from __future__ import annotations

import os
import re
import socket
from pathlib import Path
from typing import Final

HOST: Final = re.sub(r"[^\w.-]", "_", socket.gethostname())
"""Name of this host, in characters that a lock takes."""

_OWNER: Final = re.compile(r"([\w.-]{1,255}):(\d{1,9}):(\w{1,64})")


def parsed_owner(owner: object) -> tuple[str, int] | None:
    """Return host and process number of an owner `host:pid:unique`; None if it is anything else."""
    found = _OWNER.fullmatch(owner) if isinstance(owner, str) else None
    return (found[1], int(found[2])) if found else None


def started(pid: int | None = None) -> str | None:
    """Return when a process of this host began, this one if none is given; None if there is none, or no /proc.

    It is the boot's id and clock ticks since then, so that no clock that is set can change it.
    """
    try:
        boot = Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii")[:8]
        fields = Path(f"/proc/{os.getpid() if pid is None else pid}/stat").read_bytes().rpartition(b") ")[2].split()
        return f"{boot}:{int(fields[19])}"
    except (OSError, ValueError, IndexError):
        return None


def is_gone(host: str, pid: int, began: object) -> bool:
    """Say whether the process that wrote a lock is known to be gone; one of another host never is.

    Args:
        host, pid: of the owner.
        began: what `started` told the owner; anything else if it was not told.
    """
    if host != HOST or not os.path.exists("/proc/self"):
        return False
    return not os.path.exists(f"/proc/{pid}") or (isinstance(began, str) and started(pid) not in (began, None))
