from __future__ import annotations

import numpy as np
import pytest
import torch

from cmrsynth.attacks.frequency import FCRE, band_mask, band_pass


def power(images):
    return images.square().flatten(1).mean(1)


def cosine(cycles: float, side: int = 40):
    return torch.cos(2 * torch.pi * cycles * torch.arange(side, dtype=torch.float64) / side).expand(1, 1, side, side)


def test_a_band_of_everything_keeps_all_power():
    images = torch.from_numpy(np.random.default_rng(0).normal(size=(3, 1, 16, 24)))
    mask = torch.from_numpy(band_mask(16, 24, (0.0, 3.0)))
    torch.testing.assert_close(power(band_pass(images, mask)), power(images), rtol=1e-6, atol=0)
    assert band_mask(16, 16, (0.0, 1.5)).all()


def test_waves_outside_the_band_vanish_and_those_inside_keep_their_power():
    mask = torch.from_numpy(band_mask(40, 40, (0.15, 0.85)))
    for share, kept in ((0.05, 0.0), (0.5, 0.5), (0.95, 0.0)):  # a cosine has the power 1/2
        found = power(band_pass(cosine(share * 20), mask)).item()
        assert found == pytest.approx(kept, abs=1e-12), share


@pytest.mark.parametrize("side", [16, 17])
def test_the_mask_is_symmetric_so_that_filtered_images_are_real(side):
    mask = band_mask(side, side, (0.15, 0.85))
    mirrored = np.roll(mask[::-1, ::-1], 1, (0, 1))
    np.testing.assert_array_equal(mask, mirrored)


def test_an_unknown_score_is_refused():
    with pytest.raises(ValueError, match="score"):
        FCRE(score="l1")
