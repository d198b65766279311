"""The classifier two-sample test as an `evaluate` module."""

# ruff: noqa: F401 (`evaluate` copies only the siblings named here, so those of siblings are named too)
from __future__ import annotations

from typing import Any

import evaluate
import numpy as np

from .columns import IMAGE_COLUMNS, ImageStream, read_images, stream_features
from .intervals import bootstrap_patients_together
from .real_floor import OPTIONS, RESULT, compare_sets, data_hash
from .two_sample import two_sample_scores

_FOLDS = 3

_DESCRIPTION = """
Can a small network, trained on other patients, tell real from synthetic images?

Formula: the out-of-fold AUC of a network of 13 thousand parameters over three folds of whole patients (real and
synthetic rows of one patient in one fold), trained on balanced batches of random crops.

How to read it: .5 is indistinguishable, 1 is always told apart; good is a value at floor size within the interval of
the floor. It grows with the number of rows to learn from. It finds artefacts that no eye sees, so a high AUC alone
does not say that images are of no use. The interval takes the trained networks as given.
"""

_CITATION = """
@inproceedings{lopezpaz2017revisiting,
  title = {Revisiting Classifier Two-Sample Tests},
  author = {Lopez-Paz, David and Oquab, Maxime},
  booktitle = {ICLR}, year = {2017}, eprint = {1610.06545}
}
"""

_KWARGS_DESCRIPTION = f"""
Args:
{IMAGE_COLUMNS}
    updates (int): optimiser updates per fold; three networks are trained three times.
{OPTIONS}
Returns:
    `two_sample_auc`: in [0, 1].
{RESULT}
Raises:
    ValueError: a set has too few patients for three folds, or columns are missing or of other kinds or lengths.
Examples:
    >>> import numpy as np
    >>> rng = np.random.default_rng(0)
    >>> is_real, patient_id = np.arange(48) < 24, np.arange(48) // 2
    >>> images = rng.uniform(0.4, 0.6, size=(48, 32, 32))
    >>> images[~is_real] = (images[~is_real] + np.roll(images[~is_real], 1, axis=2)) / 2  # blurred
    >>> result = CmrTwoSample().compute(images=images, is_real=is_real, patient_id=patient_id, updates=2, resamples=20)
    >>> 0 <= result["two_sample_auc"] <= 1
    True
"""


@evaluate.utils.file_utils.add_start_docstrings(_DESCRIPTION, _KWARGS_DESCRIPTION)
class CmrTwoSample(ImageStream, evaluate.Metric):
    """See above."""

    def _info(self) -> evaluate.MetricInfo:
        info = evaluate.MetricInfo(
            description=_DESCRIPTION,
            citation=_CITATION,
            inputs_description=_KWARGS_DESCRIPTION,
            features=stream_features(self.kinds),
            reference_urls=["https://arxiv.org/abs/1610.06545"],
        )
        info.format = "numpy"  # the constructor refuses it for arrays; without it pixels come back as lists
        return info

    def _compute(
        self,
        images: np.ndarray,
        is_real: np.ndarray,
        patient_id: np.ndarray,
        updates: int = 150,
        resamples: int = 100,
        seed: int = 0,
    ) -> dict[str, Any]:
        images = read_images(images)

        def compare(first: np.ndarray, second: np.ndarray) -> Any:
            groups = patient_id[first], patient_id[second]
            if len(first) < len(np.flatnonzero(~is_real)) and min(len(np.unique(g)) for g in groups) < _FOLDS:
                return lambda i, j: {"two_sample_auc": float("nan")}  # a part drawn to match the floor is too small
            scores = two_sample_scores(images[first], images[second], *groups, folds=_FOLDS, updates=updates, seed=seed)
            return lambda i, j: {"two_sample_auc": scores.auc(i, j)}

        real_patients = len(np.unique(patient_id[is_real]))
        result = compare_sets(
            compare, is_real, patient_id, resamples=resamples, seed=seed, draws=int(real_patients >= 2 * _FOLDS)
        )
        for end in ("_low", "_high", "_floor_low", "_floor_high"):
            result[f"two_sample_auc{end}"] = float(np.clip(result[f"two_sample_auc{end}"], 0, 1))
        return {**result, "made_with": "pixels", "data_hash": data_hash(images[is_real])}
