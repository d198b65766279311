from __future__ import annotations

import numpy as np
import pytest

from cmrsynth.metrics.frechet import frechet_distance
from cmrsynth.metrics.frechet_infinity import frechet_curve, frechet_infinity


def _sets(seed, n=2000, m=4000, d=64, shift=0.1):
    rng = np.random.default_rng(seed)
    return rng.normal(size=(n, d)) + shift, rng.normal(size=(m, d))


def test_it_takes_away_the_bias_of_the_synthetic_side_and_leaves_that_of_the_reference():
    d, m = 64, 4000
    x, reference = _sets(0)
    true = d * 0.1**2
    assert frechet_distance(x, reference) == pytest.approx(1.50, abs=0.12)
    assert frechet_infinity(x, reference, repeats=3) == pytest.approx(true + d * (d + 5) / (4 * m), abs=0.12)


def test_the_mean_over_seeds_is_nearer_the_truth_than_the_plain_distance():
    found = [_sets(seed, n=500, m=5000, d=16, shift=0.0) for seed in range(5)]
    plain = np.mean([frechet_distance(*each) for each in found])
    extrapolated = np.mean([frechet_infinity(*each, points=6, repeats=6) for each in found])
    assert abs(extrapolated) < 0.35 * plain


def test_the_curve_falls_and_the_draw_is_named_by_its_seed():
    x, reference = _sets(1, n=300, m=600, d=8)
    sizes, distances = frechet_curve(x, reference, points=4, repeats=6)
    assert sorted(set(sizes.tolist())) == [60, 140, 220, 300]
    assert distances[:6].mean() > distances[-6:].mean()
    np.testing.assert_allclose(distances[-6:], frechet_distance(x, reference), rtol=1e-8)
    assert frechet_infinity(x, reference) == frechet_infinity(x, reference)
    assert frechet_infinity(x, reference) != frechet_infinity(x, reference, seed=1)


def test_whole_patients_are_drawn_so_repeated_slices_do_not_pass_for_new_images():
    x, reference = _sets(2, n=150, m=4000, d=6, shift=0.0)
    repeated, patient = np.repeat(x, 4, axis=0), np.repeat(np.arange(150), 4)
    blind = frechet_infinity(repeated, reference, repeats=8)  # takes the 600 rows for 600 independent ones
    aware = frechet_infinity(repeated, reference, repeats=8, groups=patient)
    once = frechet_infinity(x, reference, repeats=8)
    assert abs(aware - once) < 0.05
    assert blind > once + 0.04


def test_rotation_changes_nothing():
    x, reference = _sets(3, n=200, m=300, d=10)
    rotation = np.linalg.qr(np.random.default_rng(0).normal(size=(10, 10)))[0]
    expected = frechet_infinity(x, reference)
    assert frechet_infinity(x @ rotation, reference @ rotation) == pytest.approx(expected, rel=1e-6)


@pytest.mark.parametrize(
    ("n", "options", "said"),
    [(49, {}, "at least 50"), (80, {"points": 2}, "3 points"), (80, {"groups": np.arange(3)}, "groups")],
)
def test_too_little_is_refused(n, options, said):
    with pytest.raises(ValueError, match=said):
        frechet_infinity(np.zeros((n, 2)), np.zeros((80, 2)), **options)
