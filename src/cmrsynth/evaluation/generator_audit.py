"""A generator audited by itself, without a synthetic set: who could be betrayed by whoever holds the model?"""

from __future__ import annotations

import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from cmrsynth.conditions import known_conditions
from cmrsynth.data.loading import SliceSet
from cmrsynth.errors import InputError
from cmrsynth.evaluation.figure import AUDIT_FILE_NAME, Evaluation
from cmrsynth.evaluation.generator_attacks import generator_figures
from cmrsynth.evaluation.groups import grouped
from cmrsynth.evaluation.mask_neighbours import mask_neighbour_figure
from cmrsynth.evaluation.settings import EvaluationSettings
from cmrsynth.evaluation.target import Discriminator
from cmrsynth.evaluation.verdict import VERDICT_RULE, overall
from cmrsynth.provenance import portable_path, provenance
from cmrsynth.seeds import torch_generator

MASKS = 300  # drawn of a mask generator


def audit_generator(
    pipeline: Any,
    train: SliceSet,
    holdout: SliceSet,
    *,
    output: Path,
    settings: EvaluationSettings | None = None,
    discriminator: Discriminator | None = None,
) -> Evaluation:
    """Return what attacks on a generator find, and write it to `output`; masks of a mask generator are compared too.

    Args:
        pipeline: of any family.
        train: the real slices it was trained on.
        holdout: real slices of other patients.
        output: folder for `audit.json`.
        settings: attacks, draws, samples, resamples and seed.
        discriminator: of a GAN, for one more attack; see `cmrsynth.training.gan_audit`.

    Raises:
        InputError: both sets share a patient, or the pipeline makes images of another size.
    """
    started, settings = time.perf_counter(), settings or EvaluationSettings()
    if shared := sorted(set(train.patients) & set(holdout.patients)):
        raise InputError(holdout.name, f"shares patients with {train.name}: {shared[:3]}", "split by patient")
    figures = generator_figures(pipeline, train, holdout, settings, discriminator=discriminator)
    if hasattr(pipeline, "faults"):
        labels = tuple(sorted(set(train.annotated_labels) & set(holdout.annotated_labels)))
        drawn = drawn_masks(pipeline, train, settings.seed)
        figures.append(mask_neighbour_figure(train, holdout, drawn, labels, settings))
    figures = grouped(figures)
    made = {"seed": settings.seed, "settings": settings.as_json()}
    evaluation = Evaluation(
        figures=tuple(figures),
        verdict=overall(figures),
        verdict_rule=VERDICT_RULE,
        inputs={role: _facts(part) for role, part in (("train", train), ("holdout", holdout))},
        models={"generator": {"name": type(pipeline).__name__}},
        pictures=(),
        provenance={**provenance(), **made, "seconds": {"total": round(time.perf_counter() - started, 1)}},
    )
    output.mkdir(parents=True, exist_ok=True)
    evaluation.save(output, AUDIT_FILE_NAME)
    return evaluation


def drawn_masks(pipeline: Any, train: SliceSet, seed: int, count: int = MASKS) -> SliceSet:
    """Return masks that a mask generator draws under the conditions of training slices, refused ones left out.

    Args:
        pipeline: a `MaskGeneratorPipeline`.
        train: whose conditions are asked for, one after the other; none of its masks or images are kept.
        seed: names the draws.
        count: of draws.
    """
    slots = train.select(np.arange(count) % len(train))
    conditions = known_conditions(pipeline, slots)
    generators = [torch_generator(seed, "audited mask", number) for number in range(count)]
    made = pipeline(batch_size=count, reject=False, generator=generators, output_type="np", **conditions).masks
    levels = conditions.get("slice_level", [None] * count)
    kept = np.array([not pipeline.faults(mask, level) for mask, level in zip(made, levels, strict=True)])
    names = np.array([f"generated-{number:04d}" for number in range(count)])
    whole = replace(slots, name="generated masks", masks=made.astype(np.uint8), patient_id=names)
    return replace(whole, images=np.zeros_like(slots.images)).select(kept)


def _facts(part: SliceSet) -> dict[str, Any]:
    return {
        "name": portable_path(part.name),
        "fingerprint": part.fingerprint,
        "slices": len(part),
        "patients": len(part.patients),
        "annotated_labels": list(part.annotated_labels),
    }
