"""Which number format to train in."""

from __future__ import annotations

import torch

from cmrsynth.errors import InputError


def resolve_precision(wanted: str) -> str:
    """Return "no", "bf16" or "fp16" for a configured `mixed_precision`.

    "auto" is bf16 where the hardware computes it, else full precision: on a CPU without bf16 instructions
    autocast trains about ten times slower than fp32.

    Raises:
        InputError: fp16 was asked for on a CPU.
    """
    cuda = torch.cuda.is_available()
    if wanted == "fp16" and not cuda:
        raise InputError("mixed_precision", "fp16 needs a GPU", "use auto, bf16 or no")
    if wanted != "auto":
        return wanted
    if cuda:
        return "bf16" if torch.cuda.is_bf16_supported(including_emulation=False) else "no"
    capabilities = torch.cpu.get_capabilities() if hasattr(torch.cpu, "get_capabilities") else {}
    return "bf16" if capabilities.get("avx512_bf16") or capabilities.get("amx_bf16") else "no"
