"""The Frechet distance between feature sets (FID) as an `evaluate` module."""

# ruff: noqa: F401 (`evaluate` copies only the siblings named here, so those of siblings are named too)
from __future__ import annotations

from typing import Any

import evaluate
import numpy as np

from .columns import FEATURE_COLUMNS, FeatureStream, stream_features
from .frechet import frechet_distance
from .intervals import bootstrap_patients_together
from .real_floor import OPTIONS, RESULT, compare_features, warn_of_bias

_DESCRIPTION = """
The Frechet distance between Gaussians fitted to the features of synthetic and of real images: FID where the features
are those of the FID Inception network, a Frechet distance on any other encoder.

Formula: ||mu_s - mu_r||^2 + Tr(S_s + S_r - 2 (S_s S_r)^(1/2)), with unbiased covariances, exact for fewer rows than
dimensions too.

How to read it: lower is better, and 0 is reached by nobody: it is biased upwards, by about d (d + 5) / (2 n) for two
samples of n rows of one standard normal in d dimensions. Good is `fid_at_floor_size` near `fid_floor`; several times
the floor is bad. Features of a segmentation network reward blur, so read `cmr_sliced_wasserstein` beside it. A
generator that copies its training images scores well: compare with held-out patients, and look at
`cmr_nearest_neighbours`.
"""

_CITATION = """
@inproceedings{heusel2017gans,
  title = {GANs Trained by a Two Time-Scale Update Rule Converge to a Local Nash Equilibrium},
  author = {Heusel, Martin and Ramsauer, Hubert and Unterthiner, Thomas and Nessler, Bernhard and Hochreiter, Sepp},
  booktitle = {Advances in Neural Information Processing Systems}, year = {2017}, eprint = {1706.08500}
}
"""

_KWARGS_DESCRIPTION = f"""
Args:
{FEATURE_COLUMNS}
{OPTIONS}
Returns:
    `fid`: the squared distance, >= 0, in the features' squared unit.
{RESULT}
Raises:
    ValueError: columns are missing, of other kinds or lengths, or a set has fewer than two rows.
Examples:
    >>> import numpy as np
    >>> rng = np.random.default_rng(0)
    >>> is_real, patient_id = np.arange(160) < 80, np.arange(160) // 4
    >>> features = rng.normal(size=(160, 3)) + np.where(is_real, 0, 2)[:, None]
    >>> result = CmrFid().compute(features=features, is_real=is_real, patient_id=patient_id, resamples=20)
    >>> 10 < result["fid"] < 15 and result["fid_floor"] < 1
    True
"""


@evaluate.utils.file_utils.add_start_docstrings(_DESCRIPTION, _KWARGS_DESCRIPTION)
class CmrFid(FeatureStream, evaluate.Metric):
    """See above."""

    def _info(self) -> evaluate.MetricInfo:
        info = evaluate.MetricInfo(
            description=_DESCRIPTION,
            citation=_CITATION,
            inputs_description=_KWARGS_DESCRIPTION,
            features=stream_features(self.kinds),
            reference_urls=["https://arxiv.org/abs/1706.08500"],
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
        warn_of_bias("fid", features.shape[1], is_real)
        return compare_features(lambda x, y: {"fid": frechet_distance(x, y)}, features, is_real, patient_id, **options)
