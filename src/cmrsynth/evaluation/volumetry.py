"""The second task: volumes and ejection fraction read from images by a network that never draws an outline.

A small network regresses the area of the LV cavity in a slice; summed over a patient's stack at end diastole and
end systole (Simpson's method) this gives EDV, ESV and EF. It is trained on real, synthetic and both, with equal
updates, and tested on patients it never saw.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from cmrsynth.data.loading import SliceSet
from cmrsynth.evaluation.arms import ARMS, SUBJECTS, Pool, crossed, interval_of
from cmrsynth.evaluation.figure import DO_NOT_SHARE, GOOD, LOOK, Figure
from cmrsynth.evaluation.fitting import Budget, data_key, fit, predict, trained_or_saved
from cmrsynth.evaluation.floors import Interval, Measured, cut, finite
from cmrsynth.evaluation.judged import judged, not_computed
from cmrsynth.evaluation.networks import seeded
from cmrsynth.evaluation.settings import EvaluationSettings
from cmrsynth.evaluation.utility import paired_remark
from cmrsynth.evaluation.utility_tables import Table
from cmrsynth.evaluation.verdict import Judgement
from cmrsynth.labels import LV
from cmrsynth.metrics.intervals import bootstrap_patients

if TYPE_CHECKING:
    import torch

CHANNELS = (16, 32, 64, 128)
STRIDE, LEARNING_RATE = 16, 3e-3
PROTOCOL = "convolutional regression of the LV area 16-32-64-128, smooth L1, AdamW 3e-3 cosine, v1"
MIN_PATIENTS = 5  # with both phases; a correlation of fewer is noise
CLOSE, APART = 1.25, 2.0  # mean absolute errors, in units of that of real training
MEASURES = {"edv": "End-diastolic volume", "esv": "End-systolic volume", "ef": "Ejection fraction"}


@dataclass(frozen=True)
class Regressor:
    """A network that reads the area of the LV cavity, in pixels, from a slice."""

    network: torch.nn.Module
    facts: dict[str, Any]

    def areas(self, images: np.ndarray) -> np.ndarray:
        """Return the (N,) areas in pixels, at least 0, of (N, H, W) images in [0, 1]."""
        height, width = images.shape[1:]
        parts = [output[:, 0].numpy() for output in predict(self.network, images, STRIDE)]
        padded = (height + -height % STRIDE) * (width + -width % STRIDE)
        return np.maximum(np.concatenate(parts).astype(np.float64), 0) * padded


@dataclass(frozen=True)
class Hearts:
    """Volumes of the patients with both phases.

    Args:
        patients: (P,) names.
        edv, esv: (P,) in mL, or in cm2 (sum of areas) where a slice spacing is unknown.
        ef: (P,) in %; NaN where the truth or the prediction has no cavity at end diastole.
        unit: "mL" or "cm2".
    """

    patients: np.ndarray
    edv: np.ndarray
    esv: np.ndarray
    ef: np.ndarray
    unit: str


def train_regressors(
    train: SliceSet, synthetic: SliceSet, settings: EvaluationSettings, folder: Path
) -> dict[str, list[Regressor]]:
    """Return the regressors of each arm, one per seed; finished ones in `folder` are used again."""
    pools = {"real": Pool.of(train), "synthetic": Pool.of(synthetic), "both": Pool.of(train, synthetic)}
    seeds = range(settings.seed, settings.seed + settings.segmenter_seeds)
    return {
        arm: [train_regressor(pools[arm], settings, s, folder / f"volumetry-{arm}-{s}.safetensors") for s in seeds]
        for arm in ARMS
    }


def train_regressor(pool: Pool, settings: EvaluationSettings, seed: int, path: Path) -> Regressor:
    """Return a regressor trained on a pool, or the one saved in `path` if it is the same.

    The target is the share of the image that the cavity fills, so a zoomed image has its own right answer.
    """
    import torch

    network = seeded(_build(), seed, "volumetry weights")
    scale = float((pool.masks == LV).mean((1, 2)).std()) or 1.0  # errors in units of what varies

    def loss(output: torch.Tensor, classes: torch.Tensor) -> torch.Tensor:
        return torch.nn.functional.smooth_l1_loss(output[:, 0] / scale, classes.float().mean((1, 2, 3)) / scale)

    key = {"protocol": PROTOCOL, "updates": settings.segmenter_updates, "batch_size": settings.segmenter_batch}
    key = {**key, "seed": seed, **data_key(pool.images, pool.masks)}
    budget = Budget(settings.segmenter_updates, settings.segmenter_batch, seed, LEARNING_RATE, STRIDE)
    classes = (pool.masks == LV).astype(np.int64)
    saved = trained_or_saved(network, key, path, lambda: fit(network, pool.images, classes, loss, budget, path.stem))
    return Regressor(network, {**saved, **{k: key[k] for k in ("protocol", "updates", "batch_size", "seed")}})


def true_areas(part: SliceSet) -> np.ndarray:
    """Return the (N,) areas of the LV cavity in pixels, from the masks."""
    return (part.masks == LV).sum((1, 2)).astype(np.float64)


def hearts(part: SliceSet, areas: np.ndarray) -> Hearts:
    """Return the volumes of every patient with slices at end diastole and end systole.

    Args:
        part: the slices.
        areas: (N,) areas in pixels.
    """
    area = np.asarray(areas) * part.pixel_spacing.prod(1) / 100  # cm2
    known = bool(np.isfinite(part.slice_spacing).all())
    weight = part.slice_spacing / 10 if known else np.ones(len(part))  # cm: cm2 x cm = mL
    sums = {
        phase: {p: float((area * weight)[rows].sum()) for p in part.patients if (rows := _rows(part, p, phase)).any()}
        for phase in ("ED", "ES")
    }
    patients = np.array([p for p in part.patients if p in sums["ED"] and p in sums["ES"]])
    edv, esv = (np.array([sums[phase][p] for p in patients]) for phase in ("ED", "ES"))
    ef = np.where(edv > 0, 100 * (edv - esv) / np.where(edv > 0, edv, 1), np.nan)
    return Hearts(patients, edv, esv, ef, "mL" if known else "cm2")


def volumetry_figures(
    regressors: dict[str, list[Regressor]],
    train: SliceSet,
    holdout: SliceSet,
    settings: EvaluationSettings,
) -> tuple[list[Figure], list[Table]]:
    """Return the mean absolute error of EDV, ESV and EF of each arm, beside that of training on real images.

    Args:
        regressors: of `train_regressors`; empty where the LV is not annotated.
        train: the real training slices, whose mean is the guess of someone who sees no image.
        holdout: the real test slices.
        settings: seeds and resamples.
    """
    truth = hearts(holdout, true_areas(holdout))
    n = {"holdout": len(holdout), "patients": len(truth.patients), "seeds": settings.segmenter_seeds}
    made = f"{PROTOCOL}, {settings.segmenter_updates} updates"
    if not regressors or len(truth.patients) < MIN_PATIENTS:
        why = (
            f"{len(truth.patients)} held-out patients have slices at end diastole and end systole; at least "
            f"{MIN_PATIENTS} are needed."
            if regressors
            else "These data sets do not annotate the LV cavity."
        )
        return [not_computed("utility", "volumetry_ef_real", "Ejection fraction from images", why, n, made)], []
    found = {arm: [hearts(holdout, r.areas(holdout.images)) for r in own] for arm, own in regressors.items()}
    guess = hearts(train, true_areas(train))
    figures = []
    for measure in MEASURES:
        target = getattr(truth, measure)
        values = {arm: np.stack([getattr(h, measure) for h in own]) for arm, own in found.items()}
        known = guess.unit == truth.unit or measure == "ef"
        mean = float(np.nanmean(getattr(guess, measure))) if known and len(guess.patients) else None
        figures += [_figure(measure, arm, values, target, mean, truth.unit, settings, n, made) for arm in ARMS]
    return figures, [_table(figures)]


def correlation(prediction: np.ndarray, target: np.ndarray) -> float:
    """Return Pearson's r of two (P,) arrays over the pairs that are defined; NaN where one is constant.

    >>> correlation(np.array([1.0, 2.0, 4.0]), np.array([2.0, 4.0, 8.0]))
    1.0
    """
    known = np.isfinite(prediction) & np.isfinite(target)
    x, y = prediction[known], target[known]
    if len(x) < 3 or np.ptp(x) == 0 or np.ptp(y) == 0:
        return float("nan")
    return float(np.corrcoef(x, y)[0, 1])


def _build() -> torch.nn.Module:
    import torch

    layers: list[torch.nn.Module] = []
    for before, after in zip((1, *CHANNELS[:-1]), CHANNELS, strict=True):
        for channels, stride in ((before, 2), (after, 1)):
            layers += [torch.nn.Conv2d(channels, after, 3, stride, 1), torch.nn.BatchNorm2d(after), torch.nn.ReLU()]
    # the mean over space of a density: area adds up, wherever the heart lies
    layers += [torch.nn.Conv2d(CHANNELS[-1], 1, 1), torch.nn.AdaptiveAvgPool2d(1), torch.nn.Flatten()]
    return torch.nn.Sequential(*layers)


def _rows(part: SliceSet, patient: str, phase: str) -> np.ndarray:
    return (part.patient_id == patient) & (part.phase == phase)


def _figure(
    measure: str,
    arm: str,
    values: dict[str, np.ndarray],
    target: np.ndarray,
    guess: float | None,
    volume_unit: str,
    settings: EvaluationSettings,
    n: dict[str, int],
    made: str,
) -> Figure:
    unit = "percentage points" if measure == "ef" else volume_unit
    what = MEASURES[measure] if measure == "ef" or volume_unit == "mL" else f"{MEASURES[measure]} (sum of areas)"
    errors = {a: np.abs(v - target) for a, v in values.items()}
    name, title = f"volumetry_{measure}_{arm}", f"{what} from images: mean absolute error, trained on {SUBJECTS[arm]}"
    mae, floor = (crossed(errors[a], settings, (0, np.inf)) for a in (arm, "real"))
    if not np.isfinite([mae.value, floor.value]).all():
        why = "A network sees no cavity at end diastole in any held-out patient, so nothing can be computed."
        return not_computed("utility", name, title, why, n, made, unit=unit)
    measured = Measured(mae.value, interval_of(mae), floor.value, interval_of(floor))
    excess = crossed(errors[arm] - errors["real"], settings)
    error_of_guess = None if guess is None else float(np.nanmean(np.abs(target - guess)))
    undefined = int(np.isnan(values[arm]).any(0).sum())
    prediction = values[arm].mean(0)
    r = correlation(prediction, target)
    ends = bootstrap_patients(
        lambda rows: correlation(prediction[rows], target[rows]),
        [np.arange(len(target))],
        resamples=settings.resamples,
        seed=settings.seed,
    )
    return judged(
        "utility",
        name,
        title,
        measured,
        _judge(measured, interval_of(excess), error_of_guess),
        _reading(mae.value, unit, error_of_guess, r, undefined) + paired_remark(settings),
        n=n,
        made_with=made,
        unit=unit,
        better="lower",
        planted=error_of_guess,
        planted_as="the mean of the training patients for everyone" if error_of_guess is not None else "",
        details={
            "r": r if np.isfinite(r) else None,
            "r_interval": cut(finite(ends), (-1.0, 1.0)),
            "excess_over_real": excess.value if np.isfinite(excess.value) else None,
            "excess_interval": interval_of(excess),
            "predicted": [round(float(v), 3) if np.isfinite(v) else None for v in prediction],
            "true": [round(float(v), 3) if np.isfinite(v) else None for v in target],
        },
    )


def _reading(mae: float, unit: str, error_of_guess: float | None, r: float, undefined: int) -> str:
    reading = f"Off by {mae:.3g} {unit} on average"
    reading += "" if error_of_guess is None else f"; guessing the mean is off by {error_of_guess:.3g}"
    reading += f"; r = {r:.2f}." if np.isfinite(r) else "; the predictions or the hearts do not vary."
    return reading + f" {undefined} patients have no value for some network." * (undefined > 0)


def _judge(measured: Measured, excess: Interval | None, error_of_guess: float | None) -> Judgement:
    """Judge an error beside that of real training; `excess` is the interval of their paired difference."""
    rule = (
        f"good up to {CLOSE:g} times the error of training on real images, or if the paired interval of the excess "
        f"reaches 0; do not share above {APART:g} times; 'look closer' where training on real images itself is no "
        "better than guessing the mean"
    )
    if error_of_guess is not None and measured.floor >= error_of_guess:
        return Judgement(LOOK, rule)
    if error_of_guess is not None and measured.value >= error_of_guess and measured.value > CLOSE * measured.floor:
        return Judgement(DO_NOT_SHARE if measured.value > APART * measured.floor else LOOK, rule)
    if measured.value <= CLOSE * measured.floor or (excess is not None and excess[0] <= 0):
        return Judgement(GOOD, rule)
    if excess is None:  # too few patients in common to compare
        return Judgement(LOOK, rule)
    return Judgement(DO_NOT_SHARE if measured.value > APART * measured.floor else LOOK, rule)


def _table(figures: list[Figure]) -> Table:
    rows = []
    for figure in figures:
        _, measure, arm = figure.name.split("_")
        ends = figure.interval or (None, None)
        excess = figure.details.get("excess_interval") or (None, None)
        cells = (figure.value, *ends, figure.planted, figure.details.get("r"),
                 figure.details.get("excess_over_real"), *excess)  # fmt: skip
        rows.append((measure.upper(), figure.unit, arm, *(None if x is None else float(f"{x:.4g}") for x in cells)))
    columns = ("measure", "unit", "trained on", "mean absolute error", "low", "high", "guessing the mean", "r",
               "excess over real", "excess low", "excess high")  # fmt: skip
    note = "Held-out patients with slices at both phases; predicted and true sums are over the same slices."
    return Table("volumetry", "Volumes and ejection fraction from images", columns, tuple(rows), note)
