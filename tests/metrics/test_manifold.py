from __future__ import annotations

import numpy as np
import pytest

from cmrsynth.metrics import manifold
from cmrsynth.metrics.manifold import prdc

N, D = 500, 16


def _normal(seed):
    return np.random.default_rng(seed).normal(size=(N, D))


def test_one_distribution_gives_the_null_values():
    found = [prdc(_normal(s), _normal(s + 50)) for s in range(4)]
    mean = {key: np.mean([each[key] for each in found]) for key in found[0]}
    assert mean["coverage"] == pytest.approx(1 - 2**-5, abs=0.01)
    assert mean["density"] == pytest.approx(1.03, abs=0.05)
    assert mean["precision"] == pytest.approx(0.878, abs=0.03)
    assert mean["recall"] == pytest.approx(0.878, abs=0.03)


def test_mode_collapse_shows_in_recall_and_density_not_in_coverage():
    found = prdc(_normal(0), 0.3 * _normal(1))
    assert found["precision"] == 1
    assert found["recall"] < 0.02
    assert found["density"] > 8
    assert found["coverage"] > 0.8


def test_one_repeated_image_covers_and_recalls_next_to_nothing():
    real = _normal(0)
    found = prdc(real, np.repeat(real[:1], 40, axis=0))
    assert found["precision"] == 1  # it is real
    assert found["coverage"] < 0.1
    assert found["recall"] <= 1 / N


def test_far_away_images_score_zero():
    assert prdc(_normal(0), _normal(1) + 50) == {"precision": 0, "recall": 0, "density": 0, "coverage": 0}


def test_real_duplicates_still_hold_their_copies():
    real = np.repeat(np.arange(4.0)[:, None], 6, axis=0)  # every ball has radius 0
    assert prdc(real, real)["precision"] == prdc(real, real)["coverage"] == 1


def test_blocks_order_and_rotation_change_nothing(monkeypatch):
    rng = np.random.default_rng(3)
    real, synthetic = rng.normal(size=(60, 5)), rng.normal(size=(45, 5)) + 0.5
    expected = prdc(real, synthetic)
    assert prdc(real[::-1], synthetic[::-1]) == pytest.approx(expected)
    rotation = np.linalg.qr(rng.normal(size=(5, 5)))[0]
    assert prdc(real @ rotation, synthetic @ rotation) == pytest.approx(expected)
    monkeypatch.setattr(manifold, "_ROWS", 7)
    assert prdc(real, synthetic) == pytest.approx(expected)


def test_it_agrees_with_scikit_learn_neighbours():
    from sklearn.neighbors import NearestNeighbors

    rng = np.random.default_rng(4)
    real, synthetic = rng.normal(size=(50, 4)), rng.normal(size=(40, 4)) + 0.7
    radius = NearestNeighbors(n_neighbors=3).fit(real).kneighbors()[0][:, -1]  # without arguments self is left out
    inside = np.linalg.norm(real[:, None] - synthetic[None], axis=2) <= radius[:, None]
    found = prdc(real, synthetic, k=3)
    assert found["precision"] == inside.any(0).mean()
    assert found["density"] == pytest.approx(inside.sum(0).mean() / 3)
    assert found["coverage"] == inside.any(1).mean()


def test_too_few_images_are_refused():
    with pytest.raises(ValueError, match="more than 5"):
        prdc(np.zeros((5, 2)), np.zeros((9, 2)))
