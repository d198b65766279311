"""Agreement of two label maps: Dice and surface distances, per patient and in mm."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from scipy.ndimage import binary_erosion, distance_transform_edt

BACKGROUND = 0  # as in cmrsynth.labels; repeated because this file also travels without the package


def dice(prediction: np.ndarray, target: np.ndarray, label: int) -> float:
    """Return the Dice coefficient of one label: 2 |A and B| / (|A| + |B|).

    Args:
        prediction: integer label map of any shape; a stack is pooled over all its voxels.
        target: the same shape.
        label: the value to compare.

    Returns:
        A value in [0, 1]: 0 if only one side holds the label; NaN if neither does, because nothing was asked.

    >>> dice(np.array([1, 1, 0, 0]), np.array([1, 0, 0, 0]), 1)
    0.6666666666666666
    """
    a, b = _regions(prediction, target, label)
    total = int(a.sum()) + int(b.sum())
    return 2 * int((a & b).sum()) / total if total else float("nan")


def iou(prediction: np.ndarray, target: np.ndarray, label: int) -> float:
    """Return the intersection over union of one label; arguments and NaN as in `dice`, of which it is d / (2 - d).

    >>> iou(np.array([1, 1, 0, 0]), np.array([1, 0, 0, 0]), 1)
    0.5
    """
    overlap = dice(prediction, target, label)
    return overlap / (2 - overlap)


def hausdorff_95(prediction: np.ndarray, target: np.ndarray, label: int, spacing: Sequence[float]) -> float:
    """Return the 95 % Hausdorff distance of one label in mm.

    The 95th percentile of the distances from each surface to the other is taken per direction, and the larger of
    the two returned (as MONAI does; pooling both directions gives smaller values).

    Args:
        prediction: (H, W) or (Z, H, W) integer label map.
        target: the same shape.
        label: the value to compare.
        spacing: pixel size in mm along each axis.

    Returns:
        Distance in mm; NaN if one side or both are without the label. Count those: dropping them silently
        flatters a segmenter that finds nothing.

    Source: Huttenlocher et al. 1993; Maier-Hein et al. 2024, arXiv:2206.01653.
    """
    there, back = _surface_distances(prediction, target, label, spacing)
    return float(max(np.percentile(there, 95), np.percentile(back, 95))) if len(there) else float("nan")


def assd(prediction: np.ndarray, target: np.ndarray, label: int, spacing: Sequence[float]) -> float:
    """Return the average symmetric surface distance of one label in mm.

    The mean over all points of both surfaces of the distance to the other one. Arguments and NaN as in
    `hausdorff_95`.

    Source: Heimann et al. 2009.
    """
    there, back = _surface_distances(prediction, target, label, spacing)
    return float(np.concatenate([there, back]).mean()) if len(there) else float("nan")


def overlap_by_patient(
    predictions: np.ndarray,
    targets: np.ndarray,
    patient_id: np.ndarray,
    phase: np.ndarray,
    labels: Sequence[int],
    pixel_spacing: np.ndarray,
) -> dict[str, np.ndarray]:
    """Return the overlap per patient and label.

    Dice is pooled over the voxels of a patient's stack in one phase, then averaged over the phases: the mean of
    per-slice values would give an apical slice of ten pixels the weight of the whole ventricle. Surface distances
    are taken per slice (slices are 6-10 mm apart) and averaged over the slices where both sides hold the label.

    Args:
        predictions: (N, H, W) integer label maps.
        targets: (N, H, W).
        patient_id: (N,) patient of each slice.
        phase: (N,) cardiac phase of each slice.
        labels: the L foreground labels to compare.
        pixel_spacing: (N, 2) pixel size (row, column) in mm.

    Returns:
        "patients": (P,) sorted; "dice", "iou", "hausdorff_95" (mm), "assd" (mm): (P, L) float64, NaN where undefined;
        "missed": (P, L) int, slices where exactly one side holds the label.

    Raises:
        ValueError: shapes differ, or background is among the labels.
    """
    predictions, targets = np.asarray(predictions), np.asarray(targets)
    patient_id, phase, pixel_spacing = np.asarray(patient_id), np.asarray(phase), np.asarray(pixel_spacing)
    if predictions.shape != targets.shape or not len(targets) == len(patient_id) == len(phase) == len(pixel_spacing):
        raise ValueError(
            f"label maps: predictions {predictions.shape} and targets {targets.shape} for {len(patient_id)} patient "
            "ids; give one prediction, target, patient, phase and spacing per slice"
        )
    if BACKGROUND in labels:
        raise ValueError("labels: background is among them; compare foreground labels only")
    patients = np.unique(patient_id)
    shape = (len(patients), len(labels))
    result = {name: np.full(shape, np.nan) for name in ("dice", "iou", "hausdorff_95", "assd")}
    missed = np.zeros(shape, dtype=int)
    for row, patient in enumerate(patients):
        own = np.flatnonzero(patient_id == patient)
        for column, label in enumerate(labels):
            stacks = [own[phase[own] == name] for name in np.unique(phase[own])]
            for name, share in (("dice", dice), ("iou", iou)):
                result[name][row, column] = _defined_mean([share(predictions[s], targets[s], label) for s in stacks])
            slices = [(predictions[i], targets[i], label, pixel_spacing[i]) for i in own]
            result["hausdorff_95"][row, column] = _defined_mean([hausdorff_95(*each) for each in slices])
            result["assd"][row, column] = _defined_mean([assd(*each) for each in slices])
            missed[row, column] = sum((p == label).any() != (t == label).any() for p, t, _, _ in slices)
    return {"patients": patients, **result, "missed": missed}


def _defined_mean(values: list[float]) -> float:
    defined = [value for value in values if not np.isnan(value)]
    return float(np.mean(defined)) if defined else float("nan")


def _regions(prediction: np.ndarray, target: np.ndarray, label: int) -> tuple[np.ndarray, np.ndarray]:
    prediction, target = np.asarray(prediction), np.asarray(target)
    if prediction.shape != target.shape:
        raise ValueError(f"label maps: shapes {prediction.shape} and {target.shape} differ; put both on one grid")
    return prediction == label, target == label


def _surface_distances(
    prediction: np.ndarray, target: np.ndarray, label: int, spacing: Sequence[float]
) -> tuple[np.ndarray, np.ndarray]:
    """Distances in mm from each surface pixel of one region to the other surface; empty if a side is empty."""
    a, b = _regions(prediction, target, label)
    if not (a.any() and b.any()):
        return np.empty(0), np.empty(0)
    # Distances only matter inside the union's bounding box, and the transform is what costs.
    box = tuple(slice(int(where.min()), int(where.max()) + 1) for where in np.nonzero(a | b))
    surface_a, surface_b = _surface(a[box]), _surface(b[box])
    sampling = tuple(float(size) for size in spacing)
    to_a = distance_transform_edt(~surface_a, sampling=sampling)
    to_b = distance_transform_edt(~surface_b, sampling=sampling)
    return to_b[surface_a], to_a[surface_b]


def _surface(region: np.ndarray) -> np.ndarray:
    return region & ~binary_erosion(region)
