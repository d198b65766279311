from __future__ import annotations

import sys
from types import ModuleType

import numpy as np
import pytest
from scipy.ndimage import gaussian_filter

from cmrsynth.metrics import paired
from cmrsynth.metrics.paired import lpips, ms_ssim, ms_ssim_scales, psnr, ssim


def _images(seed, count=3, side=64):
    rng = np.random.default_rng(seed)
    smooth = gaussian_filter(rng.normal(size=(count, side, side)), (0, 2, 2))
    return np.clip(0.5 + 1.2 * smooth, 0, 1)


def test_psnr_of_a_known_error_is_20_db_and_of_equal_images_infinite():
    x = np.full((2, 16, 16), 0.5)
    np.testing.assert_allclose(psnr(x, x + np.array([0.1, -0.01])[:, None, None]), [20, 40], atol=1e-4)
    assert np.isinf(psnr(x, x)).all()


def test_ssim_of_constant_images_is_its_luminance_term():
    a, b, c1 = 0.3, 0.5, 0.01**2
    found = ssim(np.full((1, 32, 32), a), np.full((1, 32, 32), b))
    assert found[0] == pytest.approx((2 * a * b + c1) / (a * a + b * b + c1), abs=1e-5)


def test_ssim_agrees_with_scikit_image():
    metrics = pytest.importorskip("skimage.metrics")
    x, y = _images(0), _images(1)
    for one, other, found in zip(x, y, ssim(x, y), strict=True):
        _, local = metrics.structural_similarity(
            one, other, data_range=1.0, gaussian_weights=True, sigma=1.5, use_sample_covariance=False, full=True
        )
        # away from the border, whose padding differs between the two
        inside = np.zeros((1, 64, 64), bool)
        inside[:, 8:-8, 8:-8] = True
        ours = ssim(one[None], other[None], roi=inside)[0]
        assert ours == pytest.approx(local[8:-8, 8:-8].mean(), abs=1e-4)
        assert found == pytest.approx(local.mean(), abs=0.02)


def test_the_region_takes_out_a_background_that_flatters():
    x = np.zeros((1, 64, 64))
    x[:, 20:44, 20:44] = _images(0, 1, 24)
    y = np.zeros((1, 64, 64))
    y[:, 20:44, 20:44] = _images(1, 1, 24)
    roi = np.zeros((1, 64, 64), bool)
    roi[:, 20:44, 20:44] = True
    assert ssim(x, y, roi=roi)[0] < 0.4 < 0.8 < ssim(x, y)[0]
    assert ssim(x, y, roi=np.ones_like(roi)) == pytest.approx(ssim(x, y), abs=1e-5)
    assert np.isnan(ssim(x, y, roi=np.zeros_like(roi))).all()


@pytest.mark.parametrize("side", [16, 32, 64, 128])
def test_equal_images_are_wholly_alike_at_every_size(side):
    x = _images(0, 2, side)
    np.testing.assert_allclose(ms_ssim(x, x), 1, atol=1e-5)
    np.testing.assert_allclose(ssim(x, x), 1, atol=1e-5)


@pytest.mark.parametrize("scales_of", [(21, 1), (22, 2), (43, 2), (44, 3), (98, 3), (99, 4), (175, 4), (176, 5)])
def test_the_number_of_scales_leaves_room_for_the_window(scales_of):
    side, scales = scales_of
    assert ms_ssim_scales(side, 300) == scales
    x = _images(0, 1, side)
    assert np.isfinite(ms_ssim(x, np.roll(x, 1, 1))).all()


def test_ms_ssim_weights_are_scaled_to_one_where_scales_are_left_out():
    # constant images differ in luminance only, which counts at the coarsest scale with its weight
    a, b, c1 = 0.3, 0.5, 0.01**2
    luminance = (2 * a * b + c1) / (a * a + b * b + c1)
    weights = np.array(paired.MS_SSIM_WEIGHTS[:3])
    expected = luminance ** (weights[-1] / weights.sum())
    assert ms_ssim(np.full((1, 64, 64), a), np.full((1, 64, 64), b))[0] == pytest.approx(expected, abs=1e-5)


@pytest.mark.parametrize("figure", [psnr, ssim, ms_ssim])
def test_more_noise_is_less_alike_and_pairs_are_independent_of_batch_and_order(figure, monkeypatch):
    x = _images(0, 5)
    noise = np.random.default_rng(0).normal(size=x.shape)
    y = np.clip(x + 0.05 * noise, 0, 1)
    found = figure(x, y)
    assert (figure(x, np.clip(x + 0.2 * noise, 0, 1)) < found).all()
    np.testing.assert_allclose(figure(y, x), found, rtol=1e-4)
    np.testing.assert_allclose(figure(x[::-1], y[::-1]), found[::-1], rtol=1e-5)
    monkeypatch.setattr(paired, "_BATCH_PIXELS", 2 * 64 * 64)
    np.testing.assert_allclose(figure(x, y), found, rtol=1e-5)


@pytest.mark.parametrize(
    ("x", "y", "said"),
    [
        (np.zeros((2, 32, 32)), np.zeros((3, 32, 32)), "one shape"),
        (np.zeros((2, 8, 8)), np.zeros((2, 8, 8)), "at least 11"),
        (np.zeros((0, 32, 32)), np.zeros((0, 32, 32)), "one shape"),
        (np.zeros((2, 32, 32), np.uint8), np.zeros((2, 32, 32), np.uint8), "uint8"),
        (np.zeros((2, 32, 32)), np.full((2, 32, 32), 255.0), r"\[0, 1\]"),
        (np.zeros((2, 32, 32)), np.full((2, 32, 32), np.nan), r"\[0, 1\]"),
    ],
)
def test_pairs_that_cannot_be_compared_are_refused(x, y, said):
    with pytest.raises(ValueError, match=said):
        ssim(x, y)


def test_a_region_of_another_shape_is_refused():
    with pytest.raises(ValueError, match="roi"):
        ssim(np.zeros((2, 32, 32)), np.zeros((2, 32, 32)), roi=np.ones((2, 16, 16)))


def test_lpips_without_torchvision_names_the_extra(monkeypatch):
    monkeypatch.setitem(sys.modules, "torchvision", None)
    with pytest.raises(ImportError, match=r"cmrsynth\[lpips\]"):
        lpips(_images(0), _images(1))


def test_lpips_hands_over_three_channels_in_the_range_it_announces(monkeypatch):
    from torchmetrics.image import lpip

    calls = []

    class StandIn:
        def __init__(self, *, net_type, normalize):
            calls.append((net_type, normalize))

        def eval(self):
            return self

        def reset(self):
            pass

        def __call__(self, one, other):
            assert one.shape == other.shape == (1, 3, 64, 64)
            assert 0 <= float(one.min()) <= float(one.max()) <= 1
            return (one - other).abs().mean()

    monkeypatch.setitem(sys.modules, "torchvision", ModuleType("torchvision"))
    monkeypatch.setattr(lpip, "LearnedPerceptualImagePatchSimilarity", StandIn)
    x, y = _images(0), _images(1)
    np.testing.assert_allclose(lpips(x, y, network="vgg"), np.abs(x - y).mean((1, 2)), rtol=1e-5)
    assert calls == [("vgg", True)]
