"""The CLIP maximum mean discrepancy (CMMD) as an `evaluate` module."""

# ruff: noqa: F401 (`evaluate` copies only the siblings named here, so those of siblings are named too)
from __future__ import annotations

from typing import Any

import evaluate
import numpy as np

from .columns import FEATURE_COLUMNS, FeatureStream, stream_features
from .intervals import bootstrap_patients_together
from .mmd import cmmd
from .real_floor import OPTIONS, RESULT, compare_features

_DESCRIPTION = """
The maximum mean discrepancy between unit-length image embeddings of synthetic and real images. Give embeddings of CLIP
ViT-L/14 at 336 pixels: bandwidth and scale were chosen for them.

Formula: 1000 MMD^2 with k(x, y) = exp(-|x - y|^2 / 200), the biased estimate that includes the diagonal.

How to read it: lower is better. Two samples of one distribution lie above 0 by about 1000 (1 - mean kernel) (1 / n + 1
/ m), so compare `cmmd_at_floor_size` with `cmmd_floor`. It assumes no Gaussian, unlike `cmr_fid`.
"""

_CITATION = """
@inproceedings{jayasumana2024rethinking,
  title = {Rethinking FID: Towards a Better Evaluation Metric for Image Generation},
  author = {Jayasumana, Sadeep and Ramalingam, Srikumar and Veit, Andreas and Glasner, Daniel and Chakrabarti, Ayan
            and Kumar, Sanjiv},
  booktitle = {CVPR}, year = {2024}, eprint = {2401.09603}
}
"""

_KWARGS_DESCRIPTION = f"""
Args:
{FEATURE_COLUMNS}
{OPTIONS}
Returns:
    `cmmd`: 1000 times MMD^2, >= 0.
{RESULT}
Raises:
    ValueError: columns are missing, of other kinds or lengths, or a set has fewer than two rows.
Examples:
    >>> import numpy as np
    >>> rng = np.random.default_rng(0)
    >>> is_real, patient_id = np.arange(160) < 80, np.arange(160) // 4
    >>> features = rng.normal(size=(160, 3)) + np.where(is_real, 0, 2)[:, None]
    >>> result = CmrCmmd().compute(features=features, is_real=is_real, patient_id=patient_id, resamples=20)
    >>> result["cmmd"] > 3 * result["cmmd_floor"] > 0
    True
"""


@evaluate.utils.file_utils.add_start_docstrings(_DESCRIPTION, _KWARGS_DESCRIPTION)
class CmrCmmd(FeatureStream, evaluate.Metric):
    """See above."""

    def _info(self) -> evaluate.MetricInfo:
        info = evaluate.MetricInfo(
            description=_DESCRIPTION,
            citation=_CITATION,
            inputs_description=_KWARGS_DESCRIPTION,
            features=stream_features(self.kinds),
            reference_urls=["https://arxiv.org/abs/2401.09603"],
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
        return compare_features(lambda x, y: {"cmmd": cmmd(x, y)}, features, is_real, patient_id, **options)
