"""What the figures say of a planted failure, in words."""

from __future__ import annotations

from cmrsynth.certification.catalogue import PLANTS
from cmrsynth.evaluation.distances import all_distances
from cmrsynth.evaluation.privacy import privacy_figures
from cmrsynth.evaluation.texture import texture_figures

CASES = {plant.name: plant.make for plant in PLANTS}


def test_a_set_made_from_training_masks_is_read_with_care(toy) -> None:
    case = CASES["exact copies"](toy)
    sets = case.train, case.holdout, case.synthetic
    figures = privacy_figures(*sets, toy.encoder, all_distances(*sets, toy.encoder), toy.settings)
    readings = {figure.name: figure.reading for figure in figures}
    assert "masks came from train patients" in readings["closer_to_train_pixels"]


def test_blur_is_named(toy) -> None:
    case = CASES["blur"](toy)
    figures = texture_figures(case.train, case.holdout, case.synthetic, toy.settings)
    readings = {figure.name: figure.reading for figure in figures}
    assert "too little fine detail" in readings["spectrum_distance"]
