"""Nearest neighbours of synthetic images among training images as an `evaluate` module."""

# ruff: noqa: F401 (`evaluate` copies only the siblings named here, so those of siblings are named too)
from __future__ import annotations

from typing import Any, ClassVar

import evaluate
import numpy as np
from scipy.spatial.distance import cdist

from .columns import Stream, stream_features
from .intervals import bootstrap_patients_together
from .nearest_search import two_nearest
from .neighbours import authenticity, closer_to_train, leave_group_out, nearest_neighbours, nndr
from .real_floor import OPTIONS, data_hash, halve

_ROLES = ("synthetic", "train", "holdout")
_LARGEST = {"distance_ratio": np.inf}
_NOISE, _CLOSER = 61, 62  # random streams

_DESCRIPTION = """
Does the synthetic set give training images away? Distances of synthetic images to their nearest training image, beside
those of held-out patients (the floor) and of training images with a little noise (planted copies).

Formula: `closer_to_train`: share of rows nearer to the training than to the held-out images, with as many patients
drawn from both, mean of 20 draws. `nndr`: median of nearest over nearest of another patient. `copy_rate`: share nearer
than 95 % of held-out images are. `authenticity`: share farther from their nearest training image than that one's own
nearest of another patient. `distance_ratio`: median distance over that of held-out images.

How to read it: good is near the floor; `closer_to_train` at .5 is fresh, 1 is copied; `nndr`, `authenticity` and
`distance_ratio` fall with copying, `copy_rate` rises. The planted value says what full copying looks like here: if it
is near the floor, this encoder cannot see copies. A value near the floor is no proof of privacy: a few copies among
many images hardly move a mean, and attacks on the model itself can find more.
"""

_CITATION = """
@inproceedings{alaa2022faithful,
  title = {How Faithful is your Synthetic Data? Sample-level Metrics for Evaluating and Auditing Generative Models},
  author = {Alaa, Ahmed and van Breugel, Boris and Saveliev, Evgeny S. and van der Schaar, Mihaela},
  booktitle = {ICML}, year = {2022}, eprint = {2102.08921}
}
"""

_KWARGS_DESCRIPTION = f"""
Args:
    features (N, d) float: one row per image, all from one encoder; numpy array or tensor.
    role (N,) str: "synthetic", "train" or "holdout".
    patient_id (N,) str: the patient; for a synthetic row the patient of the mask it was made from.
    features_name (str): what made the features; kept in the result.
{OPTIONS}
Returns:
    `closer_to_train`, `nndr`, `copy_rate`, `authenticity`, `distance_ratio`, each with `_low`, `_high` (95 % interval
    over patients of the queries), `_floor`, `_floor_low`, `_floor_high` (held-out patients as queries, one half against
    the other where held-out images are the reference) and `_planted` (training rows with 1 % of noise as queries).
    `n_synthetic`, `n_train`, `n_holdout`, `n_patients` (of training), `made_with`, `data_hash` (of training rows).
Raises:
    ValueError: a role is unknown or has no rows, a patient has training and held-out rows, or columns are missing.
Examples:
    >>> import numpy as np
    >>> rng = np.random.default_rng(0)
    >>> train, holdout = rng.normal(size=(2, 60, 4))
    >>> features = np.concatenate([train, holdout, train + 0.01])  # the synthetic rows are copies
    >>> role = np.repeat(["train", "holdout", "synthetic"], 60)
    >>> patient_id = np.concatenate([np.arange(120) // 3, np.arange(60) // 3])
    >>> result = CmrNearestNeighbours().compute(features=features, role=role, patient_id=patient_id, resamples=20)
    >>> result["closer_to_train"] > 0.9, 0.3 < result["closer_to_train_floor"] < 0.7, result["copy_rate"]
    (True, True, 1.0)
"""


