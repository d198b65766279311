from __future__ import annotations

import numpy as np
import pytest

from cmrsynth.metrics.frechet import frechet_distance


def _normal(seed, n, d):
    return np.random.default_rng(seed).normal(size=(n, d))


@pytest.mark.parametrize("n", [20, 200])  # fewer rows than dimensions, and more
def test_equal_sets_are_at_distance_zero(n):
    x = _normal(0, n, 50)
    assert 0 <= frechet_distance(x, x) < 1e-9


@pytest.mark.parametrize("n", [20, 200])
def test_a_shift_costs_its_squared_length(n):
    x, shift = _normal(0, n, 50), np.linspace(-1, 1, 50)
    assert frechet_distance(x, x + shift) == pytest.approx((shift**2).sum(), rel=1e-9)


def test_scaling_about_zero_costs_the_change_of_spread():
    x = _normal(0, 300, 8)
    x -= x.mean(0)
    assert frechet_distance(1.5 * x, x) == pytest.approx(0.25 * np.trace(np.cov(x.T)), rel=1e-9)


def test_diagonal_gaussians_match_the_closed_form():
    signs = np.array([[a, b, c] for a in (-1, 1) for b in (-1, 1) for c in (-1, 1)]) * np.sqrt(7 / 8)  # covariance I
    assert frechet_distance(signs * [1, 1, 2], signs * [2, 3, 2]) == pytest.approx(1 + 4, rel=1e-9)


@pytest.mark.parametrize("n", [30, 120])
def test_rotation_and_order_change_nothing_and_it_is_symmetric(n):
    x, y = _normal(1, n, 40), _normal(2, n - 5, 40) * 1.3 + 0.2
    rotation = np.linalg.qr(_normal(3, 40, 40))[0]
    expected = frechet_distance(x, y)
    assert frechet_distance(x @ rotation, y @ rotation) == pytest.approx(expected, rel=1e-8)
    assert frechet_distance(x[::-1], y) == pytest.approx(expected, rel=1e-8)
    assert frechet_distance(y, x) == pytest.approx(expected, rel=1e-8)


def test_small_and_wide_forms_agree_with_a_direct_matrix_root():
    from scipy.linalg import sqrtm

    x, y = _normal(4, 30, 20) @ _normal(5, 20, 20), _normal(6, 25, 20)
    direct = ((x.mean(0) - y.mean(0)) ** 2).sum() + np.trace(
        np.cov(x.T) + np.cov(y.T) - 2 * sqrtm(np.cov(x.T) @ np.cov(y.T)).real
    )
    assert frechet_distance(x, y) == pytest.approx(direct, rel=1e-6)
    pad = np.zeros((1, 80))  # the same points in 100 dimensions take the other form
    wider = [np.concatenate([each, np.repeat(pad, len(each), 0)], 1) for each in (x, y)]
    assert frechet_distance(*wider) == pytest.approx(direct, rel=1e-6)


def test_bias_of_two_samples_of_one_normal_follows_the_null_law():
    d, n = 64, 1000
    found = np.mean([frechet_distance(_normal(s, n, d), _normal(s + 100, n, d)) for s in range(4)])
    assert found == pytest.approx(d * (d + 5) / (2 * n), rel=0.06)


@pytest.mark.slow  # its import takes seconds; the tests above are independent checks too
def test_it_agrees_with_torchmetrics():
    fid = pytest.importorskip("torchmetrics.image.fid")
    torch = pytest.importorskip("torch")
    x, y = _normal(7, 90, 12), _normal(8, 70, 12) * 1.2 + 0.3
    moments = [torch.from_numpy(part) for each in (x, y) for part in (each.mean(0), np.cov(each.T))]
    theirs = fid._compute_fid(*moments)
    assert frechet_distance(x, y) == pytest.approx(float(theirs), rel=1e-6)


@pytest.mark.parametrize(
    ("x", "y"),
    [
        (np.ones((1, 4)), np.ones((5, 4))),
        (np.ones((5, 4)), np.ones((5, 3))),
        (np.full((5, 4), np.nan), np.ones((5, 4))),
    ],
)
def test_unusable_features_are_refused(x, y):
    with pytest.raises(ValueError, match="features"):
        frechet_distance(x, y)


def _by_singular_values(x, y):
    """The nuclear-norm form of all rows as they are."""
    means = x.mean(0), y.mean(0)
    x, y = ((each - mean) / np.sqrt(len(each) - 1) for each, mean in zip((x, y), means, strict=True))
    root_trace = np.linalg.svd(x @ y.T, compute_uv=False).sum()
    return ((means[0] - means[1]) ** 2).sum() + (x**2).sum() + (y**2).sum() - 2 * root_trace


@pytest.mark.parametrize(
    "change",
    [
        lambda x, rng: x[rng.integers(0, len(x), len(x))],  # a resample: rows repeat
        lambda x, rng: x[rng.integers(0, 3, len(x))],  # three images only
        lambda x, rng: x[:, :5] @ rng.normal(size=(5, x.shape[1])),  # dependent features
        lambda x, rng: x * np.logspace(-8, 3, x.shape[1]),  # very unequal spreads
        lambda x, rng: x + 1e4,  # far from the origin
        lambda x, rng: np.where(np.arange(x.shape[1]) < 10, x, 1),  # constant features
    ],
)
@pytest.mark.parametrize("n", [40, 150])
def test_it_is_exact_for_repeated_dependent_and_badly_scaled_features(change, n):
    rng = np.random.default_rng(9)
    x, y = change(_normal(7, n, 60), rng), change(_normal(8, n + 10, 60), rng)
    scale = x.var(0).sum() + y.var(0).sum()
    assert frechet_distance(x, y) == pytest.approx(_by_singular_values(x, y), abs=1e-9 * scale)
    assert frechet_distance(x, x) <= 1e-9 * scale


def test_where_eigenvalues_would_lose_digits_the_singular_values_are_taken(monkeypatch):
    from cmrsynth.metrics import frechet

    called, svd = [], np.linalg.svd
    monkeypatch.setattr(frechet.np.linalg, "svd", lambda *a, **k: called.append(1) or svd(*a, **k))
    frechet_distance(_normal(0, 50, 80), _normal(1, 40, 80))
    assert not called
    x = _normal(0, 50, 5) @ _normal(1, 5, 80)
    frechet_distance(x, x[::-1] * 1.1)
    assert called
