"""The device (GPU or CPU) for tensor computations, and its memory."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import torch


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


def has_bfloat16(device: torch.device) -> bool:
    """Return whether a device multiplies matrices in bfloat16 several times faster than in float32."""
    import torch

    return device.type == "cuda" or (device.type == "cpu" and getattr(torch.cpu, "_is_avx512_bf16_supported", bool)())
