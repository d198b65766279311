"""The scores of every row and family, by the functions of `cmrsynth evaluate`, beside floors measured once."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from functools import lru_cache
from pathlib import Path
from typing import Any

from cmrsynth.comparison.plan import Plan, Scoring
from cmrsynth.comparison.programs import pipeline_of
from cmrsynth.comparison.rows import Row
from cmrsynth.comparison.sampling import read_record, read_slices, slices_of
from cmrsynth.data.loading import SliceSet, load_slices
from cmrsynth.errors import InputError
from cmrsynth.evaluation.adherence import adherence_dice
from cmrsynth.evaluation.arms import Pool, predict_all, score_arm, train_arm
from cmrsynth.evaluation.attack_scores import attack_generator
from cmrsynth.evaluation.audit import Audit
from cmrsynth.evaluation.distances import Distances, pixel_distances
from cmrsynth.evaluation.encoder import Encoder, cardiac_encoder
from cmrsynth.evaluation.fidelity import frechet_figure
from cmrsynth.evaluation.figure import Figure
from cmrsynth.evaluation.floors import Sample, draw_rows
from cmrsynth.evaluation.judged import not_computed
from cmrsynth.evaluation.membership_attack import membership_figures
from cmrsynth.evaluation.resegmented import Resegmented, ThreeSets, resegment
from cmrsynth.evaluation.segmenter import Segmenter
from cmrsynth.evaluation.settings import EvaluationSettings
from cmrsynth.evaluation.tails import near_copies
from cmrsynth.evaluation.texture import counts, sliced_wasserstein_figures
from cmrsynth.evaluation.two_sample import two_sample_figure
from cmrsynth.evaluation.utility import synthetic_figures
from cmrsynth.hub.load import load_pipeline

NO_MASKS = "Not applicable: the model takes no masks, so its images have no labels."
ROW_FIGURES = ("frechet_distance", "sliced_wasserstein_finest", "two_sample_auc", "adherence_dice")
SWEPT_FIGURES = tuple(name for name in ROW_FIGURES if name != "two_sample_auc")
FAMILY_FIGURES = ("dice_synthetic", "utility_gap", "membership_auc", "near_copies")
_VERSION = 1  # of what a score is; raise it where the figures change


@dataclass(frozen=True)
class References:
    """What every score is measured with and beside, the same for all rows.

    Args:
        train, holdout: real patients the models saw, and did not see.
        labels: that both annotate.
        judges: networks trained on the real patients: the first measures adherence, all are the floor of utility.
        encoder: cardiac encoder, made of the first.
        features: of held-out and training images.
        found: what the judge finds in the held-out and in the training images.
        settings: of the scores.
    """

    train: SliceSet
    holdout: SliceSet
    labels: tuple[int, ...]
    judges: list[Segmenter]
    encoder: Encoder
    features: tuple[Sample, Sample]
    found: ThreeSets
    settings: EvaluationSettings

    def resegmented(self, synthetic: SliceSet) -> ThreeSets:
        """Return the three sets with what the judge finds in them."""
        return replace(self.found, synthetic=Resegmented(synthetic, self.judges[0].predict(synthetic.images)))


def settings_of(scoring: Scoring, seed: int) -> EvaluationSettings:
    """Return the settings of the figures."""
    return EvaluationSettings(
        segmenter_updates=scoring.segmenter_updates,
        seed=seed,
        resamples=scoring.resamples,
        floor_draws=scoring.floor_draws,
        membership_draws=scoring.membership_draws,
        membership_attacks=tuple(scoring.membership_attacks),
    )


def references(plan: Plan) -> References:
    """Return the references of a plan, made once by each process; networks are trained once and kept in `models`.

    Raises:
        InputError: a patient is in both splits, or they share no annotated label.
    """
    sampling = plan.sampling
    return _references(
        plan.data, sampling.training_masks, sampling.masks, plan.output / "models", plan.scoring, plan.seed
    )


@lru_cache(maxsize=1)
def _references(
    data: str, training_split: str, holdout_split: str, models: Path, scoring: Scoring, seed: int
) -> References:
    settings = settings_of(scoring, seed)
    train, holdout = read_slices(data, training_split), read_slices(data, holdout_split)
    labels = tuple(sorted(set(train.annotated_labels) & set(holdout.annotated_labels)))
    if shared := set(train.patients) & set(holdout.patients):
        raise InputError(data, f"{len(shared)} patients are in both splits", "split by patient")
    if not labels:
        raise InputError(data, "the splits share no annotated label", "compare on annotated data")
    judges = train_arm(Pool.of(train), labels, settings, models, "real")
    encoder = cardiac_encoder(judges[0], train.images)
    features = tuple(Sample(encoder(part.images), part.patient_id) for part in (holdout, train))
    found = resegment(train, holdout, holdout, labels, judges[0], settings)
    return References(train, holdout, labels, judges, encoder, features, found, settings)


@dataclass(frozen=True)
class ScoreJob:
    """A row to be scored, or (`row` None) the floors of sets of `count` images."""

    plan: Plan
    row: Row | None
    count: int

    @property
    def name(self) -> str:
        """What it is called."""
        return f"floors of {self.count} images" if self.row is None else f"{self.row.family}, {self.row.name}"

    @property
    def path(self) -> Path:
        """The file of its figures."""
        folder = self.plan.output / "scores"
        if self.row is None:
            return folder / f"floors-{self.count}.json"
        return folder / self.row.family / f"{self.row.name}.json"


def score(job: ScoreJob) -> str | None:
    """Measure the figures of a job that are not there yet, and write them; always returns None."""
    key = _key(job)
    if read_scores(job.path, key) is not None:
        return None
    known = references(job.plan)
    if job.row is None:
        figures = list(_floors(known, job.count).values())
    else:
        images = load_slices(job.row.folder(job.plan), "train")
        figures = _scores(job, known, images)
    _write(job.path, {"key": key, "figures": [asdict(figure) for figure in figures]})
    return None


def read_scores(path: Path, key: Any = None) -> dict[str, Figure] | None:
    """Return the figures of a file by name; None where there are none, or none of that key."""
    if not path.is_file():
        return None
    record = json.loads(path.read_text(encoding="utf-8"))
    if key is not None and record["key"] != json.loads(json.dumps(key)):
        return None
    pair = lambda values: None if values is None else (values[0], values[1])  # noqa: E731
    return {
        f["name"]: Figure(**{**f, "interval": pair(f["interval"]), "floor_interval": pair(f["floor_interval"])})
        for f in record["figures"]
    }


def current_scores(job: ScoreJob) -> dict[str, Figure] | None:
    """Return the figures of a job if they were measured on what is there now."""
    return read_scores(job.path, _key(job))


def _key(job: ScoreJob) -> dict[str, Any]:
    plan = job.plan
    splits = (plan.sampling.training_masks, plan.sampling.masks)
    made = {} if job.row is None else read_record(plan, job.row)
    return {
        "version": _VERSION,
        "scoring": asdict(plan.scoring),
        "seed": plan.seed,
        "real": [slices_of(plan, split).fingerprint for split in splits],
        "images": made["key"] if made else None,
        "count": job.count,
    }


def _scores(job: ScoreJob, known: References, images: SliceSet) -> list[Figure]:
    if job.row.teaches:
        return _family_scores(job, known, images)
    floors = read_scores(ScoreJob(job.plan, None, len(images)).path)
    wanted = ROW_FIGURES if job.row.sweep is None else SWEPT_FIGURES
    measured: dict[str, Callable[[], Figure]] = {
        "frechet_distance": lambda: _frechet(known, images, floors),
        "sliced_wasserstein_finest": lambda: _texture(known, images, floors)["sliced_wasserstein_finest"],
        "two_sample_auc": lambda: _two_sample(known, images, floors),
        "adherence_dice": lambda: _adherence(known, images),
    }
    return [measured[name]() for name in wanted]


def _frechet(known: References, images: SliceSet, floors: Mapping[str, Figure] | None) -> Figure:
    sets = [Sample(known.encoder(images.images), images.patient_id), *known.features]
    n, floor = counts(known.train, known.holdout, images), floors and floors["frechet_distance"]
    return frechet_figure(known.encoder, sets, known.settings, n, floor_from=floor)


def _texture(known: References, images: SliceSet, floors: Mapping[str, Figure] | None) -> dict[str, Figure]:
    found = sliced_wasserstein_figures(known.train, known.holdout, images, known.settings, floors_from=floors)
    return {figure.name: figure for figure in found}


def _two_sample(known: References, images: SliceSet, floors: Mapping[str, Figure] | None) -> Figure:
    floor = floors and floors["two_sample_auc"]
    return two_sample_figure(known.train, known.holdout, images, known.settings, floor_from=floor)


def _adherence(known: References, images: SliceSet) -> Figure:
    if not set(known.labels) <= set(images.annotated_labels):
        n = {"synthetic": len(images)}
        return not_computed("fidelity", "adherence_dice", "Mask adherence", NO_MASKS, n, "", unit="Dice")
    return adherence_dice(known.resegmented(images))


def _floors(known: References, count: int) -> dict[str, Figure]:
    """Return the figures whose floors all sets of one size share, measured on real training images."""
    (rows,) = draw_rows(known.train.patient_id, count, 1, known.settings.seed)
    real = known.train.select(rows)
    figures = [_frechet(known, real, None), *_texture(known, real, None).values(), _two_sample(known, real, None)]
    return {figure.name: figure for figure in figures}


def _family_scores(job: ScoreJob, known: References, images: SliceSet) -> list[Figure]:
    pipeline = load_pipeline(pipeline_of(job.plan, job.row.family))
    attacked = attack_generator(pipeline, known.train, known.holdout, known.settings)
    attack = membership_figures(pipeline, known.train, known.holdout, known.settings, attacked)
    audit = Audit(known.train, known.holdout, images, known.settings)
    return [
        *_utility(job, known, images),
        next(figure for figure in attack if figure.name == "membership_auc"),
        near_copies(audit, _distances(known, images)),
    ]


def _utility(job: ScoreJob, known: References, images: SliceSet) -> Sequence[Figure]:
    if not set(known.labels) <= set(images.annotated_labels):
        return [
            not_computed("utility", name, "Utility", NO_MASKS, {"synthetic": len(images)}, "", unit="Dice")
            for name in ("dice_synthetic", "utility_gap")
        ]
    trained = train_arm(Pool.of(images), known.labels, known.settings, job.plan.output / "models", job.row.family)
    arms = {
        name: score_arm(predict_all(networks, known.holdout), known.holdout, known.labels)
        for name, networks in (("real", known.judges), ("synthetic", trained))
    }
    return synthetic_figures(arms, known.train, known.holdout, images, known.labels, known.settings)


_pixels: dict[tuple[str, str, int], Distances] = {}  # the first of each size in this process


def _distances(known: References, images: SliceSet) -> Distances:
    """Return the pixel distances of a set; those between real images are computed once by each process."""
    address = (known.train.fingerprint, known.holdout.fingerprint, len(images))
    found = pixel_distances(known.train, known.holdout, images, _pixels.get(address))
    return _pixels.setdefault(address, found) if address not in _pixels else found


def _write(path: Path, record: dict[str, Any]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f"{path.name}.{os.getpid()}.partial")
    partial.write_text(json.dumps(record, indent=2, allow_nan=False) + "\n", encoding="utf-8")
    partial.replace(path)
