from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from scipy.ndimage import gaussian_filter

from cmrsynth.evaluation import radiomics as figures
from cmrsynth.evaluation.figure import DO_NOT_SHARE, GOOD, NOT_COMPUTED
from cmrsynth.evaluation.radiomics import radiomics_figures
from cmrsynth.evaluation.settings import EvaluationSettings
from cmrsynth.metrics.radiomics import RadiomicFeatures, available_backend

SETTINGS = EvaluationSettings(resamples=200, floor_draws=2)


@pytest.fixture(scope="module")
def sets(toy_set):
    return toy_set("train", 14, seed=0), toy_set("holdout", 12, seed=1), toy_set("other", 13, seed=2)


def blurred(part):
    return replace(part, images=gaussian_filter(part.images, (0, 1, 1)).astype(np.float32))


@pytest.fixture
def stand_in(monkeypatch):
    """Four features of image and region in the place of a radiomics package."""

    def features(images, *, roi=None):
        roi = np.ones(images.shape, bool) if roi is None else roi
        detail = images - gaussian_filter(images, (0, 1, 1))
        values = [
            [f(each[inside]) for each in (image, fine) for f in (np.mean, np.std)]
            for image, fine, inside in zip(images, detail, roi, strict=True)
        ]
        return RadiomicFeatures(np.array(values), ("a", "b", "c", "d"), "stand-in 1")

    monkeypatch.setattr(figures, "available_backend", lambda: "stand-in")
    monkeypatch.setattr(figures, "radiomic_features", features)


def test_real_patients_pass_and_blur_does_not_in_the_image_nor_in_the_heart(sets, stand_in):
    train, holdout, other = sets
    good = radiomics_figures(train, holdout, other, SETTINGS)
    bad = radiomics_figures(train, holdout, blurred(other), SETTINGS)
    assert [figure.name for figure in good] == ["frechet_radiomics", "frechet_radiomics_heart"]
    assert [figure.verdict for figure in good] == [GOOD, GOOD]
    assert [figure.verdict for figure in bad] == [DO_NOT_SHARE, DO_NOT_SHARE]
    for figure in (*good, *bad):
        low, high = figure.interval
        assert low <= figure.value <= high
        assert figure.details["log"] == pytest.approx(np.log(figure.value))
        assert figure.details["columns"] == ["a", "b", "c", "d"]
        assert "stand-in 1, 4 features" in figure.made_with


def test_few_images_get_shrunk_covariances_and_say_so(sets, stand_in, monkeypatch):
    monkeypatch.setattr(figures, "PLAIN", 100)
    figure = radiomics_figures(*sets, SETTINGS)[0]
    assert "shrunk" in figure.title
    assert "Ledoit-Wolf" in figure.reading
    assert figure.details["shrunk"]


def test_large_sets_are_represented_by_some_of_their_images(sets, stand_in, monkeypatch):
    monkeypatch.setattr(figures, "MOST", 30)
    figure = radiomics_figures(*sets, SETTINGS)[0]
    assert figure.n["synthetic"] == figure.n["reference"] == 30
    assert figure.value == radiomics_figures(*sets, SETTINGS)[0].value


def test_sets_without_hearts_have_no_distance_of_the_heart(sets, stand_in):
    train, holdout, other = sets
    empty = replace(other, masks=0 * other.masks)
    whole, heart = radiomics_figures(train, holdout, empty, SETTINGS)
    assert whole.value is not None
    assert heart.verdict == NOT_COMPUTED
    assert "the smallest has 0" in heart.reading


def test_without_a_package_the_figures_name_the_extra(sets, monkeypatch):
    monkeypatch.setattr(figures, "available_backend", lambda: None)
    found = radiomics_figures(*sets, SETTINGS)
    assert {figure.verdict for figure in found} == {NOT_COMPUTED}
    assert all("cmrsynth[radiomics]" in figure.reading for figure in found)


@pytest.mark.skipif(available_backend() is None, reason="no radiomics package is installed")
@pytest.mark.slow
def test_with_a_real_package_real_patients_pass_and_blur_does_not(sets):
    train, holdout, other = sets
    assert radiomics_figures(train, holdout, other, SETTINGS)[0].verdict == GOOD
    assert radiomics_figures(train, holdout, blurred(other), SETTINGS)[0].verdict == DO_NOT_SHARE
