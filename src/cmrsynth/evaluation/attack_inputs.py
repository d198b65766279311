"""What is attacked, as a generator takes it: images, masks and attributes of training and held-out slices together."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from cmrsynth.conditions import compiled_prompts, known_conditions
from cmrsynth.data.loading import SliceSet
from cmrsynth.labels import one_hot

if TYPE_CHECKING:
    from torch import Tensor


@dataclass(frozen=True)
class Records:
    """Slices with the conditions a generator knows.

    Args:
        images: (N, 1, H, W) in [-1, 1], on the generator's device.
        masks: (N, K, H, W) one-hot; None for a generator that takes no mask.
        attributes: N values per attribute or scalar.
        prompted: the generator takes prompts too; they are compiled from the attributes, as in its training.
    """

    images: Tensor
    masks: Tensor | None
    attributes: dict[str, list]
    prompted: bool = False

    def __len__(self) -> int:
        return len(self.images)

    def conditions(self, rows: np.ndarray, **given: str) -> tuple[Tensor | None, dict[str, list]]:
        """Return mask and conditions of some rows; values by keyword replace the records' own, one for all rows."""
        own = {name: [values[row] for row in rows] for name, values in self.attributes.items()}
        asked = {name: [value] * len(rows) for name, value in given.items()}
        mask = None if self.masks is None else self.masks[rows]
        told = {**own, **asked}
        if self.prompted:
            told["prompt"] = compiled_prompts(told, len(rows))
        return mask, told

    def groups(self, **given: str) -> list[np.ndarray]:
        """Return the rows that share all conditions: those with a mask stand alone."""
        if self.masks is not None:
            return [np.array([row]) for row in range(len(self))]
        found = defaultdict(list)
        for row in range(len(self)):
            _, attributes = self.conditions(np.array([row]), **given)
            found[str(sorted(attributes.items()))].append(row)
        return [np.array(rows) for rows in found.values()]


def records(pipeline: Any, *parts: SliceSet) -> Records:
    """Return the slices of these sets, one after the other, as a pipeline takes them.

    Args:
        pipeline: its `condition_encoder` says what it knows, `mask_channels` whether it takes a mask (it does where
            it says nothing).
        parts: the sets.
    """
    import torch

    device = getattr(pipeline, "device", torch.device("cpu"))
    images = np.concatenate([part.images for part in parts]).astype(np.float32)
    masks = None
    if getattr(pipeline, "mask_channels", 1):
        masks = one_hot(torch.from_numpy(np.concatenate([part.masks for part in parts]))).to(device)
    attributes: dict[str, list] = {}
    if hasattr(pipeline, "condition_encoder"):
        for known in (known_conditions(pipeline, part) for part in parts):
            attributes = {name: attributes.get(name, []) + values for name, values in known.items()}
    prompted = getattr(pipeline, "text_encoder", None) is not None
    return Records((torch.from_numpy(images)[:, None] * 2 - 1).to(device), masks, attributes, prompted)
