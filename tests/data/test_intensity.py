from __future__ import annotations

from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path

import numpy as np
import pytest

from cmrsynth.data.bias_field import BiasFieldCorrection
from cmrsynth.data.intensity import ForegroundZScore, MinMax, PercentileClip
from cmrsynth.errors import InputError

_spec = spec_from_file_location("studies", Path(__file__).with_name("studies.py"))
studies = module_from_spec(_spec)
_spec.loader.exec_module(studies)


STEPS = [MinMax(), PercentileClip(), ForegroundZScore()]


def test_percentile_known_answer():
    """0..100 in steps of 1: the 10th and 90th percentiles are 10 and 90."""
    ramp = np.arange(101.0)
    study = studies.beating_study(shape=(1, 101), radii=(5,), centre=(0, 50))
    study = studies.with_images(study, lambda image: np.broadcast_to(ramp, image.shape))
    out = PercentileClip(10, 90)(study).volumes[0].image[0, 0]
    np.testing.assert_allclose(out, np.clip((ramp - 10) / 80, 0, 1), atol=1e-6)


def test_min_max_known_answer():
    out = MinMax()(studies.beating_study()).volumes
    assert all(volume.image.min() == 0 and volume.image.max() == 1 for volume in out)


def test_z_score_known_answer():
    """Foreground 100 and 140 in equal parts: mean 120, deviation 20, so 140 is +1, which is 0.6 of [-5, 5]."""
    image = np.zeros((1, 20, 20), np.float32)
    image[0, 5:15, 5:10], image[0, 5:15, 10:15] = 100, 140
    study = studies.beating_study(shape=(20, 20), radii=(5,))
    out = ForegroundZScore()(studies.with_images(study, lambda _: image)).volumes[0].image
    assert [float(out[0, 8, c]) for c in (7, 12)] == pytest.approx([0.4, 0.6])
    assert out[0, 0, 0] == 0


@pytest.mark.parametrize("step", STEPS)
def test_output_is_float32_in_the_unit_interval(step):
    for volume in step(studies.beating_study()).volumes:
        assert volume.image.dtype == np.float32
        assert 0 <= volume.image.min() < volume.image.max() <= 1


@pytest.mark.parametrize("step", STEPS)
def test_gain_and_offset_of_the_scanner_do_not_matter(step):
    study = studies.beating_study()
    other = studies.with_images(study, lambda image: 3.5 * image + 40)
    for a, b in zip(step(study).volumes, step(other).volumes, strict=True):
        np.testing.assert_allclose(a.image, b.image, atol=2e-3)


@pytest.mark.parametrize("step", STEPS)
def test_the_mask_is_not_looked_at(step):
    study = studies.beating_study()
    blank = studies.with_masks(study, np.zeros_like)
    for a, b in zip(step(study).volumes, step(blank).volumes, strict=True):
        np.testing.assert_array_equal(a.image, b.image)


def test_window_is_per_volume_not_per_slice():
    study = studies.with_images(studies.beating_study(), lambda image: image * np.linspace(1, 0.5, 5)[:, None, None])
    means = PercentileClip()(study).volumes[0].image.mean(axis=(1, 2))
    assert means[0] > means[-1] + 0.1


@pytest.mark.parametrize("step", STEPS)
def test_a_flat_volume_gives_no_nan(step):
    flat = studies.with_images(studies.beating_study(), lambda image: np.full(image.shape, 7.0))
    assert np.isfinite(step(flat).volumes[0].image).all()


@pytest.mark.parametrize("window", [(5, 5), (-1, 99), (1, 101), (99, 1)])
def test_impossible_percentiles_are_refused(window):
    with pytest.raises(InputError, match="do not make a window"):
        PercentileClip(*window)


def gained(study):
    """The study under a smooth coil gain from 0.6 to 1.6 across the slice."""
    rows, columns = np.indices(study.volumes[0].image.shape[-2:]) / np.array(study.volumes[0].image.shape[-2:]).max()
    gain = 0.6 + rows * 0.6 + columns * 0.4
    return studies.with_images(study, lambda image: image * gain)


def test_n4_removes_most_of_a_gain_field():
    pytest.importorskip("SimpleITK")
    study = gained(studies.beating_study(shape=(64, 64), radii=(14, 13, 12, 11)))
    corrected = BiasFieldCorrection()(study).volumes[0]
    background = corrected.mask == 0

    def unevenness(image):
        return float(np.std(image[background]) / np.mean(image[background]))

    assert unevenness(corrected.image) < 0.4 * unevenness(study.volumes[0].image)
    again = BiasFieldCorrection()(study).volumes[0]
    np.testing.assert_array_equal(corrected.image, again.image)


def test_n4_takes_a_single_slice():
    pytest.importorskip("SimpleITK")
    study = gained(studies.beating_study(shape=(64, 64), radii=(14,)))
    assert BiasFieldCorrection()(study).volumes[0].image.shape == (1, 64, 64)


def test_missing_simple_itk_is_explained(monkeypatch):
    import sys

    monkeypatch.setitem(sys.modules, "SimpleITK", None)
    with pytest.raises(InputError, match=r'pip install "cmrsynth\[n4\]"'):
        BiasFieldCorrection()(studies.beating_study())
