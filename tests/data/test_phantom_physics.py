from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from cmrsynth.data.phantom_physics import (
    STYLES,
    Layer,
    Tissue,
    acquire,
    bands,
    bssfp_signal,
    composite,
    gain_field,
    smooth_field,
)

PERFECT = replace(STYLES["A"], acquired=(1.5, 1.5), filter_width=0.0, noise=0.0, gamma=1.0, scale=1.0)


def _rng() -> np.random.Generator:
    return np.random.default_rng(0)


def test_tissues_are_ordered_as_in_a_bssfp_cine() -> None:
    signal = {tissue: bssfp_signal(tissue, 60.0, 1.5) for tissue in Tissue}
    assert signal[Tissue.AIR] == 0
    assert signal[Tissue.FAT] < 0  # out of phase with water
    assert 2 < signal[Tissue.BLOOD] / signal[Tissue.MYOCARDIUM] < 4
    assert signal[Tissue.LUNG] < 0.3 * signal[Tissue.MYOCARDIUM]
    assert signal[Tissue.MYOCARDIUM] < signal[Tissue.LIVER] < signal[Tissue.BLOOD]


def test_a_small_flip_angle_flattens_the_contrast() -> None:
    def contrast(angle: float) -> float:
        return bssfp_signal(Tissue.BLOOD, angle, 1.5) / bssfp_signal(Tissue.MYOCARDIUM, angle, 1.5)

    assert contrast(30.0) < contrast(45.0) < contrast(60.0)


def test_a_voxel_of_fat_and_water_is_darker_than_either() -> None:
    shares = np.array([[1.0, 0.5, 0.0]], np.float32)
    layers = [Layer(Tissue.BLOOD, np.ones_like(shares)), Layer(Tissue.FAT, shares)]
    seen = np.abs(composite(np.zeros((1, 3), np.float32), layers, PERFECT, np.zeros((1, 3), np.float32)))[0]
    assert seen[1] < 0.3 * min(seen[0], seen[2])


def test_a_perfect_scanner_changes_nothing() -> None:
    signal = np.abs(_rng().standard_normal((2, 16, 16))).astype(np.float32)
    assert np.allclose(acquire(signal, PERFECT, _rng()), signal, atol=1e-5)


def test_noise_is_rician() -> None:
    noisy = replace(PERFECT, noise=0.1)
    air = acquire(np.zeros((128, 128), np.float32), noisy, _rng())
    blood = acquire(np.ones((128, 128), np.float32), noisy, _rng())
    assert air.mean() == pytest.approx(0.1 * np.sqrt(np.pi / 2), rel=0.02)  # Rayleigh
    assert blood.std() == pytest.approx(0.1, rel=0.03)
    assert blood.mean() == pytest.approx(np.sqrt(1 + 0.1**2), rel=0.005)


def test_truncated_k_space_rings_and_a_filter_stops_it() -> None:
    step = np.zeros((64, 64), np.float32)
    step[:, 16:48] = 1.0
    ringing = acquire(step, replace(PERFECT, acquired=(0.6, 0.6)), _rng())
    filtered = acquire(step, replace(PERFECT, acquired=(0.6, 0.6), filter_width=1.0), _rng())
    assert 1.05 < ringing.max() < 1.15  # Gibbs: about 9 % overshoot
    assert filtered.max() < 1.03
    assert np.abs(np.diff(filtered[0])).max() < np.abs(np.diff(ringing[0])).max() < 1.0


def test_smooth_fields_are_standardised_independent_and_as_smooth_as_asked() -> None:
    fields = smooth_field(_rng(), (2, 64, 64), 4.0)
    assert np.allclose(fields.mean((1, 2)), 0, atol=1e-4)
    assert np.allclose(fields.std((1, 2)), 1, atol=1e-3)
    assert abs(np.corrcoef(fields[0].ravel(), fields[1].ravel())[0, 1]) < 0.5
    rough = smooth_field(_rng(), (64, 64), 1.0)
    assert np.diff(fields[0], axis=0).std() < 0.5 * np.diff(rough, axis=0).std()


def test_the_gain_grows_towards_the_chest_wall() -> None:
    x, y = np.meshgrid(np.linspace(-120, 120, 64), np.linspace(-120, 120, 64))
    style = replace(STYLES["A"], gain=(1.0, 0.0))
    gain = gain_field(style, x, y, np.pi, _rng())
    assert gain[:, 0].mean() > 2 * gain[:, -1].mean()
    assert np.log(gain).mean() == pytest.approx(0, abs=1e-4)
    assert (gain > 0).all()


def test_bands_darken_only_where_the_vendor_has_them() -> None:
    assert (bands(STYLES["A"], (32, 32), _rng()) == 1).all()
    dark = bands(STYLES["C"], (64, 64), _rng())
    assert dark.min() < 0.8
    assert (dark >= 0).all()
    assert (dark <= 1).all()
