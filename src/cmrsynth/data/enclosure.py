"""A guard against swapped label maps: the left ventricle is the cavity inside the myocardium."""

from __future__ import annotations

import numpy as np

from cmrsynth.data.study import Study
from cmrsynth.errors import InputError
from cmrsynth.labels import LV, MYO, RV


def enclosure(mask: np.ndarray, cavity: int) -> float | None:
    """Return which share of a cavity's border touches myocardium, or None if the cavity is absent.

    Args:
        mask: (Z, H, W) in the label map of `cmrsynth.labels`.
        cavity: the label of the cavity.

    Returns:
        Number in [0, 1]: per slice the share of the cavity's outward pixel edges whose other side is myocardium,
        averaged over slices with the cavity's area as weight.

    >>> disc = np.pad(np.full((1, 2, 2), LV), ((0, 0), (1, 1), (1, 1)), constant_values=MYO)
    >>> enclosure(np.pad(disc, 1)[1:-1], LV)
    1.0
    """
    weights, shares = [], []
    for plane in np.pad(mask, ((0, 0), (1, 1), (1, 1))):
        inside = plane == cavity
        edges = touching = 0
        for axis in (0, 1):
            for step in (1, -1):
                neighbour = np.roll(plane, step, axis)
                border = inside & (neighbour != cavity)
                edges += int(border.sum())
                touching += int((border & (neighbour == MYO)).sum())
        if edges:
            weights.append(int(inside.sum()))
            shares.append(touching / edges)
    return float(np.average(shares, weights=weights)) if weights else None


def check_anatomy(study: Study) -> None:
    """Refuse a study whose left and right ventricle look swapped.

    Does nothing unless LV cavity, myocardium and RV cavity are all annotated and present.

    Raises:
        InputError: over all volumes the "RV" is mostly enclosed by myocardium and the "LV" is not.
    """
    if not {LV, MYO, RV} <= set(study.annotated_labels):
        return
    mask = np.concatenate([volume.mask for volume in study.volumes])
    left, right = enclosure(mask, LV), enclosure(mask, RV)
    if left is None or right is None or not (right > 0.5 > left):
        return
    raise InputError(
        study.origin,
        f"the label map looks swapped: myocardium encloses {right:.0%} of what is read as RV cavity but only "
        f"{left:.0%} of what is read as LV cavity",
        "check the labels: ACDC writes 1 = RV, 2 = myocardium, 3 = LV, M&Ms writes 1 = LV, 2 = myocardium, 3 = RV",
    )
