from __future__ import annotations

import numpy as np
import pytest
from scipy.ndimage import gaussian_filter

from cmrsynth.evaluation import features
from cmrsynth.evaluation.encoder import Encoder
from cmrsynth.evaluation.features import encoder_figures_extra, feature_figures
from cmrsynth.evaluation.figure import DO_NOT_SHARE, GOOD, NOT_COMPUTED
from cmrsynth.evaluation.floors import Sample
from cmrsynth.evaluation.settings import EvaluationSettings
from cmrsynth.metrics.frechet import frechet_distance
from cmrsynth.metrics.mmd import cmmd, mmd_rbf

SETTINGS = EvaluationSettings(resamples=60, floor_draws=2)


def textures(images):
    detail = images - gaussian_filter(images, (0, 1, 1))
    return np.stack([f((1, 2)) for part in (images, 20 * detail) for f in (part.mean, part.std)], axis=1)


def encoder(kind="other", dimensions=4):
    return Encoder("textures", "0" * 64, textures, dimensions, kind=kind)


@pytest.fixture(scope="module")
def sets(toy_set):
    return toy_set("train", 20, seed=0), toy_set("holdout", 15, seed=1), toy_set("other", 18, seed=2)


@pytest.mark.parametrize("kind", ["other", "clip"])
def test_real_patients_pass_and_blur_does_not(sets, kind):
    from dataclasses import replace

    train, holdout, other = sets
    blurred = replace(other, images=gaussian_filter(other.images, (0, 1, 1)))
    good = encoder_figures_extra(train, holdout, other, encoder(kind), SETTINGS)
    bad = encoder_figures_extra(train, holdout, blurred, encoder(kind), SETTINGS)
    assert [f.name for f in good] == [
        "frechet_infinity_textures",
        f"{'cmmd' if kind == 'clip' else 'mmd_rbf'}_textures",
    ]
    assert [f.verdict for f in good] == [GOOD, GOOD]
    assert [f.verdict for f in bad] == [DO_NOT_SHARE, DO_NOT_SHARE]
    for figure in (*good, *bad):
        low, high = figure.interval
        assert low <= figure.value <= high
        assert figure.floor_interval is not None
        assert figure.details["encoder"] == "textures"


def test_the_values_are_those_of_the_metrics(sets, monkeypatch):
    monkeypatch.setattr(features, "LARGE", 3)
    train, holdout, other = sets
    x, y = textures(other.images).astype(float), textures(holdout.images).astype(float)
    extrapolated, kernel = encoder_figures_extra(train, holdout, other, encoder(), SETTINGS)
    assert kernel.value == pytest.approx(mmd_rbf(x, y), rel=1e-9)
    assert extrapolated.value < extrapolated.details["at_all_images"] == pytest.approx(frechet_distance(x, y))
    clip = encoder_figures_extra(train, holdout, other, encoder("clip"), SETTINGS)[1]
    assert clip.value == pytest.approx(cmmd(x, y), rel=1e-6)
    assert "ViT-L/14" in clip.reading  # four dimensions are not that network


def test_the_cardiac_encoder_needs_no_suffix_and_inception_is_called_by_its_name(sets):
    assert [f.name for f in encoder_figures_extra(*sets, encoder("cardiac"), SETTINGS)] == [
        "frechet_infinity",
        "mmd_rbf",
    ]
    assert encoder_figures_extra(*sets, encoder("inception"), SETTINGS)[0].title.startswith("FID of infinitely many")


def test_an_extrapolation_from_fewer_images_than_its_law_needs_is_refused(sets, monkeypatch):
    monkeypatch.setattr(features, "LARGE", 3)
    train, holdout, other = sets
    short = other.select(np.arange(40))
    extrapolated, kernel = encoder_figures_extra(train, holdout, short, encoder(), SETTINGS)
    assert extrapolated.verdict == NOT_COMPUTED
    assert "needs 50 synthetic" in extrapolated.reading
    assert kernel.value is not None
    wide = encoder_figures_extra(train, holdout, other, encoder(dimensions=30), SETTINGS)[0]
    assert "needs 150 synthetic" in wide.reading


def test_in_many_dimensions_the_extrapolation_stands_without_interval(sets, monkeypatch):
    monkeypatch.setattr(features, "LARGE", 3)
    figure = encoder_figures_extra(*sets, encoder(), SETTINGS)[0]
    assert figure.value is not None
    assert figure.floor is not None
    assert figure.interval is figure.floor_interval is None
    assert "No interval" in figure.reading


def test_the_interval_covers_patients_not_slices():
    rng = np.random.default_rng(0)

    def drawn(patients, slices):  # slices of a patient are alike
        rows = np.repeat(rng.normal(size=(patients, 3)), slices, 0) + 0.01 * rng.normal(size=(patients * slices, 3))
        return Sample(rows, np.repeat(np.arange(patients), slices))

    width = []
    for patients, slices in ((12, 10), (120, 1)):
        sets = [drawn(patients, slices) for _ in range(3)]
        n = {"synthetic": 120, "reference": 120, "patients": patients}
        low, high = feature_figures(sets, encoder(dimensions=30), SETTINGS, n)[1].interval
        width.append(high - low)
    assert width[0] > 2 * width[1]
