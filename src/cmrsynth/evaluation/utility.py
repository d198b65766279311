"""Can the synthetic images train a network that works on real patients?

Train on real, on synthetic and on both, for the same number of updates, and test on the held-out patients
(train-synthetic-test-real: Esteban et al. 2017, arXiv:1706.02633).
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from cmrsynth.data.loading import SliceSet
from cmrsynth.evaluation.adherence import mean_interval, overlap_of, per_label
from cmrsynth.evaluation.figure import DO_NOT_SHARE, GOOD, LOOK, Figure
from cmrsynth.evaluation.floors import Interval, finite
from cmrsynth.evaluation.segmenter import PROTOCOL, Segmenter, train_segmenter
from cmrsynth.evaluation.settings import EvaluationSettings
from cmrsynth.evaluation.verdict import Judgement, judge_dice, judge_gain
from cmrsynth.seeds import derive_seed

SEEN_MASKS = (
    " Optimistic: the synthetic images were made from the masks of the very patients the network is tested on; "
    "generate from training masks for an honest figure."
)
ARMS = ("real", "synthetic", "both")


@dataclass(frozen=True)
class Arm:
    """How networks trained on one kind of data do on the held-out patients.

    Args:
        dice, hausdorff_95: (S, P, L) over seeds, patients and labels; NaN where not defined.
        missed: slices where exactly one of prediction and mask holds a label, mean over seeds.
    """

    dice: np.ndarray
    hausdorff_95: np.ndarray
    missed: float


def train_arms(
    train: SliceSet, synthetic: SliceSet, labels: tuple[int, ...], settings: EvaluationSettings, folder: Path
) -> dict[str, list[Segmenter]]:
    """Return the segmenters of each arm, one per seed; finished ones in `folder` are used again."""
    pools = {
        "real": (train.images, train.masks),
        "synthetic": (synthetic.images, synthetic.masks),
        "both": (np.concatenate([train.images, synthetic.images]), np.concatenate([train.masks, synthetic.masks])),
    }
    return {
        arm: [
            train_segmenter(
                *pools[arm],
                labels,
                updates=settings.segmenter_updates,
                batch_size=settings.segmenter_batch,
                seed=settings.seed + offset,
                path=folder / f"segmenter-{arm}-{settings.seed + offset}.safetensors",
            )
            for offset in range(settings.segmenter_seeds)
        ]
        for arm in ARMS
    }


def test_arms(segmenters: dict[str, list[Segmenter]], holdout: SliceSet, labels: tuple[int, ...]) -> dict[str, Arm]:
    """Return how each arm does on the held-out patients."""
    arms = {}
    for arm, networks in segmenters.items():
        overlaps = [overlap_of(network.predict(holdout.images), holdout, labels) for network in networks]
        arms[arm] = Arm(
            np.stack([o["dice"] for o in overlaps]),
            np.stack([o["hausdorff_95"] for o in overlaps]),
            float(np.mean([o["missed"].sum() for o in overlaps])),
        )
    return arms


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
    n = {
        "real": len(train),
        "synthetic": len(synthetic),
        "holdout": len(holdout),
        "patients": len(holdout.patients),
        "seeds": settings.segmenter_seeds,
    }
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


def _judge_real(arm: Arm) -> Judgement:
    dice = float(np.nanmean(arm.dice))
    rule = "good from 0.7 Dice: a weaker network cannot tell good training data from bad"
    return Judgement(GOOD if dice >= 0.7 else LOOK, rule)


def paired_difference(arm: Arm, reference: Arm, settings: EvaluationSettings) -> tuple[float, Interval | None]:
    """Return the mean difference of Dice over seeds, patients and labels, and its interval.

    Patients are resampled once for both arms; with several seeds, seeds are resampled first.
    """
    difference = arm.dice - reference.dice
    if len(difference) == 1:
        return mean_interval(difference[0], settings)
    per_patient = np.nanmean(difference, axis=2)
    rng = np.random.default_rng(derive_seed(settings.seed, "seeds and patients"))
    seeds, patients = per_patient.shape
    drawn = [
        np.nanmean(per_patient[rng.integers(0, seeds, seeds)][:, rng.integers(0, patients, patients)])
        for _ in range(settings.resamples)
    ]
    return float(np.nanmean(per_patient)), finite(tuple(np.nanquantile(drawn, [0.025, 0.975])))


def _dice_figure(
    arm: str,
    arms: dict[str, Arm],
    labels: tuple[int, ...],
    judgement: Judgement,
    settings: EvaluationSettings,
    n: dict[str, int],
) -> Figure:
    value, interval = mean_interval(_mean_seeds(arms[arm].dice), settings)
    floor, floor_interval = mean_interval(_mean_seeds(arms["real"].dice), settings)
    subject = {"real": "real images", "synthetic": "synthetic images alone", "both": "real and synthetic images"}[arm]
    return Figure(
        axis="utility",
        name=f"dice_{arm}",
        title=f"Dice on held-out patients, trained on {subject}",
        value=value,
        interval=interval,
        floor=floor,
        floor_interval=floor_interval,
        unit="Dice",
        better="higher",
        n=n,
        made_with=f"{PROTOCOL}, {settings.segmenter_updates} updates",
        verdict=judgement.verdict,
        reading=f"A network trained on {subject} reaches {value:.3f} Dice on patients it never saw"
        + ("." if arm == "real" else f"; one trained on real images alone {floor:.3f}."),
        rule=judgement.rule,
        headline=arm != "both",
        details={
            "per_label": per_label(_mean_seeds(arms[arm].dice), labels),
            "per_seed": [float(np.nanmean(dice)) for dice in arms[arm].dice],
            "per_patient": _rounded(np.nanmean(arms[arm].dice, (0, 2))),
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
    def of(one: Arm) -> tuple[float | None, Interval | None]:
        value, interval = mean_interval(_mean_seeds(one.hausdorff_95), settings)
        return (value, interval) if np.isfinite(value) else (None, None)

    (value, interval), (floor, floor_interval) = of(arms[arm]), of(arms["real"])
    reading = (
        f"Borders are off by {value:.1f} mm (95 %)."
        if value is not None
        else "The network finds no structure in any held-out image, so no surface can be compared."
    )
    return Figure(
        axis="utility",
        name=f"hausdorff_95_{arm}",
        title=f"95 % Hausdorff distance on held-out patients, trained on {arm}",
        value=value,
        interval=interval,
        floor=floor,
        floor_interval=floor_interval,
        unit="mm",
        better="lower",
        n=n,
        made_with=f"{PROTOCOL}, {settings.segmenter_updates} updates",
        verdict=judgement.verdict,
        reading=f"{reading} {arms[arm].missed:.0f} slices with a structure on one side only are not in this average.",
        rule=f"that of dice_{arm}: {judgement.rule}",
        details={"per_label": per_label(_mean_seeds(arms[arm].hausdorff_95), labels)},
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
    name, title = {
        "synthetic": ("utility_gap", "Dice lost by training on synthetic instead of real images"),
        "both": ("utility_gain", "Dice gained by adding synthetic to real images"),
    }[arm]
    reading = {
        ("synthetic", GOOD): "Synthetic images train about as well as real ones.",
        ("synthetic", LOOK): "Synthetic images train a usable but weaker network than real ones.",
        ("synthetic", DO_NOT_SHARE): "Synthetic images cannot replace real ones for training.",
        ("both", GOOD): "Adding synthetic images does not hurt training on real ones.",
        ("both", LOOK): "Adding synthetic images makes training on real ones slightly worse.",
        ("both", DO_NOT_SHARE): "Adding synthetic images spoils training on real ones.",
    }[arm, judgement.verdict]
    spread = np.nanmean(arms["real"].dice, (1, 2)) - np.nanmean(arms["real"].dice)
    return Figure(
        axis="utility",
        name=name,
        title=title,
        value=value,
        interval=interval,
        floor=0.0,
        # Two networks that differ by their seed alone: known only where several seeds were trained.
        floor_interval=(float(spread.min()), float(spread.max())) if len(spread) > 1 else None,
        unit="Dice",
        better="higher",
        n=n,
        made_with=f"{PROTOCOL}, {settings.segmenter_updates} updates, paired over patients",
        verdict=judgement.verdict,
        reading=f"{reading} ({value:+.3f} Dice.)" + _seed_warning(settings),
        rule=judgement.rule,
        headline=arm == "both",
        details={"per_patient": _rounded(np.nanmean(arms[arm].dice - arms["real"].dice, (0, 2)))},
    )


def _seed_warning(settings: EvaluationSettings) -> str:
    return " One network per arm: the spread between seeds is not in the interval." * (settings.segmenter_seeds == 1)


def _mean_seeds(values: np.ndarray) -> np.ndarray:
    """Mean over seeds of (S, P, L) where defined."""
    known = np.isfinite(values)
    return np.where(known, values, 0).sum(0) / np.where(known.any(0), known.sum(0), np.nan)


def _rounded(values: np.ndarray) -> list[float | None]:
    return [round(float(v), 4) if np.isfinite(v) else None for v in values]


def model_facts(segmenters: dict[str, list[Segmenter]]) -> dict[str, dict[str, Any]]:
    """Return per network what `Evaluation.models` records."""
    return {s.facts["name"]: s.facts for networks in segmenters.values() for s in networks}
