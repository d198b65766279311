"""Can a small network tell real images from synthetic ones of patients it has not seen?

The classifier two-sample test: if both sets come from one distribution, no classifier does better than chance on
images it was not trained on. Folds are made of whole patients, so the network cannot win by recognising a heart.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from scipy.stats import rankdata

if TYPE_CHECKING:
    import torch

CROP = 48  # pixels; what the network looks at in training, so that the cost of an update does not grow with the image
BATCH = 32  # half real, half synthetic, whatever the sizes of the sets
LEARNING_RATE, WEIGHT_DECAY = 4e-3, 1e-2
_WIDTHS = (12, 16, 24, 32)  # feature maps at 1, 1, 1/2 and 1/4 of the size; 13 thousand parameters
_SMALLEST = 16  # pixels
_SCORED_AT_ONCE = 2**20  # pixels
_FOLDS, _WEIGHTS, _BATCHES = 301, 302, 303  # one stream of random numbers each


@dataclass(frozen=True)
class TwoSampleScores:
    """Out-of-fold scores of two sets; higher is more like a synthetic image.

    Scores come from another network in each fold, so only scores of one fold may be compared.

    Args:
        synthetic: (N,) float64 logits of the synthetic images.
        real: (M,) float64 logits of the real images.
        fold_synthetic: (N,) int, the fold of each synthetic image.
        fold_real: (M,) int.
    """

    synthetic: np.ndarray
    real: np.ndarray
    fold_synthetic: np.ndarray
    fold_real: np.ndarray

    def auc(self, rows_synthetic: np.ndarray | None = None, rows_real: np.ndarray | None = None) -> float:
        """Return the area under the ROC curve of the given rows (with repeats), all rows by default.

        The share of pairs (synthetic, real) of one fold in which the synthetic image has the higher score, ties
        counting one half. NaN if no fold holds both.
        """
        x, y = (slice(None) if rows is None else rows for rows in (rows_synthetic, rows_real))
        won = pairs = 0.0
        for fold in np.unique(self.fold_real):
            fake = self.synthetic[x][self.fold_synthetic[x] == fold]
            true = self.real[y][self.fold_real[y] == fold]
            won += rankdata(np.concatenate([fake, true]))[: len(fake)].sum() - len(fake) * (len(fake) + 1) / 2
            pairs += len(fake) * len(true)
        return float(won / pairs) if pairs else float("nan")


def two_sample_auc(
    synthetic: np.ndarray,
    real: np.ndarray,
    synthetic_patients: np.ndarray,
    real_patients: np.ndarray,
    *,
    folds: int = 3,
    updates: int = 150,
    seed: int = 0,
) -> float:
    """Return the out-of-fold AUC of a small network that tells synthetic from real images.

    0.5: it cannot; 1: it always can. For two real sets the standard error is about
    sqrt((P + Q + 1) / (12 P Q)) with P and Q patients, because the images of one patient are alike: compare with a
    real-against-real floor of the same sizes. Arguments, errors and source: `two_sample_scores`.
    """
    scores = two_sample_scores(
        synthetic, real, synthetic_patients, real_patients, folds=folds, updates=updates, seed=seed
    )
    return scores.auc()


def two_sample_scores(
    synthetic: np.ndarray,
    real: np.ndarray,
    synthetic_patients: np.ndarray,
    real_patients: np.ndarray,
    *,
    folds: int = 3,
    updates: int = 150,
    seed: int = 0,
    watch: Callable[[range], range] = lambda steps: steps,
) -> TwoSampleScores:
    """Return the score of every image by a network that saw no image of its patient.

    For each fold a network of 13 thousand parameters, which works at full resolution first, is trained on the other
    folds for a fixed number of updates on balanced batches of random crops, flipped at random, and scores the
    fold's whole images. Real and synthetic images of one patient stand in the same fold.

    Args:
        synthetic: (N, H, W) float in [0, 1].
        real: (M, H, W) float in [0, 1], of the same size.
        synthetic_patients: (N,) the patient whose mask each synthetic image was made from.
        real_patients: (M,) the patient of each real image.
        folds: number of folds; 2 to 4 make sense.
        updates: optimiser updates per fold.
        seed: names the folds, the weights and the batches.
        watch: wraps the range of updates, e.g. to show progress.

    Raises:
        ValueError: no (N, H, W) arrays of one size of at least 16 pixels, or too few patients for the folds.

    Source: Lopez-Paz and Oquab 2017, arXiv:1610.06545.
    """
    synthetic, real = (np.asarray(images, dtype=np.float32) for images in (synthetic, real))
    _check(synthetic, real, synthetic_patients, real_patients)
    fold_synthetic, fold_real = patient_folds(synthetic_patients, real_patients, folds=folds, seed=seed)
    scores = np.empty(len(synthetic)), np.empty(len(real))
    for fold in range(folds):
        held = fold_synthetic == fold, fold_real == fold
        score = _trained(synthetic[~held[0]], real[~held[1]], updates, (seed, fold), watch)
        for images, rows, found in zip((synthetic, real), held, scores, strict=True):
            found[rows] = score(images[rows])
    return TwoSampleScores(*scores, fold_synthetic, fold_real)


def patient_folds(
    synthetic_patients: np.ndarray, real_patients: np.ndarray, *, folds: int, seed: int
) -> tuple[np.ndarray, np.ndarray]:
    """Return the fold of every synthetic and every real image, whole patients in one fold.

    Patients are dealt in random order: first those with images of both kinds, then those with real, then those with
    synthetic images only, each to the fold with the fewest images of the kind so far.

    Raises:
        ValueError: a fold would hold no real or no synthetic images.

    >>> patient_folds(np.array(["a", "b", "b"]), np.array(["a", "c"]), folds=2, seed=0)
    (array([0, 1, 1]), array([0, 1]))
    """
    groups = np.asarray(synthetic_patients), np.asarray(real_patients)
    rng = np.random.default_rng([seed, _FOLDS])
    both = np.intersect1d(*groups)
    fold_of: dict[object, int] = {}
    filled = np.zeros((2, folds), dtype=int)
    only_real, only_synthetic = np.setdiff1d(groups[1], both), np.setdiff1d(groups[0], both)
    for kind, patients in ((1, both), (1, only_real), (0, only_synthetic)):
        for patient in rng.permutation(patients):
            fold = int(np.argmin(filled[kind]))
            fold_of[patient] = fold
            filled[:, fold] += [(group == patient).sum() for group in groups]
    if not filled.all():
        raise ValueError(
            f"{folds} folds need as many patients with real and with synthetic images; got "
            f"{len(np.unique(groups[1]))} real and {len(np.unique(groups[0]))} synthetic: take more patients, or fewer "
            "folds (at least 2)"
        )
    fold_synthetic, fold_real = (np.array([fold_of[p] for p in group], dtype=int) for group in groups)
    return fold_synthetic, fold_real


def _check(synthetic: np.ndarray, real: np.ndarray, synthetic_patients: np.ndarray, real_patients: np.ndarray) -> None:
    shapes = synthetic.shape, real.shape
    if {len(shape) for shape in shapes} != {3} or shapes[0][1:] != shapes[1][1:] or min(shapes[0][1:]) < _SMALLEST:
        raise ValueError(
            f"expected (N, H, W) and (M, H, W) images of one size of at least {_SMALLEST} pixels, got {shapes}: "
            "build both sets at one size"
        )
    for images, patients in ((synthetic, synthetic_patients), (real, real_patients)):
        if len(images) != len(patients):
            raise ValueError(f"expected a patient per image, got {len(patients)} for {len(images)} images")


def _trained(
    synthetic: np.ndarray,
    real: np.ndarray,
    updates: int,
    address: tuple[int, int],
    watch: Callable[[range], range],
) -> Callable[[np.ndarray], np.ndarray]:
    """Return a function from images to the logits of a network trained to tell the two sets apart."""
    import torch

    network = _network(address)
    sets = [_channels(images) for images in (synthetic, real)]
    # the scale of real images: taking each set's own would hide a difference of contrast
    mean, spread = sets[1].mean((0, 2, 3), keepdim=True), sets[1].std((0, 2, 3), keepdim=True).clamp_min(1e-4)
    sets = [(images - mean) / spread for images in sets]
    optimizer = torch.optim.AdamW(network.parameters(), lr=LEARNING_RATE, weight_decay=WEIGHT_DECAY)
    warmup = max(1, updates // 5)
    schedule = torch.optim.lr_scheduler.LambdaLR(
        optimizer,
        lambda update: min(1.0, (update + 1) / warmup) * 0.5 * (1 + np.cos(np.pi * min(1.0, update / updates))),
    )
    rng = np.random.default_rng([*address, _BATCHES])
    target = torch.cat([torch.ones(BATCH // 2), torch.zeros(BATCH // 2)])
    network.train()
    for _ in watch(range(updates)):
        batch = torch.cat([_crops(images, rng) for images in sets])
        loss = torch.nn.functional.binary_cross_entropy_with_logits(network(batch)[:, 0], target)
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        optimizer.step()
        schedule.step()
    network.eval()

    def score(images: np.ndarray) -> np.ndarray:
        step = max(1, _SCORED_AT_ONCE // images[0].size) if len(images) else 1
        with torch.inference_mode():
            parts = [
                network((_channels(images[start : start + step]) - mean) / spread)
                for start in range(0, len(images), step)
            ]
        return torch.cat(parts)[:, 0].double().numpy()

    return score


def _channels(images: np.ndarray) -> torch.Tensor:
    """Return (N, 2, H, W): the images, and what a 3 x 3 mean takes from them, so that fine texture is easy to see."""
    import torch

    stack = torch.from_numpy(np.ascontiguousarray(images))[:, None]
    padded = torch.nn.functional.pad(stack, (1, 1, 1, 1), mode="reflect")
    detail = stack - torch.nn.functional.avg_pool2d(padded, 3, stride=1)
    return torch.cat([stack, detail], 1).contiguous(memory_format=torch.channels_last)


def _crops(images: torch.Tensor, rng: np.random.Generator) -> torch.Tensor:
    """Return half a batch of random crops of random images, some of them mirrored."""
    import torch

    height, width = images.shape[2:]
    tall, wide = min(height, CROP), min(width, CROP)
    rows = rng.integers(0, len(images), BATCH // 2)
    tops, lefts = (rng.integers(0, free + 1, len(rows)) for free in (height - tall, width - wide))
    batch = torch.stack([images[i, :, a : a + tall, b : b + wide] for i, a, b in zip(rows, tops, lefts, strict=True)])
    mirrored = torch.from_numpy(rng.random(len(rows)) < 0.5)[:, None, None, None]
    return torch.where(mirrored, batch.flip(3), batch).contiguous(memory_format=torch.channels_last)


def _network(address: tuple[int, int]) -> torch.nn.Module:
    """Return the untrained network, its weights drawn from the address alone; it takes any size."""
    import torch
    from torch import nn

    generator = torch.Generator().manual_seed(int(np.random.default_rng([*address, _WEIGHTS]).integers(2**62)))
    layers: list[nn.Module] = []
    with torch.random.fork_rng(devices=[]):
        for before, after, stride in zip((2, *_WIDTHS), _WIDTHS, (1, 1, 2, 2), strict=False):
            layers += [nn.Conv2d(before, after, 3, stride, 1, bias=False), nn.BatchNorm2d(after), nn.LeakyReLU(0.1)]
        network = nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(_WIDTHS[-1], 1))
    for module in network:
        if isinstance(module, nn.Conv2d):
            nn.init.kaiming_normal_(module.weight, a=0.1, generator=generator)
        elif isinstance(module, nn.Linear):
            nn.init.zeros_(module.weight)
            nn.init.zeros_(module.bias)
    return network.to(memory_format=torch.channels_last)
