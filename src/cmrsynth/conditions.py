"""From the columns of a data set to the conditions of a model."""

from __future__ import annotations

from typing import Any

import numpy as np

from cmrsynth.data.loading import SliceSet
from cmrsynth.errors import InputError
from cmrsynth.prompts import compile_prompt
from cmrsynth.schema import UNKNOWN


def vocabularies(slices: SliceSet, attributes: list[str]) -> dict[str, list[str]]:
    """Return the known values of each attribute, sorted; an attribute the data never state is left out."""
    found = {name: sorted(set(getattr(slices, name).tolist()) - {UNKNOWN}) for name in attributes}
    return {name: values for name, values in found.items() if values}


def scalar_statistics(slices: SliceSet, scalars: list[str]) -> dict[str, tuple[float, float]]:
    """Return mean and standard deviation of each scalar over the slices that state it.

    Raises:
        InputError: no slice states one, or all state the same: there is nothing to learn.
    """
    found = {}
    for name in scalars:
        known = getattr(slices, name)[np.isfinite(getattr(slices, name))].astype(np.float64)
        if len(np.unique(known)) < 2:
            what = f"{name} is {known[0]:g} throughout" if len(known) else f"no slice states {name}"
            raise InputError(
                slices.name, what, f"leave {name} out of --scalars, or build the data set from a source that states it"
            )
        found[name] = float(known.mean()), float(known.std())
    return found


def compiled_prompts(values: dict[str, list[str | float | None]], length: int) -> list[str]:
    """Return the prompt of each of `length` slices from their conditions, as `encoder_conditions` returns them."""
    return [compile_prompt({name: column[row] for name, column in values.items()}) for row in range(length)]


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
        values[name] = [float(x) if np.isfinite(x) else None for x in getattr(slices, name)]
    return values


def unseen_values(pipeline: Any, slices: SliceSet) -> dict[str, list[str]]:
    """Return, per attribute, the values of `slices` that the model never saw in training."""
    known = pipeline.condition_encoder.config.vocabularies or {}
    unseen = {
        name: sorted(set(getattr(slices, name).tolist()) - set(words) - {UNKNOWN}) for name, words in known.items()
    }
    return {name: values for name, values in unseen.items() if values}
