"""A loss of texture: nothing for equal sets however they are arranged, much for blur, and gradients that undo it."""

from __future__ import annotations

import torch
from torch.nn import functional as F

from cmrsynth.gan.texture_loss import texture_loss


def normal(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


def test_it_is_zero_for_one_set_in_any_order_and_small_for_another_of_its_texture() -> None:
    images, directions = normal(4, 1, 16, 16), normal(4, 256, seed=9)
    assert texture_loss(images, images, directions) == 0
    assert texture_loss(images, images.flip(0), directions) < 1e-6
    assert texture_loss(images + 0.5, images, directions) < 1e-5  # brightness is no texture
    alike = texture_loss(normal(4, 1, 16, 16, seed=1), images, directions)
    blurred = texture_loss(F.avg_pool2d(images, 3, 1, 1), images, directions)
    rough = texture_loss(2 * images, images, directions)
    assert alike < 0.5 * min(blurred, rough)


def test_its_gradient_makes_a_blurred_image_sharp() -> None:
    real = normal(4, 1, 16, 16)
    images = 0.1 * normal(4, 1, 16, 16, seed=1)
    images.requires_grad_()
    optimizer = torch.optim.Adam([images], lr=0.05)
    for step in range(60):
        optimizer.zero_grad()
        texture_loss(images, real, normal(2, 256, seed=step)).backward()
        optimizer.step()
    assert 0.6 < images.std() / real.std() < 1.25  # it began at 0.1


def test_channels_of_small_latents_are_judged_one_by_one() -> None:
    latents = normal(2, 4, 8, 8)  # half their size is smaller than a patch
    loss = texture_loss(0.5 * latents, latents, normal(2, 256))
    assert loss.isfinite()
    assert loss > 0.1
