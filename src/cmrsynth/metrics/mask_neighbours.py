"""Whether generated masks are copies of training masks: how well each matches its nearest one.

Imports numpy alone, so that the file can travel by itself.
"""

from __future__ import annotations

import numpy as np

NEAR_DUPLICATE = 0.99  # Dice
BLOCK = 256  # masks compared at once


def best_dice(masks: np.ndarray, reference: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return how well each mask's nearest reference mask matches it, and which one that is.

    Both are moved so that the centre of their foreground is that of the image, because a copy that was moved is a
    copy. The Dice coefficient is pooled over structures: twice the pixels with the same foreground label, over the
    foreground pixels of both.

    Args:
        masks: (N, H, W) integer label maps, 0 is background.
        reference: (M, H, W).

    Returns:
        (N,) float64 in [0, 1], and (N,) int rows of `reference`.

    >>> ring = np.zeros((1, 8, 8), int)
    >>> ring[0, 2:4, 2:4] = 1
    >>> best_dice(np.roll(ring, 1, axis=2), ring)[0].tolist()
    [1.0]
    """
    blocks = [dice_matrix(masks[start : start + BLOCK], reference) for start in range(0, len(masks), BLOCK)]
    rows = [dice.argmax(axis=1) for dice in blocks]
    return np.concatenate([dice.max(axis=1) for dice in blocks]).astype(np.float64), np.concatenate(rows)


def dice_matrix(masks: np.ndarray, reference: np.ndarray) -> np.ndarray:
    """Return the (N, M) float32 Dice coefficients, as in `best_dice`, of masks (N, H, W) with masks (M, H, W).

    >>> ring = np.zeros((1, 8, 8), int)
    >>> dice_matrix(ring, np.concatenate([ring, ring + 1])).tolist()
    [[1.0, 0.0]]
    """
    labels = sorted({*np.unique(masks).tolist(), *np.unique(reference).tolist()} - {0}) or [1]  # or all are empty
    part, known = _flat_one_hot(masks, labels), _flat_one_hot(reference, labels)
    total = part.sum(axis=1)[:, None] + known.sum(axis=1)
    dice = 2 * (part @ known.T) / np.maximum(total, 1)
    dice[total == 0] = 1.0  # two empty masks are the same mask
    return dice


def copying(generated: np.ndarray, train: np.ndarray, holdout: np.ndarray) -> dict[str, float]:
    """Return whether generated masks match training masks better than other patients' masks do.

    Args:
        generated: (N, H, W) integer label maps.
        train: (M, H, W), what the generator learned from.
        holdout: (K, H, W), of other patients.

    Returns:
        `median_generated`, `median_holdout`: of the best-match Dice to `train`.
        `holdout_quantile_95`: of that Dice over `holdout`.
        `share_above_quantile`: of the generated masks above it; .05 for masks that are as new as other patients', but
        more for masks that are only smoother or more typical than real ones, which match everybody's.
        `share_closer_to_train`: of the generated masks that match a training mask better than a held-out one, among
        equally many of each (ties count half); .5 for masks that are no copies, however typical they are.
        `near_duplicates`, `near_duplicates_holdout`: shares above .99; as with the quantile, smooth masks of a simple
        shape can be near duplicates of many patients'.
    """
    made, other = best_dice(generated, train)[0], best_dice(holdout, train)[0]
    limit = float(np.quantile(other, 0.95))
    fewest = min(len(train), len(holdout))
    to_train, to_holdout = (
        best_dice(generated, part[np.linspace(0, len(part) - 1, fewest).astype(int)])[0] for part in (train, holdout)
    )
    return {
        "median_generated": float(np.median(made)),
        "median_holdout": float(np.median(other)),
        "holdout_quantile_95": limit,
        "share_above_quantile": float((made > limit).mean()),
        "share_closer_to_train": float((to_train > to_holdout).mean() + (to_train == to_holdout).mean() / 2),
        "near_duplicates": float((made > NEAR_DUPLICATE).mean()),
        "near_duplicates_holdout": float((other > NEAR_DUPLICATE).mean()),
    }


def _flat_one_hot(masks: np.ndarray, labels: list[int]) -> np.ndarray:
    """(N, H, W) to (N, labels * H * W) float32, each mask centred on its foreground."""
    centred = np.stack([_centred(mask) for mask in masks])
    return np.stack([centred == label for label in labels], axis=1).reshape(len(masks), -1).astype(np.float32)


def _centred(mask: np.ndarray) -> np.ndarray:
    points = np.argwhere(mask > 0)
    if not len(points):
        return mask
    move = np.floor(np.array(mask.shape) / 2 - points.mean(axis=0)).astype(int)
    return np.roll(mask, move, axis=(0, 1))
