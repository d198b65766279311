"""A loss of local texture without a discriminator: a sliced Wasserstein distance of patches, with gradients."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

SIDE = 7  # of a patch, in pixels
LEVELS = 2  # of resolution: as it is, and halved


def texture_loss(image: Tensor, real: Tensor, normal: Tensor) -> Tensor:
    """Return how far the texture of a set of images is from that of as many real ones, a number of 0 or more.

    What a blur of 2 pixels takes away from the images is projected, patch by patch, onto random directions; the loss
    is the Wasserstein-1 distance of the projected values, as a share of their spread in the real images. It knows no
    place and no anatomy, and any two images of one texture are alike to it. It is close to the distance that
    `cmr_sliced_wasserstein` measures: of a model trained with it, that figure is no independent judge of texture.

    Args:
        image: (B, C, H, W), of at least 7 x 7 pixels.
        real: (B, C, H, W).
        normal: (49 D or more,) standard normal numbers, the directions.

    Source: Heitz et al. 2021, arXiv:2006.07229, on pixels as in Elnekave and Weiss 2022, arXiv:2203.11862.
    """
    kernels = normal.flatten()[: normal.numel() // SIDE**2 * SIDE**2].view(-1, 1, SIDE, SIDE)
    kernels = kernels / kernels.flatten(1).norm(dim=1)[:, None, None, None]
    total = image.new_zeros(())
    pair = torch.cat([image, real]).float().flatten(0, 1)[:, None]
    with torch.autocast(image.device.type, enabled=False):
        for _ in range(LEVELS):
            if min(pair.shape[-2:]) < SIDE:
                break
            fine = pair - F.avg_pool2d(F.pad(pair, (1, 1, 1, 1), mode="replicate"), 3, stride=1)
            found, wanted = F.conv2d(fine, kernels.float()).transpose(0, 1).flatten(2).chunk(2, dim=1)
            found, wanted = found.flatten(1), wanted.flatten(1)  # (D, values)
            spread = wanted.std(dim=1).clamp(min=1e-3)
            gap = (found.sort(dim=1).values - wanted.sort(dim=1).values).abs().mean(dim=1)
            total = total + (gap / spread).mean()
            pair = F.avg_pool2d(pair, 2)
    return total
