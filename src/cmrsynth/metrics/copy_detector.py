"""A network that recognises an image again after a flip, a turn, a crop, a blur or other brightness.

It is trained on the real training images alone: two disguises of one image must lie close, disguises of images of
different patients apart. What it learns is what tells one image from another, not what makes one look real.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    import torch

SIDE = 64  # pixels the network sees
DIMENSIONS = 128
BATCH = 64
TEMPERATURE = 0.07
LEARNING_RATE, WEIGHT_DECAY = 4e-3, 1e-4
TILT, ZOOM, SHIFT = np.deg2rad(10), 0.3, 0.15  # half-widths of the disguises: radians, log scale, share of the side
GAIN, OFFSET, BLUR, NOISE = 0.3, 0.15, 1.2, 0.05  # log gain, offset, largest sigma in pixels, largest deviation
_WIDTHS = (16, 32, 64, 128, 128)
_WEIGHTS, _DISGUISES = 401, 402  # random streams


def build_detector(seed: int) -> torch.nn.Module:
    """Return the untrained network: (B, 1, 64, 64) to (B, 128), its weights drawn from `seed` alone."""
    import torch
    from torch import nn

    layers: list[nn.Module] = []
    with torch.random.fork_rng(devices=[]):
        for before, after, stride in zip((1, *_WIDTHS), _WIDTHS, (2, 2, 2, 2, 1), strict=False):
            layers += [nn.Conv2d(before, after, 3, stride, 1, bias=False), nn.BatchNorm2d(after), nn.LeakyReLU(0.1)]
        # four quarters: a mean over the whole image forgets where things are, and finds crops less well
        network = nn.Sequential(*layers, nn.AdaptiveAvgPool2d(2), nn.Flatten(), nn.Linear(4 * _WIDTHS[-1], DIMENSIONS))
    generator = _generator(seed, _WEIGHTS)
    for module in network:
        if isinstance(module, nn.Conv2d | nn.Linear):
            nn.init.kaiming_normal_(module.weight, a=0.1, generator=generator)
            if module.bias is not None:
                nn.init.zeros_(module.bias)
    return network.to(memory_format=torch.channels_last)


def train_detector(
    network: torch.nn.Module,
    images: np.ndarray,
    patient_id: np.ndarray,
    *,
    updates: int,
    seed: int,
    watch: Callable[[range], range] = lambda steps: steps,
) -> None:
    """Train the network of `build_detector` in place.

    Args:
        network: the network.
        images: (N, H, W) float in [0, 1], the real training images.
        patient_id: (N,); images of one patient are neither drawn together nor pushed apart.
        updates: optimiser updates.
        seed: names the batches and the disguises.
        watch: wraps the range of updates, e.g. to show progress.

    Raises:
        ValueError: fewer than two patients, or not one patient per image.

    Source: Dar et al. 2024, arXiv:2402.01054; the loss of Chen et al. 2020, arXiv:2002.05709.
    """
    import torch

    known, patient = np.unique(np.asarray(patient_id), return_inverse=True)
    if len(known) < 2 or len(patient) != len(images):
        raise ValueError(f"images: {len(images)} of {len(known)} patients; give one patient per image, two at least")
    stack, patients = resized(images), torch.from_numpy(patient)
    optimizer = torch.optim.AdamW(network.parameters(), lr=LEARNING_RATE, weight_decay=WEIGHT_DECAY)
    warmup = max(1, updates // 20)
    schedule = torch.optim.lr_scheduler.LambdaLR(
        optimizer, lambda u: min(1.0, (u + 1) / warmup) * 0.5 * (1 + np.cos(np.pi * min(1.0, u / updates)))
    )
    generator = _generator(seed, _DISGUISES)
    network.train()
    for _ in watch(range(updates)):
        rows = torch.randperm(len(stack), generator=generator)[:BATCH]
        views = torch.cat([disguised(stack[rows], generator) for _ in range(2)])
        loss = nt_xent(network(standardised(views)), patients[rows])
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        optimizer.step()
        schedule.step()
    network.eval()


def nt_xent(embeddings: torch.Tensor, patients: torch.Tensor, temperature: float = TEMPERATURE) -> torch.Tensor:
    """Return the contrastive loss of two views of B images.

    Args:
        embeddings: (2B, d), first views then second views.
        patients: (B,) int; the other images of a patient are left out of the comparison.
        temperature: of the softmax over cosine similarities.

    Source: Chen et al. 2020, arXiv:2002.05709, equation 1.
    """
    import torch

    count = len(patients)
    unit = torch.nn.functional.normalize(embeddings, dim=1)
    logits = unit @ unit.T / temperature
    target = torch.arange(2 * count).roll(count)
    twice = patients.repeat(2)
    ignored = twice[:, None] == twice[None, :]
    ignored[torch.arange(2 * count), target] = False
    return torch.nn.functional.cross_entropy(logits.masked_fill(ignored, float("-inf")), target)


def embed(network: torch.nn.Module, images: np.ndarray) -> np.ndarray:
    """Return (N, 128) float32 unit vectors of (N, H, W) images in [0, 1]."""
    import torch

    parts = []
    with torch.inference_mode():
        for start in range(0, len(images), BATCH):
            found = network(standardised(resized(images[start : start + BATCH])))
            parts.append(torch.nn.functional.normalize(found, dim=1).numpy())
    return np.concatenate(parts)


def closest_similarity(
    network: torch.nn.Module, query: np.ndarray, reference: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Return the cosine similarity of each query to the most similar reference image, and which one that is.

    The query is tried in all eight flips and right-angle turns.

    Args:
        network: a trained detector.
        query: (N, H, W) float in [0, 1], square.
        reference: (M, H, W) float in [0, 1].

    Returns:
        (N,) float32 in [-1, 1] and (N,) int.
    """
    known = embed(network, reference)
    best, index = np.full(len(query), -2, np.float32), np.zeros(len(query), int)
    for turns in range(4):
        turned = np.rot90(query, turns, (1, 2))
        for view in (turned, turned[:, :, ::-1]):
            found = embed(network, view) @ known.T
            here = found.argmax(1)
            value = found[np.arange(len(query)), here]
            index, best = np.where(value > best, here, index), np.maximum(best, value)
    return best, index


