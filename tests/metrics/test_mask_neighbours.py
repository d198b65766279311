"""Nearest masks: Dice by hand, copies found where they were moved, new masks not accused."""

from __future__ import annotations

import numpy as np
import pytest

from cmrsynth.metrics.mask_neighbours import best_dice, copying


def squares(rng: np.random.Generator, count: int) -> np.ndarray:
    """Masks (count, 24, 24) of a rectangle of label 1 beside one of label 2."""
    masks = np.zeros((count, 24, 24), np.uint8)
    for mask in masks:
        height, width, other = rng.integers(3, 10, 3)
        mask[6 : 6 + height, 2 : 2 + width] = 1
        mask[6 : 6 + height, 2 + width : 2 + width + other] = 2
    return masks


def test_dice_is_pooled_over_structures() -> None:
    a, b = np.zeros((1, 4, 4), int), np.zeros((1, 4, 4), int)
    a[0, 1:3, 1:3] = [[1, 1], [2, 2]]
    b[0, 1:3, 1:3] = [[1, 1], [2, 3]]
    assert best_dice(a, b)[0][0] == pytest.approx(2 * 3 / 8)
    assert best_dice(a, np.concatenate([b, a]))[1].tolist() == [1]


def test_empty_masks_match_each_other_only() -> None:
    empty, full = np.zeros((1, 4, 4), int), np.ones((1, 4, 4), int)
    assert best_dice(empty, empty)[0].tolist() == [1.0]
    assert best_dice(empty, full)[0].tolist() == [0.0]


def test_moved_copies_are_found_and_new_masks_are_not_accused() -> None:
    rng = np.random.default_rng(0)
    train, holdout, new = squares(rng, 40), squares(rng, 60), squares(rng, 60)
    copies = np.roll(train, (4, 3), axis=(1, 2))
    planted = copying(copies, train, holdout)
    assert planted["near_duplicates"] == 1.0
    assert planted["share_closer_to_train"] > 0.85
    fair = copying(new, train, holdout)
    assert fair["share_above_quantile"] < 0.2
    assert 0.3 < fair["share_closer_to_train"] < 0.7
    assert abs(fair["near_duplicates"] - fair["near_duplicates_holdout"]) < 0.15


def discs(rng: np.random.Generator, count: int, uneven: float) -> np.ndarray:
    """Masks (count, 32, 32) of a disc whose radius varies along its border, in some more than in others."""
    y, x = np.mgrid[:32, :32] - 15.5
    waves = rng.uniform(0, uneven, (count, 1, 1))
    radius = rng.uniform(7, 11, (count, 1, 1))
    for frequency in (2, 3, 4, 5):
        phase = rng.uniform(0, 2 * np.pi, (count, 1, 1))
        radius = radius + waves * np.sin(frequency * np.arctan2(y, x) + phase)
    return (np.hypot(y, x) < radius).astype(np.uint8)


def test_smooth_masks_match_everybodys_better_and_are_not_taken_for_copies() -> None:
    rng = np.random.default_rng(0)
    found = copying(discs(rng, 120, 0.0), discs(rng, 80, 1.0), discs(rng, 80, 1.0))
    assert found["share_above_quantile"] > 0.3  # this figure alone would accuse them
    assert 0.35 < found["share_closer_to_train"] < 0.65