@evaluate.utils.file_utils.add_start_docstrings(_DESCRIPTION, _KWARGS_DESCRIPTION)
class CmrNearestNeighbours(Stream, evaluate.Metric):
    """See above."""

    kinds: ClassVar = {"features": "vectors", "role": "names", "patient_id": "names"}

    def _info(self) -> evaluate.MetricInfo:
        info = evaluate.MetricInfo(
            description=_DESCRIPTION,
            citation=_CITATION,
            inputs_description=_KWARGS_DESCRIPTION,
            features=stream_features(self.kinds),
            reference_urls=["https://arxiv.org/abs/2102.08921", "https://arxiv.org/abs/2301.13188"],
        )
        info.format = "numpy"  # the constructor refuses it for arrays; without it pixels come back as lists
        return info

    def _compute(
        self,
        features: np.ndarray,
        role: np.ndarray,
        patient_id: np.ndarray,
        features_name: str = "unnamed features",
        resamples: int = 100,
        seed: int = 0,
    ) -> dict[str, Any]:
        rows = {name: np.flatnonzero(role == name) for name in _ROLES}
        _check(rows, role, patient_id)
        points = np.asarray(features, dtype=np.float64)
        sets = {name: (points[own], patient_id[own]) for name, own in rows.items()}
        halves = halve(patient_id, rows["holdout"], 0, seed)
        stand_in, reference = ((points[own], patient_id[own]) for own in halves)
        rng = np.random.default_rng([seed, _NOISE])
        train = sets["train"][0]
        planted = train + 0.01 * train.std(0) * rng.normal(size=train.shape)
        result: dict[str, Any] = {}
        for ending, query, held in (
            ("", sets["synthetic"], sets["holdout"]),
            ("_floor", stand_in, reference),
            ("_planted", (planted, sets["train"][1]), sets["holdout"]),
        ):
            found = _with_interval(query, sets["train"], held, 0 if ending == "_planted" else resamples, seed)
            for name, values in found.items():
                ends = ("",) if ending == "_planted" else ("", "_low", "_high")
                result |= {name + ending + end: float(v) for end, v in zip(ends, values, strict=False)}
        counts = {f"n_{name}": len(own) for name, own in rows.items()}
        counts["n_patients"] = len(np.unique(patient_id[rows["train"]]))
        return {**result, **counts, "made_with": features_name, "data_hash": data_hash(train)}


def _check(rows: dict[str, np.ndarray], role: np.ndarray, patient_id: np.ndarray) -> None:
    unknown = sorted(set(role.tolist()) - set(_ROLES))
    if unknown or not all(len(own) for own in rows.values()):
        sizes = {name: len(own) for name, own in rows.items()}
        raise ValueError(f"role: expected rows of each of {_ROLES}, got {sizes} and unknown {unknown[:3]}")
    if shared := sorted(set(patient_id[rows["train"]].tolist()) & set(patient_id[rows["holdout"]].tolist())):
        raise ValueError(f"patient_id: {shared[:3]} are in both training and held-out rows; split by patient")
    if any(len(np.unique(patient_id[rows[name]])) < 2 for name in ("train", "holdout")):
        raise ValueError("patient_id: training or held-out rows have one patient only; give at least two of each")


def _with_interval(
    query: tuple[np.ndarray, np.ndarray],
    train: tuple[np.ndarray, np.ndarray],
    holdout: tuple[np.ndarray, np.ndarray],
    resamples: int,
    seed: int,
) -> dict[str, tuple[float, ...]]:
    """The figures of one set of queries, with intervals over its patients; both references stay as they are."""
    near, held = (nearest_neighbours(points, train[0], None, train[1]) for points in (query[0], holdout[0]))
    bound, usual = np.quantile(held.distance_1, 0.05), np.median(held.distance_1)
    closer = closer_to_train(
        *(cdist(query[0], points) for points, _ in (train, holdout)),
        np.random.default_rng([seed, _CLOSER]),
        train_group=train[1],
        holdout_group=holdout[1],
    )
    authentic, ratio = authenticity(near, leave_group_out(*train)), nndr(near)

    def of_rows(i: np.ndarray) -> dict[str, float]:
        return {
            "closer_to_train": float(closer[i].mean()),
            "nndr": float(np.nanmedian(ratio[i])),
            "copy_rate": float((near.distance_1[i] < bound).mean()),
            "authenticity": float(authentic[i].mean()),
            "distance_ratio": float(np.median(near.distance_1[i]) / usual) if usual else float("nan"),
        }

    intervals = bootstrap_patients_together(of_rows, [query[1]], resamples=resamples, seed=seed)
    values = of_rows(np.arange(len(query[1])))
    return {name: (value, *np.clip(intervals[name], 0, _LARGEST.get(name, 1))) for name, value in values.items()}
