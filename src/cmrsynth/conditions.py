"""From the columns of a data set to the conditions of a model."""

from __future__ import annotations

from typing import Any

from cmrsynth.data.loading import SliceSet
from cmrsynth.schema import ATTRIBUTES, UNKNOWN


def vocabularies(slices: SliceSet, attributes: list[str]) -> dict[str, list[str]]:
    """Return the known values of each attribute, sorted; an attribute the data never state is left out."""
    found = {name: sorted(set(getattr(slices, name).tolist()) - {UNKNOWN}) for name in attributes}
    return {name: values for name, values in found.items() if values}


def known_attributes(pipeline: Any, slices: SliceSet) -> dict[str, list[str | None]]:
    """Return the slices' attributes as arguments of `pipeline`.

    An attribute the model is not conditioned on is left out; a value it never saw in training (another vendor,
    say) is None, "not given". `unseen_values` tells which those are, so that the caller can say so.
    """
    known = pipeline.unet.config.vocabularies or {}
    return {
        name: [value if value in known[name] else None for value in getattr(slices, name).tolist()]
        for name in ATTRIBUTES
        if name in known
    }


def unseen_values(pipeline: Any, slices: SliceSet) -> dict[str, list[str]]:
    """Return, per attribute, the values of `slices` that the model never saw in training."""
    known = pipeline.unet.config.vocabularies or {}
    unseen = {
        name: sorted(set(getattr(slices, name).tolist()) - set(known[name]) - {UNKNOWN})
        for name in ATTRIBUTES
        if name in known
    }
    return {name: values for name, values in unseen.items() if values}
