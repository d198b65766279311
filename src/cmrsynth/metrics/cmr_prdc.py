"""Precision, recall, density and coverage of a feature set as an `evaluate` module."""

# ruff: noqa: F401 (`evaluate` copies only the siblings named here, so those of siblings are named too)
from __future__ import annotations

from typing import Any

import evaluate
import numpy as np

from .columns import FEATURE_COLUMNS, FeatureStream, stream_features
from .intervals import bootstrap_patients_together
from .manifold import prdc
from .real_floor import OPTIONS, RESULT, compare_features

_K = 5  # the neighbour that sets the radius of a ball
_NAMES = ("precision", "recall", "density", "coverage")

_DESCRIPTION = """
Do synthetic images lie where real ones lie (precision, density), and are all real ones reached (recall, coverage)?

Formula: each point has a ball to its 5th nearest neighbour in its own set. Precision: share of synthetic points in any
real ball; recall: share of real points in any synthetic ball; density: mean number of real balls around a synthetic
point over 5; coverage: share of real balls that hold a synthetic point.

How to read it: higher is better, up to the floor: two samples of one distribution of equal size reach a density of 1
and a coverage of about .97, and precision and recall well below 1. A density far above 1 with a recall near 0 is mode
collapse, under which coverage stays high. Copies of training images leave all four near normal.
"""

_CITATION = """
@inproceedings{naeem2020reliable,
  title = {Reliable Fidelity and Diversity Metrics for Generative Models},
  author = {Naeem, Muhammad Ferjad and Oh, Seong Joon and Uh, Youngjung and Choi, Yunjey and Yoo, Jaejun},
  booktitle = {ICML}, year = {2020}, eprint = {2002.09797}
}
@inproceedings{kynkaanniemi2019improved,
  title = {Improved Precision and Recall Metric for Assessing Generative Models},
  author = {Kynk{\\"a}{\\"a}nniemi, Tuomas and Karras, Tero and Laine, Samuli and Lehtinen, Jaakko and Aila, Timo},
  booktitle = {NeurIPS}, year = {2019}, eprint = {1904.06991}
}
"""

_KWARGS_DESCRIPTION = f"""
Args:
{FEATURE_COLUMNS}
{OPTIONS}
Returns:
    `precision`, `recall`, `coverage` in [0, 1]; `density` >= 0, may exceed 1.
{RESULT}
    An interval of shares is cut at 0 and 1.
Raises:
    ValueError: a set has no more than 5 rows, or columns are missing or of other kinds or lengths.
Examples:
    >>> import numpy as np
    >>> rng = np.random.default_rng(0)
    >>> is_real, patient_id = np.arange(160) < 80, np.arange(160) // 4
    >>> features = rng.normal(size=(160, 3)) + np.where(is_real, 0, 2)[:, None]
    >>> result = CmrPrdc().compute(features=features, is_real=is_real, patient_id=patient_id, resamples=20)
    >>> result["precision"] < 0.5 * result["precision_floor"]
    True
"""


@evaluate.utils.file_utils.add_start_docstrings(_DESCRIPTION, _KWARGS_DESCRIPTION)
class CmrPrdc(FeatureStream, evaluate.Metric):
    """See above."""

    def _info(self) -> evaluate.MetricInfo:
        info = evaluate.MetricInfo(
            description=_DESCRIPTION,
            citation=_CITATION,
            inputs_description=_KWARGS_DESCRIPTION,
            features=stream_features(self.kinds),
            reference_urls=["https://arxiv.org/abs/2002.09797", "https://arxiv.org/abs/1904.06991"],
        )
        info.format = "numpy"  # the constructor refuses it for arrays; without it pixels come back as lists
        return info

    def _compute(
        self,
        features: np.ndarray,
        is_real: np.ndarray,
        patient_id: np.ndarray,
        features_name: str = "unnamed features",
        resamples: int = 100,
        seed: int = 0,
    ) -> dict[str, Any]:
        def shares(x: np.ndarray, y: np.ndarray) -> dict[str, float]:
            return prdc(y, x, k=_K) if min(len(x), len(y)) > _K else dict.fromkeys(_NAMES, float("nan"))

        if min(is_real.sum(), (~is_real).sum()) <= _K:
            raise ValueError(
                f"rows: {is_real.sum()} real and {(~is_real).sum()} synthetic; give more than {_K} of each"
            )
        options = {"features_name": features_name, "resamples": resamples, "seed": seed}
        result = compare_features(shares, features, is_real, patient_id, **options)
        for name in _NAMES:
            for end in ("_low", "_high", "_floor_low", "_floor_high"):
                result[name + end] = float(np.clip(result[name + end], 0, np.inf if name == "density" else 1))
        return result
