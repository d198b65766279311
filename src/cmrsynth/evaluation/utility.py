"""Can the synthetic images train a network that works on real patients?

Train on real, on synthetic and on both, for the same number of updates, and test on the held-out patients
(train-synthetic-test-real: Esteban et al. 2017, arXiv:1706.02633). Because updates are equal, the real arm sees
every image as often as a data set of real images duplicated to the size of the mixed one would show it.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from cmrsynth.data.loading import SliceSet
from cmrsynth.evaluation.arms import (
    ARMS,
    SUBJECTS,
    Arm,
    Pool,
    bounds_of,
    crossed,
    interval_of,
    nan_mean,
    per_patient,
    predict_all,
    same_data_other_seed,
    score_arm,
    train_arm,
)
from cmrsynth.evaluation.figure import DO_NOT_SHARE, GOOD, LOOK, Figure
from cmrsynth.evaluation.floors import Interval, Measured
from cmrsynth.evaluation.judged import judged, not_computed
from cmrsynth.evaluation.segmenter import Segmenter
from cmrsynth.evaluation.settings import EvaluationSettings
from cmrsynth.evaluation.verdict import Judgement, judge_dice, judge_gain
from cmrsynth.labels import LABEL_NAMES

SEEN_MASKS = (
    " Optimistic: the synthetic images were made from the masks of the very patients the network is tested on; "
    "generate from training masks for an honest figure."
)
DIFFERENCES = {
    "synthetic": ("utility_gap", "Dice lost by training on synthetic instead of real images"),
    "both": ("utility_gain", "Dice gained by adding synthetic to real images"),
}
SENTENCES = {
    ("synthetic", GOOD): "Synthetic images train about as well as real ones.",
    ("synthetic", LOOK): "Synthetic images train a usable but weaker network than real ones.",
    ("synthetic", DO_NOT_SHARE): "Synthetic images cannot replace real ones for training.",
    ("both", GOOD): "Adding synthetic images does not hurt training on real ones.",
    ("both", LOOK): "Adding synthetic images makes training on real ones slightly worse.",
    ("both", DO_NOT_SHARE): "Adding synthetic images spoils training on real ones.",
}


def train_arms(
    train: SliceSet, synthetic: SliceSet, labels: tuple[int, ...], settings: EvaluationSettings, folder: Path
) -> dict[str, list[Segmenter]]:
    """Return the segmenters of each arm, one per seed; finished ones in `folder` are used again."""
    pools = {"real": Pool.of(train), "synthetic": Pool.of(synthetic), "both": Pool.of(train, synthetic)}
    return {arm: train_arm(pools[arm], labels, settings, folder, arm) for arm in ARMS}


def test_arms(segmenters: dict[str, list[Segmenter]], holdout: SliceSet, labels: tuple[int, ...]) -> dict[str, Arm]:
    """Return how each arm does on the held-out patients."""
    return {arm: score_arm(predict_all(networks, holdout), holdout, labels) for arm, networks in segmenters.items()}


def utility_figures(
    arms: dict[str, Arm],
    train: SliceSet,
    holdout: SliceSet,
    synthetic: SliceSet,
    labels: tuple[int, ...],
    settings: EvaluationSettings,
    *,
    optimistic: bool = False,
) -> list[Figure]:
    """Return Dice and HD95 of each arm, and the paired differences to training on real patients.

    Args:
        arms: of `test_arms`.
        train: the real training slices.
        holdout: the real test slices.
        synthetic: the synthetic slices that were trained on.
        labels: the foreground labels.
        settings: seeds and resamples.
        optimistic: the synthetic images were made from the held-out patients' own masks; the readings then say so.
    """
    n = _counts(train, holdout, synthetic, settings)
    gap = paired_difference(arms["synthetic"], arms["real"], settings)
    gain = paired_difference(arms["both"], arms["real"], settings)
    judgements = {"real": _judge_real(arms["real"]), "synthetic": judge_dice(*gap), "both": judge_gain(*gain)}
    figures = []
    for arm in ARMS:
        figures += [
            _dice_figure(arm, arms, labels, judgements[arm], settings, n),
            _surface_figure(arm, arms, labels, judgements[arm], settings, n),
        ]
    figures += [
        _difference_figure("synthetic", gap, judgements["synthetic"], arms, settings, n),
        _difference_figure("both", gain, judgements["both"], arms, settings, n),
    ]
    return [replace(f, reading=f.reading + SEEN_MASKS) if optimistic else f for f in figures]


def synthetic_figures(
    arms: dict[str, Arm],
    train: SliceSet,
    holdout: SliceSet,
    synthetic: SliceSet,
    labels: tuple[int, ...],
    settings: EvaluationSettings,
) -> list[Figure]:
    """Return Dice of training on synthetic images alone and its paired difference to training on real ones.

    The arguments are those of `utility_figures`; `arms` needs "real" and "synthetic" only.
    """
    n = _counts(train, holdout, synthetic, settings)
    gap = paired_difference(arms["synthetic"], arms["real"], settings)
    judgement = judge_dice(*gap)
    return [
        _dice_figure("synthetic", arms, labels, judgement, settings, n),
        _difference_figure("synthetic", gap, judgement, arms, settings, n),
    ]


def _counts(train: SliceSet, holdout: SliceSet, synthetic: SliceSet, settings: EvaluationSettings) -> dict[str, int]:
    return {
        "real": len(train),
        "synthetic": len(synthetic),
        "holdout": len(holdout),
        "patients": len(holdout.patients),
        "seeds": settings.segmenter_seeds,
    }


def made_with(settings: EvaluationSettings) -> str:
    """Return the protocol of the networks, for `Figure.made_with`."""
    return f"{settings.segmenter_kind.protocol}, {settings.segmenter_updates} updates"


def measured_against(arm: Arm, reference: Arm, score: str, settings: EvaluationSettings) -> Measured:
    """Return a score of an arm, labels averaged first, beside that of the reference arm; None where undefined."""
    found = [crossed(per_patient(one.score(score)), settings, bounds_of(score)) for one in (arm, reference)]
    value, floor = (f.value if np.isfinite(f.value) else None for f in found)
    return Measured(value, interval_of(found[0]), floor, interval_of(found[1]))


def paired_difference(arm: Arm, reference: Arm, settings: EvaluationSettings) -> tuple[float, Interval | None]:
    """Return the mean difference of Dice over seeds, patients and labels, and its interval.

    Patients are resampled once for both arms; with several seeds, seeds are resampled too.
    """
    found = crossed(per_patient(arm.dice - reference.dice), settings)
    return found.value, interval_of(found)


def paired_remark(settings: EvaluationSettings) -> str:
    """Return what the intervals leave out, where they leave something out."""
    return " One network per arm: the spread between seeds is not in the interval." * (settings.segmenter_seeds == 1)


def by_label(values: np.ndarray, labels: tuple[int, ...]) -> dict[str, float | None]:
    """Return the mean over seeds and patients of (S, P, L) values per label name; None where there is no value."""
    means = nan_mean(nan_mean(values, axis=0), axis=0)
    return {LABEL_NAMES[x]: float(m) if np.isfinite(m) else None for x, m in zip(labels, means, strict=True)}


def _judge_real(arm: Arm) -> Judgement:
    dice = float(np.nanmean(arm.dice))
    rule = "good from 0.7 Dice: a weaker network cannot tell good training data from bad"
    return Judgement(GOOD if dice >= 0.7 else LOOK, rule)


def _dice_figure(
    arm: str,
    arms: dict[str, Arm],
    labels: tuple[int, ...],
    judgement: Judgement,
    settings: EvaluationSettings,
    n: dict[str, int],
) -> Figure:
    measured = measured_against(arms[arm], arms["real"], "dice", settings)
    return judged(
        "utility",
        f"dice_{arm}",
        f"Dice on held-out patients, trained on {SUBJECTS[arm]}",
        measured,
        judgement,
        f"A network trained on {SUBJECTS[arm]} reaches {measured.value:.3f} Dice on patients it never saw"
        + ("." if arm == "real" else f"; one trained on real images alone {measured.floor:.3f}."),
        n=n,
        made_with=made_with(settings),
        unit="Dice",
        better="higher",
        headline=arm != "both",
        details={
            "per_label": by_label(arms[arm].dice, labels),
            "iou_per_label": by_label(arms[arm].score("iou"), labels),
            "per_seed": [float(np.nanmean(dice)) for dice in arms[arm].dice],
            "per_patient": _rounded(nan_mean(per_patient(arms[arm].dice), axis=0)),
            "missed_slices": arms[arm].missed,
        },
    )


def _surface_figure(
    arm: str,
    arms: dict[str, Arm],
    labels: tuple[int, ...],
    judgement: Judgement,
    settings: EvaluationSettings,
    n: dict[str, int],
) -> Figure:
    name = f"hausdorff_95_{arm}"
    title = f"95 % Hausdorff distance on held-out patients, trained on {SUBJECTS[arm]}"
    measured = measured_against(arms[arm], arms["real"], "hausdorff_95", settings)
    if measured.value is None:
        why = "The network finds no structure in any held-out image, so no surface can be compared."
        return not_computed("utility", name, title, why, n, made_with(settings), unit="mm")
    return judged(
        "utility",
        name,
        title,
        measured,
        Judgement(judgement.verdict, f"that of dice_{arm}: {judgement.rule}"),
        f"Borders are off by {measured.value:.1f} mm (95 %). {arms[arm].missed:.0f} slices with a structure on one "
        "side only are not in this average.",
        n=n,
        made_with=made_with(settings),
        unit="mm",
        better="lower",
        details={
            "per_label": by_label(arms[arm].hausdorff_95, labels),
            "assd_per_label": by_label(arms[arm].score("assd"), labels),
            "penalised_per_label": by_label(arms[arm].score("hausdorff_95_penalised"), labels),
        },
    )


def _difference_figure(
    arm: str,
    difference: tuple[float, Interval | None],
    judgement: Judgement,
    arms: dict[str, Arm],
    settings: EvaluationSettings,
    n: dict[str, int],
) -> Figure:
    value, interval = difference
    name, title = DIFFERENCES[arm]
    # Two networks that differ by their seed alone: known only where several seeds were trained.
    chance = same_data_other_seed(per_patient(arms["real"].dice))
    measured = Measured(value, interval, 0.0, None if chance is None else interval_of(crossed(chance, settings)))
    return judged(
        "utility",
        name,
        title,
        measured,
        judgement,
        f"{SENTENCES[arm, judgement.verdict]} ({value:+.3f} Dice.)" + paired_remark(settings),
        n=n,
        made_with=f"{made_with(settings)}, paired over patients",
        unit="Dice",
        better="higher",
        headline=arm == "both",
        details={"per_patient": _rounded(nan_mean(per_patient(arms[arm].dice - arms["real"].dice), axis=0))},
    )


def _rounded(values: np.ndarray) -> list[float | None]:
    return [round(float(v), 4) if np.isfinite(v) else None for v in values]


def model_facts(segmenters: dict[str, list[Segmenter]]) -> dict[str, dict[str, Any]]:
    """Return per network what `Evaluation.models` records."""
    return {s.facts["name"]: s.facts for networks in segmenters.values() for s in networks}
