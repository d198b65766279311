"""The whole evaluation: three sets in, one folder with figures, pictures and networks out."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

from cmrsynth.data.loading import SliceSet
from cmrsynth.evaluation.adherence import adherence_figures
from cmrsynth.evaluation.attack_scores import attack_generator
from cmrsynth.evaluation.distances import all_distances
from cmrsynth.evaluation.diversity import diversity_figures
from cmrsynth.evaluation.encoder import cardiac_encoder
from cmrsynth.evaluation.extractors import load_extractor
from cmrsynth.evaluation.fidelity import fidelity_figures
from cmrsynth.evaluation.figure import Evaluation
from cmrsynth.evaluation.groups import grouped
from cmrsynth.evaluation.inputs import check_sets, mask_origin, training_part
from cmrsynth.evaluation.leakage import leakage_figures
from cmrsynth.evaluation.mask_memory import mask_memory_figure
from cmrsynth.evaluation.mask_neighbours import mask_neighbour_figure
from cmrsynth.evaluation.membership_attack import membership_figures
from cmrsynth.evaluation.missing_values import missing_value_figures
from cmrsynth.evaluation.overfitting import overfitting_figures
from cmrsynth.evaluation.pictures import draw_pictures
from cmrsynth.evaluation.privacy import privacy_figures
from cmrsynth.evaluation.radiomics import radiomics_figures
from cmrsynth.evaluation.recognition import recognition_figures
from cmrsynth.evaluation.settings import EvaluationSettings
from cmrsynth.evaluation.target import Discriminator
from cmrsynth.evaluation.two_sample import two_sample_figure
from cmrsynth.evaluation.utility import model_facts, test_arms, train_arms, utility_figures
from cmrsynth.evaluation.verdict import VERDICT_RULE, overall
from cmrsynth.provenance import portable_path, provenance


def evaluate(
    train: SliceSet,
    holdout: SliceSet,
    synthetic: SliceSet,
    *,
    output: Path,
    pipeline: Any = None,
    discriminator: Discriminator | None = None,
    settings: EvaluationSettings | None = None,
    command: str | None = None,
) -> Evaluation:
    """Return how faithful, useful and private a synthetic set is, and write it to `output`.

    Run again with the same arguments, an interrupted evaluation goes on with the networks it had finished.

    Args:
        train: the real slices the generator was trained on.
        holdout: real slices of other patients.
        synthetic: the set to judge, at the same image size.
        output: folder for `evaluation.json`, `figures/*.png` and `models/*.safetensors`.
        pipeline: the generator, for the membership attack; without it that attack is not computed.
        discriminator: of a GAN, for one more attack; see `cmrsynth.training.gan_audit`.
        settings: how much work to do.
        command: the command line to record; this process's own if not given.

    Raises:
        InputError: the sets cannot be compared; see `check_sets`.
    """
    settings = settings or EvaluationSettings()
    labels = check_sets(train, holdout, synthetic)
    output.mkdir(parents=True, exist_ok=True)
    seconds: dict[str, float] = {}
    teaching, optimistic = training_part(holdout, synthetic)
    with _timed(seconds, "segmenters"):
        segmenters = train_arms(train, teaching, labels, settings, output / "models")
        arms = test_arms(segmenters, holdout, labels)
    judge, sets = segmenters["real"][0], (train, holdout, synthetic)
    with _timed(seconds, "encoders"):
        encoder = cardiac_encoder(judge, train.images)
        encoders = [encoder, *(load_extractor(spec, train.images) for spec in settings.extractors)]
    with _timed(seconds, "features and texture"):
        figures = fidelity_figures(*sets, encoders, settings)
        figures += radiomics_figures(*sets, settings)
    with _timed(seconds, "two-sample test"):
        figures.append(two_sample_figure(*sets, settings))
    with _timed(seconds, "diversity"):
        figures += diversity_figures(*sets, settings)
    with _timed(seconds, "anatomy"):
        figures += adherence_figures(*sets, labels, judge, settings)
        figures += recognition_figures(*sets, encoder, judge, settings)
        figures += missing_value_figures(*sets, encoder, judge, settings)
    with _timed(seconds, "utility"):
        figures += utility_figures(arms, train, holdout, teaching, labels, settings, optimistic=optimistic)
    with _timed(seconds, "distances to training"):
        distances = all_distances(*sets, encoder)
        figures += privacy_figures(*sets, encoder, distances, settings, folder=output / "models")
        figures.append(mask_memory_figure(train, synthetic, settings))
        figures.append(mask_neighbour_figure(train, holdout, synthetic, labels, settings))
    with _timed(seconds, "attacks on the model"):
        attacked = attack_generator(pipeline, train, holdout, settings, discriminator=discriminator)
        for attack_figures in (membership_figures, overfitting_figures, leakage_figures):
            figures += attack_figures(pipeline, train, holdout, settings, attacked)
    figures = grouped(figures)
    extractors = {e.name: {"name": e.name, "sha256": e.sha256, "made_with": e.made_with} for e in encoders}
    evaluation = Evaluation(
        figures=tuple(figures),
        verdict=overall(figures),
        verdict_rule=VERDICT_RULE,
        inputs=_inputs(train, holdout, synthetic),
        models={**model_facts(segmenters), **extractors},
        pictures=(),
        provenance=_provenance(settings, seconds, command),
    )
    with _timed(seconds, "pictures"):
        pictures = draw_pictures(train, holdout, synthetic, evaluation, distances[0], output / "figures")
    evaluation = replace(evaluation, pictures=pictures, provenance=_provenance(settings, seconds, command))
    evaluation.save(output)
    return evaluation


@contextmanager
def _timed(seconds: dict[str, float], name: str) -> Iterator[None]:
    start = time.perf_counter()
    yield
    seconds[name] = round(time.perf_counter() - start, 1)


def _inputs(train: SliceSet, holdout: SliceSet, synthetic: SliceSet) -> dict[str, dict[str, Any]]:
    roles = {"train": train, "holdout": holdout, "synthetic": synthetic}
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
    inputs["synthetic"]["masks_from"] = mask_origin(train, holdout, synthetic)
    return inputs


def _provenance(settings: EvaluationSettings, seconds: dict[str, float], command: str | None) -> dict[str, Any]:
    made = provenance()
    return {
        **made,
        "command": command or made["command"],
        "seed": settings.seed,
        "settings": settings.as_json(),
        "seconds": {**seconds, "total": round(sum(seconds.values()), 1)},
    }
