from __future__ import annotations

import numpy as np
import pytest
from scipy.ndimage import gaussian_filter
from sklearn.metrics import roc_auc_score

from cmrsynth.metrics.two_sample import TwoSampleScores, patient_folds, two_sample_auc, two_sample_scores

SIDE = 32


def textures(patients, seed, per_patient=6, shape=(SIDE, SIDE)):
    """Tissue-like fields with a brightness of their own per patient."""
    rng = np.random.default_rng(seed)
    count = patients * per_patient
    coarse = gaussian_filter(rng.normal(size=(count, *shape)), (0, 4, 4)) * 3
    fine = gaussian_filter(rng.normal(size=(count, *shape)), (0, 0.7, 0.7)) * 0.1
    bright = np.repeat(rng.uniform(0.4, 0.6, patients), per_patient)[:, None, None]
    names = np.repeat([f"{seed}-{p}" for p in range(patients)], per_patient)
    return np.clip(bright + 0.2 * coarse + fine, 0, 1).astype(np.float32), names


@pytest.fixture(scope="module")
def two():
    return textures(16, 0), textures(16, 1)


def board(shape=(SIDE, SIDE)):
    rows, columns = np.mgrid[: shape[0], : shape[1]]
    return np.where((rows + columns) % 2, 1, -1)


@pytest.mark.parametrize(
    "spoil",
    [
        lambda x: gaussian_filter(x, (0, 1, 1)),
        lambda x: x + np.random.default_rng(0).normal(0, 0.1, x.shape),
        lambda x: x + 0.03 * board(),
    ],
    ids=["blur", "noise", "checkerboard"],
)
def test_what_is_visible_is_found(two, spoil):
    (x, of_x), (y, of_y) = two
    assert two_sample_auc(spoil(x), y, of_x, of_y, folds=2, updates=40) > 0.9


def test_two_real_sets_cannot_be_told_apart(two):
    (x, of_x), (y, of_y) = two
    spread = np.sqrt((16 + 16 + 1) / (12 * 16 * 16))  # patients, not images, are independent
    assert abs(two_sample_auc(x, y, of_x, of_y, folds=2, updates=40) - 0.5) < 3 * spread


def test_a_set_against_itself_is_exactly_chance(two):
    (x, of_x), _ = two
    assert two_sample_auc(x, x, of_x, of_x, folds=2, updates=5) == pytest.approx(0.5, abs=1e-12)


def test_a_marked_patient_does_not_leak_into_the_test(two):
    """Every image carries its patient's own mark; a network tested on patients it knows would read labels off it."""
    (x, of_x), (y, of_y) = two
    marks = np.random.default_rng(5).uniform(-0.3, 0.3, (32, SIDE, SIDE))
    x = x + np.repeat(marks[:16], 6, 0)
    y = y + np.repeat(marks[16:], 6, 0)
    assert two_sample_auc(x, y, of_x, of_y, folds=2, updates=40) < 0.8


def test_runs_repeat_and_seeds_differ(two):
    (x, of_x), (y, of_y) = two
    first, again, other = (two_sample_scores(x, y, of_x, of_y, folds=2, updates=4, seed=s) for s in (3, 3, 4))
    np.testing.assert_array_equal(first.synthetic, again.synthetic)
    assert not np.array_equal(first.synthetic, other.synthetic)


def test_the_global_generator_is_left_alone(two):
    import torch

    (x, of_x), (y, of_y) = two
    before = torch.random.get_rng_state()
    two_sample_scores(x[:24], y[:24], of_x[:24], of_y[:24], folds=2, updates=1)
    assert torch.equal(before, torch.random.get_rng_state())


@pytest.mark.parametrize("shape", [(32, 32), (40, 72), (256, 256)])
def test_any_size_is_taken(shape):
    (x, of_x), (y, of_y) = textures(2, 0, 2, shape), textures(2, 1, 2, shape)
    scores = two_sample_scores(x, y, of_x, of_y, folds=2, updates=2)
    assert np.isfinite(scores.synthetic).all()
    assert np.isfinite(scores.real).all()


def test_the_auc_is_that_of_scikit_learn_in_one_fold():
    rng = np.random.default_rng(0)
    fake, true = rng.integers(0, 9, 40) + 1.0, rng.integers(0, 9, 30) + 0.0  # with ties
    scores = TwoSampleScores(fake, true, np.zeros(40, int), np.zeros(30, int))
    rows = rng.integers(0, 40, 40), rng.integers(0, 30, 30)
    expected = roc_auc_score(np.repeat([1, 0], [40, 30]), np.concatenate([fake[rows[0]], true[rows[1]]]))
    assert scores.auc(*rows) == pytest.approx(expected, abs=1e-12)


def test_scores_of_different_folds_are_not_compared():
    fold = np.repeat([0, 1], 3)
    offset = 100.0 * fold  # one network's logits lie far above the other's
    scores = TwoSampleScores(offset + 1, offset + 0, fold, fold)
    assert scores.auc() == 1.0
    assert np.isnan(scores.auc(np.array([0]), np.array([5])))


@pytest.mark.parametrize("folds", [2, 3, 4])
def test_patients_are_never_on_both_sides(folds):
    rng = np.random.default_rng(folds)
    synthetic, real = rng.integers(0, 20, 150), rng.integers(10, 40, 100)
    fold_synthetic, fold_real = patient_folds(synthetic, real, folds=folds, seed=0)
    for patient in range(40):
        assert len({*fold_synthetic[synthetic == patient], *fold_real[real == patient]}) <= 1
    assert set(fold_synthetic) == set(fold_real) == set(range(folds))


def test_wrong_input_says_how_to_mend_it(two):
    (x, of_x), (y, of_y) = two
    with pytest.raises(ValueError, match="one size"):
        two_sample_auc(x, y[:, :20], of_x, of_y)
    with pytest.raises(ValueError, match="more patients"):
        two_sample_auc(x, y[:6], of_x, of_y[:6], folds=2)
    with pytest.raises(ValueError, match="patient per image"):
        two_sample_auc(x, y, of_x[:3], of_y)
