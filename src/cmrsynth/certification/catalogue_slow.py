"""Entries whose figures train a network of their own, so that each takes a minute or more."""

from __future__ import annotations

from dataclasses import replace
from functools import partial

import numpy as np

from cmrsynth.certification.catalogue_fidelity import spoilt
from cmrsynth.certification.catalogue_privacy import copies
from cmrsynth.certification.controls import real
from cmrsynth.certification.entries import SLOW, Control, ImageCase, Plant, Sign, refuses
from cmrsynth.certification.ground import Ground
from cmrsynth.certification.planting import blurred, chequered, shuffled_masks, turned


def noise_with_masks(ground: Ground) -> ImageCase:
    """Return white noise beside the masks of training patients."""
    noise = np.random.default_rng([0, 73]).uniform(size=ground.train.images.shape).astype(np.float32)
    return ImageCase(ground.train, ground.holdout, replace(ground.train, images=noise))


SLOW_PLANTS = (
    Plant(
        "faint checkerboard",
        "the checkerboard of transposed convolutions, root mean square .03",
        "fidelity",
        (Sign("two_sample_auc"),),
        (),
        spoilt(partial(chequered, amplitude=0.03)),
        cost=SLOW,
    ),
    Plant(
        "faint blur",
        "images smoothed by half a pixel",
        "fidelity",
        (Sign("two_sample_auc"),),
        (),
        spoilt(partial(blurred, sigma=0.5)),
        cost=SLOW,
    ),
    Plant(
        "turned copies",
        "training images turned by a quarter and smoothed by half a pixel, which no alignment looks through",
        "privacy",
        (refuses("copy_detector"), Sign("copy_detector_certain")),
        (),
        copies(lambda part: blurred(turned(part), 0.5)),
        cost=SLOW,
    ),
    Plant(
        "copies, whole evaluation",
        "the training images as they are: as useful as real ones, and not to be shared",
        "privacy",
        (refuses("near_copies"), refuses("verdict_privacy"), refuses("verdict_overall")),
        ("utility_gap",),
        copies(lambda part: part),
        cost=SLOW,
    ),
    Plant(
        "noise beside right masks",
        "white noise with the masks of training patients",
        "utility",
        (refuses("utility_gap"), refuses("verdict_utility"), refuses("verdict_fidelity")),
        (),
        noise_with_masks,
        cost=SLOW,
    ),
    Plant(
        "mask ignored, whole evaluation",
        "images beside the masks of other slices",
        "utility",
        (refuses("utility_gap"), refuses("verdict_fidelity")),
        ("near_copies",),
        spoilt(shuffled_masks),
        cost=SLOW,
    ),
)
SLOW_CONTROLS = (
    Control(
        "other real patients, two-sample test",
        "real patients that are neither trained on nor held out",
        "fidelity",
        ("two_sample_auc",),
        real,
        cost=SLOW,
    ),
    Control(
        "other real patients, copy detector",
        "the same, looked at by the detector",
        "privacy",
        ("copy_detector", "copy_detector_certain"),
        real,
        cost=SLOW,
    ),
    Control(
        "other real patients, whole evaluation",
        "the same, judged as a user's set would be",
        "utility",
        ("utility_gap", "verdict_privacy"),
        real,
        cost=SLOW,
    ),
)
