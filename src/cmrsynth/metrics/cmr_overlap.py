"""The overlap of predicted and asked label maps as an `evaluate` module."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

import evaluate
import numpy as np

from .columns import Stream, stream_features
from .intervals import bootstrap_patients_together
from .overlap import overlap_by_patient
from .real_floor import OPTIONS, data_hash

_LABELS = {1: "lv", 2: "myo", 3: "rv"}
_NAMES = {"dice": "dice", "iou": "iou", "hd95_mm": "hausdorff_95", "assd_mm": "assd"}

_DESCRIPTION = """
Agreement of label maps per structure and patient: of a segmenter with the truth, or, on synthetic images, of what a
segmenter of real images finds there with the mask that was asked for (mask adherence).

Formula: Dice = 2 |A and B| / (|A| + |B|) and IoU, pooled over a patient's stack in one phase, then averaged over
phases; HD95: the larger of both directions' 95th percentiles of surface distances per slice; ASSD: the mean over both
surfaces; in mm, averaged over slices where both sides hold the structure. Means over patients; foreground only.

How to read it: Dice and IoU in [0, 1], higher is better; HD95 and ASSD >= 0, lower is better. The floor is what the
same segmenter reaches on real held-out images (its ceiling): adherence cannot be told from the segmenter's own errors
beyond it. A slice where only one side holds a structure has no surface distance; `missed` counts them, so a low HD95
with many missed slices is no success.
"""

_CITATION = """
@article{maierhein2024metrics,
  title = {Metrics Reloaded: Recommendations for Image Analysis Validation},
  author = {Maier-Hein, Lena and Reinke, Annika and Godau, Patrick and others},
  journal = {Nature Methods}, year = {2024}, eprint = {2206.01653}
}
"""

_KWARGS_DESCRIPTION = f"""
Args:
    predictions (N, H, W) int: label maps, 0 background, 1 LV cavity, 2 LV myocardium, 3 RV cavity.
    references (N, H, W) int: what was asked for, or the truth.
    is_real (N,) bool: True for real held-out images (the floor), False for the rows to judge.
    patient_id (N,) str: the patient of each slice.
    phase (N,) str: cardiac phase of each slice, such as ED or ES.
    pixel_spacing (N, 2) float: pixel size (row, column) in mm.
    labels: names by label number; structures that were never annotated are to be left out.
{OPTIONS}
Returns:
    `dice_<structure>`, `iou_...`, `hd95_mm_...`, `assd_mm_...`, each with `_low`, `_high` (95 % interval over
    patients), `_floor`, `_floor_low`, `_floor_high` (real rows; NaN without any), and `missed_<structure>` with
    `_floor`: the number of slices where exactly one side holds it.
    `n_slices`, `n_patients`, `n_real_patients`, `data_hash` (sha256 of the references).
Raises:
    ValueError: shapes differ, background is among the labels, or columns are missing or of other kinds.
Examples:
    >>> import numpy as np
    >>> masks = np.zeros((2, 16, 16), int)
    >>> masks[:, 4:8, 4:8] = 1
    >>> columns = {{"patient_id": ["a", "b"], "phase": ["ED", "ED"], "pixel_spacing": np.full((2, 2), 1.5)}}
    >>> shifted = np.roll(masks, 1, axis=2)
    >>> result = CmrOverlap().compute(
    ...     predictions=shifted, references=masks, is_real=[False, False], labels={{1: "lv"}}, **columns
    ... )
    >>> result["dice_lv"], result["hd95_mm_lv"]
    (0.75, 1.5)
"""


@evaluate.utils.file_utils.add_start_docstrings(_DESCRIPTION, _KWARGS_DESCRIPTION)
class CmrOverlap(Stream, evaluate.Metric):
    """See above."""

    kinds: ClassVar = {
        "predictions": "label_maps",
        "references": "label_maps",
        "is_real": "flags",
        "patient_id": "names",
        "phase": "names",
        "pixel_spacing": "spacings",
    }

    def _info(self) -> evaluate.MetricInfo:
        info = evaluate.MetricInfo(
            description=_DESCRIPTION,
            citation=_CITATION,
            inputs_description=_KWARGS_DESCRIPTION,
            features=stream_features(self.kinds),
            reference_urls=["https://arxiv.org/abs/2206.01653"],
        )
        info.format = "numpy"  # the constructor refuses it for arrays; without it pixels come back as lists
        return info

    def _compute(
        self,
        predictions: np.ndarray,
        references: np.ndarray,
        is_real: np.ndarray,
        patient_id: np.ndarray,
        phase: np.ndarray,
        pixel_spacing: np.ndarray,
        labels: Mapping[int, str] | None = None,
        resamples: int = 100,
        seed: int = 0,
    ) -> dict[str, Any]:
        labels = dict(_LABELS if labels is None else labels)
        if is_real.all():
            raise ValueError("rows: all are real; give rows to judge with is_real False")
        predictions, references = predictions.astype(np.uint8), references.astype(np.uint8)
        result: dict[str, Any] = {}
        for ending, rows in (("", np.flatnonzero(~is_real)), ("_floor", np.flatnonzero(is_real))):
            columns = (predictions, references, patient_id, phase)
            result |= _of_rows([c[rows] for c in columns], pixel_spacing[rows], labels, ending, resamples, seed)
        result["n_slices"] = int((~is_real).sum())
        for name, rows in (("n_patients", ~is_real), ("n_real_patients", is_real)):
            result[name] = len(np.unique(patient_id[rows]))
        return {**result, "data_hash": data_hash(references[~is_real])}


def _of_rows(
    columns: list[np.ndarray],
    spacing: np.ndarray,
    labels: Mapping[int, str],
    ending: str,
    resamples: int,
    seed: int,
) -> dict[str, float]:
    nan = float("nan")
    if not len(spacing):
        names = [f"{name}_{structure}" for name in _NAMES for structure in labels.values()]
        missing = {name + ending + end: nan for name in names for end in ("", "_low", "_high")}
        return {**missing, **{f"missed_{structure}{ending}": nan for structure in labels.values()}}
    found = overlap_by_patient(*columns, tuple(labels), spacing)

    def means(rows: np.ndarray) -> dict[str, float]:
        named = {}
        for name, key in _NAMES.items():
            for column, structure in enumerate(labels.values()):
                defined = found[key][rows, column]
                defined = defined[np.isfinite(defined)]
                named[f"{name}_{structure}"] = float(defined.mean()) if len(defined) else nan
        return named

    intervals = bootstrap_patients_together(means, [found["patients"]], resamples=resamples, seed=seed)
    result = {}
    for name, value in means(np.arange(len(found["patients"]))).items():
        bounds = np.clip(intervals[name], 0, 1 if name.startswith(("dice", "iou")) else np.inf)
        for end, number in zip(("", "_low", "_high"), (value, *bounds), strict=True):
            result[name + ending + end] = float(number)
    missed = dict(zip(labels.values(), found["missed"].sum(0), strict=True))
    return {**result, **{f"missed_{structure}{ending}": int(count) for structure, count in missed.items()}}
