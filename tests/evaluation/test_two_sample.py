from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from scipy.ndimage import gaussian_filter

from cmrsynth.evaluation import two_sample
from cmrsynth.evaluation.figure import DO_NOT_SHARE, GOOD, LOOK, NOT_COMPUTED
from cmrsynth.evaluation.floors import Measured
from cmrsynth.evaluation.settings import EvaluationSettings
from cmrsynth.evaluation.two_sample import judge_two_sample, two_sample_figure
from cmrsynth.evaluation.verdict import overall

SETTINGS = EvaluationSettings(resamples=60)


@pytest.fixture(scope="module")
def sets(toy_set):
    return tuple(toy_set(name, 12, seed=seed) for name, seed in (("train", 0), ("holdout", 1), ("third", 2)))


@pytest.fixture
def judged(sets, monkeypatch):
    """A function that judges images, with few updates: what is planted here is plain."""
    monkeypatch.setattr(two_sample, "UPDATES", 40)
    monkeypatch.setattr(two_sample, "FOLDS", 2)
    monkeypatch.setattr(two_sample, "FLOOR_DRAWS", 1)
    return lambda images: two_sample_figure(
        sets[0], sets[1], replace(sets[2], images=images.astype(np.float32)), SETTINGS
    )


def test_other_real_patients_pass(sets, judged):
    figure = judged(sets[2].images)
    assert figure.verdict == GOOD, figure
    assert figure.headline
    assert figure.floor_interval[0] <= figure.floor <= figure.floor_interval[1]
    assert figure.planted is not None


@pytest.mark.slow  # the catalogue of planted failures holds this case too
def test_a_faint_checkerboard_gives_images_away(sets, judged):
    rows, columns = np.mgrid[:32, :32]
    assert judged(sets[2].images + 0.04 * (-1.0) ** (rows + columns)).verdict in (LOOK, DO_NOT_SHARE)


def test_a_test_that_saw_nothing_says_so(sets, judged, monkeypatch):
    monkeypatch.setattr(two_sample, "PLANTED_BLUR", 1e-3)  # a blur that changes nothing stands for a blind network
    assert "missed a planted blur" in judged(sets[2].images).reading


def test_blur_gives_images_away_but_alone_makes_no_set_unfit(sets, judged):
    figure = judged(gaussian_filter(sets[2].images, (0, 1, 1)))
    assert figure.verdict == DO_NOT_SHARE, figure
    assert "nearly always" in figure.reading
    assert overall([figure])["fidelity"] == LOOK
    other = replace(figure, name="sliced_wasserstein_finest", verdict=LOOK, details={})
    assert overall([figure, other])["fidelity"] == DO_NOT_SHARE


def test_one_patient_cannot_be_tested(sets):
    train, holdout, third = sets
    figure = two_sample_figure(train, holdout, third.select(np.arange(4)), SETTINGS)
    assert figure.verdict == NOT_COMPUTED


@pytest.mark.parametrize(
    ("value", "half_width", "floor_top", "verdict"),
    [
        (0.6, 0.1, 0.6, GOOD),
        (0.77, 0.05, 0.6, LOOK),  # visibly smoothed
        (0.96, 0.03, 0.6, DO_NOT_SHARE),
        (0.95, 0.4, 0.6, LOOK),  # too few patients to be sure
        (0.75, 0.1, 0.78, GOOD),  # two groups of real patients differ as much
        (0.85, 0.02, 0.99, LOOK),  # however uncertain the floor
    ],
)
def test_the_rule(value, half_width, floor_top, verdict):
    measured = Measured(value, (value - half_width, value + half_width), 0.5, (0.4, floor_top))
    assert judge_two_sample(measured).verdict == verdict
