"""Toy hearts on which the certification runs in seconds: three labels, two vendors, two pathologies, ED with ES.

They are no model of anatomy. They have what the figures need to tell right from wrong: patients that differ in
place, shape, turn and backdrop, slices of a patient that resemble each other, vendors that differ in texture, and
pathologies that differ in the thickness of the wall.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy.ndimage import gaussian_filter

from cmrsynth.data.loading import SliceSet
from cmrsynth.labels import LV, MYO, RV
from cmrsynth.seeds import derive_seed

SIDE = 48
PIXEL_MM, SLICE_MM = 2.5, 8.0
LEVELS = ("basal", "mid", "apical")
TAPER = (1.0, 0.88, 0.72)  # size of the heart at each level
VENDORS = {"A": (2.6, 0.04), "B": (1.3, 0.06)}  # grain of the backdrop in pixels, standard deviation of the noise
PATHOLOGIES = ("normal", "thick wall")
PHASES = ("ED", "ES")


@dataclass(frozen=True)
class _Heart:
    """One patient; lengths in pixels, the turn in radians."""

    centre: np.ndarray
    radius: float
    wall: float
    turn: float
    backdrop: np.ndarray
    brightness: float
    noise: float


def hearts(
    name: str,
    patients: int,
    *,
    seed: int,
    vendors: Sequence[str] = tuple(VENDORS),
    pathologies: Sequence[str] = PATHOLOGIES,
    phases: Sequence[str] = PHASES,
    side: int = SIDE,
) -> SliceSet:
    """Return a set of toy slices: every phase at three levels of each patient.

    Patients of one name, seed and number are always the same, whatever the phases asked for. Vendors take turns from
    patient to patient, pathologies from pair to pair, so that they are independent.

    Args:
        name: of the set; part of its patients' names.
        patients: how many.
        seed: names the draws.
        vendors: keys of `VENDORS`.
        pathologies: of `PATHOLOGIES`.
        phases: of `PHASES`; (6 or 3 slices a patient).
        side: pixels; anatomy scales with it.
    """
    images, masks, rows = [], [], []
    for number in range(patients):
        vendor, pathology = vendors[number % len(vendors)], pathologies[number // len(vendors) % len(pathologies)]
        heart = _draw(np.random.default_rng(derive_seed(seed, name, number)), vendor, pathology, side)
        for phase in phases:
            for level in range(len(LEVELS)):
                mask = _mask(heart, phase, level, side)
                address = (seed, name, number, phase, level)
                images.append(_image(heart, mask, np.random.default_rng(derive_seed(*address))))
                masks.append(mask)
                rows.append((f"{name}-{number:03d}", vendor, pathology, phase, LEVELS[level], level))
    return _as_set(name, seed, np.stack(images), np.stack(masks), rows, PIXEL_MM * SIDE / side)


def _draw(rng: np.random.Generator, vendor: str, pathology: str, side: int) -> _Heart:
    scale, (grain, noise) = side / SIDE, VENDORS[vendor]
    backdrop = gaussian_filter(rng.normal(size=(side, side)), grain, mode="wrap")
    return _Heart(
        centre=side / 2 + rng.uniform(-3, 3, 2) * scale,
        radius=rng.uniform(6.5, 9.0) * scale,
        wall=(rng.uniform(5.0, 6.0) if pathology == "thick wall" else rng.uniform(2.8, 3.6)) * scale,
        turn=rng.uniform(-0.35, 0.35),
        backdrop=0.35 + 0.10 * backdrop / backdrop.std(),
        brightness=rng.uniform(0.8, 0.92),
        noise=noise,
    )


def _mask(heart: _Heart, phase: str, level: int, side: int) -> np.ndarray:
    """A round cavity in its wall, and a crescent beside it: what of a larger disc the wall leaves free."""
    down, right = (axis - middle for axis, middle in zip(np.mgrid[:side, :side], heart.centre, strict=True))
    cavity = heart.radius * TAPER[level] * (0.68 if phase == "ES" else 1.0)
    outer = cavity + heart.wall * (1.25 if phase == "ES" else 1.0)
    distance = np.hypot(down, right)
    reach = outer * 0.95
    beside = np.hypot(down - reach * np.sin(heart.turn), right + reach * np.cos(heart.turn))
    mask = np.where(beside < outer * 0.8, RV, 0)
    return np.where(distance < cavity, LV, np.where(distance < outer, MYO, mask)).astype(np.uint8)


def _image(heart: _Heart, mask: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    blood = heart.brightness
    image = np.where(mask == LV, blood, np.where(mask == RV, 0.92 * blood, np.where(mask == MYO, 0.14, heart.backdrop)))
    return np.clip(gaussian_filter(image, 0.6) + rng.normal(0, heart.noise, mask.shape), 0, 1).astype(np.float32)


def _as_set(name: str, seed: int, images: np.ndarray, masks: np.ndarray, rows: list[tuple], spacing: float) -> SliceSet:
    patient, vendor, pathology, phase, level, index = (np.array(column) for column in zip(*rows, strict=True))
    return SliceSet(
        name=name,
        fingerprint=f"toy-{name}-{seed}-{len(images)}-{images.shape[1]}",
        images=images,
        masks=masks,
        annotated_labels=(LV, MYO, RV),
        patient_id=patient,
        vendor=vendor,
        pathology=pathology,
        phase=phase,
        slice_level=level,
        slice_index=index,
        frame=np.where(phase == "ED", 0, 1),
        pixel_spacing=np.full((len(images), 2), spacing, np.float32),
        slice_spacing=np.full(len(images), SLICE_MM, np.float32),
    )
