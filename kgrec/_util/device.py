"""Where tensors are computed, and how much memory there is for them."""

from __future__ import annotations

import os


def best_device(*usable: str) -> str:
    """Return the first of the `usable` devices ("cuda", "mps") that this machine has, or else "cpu"."""
    import torch

    here = {"cuda": torch.cuda.is_available(), "mps": torch.backends.mps.is_available()}
    return next((name for name in usable if here[name]), "cpu")


def device_memory(device: str) -> int:
    """Return all the bytes of memory that a GPU has, or for the CPU the machine.

    What is free changes from one second to the next, and with it would what is done in it, and the result.
    """
    if device == "cuda":
        import torch

        return int(torch.cuda.mem_get_info()[1])
    return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
