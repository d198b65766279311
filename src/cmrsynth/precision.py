"""Which number format the hardware computes well."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

PRECISIONS = ("no", "bf16", "auto")


def hardware_precision() -> str:
    """Return "bf16" where the hardware has instructions for it, else "no" (full precision).

    On a CPU without such instructions autocast to bf16 is about ten times slower than float32.
    """
    import torch

    if torch.cuda.is_available():
        return "bf16" if torch.cuda.is_bf16_supported(including_emulation=False) else "no"
    capabilities = torch.cpu.get_capabilities() if hasattr(torch.cpu, "get_capabilities") else {}
    return "bf16" if capabilities.get("avx512_bf16") or capabilities.get("amx_bf16") else "no"


@contextmanager
def computing_in(precision: str, device: str) -> Iterator[None]:
    """Let the networks compute in "no" (full precision), "bf16", or "auto": what `hardware_precision` says."""
    import torch

    bf16 = (hardware_precision() if precision == "auto" else precision) == "bf16"
    with torch.autocast(device, torch.bfloat16, enabled=bf16):
        yield
