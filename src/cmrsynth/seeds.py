"""One rule for randomness: a number that names the draw, never a global state.

Every draw has an address (seed, stream, position, ...). The same address gives the same numbers whatever the
number of processes, the batch size, or how often the job was interrupted.
"""

from __future__ import annotations

from hashlib import blake2b
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import torch


def derive_seed(*address: int | str) -> int:
    """Return a 63-bit seed for an address such as `(seed, "noise", step)`.

    >>> derive_seed(0, "noise", 1) == derive_seed(0, "noise", 1)
    True
    >>> derive_seed(0, "noise", 1) == derive_seed(0, "noise", 2)
    False
    """
    return int.from_bytes(blake2b(repr(address).encode(), digest_size=8).digest(), "big") >> 1


def torch_generator(*address: int | str) -> torch.Generator:
    """Return a CPU `torch.Generator` seeded for `address`."""
    import torch

    return torch.Generator().manual_seed(derive_seed(*address))
