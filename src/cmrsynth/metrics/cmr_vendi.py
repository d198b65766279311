"""The Vendi score of a feature set as an `evaluate` module."""

# ruff: noqa: F401 (`evaluate` copies only the siblings named here, so those of siblings are named too)
from __future__ import annotations

from typing import Any

import evaluate
import numpy as np

from .columns import FEATURE_COLUMNS, FeatureStream, stream_features
from .diversity import gaussian_kernel, vendi_score
from .intervals import bootstrap_patients_together
from .mmd import median_bandwidth
from .paired import ms_ssim
from .real_floor import OPTIONS, RESULT, data_hash, describe_sets

_DESCRIPTION = """
The effective number of different images in the synthetic set: 1 if all are equal, n if none is like another.

Formula: exp(-sum l_i log l_i) with l_i the eigenvalues of K / n and K_ij = exp(-|x_i - x_j|^2 / (2 s^2)), s the median
distance between real rows.

How to read it: higher is more diverse; it grows with n, so compare `vendi_score_at_floor_size` with
`vendi_score_floor`, the score of as many real rows. Far below is mode collapse. It says nothing about quality: noise
is diverse.
"""

_CITATION = """
@article{friedman2023vendi,
  title = {The Vendi Score: A Diversity Evaluation Metric for Machine Learning},
  author = {Friedman, Dan and Dieng, Adji Bousso},
  journal = {Transactions on Machine Learning Research}, year = {2023}, eprint = {2210.02410}
}
"""

_KWARGS_DESCRIPTION = f"""
Args:
{FEATURE_COLUMNS}
{OPTIONS}
Returns:
    `vendi_score`: in [1, n]. The floor is the score of real rows.
{RESULT}
Raises:
    ValueError: columns are missing, of other kinds or lengths, or a set has fewer than two rows.
Examples:
    >>> import numpy as np
    >>> rng = np.random.default_rng(0)
    >>> is_real, patient_id = np.arange(160) < 80, np.arange(160) // 4
    >>> features = rng.normal(size=(160, 3)) + np.where(is_real, 0, 2)[:, None]
    >>> result = CmrVendi().compute(features=features, is_real=is_real, patient_id=patient_id, resamples=20)
    >>> 0.5 < result["vendi_score"] / result["vendi_score_floor"] < 2  # shifted, but as diverse
    True
"""


@evaluate.utils.file_utils.add_start_docstrings(_DESCRIPTION, _KWARGS_DESCRIPTION)
class CmrVendi(FeatureStream, evaluate.Metric):
    """See above."""

    def _info(self) -> evaluate.MetricInfo:
        info = evaluate.MetricInfo(
            description=_DESCRIPTION,
            citation=_CITATION,
            inputs_description=_KWARGS_DESCRIPTION,
            features=stream_features(self.kinds),
            reference_urls=["https://arxiv.org/abs/2210.02410"],
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
        rows = np.asarray(features, dtype=np.float64)
        bandwidth = median_bandwidth(rows[is_real])

        def describe(own: np.ndarray) -> Any:
            kernel = gaussian_kernel(rows[own], bandwidth)
            return lambda i: {"vendi_score": vendi_score(kernel, weights=np.bincount(i, minlength=len(own)))}

        result = describe_sets(describe, is_real, patient_id, resamples=resamples, seed=seed)
        return {**result, "made_with": features_name, "data_hash": data_hash(rows[is_real])}
