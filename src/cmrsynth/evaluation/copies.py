"""Copies that a trained eye would find: a network that recognises training images however they were disguised."""

from __future__ import annotations

from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from cmrsynth.evaluation.audit import Audit, training_with_noise
from cmrsynth.evaluation.figure import DO_NOT_SHARE, GOOD, LOOK, Figure
from cmrsynth.evaluation.fitting import trained_or_saved
from cmrsynth.evaluation.floors import Measured, finite
from cmrsynth.evaluation.judged import not_computed
from cmrsynth.evaluation.tails import far_below
from cmrsynth.evaluation.verdict import Judgement, judge_near_copies
from cmrsynth.metrics.copy_detector import build_detector, closest_similarity, train_detector
from cmrsynth.metrics.intervals import bootstrap_patients
from cmrsynth.metrics.neighbours import copy_rate
from cmrsynth.seeds import derive_seed

if TYPE_CHECKING:
    import torch

UPDATES = 700
NULL, MANY, APART = 0.05, 0.3, 0.15
MIN_PATIENTS = 6
MIN_COPIED = 3  # patients among surely recognised images, before they alone forbid sharing
PLANTED = 100  # images
TITLES = {
    "copy_detector": "Recognised as a training image (contrastive copy detector)",
    "copy_detector_certain": "Surely a training image, turned, dimmed or blurred (contrastive copy detector)",
}


@dataclass(frozen=True)
class Recognised:
    """What the detector finds: the similarity of each image to the closest training image, and which one that is.

    `exchanged` is the share of synthetic images taken for a held-out image, both sets having changed places.
    """

    synthetic: np.ndarray
    holdout: np.ndarray
    planted: np.ndarray
    index: np.ndarray
    exchanged: float
    made_with: str


def copy_detector_figures(audit: Audit, folder: Path | None, *, updates: int = UPDATES) -> list[Figure]:
    """Return the share of synthetic images taken for a training image, and the share that surely is one.

    5 % of fresh images are taken for one: the threshold is the 95th percentile of the similarity of held-out images to
    their closest training image, which asks of images that cannot be copies what is asked of synthetic ones. (Dar et
    al. 2024, arXiv:2402.01054, take it from training to held-out images; with fewer held-out than training images
    more than 5 % of fresh ones would then be accused.) That hides fewer than 5 % of copies; for these there is the
    second figure, of images twice as close to a training image as held-out images ever are.

    Args:
        audit: the sets.
        folder: where the detector is kept; without it the figures have no value.
        updates: of its training.
    """
    if folder is None or min(len(audit.train.patients), len(audit.holdout.patients)) < MIN_PATIENTS:
        why = (
            f"The detector needs a folder to be kept in, {MIN_PATIENTS} training and {MIN_PATIENTS} held-out patients."
        )
        return [not_computed("privacy", n, t, why, audit.n, "contrastive copy detector") for n, t in TITLES.items()]
    found = _recognised(audit, folder, updates)
    return [_taken(audit, found), _certain(audit, found)]


def _recognised(audit: Audit, folder: Path, updates: int) -> Recognised:
    network, facts = trained_detector(audit, folder, updates)
    train, holdout, synthetic = audit.train.images, audit.holdout.images, audit.synthetic.images
    similarity, index = closest_similarity(network, synthetic, train)
    return Recognised(
        similarity,
        closest_similarity(network, holdout, train)[0],
        closest_similarity(network, training_with_noise(audit.train, PLANTED), train)[0],
        index,
        flagged(closest_similarity(network, synthetic, holdout)[0], closest_similarity(network, train, holdout)[0]),
        f"contrastive copy detector, sha256 {facts['sha256'][:12]}; arXiv:2402.01054",
    )


def _taken(audit: Audit, found: Recognised) -> Figure:
    interval = bootstrap_patients(
        lambda rows, other_rows: flagged(found.synthetic[rows], found.holdout[other_rows]),
        [audit.synthetic.patient_id, audit.holdout.patient_id],
        resamples=audit.settings.resamples,
        seed=audit.settings.seed,
    )
    measured = audit.with_floor(
        flagged(found.synthetic, found.holdout),
        finite(interval),
        lambda half, rest: flagged(found.holdout[half], found.holdout[rest]),
    )
    threshold = float(np.quantile(found.holdout, 1 - NULL))
    few = " Fewer than 20 held-out images leave the 5 % to chance." * (len(audit.holdout) < 20)
    reading = (
        f"The detector takes {measured.value:.0%} of the synthetic images for a training image, "
        f"{max(0.0, measured.value - NULL):.0%} more than of real patients it never saw, and {found.exchanged:.0%} for "
        f"a held-out one.{few}{audit.origin_note}"
    )
    return audit.figure(
        "copy_detector",
        TITLES["copy_detector"],
        measured,
        judge_detected(measured, found.exchanged),
        reading,
        found.made_with,
        planted=flagged(found.planted, found.holdout),
        details={
            "threshold": threshold,
            "taken_for_holdout": found.exchanged,
            "by_mask_origin": audit.by_origin((found.synthetic > threshold).astype(float)),
        },
    )


def _certain(audit: Audit, found: Recognised) -> Figure:
    count, interval, measured, threshold = far_below(audit, 1 - found.synthetic, 1 - found.holdout)
    most = np.argsort(-found.synthetic)[:8]
    judgement = judge_near_copies(count, interval)
    patients = len(np.unique(audit.synthetic.patient_id[1 - found.synthetic < threshold]))
    if judgement.verdict == DO_NOT_SHARE and patients < MIN_COPIED:
        rule = f"{judgement.rule}; look closer while they are images of fewer than {MIN_COPIED} patients' masks"
        judgement = Judgement(LOOK, f"{rule}: slices of one heart are alike")
    return audit.figure(
        "copy_detector_certain",
        TITLES["copy_detector_certain"],
        measured,
        judgement,
        f"{count} of {len(found.synthetic)} synthetic images are twice as close to a training image as held-out images "
        "ever are; moved or cropped copies need not be.",
        found.made_with,
        planted=float((1 - found.planted < threshold).mean()),
        details={
            "threshold": 1 - threshold,
            "most_similar": [[int(i), int(found.index[i]), float(found.synthetic[i])] for i in most],
        },
    )


def trained_detector(audit: Audit, folder: Path, updates: int) -> tuple[torch.nn.Module, dict[str, Any]]:
    """Return the detector of these training images and its facts, from `folder` if it is there."""
    from rich.progress import track

    images, patients, seed = (
        audit.train.images,
        audit.train.patient_id,
        derive_seed(audit.settings.seed, "copy detector"),
    )
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
