"""How the phantom's scanners see tissue: bSSFP signal, coil gain, k-space, noise and the vendor's scaling.

The signal is kept signed until the end. At the usual TE = TR/2 fat and water are out of phase, so fat is negative
here; where a voxel holds both they cancel, which draws the dark outlines that every bSSFP cine shows.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from enum import IntEnum

import numpy as np
from scipy import fft


class Tissue(IntEnum):
    """What a point of the body is made of."""

    AIR = 0
    LUNG = 1
    BLOOD = 2
    MYOCARDIUM = 3
    MUSCLE = 4
    FAT = 5
    LIVER = 6
    SPLEEN = 7
    GUT = 8
    BONE = 9


# Proton density (water = 1), T1 at 1.5 T, T1 at 3 T, T2 in ms; rounded from Stanisz et al. 2005
# (doi:10.1002/mrm.20605), de Bazelaire et al. 2004 (doi:10.1148/radiol.2303021331) and, for the myocardium,
# Kellman & Hansen 2014 (doi:10.1186/1532-429X-16-2).
_RELAXATION = {
    Tissue.AIR: (0.0, 1000.0, 1000.0, 50.0),
    Tissue.LUNG: (0.12, 1200.0, 1300.0, 40.0),
    Tissue.BLOOD: (0.95, 1550.0, 1900.0, 250.0),
    Tissue.MYOCARDIUM: (0.80, 1000.0, 1200.0, 48.0),
    Tissue.MUSCLE: (0.78, 1000.0, 1400.0, 38.0),
    Tissue.FAT: (0.90, 300.0, 380.0, 80.0),
    Tissue.LIVER: (0.72, 590.0, 800.0, 46.0),
    Tissue.SPLEEN: (0.80, 1050.0, 1320.0, 78.0),
    Tissue.GUT: (0.75, 900.0, 1100.0, 90.0),
    Tissue.BONE: (0.30, 500.0, 600.0, 60.0),
}
# Relative strength of the tissue's own inhomogeneity: flow in blood, septa in fat, folds in the gut.
_TEXTURE = {
    Tissue.BLOOD: 0.07,
    Tissue.MYOCARDIUM: 0.10,
    Tissue.MUSCLE: 0.22,
    Tissue.FAT: 0.13,
    Tissue.LIVER: 0.07,
    Tissue.SPLEEN: 0.08,
    Tissue.GUT: 0.45,
    Tissue.LUNG: 0.7,
    Tissue.BONE: 0.35,
}


@dataclass(frozen=True)
class Layer:
    """One tissue painted over what lies below it.

    Args:
        tissue: what it is made of.
        coverage: (..., H, W) float32 in [0, 1], the share of each pixel that it covers.
    """

    tissue: Tissue
    coverage: np.ndarray


@dataclass(frozen=True)
class ScannerStyle:
    """One vendor's way of imaging the same anatomy.

    Args:
        field_strength: in tesla, 1.5 or 3.0.
        flip_angle: in degrees; a small one flattens the contrast between blood and muscle.
        field_of_view_mm: side of the square image.
        acquired: (row, column) share of k-space that is measured; the rest is zero-filled.
        filter_width: share of the measured k-space over which it is rolled off; 0 rings, 1 blurs.
        noise: standard deviation of each noise channel, relative to the blood signal where the gain is 1.
        gain: (towards the chest wall, irregular) strength of the coil's gain field, in log units per 100 mm.
        banding: depth in [0, 1] of the dark off-resonance bands.
        gamma: exponent of the vendor's tone curve.
        scale: stored value of a signal equal to blood's.
    """

    field_strength: float
    flip_angle: float
    field_of_view_mm: float
    acquired: tuple[float, float]
    filter_width: float
    noise: float
    gain: tuple[float, float]
    banding: float
    gamma: float
    scale: float


STYLES: Mapping[str, ScannerStyle] = {
    "A": ScannerStyle(1.5, 62.0, 245.0, (0.82, 0.95), 0.25, 0.035, (0.55, 0.10), 0.0, 1.0, 320.0),
    "B": ScannerStyle(1.5, 52.0, 225.0, (0.66, 0.80), 0.05, 0.025, (0.20, 0.08), 0.0, 0.80, 900.0),
    "C": ScannerStyle(3.0, 40.0, 255.0, (0.78, 0.90), 0.45, 0.060, (0.80, 0.25), 0.45, 1.15, 2400.0),
    "D": ScannerStyle(1.5, 36.0, 275.0, (0.60, 0.70), 0.85, 0.085, (0.70, 0.18), 0.0, 0.9, 7000.0),
}


def bssfp_signal(tissue: Tissue, flip_angle: float, field_strength: float) -> float:
    """Return a tissue's steady-state signal for TR much shorter than T1 and T2; fat is negative.

    Args:
        tissue: the tissue.
        flip_angle: in degrees.
        field_strength: in tesla; T1 is interpolated between its values at 1.5 T and 3 T.

    Source: Scheffler & Lehnhardt 2003, doi:10.1007/s00330-003-1957-x.

    >>> round(bssfp_signal(Tissue.BLOOD, 60.0, 1.5) / bssfp_signal(Tissue.MYOCARDIUM, 60.0, 1.5), 1)
    3.1
    """
    density, t1_low, t1_high, t2 = _RELAXATION[tissue]
    t1 = t1_low + (t1_high - t1_low) * (field_strength - 1.5) / 1.5
    angle = np.deg2rad(flip_angle)
    signal = density * np.sin(angle) / (1 + np.cos(angle) + (1 - np.cos(angle)) * t1 / t2)
    return float(-signal if tissue is Tissue.FAT else signal)


def smooth_field(rng: np.random.Generator, shape: tuple[int, ...], correlation: float) -> np.ndarray:
    """Return Gaussian random fields that vary over `correlation` pixels.

    Args:
        rng: where the numbers come from.
        shape: (..., H, W); every leading index is an independent field.
        correlation: standard deviation of the smoothing kernel in pixels.

    Returns:
        float32 of that shape, mean 0 and variance 1 per field.
    """
    white = rng.standard_normal(shape, np.float32)
    rows, columns = fft.fftfreq(shape[-2])[:, None], fft.rfftfreq(shape[-1])[None]
    kernel = np.exp(-2 * (np.pi * correlation) ** 2 * (rows**2 + columns**2)).astype(np.float32)
    field = fft.irfft2(fft.rfft2(white) * kernel, s=shape[-2:])
    field -= field.mean((-2, -1), keepdims=True)
    return field / field.std((-2, -1), keepdims=True)


def composite(signal: np.ndarray, layers: Iterable[Layer], style: ScannerStyle, texture: np.ndarray) -> np.ndarray:
    """Paint `layers` in order over `signal`.

    Args:
        signal: (..., H, W) what lies below.
        layers: from the lowest to the topmost.
        style: the scanner.
        texture: (H, W) unit-variance field; each tissue scales it by its own inhomogeneity.

    Returns:
        float32 signed signal; blood is about 1.
    """
    blood = bssfp_signal(Tissue.BLOOD, style.flip_angle, style.field_strength)
    for layer in layers:
        value = bssfp_signal(layer.tissue, style.flip_angle, style.field_strength) / blood
        tissue = value * np.clip(1 + _TEXTURE.get(layer.tissue, 0.0) * texture, 0.0, None)
        signal = signal + layer.coverage * (tissue.astype(np.float32) - signal)
    return signal


def gain_field(
    style: ScannerStyle, x: np.ndarray, y: np.ndarray, towards_coil: float, rng: np.random.Generator
) -> np.ndarray:
    """Return the coil's (H, W) positive gain; its mean logarithm over the image is 0.

    Args:
        style: the scanner.
        x: (H, W) column positions in mm.
        y: (H, W) row positions in mm.
        towards_coil: direction of the anterior chest wall, in radians from the x axis towards increasing y.
        rng: for the irregular part.
    """
    slope, irregular = style.gain
    slope *= rng.uniform(0.7, 1.3)
    direction = towards_coil + rng.normal(0.0, 0.25)
    distance = (x * np.cos(direction) + y * np.sin(direction)) / 100.0
    extent = float(x.max() - x.min())
    log_gain = slope * distance + irregular * smooth_field(rng, x.shape, 0.16 * x.shape[0] * 250.0 / extent)
    return np.exp(log_gain - log_gain.mean()).astype(np.float32)


def bands(style: ScannerStyle, shape: tuple[int, int], rng: np.random.Generator) -> np.ndarray:
    """Return the (H, W) factor in [0, 1] by which off-resonance darkens the image."""
    if style.banding == 0:
        return np.ones(shape, np.float32)
    phase = np.pi * 0.55 * smooth_field(rng, shape, 0.2 * shape[0])
    nearness = np.exp(-(((np.abs(phase) - np.pi) / 0.45) ** 2))  # the stop band lies where the phase reaches pi
    return (1 - style.banding * nearness).astype(np.float32)


def _window(share: float, filter_width: float, length: int) -> np.ndarray:
    """Return a Tukey window over the measured part of one k-space axis, zero elsewhere."""
    position = np.abs(fft.fftfreq(length)) / (0.5 * share)
    inside = np.clip((1 - position) / max(filter_width, 1e-6), 0.0, 1.0)
    return np.where(position <= 1, 0.5 - 0.5 * np.cos(np.pi * inside), 0.0).astype(np.float32)


def acquire(signal: np.ndarray, style: ScannerStyle, rng: np.random.Generator) -> np.ndarray:
    """Return the magnitude image that the scanner stores.

    Noise is complex and white, then k-space is truncated and filtered, so that the noise carries the point spread
    too and the magnitude is Rician (Gudbjartsson & Patz 1995, doi:10.1002/mrm.1910340618).

    Args:
        signal: (..., H, W) signed signal with the gain field applied; blood is about 1.
        style: the scanner.
        rng: for the noise.

    Returns:
        float32, finite and non-negative, in the vendor's stored units.
    """
    noisy = np.empty(signal.shape, np.complex64)
    noisy.real = signal + style.noise * rng.standard_normal(signal.shape, np.float32)
    noisy.imag = style.noise * rng.standard_normal(signal.shape, np.float32)
    rows, columns = signal.shape[-2:]
    kept = np.outer(
        _window(style.acquired[0], style.filter_width, rows),
        _window(style.acquired[1], style.filter_width, columns),
    )
    magnitude = np.abs(fft.ifft2(fft.fft2(noisy, overwrite_x=True) * kept, overwrite_x=True))
    return (style.scale * magnitude**style.gamma).astype(np.float32)
