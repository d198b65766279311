"""Numbers of a patient: read where the source states them, measured in the masks where that is valid, never guessed."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import numpy as np

from cmrsynth.data.study import Study, Volume
from cmrsynth.errors import InputError
from cmrsynth.labels import LV, MYO
from cmrsynth.metrics.anatomy import measure
from cmrsynth.metrics.volumes import MIN_SLICES, ejection_fraction, stack_fault, stack_volume
from cmrsynth.schema import OLDEST_AGE, SCALARS

CLOSED_FROM = 0.95  # share of the cavity's border that faces myocardium; an open ring at the base has no thickness
UNSTATED = ("", "nan", "na", "none", "unknown", "0", "0.0")  # how tables leave a number open


def read_number(text: str, name: str, where: str | Path) -> float | None:
    """Return a positive number of a table, or None where the table leaves it open.

    Raises:
        InputError: it is no positive number.
    """
    if text.strip().lower() in UNSTATED:
        return None
    try:
        number = float(text)
    except ValueError:
        number = math.nan
    if not (math.isfinite(number) and number > 0):
        raise InputError(where, f"{name} is {text!r}", "write a positive number, or leave it empty")
    return number


def read_scalars(row: Mapping[str, str], where: str | Path) -> dict[str, float]:
    """Return those of `SCALARS` that a table's row states, by their own names.

    Raises:
        InputError: a value is no number, or one that no patient has.
    """
    found = {name: read_number(row.get(name, ""), name, where) for name in SCALARS}
    return checked_scalars({name: value for name, value in found.items() if value is not None}, where)


def checked_scalars(values: Mapping[str, float], where: str | Path) -> dict[str, float]:
    """Return the values; raises InputError for one that no patient has, such as a height in metres makes a BMI."""
    for name, value in values.items():
        unit, lowest, highest = SCALARS[name]
        if not lowest <= value <= highest:
            raise InputError(
                where, f"{name} is {value:g} {unit}, expected {lowest:g} to {highest:g}", "correct it, or leave it out"
            )
    return dict(values)


def body_mass_index(height: str, weight: str, where: str | Path) -> dict[str, float]:
    """Return {"bmi": kg/m2} from the texts of a height in cm and a weight in kg, or {} where one is left open.

    Raises:
        InputError: one is no number, or no patient has such an index.

    >>> body_mass_index("200", "80.0", "table")
    {'bmi': 20.0}
    >>> body_mass_index("", "80.0", "table")
    {}
    """
    centimetres, kilograms = read_number(height, "height", where), read_number(weight, "weight", where)
    if centimetres is None or kilograms is None:
        return {}
    return checked_scalars({"bmi": kilograms / (centimetres / 100) ** 2}, where)


def publishable(scalars: Mapping[str, float]) -> dict[str, float | None]:
    """Return the columns of a patient's rows: ages in whole years, `OLDEST_AGE` for that and more, None if unknown.

    Source of the limit: the "safe harbor" rule of 45 CFR 164.514(b)(2), which has ages over 89 as one category.

    >>> publishable({"age": 93.0, "bmi": 24.5})
    {'ejection_fraction': None, 'wall_thickness': None, 'age': 90.0, 'bmi': 24.5}
    """
    columns = {name: float(scalars[name]) if name in scalars else None for name in SCALARS}
    if columns["age"] is not None:
        columns["age"] = float(min(math.floor(columns["age"]), OLDEST_AGE))
    return columns


def with_measured_scalars(study: Study) -> Study:
    """Return the study with ejection fraction and wall thickness from its masks, where it does not state them.

    Args:
        study: as read, before slices are dropped. Nothing is measured unless its source annotates whole stacks.
    """
    if not study.whole_stacks:
        return study
    measured = {"ejection_fraction": _ejection_fraction(study), "wall_thickness": _wall_thickness(study)}
    new = {
        name: value
        for name, value in measured.items()
        if value is not None and name not in study.scalars and SCALARS[name].lowest <= value <= SCALARS[name].highest
    }
    return replace(study, scalars={**study.scalars, **new}, measured_scalars=tuple(new))


def _only(study: Study, phase: str) -> Volume | None:
    found = [volume for volume in study.volumes if volume.phase == phase]
    return found[0] if len(found) == 1 else None


def _ejection_fraction(study: Study) -> float | None:
    """The share of the volume that a beat ejects; None without whole stacks of cavities at both moments."""
    ends = _only(study, "ED"), _only(study, "ES")
    if LV not in study.annotated_labels or None in ends or study.slice_spacing is None:
        return None
    volumes = []
    for volume in ends:
        shown = np.asarray(volume.labelled, bool) & (volume.mask == LV).any(axis=(1, 2))
        indices = np.asarray(volume.slice_indices)[shown]
        if stack_fault(indices, np.full(len(indices), study.slice_spacing)):
            return None
        pixels = np.tile(study.pixel_spacing, (len(indices), 1))
        volumes.append(stack_volume(volume.mask[shown], LV, pixels, study.slice_spacing))
    return ejection_fraction(*volumes)


def _wall_thickness(study: Study) -> float | None:
    """The mean thickness at end-diastole over the slices with a closed ring; None with fewer than three of them."""
    volume = _only(study, "ED")
    if not {LV, MYO} <= set(study.annotated_labels) or volume is None:
        return None
    slices = [measure(mask, study.pixel_spacing) for mask in volume.mask[np.asarray(volume.labelled, bool)]]
    closed = [found["wall_thickness_mm"] for found in slices if found["lv_enclosed"] >= CLOSED_FROM]
    return float(np.mean(closed)) if len(closed) >= MIN_SLICES else None
