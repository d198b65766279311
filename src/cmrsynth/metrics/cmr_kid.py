"""The kernel distance between feature sets (KID) as an `evaluate` module."""

# ruff: noqa: F401 (`evaluate` copies only the siblings named here, so those of siblings are named too)
from __future__ import annotations

from typing import Any

import evaluate
import numpy as np

from .columns import FEATURE_COLUMNS, FeatureStream, stream_features
from .intervals import bootstrap_patients_together
from .kernel import kernel_distance
from .real_floor import OPTIONS, RESULT, compare_features

_DESCRIPTION = """
The kernel distance between the features of synthetic and of real images: KID where the features are those of the FID
Inception network. It is unbiased, so it is the default for the few hundred images that cardiac studies have.

Formula: MMD^2 with k(x, y) = (x . y / d + 1)^3, the diagonal left out, on the whole sets (not the mean over random
subsets, whose spread is no interval).

How to read it: lower is better; its expectation is 0 for two samples of one distribution, so it may be negative. Good
is a `kid_at_floor_size` within the interval of `kid_floor`. Its unit depends on the features: compare only values of
one encoder.
"""

_CITATION = """
@inproceedings{binkowski2018demystifying,
  title = {Demystifying MMD GANs},
  author = {Binkowski, Mikolaj and Sutherland, Danica J. and Arbel, Michael and Gretton, Arthur},
  booktitle = {International Conference on Learning Representations}, year = {2018}, eprint = {1801.01401}
}
"""

_KWARGS_DESCRIPTION = f"""
Args:
{FEATURE_COLUMNS}
{OPTIONS}
Returns:
    `kid`: MMD^2, about 0 for equal distributions.
{RESULT}
Raises:
    ValueError: columns are missing, of other kinds or lengths, or a set has fewer than two rows.
Examples:
    >>> import numpy as np
    >>> rng = np.random.default_rng(0)
    >>> is_real, patient_id = np.arange(160) < 80, np.arange(160) // 4
    >>> features = rng.normal(size=(160, 3)) + np.where(is_real, 0, 2)[:, None]
    >>> result = CmrKid().compute(features=features, is_real=is_real, patient_id=patient_id, resamples=20)
    >>> result["kid"] > 1 and abs(result["kid_floor"]) < 0.2
    True
"""


@evaluate.utils.file_utils.add_start_docstrings(_DESCRIPTION, _KWARGS_DESCRIPTION)
class CmrKid(FeatureStream, evaluate.Metric):
    """See above."""

    def _info(self) -> evaluate.MetricInfo:
        info = evaluate.MetricInfo(
            description=_DESCRIPTION,
            citation=_CITATION,
            inputs_description=_KWARGS_DESCRIPTION,
            features=stream_features(self.kinds),
            reference_urls=["https://arxiv.org/abs/1801.01401"],
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
        options = {"features_name": features_name, "resamples": resamples, "seed": seed}
        return compare_features(lambda x, y: {"kid": kernel_distance(x, y)}, features, is_real, patient_id, **options)
