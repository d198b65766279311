from __future__ import annotations

import numpy as np
import pytest
from scipy.ndimage import gaussian_filter
from scipy.stats import wasserstein_distance

from cmrsynth.metrics.texture import (
    SlicedWasserstein,
    laplacian_pyramid,
    patch_statistics,
    radial_power_spectrum,
    sliced_wasserstein,
    sliced_wasserstein_from_statistics,
    spectrum_distance,
)

FEW = {"patches_per_image": 32, "num_projections": 32}


def _textures(count, seed, side=64):
    """Tissue-like fields: large structure and fine grain."""
    rng = np.random.default_rng(seed)
    coarse = gaussian_filter(rng.normal(size=(count, side, side)), (0, 5, 5)) * 3
    fine = gaussian_filter(rng.normal(size=(count, side, side)), (0, 0.7, 0.7)) * 0.15
    return np.clip(0.5 + 0.3 * coarse + fine, 0, 1).astype(np.float32)


def _blur(images, sigma):
    return gaussian_filter(images, (0, sigma, sigma))


# The pyramid


@pytest.mark.parametrize("shape", [(64, 64), (48, 80), (65, 37)])
def test_the_pyramid_adds_up_to_the_image(shape):
    from cmrsynth.metrics import texture

    images = np.random.default_rng(0).random((2, *shape), dtype=np.float32)
    *details, rebuilt = laplacian_pyramid(images)
    for detail in reversed(details):
        rebuilt = detail + texture._enlarged(rebuilt, detail.shape)
    np.testing.assert_allclose(rebuilt, images, atol=1e-6)


def test_a_constant_image_has_no_detail():
    *details, rest = laplacian_pyramid(np.full((1, 96, 64), 0.3))
    assert max(np.abs(detail).max() for detail in details) < 1e-6
    np.testing.assert_allclose(rest, 0.3, rtol=1e-6)


def test_fine_and_coarse_waves_land_on_their_levels():
    column = np.arange(64)
    power = {}
    for period in (2.5, 16):
        wave = np.broadcast_to(np.sin(2 * np.pi * column / period), (1, 64, 64))
        power[period] = [float((level**2).mean()) for level in laplacian_pyramid(wave)]
    assert np.argmax(power[2.5]) == 0
    assert power[2.5][1] < 0.05 * power[2.5][0]
    assert power[16][0] < 0.2 * power[16][1] < power[16][1] < power[16][2]


def test_images_smaller_than_a_patch_are_refused():
    with pytest.raises(ValueError, match="at least 7 pixels"):
        laplacian_pyramid(np.zeros((2, 6, 64)))


# The sliced Wasserstein distance


def test_one_set_is_at_distance_zero_from_itself():
    images = _textures(10, 0)
    assert set(sliced_wasserstein(images, images, **FEW)) == {"level_0", "level_1", "level_2", "mean"}
    assert max(sliced_wasserstein(images, images, **FEW).values()) < 1e-6


@pytest.mark.parametrize("sizes", [(12, 12), (12, 17)])
def test_it_equals_scipy_per_projection_for_equal_and_unequal_sizes(sizes):
    x, y = (
        patch_statistics(_textures(n, s), levels=1, patches_per_image=9, num_projections=5) for s, n in enumerate(sizes)
    )
    first, second = (each.projections[0].reshape(-1, 5) for each in (x, y))
    mean, square = y.moments[0].mean(0)
    expected = np.mean([wasserstein_distance(first[:, k], second[:, k]) for k in range(5)])
    found = sliced_wasserstein_from_statistics(x, y)
    assert found["level_0"] == pytest.approx(1e3 * expected / np.sqrt(square - mean**2), rel=1e-5)


def test_resampled_rows_equal_the_resampled_set():
    x, y = (patch_statistics(_textures(15, s), **FEW) for s in (0, 1))
    rows, other = np.random.default_rng(2).integers(0, 15, (2, 15))
    comparison = SlicedWasserstein(x, y)
    first, second = (each.projections[2] for each in (x, y))
    mean, square = y.moments[2][other].mean(0)
    expected = np.mean(
        [wasserstein_distance(first[rows, :, k].ravel(), second[other, :, k].ravel()) for k in range(32)]
    )
    found = comparison.distance(rows, other)
    assert found["level_2"] == pytest.approx(1e3 * expected / np.sqrt(square - mean**2), rel=1e-5)
    assert comparison.distance() == comparison.distance(np.arange(15), np.arange(15))
    taken = SlicedWasserstein(x.take(rows), y.take(other)).distance()
    assert taken == pytest.approx(found, rel=1e-6)


