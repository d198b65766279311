"""How near a reconstruction is to its image: the losses an autoencoder learns from, and the figures it is judged by."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor
from torch.nn import functional as F


def laplacian_distance(image: Tensor, other: Tensor, *, levels: int = 3) -> Tensor:
    """Return the L1 distance of two images' Laplacian pyramids, which counts an edge as much as a plain area.

    Args:
        image: (B, 1, H, W), sides that are multiples of `2 ** levels`.
        other: the same.
        levels: of the pyramid; finer bands weigh less, as in the source.

    Returns:
        (B,) float32.

    Source: Bojanowski et al. 2018, arXiv:1707.05776, section 3.2, with box filters in the place of Gaussians.

    >>> plain, step = torch.zeros(1, 1, 8, 8), torch.zeros(1, 1, 8, 8)
    >>> step[..., 3:] = 1  # an edge that the pyramid sees
    >>> laplacian_distance(plain, plain + 1).item() < laplacian_distance(plain, step).item()
    True
    """
    difference, total = (image - other).float(), 0.0
    for level in range(levels):
        coarse = F.avg_pool2d(difference, 2)
        band = difference - F.interpolate(coarse, scale_factor=2.0, mode="nearest")
        total = total + 2.0 ** (level - levels + 1) * band.abs().mean(dim=(1, 2, 3))
        difference = coarse
    return total


def divergence(mean: Tensor, log_variance: Tensor) -> Tensor:
    """Return the (B,) divergence of normals from the standard normal, in nats, averaged over their numbers.

    >>> divergence(torch.zeros(1, 4), torch.zeros(1, 4)).item()
    0.0
    """
    mean, log_variance = mean.float(), log_variance.float()
    return 0.5 * (mean.square() + log_variance.exp() - 1 - log_variance).flatten(1).mean(dim=1)


def reconstruction_figures(images: Tensor, reconstructions: Tensor) -> dict[str, float]:
    """Return how well images are reconstructed, each figure a mean over images.

    Args:
        images: (N, 1, H, W) in [-1, 1].
        reconstructions: the same.

    Returns:
        "psnr_db" and "ssim" (both 1 = white is the peak), and "l1" in intensities of [0, 1].
    """
    from torchmetrics.functional.image import structural_similarity_index_measure

    real, made = (x.float().cpu() / 2 + 0.5 for x in (images, reconstructions.clamp(-1, 1)))
    error = (real - made).square().mean(dim=(1, 2, 3)).clamp_min(1e-10)
    return {
        "psnr_db": float(-10 * error.log10().mean()),
        "ssim": float(structural_similarity_index_measure(made, real, data_range=1.0)),
        "l1": float((real - made).abs().mean()),
    }


@torch.no_grad()
def in_batches(function: Callable[..., Tensor], *tensors: Tensor, batch_size: int = 32) -> Tensor:
    """Return `function` of tensors with equal first dimension, computed a batch at a time, on the CPU."""
    parts = zip(*(tensor.split(batch_size) for tensor in tensors), strict=True)
    return torch.cat([function(*part).cpu() for part in parts])
