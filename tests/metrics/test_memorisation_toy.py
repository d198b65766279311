"""The Gaussian toy: fresh points, copies, a tenth of copies, collapse without copying; every figure has its answer."""

from __future__ import annotations

import numpy as np
import pytest

from cmrsynth.metrics.data_copying import data_copying, mann_whitney_z
from cmrsynth.metrics.identifiability import identifiable
from cmrsynth.metrics.likelihood_gap import likelihood_gap
from cmrsynth.metrics.membership import auc
from cmrsynth.metrics.sample_attacks import gan_leaks_scores, monte_carlo_radius, monte_carlo_scores

N, D = 500, 16
EACH = np.arange(N)  # every point is a patient
SHARE_SE = np.sqrt(2 * 0.25 / N)  # of a difference of two shares
AUC_SE = np.sqrt((2 * N + 1) / (12 * N * N))


def points(kind: str, seed: int = 0):
    rng = np.random.default_rng(seed)
    train, holdout, fresh = (rng.normal(size=(N, D)) for _ in range(3))
    origin = train[rng.integers(0, N, N)]
    copies = origin + 0.05 * rng.normal(size=(N, D))
    synthetic = {
        "fresh": fresh,
        "copies": copies,
        "loose copies": origin + 0.5 * rng.normal(size=(N, D)),
        "some": np.where((EACH < N // 10)[:, None], copies, fresh),
        "collapse": 0.3 * fresh,
    }[kind]
    return synthetic, train, holdout


def figures(kind: str) -> dict[str, float]:
    synthetic, train, holdout = points(kind)
    known, unknown = identifiable(synthetic, train, holdout, EACH, EACH, np.random.default_rng(0), repeats=1)
    member, other = gan_leaks_scores(train, synthetic), gan_leaks_scores(holdout, synthetic)
    radius = monte_carlo_radius(np.concatenate([member, other]))
    fit, miss = likelihood_gap(synthetic, train, holdout)
    return {
        "identifiable": known.mean(),
        "identifiable_holdout": unknown.mean(),
        "gan_leaks": auc(member, other),
        "monte_carlo": auc(*(monte_carlo_scores(p, synthetic, radius) for p in (train, holdout))),
        "c_t": data_copying(synthetic, holdout, train),
        "gap": fit.mean() - miss.mean(),
    }


def test_fresh_points_give_the_null_values():
    found = figures("fresh")
    assert found["identifiable"] == pytest.approx(0.50, abs=0.07)
    assert abs(found["identifiable"] - found["identifiable_holdout"]) < 3 * SHARE_SE
    assert found["gan_leaks"] == pytest.approx(0.5, abs=3 * AUC_SE)
    assert found["monte_carlo"] == pytest.approx(0.5, abs=3 * AUC_SE)
    assert abs(found["c_t"]) < 3 / np.sqrt(3)  # three standard deviations of three cells
    assert abs(found["gap"]) < 4


@pytest.mark.parametrize(
    ("kind", "identifiable_share", "in_holdout", "monte_carlo", "c_t", "gap"),
    [("copies", 0.77, 0.40, 0.724, -15.6, -100), ("loose copies", 0.74, 0.35, 0.750, -12.4, -20)],
)
def test_copies_are_caught_by_every_figure(kind, identifiable_share, in_holdout, monte_carlo, c_t, gap):
    found = figures(kind)
    assert found["identifiable"] == pytest.approx(identifiable_share, abs=0.05)
    assert found["identifiable_holdout"] == pytest.approx(in_holdout, abs=0.06)
    synthetic, train, _ = points(kind)
    copied = np.unique(((synthetic[:, None] - train[None]) ** 2).sum(-1).argmin(1))
    hit = len(copied) / N  # about 1 - 1/e; all others are as far from the samples as held-out points
    missed_se = np.sqrt((2 * N - len(copied) + 1) / (12 * N * (N - len(copied))))
    assert hit == pytest.approx(1 - np.exp(-1), abs=0.05)
    assert found["gan_leaks"] == pytest.approx(hit + (1 - hit) / 2, abs=3 * (1 - hit) * missed_se)  # 0.816 expected
    assert found["monte_carlo"] == pytest.approx(monte_carlo, abs=3 * 0.019)  # mean and deviation of 12 seeds
    assert found["c_t"] < c_t + 1.5
    assert found["gap"] < gap


def test_a_tenth_of_copies_shows_in_the_gap_and_weakly_elsewhere():
    found = figures("some")
    assert found["gap"] < -15
    assert found["identifiable"] > found["identifiable_holdout"]
    assert 0.5 < found["gan_leaks"] < 0.62
    assert -4 < found["c_t"] < 0.5


def test_collapse_without_copying_alarms_only_the_figure_that_is_known_to():
    found = figures("collapse")
    assert found["c_t"] < -10  # the false alarm: never read alone
    assert abs(found["identifiable"] - found["identifiable_holdout"]) < 3 * SHARE_SE
    assert found["gan_leaks"] == pytest.approx(0.5, abs=3 * AUC_SE)
    assert found["monte_carlo"] == pytest.approx(0.5, abs=3 * AUC_SE)
    assert abs(found["gap"]) < 4


def test_near_exact_copies_make_the_gap_enormous():
    _, train, holdout = points("fresh")
    copies = train + 1e-3 * np.random.default_rng(1).normal(size=train.shape)
    fit, miss = likelihood_gap(copies, train, holdout)
    assert fit.mean() - miss.mean() < -1000


def test_exact_copies_keep_the_gap_finite():
    _, train, holdout = points("fresh")
    assert np.isfinite(np.concatenate(likelihood_gap(train, train, holdout))).all()


def test_the_density_is_that_of_a_single_gaussian_where_there_is_one():
    rng = np.random.default_rng(0)
    train, holdout = rng.normal(size=(4000, 2)), rng.normal(size=(4000, 2))
    fit, miss = likelihood_gap(np.zeros((1, 2)), train, holdout)
    entropy = 100 * 0.5 * np.log(2 * np.pi * np.e)  # of a standard normal, per dimension
    assert fit.mean() == pytest.approx(entropy, rel=0.02)
    assert miss.mean() == pytest.approx(entropy, rel=0.02)


def test_no_figure_depends_on_units_order_or_rotation():
    synthetic, train, holdout = (part[:120] for part in points("some"))
    turn, _ = np.linalg.qr(np.random.default_rng(2).normal(size=(D, D)))
    each, rng = np.arange(120), np.random.default_rng
    moved = [part @ turn * 3 + 1 for part in (synthetic[::-1], train, holdout)]
    before = identifiable(synthetic, train, holdout, each, each, rng(0))
    after = identifiable(*moved, each, each, rng(0))
    np.testing.assert_array_equal(before, after)
    np.testing.assert_allclose(3 * gan_leaks_scores(train, synthetic), gan_leaks_scores(moved[1], moved[0]), rtol=1e-9)
    scaled = likelihood_gap(*(5 * part + 2 for part in (synthetic[::-1], train, holdout)))
    np.testing.assert_allclose(likelihood_gap(synthetic, train, holdout), scaled, rtol=1e-6)


def test_a_larger_training_set_is_not_more_identifiable_by_its_size():
    rng = np.random.default_rng(3)
    train, holdout, synthetic = rng.normal(size=(600, 8)), rng.normal(size=(100, 8)), rng.normal(size=(300, 8))
    known, unknown = identifiable(synthetic, train, holdout, np.arange(600), np.arange(100), rng, repeats=30)
    assert np.nanmean(known) - unknown.mean() == pytest.approx(0, abs=0.16)  # three standard errors at 100
    frames, _ = identifiable(
        synthetic, np.repeat(holdout, 2, 0), holdout, np.repeat(np.arange(100), 2), np.arange(100), rng, repeats=4
    )
    assert np.nanmean(frames) == pytest.approx(unknown.mean(), abs=0.1)  # a twin frame does not hide a patient


def test_identifiability_needs_others():
    one = np.zeros((3, 2))
    with pytest.raises(ValueError, match="at least two"):
        identifiable(one, one, one, np.zeros(3), np.arange(3), np.random.default_rng(0))


def test_the_rank_statistic_is_that_of_scipy():
    from scipy.stats import mannwhitneyu, norm

    rng = np.random.default_rng(0)
    first, second = rng.normal(size=60), rng.normal(0.3, 1, size=80)
    z = mann_whitney_z(first, second)
    p = mannwhitneyu(first, second, alternative="less", method="asymptotic", use_continuity=False).pvalue
    assert norm.cdf(z) == pytest.approx(p, abs=0.005)  # the continuity correction is the difference
    assert mann_whitney_z(second, first) == pytest.approx(-z, abs=0.02)


def test_too_few_samples_for_any_cell_say_nothing():
    rng = np.random.default_rng(0)
    assert np.isnan(data_copying(rng.normal(size=(10, 3)), rng.normal(size=(50, 3)), rng.normal(size=(50, 3))))
