"""The Inception Score as an `evaluate` module."""

# ruff: noqa: F401 (`evaluate` copies only the siblings named here, so those of siblings are named too)
from __future__ import annotations

from typing import Any, ClassVar

import evaluate
import numpy as np

from .columns import PATIENTS, Stream, stream_features
from .inception_score import inception_score
from .intervals import bootstrap_patients_together
from .real_floor import OPTIONS, RESULT, data_hash, describe_sets

_SPLITS = 10

_DESCRIPTION = """
The Inception Score, for comparison with older work only: it never looks at a real image, and the classes of ImageNet
mean nothing for cardiac images. Do not rank generators by it.

Formula: exp(mean KL(p(y|x) || p(y))) over the class probabilities of a classifier, mean of 10 random splits.

How to read it: in [1, number of classes]; higher is said to be better, but a generator that repeats one image of each
class scores best. The floor is the score of as many real images: a value above it is no merit.
"""

_CITATION = """
@inproceedings{salimans2016improved,
  title = {Improved Techniques for Training GANs},
  author = {Salimans, Tim and Goodfellow, Ian and Zaremba, Wojciech and Cheung, Vicki and Radford, Alec and Chen, Xi},
  booktitle = {NeurIPS}, year = {2016}, eprint = {1606.03498}
}
"""

_KWARGS_DESCRIPTION = f"""
Args:
    probabilities (N, K) float: class probabilities of each image from one classifier; rows sum to 1.
{PATIENTS}
    classifier_name (str): what made the probabilities; kept in the result.
{OPTIONS}
Returns:
    `inception_score`: mean over 10 splits, >= 1. The floor is the score of real rows.
{RESULT}
Raises:
    ValueError: rows are no probabilities, a set has fewer than 20 rows, or columns are missing or of other kinds.
Examples:
    >>> import numpy as np
    >>> rng = np.random.default_rng(0)
    >>> is_real, patient_id = np.arange(160) < 80, np.arange(160) // 4
    >>> columns = {{"is_real": is_real, "patient_id": patient_id}}
    >>> result = CmrInceptionScore().compute(probabilities=rng.dirichlet([1, 1, 1], 160), **columns, resamples=20)
    >>> 1 < result["inception_score"] < 3
    True
"""


@evaluate.utils.file_utils.add_start_docstrings(_DESCRIPTION, _KWARGS_DESCRIPTION)
class CmrInceptionScore(Stream, evaluate.Metric):
    """See above."""

    kinds: ClassVar = {"probabilities": "vectors", "is_real": "flags", "patient_id": "names"}

    def _info(self) -> evaluate.MetricInfo:
        info = evaluate.MetricInfo(
            description=_DESCRIPTION,
            citation=_CITATION,
            inputs_description=_KWARGS_DESCRIPTION,
            features=stream_features(self.kinds),
            reference_urls=["https://arxiv.org/abs/1606.03498"],
        )
        info.format = "numpy"  # the constructor refuses it for arrays; without it pixels come back as lists
        return info

    def _compute(
        self,
        probabilities: np.ndarray,
        is_real: np.ndarray,
        patient_id: np.ndarray,
        classifier_name: str = "unnamed classifier",
        resamples: int = 100,
        seed: int = 0,
    ) -> dict[str, Any]:
        rows = np.asarray(probabilities, dtype=np.float64)

        def describe(own: np.ndarray) -> Any:
            def of_rows(i: np.ndarray) -> dict[str, float]:
                if len(i) < 2 * _SPLITS:  # a resample that drew patients with few images
                    return {"inception_score": float("nan")}
                return {"inception_score": inception_score(rows[own[i]], splits=_SPLITS, seed=seed)[0]}

            return of_rows

        for own in (is_real, ~is_real):
            inception_score(rows[own], splits=_SPLITS)  # refuses what is no probability, in words
        result = describe_sets(describe, is_real, patient_id, resamples=resamples, seed=seed)
        return {**result, "made_with": classifier_name, "data_hash": data_hash(rows[is_real])}
