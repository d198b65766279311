"""A data set of bright discs in rings: a heart that a network of a few thousand weights can learn."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np

from cmrsynth.labels import LV, MYO, RV
from cmrsynth.schema import INTENSITY_MAX, features


def toy_row(patient: int, index: int, size: int = 16, prefix: str = "toy") -> dict:
    """One slice: ring of myocardium around the LV, a half disc of RV; brightness differs between two vendors."""
    rng = np.random.default_rng([patient, index])
    centre, radius = size / 2 + rng.uniform(-1, 1, 2), size * rng.uniform(0.14, 0.2)
    y, x = np.mgrid[:size, :size] + 0.5
    distance = np.hypot(y - centre[0], x - centre[1])
    mask = np.zeros((size, size), np.uint8)
    mask[(np.hypot(y - centre[0], x - centre[1] + 1.9 * radius) < 1.2 * radius)] = RV
    mask[distance < 1.6 * radius] = MYO
    mask[distance < radius] = LV
    contrast = np.array([0.3, 0.9, 0.15, 0.8])[mask] * (1.0 if patient % 2 else 0.8)
    image = np.clip(contrast + rng.normal(0, 0.03, mask.shape), 0, 1)
    return {
        "image": (image * INTENSITY_MAX).astype(np.uint16),
        "mask": mask,
        "annotated_labels": [LV, MYO, RV],
        "patient_id": f"{prefix}-{patient:04d}",
        "vendor": "B" if patient % 2 else "A",
        "centre": "1",
        "pathology": "normal" if patient % 3 else "dilated",
        "phase": "ES" if index % 2 else "ED",
        "slice_index": index // 2,
        "slice_level": ("basal", "mid", "apical")[index // 2 % 3],
        "frame": index % 2,
        "pixel_spacing": [2.0, 2.0],
        "slice_spacing": 8.0,
        "field_strength": 1.5,
        "source": "toy",
        "ejection_fraction": (60.0 if patient % 3 else 30.0) + patient,
        "wall_thickness": None,
        "age": None,
        "bmi": None,
    }


def write_toy_data(folder: Path, *, patients: dict[str, range], slices: int = 6, size: int = 16) -> Path:
    """Write splits of toy patients, e.g. patients={"train": range(6), "test": range(6, 9)}, as built."""
    import datasets

    (folder / "data").mkdir(parents=True)
    for split, numbers in patients.items():
        rows = [toy_row(patient, index, size) for patient in numbers for index in range(slices)]
        table = datasets.Dataset.from_list(rows, features=features())
        table.to_parquet(folder / "data" / f"{split}-00000-of-00001.parquet")
    (folder / "build.json").write_text(json.dumps({"source": "toy"}))
    return folder
