"""Copies that a trained eye would find: a network that recognises training images however they were disguised."""

from __future__ import annotations

from hashlib import sha256
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from cmrsynth.evaluation.audit import Audit, training_with_noise
from cmrsynth.evaluation.figure import DO_NOT_SHARE, GOOD, LOOK, Figure
from cmrsynth.evaluation.fitting import trained_or_saved
from cmrsynth.evaluation.floors import Measured, finite
from cmrsynth.evaluation.judged import not_computed
from cmrsynth.evaluation.verdict import Judgement
from cmrsynth.metrics.copy_detector import build_detector, closest_similarity, train_detector
from cmrsynth.metrics.intervals import bootstrap_patients
from cmrsynth.metrics.neighbours import copy_rate
from cmrsynth.seeds import derive_seed

if TYPE_CHECKING:
    import torch

UPDATES = 400
NULL, MANY, APART = 0.05, 0.3, 0.15
MIN_PATIENTS = 6
PLANTED = 100  # images
NAME, TITLE = "copy_detector", "Recognised as a training image (contrastive copy detector)"


def copy_detector_figure(audit: Audit, folder: Path | None, *, updates: int = UPDATES) -> Figure:
    """Return the share of synthetic images that the detector takes for a training image; 5 % of fresh ones are.

    The threshold is the 95th percentile of the similarity of held-out images to their closest training image: the
    question that is asked of a synthetic image, asked of images that cannot be copies. (Dar et al. 2024,
    arXiv:2402.01054, take it from training to held-out images; with fewer held-out than training images more than
    5 % of fresh ones would then be accused.) The same with both sets exchanged tells images that resemble everyone.

    Args:
        audit: the sets.
        folder: where the detector is kept; without it the figure has no value.
        updates: of its training.
    """
    if folder is None or min(len(audit.train.patients), len(audit.holdout.patients)) < MIN_PATIENTS:
        why = (
            f"The detector needs a folder to be kept in, {MIN_PATIENTS} training and {MIN_PATIENTS} held-out patients."
        )
        return not_computed("privacy", NAME, TITLE, why, audit.n, "contrastive copy detector")
    network, facts = trained_detector(audit, folder, updates)
    train, holdout, synthetic = audit.train.images, audit.holdout.images, audit.synthetic.images
    found, where = closest_similarity(network, synthetic, train)
    reference, _ = closest_similarity(network, holdout, train)
    planted, _ = closest_similarity(network, training_with_noise(audit.train, PLANTED), train)
    exchanged = flagged(
        closest_similarity(network, synthetic, holdout)[0], closest_similarity(network, train, holdout)[0]
    )
    measured = _measured(audit, found, reference)
    threshold = float(np.quantile(reference, 1 - NULL))
    return audit.figure(
        NAME,
        TITLE,
        measured,
        judge_detected(measured, exchanged),
        _reading(audit, measured.value, exchanged),
        f"contrastive copy detector, sha256 {facts['sha256'][:12]}; arXiv:2402.01054",
        planted=flagged(planted, reference),
        details={
            "threshold": threshold,
            "taken_for_holdout": exchanged,
            "most_similar": [[int(i), int(where[i]), float(found[i])] for i in np.argsort(-found)[:8]],
            "by_mask_origin": audit.by_origin((found > threshold).astype(float)),
        },
    )


def _measured(audit: Audit, found: np.ndarray, reference: np.ndarray) -> Measured:
    interval = bootstrap_patients(
        lambda rows, other_rows: flagged(found[rows], reference[other_rows]),
        [audit.synthetic.patient_id, audit.holdout.patient_id],
        resamples=audit.settings.resamples,
        seed=audit.settings.seed,
    )
    return audit.with_floor(
        flagged(found, reference), finite(interval), lambda half, rest: flagged(reference[half], reference[rest])
    )


def _reading(audit: Audit, value: float, exchanged: float) -> str:
    few = " Fewer than 20 held-out images leave the 5 % to chance." * (len(audit.holdout) < 20)
    return (
        f"The detector takes {value:.0%} of the synthetic images for a training image, {max(0.0, value - NULL):.0%} "
        f"more than of real patients it never saw, and {exchanged:.0%} for a held-out one.{few}{audit.origin_note}"
    )


def trained_detector(audit: Audit, folder: Path, updates: int) -> tuple[torch.nn.Module, dict[str, Any]]:
    """Return the detector of these training images and its facts, from `folder` if it is there."""
    from rich.progress import track

    images, patients, seed = audit.train.images, audit.train.patient_id, derive_seed(audit.settings.seed, NAME)
    network = build_detector(seed)
    key = {
        "protocol": "copy detector v1",
        "updates": updates,
        "seed": audit.settings.seed,
        "images": sha256(np.ascontiguousarray(images).tobytes()).hexdigest(),
        "patients": sha256("\n".join(patients.tolist()).encode()).hexdigest(),
    }

    def train() -> None:
        train_detector(
            network,
            images,
            patients,
            updates=updates,
            seed=seed,
            watch=lambda steps: track(steps, description="Training the copy detector", transient=True),
        )

    return network, trained_or_saved(network, key, folder / "copy-detector.safetensors", train)


def flagged(similarity: np.ndarray, reference: np.ndarray) -> float:
    """Return the share of images more similar to a training image than 95 % of held-out images are.

    >>> flagged(np.array([0.2, 0.99]), np.linspace(0, 0.9, 10))
    0.5
    """
    return copy_rate(-similarity, -reference, NULL)


def judge_detected(measured: Measured, exchanged: float) -> Judgement:
    """Judge the share of images taken for a training image.

    Args:
        measured: the share, its floor about 0.05.
        exchanged: the share taken for a held-out image, which collapse raises as much.

    >>> floor = 0.05, (0.0, 0.2)
    >>> [judge_detected(Measured(v, (v - 0.1, v), *floor), 0.05).verdict for v in (0.1, 0.25, 0.9)]
    ['good', 'look closer', 'do not share']
    """
    top = max(2 * NULL, measured.floor_interval[1] if measured.floor_interval else 0.0)
    low = measured.interval[0] if measured.interval else measured.value
    rule = (
        f"expected {NULL:g}; good up to {top:.2f} or if the interval reaches {NULL:g}; do not share above {MANY:g} if "
        f"at least {APART:g} more than are taken for held-out images; look closer otherwise"
    )
    if measured.value <= top or low <= NULL:
        return Judgement(GOOD, rule)
    plain = measured.value > MANY and measured.value - exchanged >= APART
    return Judgement(DO_NOT_SHARE if plain else LOOK, rule)
