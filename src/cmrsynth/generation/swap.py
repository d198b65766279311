"""Images of masks in the look of another vendor: by the attribute, or by reference images where a model takes them."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import torch
from rich.progress import track

from cmrsynth.conditions import known_conditions
from cmrsynth.data.loading import SliceSet
from cmrsynth.errors import InputError
from cmrsynth.labels import one_hot
from cmrsynth.seeds import derive_seed, torch_generator

BATCH = 32
ATTRIBUTE, REFERENCE = "attribute", "reference image"
Style = Callable[[SliceSet, str], np.ndarray]


def swap_styles(pipeline: Any, train: SliceSet, *, sampling: Mapping[str, Any], seed: int) -> dict[str, Style]:
    """Return the ways in which this model can be asked for a vendor's look, each a function of slices and a vendor.

    Noise depends on the slice alone, so that its images differ by what was asked for and nothing else.

    Args:
        pipeline: of a model that takes masks.
        train: real slices; those of the vendor asked for serve as reference images, drawn at random.
        sampling: options of the pipeline's call.
        seed: of noise and references.

    Returns:
        "attribute", for a model that was told the vendors; "reference image", for one that takes a `style_image`.

    Raises:
        InputError: the model takes no masks, or knows neither.
    """
    if not getattr(pipeline, "mask_channels", 0):
        raise InputError("cmrsynth swap", "this model makes no images of masks", "give a model trained with masks")

    def images(slices: SliceSet, vendor: str, references: np.ndarray | None) -> np.ndarray:
        parts = []
        for start in track(range(0, len(slices), BATCH), description=f"in the look of {vendor}"):
            rows = np.arange(start, min(start + BATCH, len(slices)))
            options = {**known_conditions(pipeline, slices.select(rows)), **sampling}
            if references is None:
                options["vendor"] = vendor
                options.pop("centre", None)  # a centre is one vendor's: the source's own would contradict
            else:
                options["style_image"] = torch.from_numpy(references[rows])[:, None]
            generators = [torch_generator(seed, "swap", _address(slices, row)) for row in rows]
            masks = one_hot(torch.from_numpy(slices.masks[rows]))
            parts.append(pipeline(masks, generator=generators, output_type="np", **options).images[..., 0])
        return np.concatenate(parts)

    def by_reference(slices: SliceSet, vendor: str) -> np.ndarray:
        theirs = train.images[train.vendor == vendor]
        drawn = np.random.default_rng(derive_seed(seed, "references", vendor)).integers(len(theirs), size=len(slices))
        return images(slices, vendor, theirs[drawn])

    styles: dict[str, Style] = {}
    if "vendor" in (pipeline.condition_encoder.config.vocabularies or {}):
        styles[ATTRIBUTE] = lambda slices, vendor: images(slices, vendor, None)
    if "style_image" in inspect.signature(pipeline.check_inputs).parameters:
        styles[REFERENCE] = by_reference
    if not styles:
        raise InputError(
            "cmrsynth swap", "this model was not told the vendors", "train it with `vendor` among its attributes"
        )
    return styles


def _address(slices: SliceSet, row: int) -> str:
    return f"{slices.patient_id[row]}/{slices.frame[row]}/{slices.slice_index[row]}"
