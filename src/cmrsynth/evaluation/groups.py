"""Under which heading of the report a figure stands, by the beginning of its name."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace

from cmrsynth.evaluation.figure import Figure

HEADINGS = {
    "Mask adherence": ("adherence_",),
    "Texture": ("sliced_wasserstein", "spectrum_distance", "two_sample_auc"),
    "Features": ("frechet_", "kernel_distance", "mmd_rbf", "cmmd_"),
    "Coverage of real images": ("precision", "recall", "density", "coverage"),
    "Diversity": ("pairwise_ms_ssim", "vendi_score", "per_mask_"),
    "Anatomy": ("anatomy_",),
    "Volumes": ("lv_",),
    "Conditions": ("recognition_", "shown_"),
    "Segmentation of real patients": ("dice_", "iou_", "hausdorff_95_", "assd_", "utility_"),
    "Copies of training images": ("near_copies", "extraction_rate", "copy_detector", "clique", "mask_memory"),
    "Nearness to training patients": (
        *("closer_to_train_", "copy_rate_", "nearest_ratio_", "identifiability", "authenticity"),
        *("data_copying", "likelihood_gap", "gan_leaks_", "monte_carlo_"),
    ),
    "Attacks on the model": ("membership_",),
    "Overfitting": ("overfitting_",),
    "What attributes give away": ("leakage_", "attribute_"),
}


def heading_of(name: str) -> str:
    """Return the heading of a figure; empty where none is meant for it.

    >>> heading_of("frechet_distance_inception"), heading_of("lv_ef")
    ('Features', 'Volumes')
    """
    return next((heading for heading, starts in HEADINGS.items() if name.startswith(starts)), "")


def grouped(figures: Iterable[Figure]) -> list[Figure]:
    """Return the figures under their headings, in the order of `HEADINGS`; headline figures of a heading first."""
    order = {heading: place for place, heading in enumerate([*HEADINGS, ""])}
    named = [replace(figure, group=heading_of(figure.name)) for figure in figures]
    return sorted(named, key=lambda figure: (order[figure.group], not figure.headline))
