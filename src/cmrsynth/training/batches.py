"""Training data in memory, and the random draws of each example, addressed by its position in the run.

Position p of a run is the p-th example it ever sees. Which row that is, its noise, its time and what is withheld
from it depend on (seed, p) alone. So two processes with batch size B see exactly what one with 2 B sees, and a
resumed run continues as if it had never stopped.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

import torch
from torch import Tensor
from torch.nn import functional as F

from cmrsynth.data.loading import SliceSet
from cmrsynth.labels import one_hot
from cmrsynth.seeds import torch_generator


@dataclass(frozen=True)
class TrainingSlices:
    """A split as tensors: `images` (N, 1, H, W) in [-1, 1], `labels` (N, H, W) uint8, `attributes` (N, A) int64."""

    images: Tensor
    labels: Tensor
    attributes: Tensor

    @classmethod
    def from_slices(cls, slices: SliceSet, attributes: Tensor) -> TrainingSlices:
        """Return the tensors of `slices`; `attributes` are the indices from `MaskUNet.encode_attributes`."""
        images = torch.from_numpy(slices.images)[:, None] * 2 - 1
        return cls(images, torch.from_numpy(slices.masks), attributes)

    def __len__(self) -> int:
        return len(self.images)


@dataclass(frozen=True)
class Withholding:
    """Shares of examples from which conditions are withheld: everything; else the mask; else each attribute."""

    everything: float
    mask: float
    attribute: float


@dataclass(frozen=True)
class Batch:
    """What one forward pass needs.

    Args:
        image: (B, 1, H, W) in [-1, 1].
        mask: (B, K, H, W) one-hot, zeros where withheld.
        attributes: (B, A) int64, 0 where withheld.
        noise: (B, 1, H, W), standard normal.
        time_normal: (B,), standard normal, from which the training time is made.
    """

    image: Tensor
    mask: Tensor
    attributes: Tensor
    noise: Tensor
    time_normal: Tensor

    def to(self, device: torch.device) -> Batch:
        """Return the batch on `device`."""
        return Batch(*(getattr(self, name).to(device, non_blocking=True) for name in self.__dataclass_fields__))


def positions_of_step(micro_step: int, *, batch_size: int, rank: int, world_size: int) -> range:
    """Return the positions process `rank` works on in its `micro_step`-th micro-batch.

    >>> [list(positions_of_step(1, batch_size=2, rank=r, world_size=2)) for r in (0, 1)]
    [[4, 5], [6, 7]]
    """
    start = (micro_step * world_size + rank) * batch_size
    return range(start, start + batch_size)


@lru_cache(maxsize=4)
def _order(length: int, seed: int, epoch: int) -> list[int]:
    return torch.randperm(length, generator=torch_generator(seed, "order", epoch)).tolist()


def row_at(position: int, length: int, seed: int) -> int:
    """Return the row seen at `position`: each epoch is a permutation of all rows."""
    return _order(length, seed, position // length)[position % length]


def draw_batch(
    data: TrainingSlices, positions: Sequence[int], *, seed: int, withholding: Withholding, shift: int
) -> Batch:
    """Return the examples at `positions` with everything random about them.

    Args:
        data: the training split.
        positions: positions in the run.
        seed: the run's seed.
        withholding: shares of withheld conditions.
        shift: largest shift of image and mask, in pixels.
    """
    images, labels, masks_kept, attributes, noise, times = [], [], [], [], [], []
    for position in positions:
        row, generator = row_at(position, len(data), seed), torch_generator(seed, "example", position)
        noise.append(torch.randn(data.images.shape[1:], generator=generator))
        times.append(torch.randn((), generator=generator))
        chances = torch.rand(2 + data.attributes.shape[1], generator=generator)
        move = torch.randint(-shift, shift + 1, (2,), generator=generator).tolist()
        nothing = chances[0] < withholding.everything
        masks_kept.append(not (nothing or chances[1] < withholding.mask))
        withheld = nothing | (chances[2:] < withholding.attribute)
        attributes.append(data.attributes[row].masked_fill(withheld, 0))
        images.append(_shifted(data.images[row], move, shift))
        labels.append(_shifted(data.labels[row][None].float(), move, shift)[0])
    kept = torch.tensor(masks_kept)[:, None, None, None]
    return Batch(
        image=torch.stack(images),
        mask=one_hot(torch.stack(labels)) * kept,
        attributes=torch.stack(attributes),
        noise=torch.stack(noise),
        time_normal=torch.stack(times),
    )


def _shifted(image: Tensor, move: Sequence[int], largest: int) -> Tensor:
    """Return (1, H, W) moved by whole pixels: interpolation would teach the model a blurred texture."""
    if largest == 0:
        return image
    height, width = image.shape[-2:]
    padded = F.pad(image[None], (largest,) * 4, mode="reflect")[0]
    return padded[:, largest + move[0] : largest + move[0] + height, largest + move[1] : largest + move[1] + width]
