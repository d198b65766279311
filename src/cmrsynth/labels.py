"""The one label map of the project, and the only place where labels are translated.

Sources disagree: ACDC writes 1 = RV, 2 = myocardium, 3 = LV; M&Ms writes 1 = LV, 2 = myocardium, 3 = RV.
Everything past a reader uses the values below.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import TYPE_CHECKING

import numpy as np

from cmrsynth.errors import InputError

if TYPE_CHECKING:
    import torch

BACKGROUND, LV, MYO, RV = 0, 1, 2, 3
LABEL_NAMES = ("background", "lv_cavity", "lv_myocardium", "rv_cavity")
NUM_LABELS = len(LABEL_NAMES)
FOREGROUND = (LV, MYO, RV)


def harmonise(mask: np.ndarray, label_map: Mapping[int, int], where: str) -> np.ndarray:
    """Return `mask` in the project's label map.

    Args:
        mask: integer-valued array of any shape, in the source's labels.
        label_map: source value to project value; 0 maps to background unless given.
        where: the file the mask came from, for the error message.

    Returns:
        uint8 array of the same shape with values in {0, 1, 2, 3}.

    Raises:
        InputError: the mask holds a value that `label_map` does not name, or is not integer-valued.

    >>> harmonise(np.array([0, 1, 2, 3]), {1: RV, 2: MYO, 3: LV}, "acdc").tolist()
    [0, 3, 2, 1]
    """
    label_map = {0: BACKGROUND, **label_map}
    found = np.unique(mask)
    unknown = [value.item() for value in found if value not in label_map]
    if unknown:
        raise InputError(
            where,
            f"the mask holds label values {unknown}, expected only {sorted(label_map)}",
            "check that this is a label map and name every value, as in --label-map 1=lv,2=myo,3=rv",
        )
    harmonised = np.zeros(mask.shape, np.uint8)
    for source, target in label_map.items():
        harmonised[mask == source] = target
    return harmonised


def one_hot(labels: torch.Tensor, given: Collection[int] | None = None) -> torch.Tensor:
    """Return the one-hot form of a label map, or of a part of it for a model trained with `class_dropout`.

    Args:
        labels: (B, H, W), integer, values in {0, 1, 2, 3}.
        given: the foreground labels that the model is told; where one is withheld, so is background, because a pixel
            without a label may belong to it. None gives all.

    Returns:
        (B, 4, H, W) float32; channel 0 is background, and the channels of what is withheld are zero.

    >>> import torch
    >>> one_hot(torch.tensor([[[0, 3]]])).tolist()
    [[[[1.0, 0.0]], [[0.0, 0.0]], [[0.0, 0.0]], [[0.0, 1.0]]]]
    >>> one_hot(torch.tensor([[[0, 3]]]), given=(LV, RV)).tolist()
    [[[[0.0, 0.0]], [[0.0, 0.0]], [[0.0, 0.0]], [[0.0, 1.0]]]]
    """
    import torch

    encoded = torch.nn.functional.one_hot(labels.long(), NUM_LABELS).movedim(-1, 1).float()
    if given is None:
        return encoded
    kept = torch.tensor([float(label in given) for label in range(NUM_LABELS)], device=encoded.device)
    kept[BACKGROUND] = kept[BACKGROUND + 1 :].prod()
    return encoded * kept[:, None, None]


def signed_distances(mask: np.ndarray, reach: float) -> np.ndarray:
    """Return the signed distance to the border of every label.

    Args:
        mask: (H, W) integer label map.
        reach: the distance in pixels that is shown as 1.

    Returns:
        (K, H, W) float32 in [-1, 1], positive inside; -1 where the label is absent, 1 where it is everywhere.

    >>> signed_distances(np.array([[0, 0, 1, 1]]), 2.0)[1].tolist()
    [[-0.75, -0.25, 0.25, 0.75]]
    """
    from scipy.ndimage import distance_transform_edt

    maps = []
    for label in range(NUM_LABELS):
        inside = mask == label
        if inside.all() or not inside.any():
            maps.append(np.where(inside, 1.0, -1.0))
            continue
        depth = distance_transform_edt(inside) - distance_transform_edt(~inside)
        maps.append((depth - 0.5 * np.sign(depth)) / reach)  # the border lies between pixels
    return np.clip(np.stack(maps), -1, 1).astype(np.float32)
