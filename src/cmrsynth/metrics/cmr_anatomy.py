"""The distance between distributions of anatomical measures as an `evaluate` module."""

# ruff: noqa: F401 (`evaluate` copies only the siblings named here, so those of siblings are named too)
from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar

import evaluate
import numpy as np

from .anatomy import measure_all, wasserstein_1
from .columns import Stream, stream_features
from .intervals import bootstrap_patients_together
from .real_floor import OPTIONS, RESULT, compare_sets, data_hash

_DESCRIPTION = """
Are the hearts in the synthetic set shaped like real ones? Areas, ratios, wall thickness, number of components and
enclosure of the cavity are measured in label maps, and their distributions compared.

Formula: the Wasserstein-1 distance between the values of synthetic and real slices, in the unit of each measure (mm2,
mm, shares, counts); wall thickness is sqrt(A_epi / pi) - sqrt(A_lv / pi).

How to read it: lower is better; compare each value at floor size with its floor. Measure masks that a segmenter of
real images finds in the synthetic images: masks that were conditioned on say nothing about the generator. Compare
slices of like vendors, phases and levels. Volumes and ejection fraction need whole stacks and are not given here.
"""

_CITATION = """
@article{bernard2018deep,
  title = {Deep Learning Techniques for Automatic MRI Cardiac Multi-Structures Segmentation and Diagnosis: Is the
           Problem Solved?},
  author = {Bernard, Olivier and Lalande, Alain and Zotti, Clement and others},
  journal = {IEEE Transactions on Medical Imaging}, year = {2018}, doi = {10.1109/TMI.2018.2837502}
}
"""

_KWARGS_DESCRIPTION = f"""
Args:
    masks (N, H, W) int: label maps, 0 background, 1 LV cavity, 2 LV myocardium, 3 RV cavity.
    is_real (N,) bool: True for rows of real patients, False for synthetic ones.
    patient_id (N,) str: the patient; for a synthetic row the patient of the mask it was made from.
    pixel_spacing (N, 2) float: pixel size (row, column) in mm.
    labels: the labels that are annotated; a measure that needs another one is NaN.
{OPTIONS}
Returns:
    `w1_<measure>`, for each measure of `anatomy.measure`, such as `w1_wall_thickness_mm`.
{RESULT}
Raises:
    ValueError: columns are missing, of other kinds or lengths, or a set has fewer than two rows.
Examples:
    >>> import numpy as np
    >>> masks = np.zeros((8, 24, 24), int)
    >>> masks[:, 6:18, 6:18], masks[:, 9:15, 9:15] = 2, 1
    >>> spacing = np.where(np.arange(8) < 4, 1.0, 2.0)[:, None].repeat(2, axis=1)  # the synthetic hearts are too large
    >>> result = CmrAnatomy().compute(
    ...     masks=masks, is_real=np.arange(8) < 4, patient_id=np.arange(8), pixel_spacing=spacing, labels=(1, 2)
    ... )
    >>> result["w1_lv_area_mm2"], result["w1_lv_area_mm2_floor"], result["w1_lv_myo_ratio"]
    (108.0, 0.0, 0.0)
"""


@evaluate.utils.file_utils.add_start_docstrings(_DESCRIPTION, _KWARGS_DESCRIPTION)
class CmrAnatomy(Stream, evaluate.Metric):
    """See above."""

    kinds: ClassVar = {
        "masks": "label_maps",
        "is_real": "flags",
        "patient_id": "names",
        "pixel_spacing": "spacings",
    }

    def _info(self) -> evaluate.MetricInfo:
        info = evaluate.MetricInfo(
            description=_DESCRIPTION,
            citation=_CITATION,
            inputs_description=_KWARGS_DESCRIPTION,
            features=stream_features(self.kinds),
            reference_urls=["https://doi.org/10.1109/TMI.2018.2837502"],
        )
        info.format = "numpy"  # the constructor refuses it for arrays; without it pixels come back as lists
        return info

    def _compute(
        self,
        masks: np.ndarray,
        is_real: np.ndarray,
        patient_id: np.ndarray,
        pixel_spacing: np.ndarray,
        labels: Sequence[int] = (1, 2, 3),
        resamples: int = 100,
        seed: int = 0,
    ) -> dict[str, Any]:
        masks = masks.astype(np.uint8)
        measures = measure_all(masks, pixel_spacing, labels)

        def compare(first: np.ndarray, second: np.ndarray) -> Any:
            return lambda i, j: {
                f"w1_{name}": wasserstein_1(values[first[i]], values[second[j]]) for name, values in measures.items()
            }

        result = compare_sets(compare, is_real, patient_id, resamples=resamples, seed=seed)
        return {**result, "data_hash": data_hash(masks[is_real])}
