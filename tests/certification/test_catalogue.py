from __future__ import annotations

import pytest

from cmrsynth.certification.catalogue import CATALOGUE, CONTROLS, PLANTS, chosen
from cmrsynth.certification.entries import SECONDS
from cmrsynth.certification.families import FAMILIES, families_of
from cmrsynth.errors import InputError
from cmrsynth.evaluation.figure import AXES


def test_the_catalogue_is_large_enough_and_names_are_unique() -> None:
    assert len(PLANTS) >= 20
    assert len(CONTROLS) >= 10
    names = [entry.name for entry in CATALOGUE]
    assert len(set(names)) == len(names)


def test_every_plant_names_what_must_find_it() -> None:
    for plant in PLANTS:
        assert plant.must_fire, plant.name
        assert plant.axis in AXES
    assert all(control.must_stay_quiet for control in CONTROLS)


def test_every_figure_belongs_to_a_family_that_costs_no_more_than_the_entry() -> None:
    for entry in CATALOGUE:
        if entry.on_images:
            costs = {family.cost for family in families_of(entry.figures)}
            assert entry.cost != SECONDS or costs == {SECONDS}, entry.name


def test_a_figure_that_nobody_computes_is_an_error() -> None:
    with pytest.raises(ValueError, match="no family"):
        families_of(["frechet_inception"])


def test_families_within_others_are_not_run_twice() -> None:
    assert [f.name for f in families_of(["spectrum_distance"])] == ["texture"]
    assert [f.name for f in families_of(["spectrum_distance", "recall"])] == ["fidelity"]
    assert len({family.name for family in FAMILIES}) == len(FAMILIES)


def test_entries_are_chosen_by_part_of_their_name() -> None:
    assert [entry.name for entry in chosen(("swapped",))] == ["LV and RV swapped"]
    assert all(entry.cost == SECONDS for entry in chosen())
    assert len(chosen(slow=True)) == len(CATALOGUE)
    with pytest.raises(InputError, match="no such entry"):
        chosen(("no such thing",))
