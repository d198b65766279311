"""Planted failures of generators and of training runs, with their controls; nothing is trained but a toy in NumPy.

The generators are denoisers of random fields whose leak is known exactly (`cmrsynth.certification.denoisers`), and
GANs and autoencoders that look images up (`cmrsynth.certification.lookups`).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

from cmrsynth.certification.entries import Control, ModelCase, Plant, Sign, TrainingCase, refuses
from cmrsynth.certification.hearts import hearts
from cmrsynth.certification.private_training import Recipe, noise_for
from cmrsynth.data.loading import SliceSet
from cmrsynth.evaluation.figure import NOT_COMPUTED

if TYPE_CHECKING:
    from cmrsynth.certification.ground import Ground

SIDE, PATIENTS = 24, 40  # a patient has three fields
VARIANCE = 0.03  # of fields in [0, 1]
SLOPE, OTHER_SLOPE = 2.5, 1.5  # of the spectrum; another scanner's images have more fine detail
CLAIM, DELTA = 1.0, 1e-3  # of the private training run
ATTACKS = ("membership_auc", "membership_strongest_auc")
LOOKUPS = {"style GAN": "LookupStyleGan", "VAE": "LookupVae"}  # in cmrsynth.certification.lookups


def fields(name: str, *, seed: int, slope: float = SLOPE) -> SliceSet:
    """Return patients whose images are random fields around mid-grey, with empty masks."""
    from cmrsynth.certification.denoisers import random_fields

    slots = hearts(name, PATIENTS, seed=seed, side=SIDE, phases=("ED",))
    images = 0.5 + random_fields(len(slots), SIDE, seed=seed, slope=slope, variance=VARIANCE)
    return replace(slots, images=np.clip(images, 0, 1).astype(np.float32), masks=np.zeros_like(slots.masks))


def generator(members: SliceSet, share: float) -> object:
    """Return a flow that has memorised the members to some share; 0 knows the population only."""
    from cmrsynth.certification.denoisers import FlowPipelineOf, field_spectrum, partial_memoriser

    seen = members.images * 2 - 1  # as a generator sees them
    return FlowPipelineOf(partial_memoriser(seen, field_spectrum(SIDE, SLOPE, 4 * VARIANCE), share))


def memorised(share: float) -> Callable[[Ground], ModelCase]:
    """Return the maker of a generator that has memorised its training patients to some share."""

    def make(ground: Ground) -> ModelCase:
        train = fields("train", seed=1)
        return ModelCase(generator(train, share), train, fields("holdout", seed=2))

    return make


def other_scanner(ground: Ground) -> ModelCase:
    """Return a generator without any leak, audited with non-members of another scanner."""
    train = fields("train", seed=1)
    return ModelCase(generator(train, 0.0), train, fields("holdout", seed=2, slope=OTHER_SLOPE))


def shuffled_sides(ground: Ground) -> ModelCase:
    """Return a memoriser of half of the members and half of the non-members: sides mean nothing any more."""
    parts = [fields("train", seed=1), fields("holdout", seed=2)]
    halves = [np.isin(part.patient_id, part.patients[::2]) for part in parts]
    seen = np.concatenate([part.images[half] for part, half in zip(parts, halves, strict=True)])
    return ModelCase(generator(replace(parts[0], images=seen), 1.0), *parts)


def looked_up(family: str, *, own: bool) -> Callable[[Ground], ModelCase]:
    """Return the maker of a generator that looks images up: those of its training patients, or of strangers."""

    def make(ground: Ground) -> ModelCase:
        from cmrsynth.certification import lookups

        train, known = fields("train", seed=1), fields("known", seed=1 if own else 3)
        pipeline = getattr(lookups, family)(known.images * 2 - 1)
        return ModelCase(pipeline, train, fields("holdout", seed=2))

    return make


def leaking_autoencoder(ground: Ground) -> ModelCase:
    """Return a latent flow that knows nobody, on an autoencoder that rebuilds its training images alone."""
    from cmrsynth.certification.lookups import LatentFlowOf

    train = fields("train", seed=1)
    return ModelCase(LatentFlowOf(generator(train, 0.0), train.images * 2 - 1), train, fields("holdout", seed=2))


def private_training(*, clipped: bool) -> Callable[[Ground], TrainingCase]:
    """Return the maker of a training run that claims an epsilon of `CLAIM`."""

    def make(ground: Ground) -> TrainingCase:
        return TrainingCase(Recipe(noise_for(CLAIM, DELTA), clipped=clipped), DELTA, seed=0)

    return make


MODEL_PLANTS = (
    Plant(
        "memoriser, 3 %",
        "a generator that is a memoriser of its training images to 3 %, the population's for the rest",
        "privacy",
        (Sign("membership_auc"), refuses("membership_strongest_auc")),
        (),
        memorised(0.03),
        on_images=False,
    ),
    Plant(
        "memoriser, 10 %",
        "the same at 10 %",
        "privacy",
        tuple(refuses(name) for name in ATTACKS),
        (),
        memorised(0.1),
        on_images=False,
    ),
    Plant(
        "memoriser",
        "a generator that has learned its training images by heart",
        "privacy",
        (*(refuses(name) for name in ATTACKS), refuses("membership_tpr"), refuses("overfitting_gap")),
        (),
        memorised(1.0),
        on_images=False,
    ),
    *(
        Plant(
            f"{title} that looks up",
            f"a {title} that can make its training images and nothing else",
            "privacy",
            (*(refuses(name) for name in ATTACKS), refuses("membership_tpr"), refuses("overfitting_gap")),
            (),
            looked_up(family, own=True),
            on_images=False,
        )
        for title, family in LOOKUPS.items()
    ),
    Plant(
        "autoencoder that looks up",
        "a latent flow that knows nobody, on an autoencoder that rebuilds training images only",
        "privacy",
        (refuses("membership_autoencoder_auc"), refuses("membership_strongest_auc")),
        ("membership_auc",),
        leaking_autoencoder,
        on_images=False,
    ),
    Plant(
        "non-members from another scanner",
        "an audit of a generator that leaks nothing, against patients whose images look different",
        "privacy",
        tuple(Sign(name, (NOT_COMPUTED,)) for name in ATTACKS),
        (),
        other_scanner,
        on_images=False,
    ),
    Plant(
        "private training without its clip",
        f"DP-SGD that claims an epsilon of {CLAIM:g} and leaves the clip out",
        "privacy",
        (refuses("privacy_claim"),),
        (),
        private_training(clipped=False),
        on_images=False,
    ),
)
MODEL_CONTROLS = (
    Control(
        "population-optimal generator",
        "a generator that knows the distribution and nobody in it",
        "privacy",
        (*ATTACKS, "membership_tpr", "overfitting_gap"),
        memorised(0.0),
        on_images=False,
    ),
    *(
        Control(
            f"{title} of strangers",
            f"a {title} that can make the images of other patients than those it is audited with",
            "privacy",
            (*ATTACKS, "membership_tpr", "overfitting_gap"),
            looked_up(family, own=False),
            on_images=False,
        )
        for title, family in LOOKUPS.items()
    ),
    Control(
        "membership with shuffled sides",
        "a memoriser of half of each side, so that sides mean nothing",
        "privacy",
        (*ATTACKS, "overfitting_gap"),
        shuffled_sides,
        on_images=False,
    ),
    Control(
        "private training as claimed",
        f"DP-SGD that keeps to its claim of an epsilon of {CLAIM:g}",
        "privacy",
        ("privacy_claim",),
        private_training(clipped=True),
        on_images=False,
    ),
)
