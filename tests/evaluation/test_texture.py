from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from scipy.ndimage import gaussian_filter

from cmrsynth.evaluation.figure import DO_NOT_SHARE, GOOD, LOOK, NOT_COMPUTED
from cmrsynth.evaluation.settings import EvaluationSettings
from cmrsynth.evaluation.texture import shared_heart, texture_figures

SETTINGS = EvaluationSettings(resamples=40, floor_draws=2)


@pytest.fixture(scope="module")
def sets(toy_set):
    # 4 mm pixels: the 10 mm around the heart leave some background in an image of 32 pixels
    wide = [toy_set(name, 12, seed=seed) for name, seed in (("train", 0), ("holdout", 1), ("third", 2))]
    return tuple(replace(part, pixel_spacing=2 * part.pixel_spacing) for part in wide)


@pytest.fixture(scope="module")
def judged(sets):
    train, holdout, third = sets

    def of(images):
        figures = texture_figures(train, holdout, replace(third, images=images.astype(np.float32)), SETTINGS)
        return {figure.name.removeprefix("sliced_wasserstein_"): figure for figure in figures}

    return of


@pytest.fixture(scope="module")
def damaged(sets):
    """The images with every second row moved by three pixels: all pixels are real, their order is not."""
    images = sets[2].images.copy()
    images[:, ::2] = np.roll(images[:, ::2], 3, axis=2)
    return images


def test_other_real_patients_pass(sets, judged):
    assert {f.verdict for f in judged(sets[2].images).values()} == {GOOD}


def test_blur_is_found_in_heart_and_background(sets, judged):
    figures = judged(gaussian_filter(sets[2].images, (0, 1, 1)))
    assert figures["heart"].verdict in (LOOK, DO_NOT_SHARE)
    assert figures["background"].verdict in (LOOK, DO_NOT_SHARE)
    assert figures["background"].details["fine_log_ratio"] < -1
    assert "fine detail of held-out patients" in figures["background"].reading


def test_a_checkerboard_is_found(sets, judged):
    rows, columns = np.mgrid[:32, :32]
    figures = judged(np.clip(sets[2].images + 0.05 * (-1.0) ** (rows + columns), 0, 1))
    assert figures["background"].verdict in (LOOK, DO_NOT_SHARE)


def test_a_real_heart_in_a_torn_background(sets, judged, damaged):
    heart = shared_heart(sets[2])[0]
    figures = judged(np.where(heart, sets[2].images, damaged))
    assert figures["background"].verdict in (LOOK, DO_NOT_SHARE)
    assert figures["heart"].verdict == GOOD


def test_a_torn_heart_in_a_real_background(sets, judged, damaged):
    heart = shared_heart(sets[2])[0]
    figures = judged(np.where(heart, damaged, sets[2].images))
    assert figures["heart"].verdict in (LOOK, DO_NOT_SHARE)
    assert figures["background"].verdict == GOOD


def test_masks_without_a_heart_are_said_not_computed(sets):
    train, holdout, third = sets
    empty = replace(third, masks=np.zeros_like(third.masks))
    figures = {f.name: f for f in texture_figures(train, holdout, empty, SETTINGS)}
    assert figures["sliced_wasserstein_heart"].verdict == NOT_COMPUTED
    assert figures["sliced_wasserstein_background"].value is not None
