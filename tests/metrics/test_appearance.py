from __future__ import annotations

import numpy as np
import pytest
from scipy.ndimage import gaussian_filter

from cmrsynth.metrics.appearance import appearance

IMAGES = np.random.default_rng(0).uniform(0.2, 0.8, (3, 32, 32))


def test_each_image_has_its_own_row():
    found = appearance(IMAGES)
    assert found.shape == (3, 19)
    order = [2, 0, 1]
    np.testing.assert_allclose(appearance(IMAGES[order]), found[order])
    np.testing.assert_allclose(appearance(IMAGES[1:2])[0], found[1])
    many = np.concatenate([IMAGES] * 100)  # more than one chunk
    np.testing.assert_allclose(appearance(many)[297:], found)


def test_brightness_moves_quantiles_and_blur_takes_the_high_bands():
    plain, brighter = appearance(IMAGES), appearance(IMAGES + 0.1)
    np.testing.assert_allclose(brighter[:, :7] - plain[:, :7], 0.1)
    np.testing.assert_allclose(brighter[:, 7:], plain[:, 7:], atol=1e-6)
    blurred = appearance(gaussian_filter(IMAGES, (0, 1, 1)))
    assert (blurred[:, 7:11] < plain[:, 7:11]).all()
    assert (plain[:, -1] - blurred[:, -1] > 1).all()  # more than a decade of power


def test_white_noise_has_a_flat_spectrum():
    noise = np.random.default_rng(1).normal(0, 0.1, (20, 64, 64))
    bands = appearance(noise)[:, 11:].mean(0)
    assert np.ptp(bands[1:]) < 0.1


def test_what_is_no_image_is_refused():
    for wrong in (np.zeros((32, 32)), np.zeros((2, 4, 4))):
        with pytest.raises(ValueError, match="8 x 8"):
            appearance(wrong)
