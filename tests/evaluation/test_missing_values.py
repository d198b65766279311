"""A vendor or a pathology that a generator dropped is named, whatever the labels of its images say."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from cmrsynth.certification.ground import toy_ground
from cmrsynth.certification.planting import only
from cmrsynth.evaluation.figure import GOOD, LOOK, NOT_COMPUTED
from cmrsynth.evaluation.missing_values import missing_value_figures, rarest


@pytest.fixture(scope="module")
def toy(tmp_path_factory):
    return toy_ground(tmp_path_factory.mktemp("models"))


def figures_of(toy, synthetic, **parts):
    sets = parts.get("train", toy.train), parts.get("holdout", toy.holdout), synthetic
    return {f.name: f for f in missing_value_figures(*sets, toy.encoder, toy.segmenter, toy.settings)}


def test_real_patients_show_everything(toy) -> None:
    found = figures_of(toy, toy.third)
    assert {figure.verdict for figure in found.values()} == {GOOD}
    assert found["shown_vendor"].value > 0.9
    assert found["shown_vendor"].planted == 0  # what the figure says of held-out images without a vendor


@pytest.mark.parametrize(
    ("attribute", "kept", "missing"),
    [("vendor", "A", "'B'"), ("pathology", "normal", "'thick wall'"), ("phase", "ES", "'ED'")],
)
def test_a_missing_value_is_named(toy, attribute, kept, missing) -> None:
    figure = figures_of(toy, only(toy.third, attribute, kept))[f"shown_{attribute}"]
    assert figure.verdict == LOOK
    assert figure.value < 0.2
    assert missing in figure.reading


def test_labels_of_the_synthetic_set_are_not_believed(toy) -> None:
    one = only(toy.third, "vendor", "A")
    relabelled = replace(one, vendor=np.resize(["A", "B"], len(one)))
    assert figures_of(toy, relabelled)["shown_vendor"].verdict == LOOK


def test_one_known_value_is_not_judged(toy) -> None:
    train = only(toy.train, "vendor", "A")
    figure = figures_of(toy, toy.third, train=train)["shown_vendor"]
    assert figure.verdict == NOT_COMPUTED
    assert "two values" in figure.reading


def test_an_attribute_that_images_do_not_show_is_not_judged(toy) -> None:
    rng = np.random.default_rng(0)
    random = [
        replace(part, vendor=np.repeat(rng.choice(["A", "B"], len(part.patients)), 6))
        for part in (toy.train, toy.holdout)
    ]
    figure = figures_of(toy, toy.third, train=random[0], holdout=random[1])["shown_vendor"]
    assert figure.verdict == NOT_COMPUTED
    assert "itself recognises" in figure.reading


def test_the_ratio_is_at_most_one() -> None:
    many, few = np.repeat(["a", "b"], [9, 1]), np.repeat(["a", "b"], [5, 5])
    assert rarest(many, few, ("a", "b")) == pytest.approx(0.2)
    assert rarest(few, few, ("a", "b")) == 1
