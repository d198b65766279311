"""Which number format to train in."""

from __future__ import annotations

import torch

from cmrsynth.errors import InputError
from cmrsynth.precision import hardware_precision


def resolve_precision(wanted: str) -> str:
    """Return "no", "bf16" or "fp16" for a configured `mixed_precision`.

    "auto" is bf16 where the hardware computes it, else full precision; see `cmrsynth.precision`.

    Raises:
        InputError: fp16 was asked for on a CPU.
    """
    if wanted == "fp16" and not torch.cuda.is_available():
        raise InputError("mixed_precision", "fp16 needs a GPU", "use auto, bf16 or no")
    return hardware_precision() if wanted == "auto" else wanted
