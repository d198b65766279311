from __future__ import annotations

import numpy as np
import pytest

from cmrsynth.metrics.hierarchical import mean_of_seeds_and_patients, ratio_of_seeds_and_patients
from cmrsynth.metrics.intervals import paired_bootstrap


def crossed_draw(rng, seeds, patients, of_seed, of_patient, of_both, mean=0.0):
    return (
        mean
        + rng.normal(0, of_seed, (seeds, 1))
        + rng.normal(0, of_patient, (1, patients))
        + rng.normal(0, of_both, (seeds, patients))
    )


@pytest.mark.parametrize(
    ("seeds", "patients", "of_seed"), [(1, 15, 0.0), (3, 15, 0.0), (3, 15, 0.3), (3, 60, 0.3), (5, 12, 1.0)]
)
def test_intervals_cover_and_p_values_are_calibrated(seeds, patients, of_seed):
    rng = np.random.default_rng([seeds, patients])
    found = [
        mean_of_seeds_and_patients(crossed_draw(rng, seeds, patients, of_seed, 1.0, 0.5), resamples=200, seed=i)
        for i in range(300)
    ]
    covered = np.mean([f.interval[0] <= 0 <= f.interval[1] for f in found])
    rejected = np.mean([f.p < 0.05 for f in found])
    assert covered > 0.9  # 0.926 to 0.949 over 2,000 draws
    assert rejected < 0.1
    assert covered == pytest.approx(1 - rejected, abs=0.01)  # interval and p-value say the same


def test_a_bootstrap_over_patients_alone_would_miss_the_seeds():
    rng = np.random.default_rng(0)
    draws = [crossed_draw(rng, 3, 100, 1.0, 1.0, 0.1) for _ in range(200)]
    both = [mean_of_seeds_and_patients(d, resamples=200, seed=0).interval for d in draws]
    alone = [paired_bootstrap(d.mean(0), resamples=200, seed=0) for d in draws]
    coverage = [np.mean([low <= 0 <= high for low, high in found]) for found in (both, alone)]
    assert coverage[0] > 0.88
    assert coverage[1] < 0.6


def test_one_seed_is_the_bootstrap_over_patients():
    differences = np.random.default_rng(0).normal(0.1, 0.2, 20)
    found = mean_of_seeds_and_patients(differences[None], seed=0, resamples=4000)
    np.testing.assert_allclose(found.interval, paired_bootstrap(differences, seed=0, resamples=4000), atol=0.01)
    assert found.value == pytest.approx(differences.mean())


def test_order_shift_and_scale():
    values = np.random.default_rng(0).normal(0.5, 1, (3, 12))
    found = mean_of_seeds_and_patients(values, seed=0)
    moved = mean_of_seeds_and_patients(2 * values + 7, seed=0)
    np.testing.assert_allclose(moved.interval, 2 * np.array(found.interval) + 7)
    turned = mean_of_seeds_and_patients(values[::-1, ::-1], seed=0)
    assert turned.value == pytest.approx(found.value)
    np.testing.assert_allclose(turned.interval, found.interval, atol=0.15)


def test_undefined_values():
    values = np.full((2, 4), 0.2)
    values[:, 0], values[0, 1] = np.nan, np.nan
    found = mean_of_seeds_and_patients(values, seed=0)
    assert (found.value, found.patients) == (pytest.approx(0.2), 3)
    assert np.isnan(mean_of_seeds_and_patients(np.full((2, 3), np.nan), seed=0).value)
    assert np.isnan(mean_of_seeds_and_patients(np.ones((3, 1)), seed=0).interval).all()
    with pytest.raises(ValueError, match="seeds, patients"):
        mean_of_seeds_and_patients(np.ones(4), seed=0)


def test_no_difference_has_p_one_and_a_sure_one_the_smallest():
    assert mean_of_seeds_and_patients(np.zeros((2, 5)), seed=0).p == 1
    assert mean_of_seeds_and_patients(np.full((2, 5), 0.1), seed=0).p < 0.001


def test_a_ratio_of_equals_is_one_and_covers_what_it_should():
    rng = np.random.default_rng(0)
    real = rng.uniform(0.6, 0.9, (2, 12))
    same = ratio_of_seeds_and_patients(real, real, seed=0)
    assert (same.value, same.interval, same.p) == (pytest.approx(1), pytest.approx((1, 1)), 1)
    hits = 0
    for trial in range(200):
        difficulty = rng.normal(0.8, 0.08, (1, 15))
        reference = difficulty + rng.normal(0, 0.02, (1, 15))
        found = ratio_of_seeds_and_patients(
            0.9 * difficulty + rng.normal(0, 0.02, (1, 15)), reference, seed=trial, resamples=200
        )
        hits += found.interval[0] <= 0.9 <= found.interval[1]
    assert hits > 180
    with pytest.raises(ValueError, match="positive"):
        ratio_of_seeds_and_patients(real, 0 * real, seed=0)
    with pytest.raises(ValueError, match="same seeds and patients"):
        ratio_of_seeds_and_patients(real, real[:1], seed=0)
