"""Training data in memory, and the random draws of each example, addressed by its position in the run.

Position p of a run is the p-th example it ever sees. Which row that is, its noise, its time and what is withheld
from it depend on (seed, p) alone. So two processes with batch size B see exactly what one with 2 B sees, and a
resumed run continues as if it had never stopped.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import functional as F

from cmrsynth.data.loading import SliceSet
from cmrsynth.labels import NUM_LABELS, one_hot
from cmrsynth.models import ConditionEncoder
from cmrsynth.seeds import torch_generator
from cmrsynth.training.config import TrainingConfig


@dataclass(frozen=True)
class TrainingSlices:
    """A split as tensors.

    Args:
        images: (N, 1, H, W) in [-1, 1].
        labels: (N, H, W) uint8.
        conditions: (N, C) rows of `ConditionEncoder.encode`.
        missing: (C,), the row in which nothing is given.
        condition_of_column: (C,) int64, which condition a column belongs to.
        prompts: (P, T) embeddings of the distinct prompts, which go to the last T columns; T is 0 without prompts.
        prompt_of_row: (N, V) int64, prompts of each slice, the whole one first.
    """

    images: Tensor
    labels: Tensor
    conditions: Tensor
    missing: Tensor
    condition_of_column: Tensor
    prompts: Tensor = field(default_factory=lambda: torch.zeros(0, 0))
    prompt_of_row: Tensor = field(default_factory=lambda: torch.zeros(0, 0, dtype=torch.int64))

    @classmethod
    def from_slices(
        cls, slices: SliceSet, conditions: Tensor, encoder: ConditionEncoder, **prompts: Tensor
    ) -> TrainingSlices:
        """Return the tensors of `slices` with their rows of conditions, as `encoder` made them, and their prompts."""
        images = torch.from_numpy(slices.images)[:, None] * 2 - 1
        labels = torch.from_numpy(slices.masks)
        return cls(images, labels, conditions, encoder.missing, encoder.condition_of_column, **prompts)

    def __len__(self) -> int:
        return len(self.images)


@dataclass(frozen=True)
class Withholding:
    """Shares of examples from which conditions are withheld.

    Args:
        everything: mask and all conditions.
        mask: of the others, the mask alone.
        condition: of the others, each condition by itself.
        classes: of the masks that are given, those of which a random half of the classes is withheld.
        prompt_parts: of the prompts, those with random parts left out.
        beside_prompt: of the examples with a prompt, those whose other conditions, but not the mask, are withheld.
    """

    everything: float = 0.0
    mask: float = 0.0
    condition: float = 0.0
    classes: float = 0.0
    prompt_parts: float = 0.0
    beside_prompt: float = 0.0

    @classmethod
    def of(cls, config: TrainingConfig) -> Withholding:
        """Return the shares that a training is configured with."""
        return cls(
            everything=config.condition_dropout,
            mask=config.mask_dropout,
            condition=config.attribute_dropout,
            classes=config.class_dropout,
            prompt_parts=config.prompt_part_dropout,
            beside_prompt=config.beside_prompt_dropout,
        )


class Batch(NamedTuple):
    """What one forward pass needs; every number in it is decided by the examples' positions in the run.

    Args:
        image: (B, 1, H, W) in [-1, 1].
        mask: (B, K, H, W) one-hot, zeros where withheld.
        conditions: (B, C) rows of `ConditionEncoder.encode`.
        noise: (B, 1, H, W), standard normal.
        time_normal: (B,), standard normal, from which the training time is made.
        latent: (B, 256), standard normal, for generators that start from a vector, and for posterior draws.
        uniform: (B, 16) in [0, 1), for augmentation.
        position: (B,) int64, the examples' positions in the run.
    """

    image: Tensor
    mask: Tensor
    conditions: Tensor
    noise: Tensor
    time_normal: Tensor
    latent: Tensor
    uniform: Tensor
    position: Tensor

    def to(self, device: torch.device) -> Batch:
        """Return the batch on `device`."""
        return Batch(*(tensor.to(device, non_blocking=True) for tensor in self))


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
    examples = [_draw_example(data, position, seed, withholding, shift) for position in positions]
    image, label, kept, conditions, noise, time, latent, uniform = (torch.stack(x) for x in zip(*examples, strict=True))
    mask = one_hot(label) * kept[:, :, None, None]
    return Batch(image, mask, conditions, noise, time, latent, uniform, torch.tensor(positions))


def _draw_example(
    data: TrainingSlices, position: int, seed: int, withholding: Withholding, shift: int
) -> tuple[Tensor, ...]:
    """Return image, label map, classes given (K,), conditions, and all noise of the example at `position`."""
    row, generator = row_at(position, len(data), seed), torch_generator(seed, "example", position)
    noise = torch.randn(data.images.shape[1:], generator=generator)
    time = torch.randn((), generator=generator)
    conditions = int(data.condition_of_column.max()) + 1 if len(data.condition_of_column) else 0
    chances = torch.rand(2 + conditions, generator=generator)
    move = torch.randint(-shift, shift + 1, (2,), generator=generator).tolist()
    latent, uniform = torch.randn(256, generator=generator), torch.rand(16, generator=generator)
    subset = torch.rand(NUM_LABELS, generator=generator)
    of_prompt = torch.rand(3, generator=generator)  # drawn last: models without prompts keep the draws they had
    nothing = chances[0] < withholding.everything
    withheld = (nothing | (chances[2:] < withholding.condition))[data.condition_of_column]
    told, withheld = _with_prompt(data, row, withheld, of_prompt, withholding)
    kept = torch.ones(NUM_LABELS)
    if subset[0] < withholding.classes:
        kept[1:] = (subset[1:] < 0.5).float()
        kept[0] = kept[1:].prod()  # background is known only where every class is
    if nothing or chances[1] < withholding.mask:
        kept = torch.zeros(NUM_LABELS)
    return (
        _shifted(data.images[row], move, shift),
        _shifted(data.labels[row][None].float(), move, shift)[0],
        kept,
        torch.where(withheld, data.missing, told),
        noise,
        time,
        latent,
        uniform,
    )


def _with_prompt(
    data: TrainingSlices, row: int, withheld: Tensor, uniform: Tensor, withholding: Withholding
) -> tuple[Tensor, Tensor]:
    """Return the row's conditions (C,) with one of its prompts, and which columns (C,) are withheld."""
    width = data.prompts.shape[1]
    if not width:
        return data.conditions[row], withheld
    prompts, which = data.prompt_of_row[row], 0
    if uniform[0] < withholding.prompt_parts:
        which = 1 + int(uniform[1] * (len(prompts) - 1))
    told = torch.cat([data.conditions[row][:-width], data.prompts[prompts[which]]])
    if uniform[2] < withholding.beside_prompt and not withheld[-1]:
        withheld = torch.cat([torch.ones_like(withheld[:-width]), withheld[-width:]])
    return told, withheld


def _shifted(image: Tensor, move: Sequence[int], largest: int) -> Tensor:
    """Return (1, H, W) moved by whole pixels: interpolation would teach the model a blurred texture."""
    if largest == 0:
        return image
    height, width = image.shape[-2:]
    padded = F.pad(image[None], (largest,) * 4, mode="reflect")[0]
    return padded[:, largest + move[0] : largest + move[0] + height, largest + move[1] : largest + move[1] + width]
