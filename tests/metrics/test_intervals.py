from __future__ import annotations

import numpy as np
import pytest

from cmrsynth.metrics.frechet import frechet_distance
from cmrsynth.metrics.intervals import (
    bootstrap_patients,
    bootstrap_patients_together,
    clopper_pearson,
    paired_bootstrap,
)


@pytest.mark.parametrize("patients", [8, pytest.param(60, marks=pytest.mark.slow)])
def test_coverage_of_a_mean_is_nominal(patients):
    rng = np.random.default_rng(0)
    repeats, hits = 400, 0
    for repeat in range(repeats):
        values = rng.normal(size=patients)
        statistic = lambda rows, v=values: v[rows].sum() / patients  # noqa: E731
        low, high = bootstrap_patients(statistic, [np.arange(patients)], resamples=200, seed=repeat)
        hits += low <= 0 <= high
    assert 0.93 <= hits / repeats <= 0.97


def test_coverage_of_paired_differences_is_nominal():
    rng = np.random.default_rng(1)
    intervals = [paired_bootstrap(rng.normal(size=10), resamples=500, seed=s) for s in range(1000)]
    assert 0.93 <= np.mean([low <= 0 <= high for low, high in intervals]) <= 0.97


def test_duplicating_every_patients_rows_does_not_shrink_the_interval():
    values = np.random.default_rng(1).normal(size=40)
    once = bootstrap_patients(lambda rows: values[rows].mean(), [np.arange(40)], seed=0)
    many_values, many_patients = np.repeat(values, 7), np.repeat(np.arange(40), 7)
    many = bootstrap_patients(lambda rows: many_values[rows].mean(), [many_patients], seed=0)
    by_slice = bootstrap_patients(lambda rows: many_values[rows].mean(), [np.arange(280)], seed=0)
    assert many == pytest.approx(once)  # the same draws of the same patients
    assert by_slice[1] - by_slice[0] < 0.6 * (once[1] - once[0])  # what must not be done


def test_all_rows_of_a_drawn_patient_are_kept_and_each_set_is_drawn_by_itself():
    first, second = np.array(["a", "b", "b", "c", "c", "c"]), np.array(["x", "x", "y"])
    seen = []

    def statistic(rows, other):
        seen.append((first[rows], second[other]))
        return 0.0

    assert bootstrap_patients(statistic, [first, second], resamples=30, seed=3) == (0.0, 0.0)
    for drawn, other in seen[1:]:
        names, counts = np.unique(drawn, return_counts=True)
        assert all(count % {"a": 1, "b": 2, "c": 3}[name] == 0 for name, count in zip(names, counts, strict=True))
        assert len(other) in (2, 3, 4)


def test_a_distance_interval_holds_its_point_although_resamples_are_biased_upwards():
    rng = np.random.default_rng(2)
    x, y = rng.normal(size=(100, 16)), rng.normal(size=(100, 16))
    patients = np.arange(100) // 5
    raw = []

    def statistic(rows, other):
        raw.append(frechet_distance(x[rows], y[other]))
        return raw[-1]

    low, high = bootstrap_patients(statistic, [patients, patients], resamples=100, seed=0)
    assert np.quantile(raw[1:], 0.025) > raw[0]  # the plain percentile interval misses the point
    assert low < raw[0] < high


def test_the_seed_fixes_the_interval():
    values = np.random.default_rng(1).normal(size=20)
    runs = [
        bootstrap_patients(lambda rows: values[rows].mean(), [np.arange(20)], resamples=50, seed=s) for s in (0, 0, 1)
    ]
    assert runs[0] == runs[1] != runs[2]


def test_statistics_that_are_not_finite_give_no_interval():
    nothing = bootstrap_patients(lambda rows: float("nan"), [np.arange(5)], seed=0)
    assert np.isnan(nothing).all()
    one_patient = bootstrap_patients(lambda rows: 0.0, [np.array(["a", "a"])], seed=0)
    assert np.isnan(one_patient).all()
    values = np.array([np.nan, 1.0, 2.0, 3.0])
    some = bootstrap_patients(lambda rows: np.nanmean(values[rows]), [np.arange(4)], resamples=200, seed=0)
    assert some[0] < 2 < some[1]
    with pytest.raises(ValueError, match="no rows"):
        bootstrap_patients(lambda rows: 0.0, [np.array([])], seed=0)


def test_several_statistics_at_once_have_the_intervals_they_have_alone():
    values = np.random.default_rng(1).normal(size=30)
    groups, options = [np.arange(30) // 2], {"resamples": 50, "seed": 4}
    single = {
        "mean": lambda rows: values[rows].mean(),
        "spread": lambda rows: values[rows].std(),
        "undefined": lambda rows: float("nan"),
    }
    found = bootstrap_patients_together(lambda rows: {k: f(rows) for k, f in single.items()}, groups, **options)
    for name, statistic in single.items():
        np.testing.assert_array_equal(found[name], bootstrap_patients(statistic, groups, **options))
    assert np.isnan(bootstrap_patients(single["mean"], groups, resamples=0, seed=0)).all()


def test_paired_differences_cancel_what_patients_share():
    rng = np.random.default_rng(4)
    patient = rng.normal(size=30)
    differences = (patient + 0.1 + 0.01 * rng.normal(size=30)) - patient
    low, high = paired_bootstrap(np.append(differences, np.nan), seed=0)
    assert 0.09 < low < high < 0.11
    assert np.isnan(paired_bootstrap(np.array([np.nan]), seed=0)).all()


@pytest.mark.parametrize(
    ("k", "n", "expected"),
    [(0, 100, (0, 0.0362)), (100, 100, (0.9638, 1)), (50, 100, (0.3983, 0.6017)), (1, 20, (0.0013, 0.2487))],
)
def test_clopper_pearson_known_values(k, n, expected):
    assert clopper_pearson(k, n) == pytest.approx(expected, abs=1e-4)


def test_clopper_pearson_agrees_with_scipy_and_refuses_nonsense():
    from scipy.stats import binomtest

    theirs = binomtest(7, 31).proportion_ci(0.9, method="exact")
    assert clopper_pearson(7, 31, 0.9) == pytest.approx((theirs.low, theirs.high))
    with pytest.raises(ValueError, match="no share"):
        clopper_pearson(3, 2)
