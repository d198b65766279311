"""The fixed utility protocol: three arms at equal updates, several seeds, tested by patient.

Real (TRTR), synthetic (TSTR) and both are tested on held-out patients and on other data sets; the real networks
are also tested on synthetic images (TRTS). Esteban et al. 2017, arXiv:1706.02633.
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np

from cmrsynth.data.loading import SliceSet
from cmrsynth.errors import InputError
from cmrsynth.evaluation.arms import (
    Arm,
    interval_of,
    per_patient,
    predict_all,
    same_data_other_seed,
    score_arm,
)
from cmrsynth.evaluation.augmentation_curve import CurveSettings, Point, curve_figures, curve_table, train_curve
from cmrsynth.evaluation.cross_domain import (
    check_external,
    left_out_figures,
    left_out_table,
    left_out_vendors,
    score_external,
    slug,
)
from cmrsynth.evaluation.curve_picture import draw_curve
from cmrsynth.evaluation.figure import DO_NOT_SHARE, GOOD, LOOK, UTILITY_FILE_NAME, Evaluation, Figure, Picture
from cmrsynth.evaluation.floors import Interval, Measured, cut, finite
from cmrsynth.evaluation.inputs import check_sets, mask_origin, training_part
from cmrsynth.evaluation.judged import judged, not_computed
from cmrsynth.evaluation.segmenter import Segmenter
from cmrsynth.evaluation.settings import EvaluationSettings
from cmrsynth.evaluation.utility import (
    SEEN_MASKS,
    made_with,
    measured_against,
    paired_remark,
    train_arms,
    utility_figures,
)
from cmrsynth.evaluation.utility_tables import Table, comparison_table, scores_table, subgroup_table, write_tables
from cmrsynth.evaluation.verdict import VERDICT_RULE, Judgement, judge_dice, overall
from cmrsynth.evaluation.volumetry import Regressor, train_regressors, volumetry_figures
from cmrsynth.labels import LV
from cmrsynth.metrics.hierarchical import ratio_of_seeds_and_patients
from cmrsynth.provenance import portable_path, provenance

RATIO_GOOD, RATIO_BAD = 0.95, 0.8
MIN_REFERENCE = 0.1  # Dice; a ratio to less is a division by noise


def run_protocol(
    train: SliceSet,
    holdout: SliceSet,
    synthetic: SliceSet,
    *,
    output: Path,
    external: Sequence[SliceSet] = (),
    curve: CurveSettings | None = None,
    settings: EvaluationSettings | None = None,
) -> Evaluation:
    """Return the utility of a synthetic set and write it to `output`; run again, finished networks are used again.

    Args:
        train: the real slices the generator was trained on.
        holdout: real slices of other patients.
        synthetic: the set to judge.
        output: folder for `utility.json`, `tables.md`, `tables/*.csv`, `figures/*.png`, `models/*.safetensors`.
        external: other real data sets to test on.
        curve: the grid of the augmentation curve; without it the curve is left out, as it trains many networks.
        settings: network, updates, seeds and resamples; three seeds if not given.

    Raises:
        InputError: the sets cannot be compared; see `check_sets` and `check_external`.
    """
    started = time.perf_counter()
    settings = settings or EvaluationSettings(segmenter_seeds=3)
    labels = check_sets(train, holdout, synthetic)
    for other in external:
        check_external(train, other, labels)
    if len({slug(portable_path(other.name)) for other in external}) < len(external):
        raise InputError("--external", "two data sets have the same name", "give folders of different names, each once")
    output.mkdir(parents=True, exist_ok=True)
    found = _measure(train, holdout, synthetic, labels, external, curve, settings, output)
    write_tables(found.tables, output)
    roles = {"train": train, "holdout": holdout, "synthetic": synthetic}
    roles |= {f"external_{slug(portable_path(other.name))}": other for other in external}
    evaluation = Evaluation(
        figures=tuple(found.figures),
        verdict=overall(found.figures),
        verdict_rule=VERDICT_RULE,
        inputs=_inputs(roles, mask_origin(train, holdout, synthetic)),
        models=found.models,
        pictures=tuple(found.pictures),
        provenance={
            **provenance(),
            "seed": settings.seed,
            "settings": {**settings.as_json(), "curve": asdict(curve) if curve else None},
            "seconds": {"total": round(time.perf_counter() - started, 1)},
        },
    )
    evaluation.save(output, UTILITY_FILE_NAME)
    return evaluation


@dataclass
class _Found:
    """What the parts of the protocol add to, one after the other."""

    figures: list[Figure] = field(default_factory=list)
    tables: list[Table] = field(default_factory=list)
    pictures: list[Picture] = field(default_factory=list)
    models: dict[str, dict[str, Any]] = field(default_factory=dict)

    def add(self, figures: Sequence[Figure], tables: Sequence[Table | None]) -> None:
        self.figures += figures
        self.tables += [table for table in tables if table is not None]

    def record(self, networks: Mapping[str, Sequence[Segmenter | Regressor]]) -> None:
        self.models |= {one.facts["name"]: one.facts for own in networks.values() for one in own}


def _measure(
    train: SliceSet,
    holdout: SliceSet,
    synthetic: SliceSet,
    labels: tuple[int, ...],
    external: Sequence[SliceSet],
    curve: CurveSettings | None,
    settings: EvaluationSettings,
    output: Path,
) -> _Found:
    found, models = _Found(), output / "models"
    teaching, optimistic = training_part(holdout, synthetic)
    sets = (train, holdout, teaching)
    segmenters = train_arms(train, teaching, labels, settings, models)
    found.record(segmenters)
    found.add(*_three_arms(sets, segmenters, labels, settings, optimistic=optimistic))
    for other in external:
        if shared := sorted(set(other.patients) & set(teaching.patients)):
            raise InputError(
                other.name,
                f"synthetic images were made from masks of {len(shared)} of its patients, the first {shared[0]}",
                "generate from the training patients' masks, or test on another data set",
            )
        found.add(*score_external(segmenters, other, labels, settings))
    left_out, networks = left_out_vendors(*sets, labels, settings, models)
    found.record(networks)
    found.add(left_out_figures(left_out, _counts(sets, settings), settings), [left_out_table(left_out, settings)])
    regressors = train_regressors(train, teaching, settings, models) if LV in labels else {}
    found.record(regressors)
    found.add(*volumetry_figures(regressors, train, holdout, settings))
    if curve:
        points, networks = train_curve(*sets, labels, settings, curve, models)
        found.record(networks)
        found.add(curve_figures(points, train, holdout, settings, curve), [curve_table(points, curve, settings)])
        found.pictures.append(_curve_picture(points, settings, output))
    if optimistic:
        found.tables = [replace(table, note=table.note + SEEN_MASKS) for table in found.tables]
        found.figures = [
            f if SEEN_MASKS in f.reading or f.value is None else replace(f, reading=f.reading + SEEN_MASKS)
            for f in found.figures
        ]
    return found


def ratio_figure(arms: dict[str, Arm], n: dict[str, int], settings: EvaluationSettings) -> Figure:
    """Return the Dice of training on synthetic as a share of that of training on real images (TSTR / TRTR)."""
    name, title = "tstr_ratio", "Dice of training on synthetic as a share of training on real images (TSTR / TRTR)"
    real, synthetic = (per_patient(arms[arm].dice) for arm in ("real", "synthetic"))
    if not np.nanmean(real) >= MIN_REFERENCE:
        why = "Networks trained on real images find next to nothing, so a share of it means nothing; train longer."
        return not_computed("utility", name, title, why, n, made_with(settings))
    options = {"resamples": settings.resamples, "seed": settings.seed}
    found = ratio_of_seeds_and_patients(synthetic, real, **options)
    chance = None
    if same_data_other_seed(real) is not None:
        chance = finite(ratio_of_seeds_and_patients(real, np.roll(real, 1, axis=0), **options).interval)
    interval = cut(interval_of(found), (0, np.inf))
    judgement = judge_ratio(found.value, interval)
    sentence = {
        GOOD: "Synthetic images train about as well as real ones",
        LOOK: "Synthetic images train a usable but weaker network than real ones",
        DO_NOT_SHARE: "Synthetic images cannot replace real ones for training",
    }[judgement.verdict]
    return judged(
        "utility",
        name,
        title,
        Measured(found.value, interval, 1.0, chance),
        judgement,
        f"{sentence}: {found.value:.1%} of their Dice, at equal updates. Copies of the training images would also "
        f"pass here; the privacy figures tell.{paired_remark(settings)}",
        n=n,
        made_with=f"{made_with(settings)}, paired over patients",
        better="higher",
        headline=True,
    )


def judge_ratio(value: float, interval: Interval | None) -> Judgement:
    """Judge a share of the real score, whose ideal is 1 or more.

    >>> [judge_ratio(v, None).verdict for v in (0.97, 0.9, 0.5)]
    ['good', 'look closer', 'do not share']
    """
    rule = (
        f"good from {RATIO_GOOD:g} of the real score, do not share below {RATIO_BAD:g} if the interval excludes "
        f"{RATIO_GOOD:g}"
    )
    if value >= RATIO_GOOD:
        return Judgement(GOOD, rule)
    certain = interval is None or interval[1] < RATIO_GOOD
    return Judgement(DO_NOT_SHARE if value < RATIO_BAD and certain else LOOK, rule)


def trts_figure(arms: dict[str, Arm], reverse: Arm, n: dict[str, int], settings: EvaluationSettings) -> Figure:
    """Return the Dice of networks trained on real images and tested on synthetic ones (TRTS)."""
    measured = measured_against(reverse, arms["real"], "dice", settings)
    ends = None if measured.interval is None else tuple(end - measured.floor for end in measured.interval)
    return judged(
        "utility",
        "dice_real_on_synthetic",
        "Dice on synthetic images, trained on real images (TRTS)",
        measured,
        judge_dice(measured.value - measured.floor, ends),
        f"Networks trained on real images reach {measured.value:.3f} Dice on synthetic ones; on held-out patients "
        f"{measured.floor:.3f}. A single perfect image repeated would pass: this says nothing about variety. The "
        "patients are those whose masks were used, which these networks may have been trained on.",
        n=n,
        made_with=made_with(settings),
        unit="Dice",
        better="higher",
    )


def _three_arms(
    sets: tuple[SliceSet, SliceSet, SliceSet],
    segmenters: dict[str, list[Segmenter]],
    labels: tuple[int, ...],
    settings: EvaluationSettings,
    *,
    optimistic: bool,
) -> tuple[list[Figure], list[Table]]:
    train, holdout, teaching = sets
    predictions = {arm: predict_all(networks, holdout) for arm, networks in segmenters.items()}
    arms = {arm: score_arm(found, holdout, labels) for arm, found in predictions.items()}
    reverse = score_arm(predict_all(segmenters["real"], teaching), teaching, labels)
    n = _counts(sets, settings)
    figures = utility_figures(arms, train, holdout, teaching, labels, settings, optimistic=optimistic)
    figures += [ratio_figure(arms, n, settings), trts_figure(arms, reverse, n, settings)]
    shown = {**arms, "real, tested on synthetic": reverse}
    tables = [
        scores_table("scores", "Scores on held-out patients", shown, labels, settings),
        comparison_table("differences", "Differences to training on real images", arms, labels, settings),
        subgroup_table("groups", "Held-out patients by group", arms, predictions, holdout, labels, settings),
    ]
    return figures, tables


def _counts(sets: tuple[SliceSet, SliceSet, SliceSet], settings: EvaluationSettings) -> dict[str, int]:
    train, holdout, teaching = sets
    counts = {"real": len(train), "synthetic": len(teaching), "holdout": len(holdout)}
    return counts | {"patients": len(holdout.patients), "seeds": settings.segmenter_seeds}


def _curve_picture(points: list[Point], settings: EvaluationSettings, output: Path) -> Picture:
    file = draw_curve(points, settings, output / "figures" / "augmentation_curve.png")
    caption = (
        "Dice on held-out patients by synthetic slices per real slice, one line per share of the real patients; bars "
        "are 95 % intervals over patients and seeds. All networks had the same number of updates."
    )
    return Picture(file.relative_to(output).as_posix(), "utility", "Augmentation curve", caption)


def _inputs(roles: dict[str, SliceSet], masks_from: str) -> dict[str, dict[str, Any]]:
    inputs: dict[str, dict[str, Any]] = {
        role: {
            "name": portable_path(part.name),
            "fingerprint": part.fingerprint,
            "slices": len(part),
            "patients": len(part.patients),
            "annotated_labels": list(part.annotated_labels),
        }
        for role, part in roles.items()
    }
    inputs["synthetic"]["masks_from"] = masks_from
    return inputs
