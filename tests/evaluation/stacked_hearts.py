"""Stacked hearts: whole toy ventricles at two times, which a threshold can segment again."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from cmrsynth.data.loading import SliceSet
from cmrsynth.labels import LV, MYO, RV

SIDE, LEVELS, PIXEL, SPACING = 40, 6, 2.0, 8.0
GREY = {LV: 0.9, MYO: 0.1, RV: 0.7}
NAMES = ("basal", "basal", "mid", "mid", "apical", "apical")


class ThresholdSegmenter:
    """Finds the structures of `stacked_set` by their grey values; stands where a trained network would."""

    labels = (LV, MYO, RV)
    path = Path("threshold.safetensors")
    facts = {"name": "threshold", "sha256": "0" * 64}  # noqa: RUF012

    def predict(self, images: np.ndarray) -> np.ndarray:
        return np.select([images > 0.8, images > 0.62, images < 0.22], [LV, RV, MYO], 0).astype(np.uint8)


class BrightnessEncoder:
    """Two features: mean and spread of an image."""

    made_with = "brightness, 2 components"

    def __call__(self, images: np.ndarray) -> np.ndarray:
        return np.column_stack([images.mean((1, 2)), images.std((1, 2))])


def stacked_set(name: str, patients: int, *, seed: int) -> SliceSet:
    """Return `patients` x 2 phases x 6 slices; vendors A and B differ in background, dilated hearts in size."""
    rng = np.random.default_rng([seed, patients])
    rows, columns = np.mgrid[:SIDE, :SIDE]
    images, masks, vendors, pathologies = [], [], [], []
    for patient in range(patients):
        vendor, pathology = "AB"[patient % 2], ("normal", "dilated")[patient // 2 % 2]
        centre = rng.uniform(18, 21), rng.uniform(22, 25)
        radius = rng.uniform(4.5, 5.5) + 2.5 * (pathology == "dilated")
        for shrink, wall in ((1.0, 2.5), (0.65 if pathology == "normal" else 0.85, 3.2)):
            for level in range(LEVELS):
                size = radius * shrink * (1 - 0.09 * level)
                distance = np.hypot(rows - centre[0], columns - centre[1])
                beside = np.hypot(rows - centre[0], columns - centre[1] + size + wall + 1)
                mask = np.select([distance < size, distance < size + wall, beside < 0.9 * size + 1], [LV, MYO, RV], 0)
                grey = np.choose(mask, [0.32 if vendor == "A" else 0.5, GREY[LV], GREY[MYO], GREY[RV]])
                images.append(grey + rng.normal(0, 0.01 if vendor == "A" else 0.02, grey.shape))
                masks.append(mask)
        vendors += [vendor] * 2 * LEVELS
        pathologies += [pathology] * 2 * LEVELS
    count = len(images)
    return SliceSet(
        name=name,
        fingerprint=f"{name}-{seed}",
        images=np.clip(np.stack(images), 0, 1).astype(np.float32),
        masks=np.stack(masks).astype(np.uint8),
        annotated_labels=(LV, MYO, RV),
        patient_id=np.repeat([f"{name}-{p:03d}" for p in range(patients)], 2 * LEVELS),
        vendor=np.array(vendors),
        pathology=np.array(pathologies),
        phase=np.tile(np.repeat(["ED", "ES"], LEVELS), patients),
        slice_level=np.tile(NAMES, 2 * patients),
        slice_index=np.tile(np.arange(LEVELS), 2 * patients),
        frame=np.tile(np.repeat([0, 7], LEVELS), patients),
        pixel_spacing=np.full((count, 2), PIXEL, np.float32),
        slice_spacing=np.full(count, SPACING, np.float32),
    )
