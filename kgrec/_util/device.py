"""The device (GPU or CPU) for tensor computations, and its memory."""

from __future__ import annotations

import os


def best_device(*usable: str) -> str:
    """Return the first of the `usable` devices ("cuda", "mps") that this machine has, else "cpu"."""
    import torch

    here = {"cuda": torch.cuda.is_available(), "mps": torch.backends.mps.is_available()}
    return next((name for name in usable if here[name]), "cpu")


def device_memory(device: str) -> int:
    """Return the total memory of a device in bytes: of the GPU, or of the machine for the CPU.

    It is the total and not the free memory, since free memory varies and results must not depend on it.
    """
    if device == "cuda":
        import torch

        return int(torch.cuda.mem_get_info()[1])
    return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
