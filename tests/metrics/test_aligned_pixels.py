from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from scipy.ndimage import gaussian_filter, shift

from cmrsynth.metrics.aligned_pixels import aligned_pixel_distance
from cmrsynth.metrics.neighbours import copy_rate, nearest_neighbours, neighbours_from_distances

SUNNYBROOK = Path(__file__).resolve().parents[2] / "../shared/data/sunnybrook"


def _hearts(patients, seed, slices=3, side=48):
    """Rings of different size and place on smooth tissue: alike enough that a distance has something to do."""
    rng = np.random.default_rng(seed)
    rows, columns = np.mgrid[:side, :side]
    images = []
    for _ in range(patients):
        row, column, endo, wall = (
            side / 2 + rng.normal(0, 2, 2),
            rng.normal(0, 1),
            7 + rng.normal(),
            4 + rng.normal(0, 0.5),
        )
        tissue = gaussian_filter(rng.normal(size=(side, side)), 4)
        for step in range(slices):
            radius = np.hypot(rows - row[0], columns - row[1] - column) + step
            ring = 0.8 * (radius < endo) + 0.3 * ((radius >= endo) & (radius < endo + wall))
            images.append(gaussian_filter(ring, 0.7) + 0.4 + tissue + 0.02 * rng.normal(size=(side, side)))
    return np.stack(images).astype(np.float32), np.repeat(np.arange(patients), slices)


_DISGUISES = {
    "none": lambda x: x,
    "horizontal flip": lambda x: x[:, ::-1],
    "vertical flip": lambda x: x[::-1],
    "shift": lambda x: shift(x, (3, -2), mode="nearest"),
    "gain and offset": lambda x: 1.2 * x + 0.1,
    "blur": lambda x: gaussian_filter(x, 1),
    "noise": lambda x: x + np.random.default_rng(9).normal(0, 0.05, x.shape),
    "all": lambda x: 0.8 * gaussian_filter(shift(x[:, ::-1], (-2, 3), mode="nearest"), 1) + 0.1,
}


def _check_disguise(train, patient, holdout, copies, disguise):
    """Every disguised copy must be found as what it is, and be flagged below the 5 % quantile of held-out images."""
    usual = aligned_pixel_distance(holdout, train).min(1)
    queries = np.stack([_DISGUISES[disguise](train[i]) for i in copies])
    near = neighbours_from_distances(aligned_pixel_distance(queries, train), None, patient)
    assert (near.index_1 == copies).all()
    assert copy_rate(near.distance_1, usual) == 1


@pytest.mark.parametrize("disguise", _DISGUISES)
def test_disguised_copies_are_found(disguise):
    (train, patient), (holdout, _) = _hearts(20, 0), _hearts(12, 1)
    _check_disguise(train, patient, holdout, np.arange(0, 60, 4), disguise)


def test_a_plain_pixel_distance_misses_what_alignment_finds():
    (train, patient), (holdout, _) = _hearts(20, 0), _hearts(12, 1)
    flat = train.reshape(len(train), -1)
    usual = nearest_neighbours(holdout.reshape(len(holdout), -1), flat, None, patient).distance_1
    flipped = nearest_neighbours(train[:, :, ::-1].reshape(len(train), -1), flat, None, patient).distance_1
    assert copy_rate(flipped, usual) < 0.5


def test_gain_flip_and_offset_cost_nothing_and_a_constant_image_is_like_none():
    train, _ = _hearts(3, 0)
    assert np.diag(aligned_pixel_distance(3 * train[:, ::-1] - 1, train)).max() < 1e-4
    assert (aligned_pixel_distance(np.zeros_like(train[:1]), train) == 1).all()
    assert aligned_pixel_distance(-train[:1], train[:1], max_shift=0, flips=False)[0, 0] == pytest.approx(2, abs=1e-4)


def test_it_is_the_best_correlation_over_all_placements():
    rng = np.random.default_rng(3)
    query, reference = rng.normal(size=(2, 9, 8)), rng.normal(size=(3, 9, 8))
    expected = np.empty((2, 3))
    for i, j in np.ndindex(2, 3):
        views = [query[i, 1:-1, 1:-1][::a, ::b] for a in (1, -1) for b in (1, -1)]
        windows = [reference[j, r : r + 7, c : c + 6] for r in range(3) for c in range(3)]
        expected[i, j] = 1 - max(np.corrcoef(v.ravel(), w.ravel())[0, 1] for v in views for w in windows)
    np.testing.assert_allclose(aligned_pixel_distance(query, reference, max_shift=1), expected, atol=1e-5)


def test_images_that_cannot_be_aligned_are_refused():
    with pytest.raises(ValueError, match="cannot be aligned"):
        aligned_pixel_distance(np.zeros((1, 8, 8)), np.zeros((1, 9, 8)))
    with pytest.raises(ValueError, match="cannot be aligned"):
        aligned_pixel_distance(np.zeros((1, 7, 7)), np.zeros((1, 7, 7)))


@pytest.mark.skipif(not SUNNYBROOK.exists(), reason="needs the Sunnybrook images")
@pytest.mark.parametrize("disguise", ["shift", "all"])
def test_disguised_copies_of_real_hearts_are_found(disguise):
    from PIL import Image

    files = sorted((SUNNYBROOK / "images").glob("*.png"))[::4]
    images = np.stack([np.asarray(Image.open(file).convert("F").resize((64, 64))) / 255 for file in files])
    patient = np.array([file.stem.rsplit("_", 1)[0] for file in files])
    train = np.isin(patient, np.unique(patient)[::2])
    _check_disguise(images[train], patient[train], images[~train], np.arange(0, train.sum(), 5), disguise)
