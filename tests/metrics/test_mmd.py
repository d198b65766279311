from __future__ import annotations

import numpy as np
import pytest

from cmrsynth.metrics import mmd
from cmrsynth.metrics.mmd import PatientKernel, cmmd, median_bandwidth, mmd_rbf, mmd_squared


def _normal(seed, n, d):
    return np.random.default_rng(seed).normal(size=(n, d))


def _naive(x, y, bandwidth, *, biased):
    def k(a, b):
        return np.exp(-((a - b) ** 2).sum() / (2 * bandwidth**2))

    within = [
        np.mean([k(s[i], s[j]) for i in range(len(s)) for j in range(len(s)) if biased or i != j]) for s in (x, y)
    ]
    return sum(within) - 2 * np.mean([k(a, b) for a in x for b in y])


def test_equal_sets_are_at_zero_whatever_the_length_of_their_vectors():
    x = _normal(0, 40, 16)
    assert cmmd(x, x) == pytest.approx(0, abs=1e-9)
    assert cmmd(x, x * np.linspace(0.1, 7, 40)[:, None]) == pytest.approx(0, abs=1e-9)


@pytest.mark.parametrize("r", [0.1, 1.0, 1.9])
def test_point_masses_follow_the_closed_form(r):
    half = np.arcsin(r / 2)  # two unit vectors at distance r
    x, y = np.array([[np.cos(half), np.sin(half)]]), np.array([[np.cos(half), -np.sin(half)]])
    assert cmmd(np.repeat(x, 3, 0), np.repeat(y, 5, 0)) == pytest.approx(
        1000 * (2 - 2 * np.exp(-(r**2) / 200)), rel=1e-9
    )


def test_both_estimates_equal_a_double_loop(monkeypatch):
    x, y = _normal(0, 5, 3), _normal(1, 7, 3) + 1
    for rows in (1024, 2):  # one block and several
        monkeypatch.setattr(mmd, "_ROWS", rows)
        assert mmd_squared(x, y, bandwidth=1.3) == pytest.approx(_naive(x, y, 1.3, biased=True), rel=1e-10)
        assert mmd_rbf(x, y, bandwidth=1.3) == pytest.approx(_naive(x, y, 1.3, biased=False), rel=1e-10)


def test_the_null_of_cmmd_is_its_stated_bias_and_that_of_mmd_rbf_is_zero():
    n, rng = 60, np.random.default_rng(0)
    biased, unbiased, kernels = [], [], []
    for _ in range(150):
        x, y = rng.normal(size=(2, n, 8))
        biased.append(cmmd(x, y))
        unbiased.append(mmd_rbf(x, y))
        units = [each / np.linalg.norm(each, axis=1, keepdims=True) for each in (x, y)]
        kernels.append(np.exp(-((units[0] - units[1]) ** 2).sum(1) / 200).mean())
    assert np.mean(biased) == pytest.approx(1000 * (1 - np.mean(kernels)) * 2 / n, rel=0.1)
    assert abs(np.mean(unbiased)) < 3 * np.std(unbiased) / np.sqrt(150)
    assert min(unbiased) < 0


def test_the_median_heuristic_makes_it_free_of_scale_and_rotation():
    x, y = _normal(2, 60, 10), _normal(3, 50, 10) * 1.4
    rotation = np.linalg.qr(_normal(4, 10, 10))[0]
    expected = mmd_rbf(x, y)
    assert expected > 0.01
    assert mmd_rbf(7 * x @ rotation, 7 * y @ rotation) == pytest.approx(expected, rel=1e-9)
    assert mmd_rbf(x[::-1], y) == pytest.approx(expected, rel=1e-9)


def test_it_sees_what_mean_and_covariance_do_not():
    rng = np.random.default_rng(5)
    x, y = rng.normal(size=(400, 1)), rng.choice([-1.0, 1.0], size=(400, 1))
    assert mmd_rbf(x, y, bandwidth=0.5) > 0.05


def test_the_median_of_a_large_set_stands_for_all_of_it():
    x = _normal(6, 3000, 4)
    assert median_bandwidth(x) == pytest.approx(median_bandwidth(x[:1000]), rel=0.03)


def test_patients_summed_once_give_the_same_as_their_rows_in_every_resample(monkeypatch):
    monkeypatch.setattr(mmd, "_ROWS", 5)
    x, y = _normal(7, 12, 3), _normal(8, 9, 3) + 0.5
    groups = np.array(list("bacabcaabbcc")), np.array(list("xyzxyzzzz"))
    kernel = PatientKernel(x, y, *groups, bandwidth=1.3)
    assert kernel.mmd_squared() == pytest.approx(mmd_squared(x, y, bandwidth=1.3), rel=1e-10)
    assert kernel.mmd_squared(unbiased=True) == pytest.approx(mmd_rbf(x, y, bandwidth=1.3), rel=1e-10)
    rows = [
        np.concatenate([np.flatnonzero(group == patient) for patient in drawn])
        for group, drawn in zip(groups, ("bba", "zxx"), strict=True)
    ]
    resampled = x[rows[0]], y[rows[1]]
    assert kernel.mmd_squared(*rows) == pytest.approx(mmd_squared(*resampled, bandwidth=1.3), rel=1e-10)
    assert kernel.mmd_squared(*rows, unbiased=True) == pytest.approx(mmd_rbf(*resampled, bandwidth=1.3), rel=1e-10)


@pytest.mark.parametrize(
    ("call", "said"),
    [
        (lambda: cmmd(np.zeros((2, 3)), np.ones((2, 3))), "length 0"),
        (lambda: cmmd(np.ones((2, 3)), np.ones((2, 4))), "one d"),
        (lambda: mmd_rbf(np.ones((1, 3)), np.ones((2, 3))), "n >= 2"),
        (lambda: mmd_rbf(np.full((2, 3), np.nan), np.ones((2, 3))), "NaN"),
        (lambda: mmd_rbf(np.ones((2, 3)), np.ones((2, 3))), "no bandwidth"),
        (lambda: mmd_squared(np.ones((2, 3)), np.ones((2, 3)), bandwidth=0), "positive"),
        (lambda: PatientKernel(np.ones((2, 3)), np.ones((2, 3)), np.ones(2), np.ones(3), bandwidth=1), "each row"),
    ],
)
def test_unusable_features_are_refused(call, said):
    with pytest.raises(ValueError, match=said):
        call()
