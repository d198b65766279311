"""From the columns of a data set to the conditions of a model."""

from __future__ import annotations

from typing import Any

import numpy as np

from cmrsynth.data.loading import SliceSet
from cmrsynth.schema import UNKNOWN


def vocabularies(slices: SliceSet, attributes: list[str]) -> dict[str, list[str]]:
    """Return the known values of each attribute, sorted; an attribute the data never state is left out."""
    found = {name: sorted(set(getattr(slices, name).tolist()) - {UNKNOWN}) for name in attributes}
    return {name: values for name, values in found.items() if values}


def known_conditions(pipeline: Any, slices: SliceSet) -> dict[str, list[str | float | None]]:
    """Return the slices' attributes and scalars as arguments of `pipeline`.

    What the model is not conditioned on is left out; a value it never saw in training (another vendor, say), or
    that the data do not state, is None, "not given". `unseen_values` tells which were never seen.
    """
    return encoder_conditions(pipeline.condition_encoder.config, slices)


def encoder_conditions(config: Any, slices: SliceSet) -> dict[str, list[str | float | None]]:
    """Return the same for the configuration of a `ConditionEncoder`."""
    values: dict[str, list[str | float | None]] = {}
    for name, words in (config.vocabularies or {}).items():
        values[name] = [word if word in words else None for word in getattr(slices, name).tolist()]
    for name in config.scalars or {}:
        stated = getattr(slices, name, [None] * len(slices))  # no built data set states one so far
        values[name] = [float(x) if x is not None and np.isfinite(x) else None for x in stated]
    return values


def unseen_values(pipeline: Any, slices: SliceSet) -> dict[str, list[str]]:
    """Return, per attribute, the values of `slices` that the model never saw in training."""
    known = pipeline.condition_encoder.config.vocabularies or {}
    unseen = {
        name: sorted(set(getattr(slices, name).tolist()) - set(words) - {UNKNOWN}) for name, words in known.items()
    }
    return {name: values for name, values in unseen.items() if values}
