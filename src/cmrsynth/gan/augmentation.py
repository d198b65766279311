"""Augmentation of what a discriminator sees, so that a small data set is not learned by heart.

Real and generated images are augmented alike and gradients pass through, so that the generator does not learn the
augmentations as long as they are left out often enough.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

DRAWS = 9  # uniform numbers that `augment` takes per example
LARGEST_SHIFT = 1 / 8  # of the side
CUTOUT_SIDE = 1 / 2  # of the side


def augment(image: Tensor, mask: Tensor | None, uniform: Tensor, probability: float) -> tuple[Tensor, Tensor | None]:
    """Return images and masks with their brightness and contrast changed, shifted, and with a square cut out.

    Args:
        image: (B, C, H, W) in [-1, 1].
        mask: (B, K, H, W) or None; it is shifted with its image and otherwise left alone.
        uniform: (B, at least 9) in [0, 1), all that is random here.
        probability: of each of the three augmentations, in [0, 1].

    Source: Zhao et al. 2020, arXiv:2006.10738 (colour without saturation: our images are grey); applied
    with a probability as in Karras et al. 2020, arXiv:2006.06676.
    """
    if probability <= 0:
        return image, mask
    colour, shift, cut = (uniform[:, :3] < probability).T
    image = _recolour(image, torch.where(colour[:, None], uniform[:, 3:5] - 0.5, 0.0))
    shifts = torch.where(shift[:, None], 2 * uniform[:, 5:7] - 1, 0.0)
    image = _shift(image, shifts)
    mask = None if mask is None else _shift(mask, shifts)
    return _cut_out(image, uniform[:, 7:9], cut), mask


def _recolour(image: Tensor, change: Tensor) -> Tensor:
    """Add change[:, 0] in [-.5, .5), then scale the distance from the mean by 1 + change[:, 1]."""
    brightness, contrast = change[:, :, None, None, None].unbind(1)
    image = image + brightness
    mean = image.mean((1, 2, 3), keepdim=True)
    return mean + (image - mean) * (1 + contrast)


def _shift(image: Tensor, shifts: Tensor) -> Tensor:
    """Move (B, C, H, W) by whole pixels, shifts (B, 2) in [-1, 1] of the largest; what comes in is zero."""
    height, width = image.shape[-2:]
    largest = round(height * LARGEST_SHIFT)
    moves = (shifts * (largest + 0.5)).round().clamp(-largest, largest).long() + largest
    rows = torch.arange(height, device=image.device) + moves[:, :1]
    columns = torch.arange(width, device=image.device) + moves[:, 1:]
    padded = F.pad(image, (largest,) * 4).movedim(1, -1)
    example = torch.arange(len(image), device=image.device)[:, None, None]
    return padded[example, rows[:, :, None], columns[:, None, :]].movedim(-1, 1)


def _cut_out(image: Tensor, centre: Tensor, applied: Tensor) -> Tensor:
    """Set a square around centre (B, 2) in [0, 1) to zero where `applied` (B,)."""
    inside = []
    for axis, side in enumerate(image.shape[-2:]):
        place = (torch.arange(side, device=image.device) + 0.5) / side
        inside.append((place - centre[:, axis, None]).abs() < CUTOUT_SIDE / 2)
    square = inside[0][:, :, None] & inside[1][:, None, :] & applied[:, None, None]
    return image.masked_fill(square[:, None], 0.0)


def adapted_probability(probability: float, sign: float, *, target: float, images: int, span: int) -> float:
    """Return the probability of augmentation after a step, raised where the discriminator is too sure of real images.

    Args:
        probability: before the step, in [0, 1].
        sign: mean sign of its scores of real images: 0 where it guesses, 1 where it knows them all.
        target: the sign to hold.
        images: real images of the step.
        span: images over which the probability can go from 0 to 1.

    Source: Karras et al. 2020, arXiv:2006.06676, section 3.

    >>> adapted_probability(0.5, 0.9, target=0.6, images=10, span=100)
    0.6
    >>> adapted_probability(0.05, 0.3, target=0.6, images=10, span=100)
    0.0
    """
    step = images / span if sign > target else -images / span
    return min(max(probability + step, 0.0), 1.0)
