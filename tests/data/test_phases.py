from __future__ import annotations

from cmrsynth.data.phases import name_phases


def test_majority_of_slices_decides_against_inverted_apex():
    areas = {(z, 7): 60.0 for z in range(5)} | {(z, 19): 90.0 for z in range(3)} | {(z, 19): 50.0 for z in (3, 4)}
    assert name_phases(areas) == {19: "ED", 7: "ES"}


def test_tie_goes_to_the_larger_volume():
    assert name_phases({(0, 1): 10, (0, 2): 90, (1, 1): 11, (1, 2): 10}) == {2: "ED", 1: "ES"}


def test_slices_labelled_in_one_frame_do_not_vote():
    assert name_phases({(0, 1): 10, (0, 2): 20, (1, 1): 500, (2, 1): 500}) == {2: "ED", 1: "ES"}


def test_nothing_to_compare():
    assert name_phases({(0, 4): 10.0}) == {4: "other"}
    assert name_phases({(0, 4): 10.0, (1, 5): 20.0}) == {4: "other", 5: "other"}


def test_third_frame_is_other():
    areas = {(z, t): 10.0 * t for z in range(3) for t in (1, 2)} | {(0, 3): 99.0}
    assert name_phases(areas) == {2: "ED", 1: "ES", 3: "other"}
