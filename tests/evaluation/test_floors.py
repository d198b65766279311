"""A floor that was measured on one set serves every set of as many images."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from cmrsynth.evaluation import two_sample
from cmrsynth.evaluation.distances import pixel_distances
from cmrsynth.evaluation.floors import Sample, known_floor, measure
from cmrsynth.evaluation.settings import EvaluationSettings
from cmrsynth.evaluation.texture import sliced_wasserstein_figures
from cmrsynth.evaluation.two_sample import two_sample_figure

SETTINGS = EvaluationSettings(resamples=20, floor_draws=2, segmenter_updates=2)


@pytest.fixture(scope="module")
def sets(toy_set):
    parts = [toy_set(name, 6, seed=seed) for name, seed in (("train", 0), ("holdout", 1), ("a", 2), ("b", 3))]
    blurred = np.clip(parts[3].images * 0.8 + 0.1, 0, 1).astype(np.float32)
    return (*parts[:3], replace(parts[3], images=blurred))


def test_a_known_floor_changes_no_figure(sets, monkeypatch) -> None:
    monkeypatch.setattr(two_sample, "FOLDS", 2)
    train, holdout, first, second = sets
    known = {figure.name: figure for figure in sliced_wasserstein_figures(train, holdout, first, SETTINGS)}
    beside = sliced_wasserstein_figures(train, holdout, second, SETTINGS, floors_from=known)
    assert beside == sliced_wasserstein_figures(train, holdout, second, SETTINGS)
    floor = two_sample_figure(train, holdout, first, SETTINGS)
    beside = two_sample_figure(train, holdout, second, SETTINGS, floor_from=floor)
    assert beside == two_sample_figure(train, holdout, second, SETTINGS)


def test_measure_takes_a_floor_over(sets) -> None:
    train, holdout, first, _ = (Sample(part.images.mean((1, 2))[:, None], part.patient_id) for part in sets)
    fresh = measure(lambda x, y: float(x.mean() - y.mean()), first, holdout, train, SETTINGS)
    again = measure(
        lambda x, y: float(x.mean() - y.mean()),
        first,
        holdout,
        train,
        SETTINGS,
        floor=(fresh.floor, fresh.floor_interval),
    )
    assert again == fresh


def test_the_floor_of_another_number_of_images_is_refused(sets) -> None:
    train, holdout, first, second = sets
    known = {figure.name: figure for figure in sliced_wasserstein_figures(train, holdout, first, SETTINGS)}
    with pytest.raises(ValueError, match="belongs to other counts"):
        sliced_wasserstein_figures(train, holdout, second.select(range(8)), SETTINGS, floors_from=known)
    assert known_floor(None, {}) is None


def test_distances_between_real_images_are_taken_over(sets) -> None:
    train, holdout, first, second = sets
    known = pixel_distances(train, holdout, first)
    found, fresh = pixel_distances(train, holdout, second, known), pixel_distances(train, holdout, second)
    assert found.holdout_train is known.holdout_train
    for name in ("synthetic_train", "synthetic_holdout", "planted_train", "holdout_holdout"):
        np.testing.assert_array_equal(getattr(found, name), getattr(fresh, name))
