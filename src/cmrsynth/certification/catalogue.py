"""The catalogue: every planted failure, and every control."""

from __future__ import annotations

from cmrsynth.certification.catalogue_fidelity import FIDELITY_PLANTS
from cmrsynth.certification.catalogue_models import MODEL_CONTROLS, MODEL_PLANTS
from cmrsynth.certification.catalogue_privacy import PRIVACY_PLANTS
from cmrsynth.certification.catalogue_slow import SLOW_CONTROLS, SLOW_PLANTS
from cmrsynth.certification.controls import IMAGE_CONTROLS
from cmrsynth.certification.entries import SECONDS, Entry
from cmrsynth.errors import InputError

PLANTS = (*PRIVACY_PLANTS, *FIDELITY_PLANTS, *MODEL_PLANTS, *SLOW_PLANTS)
CONTROLS = (*IMAGE_CONTROLS, *MODEL_CONTROLS, *SLOW_CONTROLS)
CATALOGUE: tuple[Entry, ...] = (*PLANTS, *CONTROLS)


def chosen(names: tuple[str, ...] = (), *, slow: bool = False) -> tuple[Entry, ...]:
    """Return the entries to run.

    Args:
        names: entries by name, or by a part of it; all where empty.
        slow: with those that take minutes; entries asked for by name run anyway.

    Raises:
        InputError: a name fits no entry.

    >>> [entry.name for entry in chosen(("checkerboard",))]
    ['checkerboard', 'faint checkerboard']
    """
    for name in names:
        if not any(name.lower() in entry.name.lower() for entry in CATALOGUE):
            known = ", ".join(entry.name for entry in CATALOGUE)
            raise InputError(name, "no such entry in the catalogue", f"name one of: {known}")
    if names:
        return tuple(e for e in CATALOGUE if any(name.lower() in e.name.lower() for name in names))
    return tuple(entry for entry in CATALOGUE if slow or entry.cost == SECONDS)
