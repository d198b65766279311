"""Toy hearts: a bright cavity in a dark wall over a background texture, one texture and place per patient."""

from __future__ import annotations

import numpy as np
from scipy.ndimage import gaussian_filter

from cmrsynth.data.loading import SliceSet
from cmrsynth.labels import LV, MYO

SIDE = 32


def toy_set(name: str, patients: int, *, seed: int, slices: int = 4, labels: tuple[int, ...] = (LV, MYO)) -> SliceSet:
    """Return `patients` x `slices` toy slices; patients of one name and seed are always the same."""
    rng = np.random.default_rng([seed, patients])
    rows, columns = np.mgrid[:SIDE, :SIDE]
    images, masks = [], []
    for _ in range(patients):
        backdrop = gaussian_filter(rng.normal(size=(SIDE, SIDE)), 2.5)
        backdrop = 0.35 + 0.12 * backdrop / backdrop.std()
        centre, radius = rng.uniform(13, 19, 2), rng.uniform(4, 6)
        for level in range(slices):
            shrunk = radius * (1 - 0.12 * level)
            distance = np.hypot(rows - centre[0], columns - centre[1])
            mask = np.where(distance < shrunk, LV, np.where(distance < shrunk + 2.5, MYO, 0))
            image = np.where(mask == LV, 0.9, np.where(mask == MYO, 0.1, backdrop))
            images.append(gaussian_filter(image, 0.6) + rng.normal(0, 0.04, image.shape))
            masks.append(mask)
    count = patients * slices
    text = {k: np.full(count, v) for k, v in (("vendor", "A"), ("pathology", "normal"), ("slice_level", "mid"))}
    return SliceSet(
        name=name,
        fingerprint=f"{name}-{seed}",
        images=np.clip(np.stack(images), 0, 1).astype(np.float32),
        masks=np.stack(masks).astype(np.uint8),
        annotated_labels=labels,
        patient_id=np.repeat([f"{name}-{p:03d}" for p in range(patients)], slices),
        phase=np.full(count, "ED"),
        slice_index=np.tile(np.arange(slices), patients),
        frame=np.zeros(count, int),
        pixel_spacing=np.full((count, 2), 2.0, np.float32),
        slice_spacing=np.full(count, 8.0, np.float32),
        **text,
    )