def disguised(images: torch.Tensor, generator: torch.Generator) -> torch.Tensor:
    """Return (B, 1, H, W) images, each tilted, moved, cropped, dimmed, blurred and made noisy at random.

    Flips and right-angle turns are left out: `closest_similarity` tries them all, so they need not be learned.
    """
    import torch

    count, side = len(images), images.shape[-1]
    draw = torch.rand((8, count), generator=generator)
    signed = 2 * draw - 1
    angle, zoom = signed[0] * TILT, torch.exp(signed[1] * ZOOM)
    cosine, sine = torch.cos(angle) * zoom, torch.sin(angle) * zoom
    theta = torch.stack(
        [torch.stack([cosine, -sine, signed[2] * SHIFT], 1), torch.stack([sine, cosine, signed[3] * SHIFT], 1)], 1
    )
    grid = torch.nn.functional.affine_grid(theta, list(images.shape), align_corners=False)
    moved = torch.nn.functional.grid_sample(images, grid, padding_mode="border", align_corners=False)
    blurred = _blurred(moved, draw[4] * BLUR * side / SIDE)
    gain, offset = torch.exp(signed[5] * GAIN), signed[6] * OFFSET
    noise = torch.randn(images.shape, generator=generator) * (draw[7] * NOISE)[:, None, None, None]
    return (blurred * gain[:, None, None, None] + offset[:, None, None, None] + noise).clamp(0, 1)


def _blurred(images: torch.Tensor, sigma: torch.Tensor) -> torch.Tensor:
    """Return images (B, 1, H, W) under Gaussians of their own width (B,)."""
    import torch

    reach = torch.arange(-4.0, 5.0)
    kernel = torch.exp(-0.5 * (reach / sigma.clamp_min(1e-3)[:, None]) ** 2)
    kernel = kernel / kernel.sum(1, keepdim=True)
    rows = images.transpose(0, 1)  # one group per image
    for shape, padding in (((-1, 1, 9, 1), (0, 0, 4, 4)), ((-1, 1, 1, 9), (4, 4, 0, 0))):
        padded = torch.nn.functional.pad(rows, padding, mode="replicate")
        rows = torch.nn.functional.conv2d(padded, kernel.view(shape), groups=len(images))
    return rows.transpose(0, 1)


def resized(images: np.ndarray) -> torch.Tensor:
    """Return (N, 1, 64, 64) of (N, H, W) images, averaged over what a pixel covers."""
    import torch

    stack = torch.from_numpy(np.ascontiguousarray(images, np.float32))[:, None]
    if stack.shape[2:] == (SIDE, SIDE):
        return stack
    return torch.nn.functional.interpolate(stack, (SIDE, SIDE), mode="bilinear", antialias=True, align_corners=False)


def standardised(images: torch.Tensor) -> torch.Tensor:
    """Return images of mean 0 and deviation 1 each, so that gain and offset say nothing."""
    spread = images.std((1, 2, 3), keepdim=True).clamp_min(1e-4)
    return (images - images.mean((1, 2, 3), keepdim=True)) / spread


def _generator(seed: int, stream: int) -> torch.Generator:
    import torch

    return torch.Generator().manual_seed(int(np.random.default_rng([seed, stream]).integers(2**62)))