def test_blur_raises_the_finest_level_far_above_the_floor():
    real, others = _textures(60, 0), _textures(60, 1)
    floor = sliced_wasserstein(others, real, **FEW)["level_0"]
    found = [sliced_wasserstein(_blur(others, sigma), real, **FEW)["level_0"] for sigma in (0.5, 1, 2)]
    assert found[0] > 4 * floor
    assert found[1] > 7 * floor
    assert found == sorted(found)


def test_noise_and_lost_contrast_are_seen():
    real, others = _textures(60, 0), _textures(60, 1)
    floor = sliced_wasserstein(others, real, **FEW)
    noisy = others + np.random.default_rng(2).normal(0, 0.03, others.shape)
    assert sliced_wasserstein(noisy, real, **FEW)["level_0"] > 3 * floor["level_0"]
    assert sliced_wasserstein(0.5 + 0.5 * (others - 0.5), real, **FEW)["mean"] > 3 * floor["mean"]


def test_one_repeated_image_is_seen():
    real = _textures(60, 0)
    floor = sliced_wasserstein(_textures(60, 1), real, **FEW)["mean"]
    assert sliced_wasserstein(np.repeat(_textures(1, 2), 60, axis=0), real, **FEW)["mean"] > 2 * floor


def test_scaling_both_sets_changes_nothing_and_order_hardly_anything():
    real, others = _textures(40, 0), _textures(40, 1)
    expected = sliced_wasserstein(others, real, **FEW)
    assert sliced_wasserstein(3 * others, 3 * real, **FEW) == pytest.approx(expected, rel=1e-4)
    blurred = _blur(others, 1)
    moved = sliced_wasserstein(blurred[::-1], real[::-1], **FEW)["mean"]
    assert moved == pytest.approx(sliced_wasserstein(blurred, real, **FEW)["mean"], rel=0.1)


def test_the_seed_fixes_patches_and_directions():
    real, others = _textures(8, 0), _textures(8, 1)
    runs = [sliced_wasserstein(others, real, **FEW, seed=seed)["mean"] for seed in (0, 0, 1)]
    assert runs[0] == runs[1] != runs[2]


def test_statistics_with_other_settings_cannot_be_compared():
    images = _textures(3, 0)
    with pytest.raises(ValueError, match="patch statistics"):
        SlicedWasserstein(patch_statistics(images, seed=0), patch_statistics(images, seed=1))
    with pytest.raises(ValueError, match="sizes"):
        sliced_wasserstein(images, _textures(3, 0, side=32))


# The power spectrum


def test_white_noise_has_its_variance_at_every_radius():
    noise = np.random.default_rng(0).normal(0, 0.5, (300, 32, 40)) + 7
    spectrum = radial_power_spectrum(noise)
    assert spectrum.shape == (300, 16)
    np.testing.assert_allclose(spectrum.mean(0)[1:], 0.25, rtol=0.08)  # the mean's removal takes from the first


def test_a_wave_has_its_power_at_its_frequency():
    wave = np.broadcast_to(np.sin(2 * np.pi * 10 * np.arange(64) / 64), (1, 64, 64))
    for image in (wave, wave.transpose(0, 2, 1)):
        spectrum = radial_power_spectrum(image)[0]
        assert spectrum.argmax() + 1 == 10
        assert spectrum[[*range(7), *range(13, 32)]].max() < 1e-3 * spectrum.max()


def test_spectrum_distance_of_gain_blur_and_nothing():
    real, others = _textures(40, 0), _textures(40, 1)
    floor = spectrum_distance(others, real)
    assert floor < 0.1
    assert spectrum_distance(real, real) == 0
    assert spectrum_distance(np.sqrt(2) * real, real) == pytest.approx(np.log(2), rel=1e-3)
    assert spectrum_distance(_blur(others, 1), real) > 10 * floor
    assert spectrum_distance(radial_power_spectrum(others), radial_power_spectrum(real)) == pytest.approx(floor)
    assert np.isfinite(spectrum_distance(np.zeros((3, 64, 64)), real))
