"""Planted failures of fidelity: what images, masks and conditions can get wrong without any copying."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import numpy as np

from cmrsynth.certification.entries import ImageCase, Plant, Sign, refuses
from cmrsynth.certification.ground import Ground
from cmrsynth.certification.planting import (
    blurred,
    chequered,
    collapsed,
    half_denoised,
    impossible_masks,
    noisy,
    only,
    repeated,
    scaled,
    shuffled_conditions,
    shuffled_masks,
    swapped_ventricles,
    torn,
)
from cmrsynth.data.loading import SliceSet
from cmrsynth.labels import LV, MYO, RV

MIXED = 3  # vendors; with as many, a spectrum of all images says little
NO_COPIES = ("near_copies", "closer_to_train_pixels", "identifiability", "gan_leaks_auc", "likelihood_gap")


def spoilt(spoil: Callable[[SliceSet], SliceSet]) -> Callable[[Ground], ImageCase]:
    """Return the maker of a case in which images of further real patients are spoilt."""

    def make(ground: Ground) -> ImageCase:
        return ImageCase(ground.train, ground.holdout, spoil(ground.third))

    return make


def without(attribute: str) -> Callable[[Ground], ImageCase]:
    """Return the maker of a set that has only one value of an attribute: the commonest."""

    def make(ground: Ground) -> ImageCase:
        values, counts = np.unique(getattr(ground.third, attribute), return_counts=True)
        kept = str(values[counts.argmax()])
        return ImageCase(ground.train, ground.holdout, only(ground.third, attribute, kept))

    return make


def _values(attribute: str) -> Callable[[Ground], str]:
    return lambda ground: "" if ground.has_values(attribute) else f"the data know no two values of {attribute}"


def _alike(ground: Ground) -> str:
    few = not ground.has_values("vendor", MIXED)
    return "" if few else "spectra of so many vendors differ more than that; see the two-sample test's checkerboard"


def _labels(*labels: int) -> Callable[[Ground], str]:
    return lambda ground: "" if set(labels) <= set(ground.labels) else "the data do not annotate the labels needed"


FIDELITY_PLANTS = (
    Plant(
        "blur",
        "images smoothed by one pixel",
        "fidelity",
        (Sign("sliced_wasserstein_finest"), Sign("spectrum_distance")),
        NO_COPIES,
        spoilt(partial(blurred, sigma=1.0)),
    ),
    Plant(
        "checkerboard",
        "the checkerboard of transposed convolutions, root mean square .08",
        "fidelity",
        (Sign("spectrum_distance"),),
        ("anatomy_impossible_masks",),
        spoilt(partial(chequered, amplitude=0.08)),
        needs=_alike,
    ),
    Plant(
        "torn background",
        "a realistic heart whose surroundings are displaced row by row",
        "fidelity",
        (Sign("sliced_wasserstein_background"),),
        ("sliced_wasserstein_heart",),
        spoilt(torn),
    ),
    Plant(
        "under-trained model",
        "images a third of the way to noise",
        "fidelity",
        (Sign("sliced_wasserstein_finest"), Sign("spectrum_distance")),
        NO_COPIES,
        spoilt(partial(half_denoised, noise=0.35)),
    ),
    Plant(
        "noise",
        "white noise of .1 that no real image has",
        "fidelity",
        (Sign("sliced_wasserstein_finest"), Sign("spectrum_distance")),
        (),
        spoilt(partial(noisy, deviation=0.1)),
    ),
    Plant(
        "wrong intensity scale",
        "images at half their intensity",
        "fidelity",
        (Sign("frechet_distance"), Sign("spectrum_distance")),
        ("near_copies",),
        spoilt(partial(scaled, gain=0.5, offset=0.0)),
    ),
    Plant(
        "one repeated image",
        "one image in the place of all",
        "fidelity",
        (refuses("recall"), Sign("pairwise_ms_ssim")),
        NO_COPIES,
        spoilt(repeated),
    ),
    Plant(
        "mode collapse",
        "the slices of one patient over and over, with a little noise",
        "fidelity",
        (refuses("recall"), Sign("pairwise_ms_ssim")),
        NO_COPIES,
        spoilt(collapsed),
    ),
    Plant(
        "a vendor missing",
        "images of one vendor only, where patients have several",
        "fidelity",
        (Sign("shown_vendor"),),
        ("near_copies",),
        without("vendor"),
        needs=_values("vendor"),
    ),
    Plant(
        "a pathology missing",
        "images of one pathology only, where patients have several",
        "fidelity",
        (Sign("shown_pathology"),),
        ("near_copies",),
        without("pathology"),
        needs=_values("pathology"),
    ),
    Plant(
        "mask ignored",
        "images beside the masks of other slices",
        "fidelity",
        (refuses("adherence_dice"),),
        ("anatomy_lv_area_mm2", "anatomy_impossible_masks"),
        spoilt(shuffled_masks),
    ),
    Plant(
        "LV and RV swapped",
        "labels of LV and RV exchanged in every mask",
        "fidelity",
        (refuses("adherence_dice"), Sign("anatomy_impossible_masks")),
        ("anatomy_lv_area_mm2",),
        spoilt(swapped_ventricles),
        needs=_labels(LV, RV),
    ),
    Plant(
        "impossible anatomy",
        "a second LV cavity and a gap in the wall, in every other mask",
        "fidelity",
        (Sign("anatomy_impossible_masks"),),
        ("anatomy_lv_area_mm2",),
        spoilt(impossible_masks),
        needs=_labels(LV, MYO),
    ),
    Plant(
        "vendor labels shuffled",
        "images beside the vendor of other patients",
        "fidelity",
        (Sign("recognition_vendor"),),
        ("recognition_pathology",),
        spoilt(partial(shuffled_conditions, attribute="vendor")),
        needs=_values("vendor"),
    ),
)
